package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

// Asks are what an environment's rules ask to look at around a purge, as they
// stood when it was planned.
type Asks struct {
	Verify *mapping.Verify `json:"verify,omitempty"` // nil: nothing
	Warm   mapping.Warm    `json:"warm"`
	Rules  []string        `json:"rules,omitempty"` // names, the most important first
}

// Any reports whether anything is asked for.
func (a Asks) Any() bool { return a.Verify != nil || a.Warm.Limit > 0 }

// ProofState is how far the proof of a purge is: origin → purged → again →
// warm → done, some of which may be left out.
type ProofState string

// The states of a proof.
const (
	ProofNone   ProofState = ""       // nothing is asked for
	ProofOrigin ProofState = "origin" // the purge is held until the origin serves what was deployed
	ProofPurged ProofState = "purged" // once the purge is done, pages are looked at
	ProofAgain  ProofState = "again"  // stale pages were purged once more, and are looked at then
	ProofWarm   ProofState = "warm"   // what was purged is fetched, so that caches have it
	ProofDone   ProofState = "done"
)

// Proof is whether a purge took effect, as far as is known.
type Proof struct {
	State   ProofState
	Words   string // why it waits, or why the first page is not fresh; in public words
	Checked int    // pages that were looked at
	Fresh   int
	Stale   int
	Warmed  int
	DoneAt  time.Time // when the pages were told; zero: they were not
}

// Unknown is how many pages can't be told.
func (p Proof) Unknown() int { return p.Checked - p.Fresh - p.Stale }

// Checking reports whether pages are still to be told.
func (p Proof) Checking() bool { return p.State == ProofPurged || p.State == ProofAgain }

// Page is a page that stands for a purge, with what was seen of it.
type Page struct {
	URL     string
	Delete  bool           // it was purged by delete
	Named   bool           // it was not purged by its address: the rules name it, for what else was purged
	Before  *verify.Answer // at the edge, before the purge; nil: nobody looked
	Verdict verify.Verdict // "": not told yet
	Cause   string         // in public words
	Again   string         // what to purge by delete to mend it: the page, or where its redirects lead; "": that would not help
}

// Count sums up what was seen of pages; the words are of the first that is
// stale, else of the first that can't be told.
func Count(pages []Page) (p Proof) {
	rank := 0
	for _, page := range pages {
		if page.Verdict == "" {
			continue
		}
		p.Checked++
		worth := 1
		switch page.Verdict {
		case verify.Fresh:
			p.Fresh++
			continue
		case verify.Stale:
			p.Stale++
			worth = 2
		case verify.Unknown, verify.Broken:
		}
		if worth > rank {
			rank, p.Words = worth, page.Cause
		}
	}
	return p
}

// Sight is what one look at the origin found.
type Sight struct {
	Shows bool   // it serves what was deployed
	Sick  string // why it serves nothing, in public words; "": it is well
}

// OriginStep is what becomes of a purge that waits for the origin.
type OriginStep string

// The steps.
const (
	OriginOpen OriginStep = "open" // it goes out
	OriginWait OriginStep = "wait"
	OriginFail OriginStep = "fail" // it stays held until somebody releases it
)

// Origin decides about a purge that has waited for a time. A purge never waits
// longer than the rules say, but for one: a delete while the origin serves
// nothing would show its error to everybody, where the old page does less
// harm.
func (a Asks) Origin(s Sight, waited time.Duration, deletes bool) OriginStep {
	switch {
	case s.Shows:
		return OriginOpen
	case s.Sick != "" && deletes, waited < a.Verify.Wait:
		return OriginWait
	case a.Verify.Late == mapping.LateFail:
		return OriginFail
	}
	return OriginOpen
}

// Together is what several looks found that all have to show it.
func Together(sights []Sight) (s Sight) {
	s.Shows = len(sights) > 0
	for _, one := range sights {
		s.Shows = s.Shows && one.Shows
		s.Sick = cmp.Or(one.Sick, s.Sick)
	}
	return s
}

// Either is what several looks found of which one is enough: the origin is sick
// where all of them are.
func Either(sights []Sight) (s Sight) {
	well := false
	for _, one := range sights {
		s.Shows, well = s.Shows || one.Shows, well || one.Sick == ""
		s.Sick = cmp.Or(one.Sick, s.Sick)
	}
	if well {
		s.Sick = ""
	}
	return s
}

// LookEvery is how long to wait for the next look at an origin after a time of
// waiting: often at first, when deployments come through, and politely then; but
// not past the longest that the purge waits.
func LookEvery(waited, longest time.Duration) time.Duration {
	every := min(time.Second+waited/4, 15*time.Second)
	if left := longest - waited; left > 0 {
		return min(every, left)
	}
	return every
}

// Share is how many pages of each rule are looked at, by how many it has: one
// of each while there is room, then all of the first, the second …; rules come
// in the order of their importance.
func Share(sizes []int, sample int) []int {
	shares := make([]int, len(sizes))
	for i, size := range sizes {
		if size > 0 && sample > 0 {
			shares[i], sample = 1, sample-1
		}
	}
	for i, size := range sizes {
		more := min(max(size-shares[i], 0), sample)
		shares[i], sample = shares[i]+more, sample-more
	}
	return shares
}

// Spread are n of so many places, evenly spread, the first among them.
func Spread(places, n int) (at []int) {
	for i := range min(n, places) {
		at = append(at, i*places/min(n, places))
	}
	return slices.Compact(at)
}
