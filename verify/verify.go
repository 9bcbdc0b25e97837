// Package verify judges whether a page is fresh: whether readers get from
// Akamai what the site serves now. It is pure: [Evidence] in, a [Finding] out,
// with the causes in sentences that an editor understands.
//
// What counts is content. A page is fresh if all that was seen at the edge is
// the same, byte for byte once decoded, as what the origin serves; or shows a
// text that only the new page has; or, where neither can be asked, is no
// longer what the edge had before the purge. Validators prove nothing: a
// server that makes ETag from date and size gives two versions the same one,
// and a rollback brings an older date. They and what caches say of themselves
// only explain.
//
// Nobody sees all of Akamai: a look sees one server, and a fresh one says that
// those which were asked are fresh.
//
// The table in docs/checking.md has each kind of evidence with its verdict and
// its words; the package's test holds the two together.
package verify

import (
	"net/url"
	"strings"
	"time"
)

// Verdict is the answer to "is this page fresh?".
type Verdict string

// The verdicts.
const (
	Fresh   Verdict = "fresh"
	Stale   Verdict = "stale"
	Unknown Verdict = "unknown" // the evidence is not enough
	Broken  Verdict = "broken"  // readers get an error, or nothing
)

// String is what people read.
func (v Verdict) String() string {
	if v == Unknown {
		return "can't tell"
	}
	return string(v)
}

// Evidence is what was seen of one page.
type Evidence struct {
	URL string

	Edge   []Look // what Akamai answered: several servers, compressed and not
	Origin []Look // what the origin answered; none if nobody named it

	// Contains is a text that the page has only if it is new, such as the
	// commit; empty if none is known.
	Contains string
	// Before is what the edge had before the purge; nil if nobody looked.
	Before *Answer
	// Deployed: a deployment should have changed the page. Then it is fresh only
	// where something shows that the deployment has reached the origin: Contains,
	// Confirmed, or that the page is another than Before.
	Deployed bool
	// Confirmed: the origin is known to serve what was deployed. Else a page
	// that is what it was before may be one that the origin did not get yet.
	Confirmed bool
	// Purge is what was purged, if it is known.
	Purge *Purge

	// Pragma: the looks asked Akamai to say what its cache did.
	Pragma bool
	// Uncached is a look at the edge under an address that no cache can have,
	// that of the last page with a query of its own: what Akamai gets from
	// behind it now.
	Uncached *Look
	// Spellings are looks at the edge under other spellings of the address:
	// without its query, in lower case.
	Spellings []Look
}

// Purge is what is known of the purge that should have made the page fresh.
type Purge struct {
	Delete bool          // else an invalidation, which asks the origin "modified since?"
	Tags   []string      // purged by these; none: by the URL or a CP code
	Ago    time.Duration // since Akamai's estimate passed
}

// Look is one GET, with the redirects that were followed.
type Look struct {
	// Compressed: the request accepted gzip and brotli, as browsers do.
	// Akamai may keep a copy for these and one for the others.
	Compressed bool `json:"compressed"`
	// Hops are the answers: the redirects, then where they led. At least one.
	Hops []Answer `json:"hops"`
}

// End is the last answer.
func (l Look) End() Answer { return l.Hops[len(l.Hops)-1] }

// Answer is one answer to a GET.
type Answer struct {
	URL   string `json:"url"`
	From  string `json:"from,omitempty"`  // the server's address
	Fault string `json:"fault,omitempty"` // why no answer came, or not all of it; then nothing but Status counts

	Status       int      `json:"status,omitempty"`
	ETag         string   `json:"etag,omitempty"`
	LastModified string   `json:"last_modified,omitempty"`
	Length       int64    `json:"length"`                   // of the decoded body, in bytes; as far as it was read
	SHA256       string   `json:"sha256,omitempty"`         // of the same
	Cut          bool     `json:"cut,omitempty"`            // the body is longer than what was read
	Contains     bool     `json:"contains,omitempty"`       // it has Evidence.Contains
	Age          *int     `json:"age,omitempty"`            // seconds; nil if the answer does not say
	Location     string   `json:"location,omitempty"`       // of a redirect, absolute
	Tags         []string `json:"cache_tags,omitempty"`     // Edge-Cache-Tag; Akamai takes it off, an origin shows it
	Via          string   `json:"via,omitempty"`            // caches that name themselves: Via, X-Varnish, CF-Cache-Status …
	XCache       string   `json:"x_cache,omitempty"`        // TCP_HIT …: the tier that answered
	XCacheRemote string   `json:"x_cache_remote,omitempty"` // the parent tier, if that was asked
	CacheKey     string   `json:"x_cache_key,omitempty"`
	Cacheable    string   `json:"x_check_cacheable,omitempty"` // YES or NO
	CacheStatus  string   `json:"akamai_cache_status,omitempty"`
}

// CutFault ends a chain of redirects that was not followed to its end: the
// fault of the last answer begins with it.
const CutFault = "redirect not followed"

func (a Answer) answered() bool { return a.Fault == "" && a.Status > 0 }
func (a Answer) redirects() bool {
	return a.Status >= 300 && a.Status < 400 && a.Location != ""
}
func (a Answer) gone() bool { return a.Status == 404 || a.Status == 410 }

// refuses tells an answer that is about who asks, not about the page.
func (a Answer) refuses() bool { return a.Status == 401 || a.Status == 403 || a.Status == 429 }

// likeness of two answers.
type likeness int

const (
	unlike likeness = iota
	alike
	unclear
)

// compare tells whether two answers give readers the same.
func compare(a, b Answer) likeness {
	switch {
	case a.redirects() || b.redirects():
		if a.redirects() && b.redirects() && sameAddress(a.Location, b.Location) {
			return alike
		}
		return unlike
	case a.gone() && b.gone():
		return alike // the words of an error page differ, and don't count
	case a.Status != b.Status:
		return unlike
	case a.Status >= 400:
		return alike
	case a.SHA256 != b.SHA256 || a.Cut != b.Cut:
		return unlike
	case a.Cut && (a.ETag == "" || a.ETag != b.ETag || strings.HasPrefix(a.ETag, "W/")):
		return unclear // the same beginning of a long file
	}
	return alike
}

// compareLooks compares hop by hop; the index is that of the first hop that
// is not alike.
func compareLooks(a, b Look) (likeness, int) {
	for i := range min(len(a.Hops), len(b.Hops)) {
		if got := compare(a.Hops[i], b.Hops[i]); got != alike {
			return got, i
		}
	}
	if len(a.Hops) != len(b.Hops) {
		return unclear, min(len(a.Hops), len(b.Hops))
	}
	return alike, 0
}

// sameAddress ignores the scheme: an origin that is asked over one scheme
// writes it into its redirects.
func sameAddress(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	if errX != nil || errY != nil {
		return a == b
	}
	return strings.EqualFold(x.Hostname(), y.Hostname()) && x.RequestURI() == y.RequestURI()
}

// Sick says why an answer shows no page at all: an error of the server's, or
// no answer; "" if it shows one, be it that there is none.
func Sick(a Answer) string {
	switch {
	case a.Fault != "":
		return a.Fault
	case a.Status >= 500:
		return statusWords(a.Status)
	}
	return ""
}

// Differs reports whether two answers give readers something else.
func Differs(a, b Answer) bool { return a.answered() && b.answered() && compare(a, b) == unlike }
