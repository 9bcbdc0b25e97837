package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/store"
)

// What is looked for that no webhook told of: both at every start, and then
// from time to time, by one replica for all.
const (
	choreDeliveries  = "deliveries"
	choreDeployments = "deployments"

	deliveriesEvery  = 5 * time.Minute
	deploymentsEvery = 10 * time.Minute

	// choreTick is how soon a chore that is due, or whose process died, is
	// taken up; choreLease how long a dead process keeps it.
	choreTick  = time.Second
	choreLease = 15 * time.Second

	// overlap is how far back before the last look the next one begins: a
	// webhook takes minutes at times, and clocks differ.
	overlap = 15 * time.Minute
)

// Recover looks for what was missed, until ctx ends: webhooks that GitHub
// could not deliver, and deployments and pushes that no webhook told of. See
// docs/recovery.md for what it costs.
func (p *Pipeline) Recover(ctx context.Context) {
	// Another replica that is at it will find what there is.
	if err := p.Store.HastenIdle(ctx, choreDeliveries, choreDeployments, choreHearing); err != nil {
		p.logRecover(ctx, "start", err)
	}
	c := &comparing{Pipeline: p, began: p.githubTime(ctx, p.Now())}
	var all sync.WaitGroup
	all.Go(func() { p.repeat(ctx, choreDeliveries, deliveriesEvery, p.redeliver) })
	all.Go(func() { p.repeat(ctx, choreDeployments, deploymentsEvery, c.compare) })
	all.Go(func() { p.repeat(ctx, choreHearing, hearingEvery, p.listen) })
	all.Wait()
}

// A chore does one round, which began at a moment of GitHub's clock: what it
// looks at is GitHub's, and so Last and Compared are. done says that there is
// nothing left that the next round would have to look at again; after is when
// that is, 0: as usual.
type chore func(ctx context.Context, c store.Chore, began time.Time) (done bool, after time.Duration, err error)

// repeat does a chore until ctx ends, on whichever replica claims it: each asks at
// every tick, and most are told that it is not due or somebody else's.
func (p *Pipeline) repeat(ctx context.Context, name string, every time.Duration, do chore) {
	tick := time.NewTicker(choreTick)
	defer tick.Stop()
	for {
		c, ok, err := p.Store.ClaimChore(ctx, name, choreLease)
		if err == nil && ok {
			err = p.round(ctx, c, every, do)
		}
		if err != nil {
			p.logRecover(ctx, name, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *Pipeline) logRecover(ctx context.Context, what string, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) && !inTrouble(err) {
		p.Log.LogAttrs(ctx, slogWarn, "recovery will be tried again", slog.String("what", what), errAttr(err))
	}
}

// round does a chore once and keeps its claim alive meanwhile.
func (p *Pipeline) round(ctx context.Context, c store.Chore, every time.Duration, do chore) error {
	work, stop := context.WithTimeout(github.Patient(ctx), every)
	defer stop()
	var alive sync.WaitGroup
	alive.Go(func() { p.keepChore(work, c, stop) })
	began := p.githubTime(ctx, p.Now())
	done, after, err := do(work, c, began)
	stop()
	alive.Wait()
	if after == 0 {
		after = every
	}
	if err != nil {
		asked, _ := github.RetryAfter(err)
		done, after = false, max(asked, backoff(5)) // about half a minute
	}
	if !done {
		began = time.Time{}
	}
	return errors.Join(err, p.Store.ChoreDone(context.WithoutCancel(ctx), c, began, after))
}

// keepChore renews a claim until ctx ends, and stops the work of one that was
// lost.
func (p *Pipeline) keepChore(ctx context.Context, c store.Chore, stop context.CancelFunc) {
	tick := time.NewTicker(choreLease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.Store.RenewChore(ctx, c, choreLease); errors.Is(err, store.ErrNotFound) {
			stop()
		}
	}
}
