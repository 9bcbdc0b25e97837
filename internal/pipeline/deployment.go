package pipeline

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// deployed stores a deployment's new state. A success moves desired; a failure is only
// said on the commit. All other states (queued, in_progress …) decide nothing. by is
// where the fact comes from; received is GitHub's time of the delivery.
func (p *Pipeline) deployed(ctx context.Context, by factSource, repo ledger.Repository, e *webhook.DeploymentStatus, received time.Time) (Outcome, error) {
	if e.State != "success" && e.State != "failure" && e.State != "error" {
		return otherwise("state %s decides nothing", e.State), nil
	}
	if e.CreatedAt.IsZero() { // GitHub always sends it; an event made by hand may lack it
		e.CreatedAt = received.Truncate(time.Second)
	}
	env, outcome, err := p.counts(ctx, by, repo, e)
	if err != nil || !outcome.counts() {
		return outcome, err
	}
	return p.ended(ctx, by, repo, env, e.Environment, ledger.Deploy{
		Point: ledger.Point{SHA: e.SHA, Deploy: e.DeploymentID, Status: e.ID, At: e.CreatedAt},
		State: e.State, Creator: e.Creator,
	})
}

// ended stores how a deployment ended, whatever told of it. name is the environment's as
// GitHub spells it; the ledger compares names without regard to case.
//
// The store decides by GitHub's time whether a success moves desired. If it does not, it
// is either known (the same fact once more) or overtaken by a newer one. So the order in
// which webhooks arrive does not matter.
func (p *Pipeline) ended(ctx context.Context, by factSource, repo ledger.Repository, env mapping.Environment, name string, d ledger.Deploy) (Outcome, error) {
	e, moved, err := by.desire(ctx, repo.ID, name, d, dueAt(d.At, env.Settle))
	switch {
	case err != nil:
		return Outcome{}, err
	case d.State != "success":
		return Outcome{result: deployFailed}, p.deployFailed(ctx, repo, e, env, d)
	case moved:
		return Outcome{result: desired}, nil
	case d.Point == e.Desired || d.Point == e.Live:
		return Outcome{result: known}, nil
	default:
		return Outcome{result: overtaken}, p.overtaken(ctx, repo, e, env, d)
	}
}

// counts decides whether a deployment status counts, by the operator's policy and by the
// rules on the default branch. If not, the outcome says why. The rules of the deployed
// commit have no say, or anybody who can push could let their own commit in.
func (p *Pipeline) counts(ctx context.Context, by factSource, repo ledger.Repository, e *webhook.DeploymentStatus) (env mapping.Environment, outcome Outcome, err error) {
	env = mapping.Environment{Name: e.Environment, Key: e.Environment, Trigger: mapping.Trigger{Kind: mapping.OnDeployment}}
	// A repository that the policy does not list goes on: its objects are planned and
	// refused one by one, so that the status says which permission is missing.
	if grant := p.Policy().For(repo.FullName()); grant.Listed() && !grant.Creator(e.Creator) {
		return env, otherwise("policy does not count deployments by %s", e.Creator), nil
	}
	// Asked only after the policy, since it may cost calls to GitHub.
	file, err := by.authority(ctx)
	if err != nil {
		return env, outcome, err
	}
	var named mapping.Environment
	ok := false
	if file.File != nil {
		named, ok = file.File.Environment(e.Environment)
	}
	if !ok {
		outcome, err = p.refuseGlobOfOwnRules(ctx, repo, e)
		return env, outcome, err
	}
	env = named
	if !createdBy(env, e.Creator) {
		return env, otherwise("the rules do not count deployments by %s", e.Creator), nil
	}
	if env.Trigger.Kind != mapping.OnDeployment {
		return env, otherwise("deployments do not trigger %s", env.Name), nil
	}
	// A glob also fits names that anybody can make up. So the commit must be on the
	// branch that the environment follows.
	if env.Glob {
		on, err := p.onBranch(ctx, repo, e.SHA, branchOf(env, repo))
		if err != nil || !on {
			return env, otherwise("%s is not on %s", e.SHA, branchOf(env, repo)), err
		}
	}
	return env, Outcome{}, nil
}

// refuseGlobOfOwnRules is for an environment that the default branch's rules don't name.
// It keeps out a commit whose own rules name the environment by a glob, unless the commit
// is on the default branch: a commit can't authorise itself.
func (p *Pipeline) refuseGlobOfOwnRules(ctx context.Context, repo ledger.Repository, e *webhook.DeploymentStatus) (outcome Outcome, err error) {
	own, err := p.planner.RulesAt(ctx, repo, e.SHA)
	if github.IsNotFound(err) || err == nil && own.File == nil {
		return outcome, nil
	}
	if err != nil {
		return outcome, err
	}
	if named, ok := own.File.Environment(e.Environment); !ok || !named.Glob {
		return outcome, nil
	}
	on, err := p.onBranch(ctx, repo, e.SHA, repo.DefaultBranch)
	if err != nil || on {
		return outcome, err
	}
	return otherwise("%s is not on %s", e.SHA, repo.DefaultBranch), nil
}

// onBranch reports whether a commit is on a branch. A branch or commit that GitHub does
// not know is no error: the answer is no. It costs two calls.
func (p *Pipeline) onBranch(ctx context.Context, repo ledger.Repository, sha, branch string) (bool, error) {
	r := p.repository(repo)
	head, err := r.Head(ctx, branch)
	if github.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	on, err := r.Ancestor(ctx, sha, head)
	if github.IsNotFound(err) {
		return false, nil
	}
	return on, err
}

// deployFailed says on the commit that its deployment failed, and what will be purged
// after the next one that succeeds.
func (p *Pipeline) deployFailed(ctx context.Context, repo ledger.Repository, known ledger.Environment, env mapping.Environment, d ledger.Deploy) error {
	if !known.Live.IsZero() && !d.After(known.Live) { // a newer commit is live, and covers this one
		return p.overtaken(ctx, repo, known, env, d)
	}
	words, err := p.forecast(ctx, repo, known, ledger.Point{SHA: d.SHA}, report.DeployFailed)
	if err != nil || words == nil {
		return err
	}
	return p.Store.Announce(ctx, store.Announcement{
		RepoID: repo.ID, EnvID: known.ID, SHA: d.SHA, Context: report.Context(contextName(env)),
		State: words.State, Words: words.Description, At: d.At,
	})
}

// overtaken ends the status of a commit whose success GitHub recorded before that of the
// live commit: the live commit's purge covers it. It says nothing if the rules that are
// live don't name the environment, since nothing was announced by them.
func (p *Pipeline) overtaken(ctx context.Context, repo ledger.Repository, known ledger.Environment, env mapping.Environment, d ledger.Deploy) error {
	if known.Live.IsZero() || known.Live.SHA == d.SHA || d.After(known.Live) {
		return nil // reconcile is due, and its purge says it
	}
	_, named, ok, err := p.planner.LiveRules(ctx, repo, known.ID)
	if err == nil && !ok {
		named, err = p.planner.RulesAt(ctx, repo, known.Live.SHA)
	}
	if err != nil || named.File == nil {
		return err
	}
	if _, ok := named.File.Environment(env.Name); !ok {
		return nil
	}
	words := report.Carried(known.Live.SHA)
	return p.Store.Announce(ctx, store.Announcement{
		RepoID: repo.ID, EnvID: known.ID, SHA: d.SHA, Context: report.Context(contextName(env)),
		State: words.State, Words: words.Description, At: known.Live.At.Add(time.Millisecond), Ends: true,
	})
}
