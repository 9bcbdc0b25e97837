package pipeline

import (
	"context"

	"github.com/purgebot/purgebot/internal/store"
)

// sweep rings for whatever is due and was not heard.
func (p *Pipeline) sweep(ctx context.Context, _ store.SweepJob) error {
	return p.Store.Sweep(ctx)
}
