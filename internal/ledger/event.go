package ledger

import (
	"slices"
	"time"
)

// EventKind says what happened that a person should know.
type EventKind string

// The kinds of event.
const (
	EventFailed  EventKind = "failed"  // a purge ended, and some or all of it was refused
	EventHeld    EventKind = "held"    // a purge needs approval
	EventPaused  EventKind = "paused"  // an operator paused
	EventResumed EventKind = "resumed" // somebody resumed, or the pause's time was over
	EventStale   EventKind = "stale"   // pages were looked at after their purge and are stale
	EventMended  EventKind = "mended"  // what an event said was wrong is well again
	EventUnheard EventKind = "unheard" // webhooks do not arrive
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{EventFailed, EventHeld, EventPaused, EventResumed, EventStale, EventMended, EventUnheard}
}

// Retried is what stands for the last event of a purge that had failed and is
// tried again. Nobody is told of it.
const Retried EventKind = "retried"

// Tells is the event that is to be told of a purge whose last one was told; "":
// none. What it says is true from the transaction on that makes it true, so
// that nothing is told twice. The purge that sends stale pages once more is a
// part of another's proof, which tells.
func (p Purge) Tells(told EventKind) EventKind {
	again := told == "" || told == EventHeld || told == Retried
	switch {
	case p.Cause == CauseStale:
	case p.State == Held && p.Proof.State != ProofOrigin && told == "":
		return EventHeld
	case p.State == Done && p.Counts.Failed > 0 && again:
		return EventFailed
	case p.State == Done && p.Counts.Failed == 0 && told == Retried:
		return EventMended
	case p.State == Done && p.Proof.Stale > 0 && !p.Proof.DoneAt.IsZero() && told != EventStale && told != EventMended:
		return EventStale
	}
	return ""
}

// Event is something that happened, as it was then.
type Event struct {
	ID           string // rises with time
	Kind         EventKind
	At           time.Time
	Repositories []string      // that it is about; nil: no one in particular
	Purge        *Purge        `json:",omitempty"`
	Pause        *Pause        `json:",omitempty"`
	Waiting      *PauseWaiting `json:",omitempty"`
	By           string        `json:",omitempty"` // who resumed; "": its time was over
	Silence      *Silence      `json:",omitempty"`
}

// PauseWaiting is what a pause holds back, or held back to its end.
type PauseWaiting struct{ Purges, Objects int }

// Silence is why an installation of the App is unheard.
type Silence struct {
	Installation int64
	Account      string        // that it is on; "": not known
	Last         time.Time     // when its last webhook came; zero: that is not what is wrong
	Habit        time.Duration // the longest time without one before
	Failed       int           // webhooks that GitHub's list shows as failed
}

// Receiver is somebody who is told of events.
type Receiver struct {
	ID           string // tells it from others, and gives nothing away
	Events       []EventKind
	Repositories []string // globs; none: all
}

// Hears reports whether an event is for this receiver. What is about several
// repositories is for whom one of them is, and what is about none in
// particular for everybody.
func (r Receiver) Hears(e Event) bool {
	if !slices.Contains(r.Events, e.Kind) {
		return false
	}
	return len(r.Repositories) == 0 || e.Repositories == nil || slices.ContainsFunc(r.Repositories, func(glob string) bool {
		return slices.ContainsFunc(e.Repositories, Scope{Repositories: glob}.In)
	})
}

// Hearing is what is known of an installation's webhooks, by those that are
// kept.
type Hearing struct {
	Installation int64
	Webhooks     int
	First, Last  time.Time
	Longest      time.Duration // between one and the next
	Told         bool          // that it is unheard
}

// Of an installation whose webhooks are known for habitAfter, a silence is out
// of the ordinary that is half as long again as the longest one before, weekends
// among them, and never a shorter one than leastSilence.
const (
	habitAfter    = 7 * 24 * time.Hour
	habitWebhooks = 10
	leastSilence  = 24 * time.Hour
)

// Unheard reports whether no webhook came for longer than is its habit.
func (h Hearing) Unheard(now time.Time) bool {
	return h.Webhooks >= habitWebhooks && h.Last.Sub(h.First) >= habitAfter &&
		now.Sub(h.Last) > max(leastSilence, h.Longest+h.Longest/2)
}
