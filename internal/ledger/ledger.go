// Package ledger holds the nouns that purgebot keeps: for every environment
// the commit that is live and the one that is desired, the purges that close
// the distance between them, and the rules by which each may change.
//
// It is pure: it does no I/O and takes the clock as an argument.
package ledger

import (
	"time"

	"github.com/purgebot/purgebot/mapping"
)

// Point is a commit in an environment's life, with the fact that put it there.
type Point struct {
	SHA    string
	Deploy int64     // GitHub's deployment id; 0 when a push is the trigger
	Status int64     // GitHub's deployment status id; 0 when a push is the trigger
	At     time.Time // when GitHub recorded the fact, in whole seconds
}

// IsZero reports whether nothing is known.
func (p Point) IsZero() bool { return p.SHA == "" }

// After reports whether GitHub recorded p after q: by time, then by status
// id. Arrival decides nothing: webhooks come late, twice and out of order.
func (p Point) After(q Point) bool {
	if q.IsZero() {
		return true
	}
	if !p.At.Equal(q.At) {
		return p.At.After(q.At)
	}
	return p.Status > q.Status
}

// Environment is one environment of one repository.
type Environment struct {
	ID      string
	RepoID  int64
	Name    string    // as GitHub spells it; names compare without case
	Live    Point     // its purge is durably planned
	Desired Point     // GitHub says that it is deployed
	DueAt   time.Time // not before this moment (the rules' settle); zero: now
	Fault   string    // why planning waits, in public words; "" when it doesn't
	Seq     int64     // moves with every change; what compare-and-set compares
}

// Repository is a repository as last heard of. GitHub's id is its identity;
// names change.
type Repository struct {
	ID            int64
	Owner, Name   string
	Installation  int64
	DefaultBranch string
	FirstSeen     time.Time // when this server first heard of it
	Compared      time.Time // up to when GitHub's deployments were compared with the ledger; zero: never
	Gone          string    // why nothing can be read or written there, in public words; "" while it is there
}

// FullName is OWNER/NAME.
func (r Repository) FullName() string { return r.Owner + "/" + r.Name }

// Step is what reconcile has to do for an environment.
type Step string

// The steps.
const (
	StepNone   Step = "none"   // live is what is desired
	StepWait   Step = "wait"   // not due yet
	StepPlan   Step = "plan"   // another commit is desired: plan the difference
	StepResend Step = "resend" // another deployment of the live commit: see Resend
)

// Next says what reconcile has to do now.
func (e Environment) Next(now time.Time) Step {
	switch {
	case e.Desired.IsZero() || e.Desired == e.Live:
		return StepNone
	case now.Before(e.DueAt):
		return StepWait
	case e.Desired.SHA != e.Live.SHA:
		return StepPlan
	default:
		return StepResend
	}
}

// Resend reports whether a success of another deployment of the live commit
// means that its targets must go out once more: when any of them was sent
// before the success was recorded, since the deployment that rang first may
// only have built. GitHub records whole seconds, so the success may be up to
// one second younger than it says. first is zero when nothing was sent yet.
func Resend(live, desired Point, first time.Time) bool {
	if desired.Deploy == live.Deploy || first.IsZero() {
		return false
	}
	return first.Before(desired.At.Add(time.Second))
}

// Rollback reports whether moving from live to desired is a rollback: a newer
// deployment (by id) of an ancestor of the live commit, or of a commit that
// was live before. An older deployment that succeeds last is a crossing.
func Rollback(live, desired Point, ancestor, lived bool) bool {
	newer := desired.Deploy > live.Deploy || desired.Deploy == 0
	return !live.IsZero() && newer && (ancestor || lived)
}

// Cause says what made a purge.
type Cause string

// The causes.
const (
	CauseDeploy   Cause = "deploy"
	CausePush     Cause = "push"
	CauseRollback Cause = "rollback"
	CauseAgain    Cause = "deployed again" // another deployment of the live commit
	CauseServed   Cause = "overtaken"      // what a commit served that was overtaken before it was planned
	CauseComment  Cause = "comment"
)

// State is a purge's state: planning → held | open → done | cancelled.
type State string

// The states of a purge.
const (
	Planning  State = "planning" // its targets are being written; nobody sees it
	Held      State = "held"     // waits until someone releases it
	Open      State = "open"     // may be sent
	Done      State = "done"     // every target was accepted or failed
	Cancelled State = "cancelled"
)

// Fate is a target's state: waiting → claimed → accepted | failed.
type Fate string

// The fates of a target.
const (
	Waiting  Fate = "waiting"
	Claimed  Fate = "claimed"
	Accepted Fate = "accepted"
	Failed   Fate = "failed"
	Dropped  Fate = "dropped" // its purge was cancelled before it was sent
)

// Lanes order the queue: people first, then deploys, then very large purges.
const (
	LanePeople = 0
	LaneDeploy = 1
	LaneLarge  = 2

	// LargePurge is the number of targets from which a deploy's purge goes
	// behind the others: about two full requests of URLs.
	LargePurge = 1200
)

// Lane is the lane of a purge.
func Lane(cause Cause, targets int) int {
	switch {
	case cause == CauseComment:
		return LanePeople
	case targets >= LargePurge:
		return LaneLarge
	default:
		return LaneDeploy
	}
}

// Purge is one purge of one environment, or one asked for by a person.
type Purge struct {
	ID          string
	Key         string // the unguessable part of its page's address
	RepoID      int64
	EnvID       string
	Environment string // the environment's name at the time
	Cause       Cause
	By          string // login of the person or bot that caused it
	From, To    Point
	Network     mapping.Network
	Start       string // where From came from, in public words, when it was not the ledger
	Note        string // anything more that the status should say, in public words
	Lane        int
	Version     int64
	State       State
	Counts      Counts
	Reason      string // of the first failed target, in public words
	Unmatched   []string
	CreatedAt   time.Time
	OpenedAt    time.Time
	DoneAt      time.Time // when Akamai's own estimate has passed; may lie ahead of the last answer
	EndedBy     string    // who cancelled it; "": nobody did
	Closed      string    // why a held purge's status waits no longer, or what covers a cancelled one; in public words
	Paused      string    // why nothing of it is sent at the moment, in public words; "": nothing is wrong
}

// Covered reports whether the purge was held and ended since a later one
// purges all that it would.
func (p Purge) Covered() bool { return p.State == Cancelled && p.EndedBy == "" && p.Closed != "" }

// Counts counts a purge's targets.
type Counts struct {
	URLs, Tags, CPCodes int // all targets, whatever their fate
	Accepted            int
	Failed              int
	Sent                int // accepted by Akamai or on the way there
}

// Total is the number of targets.
func (c Counts) Total() int { return c.URLs + c.Tags + c.CPCodes }

// Left is the number of targets that have not ended.
func (c Counts) Left() int { return c.Total() - c.Accepted - c.Failed }

// Add counts a target of a kind.
func (c *Counts) Add(kind mapping.Kind) {
	switch kind {
	case mapping.URL:
		c.URLs++
	case mapping.Tag:
		c.Tags++
	case mapping.CPCode:
		c.CPCodes++
	}
}

// Target is one object of a purge.
type Target struct {
	PurgeID string
	Seq     int64
	mapping.Target
	Fate      Fate
	RequestID string
}

// Deploy is a deployment status as GitHub sent it.
type Deploy struct {
	Point
	EnvID   string
	State   string // GitHub's word
	Creator string
	Known   bool // of a push, which has no id: it was told before
}

// Push is a branch that moved.
type Push struct {
	RepoID        int64
	Branch        string
	Before, After string
	At            time.Time
	Delivery      string // id of the delivery that told it
}

// Circuit is how long the account pauses after so many answers in a row that
// say that Akamai is away, before a request probes again: nothing for the
// first few, which are single requests' bad luck, then 1 s, 2 s … at most 20 s.
func Circuit(failures int) time.Duration {
	const luck = 4
	if failures <= luck {
		return 0
	}
	return min(time.Second<<min(failures-luck-1, 5), 20*time.Second)
}
