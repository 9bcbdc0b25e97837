package pipeline

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

// urgencyOf says how long words may wait where GitHub's limits on writes are near; see
// ledger.Urgency for the order. A refusal of a stranger comes first here: it is a reply
// or a reaction, and must not count as an answer to a person.
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
	// lateAfter is how much later than its deployment a purge opens so that it counts as
	// recovered: nobody watches its progress. For up to lateWait after its opening, its
	// status waits for the last word, which saves one write.
	lateAfter = 2 * time.Minute
	lateWait  = 15 * time.Second
)

// quiet is for how much longer the progress of a recovered purge is not worth a write; 0
// or less: it is worth one.
func quiet(purge ledger.Purge, now time.Time) time.Duration {
	if purge.OpenedAt.IsZero() || purge.To.At.IsZero() || purge.OpenedAt.Sub(purge.To.At) < lateAfter {
		return 0
	}
	return purge.OpenedAt.Add(lateWait).Sub(now)
}

// progressWait is how long progress waits at most before it is looked at again: by then
// there may be a last word.
const progressWait = 5 * time.Second

// pace takes one of the writes that GitHub allows an installation, all replicas together.
// If none is free, it puts the surface off and gives the wait. Waits are spread at
// random, so that surfaces which wait for the same moment don't come back together.
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
	if urgency == ledger.Refused { // given up: if it waited, it would take a write that others wait for
		return wait, p.Store.GiveUpPost(ctx, post, "")
	}
	wait += rand.N(min(wait, 10*time.Second)) //nolint:gosec // jitter needs no secrecy
	if urgency == ledger.Progress {
		wait = min(wait, progressWait)
	}
	return p.putOff(ctx, post, wait)
}

// putOff gives the claimed surface back for a time. Nothing went wrong, so no try is
// counted.
func (p *Pipeline) putOff(ctx context.Context, post store.Post, wait time.Duration) (time.Duration, error) {
	return wait, p.Store.PutOff(ctx, post, wait)
}
