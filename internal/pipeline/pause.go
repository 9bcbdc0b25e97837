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

// pausesFor lists what a person should know whose purge goes out, or went,
// while others wait.
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
