package pipeline

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// accountOf names Akamai's account that purges of a repository, OWNER/NAME, are
// sent with now.
func (p *Pipeline) accountOf(repository string) string {
	return cmp.Or(p.Policy().For(repository).Account(), ledger.DefaultAccount)
}

// assignFor is for how long the sweep looks again whether what waits has the
// account that policy names: a replica with the policy before may go on for so
// long. After that, none stands against another that is newer.
const assignFor = 10 * time.Minute

// Assign has what waits sent with the accounts that policy names now: at start,
// and when another policy was taken.
func (p *Pipeline) Assign(ctx context.Context) error {
	p.assigned.Store(p.Now().UnixNano())
	return p.assign(ctx)
}

func (p *Pipeline) assign(ctx context.Context) error {
	n, err := p.Store.Assign(ctx, p.accountOf)
	if n > 0 {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "purges go with another Akamai account", slog.Int("purges", n))
	}
	return err
}
