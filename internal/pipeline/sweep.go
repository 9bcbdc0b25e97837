package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// sweepEvery is how often the sweep looks for what is due.
const sweepEvery = 2 * time.Second

// Sweep rings for whatever is due and was not heard, until ctx ends. Every
// replica sweeps: one that dies takes nothing with it.
func (p *Pipeline) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := p.Store.Sweep(ctx); err != nil && !errors.Is(err, context.Canceled) {
			p.Log.LogAttrs(ctx, slog.LevelError, "sweep", errAttr(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
