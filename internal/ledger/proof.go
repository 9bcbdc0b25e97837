package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

// Asks is what an environment's rules ask to look at around a purge, as they stood when
// it was planned. It is stored as JSON, so the keys must not change.
type Asks struct {
	Verify *mapping.Verify `json:"verify,omitempty"` // nil: no page is verified
	Warm   mapping.Warm    `json:"warm"`
	Rules  []string        `json:"rules,omitempty"` // names of rules, the most important first
}

// Any reports whether anything is asked for.
func (a Asks) Any() bool { return a.Verify != nil || a.Warm.Limit > 0 }

// ProofState is how far the proof of a purge is: origin → purged → again → warm → done.
// Some of these may be left out. states.go has all transitions.
type ProofState string

// The states of a proof.
const (
	ProofNone   ProofState = ""       // nothing is asked for
	ProofOrigin ProofState = "origin" // the purge is held until the origin serves what was deployed
	ProofPurged ProofState = "purged" // pages are looked at once the purge is done
	ProofAgain  ProofState = "again"  // stale pages were purged once more, and are looked at after that
	ProofWarm   ProofState = "warm"   // what was purged is fetched, so that caches have it
	ProofDone   ProofState = "done"
)

// Proof tells whether a purge took effect, as far as is known.
type Proof struct {
	State   ProofState
	Words   string // why it waits, or why the first page is not fresh; in public words
	Checked int    // pages with a verdict; Fresh and Stale are among them
	Fresh   int
	Stale   int
	Warmed  int       // URLs fetched
	DoneAt  time.Time // when the verdicts were told; zero: not yet
}

// Unknown is how many pages have a verdict that is neither fresh nor stale.
func (p Proof) Unknown() int { return p.Checked - p.Fresh - p.Stale }

// Checking reports whether pages are still to be looked at.
func (p Proof) Checking() bool { return p.State == ProofPurged || p.State == ProofAgain }

// Page is a page that stands for a purge, with what was seen of it.
type Page struct {
	URL     string
	Delete  bool           // it was purged by delete
	Named   bool           // it was not purged by its address: the rules name it to stand for something else that was purged
	Before  *verify.Answer // what the edge had before the purge; nil: nobody looked
	Verdict verify.Verdict // "": none yet
	Cause   string         // in public words
	Again   string         // what to purge by delete to fix it: the page, or the target of its redirects; "": that would not help
}

// Count sums up what was seen of pages. The words are those of the first stale page, else
// of the first page that can't be told.
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
	Shows bool   // the origin serves what was deployed
	Sick  string // why the origin serves nothing, in public words; "": it does serve
}

// OriginStep is what becomes of a purge that waits for the origin.
type OriginStep string

// The steps.
const (
	OriginOpen OriginStep = "open" // it goes out
	OriginWait OriginStep = "wait"
	OriginFail OriginStep = "fail" // it stays held until somebody releases it
)

// Origin decides about a purge that has waited for its origin for a time. deletes says
// whether the purge has a delete. A purge never waits longer than the rules say, with one
// exception: a delete while the origin serves nothing would show the origin's error to
// all readers, where the old page does less harm. The caller has checked that a.Verify is
// not nil.
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

// Together combines looks that must all show the commit. The origin is sick if any of
// them found it so. No look shows nothing.
func Together(sights []Sight) (s Sight) {
	s.Shows = len(sights) > 0
	for _, one := range sights {
		s.Shows = s.Shows && one.Shows
		s.Sick = cmp.Or(one.Sick, s.Sick)
	}
	return s
}

// Either combines looks that may each show the commit: one that does is enough. The
// origin is sick only if all of them found it so.
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

// LookEvery is how long to wait for the next look at an origin, after a time of waiting:
// often at first, when deployments come through, and up to 15 s apart later, to spare the
// origin. It does not go past the longest that the purge waits, so that the last look
// comes in time.
func LookEvery(waited, longest time.Duration) time.Duration {
	every := min(time.Second+waited/4, 15*time.Second)
	if left := longest - waited; left > 0 {
		return min(every, left)
	}
	return every
}

// Share is how many pages of each rule are looked at. sizes is how many each rule has, in
// the order of importance; sample is how many are looked at in all. Each rule gets one
// while there is room, so that none goes unseen; what is left goes to the first rule,
// then to the second, and so on.
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

// Spread gives the indexes of n of so many places, evenly spread, the first place among
// them; all places if there are no more than n.
func Spread(places, n int) (at []int) {
	for i := range min(n, places) {
		at = append(at, i*places/min(n, places))
	}
	return slices.Compact(at)
}
