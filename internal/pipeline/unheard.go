package pipeline

import (
	"context"
	"log/slog"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// unheard says that the App does not hear what triggers an environment; "": it
// does. Where GitHub does not tell nothing is said: nothing waits for this.
func (p *Pipeline) unheard(ctx context.Context, repo ledger.Repository, trigger mapping.Trigger) string {
	words, err := p.repository(repo).Unheard(ctx, trigger.Kind)
	if err != nil {
		p.Log.LogAttrs(ctx, slog.LevelDebug, "can't tell what the App hears", slog.String("repository", repo.FullName()), errAttr(err))
	}
	return words
}
