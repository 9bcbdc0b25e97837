package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// How often the sweep looks for what is due, and for what may be forgotten.
const (
	sweepEvery = 2 * time.Second
	pruneEvery = time.Hour

	// refusedEvery is how often at most GitHub is asked at once for what was
	// refused, rather than at the next round.
	refusedEvery = 20 * time.Second
)

// Refused notes that a webhook was not stored. As soon as the database takes
// writes, GitHub is asked to deliver it again.
func (p *Pipeline) Refused() { p.refused.Store(true) }

// inTrouble reports whether the database is what an error is about. The store
// tells the log of that, once a minute.
func inTrouble(err error) bool {
	_, ok := errors.AsType[*store.UnavailableError](err)
	return ok
}

// Sweep wakes whatever is due and was not taken, until ctx ends. Every
// replica sweeps: one that dies takes nothing with it.
func (p *Pipeline) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var pruned, recalled time.Time
	for {
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

// recall has GitHub asked at once for what was refused, if the database would
// take it now.
func (p *Pipeline) recall(ctx context.Context) (done bool) {
	if !p.refused.Load() || p.Store.Ready(ctx) != nil {
		return false
	}
	p.refused.Store(false) // before: what is refused from here on is another matter
	if err := p.Store.Hasten(ctx, choreDeliveries); err != nil {
		p.refused.Store(true)
		return false
	}
	return true
}

func (p *Pipeline) logSweep(ctx context.Context, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !inTrouble(err) {
		p.Log.LogAttrs(ctx, slog.LevelError, "the sweep will be tried again", slog.String("what", what), errAttr(err))
	}
}

// heldFor is how long a status waits for a person: to release a purge, to mend
// rules, to deploy. The purge itself stays held.
const heldFor = 24 * time.Hour

// prune forgets what is older than it is kept, a retention of 0 keeps all, and
// closes what nobody came for.
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
