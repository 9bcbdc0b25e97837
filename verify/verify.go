// Package verify judges whether a page is fresh: whether readers get from Akamai what the
// site serves now. It is pure: [Evidence] goes in, and a [Finding] comes out, with its
// causes in sentences that an editor understands.
//
// Only content counts. A page is fresh if everything that was seen at the edge is the
// same, byte for byte once decoded, as what the origin serves. It is also fresh if it
// shows a text that only the new page has. If neither can be asked, it has to differ from
// what the edge had before the purge. Validators prove nothing: a server that makes its
// ETag from date and size gives two versions the same one, and a rollback has an older
// date. Validators, and what caches say of themselves, only explain.
//
// Nobody can see all of Akamai. A look sees one server, and a finding is about the
// servers that were asked.
//
// The table in docs/checking.md has each kind of evidence with its verdict and its words.
// The test of this package compares the two.
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
	Broken  Verdict = "broken"  // readers get an error, or no answer
)

// String returns the word that people read.
func (v Verdict) String() string {
	if v == Unknown {
		return "can't tell"
	}
	return string(v)
}

// Evidence is what was seen of one page. Its zero values mean "not known" or "nobody
// looked".
type Evidence struct {
	URL string

	Edge   []Look // what Akamai answered: perhaps several servers, compressed and not
	Origin []Look // what the origin answered; none if nobody named one

	// Contains is a text that the page has only if it is new, such as the commit's SHA;
	// "": none is known.
	Contains string
	// Before is what the edge had before the purge; nil if nobody looked.
	Before *Answer
	// Deployed says that a deployment should have changed the page. Then it is fresh only
	// if something shows that the deployment has reached the origin: Contains, Confirmed,
	// or that the page differs from Before.
	Deployed bool
	// Confirmed says that the origin is known to serve what was deployed. Without that, a
	// page that has not changed may be one that the origin did not get yet.
	Confirmed bool
	// Purge is what was purged; nil: not known.
	Purge *Purge

	// Pragma says that the looks asked Akamai what its cache did.
	Pragma bool
	// Uncached is a look at the edge under an address that no cache can have: that of the
	// last page, with a query of its own. It shows what Akamai gets from behind it now.
	Uncached *Look
	// Spellings are looks at the edge under other spellings of the URL: without its
	// query, in lower case.
	Spellings []Look
}

// Purge is what is known of the purge that should have made the page fresh.
type Purge struct {
	Delete bool          // else an invalidation, after which Akamai asks the origin "modified since?"
	Tags   []string      // that were purged; none: the purge was by the URL or a CP code
	Ago    time.Duration // how long ago Akamai's estimate for the purge passed
}

// Look is one GET, with the redirects that were followed. It has at least one answer.
type Look struct {
	// Compressed says that the request accepted gzip and brotli, as browsers do. Akamai
	// may keep one copy for such requests and another for the rest.
	Compressed bool `json:"compressed"`
	// Hops are the answers: the redirects in order, then the page that they lead to.
	Hops []Answer `json:"hops"`
}

// End returns the last answer: the page itself, unless the look failed on its way.
func (l Look) End() Answer { return l.Hops[len(l.Hops)-1] }

// Answer is one answer to a GET.
type Answer struct {
	URL   string `json:"url"`
	From  string `json:"from,omitempty"`  // the server's address
	Fault string `json:"fault,omitempty"` // why no answer came, or not all of it; then only Status counts

	Status       int      `json:"status,omitempty"`
	ETag         string   `json:"etag,omitempty"`
	LastModified string   `json:"last_modified,omitempty"`
	Length       int64    `json:"length"`                        // of the decoded body, in bytes, as far as it was read
	SHA256       string   `json:"sha256,omitempty"`              // in hexadecimal, of the same bytes
	Cut          bool     `json:"cut,omitempty"`                 // the body goes on after what was read
	Contains     bool     `json:"contains,omitempty"`            // the body has Evidence.Contains
	Age          *int     `json:"age,omitempty"`                 // seconds; nil if the answer does not say
	Location     string   `json:"location,omitempty"`            // where a redirect leads, as an absolute URL
	Tags         []string `json:"cache_tags,omitempty"`          // from Edge-Cache-Tag; an origin shows them, Akamai removes them
	Via          string   `json:"via,omitempty"`                 // caches that name themselves: Via, X-Varnish, CF-Cache-Status …
	XCache       string   `json:"x_cache,omitempty"`             // TCP_HIT …: the tier that answered
	XCacheRemote string   `json:"x_cache_remote,omitempty"`      // the parent tier, if that was asked
	CacheKey     string   `json:"x_cache_key,omitempty"`         // under which Akamai keeps the page
	Cacheable    string   `json:"x_check_cacheable,omitempty"`   // YES or NO
	CacheStatus  string   `json:"akamai_cache_status,omitempty"` // such as "Miss from child, Hit from parent"
}

// CutFault begins the fault of the last answer if redirects were not followed to their
// end.
const CutFault = "redirect not followed"

// answered reports whether all of an answer came.
func (a Answer) answered() bool { return a.Fault == "" && a.Status > 0 }

func (a Answer) redirects() bool {
	return a.Status >= 300 && a.Status < 400 && a.Location != ""
}
func (a Answer) gone() bool { return a.Status == 404 || a.Status == 410 }

// refuses reports whether the answer is about who asks, and says nothing of the page.
func (a Answer) refuses() bool { return a.Status == 401 || a.Status == 403 || a.Status == 429 }

// likeness is the result of a comparison. unclear means that the evidence is not enough.
type likeness int

const (
	unlike likeness = iota
	alike
	unclear
)

// compare tells whether two answers give readers the same. The content decides; an ETag
// counts only for the part of a long file that was not read.
func compare(a, b Answer) likeness {
	switch {
	case a.redirects() || b.redirects():
		if a.redirects() && b.redirects() && sameAddress(a.Location, b.Location) {
			return alike
		}
		return unlike
	case a.gone() && b.gone():
		return alike // the words of such error pages may differ
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

// compareLooks compares two looks answer by answer. It returns the index of the first
// pair that is not alike.
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

// sameAddress compares two URLs without their schemes and ports: an origin writes the
// scheme by which it was asked into its redirects.
func sameAddress(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	if errX != nil || errY != nil {
		return a == b
	}
	return strings.EqualFold(x.Hostname(), y.Hostname()) && x.RequestURI() == y.RequestURI()
}

// Sick returns why an answer shows no page at all: an error of the server, or no answer.
// It returns "" for a page, and also for the answer that there is none.
func Sick(a Answer) string {
	switch {
	case a.Fault != "":
		return a.Fault
	case a.Status >= 500:
		return statusWords(a.Status)
	}
	return ""
}

// Differs reports whether two answers certainly give readers different things.
func Differs(a, b Answer) bool { return a.answered() && b.answered() && compare(a, b) == unlike }
