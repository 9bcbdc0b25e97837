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
	switch post.Kind() {
	case store.ReplyPost, store.ReactionPost:
		return ledger.Person
	default:
	}
	if post.PurgeID != "" && (!w.until.IsZero() || w.status.State == github.StatePending) {
		return ledger.Progress
	}
	return ledger.LastWord
}

// putOff gives a surface back that GitHub's limits leave no room for. Whoever
// waits for the same moment comes back spread over a while.
func (p *Pipeline) putOff(ctx context.Context, post store.Post, now time.Time, wait time.Duration) error {
	wait += rand.N(min(wait, 10*time.Second)) //nolint:gosec // jitter needs no secrecy
	if err := p.Store.PutOff(ctx, post, now.Add(wait)); err != nil {
		return err
	}
	return again{wait}
}
