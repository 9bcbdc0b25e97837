package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// began finds, by what GitHub's API knows, what an environment starts from
// that nothing was heard of: the deployment that was live before this server
// first heard of the repository. Where there is none, last is nil and first
// the commit of the first deployment since, whichever event came first: what
// it changed is owed too. Deployments count by the rules and by the policy, as
// their webhooks would have.
func (p *Pipeline) began(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point) (last *github.Deployment, first string, err error) {
	authority, err := p.authority(ctx, repo)
	if err != nil {
		return nil, "", err
	}
	if authority.file != nil {
		if named, ok := authority.file.Environment(env.Name); ok && named.Trigger.Kind != mapping.OnDeployment {
			return nil, to.SHA, nil
		}
	}
	by := p.told(repo)
	by.authority = func(context.Context) (rules, error) { return authority, nil } // read once
	var trouble error
	earlier := func(d github.Deployment) bool {
		before := to.Status == 0 || to.After(ledger.Point{SHA: d.SHA, Status: d.StatusID, At: d.CreatedAt})
		if !before || d.State != "success" || d.ID == to.Deploy || trouble != nil {
			return false
		}
		_, why, err := p.counts(ctx, by, repo, statusOf(d))
		trouble = err
		return err == nil && why == ""
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
		return nil, "", trouble
	case err != nil && !github.IsNotFound(err):
		return nil, "", err
	case err == nil && found:
		return &live, "", nil
	case err == nil && i >= 0:
		return nil, since[i].SHA, nil
	}
	return nil, to.SHA, nil
}
