package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

const (
	// alarmEvery is how often the log says that nothing is sent.
	alarmEvery = time.Minute

	// early is how long before its time a job that waits for tokens is woken. River looks
	// for jobs every 500 ms (FetchPollInterval), so a wake is up to that late; the job
	// waits for the rest itself, to the millisecond.
	early = 600 * time.Millisecond

	// settleTries is how often purgebot tries to write an answer down. If a busy database
	// loses the answer, the request is sent again once its lease is over: objects that
	// Akamai has accepted would be purged twice.
	settleTries = 3
)

// purge sends the next request of an account, for one kind of object: claim, send once,
// settle. Claim takes tokens of the account's rate limit, which all replicas share. If
// the process dies after the claim, the request stays in state sending until its lease is
// over, and then any worker may send it again. The objects may then be purged twice, and
// never not at all. One job sends one request: the store wakes the next job.
func (p *Pipeline) purge(ctx context.Context, job store.PurgeJob) error {
	for {
		r, wait, err := p.Store.Claim(ctx, job.Account, purger.Kind(job.Objects))
		if err != nil {
			return err
		}
		if r != nil {
			return p.send(ctx, r)
		}
		if now, err := p.later(ctx, job, wait); !now {
			return err
		}
	}
}

// send makes the one attempt, within the time that the claim allows for it (r.Limit, less
// than the lease), and settles the answer. It returns an error only where the answer
// could not be stored.
func (p *Pipeline) send(ctx context.Context, r *store.Request) error {
	began := p.Now()
	sending, cancel := context.WithTimeout(ctx, r.Limit)
	answer := p.Akamai.Send(sending, r.AccountName(), r.Request)
	cancel()

	now := p.Now()
	d, err := p.settled(ctx, r, store.Reply{Answer: answer, At: now, Took: now.Sub(began)})
	if err == nil {
		p.logAnswer(ctx, r, answer, d)
	}
	return err
}

// later waits until something may be sent, and then reports true. It reports false where
// nothing waits (wait is 0), where another job of this process waits for the same, or
// where there is longer to wait: then the job is put off until shortly before.
func (p *Pipeline) later(ctx context.Context, job store.PurgeJob, wait time.Duration) (now bool, err error) {
	step := min(wait, soon)
	if step > early {
		step -= early
	}
	at := p.Now()
	if wait == 0 || !p.snoozed.wait(job, at, at.Add(step)) {
		return false, nil
	}
	if step > early {
		return false, snooze{step}
	}
	if !sleep(ctx, step) {
		return false, ctx.Err()
	}
	return true, nil
}

// sleep waits, and reports false if ctx ends first.
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

// settled writes down what became of a request. Settle works even after ctx has ended:
// the answer counts also where this process is told to stop meanwhile. If another worker
// has taken the request over, Settle changes nothing.
func (p *Pipeline) settled(ctx context.Context, r *store.Request, a store.Reply) (d purger.Decision, err error) {
	for range settleTries {
		if d, _, err = p.Store.Settle(ctx, r, a); err == nil {
			return d, nil
		}
	}
	return d, err
}

// alarm lets one log line a minute through for as long as an account has trouble. Each
// probe of a paused account fails in the same way.
type alarm struct {
	mu   sync.Mutex
	last map[string]time.Time // by account
}

// due reports whether the trouble of an account may be logged now, and notes that it was.
func (a *alarm) due(account string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.last[account]; ok && now.Sub(last) < alarmEvery {
		return false
	}
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	a.last[account] = now
	return true
}

// logAnswer logs what Akamai answered. Trouble that pauses the whole account has to be
// fixed by an operator: it is an error, at most once a minute, and each probe meanwhile
// is only information. A refusal of single objects is a warning.
func (p *Pipeline) logAnswer(ctx context.Context, r *store.Request, a purger.Answer, d purger.Decision) {
	if d.Pause > 0 && p.alarm.due(r.Account, p.Now()) {
		p.Log.LogAttrs(ctx, slog.LevelError, "nothing is sent to Akamai", slog.String("account", r.AccountName()),
			slog.String("why", a.Explain()), slog.Int("status", a.Status), slog.String("support", a.SupportID))
	}
	level := slog.LevelInfo
	if !d.Accepted && d.Pause == 0 {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("request", r.ID), slog.String("account", r.AccountName()), slog.String("kind", string(r.Kind)), slog.String("network", string(r.Network)),
		slog.String("action", string(r.Action)), slog.Int("objects", len(r.Objects)), slog.Int("attempt", r.Number),
		slog.String("answer", string(a.Verdict)), slog.Int("status", a.Status), slog.Int("refused", len(d.Refused)),
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
