package pipeline

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// accountOf names the Akamai account with whose credentials the purges of a repository,
// OWNER/NAME, are sent now.
func (p *Pipeline) accountOf(repository string) string {
	return cmp.Or(p.Policy().For(repository).Account(), ledger.DefaultAccount)
}

// assignFor is how long after a policy was loaded the sweep keeps correcting the accounts
// of purges that wait. A replica that has the policy from before may write its accounts
// for so long; after that all replicas have the new one.
const assignFor = 10 * time.Minute

// Assign gives the waiting purges the accounts that policy names now. The server calls it
// at its start and after it has loaded another policy.
func (p *Pipeline) Assign(ctx context.Context) error {
	p.assigned.Store(p.Now().UnixNano())
	return p.assign(ctx)
}

// assign is Assign without starting the time of assignFor anew; the sweep calls it.
func (p *Pipeline) assign(ctx context.Context) error {
	n, err := p.Store.Assign(ctx, p.accountOf)
	if n > 0 {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "purges go with another Akamai account", slog.Int("purges", n))
	}
	return err
}
