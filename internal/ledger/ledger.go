// Package ledger holds the nouns that purgebot keeps, and the rules by which each may
// change: for every environment the commit that is live and the one that is desired, and
// the purges that close the distance between them.
//
// It is pure: it does no I/O and takes the clock as an argument. What it compares was
// recorded by GitHub, in GitHub's time, because webhooks come late, twice and out of
// order, and this machine's clock may be wrong. Read [Point] and [Environment.Next]
// first.
package ledger

import (
	"math"
	"time"

	"github.com/purgebot/purgebot/mapping"
)

// Point is a commit in an environment's life, with the fact that put it there. The fact
// is a deployment's status, a commit status, a check run, a workflow run or a push.
type Point struct {
	SHA    string
	Deploy int64     // GitHub's deployment id; 0: the fact is of another kind
	Status int64     // id of the fact, of any kind but a push; a push's orders it among those of its second
	Began  time.Time // when the run began whose end is the fact; zero: the fact is a deployment's or a push
	At     time.Time // when GitHub recorded the fact, in whole seconds
}

// sameDeployment reports whether two successes of one commit are of the same deployment.
// A run that is run again deploys again: it keeps its id and begins anew. A push of what
// is live already deploys nothing, so it is the same deployment.
func (p Point) sameDeployment(q Point) bool {
	if p.Deploy != 0 || q.Deploy != 0 {
		return p.Deploy == q.Deploy
	}
	return p.Began.IsZero() || p.Status == q.Status && p.Began.Equal(q.Began)
}

// newerDeployment reports whether p was begun after q, whenever the two ended:
// deployments by their ids, which rise, and runs by when they began. A push ends as it
// begins, so it is always newer.
func (p Point) newerDeployment(q Point) bool {
	if p.Deploy != 0 {
		return p.Deploy > q.Deploy
	}
	return p.Began.IsZero() || !p.Began.Before(q.Began)
}

// IsZero reports whether nothing is known.
func (p Point) IsZero() bool { return p.SHA == "" }

// After reports whether GitHub recorded p after q: by time, and within one second by
// status id. Arrival decides nothing: webhooks come late, twice and out of order.
// Everything is after the zero Point.
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
	Live    Point     // its purge is durably planned; zero: nothing is live yet
	Desired Point     // what GitHub says is deployed; zero: nothing is known to be
	DueAt   time.Time // planning waits until this moment of GitHub's clock (the rules' settle); zero: it does not wait
	Fault   string    // why planning waits, in public words; "": it does not
	Seq     int64     // rises with every change; compare-and-set compares it
}

// Deployed gives the environment after GitHub told of a success p, which is not to be
// planned before due. Desired moves to p if GitHub recorded p after both what was desired
// and what is live. overtaken is the point that was deployed and will not be planned
// itself: the one that desired leaves, or p if it came too late; zero: there is none, or
// nobody knows yet (see Deploy.Tied). moved reports whether desired moved.
func (e Environment) Deployed(d Deploy, due time.Time) (next Environment, overtaken Point, moved bool) {
	p := d.Point
	if !p.After(e.Desired) || !p.After(e.Live) {
		if p.SHA == e.Desired.SHA || d.Tied && p.At.Equal(e.Desired.At) {
			return e, Point{}, false
		}
		if p.Status == 0 { // a push: any of those within GitHub's second may have come before it
			p.Status = math.MaxInt64
		}
		return e, p, false
	}
	// What desired leaves is overtaken only if it was never planned and is another
	// commit.
	if e.Desired != e.Live && e.Desired.SHA != p.SHA {
		overtaken = e.Desired
	}
	e.Desired, e.DueAt, e.Fault, e.Seq = p, due, "", e.Seq+1
	return e, overtaken, true
}

// Repository is a repository as last heard of. GitHub's id is its identity;
// names change.
type Repository struct {
	ID            int64
	Owner, Name   string
	Installation  int64
	DefaultBranch string
	FirstSeen     time.Time // when this server first heard of it, by GitHub's clock
	Compared      time.Time // GitHub's deployments up to then, by its clock, were compared with the ledger; zero: never
	Gone          string    // why nothing can be read or written there, in public words; "": it is there
}

// FullName is OWNER/NAME.
func (r Repository) FullName() string { return r.Owner + "/" + r.Name }

// Step is what reconcile has to do for an environment. It is also the environment's state
// in states.go.
type Step string

// The steps.
const (
	StepNone   Step = "none"   // live is what is desired
	StepWait   Step = "wait"   // not due yet
	StepPlan   Step = "plan"   // another commit is desired: plan the difference
	StepResend Step = "resend" // another deployment of the live commit: see Resend
)

// Next says what reconcile has to do at a moment of GitHub's clock. Waiting comes before
// the choice between plan and resend: a commit that settles is not looked at before it is
// due.
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

// Resend reports whether a success of another deployment of the live commit means that
// the commit's targets must be sent once more. That is so if any of them was sent before
// the success was recorded: the deployment that came first may only have built, so the
// caches may have fetched the old page after that purge. A needless resend costs a
// request; a missing one leaves stale pages.
//
// first is when the first target was sent; zero: none was. It and desired.At are times of
// GitHub's clock. GitHub records whole seconds, so the success may be up to a second
// younger than it says.
func Resend(live, desired Point, first time.Time) bool {
	if desired.sameDeployment(live) || first.IsZero() {
		return false
	}
	return first.Before(desired.At.Add(time.Second))
}

// Rebuilt reports whether a success of another deployment of the live commit came so long
// after the commit went live (more than within) that nobody deployed the commit by it:
// the site was built anew, as every night. went is when the commit went live.
func Rebuilt(live, desired Point, went time.Time, within time.Duration) bool {
	return !desired.sameDeployment(live) && desired.At.Sub(went) > within
}

// Rollback reports whether the move from live to desired is a rollback: a newer
// deployment of an ancestor of the live commit, or of a commit that was live before. An
// older deployment that succeeds last is no rollback but a crossing. The same holds for
// other triggers: see newerDeployment.
func Rollback(live, desired Point, ancestor, lived bool) bool {
	return !live.IsZero() && desired.newerDeployment(live) && (ancestor || lived)
}

// Cause says what made a purge.
type Cause string

// The causes.
const (
	CauseDeploy    Cause = "deploy"
	CausePush      Cause = "push"
	CauseRollback  Cause = "rollback"
	CauseAgain     Cause = "deployed again" // another deployment of the live commit: see Resend
	CauseRebuild   Cause = "rebuilt"        // another deployment of the live commit, long after the first: see Rebuilt
	CauseOvertaken Cause = "overtaken"      // what a commit served that was overtaken before it was planned
	CauseComment   Cause = "comment"
	CauseStale     Cause = "still stale" // stale pages of another purge, sent once more; no point of an environment is its reason
)

// State is a purge's state. states.go has all transitions.
type State string

// The states of a purge.
const (
	Planning  State = "planning"  // its targets are being written; nobody sees or sends it
	Held      State = "held"      // waits until a person releases it or its origin is ready
	Open      State = "open"      // its targets may be sent
	Done      State = "done"      // every target was accepted or has failed
	Cancelled State = "cancelled" // a person cancelled it, or a later purge covers it
	Pruned    State = "pruned"    // its rows are being deleted; nobody sees it
)

// Fate is a target's state. states.go has all transitions.
type Fate string

// The fates of a target.
const (
	Waiting  Fate = "waiting" // no request has it
	Claimed  Fate = "claimed" // a request has it
	Accepted Fate = "accepted"
	Failed   Fate = "failed"
	Dropped  Fate = "dropped" // its purge was cancelled before it was sent
)

// Lanes order the queue: people first, then deploys, then very large purges.
const (
	LanePeople = 0
	LaneDeploy = 1
	LaneLarge  = 2

	// LargePurge is the number of targets from which a deployment's purge goes behind the
	// others: about two full requests of URLs.
	LargePurge = 1200
)

// Lane is the lane of a purge. A person's purge goes first, whatever its size: the person
// waits for it.
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

// Purge is one purge: of a move of an environment, or asked for by a person.
type Purge struct {
	ID          string
	Key         string // the unguessable part of its page's address
	RepoID      int64
	EnvID       string // "": it is of no environment
	Environment string // the environment's name when the purge was planned
	Cause       Cause
	By          string // login of the person or bot that caused it
	From, To    Point  // the difference that it purges; a person's purge may have none
	Network     mapping.Network
	Account     string // the Akamai account that it is sent with, by its name
	Start       string // where From came from, in public words; "": from the ledger
	Note        string // what else the status should say, in public words
	Lane        int
	Version     int64 // rises with each change that its words may show
	State       State
	Counts      Counts
	Reason      string   // of the first failed target, in public words
	Unmatched   []string // changed paths that no rule matched
	CreatedAt   time.Time
	OpenedAt    time.Time // when it was opened, or last opened again; zero: not yet
	DoneAt      time.Time // when Akamai's own estimate has passed; may lie ahead of now
	EndedBy     string    // login of the person who cancelled it; "": nobody did
	Closed      string    // why a held purge's status waits no longer, or which purge covers a cancelled one; in public words
	Proof       Proof     // whether it took effect
	Paused      string    // why nothing of it is sent at the moment, in public words; "": it is not paused
	PausedBy    string    // the operator who paused it, and why, as "NAME: REASON"; "": no operator did
}

// Covered reports whether the purge was held and has ended because a later purge sends
// all that it would have sent.
func (p Purge) Covered() bool { return p.State == Cancelled && p.EndedBy == "" && p.Closed != "" }

// Counts counts a purge's targets. URLs, Tags and CPCodes count all of them, whatever
// their fate.
type Counts struct {
	URLs, Tags, CPCodes int // by kind, whatever their fate
	Accepted            int // by Akamai
	Failed              int // refused by Akamai or by policy, or not tried
	Untried             int // those of Failed that were not tried, because their host was over its limit
}

// Total is the number of targets.
func (c Counts) Total() int { return c.URLs + c.Tags + c.CPCodes }

// Left is the number of targets that have not ended. After a cancel, dropped targets are
// still among them.
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
	RequestID string // the request that has it, or that it ended in; "": none
	Answer    Answer // the answer of Akamai that decided its fate; zero: none did
}

// Answer is what Akamai answered to one attempt of a request.
type Answer struct {
	At        time.Time // when it was settled
	Status    int       // the HTTP status; 0: there was no answer
	Words     string    // Akamai's own
	PurgeID   string    // Akamai's id of what it accepted; "": it did not
	SupportID string    // Akamai's id of the answer, for its support
}

// Deploy is a deployment status as GitHub sent it, or another fact that deploys.
type Deploy struct {
	Point
	EnvID   string
	State   string // GitHub's word, such as "success"
	Creator string // login of its author
	Known   bool   // of a push, which has no id: it was told before

	// Tied is a push whose branch nobody has asked yet which push came last. If another
	// one is desired that GitHub recorded in the same second, nothing is noted: either of
	// the two may be the one that was overtaken.
	Tied bool
}

// Push is the fact that a branch moved.
type Push struct {
	RepoID        int64
	Branch        string
	Before, After string // the commits that it moved from and to; all zeros: there was, or is, no branch
	At            time.Time
	Delivery      string // id of the delivery that told of it
}
