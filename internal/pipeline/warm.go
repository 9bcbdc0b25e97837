package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/verify"
)

const (
	// warmAtOnce is how many URLs one job warms at most; then other proofs have their
	// turn.
	warmAtOnce = 200

	// slow is how long one answer may take before the origin counts as busy, and errs how
	// many sick answers are too many: either ends the warming for good. toWarm is how
	// long one job warms, which must be less than lookTime.
	slow   = 5 * time.Second
	errs   = 3
	toWarm = 30 * time.Second // of one job
)

// request is a GET that the repository is allowed to make; via is the origin to connect
// to, "": the edge. Only the edge is asked for compressed pages, as readers get them.
func (l *proving) request(url, via string) fetch.Request {
	return fetch.Request{URL: url, Via: via, Allow: l.allow, Compressed: via == ""}
}

// warm fetches what was purged through the edge, rule by rule, up to the limit of the
// rules. It ends early if the origin has enough to do: readers come first. Progress is
// kept in WarmRule and WarmSeq. If the process dies, the URLs of one job are fetched
// again.
func (l *proving) warm(ctx context.Context) (store.ProofStep, error) {
	spans, err := l.spans(ctx)
	if err != nil {
		return store.ProofStep{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, toWarm)
	defer cancel()
	asked := l.proof.Asks.Warm
	var failed, late atomic.Int64
	for budget := warmAtOnce; budget > 0 && l.proof.WarmRule < len(spans) && l.proof.Warmed < asked.Limit && ctx.Err() == nil; {
		span := spans[l.proof.WarmRule]
		targets, err := l.Store.URLsFrom(ctx, l.purge.ID, span.Rule, max(l.proof.WarmSeq, span.From), min(budget, asked.Limit-l.proof.Warmed, 4*asked.Concurrency))
		if err != nil {
			return store.ProofStep{}, err
		}
		if len(targets) == 0 {
			l.proof.WarmRule, l.proof.WarmSeq = l.proof.WarmRule+1, 0
			continue
		}
		before := failed.Load()
		each(len(targets), asked.Concurrency, func(i int) {
			began := time.Now()
			end := l.Pages.Get(ctx, l.request(targets[i].Object, "")).End()
			if verify.Sick(end) != "" {
				failed.Add(1)
			}
			if time.Since(began) > slow {
				late.Add(1)
			}
		})
		budget -= len(targets)
		l.proof.Warmed += len(targets) - int(failed.Load()-before)
		l.proof.WarmSeq = targets[len(targets)-1].Seq + 1
		if failed.Load() >= errs || late.Load() > 0 {
			return l.done(), nil // enough: readers come first
		}
	}
	if l.proof.WarmRule >= len(spans) || l.proof.Warmed >= asked.Limit {
		return l.done(), nil
	}
	return l.later(0), nil
}
