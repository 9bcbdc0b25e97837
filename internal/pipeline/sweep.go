package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// sweepEvery is how often the sweep looks for what is due: it is how late a lost job
// starts again, at least. pruneEvery is how often it deletes what is no longer kept.
const (
	sweepEvery = 2 * time.Second
	pruneEvery = time.Hour

	// refusedEvery is the least time between two such requests: after a refused webhook
	// GitHub is asked for failed deliveries at once, and not only in the next round.
	refusedEvery = 20 * time.Second
)

// Refused notes that a webhook was not stored. As soon as the database takes writes,
// GitHub is asked to deliver it again: see recall.
func (p *Pipeline) Refused() { p.refused.Store(true) }

// inTrouble reports whether an error says that the database is not available. The store
// logs that itself, once a minute.
func inTrouble(err error) bool {
	_, ok := errors.AsType[*store.UnavailableError](err)
	return ok
}

// Sweep wakes whatever is due and was not taken, until ctx ends. Every replica sweeps,
// since one that dies must not take the sweep with it. Rows are marked as woken in the
// same transaction as their jobs, so several sweeps don't multiply jobs.
func (p *Pipeline) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var pruned, recalled time.Time
	for {
		// An error ends only this round: the next one finds what was left.
		p.logSweep(ctx, "sweep", p.Store.Sweep(ctx))
		now := p.Now()
		if now.Sub(time.Unix(0, p.assigned.Load())) < assignFor {
			p.logSweep(ctx, "accounts", p.assign(ctx))
		}
		if now.Sub(recalled) >= refusedEvery && p.recall(ctx) {
			recalled = now
		}
		if now.Sub(pruned) >= pruneEvery {
			pruned = now
			p.logSweep(ctx, "prune", p.prune(ctx, now))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// recall makes the deliveries chore due at once if a webhook was refused and the database
// would take it now. done reports whether it did.
func (p *Pipeline) recall(ctx context.Context) (done bool) {
	if !p.refused.Load() || p.Store.Ready(ctx) != nil {
		return false
	}
	p.refused.Store(false) // before Hasten: a webhook that is refused from here on sets it again
	if err := p.Store.Hasten(ctx, choreDeliveries); err != nil {
		p.refused.Store(true)
		return false
	}
	return true
}

// logSweep logs an error of the sweep, but not the end of the server nor the database's
// trouble.
func (p *Pipeline) logSweep(ctx context.Context, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !inTrouble(err) {
		p.Log.LogAttrs(ctx, slog.LevelError, "the sweep will be tried again", slog.String("what", what), errAttr(err))
	}
}

// heldFor is how long a status waits for a person to release a purge, to repair rules or
// to deploy. After that the status ends. The purge itself stays held, and can be
// released.
const heldFor = 24 * time.Hour

// prune deletes what is older than it is kept for (a retention of 0 keeps everything),
// and ends the statuses that nobody came for. Several replicas may prune at once.
func (p *Pipeline) prune(ctx context.Context, now time.Time) error {
	before := func(kept time.Duration) time.Time {
		if kept <= 0 {
			return time.Time{}
		}
		return now.Add(-kept)
	}
	if err := p.Store.CloseHeld(ctx, now.Add(-heldFor), report.HeldLong(heldFor)); err != nil {
		return err
	}
	if err := p.Store.Lapse(ctx, now.Add(-heldFor)); err != nil {
		return err
	}
	return p.Store.Prune(ctx, before(p.KeepDeliveries), before(p.KeepPurges))
}
