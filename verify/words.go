package verify

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Kind names a cause, for programs.
type Kind string

// The causes. Those that explain most come first; Kinds has the same order.
const (
	EdgeUnreachable Kind = "edge unreachable"
	EdgeRefuses     Kind = "edge refuses"
	EdgeError       Kind = "edge error"
	RedirectLost    Kind = "redirect lost"
	ErrorCached     Kind = "error cached"
	OriginLags      Kind = "origin lags"
	OriginUneven    Kind = "origin uneven"
	ServedStale     Kind = "served stale"
	CacheBehind     Kind = "cache behind"
	NotModified     Kind = "not modified"
	ParentStale     Kind = "parent stale"
	WrongKey        Kind = "wrong key"
	NotTagged       Kind = "not tagged"
	VariantStale    Kind = "variant stale"
	OneOfSeveral    Kind = "one of several"
	RedirectTarget  Kind = "redirect target"
	NotPurged       Kind = "not purged"
	OriginSick      Kind = "origin sick"
	OriginRefuses   Kind = "origin refuses"
	OriginCached    Kind = "origin cached"
	Dynamic         Kind = "dynamic"
	Rewritten       Kind = "rewritten"
	Unconfirmed     Kind = "unconfirmed"
	Unchanged       Kind = "unchanged"
	Undated         Kind = "undated"
	TooLong         Kind = "too long"
	NotCompared     Kind = "not compared"
	PragmaOff       Kind = "pragma off"
)

// Kinds lists the causes in the order in which a finding has them.
func Kinds() []Kind {
	return []Kind{
		EdgeUnreachable, EdgeRefuses, EdgeError, RedirectLost, ErrorCached,
		OriginLags, OriginUneven, ServedStale, CacheBehind, NotModified, ParentStale, WrongKey, NotTagged,
		VariantStale, OneOfSeveral, RedirectTarget, NotPurged,
		OriginSick, OriginRefuses, OriginCached, Dynamic, Rewritten, Unconfirmed, Unchanged, Undated, TooLong, NotCompared, PragmaOff,
	}
}

// explains reports whether the cause by itself says why a copy is old. Then nobody has to
// guess that it was not purged.
func (k Kind) explains() bool {
	return slices.Contains([]Kind{CacheBehind, NotModified, ParentStale, ServedStale, WrongKey, NotTagged}, k)
}

// weight is the place of a cause among those of a finding; the lowest comes first.
func weight(k Kind) int { return slices.Index(Kinds(), k) }

// Cause is one reason for a verdict, or one thing that is worth knowing.
type Cause struct {
	Kind  Kind
	About string // a status, an address, a header or the like; "": there is nothing to add
}

// Words returns the cause as a sentence without its full stop. The text is public: it
// goes into statuses, replies and pages, and docs/checking.md lists it.
func (c Cause) Words() string {
	about := func(before string) string {
		if c.About == "" {
			return ""
		}
		return before + c.About
	}
	switch c.Kind {
	case EdgeUnreachable:
		return "Akamai doesn't answer" + about(": ")
	case EdgeRefuses:
		return "Akamai refuses this request" + about(": ")
	case EdgeError:
		return "Readers get an error from Akamai" + about(": ")
	case RedirectLost:
		return "The redirect leads nowhere" + about(": ")
	case ErrorCached:
		return "Akamai keeps an error in its cache" + about(": ") + "; purge this address"
	case OriginLags:
		return "The origin still serves the old page: the deploy has not reached it, or did not change this page"
	case OriginUneven:
		return "The origin's servers don't agree: some have the new page, some the old one"
	case ServedStale:
		return "Akamai can't reach the origin and shows its old copy"
	case CacheBehind:
		return "Akamai asked again and got the old page: another cache stands between Akamai and the origin" + about(", ") + ", or Akamai asks another server; purge that first"
	case NotModified:
		return `The origin answers "not modified", because its file is not dated later than Akamai's copy: purge this address by delete`
	case ParentStale:
		return "Akamai's second tier gave its old copy: purge this address once more"
	case WrongKey:
		return "Akamai keeps this address under another name" + about(": ") + "; purge the address exactly as readers open it, or a tag"
	case NotTagged:
		return "The page doesn't carry the cache tag" + about(" ") + ", so a purge by it can't reach the page"
	case VariantStale:
		return "Only the " + c.About + " copy is old"
	case OneOfSeveral:
		return "Not all of Akamai's servers have the old copy" + about("; one that has it is ") + ": wait a minute, then purge once more"
	case RedirectTarget:
		return "The redirect is right, but the page that it leads to is old" + about(": purge ")
	case NotPurged:
		return "Akamai still has its old copy: this address was not purged, or not since the origin changed"
	case OriginSick:
		return "The origin doesn't serve the page" + about(": ")
	case OriginRefuses:
		return "The origin doesn't let purgebot look" + about(": ")
	case OriginCached:
		return "The origin answers from a cache of its own" + about(": ")
	case Dynamic:
		return "The origin makes this page anew for each request, so there is nothing to compare"
	case Rewritten:
		return "Akamai changes the page on its way, so it can't be compared byte by byte"
	case Unconfirmed:
		return "Nothing shows whether the deploy has reached the origin"
	case Unchanged:
		return "The page is the same as before the purge"
	case Undated:
		return "The page is another one than before the purge, but nothing says that Akamai got it after the purge"
	case TooLong:
		return "The page is too long to compare all of it, and has no ETag"
	case NotCompared:
		return cmp.Or(c.About, "Akamai answers") + "; only a comparison with the origin shows whether the page is new"
	case PragmaOff:
		return "Akamai doesn't say what its cache did (Pragma headers are off)"
	}
	return string(c.Kind)
}

// Finding is the judgement.
type Finding struct {
	Verdict Verdict
	Causes  []Cause // those that explain most come first; may be empty

	compared bool   // there was an answer of the origin to compare with
	gone     bool   // the origin says that there is no such page
	contains string // Evidence.Contains
}

// Has reports whether the finding has a cause of this kind.
func (f Finding) Has(k Kind) bool {
	return slices.ContainsFunc(f.Causes, func(c Cause) bool { return c.Kind == k })
}

// Cause says why, in one or several sentences. It is never empty.
func (f Finding) Cause() string {
	var sentences []string
	if f.Verdict == Fresh {
		sentences = append(sentences, f.good())
	}
	for _, c := range f.Causes {
		sentences = append(sentences, c.Words())
	}
	if len(sentences) == 0 {
		sentences = []string{"The answers can't be compared"}
	}
	return strings.Join(sentences, ". ") + "."
}

// good says what makes a fresh page fresh. It goes by the strongest evidence.
func (f Finding) good() string {
	switch {
	case f.gone:
		return "The page is gone at Akamai and at the origin"
	case f.compared && f.contains != "":
		return fmt.Sprintf("Akamai serves what the origin serves, with %q", f.contains)
	case f.compared:
		return "Akamai serves what the origin serves"
	case f.contains != "":
		return fmt.Sprintf("Akamai serves a page with %q", f.contains)
	}
	return "The page is another one than before the purge"
}

// statusWords returns a status as "404 Not Found", or the number alone if it has no name.
func statusWords(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// variantName names one of the two variants of a page, for VariantStale.
func variantName(compressed bool) string {
	if compressed {
		return "compressed (gzip, brotli)"
	}
	return "uncompressed"
}

// cacheWords says what the cache did, for a page that can't be compared; "" if it does
// not say.
func cacheWords(a Answer) string {
	switch {
	case fetched(a):
		return "Akamai has just fetched this page"
	case revalidated(a):
		return "Akamai has just asked the origin, which said that its copy is right"
	case a.Age != nil && *a.Age > 0:
		return fmt.Sprintf("Akamai's copy is %s old", ageWords(*a.Age))
	case fromCache(a):
		return "Akamai answers from its cache"
	}
	return ""
}

// ageWords writes an age in the largest unit that it has at least two of; else in
// seconds.
func ageWords(seconds int) string {
	for _, unit := range []struct {
		seconds int
		name    string
	}{{86_400, "day"}, {3600, "hour"}, {60, "minute"}} {
		if n := seconds / unit.seconds; n > 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return fmt.Sprintf("%d s", seconds)
}
