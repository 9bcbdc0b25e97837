package pipeline

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// deployed notes a deployment's new state: a success moves what is desired, a
// failure only says so.
func (p *Pipeline) deployed(ctx context.Context, repo ledger.Repository, e *webhook.DeploymentStatus, received time.Time) (string, error) {
	return p.deployedBy(ctx, p.told(repo), repo, e, received)
}

func (p *Pipeline) deployedBy(ctx context.Context, by telling, repo ledger.Repository, e *webhook.DeploymentStatus, received time.Time) (string, error) {
	failed := e.State == "failure" || e.State == "error"
	if e.State != "success" && !failed {
		return "state " + e.State + " decides nothing", nil
	}
	if e.CreatedAt.IsZero() { // GitHub always says; a hand-made event may not
		e.CreatedAt = received.Truncate(time.Second)
	}
	env, outcome, err := p.counts(ctx, by, repo, e)
	if err != nil || outcome != "" {
		return outcome, err
	}
	deploy := ledger.Deploy{
		Point: ledger.Point{SHA: e.SHA, Deploy: e.DeploymentID, Status: e.ID, At: e.CreatedAt},
		State: e.State, Creator: e.Creator,
	}
	known, moved, err := by.desire(ctx, repo.ID, e.Environment, deploy, e.CreatedAt.Add(env.Settle))
	switch {
	case err != nil:
		return "", err
	case failed:
		return "deploy failed", p.deployFailed(ctx, repo, known, env, deploy)
	case moved:
		return "desired", nil
	case deploy.Point == known.Desired || deploy.Point == known.Live:
		return "known already", nil
	default:
		return "overtaken", p.overtaken(ctx, repo, known, env, deploy)
	}
}

// counts decides whether a deployment status counts, by the rules on the
// default branch and the operator's policy; if not, it says why.
func (p *Pipeline) counts(ctx context.Context, by telling, repo ledger.Repository, e *webhook.DeploymentStatus) (env mapping.Environment, outcome string, err error) {
	env = mapping.Environment{Name: e.Environment, Key: e.Environment, Trigger: mapping.Trigger{Kind: mapping.OnDeployment}}
	// A repository that the policy does not list is told so, object by object.
	if grant := p.Policy.For(repo.FullName()); grant.Listed() && !grant.Creator(e.Creator) {
		return env, "policy does not count deployments by " + e.Creator, nil
	}
	file, err := by.authority(ctx)
	if err != nil {
		return env, "", err
	}
	var named mapping.Environment
	ok := false
	if file.file != nil {
		named, ok = file.file.Environment(e.Environment)
	}
	if !ok {
		outcome, err = p.ownGlob(ctx, repo, e)
		return env, outcome, err
	}
	env = named
	if len(env.Creators) > 0 && !slices.ContainsFunc(env.Creators, func(c string) bool { return strings.EqualFold(c, e.Creator) }) {
		return env, "the rules do not count deployments by " + e.Creator, nil
	}
	if env.Trigger.Kind != mapping.OnDeployment {
		return env, "deployments do not trigger " + env.Name, nil
	}
	if env.Glob {
		on, err := p.onBranch(ctx, repo, e.SHA, branchOf(env, repo))
		if err != nil || !on {
			return env, e.SHA + " is not on " + branchOf(env, repo), err
		}
	}
	return env, "", nil
}

// ownGlob keeps out a commit whose own rules name its environment by a glob
// that the default branch does not have: a commit can't authorise itself.
func (p *Pipeline) ownGlob(ctx context.Context, repo ledger.Repository, e *webhook.DeploymentStatus) (outcome string, err error) {
	own, err := p.rulesAt(ctx, repo, e.SHA)
	if github.IsNotFound(err) || err == nil && own.file == nil {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if named, ok := own.file.Environment(e.Environment); !ok || !named.Glob {
		return "", nil
	}
	on, err := p.onBranch(ctx, repo, e.SHA, repo.DefaultBranch)
	if err != nil || on {
		return "", err
	}
	return e.SHA + " is not on " + repo.DefaultBranch, nil
}

// onBranch reports whether a commit is on a branch.
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

// deployFailed says on the commit that nothing was purged, and what waits.
func (p *Pipeline) deployFailed(ctx context.Context, repo ledger.Repository, known ledger.Environment, env mapping.Environment, d ledger.Deploy) error {
	if !known.Live.IsZero() && !d.After(known.Live) { // what is live since covers it
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

// overtaken ends the status of a commit whose success came after that of a
// newer one: what is live covers it.
func (p *Pipeline) overtaken(ctx context.Context, repo ledger.Repository, known ledger.Environment, env mapping.Environment, d ledger.Deploy) error {
	if known.Live.IsZero() || known.Live.SHA == d.SHA || d.After(known.Live) {
		return nil // the reconciling that is due will say it
	}
	_, named, ok, err := p.liveRules(ctx, repo, known.ID)
	if err == nil && !ok {
		named, err = p.rulesAt(ctx, repo, known.Live.SHA)
	}
	if err != nil || named.file == nil {
		return err
	}
	if _, ok := named.file.Environment(env.Name); !ok {
		return nil
	}
	words := report.Carried(known.Live.SHA)
	return p.Store.Announce(ctx, store.Announcement{
		RepoID: repo.ID, EnvID: known.ID, SHA: d.SHA, Context: report.Context(contextName(env)),
		State: words.State, Words: words.Description, At: known.Live.At.Add(time.Millisecond), Ends: true,
	})
}
