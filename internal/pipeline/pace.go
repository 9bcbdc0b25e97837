package pipeline

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

// urgencyOf says how long words may wait where GitHub's limits on writes are
// near.
func urgencyOf(post store.Post, w words) ledger.Urgency {
	kind := post.Kind()
	switch {
	case post.Refuses():
		return ledger.Refused
	case kind == store.ReplyPost, kind == store.ReactionPost:
		return ledger.Person
	case post.PurgeID == "" && kind == store.CheckPost:
		return ledger.Preview
	case post.PurgeID == "":
		return ledger.FirstWord
	case !w.until.IsZero(), w.status.State == github.StatePending:
		return ledger.Progress
	}
	return ledger.LastWord
}

const (
	// lateAfter is how much later than its deployment a purge is planned so
	// that nobody watches for its progress: it was recovered. Its status waits
	// up to lateWait for the last word, which costs a write less.
	lateAfter = 2 * time.Minute
	lateWait  = 15 * time.Second
)

// quiet is how long the progress of a purge that was recovered is not worth a
// write.
func quiet(purge ledger.Purge, now time.Time) time.Duration {
	if purge.OpenedAt.IsZero() || purge.To.At.IsZero() || purge.OpenedAt.Sub(purge.To.At) < lateAfter {
		return 0
	}
	return purge.OpenedAt.Add(lateWait).Sub(now)
}

// progressWait is how long progress waits at most before it is looked at
// again: by then it may be a last word.
const progressWait = 5 * time.Second

// pace takes one of the writes that GitHub allows, or puts the surface off for
// as long as it gives. Whoever waits for the same moment comes back spread
// over a while.
func (p *Pipeline) pace(ctx context.Context, repo ledger.Repository, post store.Post, w words) (time.Duration, error) {
	urgency := urgencyOf(post, w)
	if urgency == ledger.Progress && w.quiet > 0 {
		return p.putOff(ctx, post, min(w.quiet, progressWait))
	}
	if p.Unpaced {
		return 0, nil
	}
	wait, err := p.Store.TakeWrite(ctx, repo.Installation, urgency)
	if err != nil || wait == 0 {
		return 0, err
	}
	if urgency == ledger.Refused { // it can't wait: others would wait for it
		return wait, p.Store.GiveUpPost(ctx, post, "")
	}
	wait += rand.N(min(wait, 10*time.Second)) //nolint:gosec // jitter needs no secrecy
	if urgency == ledger.Progress {
		wait = min(wait, progressWait)
	}
	return p.putOff(ctx, post, wait)
}

func (p *Pipeline) putOff(ctx context.Context, post store.Post, wait time.Duration) (time.Duration, error) {
	return wait, p.Store.PutOff(ctx, post, wait)
}
