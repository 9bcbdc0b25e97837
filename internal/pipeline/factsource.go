package pipeline

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// factSource is how a fact came here: told by a webhook, or found by a comparison
// with GitHub. What it comes to is the same.
type factSource struct {
	authority func(context.Context) (rules, error) // the rules of the default branch
	desire    func(ctx context.Context, repo int64, environment string, d ledger.Deploy, due time.Time) (ledger.Environment, bool, error)
}

// fromWebhook is a webhook.
func (p *Pipeline) fromWebhook(repo ledger.Repository) factSource {
	return factSource{
		authority: func(ctx context.Context) (rules, error) { return p.planner.Trusted(ctx, repo) },
		desire:    p.Store.Desire,
	}
}
