package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// How often the sweep looks for what is due, and for what may be forgotten.
const (
	sweepEvery = 2 * time.Second
	pruneEvery = time.Hour
)

// Sweep rings for whatever is due and was not heard, until ctx ends. Every
// replica sweeps: one that dies takes nothing with it.
func (p *Pipeline) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	pruned := time.Time{}
	for {
		if err := p.Store.Sweep(ctx); err != nil && !errors.Is(err, context.Canceled) {
			p.Log.LogAttrs(ctx, slog.LevelError, "sweep", errAttr(err))
		}
		if now := p.Now(); now.Sub(pruned) >= pruneEvery {
			pruned = now
			if err := p.prune(ctx, now); err != nil && !errors.Is(err, context.Canceled) {
				p.Log.LogAttrs(ctx, slog.LevelError, "prune", errAttr(err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// prune forgets what is older than it is kept; a retention of 0 keeps all.
func (p *Pipeline) prune(ctx context.Context, now time.Time) error {
	before := func(kept time.Duration) time.Time {
		if kept <= 0 {
			return time.Time{}
		}
		return now.Add(-kept)
	}
	return p.Store.Prune(ctx, before(p.KeepDeliveries), before(p.KeepPurges))
}
