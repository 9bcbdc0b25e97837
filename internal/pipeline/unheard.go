package pipeline

import (
	"context"
	"log/slog"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// unheard says, in public words, that the App does not get the events that trigger an
// environment; "": it does, or GitHub can't tell now. It only warns, so an error is
// logged at debug level and nothing waits for it.
func (p *Pipeline) unheard(ctx context.Context, repo ledger.Repository, trigger mapping.Trigger) string {
	words, err := p.repository(repo).Unheard(ctx, trigger.Kind)
	if err != nil {
		p.Log.LogAttrs(ctx, slog.LevelDebug, "can't tell what the App hears", slog.String("repository", repo.FullName()), errAttr(err))
	}
	return words
}
