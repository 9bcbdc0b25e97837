package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/mapping"
)

// began finds out from GitHub's API where an environment starts that is new to the
// ledger. It starts from the deployment that was live when this server first heard of the
// repository. If there is none, it starts with the first deployment since, whichever
// webhook came first: what that one changed has to be purged too. A deployment counts by
// the rules and the policy, as its webhook would have. See
// docs/decisions/0004-where-an-environment-starts.md.
//
// Where deployments do not trigger the environment, the commit at hand is the first.
func (p *Pipeline) began(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point) (planner.Beginning, error) {
	start := planner.Beginning{First: to.SHA}
	authority, err := p.planner.Trusted(ctx, repo)
	if err != nil {
		return start, err
	}
	// What triggers this environment is no deployment, so earlier deployments never
	// counted.
	if authority.File != nil {
		if named, ok := authority.File.Environment(env.Name); ok && named.Trigger.Kind != mapping.OnDeployment {
			return start, nil
		}
	}
	by := p.fromWebhook(repo)
	by.authority = func(context.Context) (rules, error) { return authority, nil } // read once
	var trouble error
	// earlier reports whether a deployment counts and succeeded before the success at
	// hand, which may be one more of the same deployment. Its first error stops all later
	// calls, as LastSuccess takes no error from it.
	earlier := func(d github.Deployment) bool {
		before := to.Status == 0 || to.After(pointOf(d))
		if !before || d.State != "success" || trouble != nil {
			return false
		}
		_, why, err := p.counts(ctx, by, repo, statusOf(d))
		trouble = err
		return err == nil && why.counts()
	}
	// GitHub records whole seconds. A success within the second of FirstSeen may have
	// come after it, and counts as later: one purge too many does less harm than one too
	// few.
	seen := repo.FirstSeen.Truncate(time.Second)
	live, found, err := p.repository(repo).LastSuccess(ctx, env.Name, seen, to.Status, earlier)
	var since []github.Deployment
	if err == nil && !found && trouble == nil {
		since, err = p.repository(repo).Deployments(ctx, env.Name, seen, nil)
	}
	i := slices.IndexFunc(since, earlier)
	switch {
	case trouble != nil:
		return start, trouble
	case err != nil && !github.IsNotFound(err):
		return start, err
	case err == nil && found:
		start.Live = pointOf(live)
	case err == nil && i >= 0:
		start.First = since[i].SHA
		for j := max(i, len(since)-servedMost); j < len(since); j++ {
			if j == i || earlier(since[j]) {
				start.Served = append(start.Served, pointOf(since[j]))
			}
		}
	}
	return start, trouble
}

// servedMost bounds the overtaken deployments of a beginning: each costs a comparison.
// The newest are kept, whose difference from the live commit usually contains that of the
// older ones.
const servedMost = 50

// pointOf is the point at which a deployment's last status put its environment.
func pointOf(d github.Deployment) ledger.Point {
	return ledger.Point{SHA: d.SHA, Deploy: d.ID, Status: d.StatusID, At: d.CreatedAt}
}
