package pipeline

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// telling is how a fact came here: told by a webhook, or found by a comparison
// with GitHub. What it comes to is the same.
type telling struct {
	authority func(context.Context) (rules, error) // the rules of the default branch
	desire    func(ctx context.Context, repo int64, environment string, d ledger.Deploy, due time.Time) (ledger.Environment, bool, error)
}

// told is the telling of a webhook.
func (p *Pipeline) told(repo ledger.Repository) telling {
	return telling{
		authority: func(ctx context.Context) (rules, error) { return p.authority(ctx, repo) },
		desire:    p.Store.Desire,
	}
}
