package pipeline

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
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

	// longest is the longest backoff of a request: with the sweep's interval
	// what goes on within 30 s of Akamai's return.
	longest = 20 * time.Second

	// doubtTime is for how long refusals that name nothing, while nothing at
	// all is accepted, are taken for Akamai's answer to too much traffic.
	// Pauses leave it next to none.
	doubtTime = time.Hour

	// alarmEvery is how often the log says that nothing is sent.
	alarmEvery = time.Minute

	// early is how long before its time a job that waits for tokens is woken:
	// the queue polls, and the rest is waited for exactly.
	early = 600 * time.Millisecond

	// settleTries is how often an answer is written down, which must not be
	// lost to a database that is busy: it would be sent again.
	settleTries = 3
)

// purge sends the next request of a kind of object: claim, send once, settle.
func (p *Pipeline) purge(ctx context.Context, job store.PurgeJob) error {
	for {
		r, wait, err := p.Store.Claim(ctx, purger.Kind(job.Objects), lease)
		if err != nil {
			return err
		}
		if r != nil {
			return p.send(ctx, r)
		}
		if now, err := p.later(ctx, job.Objects, wait); !now {
			return err
		}
	}
}

func (p *Pipeline) send(ctx context.Context, r *store.Request) error {
	sending, cancel := context.WithTimeout(ctx, sendTime)
	answer := p.Akamai.Send(sending, r.Request)
	cancel()

	settlement := settle(r, answer, p.Now())
	p.logAnswer(ctx, r, answer, settlement)
	return p.settled(ctx, r, settlement)
}

// later waits for a moment when something may be sent, if nobody else does,
// and says that it has come; or puts the job off until shortly before.
func (p *Pipeline) later(ctx context.Context, kind string, wait time.Duration) (now bool, err error) {
	step := min(wait, soon)
	if step > early {
		step -= early
	}
	at := p.Now()
	if wait == 0 || !p.bells.wait(kind, at, at.Add(step)) {
		return false, nil
	}
	if step > early {
		return false, again{step}
	}
	if !sleep(ctx, step) {
		return false, ctx.Err()
	}
	return true, nil
}

// sleep reports false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// settled writes down what became of a request. The answer counts even if
// this process is told to stop meanwhile.
func (p *Pipeline) settled(ctx context.Context, r *store.Request, v store.Settlement) (err error) {
	for range settleTries {
		if _, err = p.Store.Settle(context.WithoutCancel(ctx), r, v); err == nil {
			return nil
		}
	}
	return err
}

// settle decides what becomes of a request after an answer. It is pure.
func settle(r *store.Request, a purger.Answer, now time.Time) store.Settlement {
	v := store.Settlement{Verdict: store.Again, Answer: a, Heard: now, Words: a.Words(), Next: now}
	switch a.Verdict {
	case purger.Accepted:
		v.Verdict = store.Accept
	case purger.Limited:
		v = limited(r, a, v, now)
	case purger.TooLarge:
		v = halve(r, v)
	case purger.Refused:
		v = refused(r, a, v, now)
	case purger.Unavailable:
		v.Away, v.Why = true, why(a)
		v.Next = now.Add(max(a.RetryAfter, retryAfter(r.Attempt)))
	case purger.BadCredentials, purger.ClockSkew, purger.NoGrant, purger.NotServed:
		v.Pause, v.Why = now.Add(pauseTime), why(a)
	}
	return v
}

// limited sends again what there are tokens for. Where the answer says how
// many those are, the budget knows when to go on; unless it said so before.
func limited(r *store.Request, a purger.Answer, v store.Settlement, now time.Time) store.Settlement {
	n := len(r.Objects)
	left := a.Limits.Objects.Remaining
	switch {
	case left == nil:
		v.Next = now.Add(max(a.RetryAfter, limitedTime))
	case int(*left) < n && int(*left) > n/10:
		v.Verdict, v.At = store.Split, int(*left)
	case r.Attempt > 1 && int(*left) >= n:
		v.Next = now.Add(max(a.RetryAfter, min(retryAfter(r.Attempt), limitedTime)))
	default:
		v.Next = now.Add(a.RetryAfter)
	}
	return v
}

// refused finds the object at fault: the one that Akamai names, or by halves.
// Halves are believed while other requests are accepted; while none are, and
// both halves are refused alike, it may be Akamai's answer to too much
// traffic, and everything pauses instead.
func refused(r *store.Request, a purger.Answer, v store.Settlement, now time.Time) store.Settlement {
	if a.Offender != "" {
		v.Verdict, v.Objects = store.Fail, []string{a.Offender}
		return v
	}
	f := r.Refused
	v.Refusal, v.Since = a.Words(), f.Since
	ours := a.SupportID != "" // the purge service's own word, not a gateway's or a page
	switch {
	case f.Since.IsZero():
		v.Since = now
		if len(r.Objects) > 1 || ours {
			return halve(r, v)
		}
	case f.OthersAccepted, f.Sibling != "" && f.Sibling != v.Refusal, now.Sub(f.Since) > doubtTime:
		return halve(r, v)
	case f.SiblingWaits:
		v.Next = now.Add(retryAfter(r.Attempt))
		return v
	}
	v.Pause, v.Why = now.Add(pauseTime), "Akamai refuses everything alike: "+v.Refusal
	v.Next = v.Pause.Add(time.Second) // others probe first: one that is accepted settles it
	return v
}

func halve(r *store.Request, v store.Settlement) store.Settlement {
	if n := len(r.Objects); n > 1 {
		v.Verdict, v.At = store.Split, n/2
	} else {
		v.Verdict, v.Objects = store.Fail, r.Objects
	}
	return v
}

// why says in public words why nothing is sent; the log has Akamai's.
func why(a purger.Answer) string {
	switch a.Verdict {
	case purger.BadCredentials:
		return "Akamai does not accept our credentials"
	case purger.ClockSkew:
		return "this server's clock differs from Akamai's"
	case purger.NoGrant:
		return "our Akamai API client may not purge"
	case purger.NotServed:
		return "what answers is not Akamai's purge API"
	case purger.Accepted, purger.Limited, purger.Refused, purger.TooLarge, purger.Unavailable:
	}
	if a.Status == 0 {
		return "Akamai does not answer"
	}
	return "Akamai is unavailable: " + a.Words()
}

// retryAfter is the pause of a request after so many attempts: from half a
// second on, doubled each time, shortened by up to a half so that several
// don't come back at once.
func retryAfter(attempt int) time.Duration {
	d := min(250*time.Millisecond<<min(attempt, 8), longest)
	return d - rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

// alarm lets one line a minute through for as long as the trouble lasts.
type alarm struct {
	mu   sync.Mutex
	last time.Time
}

func (a *alarm) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.last.IsZero() && now.Sub(a.last) < alarmEvery {
		return false
	}
	a.last = now
	return true
}

// logAnswer says what Akamai answered. What an operator must mend is an
// error, once a minute; each probe is not.
func (p *Pipeline) logAnswer(ctx context.Context, r *store.Request, a purger.Answer, v store.Settlement) {
	if !v.Pause.IsZero() && p.alarm.due(p.Now()) {
		p.Log.LogAttrs(ctx, slog.LevelError, "nothing is sent to Akamai",
			slog.String("why", a.Explain()), slog.Int("status", a.Status), slog.String("support", a.SupportID))
	}
	level := slog.LevelInfo
	if v.Verdict != store.Accept && v.Pause.IsZero() {
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
