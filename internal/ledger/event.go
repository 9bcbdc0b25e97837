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
	EventHeld    EventKind = "held"    // a purge needs a person's approval
	EventPaused  EventKind = "paused"  // an operator paused
	EventResumed EventKind = "resumed" // an operator resumed, or the pause's time was over
	EventStale   EventKind = "stale"   // pages were looked at after their purge and are stale
	EventMended  EventKind = "mended"  // what an earlier event said was wrong is right again
	EventUnheard EventKind = "unheard" // webhooks do not arrive
)

// EventKinds are all the kinds that a receiver may ask for.
func EventKinds() []EventKind {
	return []EventKind{EventFailed, EventHeld, EventPaused, EventResumed, EventStale, EventMended, EventUnheard}
}

// Retried stands in for the last told event of a purge that failed and is tried again.
// Nobody is told of it: it only records that a success is news.
const Retried EventKind = "retried"

// Tells gives the event that is to be told of a purge, when told is the last one that
// was; "": none. It asks about the purge as it is and not about what changed. So the
// store may call it after any change, in the transaction of the change, and nothing is
// told twice or forgotten.
//
// A purge that sends stale pages once more tells nothing: it is a part of another purge's
// proof, and that purge tells. A purge that waits for its origin needs no person, so it
// is not told as held.
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

// Event is something that happened, as it was then. The store keeps it as JSON.
type Event struct {
	ID           string // rises with time
	Kind         EventKind
	At           time.Time
	Repositories []string      // OWNER/NAME of those that it is about; nil: of none in particular
	Purge        *Purge        `json:",omitempty"`
	Pause        *Pause        `json:",omitempty"`
	Waiting      *PauseWaiting `json:",omitempty"` // of a pause: what it holds back
	By           string        `json:",omitempty"` // of a resume: by whom; "": the pause's time was over
	Silence      *Silence      `json:",omitempty"`
}

// PauseWaiting is how many purges and objects a pause holds back, or held back until it
// ended.
type PauseWaiting struct{ Purges, Objects int }

// Silence says why an installation of the App is unheard.
type Silence struct {
	Installation int64
	Account      string        // the GitHub account that it is on; "": not known
	Last         time.Time     // when its last webhook came; zero: silence is not what is wrong
	Habit        time.Duration // the longest time without a webhook before
	Failed       int           // webhooks that GitHub's list shows as failed
}

// Receiver is an address that is told of events.
type Receiver struct {
	ID           string // a hash that tells it from others, and gives its address away to nobody
	Events       []EventKind
	Repositories []string // globs of OWNER/NAME; none: all repositories
}

// Hears reports whether an event is for this receiver. An event about several
// repositories is for each receiver that hears of one of them. An event about none in
// particular is for everybody.
func (r Receiver) Hears(e Event) bool {
	if !slices.Contains(r.Events, e.Kind) {
		return false
	}
	return len(r.Repositories) == 0 || e.Repositories == nil || slices.ContainsFunc(r.Repositories, func(glob string) bool {
		return slices.ContainsFunc(e.Repositories, Scope{Repositories: glob}.In)
	})
}

// Hearing is what is known of an installation's webhooks, by the deliveries that are
// kept.
type Hearing struct {
	Installation int64
	Webhooks     int // how many are kept
	First, Last  time.Time
	Longest      time.Duration // the longest time between one and the next
	Told         bool          // receivers were told that it is unheard
}

// A silence is out of the ordinary if it is longer than leastSilence and than one and a
// half times the longest one before, which usually is a weekend. That is known of an
// installation only if at least habitWebhooks deliveries are kept, over a time of at
// least habitAfter.
const (
	habitAfter    = 7 * 24 * time.Hour
	habitWebhooks = 10
	leastSilence  = 24 * time.Hour
)

// Unheard reports whether no webhook has come for longer than the installation's habit
// allows.
func (h Hearing) Unheard(now time.Time) bool {
	return h.Webhooks >= habitWebhooks && h.Last.Sub(h.First) >= habitAfter &&
		now.Sub(h.Last) > max(leastSilence, h.Longest+h.Longest/2)
}
