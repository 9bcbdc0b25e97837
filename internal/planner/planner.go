// Package planner finds what a deployment purges, in four stages: the baseline that it
// starts from, the files that changed since, the rules of both commits, and the targets
// that these give. It reads GitHub and the ledger, each part at most once for a plan and
// no sooner than a stage needs it. It changes neither, with one exception: it stores the
// last good rules of a default branch (see Trust). The last stage reads nothing: see Map.
//
// Deployments, previews, forecasts, comments and recovery all plan with it, so a pull
// request is told what will be purged. The planner never guesses. Where GitHub can't say
// exactly what differs between two commits, it reads both trees; where even that is not
// possible, the plan is an error and is tried again.
package planner

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// Ledger is what a planner reads of the store. RememberAuthority is the only method that
// writes.
type Ledger interface {
	LiveRules(ctx context.Context, repo int64, env string) (store.Rules, error)
	Tree(ctx context.Context, env string) ([]byte, error)
	PushOf(ctx context.Context, repo int64, sha, branch string) (ledger.Push, error)
	Lived(ctx context.Context, env, sha string) (bool, error)
	Authority(ctx context.Context, repo int64) (store.Rules, error)
	RememberAuthority(ctx context.Context, repo int64, r store.Rules) error
}

// Config is what a planner works with.
type Config struct {
	Ledger Ledger
	GitHub *github.App
	Policy func() policy.Policy // the current one: a running server may load another
	Log    *slog.Logger

	// Began finds where an environment starts that has nothing live in the ledger.
	Began func(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point) (Beginning, error)
}

// Beginning is where an environment starts.
type Beginning struct {
	Live  ledger.Point // what was live before; zero: nothing was
	First string       // where Live is zero: the first commit whose own change has to be purged

	// Served are the successes since First that others overtook. Caches may hold what
	// they served and the newest commit no longer has.
	Served []ledger.Point
}

// room is how many targets all plans under way may have together: as many as two of the
// largest purges, and half of one for all others. That takes about 100 MiB. A plan that
// finds no room ends with mapping.ErrBusy, and is tried again.
const room = mapping.MaxTargets * 5 / 2

// Planner plans. It is safe for concurrent use; its caches only save calls.
type Planner struct {
	Config
	room   *mapping.Room
	cache  rulesCache
	shared sharedRules
	known  sync.Map // repository's id → digest of the good rules file that the ledger remembers
}

// New makes a planner.
func New(cfg Config) *Planner { return &Planner{Config: cfg, room: mapping.NewRoom(room)} }

// Plan is what the deployment of a commit over another would purge in an environment,
// with its reasons. The caller must call Release when it no longer needs the targets.
type Plan struct {
	From  ledger.Point
	Start string // where From comes from, in public words; "": from the ledger
	Rules Rules  // of the new commit, with what other repositories share
	own   Rules  // the new commit's own file, which is remembered
	Had   bool   // the old commit had a rules file
	Named bool   // the new one's names the environment
	Env   mapping.Environment
	Cause ledger.Cause // deploy or rollback
	Tree  *github.Tree // of the new commit; nil: it was not read

	Served []ledger.Point // of an environment's first purge: overtaken successes, see Beginning

	Note string // what its purge says beside its counts, in public words

	Targets // none unless the rules name the environment
}

// Plan plans the difference between what is live in an environment and a commit. done
// reports what a later purge has purged already, which is left out; nil: nothing.
//
// A fault of the rules is no error: the plan has no targets, and Rules.Fault says why. An
// error means that GitHub or the ledger could not be asked, or that the plans under way
// leave no room; the same call may succeed later.
func (p *Planner) Plan(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point, done Done) (*Plan, error) {
	r := &reading{Planner: p, repo: repo, env: env, to: to, plan: &Plan{Cause: ledger.CauseDeploy}}
	plan := r.plan
	var err error
	if plan.own, err = r.newRules(ctx); err != nil {
		return nil, err
	}
	if plan.Rules, err = p.effective(ctx, repo, plan.own); err != nil {
		return nil, err
	}
	if plan.Rules.File != nil {
		plan.Env, plan.Named = plan.Rules.File.Environment(env.Name)
	}
	if plan.Rules.Fault != "" || plan.Rules.File != nil && !plan.Named {
		return plan, nil // broken, or not named: no later stage would change that
	}
	// The old rules say what removed files were, and whether the environment had rules
	// before.
	old, err := r.oldRules(ctx)
	if err == nil {
		old, err = p.effective(ctx, repo, old)
	}
	if plan.Had = !old.None(); err != nil || plan.Rules.None() {
		return plan, err
	}
	changes, err := r.changes(ctx)
	if err != nil {
		return nil, err
	}
	rollback, err := r.rollback(ctx, changes.Relation)
	if err != nil {
		return nil, err
	}
	if rollback {
		plan.Cause = ledger.CauseRollback
	}
	plan.Targets, err = p.Map(ctx, repo, plan.Rules.File, Change{
		Environment: env.Name, Old: old.File, Files: changes.Files, Rollback: rollback, Done: done, By: policy.Deployment(),
	})
	if fault, ok := Unplannable(err); ok { // such rules count as broken: no waiting makes a plan of them
		plan.Rules = Rules{Path: plan.Rules.Path, Fault: plan.Rules.Path + ": " + fault}
		return plan, nil
	}
	// Why the purge is held matters more than that its old commit is gone; all else less.
	if words := plan.words(); plan.Held != "" || plan.Note == "" {
		plan.Note = words
	}
	if plan.Rules.Shared != "" {
		plan.Note = strings.TrimPrefix(plan.Note+", rules of "+plan.Rules.Shared, ", ")
	}
	return plan, err
}

// reading is one plan under way. Each stage is read when it is first asked for, and kept.
// One goroutine uses it.
type reading struct {
	*Planner
	repo ledger.Repository
	env  ledger.Environment
	to   ledger.Point
	plan *Plan

	live       *Rules // rules of the live commit that the ledger remembers; nil: none
	lookedLive bool
	based      bool
	changed    *github.Changes
}

// remembered gives the live commit's own rules, if the ledger remembers them. Then the
// changed files tell whether the new commit has the same rules, and no file is read.
func (r *reading) remembered(ctx context.Context) (*Rules, error) {
	if r.lookedLive || r.env.ID == "" || r.env.Live.IsZero() {
		return r.live, nil
	}
	sha, live, ok, err := r.ownLive(ctx, r.repo, r.env.ID)
	if r.lookedLive = err == nil; ok && sha == r.env.Live.SHA {
		r.live = &live
	}
	return r.live, err
}

// newRules are those of the new commit. If the live commit's rules name the environment,
// the comparison is needed anyway and may spare the reading. If they don't, perhaps no
// file names the environment: then the new file is read first, and the comparison is
// spared.
func (r *reading) newRules(ctx context.Context) (Rules, error) {
	live, err := r.remembered(ctx)
	if err != nil {
		return Rules{}, err
	}
	named := false
	if live != nil && live.File != nil {
		counts, err := r.effective(ctx, r.repo, *live)
		if err != nil {
			return Rules{}, err
		}
		if counts.File != nil {
			_, named = counts.File.Environment(r.env.Name)
		}
	}
	if !named {
		return r.ownAt(ctx, r.repo, r.to.SHA)
	}
	changes, err := r.changes(ctx)
	if err != nil {
		return Rules{}, err
	}
	if same, ok := r.same(r.repo, r.to.SHA, *live, changes); ok {
		return same, nil
	}
	return r.ownAt(ctx, r.repo, r.to.SHA)
}

// oldRules are those of the commit that the difference starts from. A commit that is gone
// has none: removed files then go by the new rules.
func (r *reading) oldRules(ctx context.Context) (Rules, error) {
	if live, err := r.remembered(ctx); err != nil || live != nil {
		if live == nil {
			live = new(Rules)
		}
		return *live, err
	}
	if err := r.baseline(ctx); err != nil || r.plan.From.SHA == "" {
		return Rules{}, err
	}
	// If the comparison touches neither place of the file, the old commit's rules are the
	// new commit's, and no file is read.
	if !r.plan.own.None() {
		changes, err := r.changes(ctx)
		if err != nil {
			return Rules{}, err
		}
		if r.plan.own, err = r.plain(ctx, r.repo, r.to.SHA, r.plan.own); err != nil {
			return Rules{}, err
		}
		if old, ok := r.same(r.repo, r.plan.From.SHA, r.plan.own, changes); ok {
			return old, nil
		}
	}
	old, err := r.ownAt(ctx, r.repo, r.plan.From.SHA)
	if github.IsNotFound(err) {
		return Rules{}, nil
	}
	return old, err
}

// changes finds the files that differ. Where that can't be known, because there is no
// commit to start from or GitHub has lost it, it is every file of the new tree: too much
// is purged rather than too little.
func (r *reading) changes(ctx context.Context) (github.Changes, error) {
	if r.changed != nil {
		return *r.changed, nil
	}
	if err := r.baseline(ctx); err != nil {
		return github.Changes{}, err
	}
	at := r.repository(r.repo)
	if r.plan.From.SHA != "" {
		listing, err := r.listing(ctx)
		if err != nil {
			return github.Changes{}, err
		}
		changes, err := at.Changes(ctx, r.plan.From.SHA, r.to.SHA, listing)
		if err == nil || !errors.Is(err, github.ErrGone) {
			r.plan.Tree, r.changed = changes.Tree, &changes
			return changes, err
		}
		r.plan.Note = "every file, since commit " + short(r.plan.From.SHA) + " is gone"
	}
	tree, err := at.Tree(ctx, r.to.SHA)
	if err != nil {
		return github.Changes{}, err
	}
	r.plan.Tree, r.changed = tree, &github.Changes{Tree: tree, Relation: github.Unrelated}
	for path := range tree.Paths() {
		r.changed.Files = append(r.changed.Files, mapping.Change{Path: path, Op: mapping.Modified})
	}
	return *r.changed, nil
}

// listing is the tree that the ledger stored last for the environment; nil: none.
func (r *reading) listing(ctx context.Context) (*github.Tree, error) {
	if r.env.ID == "" {
		return nil, nil //nolint:nilnil // nothing remembered is an answer
	}
	listing, err := r.Ledger.Tree(ctx, r.env.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // nothing remembered is an answer
	}
	if err != nil {
		return nil, err
	}
	tree := new(github.Tree)
	if err := tree.UnmarshalBinary(listing); err != nil {
		r.Log.LogAttrs(ctx, slog.LevelWarn, "remembered tree can't be read; GitHub is asked instead", slog.Any("err", err))
		return nil, nil //nolint:nilnil // it is only a shortcut
	}
	return tree, nil
}

// baseline finds what the plan starts from: the live commit, or, for an environment's
// first purge, what Began finds, else the commit before the first change that is owed.
func (r *reading) baseline(ctx context.Context) error {
	if r.based {
		return nil
	}
	plan := r.plan
	if !r.env.Live.IsZero() {
		plan.From, r.based = r.env.Live, true
		return nil
	}
	began, err := r.Began(ctx, r.repo, r.env, r.to)
	if err != nil {
		return err
	}
	plan.Served = began.Served
	var since string
	if plan.From = began.Live; !began.Live.IsZero() {
		since = "deployment " + short(began.Live.SHA)
	} else if plan.From.SHA, since, err = r.before(ctx, began.First); err != nil {
		return err
	}
	plan.Start, r.based = report.Compared(since), true
	return nil
}

// before is the commit before the first one whose change is owed, and in public words
// what it is: the commit that its push moved the branch from, else its first parent. "":
// the commit has no parent, and every file is new.
func (r *reading) before(ctx context.Context, first string) (sha, since string, err error) {
	push, err := r.Ledger.PushOf(ctx, r.repo.ID, first, cmp.Or(r.plan.Env.Branch, r.repo.DefaultBranch))
	if err == nil && strings.Trim(push.Before, "0") != "" {
		return push.Before, "push from " + short(push.Before), nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", "", err
	}
	commit, err := r.repository(r.repo).Commit(ctx, first)
	if err != nil || len(commit.Parents) == 0 {
		return "", "", err
	}
	return commit.Parents[0], "parent " + short(commit.Parents[0]), nil
}

// rollback tells a rollback from a deployment that goes forward. The ancestor is asked of
// GitHub only where the comparison did not tell it and it would decide.
func (r *reading) rollback(ctx context.Context, relation github.Relation) (bool, error) {
	live := r.env.Live
	if live.IsZero() || live.SHA != r.plan.From.SHA || r.to.SHA == live.SHA {
		return false, nil
	}
	lived, err := r.Ledger.Lived(ctx, r.env.ID, r.to.SHA)
	if err != nil {
		return false, err
	}
	ancestor := relation == github.Behind
	if relation == "" && !lived && ledger.Rollback(live, r.to, true, false) {
		ancestor, err = r.repository(r.repo).Ancestor(ctx, r.to.SHA, live.SHA)
		if err != nil && !github.IsNotFound(err) {
			return false, err
		}
	}
	return ledger.Rollback(live, r.to, ancestor, lived), nil
}

// short is a commit id as people read it.
func short(sha string) string { return sha[:min(len(sha), 7)] }
