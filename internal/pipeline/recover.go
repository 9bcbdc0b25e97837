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

// The chores look for what no webhook told: each at every start, and then from time to
// time. One replica does a chore for all.
const (
	choreDeliveries  = "deliveries"
	choreDeployments = "deployments"

	deliveriesEvery  = 5 * time.Minute
	deploymentsEvery = 10 * time.Minute

	// choreTick is how often each replica asks whether a chore is due. choreLease is how
	// long a dead process keeps a chore; a living one renews its claim three times within
	// it.
	choreTick  = time.Second
	choreLease = 15 * time.Second

	// overlap is how far before the last comparison the next one begins: a webhook takes
	// minutes at times, GitHub's API shows a deployment late, and clocks differ.
	overlap = 15 * time.Minute
)

// Recover does the chores until ctx ends: it looks for webhooks that GitHub could not
// deliver, for deployments and pushes that no webhook told of, and for installations
// whose webhooks have stopped. See docs/recovery.md for what it costs.
func (p *Pipeline) Recover(ctx context.Context) {
	// A replica that is doing a chore now finds what there is, so only idle chores are
	// made due.
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

// chore does one round. began is when the round began, by GitHub's clock, since
// everything that it looks at has GitHub's times; it becomes the chore's Last if the
// round is done. done is false if something is left that the next round has to look at
// again. after is how long until the next round; 0: as usual.
type chore func(ctx context.Context, c store.Chore, began time.Time) (done bool, after time.Duration, err error)

// repeat does a chore until ctx ends. Every replica asks at every tick; ClaimChore gives
// the chore to one of them, and only when it is due.
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

// logRecover logs a round's error, but not the end of the server nor the database's
// trouble, which the store logs.
func (p *Pipeline) logRecover(ctx context.Context, what string, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) && !inTrouble(err) {
		p.Log.LogAttrs(ctx, slogWarn, "recovery will be tried again", slog.String("what", what), errAttr(err))
	}
}

// round does a chore once, for at most the time between two rounds, and keeps its claim
// alive meanwhile. If the claim is lost, the work is stopped, and ChoreDone changes
// nothing. A round that fails or is not done leaves Last as it was, so the next one looks
// at the same time span again.
func (p *Pipeline) round(ctx context.Context, c store.Chore, every time.Duration, do chore) error {
	work, stop := context.WithTimeout(github.Patient(ctx), every)
	defer stop()
	var alive sync.WaitGroup
	// keepChore renews the claim, so it must have ended before ChoreDone gives the claim
	// up.
	alive.Go(func() { p.keepChore(work, c, stop) })
	began := p.githubTime(ctx, p.Now())
	done, after, err := do(work, c, began)
	stop()
	alive.Wait()
	if after == 0 {
		after = every
	}
	// A failed round is tried again soon, or after the time that GitHub asks for.
	if err != nil {
		asked, _ := github.RetryAfter(err)
		done, after = false, max(asked, backoff(5)) // about half a minute
	}
	if !done {
		began = time.Time{}
	}
	return errors.Join(err, p.Store.ChoreDone(context.WithoutCancel(ctx), c, began, after))
}

// keepChore renews a claim until ctx ends. If another process has the claim, it stops the
// work. It only tries again after other errors: the claim holds for two more ticks.
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
