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

// began finds, by what GitHub's API knows, what an environment starts from
// that nothing was heard of: the deployment that was live before this server
// first heard of the repository. Where there is none, it starts with the first
// deployment since, whichever event came first: what it changed is owed too.
// Deployments count by the rules and by the policy, as their webhooks would have.
func (p *Pipeline) began(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point) (planner.Beginning, error) {
	start := planner.Beginning{First: to.SHA}
	authority, err := p.planner.Trusted(ctx, repo)
	if err != nil {
		return start, err
	}
	if authority.File != nil {
		if named, ok := authority.File.Environment(env.Name); ok && named.Trigger.Kind != mapping.OnDeployment {
			return start, nil
		}
	}
	by := p.fromWebhook(repo)
	by.authority = func(context.Context) (rules, error) { return authority, nil } // read once
	var trouble error
	earlier := func(d github.Deployment) bool {
		before := to.Status == 0 || to.After(pointOf(d))
		if !before || d.State != "success" || d.ID == to.Deploy || trouble != nil {
			return false
		}
		_, why, err := p.counts(ctx, by, repo, statusOf(d))
		trouble = err
		return err == nil && why.counts()
	}
	// GitHub records whole seconds: what it recorded within the second in
	// which this server first heard of the repository may have come after.
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

// servedMost bounds the overtaken deployments of a beginning: each costs a
// comparison, and as a rule the newest differ from the live one by all that
// older ones do.
const servedMost = 50

// pointOf is where a deployment's last status put its environment.
func pointOf(d github.Deployment) ledger.Point {
	return ledger.Point{SHA: d.SHA, Deploy: d.ID, Status: d.StatusID, At: d.CreatedAt}
}
