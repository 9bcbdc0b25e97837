package pipeline

import (
	"context"

	"github.com/purgebot/purgebot/internal/ledger"
)

// pausesOf lists the active pauses that can hold back purges of a repository.
func (p *Pipeline) pausesOf(ctx context.Context, repo ledger.Repository) (some []ledger.Pause, err error) {
	all, err := p.Store.Pauses(ctx)
	for _, one := range all {
		if one.In(repo.FullName()) {
			some = append(some, one.Pause)
		}
	}
	return some, err
}

// pausesFor lists the pauses that a person should hear of whose own purge goes out:
// purges of deployments in the same repository wait. It is nothing for other causes.
func (p *Pipeline) pausesFor(ctx context.Context, purge ledger.Purge) ([]ledger.Pause, error) {
	if purge.Cause != ledger.CauseComment || purge.State == ledger.Cancelled {
		return nil, nil
	}
	repo, err := p.Store.Repository(ctx, purge.RepoID)
	if err != nil {
		return nil, err
	}
	return p.pausesOf(ctx, repo)
}
