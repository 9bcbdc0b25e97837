package pipeline

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

const (
	// sendTime bounds one request to Akamai; it is below the lease, so that a
	// claim is never sent by two at once. The lease is how long a replica's
	// death holds up what it had claimed.
	sendTime = 9 * time.Second
	lease    = 12 * time.Second

	// pauseTime is how long the account pauses when Akamai says that an
	// operator must mend something; then one request probes.
	pauseTime = 15 * time.Second

	// limitedTime is what Akamai's 429 page says to wait where an answer does
	// not say how many tokens are left.
	limitedTime = 5 * time.Second

	// doubt is how many times a request that is refused without a reason,
	// while nothing else is accepted, is only paused for: 400 is Akamai's
	// answer to too much traffic too.
	doubt = 3
)

// purge sends the next request of a kind of object: claim, send once, settle.
func (p *Pipeline) purge(ctx context.Context, job store.PurgeJob) error {
	kind := purger.Kind(job.Objects)
	r, wait, err := p.Store.Claim(ctx, kind, lease)
	if err != nil {
		return err
	}
	if r == nil {
		now, step := p.Now(), min(wait, soon)
		if wait == 0 || !p.bells.wait(job.Objects, now, now.Add(step)) {
			return nil
		}
		return again{step}
	}
	sending, cancel := context.WithTimeout(ctx, sendTime)
	answer := p.Akamai.Send(sending, r.Request)
	cancel()

	settlement := settle(r, answer, p.Now())
	p.logAnswer(ctx, r, answer, settlement)
	// The answer counts even if this process is told to stop meanwhile.
	_, err = p.Store.Settle(context.WithoutCancel(ctx), r, settlement)
	return err
}

// settle decides what becomes of a request after an answer. It is pure.
func settle(r *store.Request, a purger.Answer, now time.Time) store.Settlement {
	v := store.Settlement{Verdict: store.Again, Answer: a, Words: a.Words(), Next: now}
	n := len(r.Objects)
	switch a.Verdict {
	case purger.Accepted:
		v.Verdict = store.Accept
	case purger.Limited:
		v.Next = now.Add(max(a.RetryAfter, limitedTime))
		if left := a.Limits.Objects.Remaining; left != nil {
			v.Next = now.Add(a.RetryAfter) // the budget knows when there are enough
			if k := int(*left); k < n && k > n/10 {
				v.Verdict, v.At = store.Split, k
			}
		}
	case purger.TooLarge:
		v = halve(r, v)
	case purger.Refused:
		v = refused(r, a, v, now)
	case purger.Unavailable:
		v.Away = true
		v.Next = now.Add(jitter(min(250*time.Millisecond<<min(r.Attempt, 8), 30*time.Second)))
	case purger.BadCredentials, purger.ClockSkew, purger.NoGrant, purger.NotServed:
		v.Pause = now.Add(pauseTime)
	}
	return v
}

// refused finds the object at fault: the one that Akamai names, or by halves.
func refused(r *store.Request, a purger.Answer, v store.Settlement, now time.Time) store.Settlement {
	switch {
	case a.Offender != "":
		v.Verdict, v.Objects = store.Fail, []string{a.Offender}
		return v
	case len(r.Objects) > 1 && r.SiblingWords == a.Words() && !r.OthersAccepted && r.Attempt <= doubt:
		// Both halves refused alike, and nothing else goes through: it may be
		// Akamai's answer to too much traffic.
		v.Pause = now.Add(pauseTime)
		return v
	default:
		return halve(r, v)
	}
}

func halve(r *store.Request, v store.Settlement) store.Settlement {
	if n := len(r.Objects); n > 1 {
		v.Verdict, v.At = store.Split, n/2
	} else {
		v.Verdict, v.Objects = store.Fail, r.Objects
	}
	return v
}

// jitter shortens a pause by up to a half.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2) }

func (p *Pipeline) logAnswer(ctx context.Context, r *store.Request, a purger.Answer, v store.Settlement) {
	level := slog.LevelInfo
	switch {
	case !v.Pause.IsZero():
		level = slog.LevelError
	case v.Verdict != store.Accept:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("request", r.ID), slog.String("kind", string(r.Kind)), slog.String("network", string(r.Network)),
		slog.String("action", string(r.Action)), slog.Int("objects", len(r.Objects)), slog.Int("attempt", r.Attempt),
		slog.String("answer", string(a.Verdict)), slog.Int("status", a.Status), slog.String("settled", string(v.Verdict)),
	}
	if a.PurgeID != "" {
		attrs = append(attrs, slog.String("akamai", a.PurgeID))
	}
	if a.Verdict != purger.Accepted {
		attrs = append(attrs, slog.String("words", a.Words()))
	}
	if a.Err != nil {
		attrs = append(attrs, slog.Any("err", a.Err))
	}
	p.Log.LogAttrs(ctx, level, "akamai answered", attrs...)
}
