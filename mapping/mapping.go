// Package mapping reads a repository's purge-rules.yaml and turns changed paths into
// purge targets. Each target names the rule and the file that caused it. The language is
// described in docs/rules.md.
//
// The package is pure: no network, no clock, no file system. [Parse] reads a file and
// finds all of its faults at once, each with its line. [File.Plan] maps the paths that
// differ between two commits. It maps a removed path by the rules of the old commit, and
// every other path by those of the new one. Otherwise a rule that is removed together
// with its files would leave their pages stale.
//
// Where to find what: read.go is the language, key by key. objects.go and template.go are
// what a rule gives, and url.go is how that is written in a URL. plan.go goes through the
// changes, and targets.go makes and orders the targets. check.go and reach.go serve
// people: they tell what is surely wrong in a file, and what it reaches.
//
// Everyone who may push may write a rules file, so the package treats it as hostile. The
// cost of matching globs is counted. A plan has at most [MaxTargets]. Templates can't add
// a host that the file does not name. What can't be sent as it is written stays in the
// plan with its reason; nothing is dropped silently.
package mapping

import (
	"time"

	"github.com/purgebot/purgebot/internal/object"
)

// Op says what happened to a path between two commits.
type Op string

// The three things that can happen to a path. A rename is a Removed and an Added. A
// change of mode or type is a Modified.
const (
	Added    Op = "added"
	Modified Op = "modified"
	Removed  Op = "removed"
)

// Change is one path that differs between two trees.
type Change struct {
	Path string // from the repository's root, separated by "/"; any bytes that git allows, also invalid UTF-8
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
	Rule   string // name of the rule; "rule 3" if it has none; or "unmatched", "limits" or "redeploy"
	Path   string // the first changed file that led here
	Reason string // why it can't be sent as written, in words that anybody may read; "": it can
}

// TriggerKind says what makes an environment purge.
type TriggerKind string

// The triggers of purge-rules.yaml.
const (
	OnDeployment TriggerKind = "deployment" // GitHub records that a deployment to the environment succeeded
	OnPush       TriggerKind = "push"       // Branch moves
	OnStatus     TriggerKind = "status"     // a commit status succeeds on Branch
	OnCheck      TriggerKind = "check"      // a check succeeds on Branch
	OnWorkflow   TriggerKind = "workflow"   // a workflow succeeds on Branch
)

// Trigger is an environment's trigger. Name is the context, check or workflow file that
// OnStatus, OnCheck and OnWorkflow wait for; "" for the other kinds.
type Trigger struct {
	Kind TriggerKind
	Name string
}

// Announce says what the first commit status after a push is.
type Announce string

// The ways to announce a push.
const (
	AnnounceSuccess Announce = "success" // the default: a pending status would stop the deployment that it waits for
	AnnouncePending Announce = "pending"
	AnnounceNone    Announce = "none"
)

// Environment is one entry of the file's environments.
type Environment struct {
	Name     string // from File.Environment: as asked for; from File.Environments: as written
	Key      string // as written in the file
	Glob     bool   // the key is a glob; then only commits on Branch count
	Network  Network
	Hosts    []string // in lower case and punycode, each once
	Trigger  Trigger
	Branch   string        // "": the repository's default branch
	Creators []string      // logins whose deployments count; none: everybody's
	Settle   time.Duration // how long a deployment waits before it is planned; 0: not at all
	Announce Announce

	// AnnounceOnPullRequest asks for a comment when the purge has ended, on the pull
	// request that the deployed commit came from.
	AnnounceOnPullRequest bool

	// Redeploy is for another deployment of the same commit. Up to this long after the
	// first one, it sends the commit's targets again. Later it is a rebuild and sends
	// what PlanRebuild gives. 0: it is always a rebuild.
	Redeploy time.Duration

	Warm Warm

	// Line and Column are the place of the environment's trigger in the file, counted
	// from 1. Without a trigger they are the place of the environment itself.
	Line, Column int
}

// Warm asks for purged URLs to be fetched after the purge, so that the first visitor
// doesn't have to wait.
type Warm struct {
	Limit       int `json:"limit"`       // URLs of one purge; 0: nothing is warmed
	Concurrency int `json:"concurrency"` // requests at a time
}

// Late says what happens to a purge if its origin does not show the deployed commit in
// time.
type Late string

// The two ways. LatePurge sends the purge all the same. LateFail sends it only when
// somebody releases it.
const (
	LatePurge Late = "purge" // the default
	LateFail  Late = "fail"
)

// Verify says how to look whether a deployment and its purge took effect.
type Verify struct {
	Origin string        `json:"origin"` // HOST or HOST:PORT that serves the paths of the hosts without the CDN; "": no origin is looked at
	Marker []string      `json:"marker"` // URLs that show the SHA of the deployed commit, one for each host; none: changed URLs are compared
	Wait   time.Duration `json:"wait"`   // how long the purge may wait for the origin
	Late   Late          `json:"late"`
	Sample int           `json:"sample"` // purged URLs to look at through the edge afterwards; 0: none
	URLs   []string      `json:"urls"`   // URLs to look at besides those
}
