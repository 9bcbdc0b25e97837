// Package ledger holds the nouns that purgebot keeps: for every environment
// the commit that is live and the one that is desired, the purges that close
// the distance between them, and the rules by which each may change.
//
// It is pure: it does no I/O and takes the clock as an argument. Whatever is
// compared here was recorded by GitHub, in GitHub's time: webhooks come late,
// twice and out of order, and this machine's clock may be wrong. Read [Point]
// and [Environment.Next] first.
package ledger

import (
	"math"
	"time"

	"github.com/purgebot/purgebot/mapping"
)

// Point is a commit in an environment's life, with the fact that put it there.
type Point struct {
	SHA    string
	Deploy int64     // GitHub's deployment id; 0 when something else is the trigger
	Status int64     // id of the deployment status, or of the commit status, check run or workflow run that is the trigger; of pushes it orders those within a second
	Began  time.Time // when the run began that a commit status, check run or workflow run ended; zero: a deployment or a push
	At     time.Time // when GitHub recorded the fact, in whole seconds
}

// sameDeployment reports whether two successes of a commit are of one
// deployment. A run that is run again deploys again; a push of what is live
// already deploys nothing.
func (p Point) sameDeployment(q Point) bool {
	if p.Deploy != 0 || q.Deploy != 0 {
		return p.Deploy == q.Deploy
	}
	return p.Began.IsZero() || p.Status == q.Status && p.Began.Equal(q.Began)
}

// newerDeployment reports whether p was begun after q, whenever they ended:
// deployments by id, runs by when they began. A push is over at once.
func (p Point) newerDeployment(q Point) bool {
	if p.Deploy != 0 {
		return p.Deploy > q.Deploy
	}
	return p.Began.IsZero() || !p.Began.Before(q.Began)
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
	DueAt   time.Time // not before this moment of GitHub's clock (the rules' settle); zero: now
	Fault   string    // why planning waits, in public words; "" when it doesn't
	Seq     int64     // moves with every change; what compare-and-set compares
}

// Deployed is the environment once GitHub has told of a success, which is not
// to be planned before due. Desired moves to it if GitHub recorded it after
// what was desired and what is live. overtaken is the point that is deployed
// and now not planned itself: the one that desired leaves, or a success that
// came too late.
func (e Environment) Deployed(p Point, due time.Time) (next Environment, overtaken Point, moved bool) {
	if !p.After(e.Desired) || !p.After(e.Live) {
		if p.SHA == e.Desired.SHA {
			return e, Point{}, false
		}
		if p.Status == 0 { // a push: of those within GitHub's second, any may have come before it
			p.Status = math.MaxInt64
		}
		return e, p, false
	}
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
	Compared      time.Time // up to when GitHub's deployments were compared with the ledger, by its clock; zero: never
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

// Next says what reconcile has to do now, by GitHub's clock.
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
// before the success was recorded, since the deployment that came first may
// only have built. Both are times of GitHub's clock, which records whole
// seconds: the success may be up to one second younger than it says. first is
// zero when nothing was sent yet.
func Resend(live, desired Point, first time.Time) bool {
	if desired.sameDeployment(live) || first.IsZero() {
		return false
	}
	return first.Before(desired.At.Add(time.Second))
}

// Rebuilt reports whether a success of another deployment of the live commit
// came so long after the one that brought it live that nobody deployed the
// commit with it: the site was built anew, as every night.
func Rebuilt(live, desired Point, went time.Time, within time.Duration) bool {
	return !desired.sameDeployment(live) && desired.At.Sub(went) > within
}

// Rollback reports whether moving from live to desired is a rollback: a newer
// deployment of an ancestor of the live commit, or of a commit that was live
// before. An older deployment that succeeds last is a crossing. The same holds
// for what else triggers: see newerDeployment.
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
	CauseAgain     Cause = "deployed again" // another deployment of the live commit
	CauseRebuild   Cause = "rebuilt"        // another deployment of the live commit, long after the first
	CauseOvertaken Cause = "overtaken"      // what a commit served that was overtaken before it was planned
	CauseComment   Cause = "comment"
	CauseStale     Cause = "still stale" // pages that a purge left stale, once more; of no environment's life
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
	Account     string // of Akamai, that it is sent with; "": the default one
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
	Proof       Proof     // whether it took effect
	Paused      string    // why nothing of it is sent at the moment, in public words; "": nothing is wrong
	PausedBy    string    // the operator who paused it, and why, as "NAME: REASON"; "": nobody did
}

// Covered reports whether the purge was held and ended since a later one
// purges all that it would.
func (p Purge) Covered() bool { return p.State == Cancelled && p.EndedBy == "" && p.Closed != "" }

// Counts counts a purge's targets.
type Counts struct {
	URLs, Tags, CPCodes int // all targets, whatever their fate
	Accepted            int
	Failed              int
	Untried             int // of the failed ones, those that were not even tried: their host was over its limit
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
	Answer    Answer // of Akamai's, that decided its fate; zero: none did
}

// Answer is what Akamai answered to one attempt of a request.
type Answer struct {
	At        time.Time
	Status    int    // of HTTP; 0: there was no answer
	Words     string // Akamai's own
	PurgeID   string // where it was accepted
	SupportID string // for Akamai's support
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
