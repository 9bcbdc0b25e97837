// Package mapping reads a repository's purge-rules.yaml and turns changed
// paths into purge targets, each with the rule and the file that caused it.
// The language is described in docs/rules.md.
//
// It is pure: no network, no clock, no file system. [Parse] reads a file and
// finds all of its faults at once, each with its line; [File.Plan] maps the
// paths that differ between two commits. A path that is gone is mapped by the
// rules of the commit that had it, and every other by those of the new one:
// else a rule that goes with its files would leave their pages stale.
//
// To read it: read.go is the language, key by key; objects.go and template.go
// are what a rule gives, url.go how that is written in a URL; plan.go goes
// through the changes, and targets.go makes and orders what they give. check.go
// and reach.go are for people: what a file surely does wrong, and what it reaches.
//
// Whoever may push may write a rules file. So globs are matched at a cost that
// is counted, a plan has at most [MaxTargets], templates can't add a host that
// the file doesn't name, and whatever can't be sent as it is written stays in
// the plan with its reason: nothing is dropped in silence.
package mapping

import (
	"time"

	"github.com/purgebot/purgebot/internal/object"
)

// Op says what happened to a path between two commits.
type Op string

// The three things that can happen to a path. A rename is a Removed and an
// Added; a change of mode or type is a Modified.
const (
	Added    Op = "added"
	Modified Op = "modified"
	Removed  Op = "removed"
)

// Change is one path that differs between two trees.
type Change struct {
	Path string // from the repository's root, "/" separated, any bytes that git allows
	Op   Op
}

// Kind is what an object is: a URL, a tag or a CP code.
type Kind = object.Kind

// Network is where Akamai purges.
type Network = object.Network

// Action is what Akamai does with the cached copies.
type Action = object.Action

// The kinds, networks and actions.
const (
	URL        = object.URL
	Tag        = object.Tag
	CPCode     = object.CPCode
	Production = object.Production
	Staging    = object.Staging
	Invalidate = object.Invalidate
	Delete     = object.Delete
)

// Target is one object to purge, and why.
type Target struct {
	Kind   Kind
	Object string // an absolute URL, a tag, or a CP code in decimal
	Action Action
	Rule   string // name of the rule, "rule 3" where it has none, "unmatched" or "limits"
	Path   string // the first changed file that led here
	Reason string // not empty: it can't be sent as written, and why, in public words
}

// TriggerKind says what makes an environment purge.
type TriggerKind string

// The triggers of purge-rules.yaml.
const (
	OnDeployment TriggerKind = "deployment"
	OnPush       TriggerKind = "push"
	OnStatus     TriggerKind = "status"
	OnCheck      TriggerKind = "check"
	OnWorkflow   TriggerKind = "workflow"
)

// Trigger is an environment's trigger; Name is the context, check or workflow
// file that the last three kinds wait for.
type Trigger struct {
	Kind TriggerKind
	Name string
}

// Announce says what the first commit status of a push is.
type Announce string

// The ways to announce a push.
const (
	AnnounceSuccess Announce = "success" // default: a pending status would stop the deployment it waits for
	AnnouncePending Announce = "pending"
	AnnounceNone    Announce = "none"
)

// Environment is one entry of the file's environments.
type Environment struct {
	Name     string // as asked for (Environment) or as written (Environments)
	Key      string // as written in the file
	Glob     bool   // the key is a glob: only commits on Branch count
	Network  Network
	Hosts    []string // punycode
	Trigger  Trigger
	Branch   string // "" means the repository's default branch
	Creators []string
	Settle   time.Duration
	Announce Announce

	// AnnounceOnPullRequest asks for a comment on the pull request that a
	// deployed commit came from, when its purge has ended.
	AnnounceOnPullRequest bool

	// Redeploy is how soon after the first deployment of a commit another one
	// sends the commit's targets again; a later one is a rebuild, which sends
	// what PlanRebuild gives. 0: never again.
	Redeploy time.Duration

	Warm Warm

	// Line and Column are where the file says what triggers it, counted from 1;
	// the environment itself, where nothing does.
	Line, Column int
}

// Warm asks to fetch purged URLs once they are purged, so that the first
// visitor need not wait.
type Warm struct {
	Limit       int `json:"limit"`       // URLs of one purge; 0: none
	Concurrency int `json:"concurrency"` // requests at a time
}

// Late says what becomes of a purge whose origin does not show the deployed
// commit in time.
type Late string

// The two ways.
const (
	LatePurge Late = "purge" // default
	LateFail  Late = "fail"
)

// Verify is how an environment asks to look whether a deployment and its purge
// took effect.
type Verify struct {
	Origin string        `json:"origin"` // HOST or HOST:PORT that serves the hosts' paths without the CDN; "": none is looked at
	Marker []string      `json:"marker"` // URLs that show the deployed commit's SHA, one a host; none: changed URLs are compared
	Wait   time.Duration `json:"wait"`   // how long the purge may wait for the origin
	Late   Late          `json:"late"`
	Sample int           `json:"sample"` // purged URLs to look at through the edge afterwards; 0: none
	URLs   []string      `json:"urls"`   // to look at as well
}
