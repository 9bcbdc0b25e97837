package pipeline

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// factSource is where a fact comes from: a webhook, or a comparison with GitHub. Both
// lead to the same result; they differ in what they have read already and in who
// reconciles.
type factSource struct {
	authority func(context.Context) (rules, error) // the rules of the default branch
	desire    func(ctx context.Context, repo int64, environment string, d ledger.Deploy, due time.Time) (ledger.Environment, bool, error)
}

// fromWebhook is the source of a webhook. It reads the rules anew, and desire wakes a
// reconcile job.
func (p *Pipeline) fromWebhook(repo ledger.Repository) factSource {
	return factSource{
		authority: func(ctx context.Context) (rules, error) { return p.planner.Trusted(ctx, repo) },
		desire:    p.Store.Desire,
	}
}
