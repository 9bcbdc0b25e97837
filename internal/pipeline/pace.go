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
	if kind := post.Kind(); kind == store.ReplyPost || kind == store.ReactionPost {
		return ledger.Person
	}
	if post.PurgeID != "" && (!w.until.IsZero() || w.status.State == github.StatePending) {
		return ledger.Progress
	}
	return ledger.LastWord
}

// progressWait is how long progress waits at most before it is looked at
// again: by then it may be a last word.
const progressWait = 5 * time.Second

// pace takes one of the writes that GitHub allows, or puts the surface off for
// as long as it gives. Whoever waits for the same moment comes back spread
// over a while.
func (p *Pipeline) pace(ctx context.Context, repo ledger.Repository, post store.Post, w words, now time.Time) (time.Duration, error) {
	if p.Unpaced {
		return 0, nil
	}
	urgency := urgencyOf(post, w)
	wait, err := p.Store.TakeWrite(ctx, repo.Installation, urgency)
	if err != nil || wait == 0 {
		return 0, err
	}
	wait += rand.N(min(wait, 10*time.Second)) //nolint:gosec // jitter needs no secrecy
	if urgency == ledger.Progress {
		wait = min(wait, progressWait)
	}
	return wait, p.Store.PutOff(ctx, post, now.Add(wait))
}
