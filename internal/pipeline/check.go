package pipeline

import (
	"context"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

// checked reads a check run's event: another App's run that completed may be
// a deployment; a button on one of ours was pressed.
func (p *Pipeline) checked(ctx context.Context, repo ledger.Repository, e *webhook.CheckRun, d store.Delivery) (string, error) {
	if e.AppID != p.GitHub.ID() {
		if e.Action != "completed" {
			return "another App's button", nil
		}
		return p.signalled(ctx, repo, checkSignal(e), d.ReceivedAt)
	}
	return "our own", nil
}
