// Package pipeline has purgebot's verbs, one file each: handle a delivery,
// reconcile an environment, send a purge, report it, sweep up what was
// missed. Every verb is a job that may run twice: it reads, has at most one
// effect outside, and ends in one transaction.
package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

// Config is what a pipeline works with.
type Config struct {
	Store     *store.Store
	GitHub    *github.App
	Akamai    Sender
	Policy    policy.Policy
	PublicURL string // of the pages that statuses link to, without a slash at its end
	Now       func() time.Time
	Log       *slog.Logger

	// StatusEvery is the least time between two writes of one commit status.
	// GitHub allows 80 writes a minute and 500 an hour.
	StatusEvery time.Duration
	// Unpaced leaves out the limits on writes: a GitHub that has none.
	Unpaced bool

	// How long deliveries and purges are kept once they are done; 0: for ever.
	KeepDeliveries, KeepPurges time.Duration
}

// Sender makes one attempt at a request to Akamai; purger.Client is one.
type Sender interface {
	Send(ctx context.Context, r purger.Request) purger.Answer
}

// Pipeline does the work between the webhook and Akamai.
type Pipeline struct {
	Config
	rules   rulesCache
	bells   bells
	alarm   alarm
	refused atomic.Bool // a webhook, since GitHub was last asked for them
}

// New makes a pipeline. It starts nothing: see Runner.
func New(cfg Config) *Pipeline {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.StatusEvery == 0 {
		cfg.StatusEvery = 3 * time.Second
	}
	return &Pipeline{Config: cfg}
}

const (
	// planTime is what one difference may take, GitHub's truncated trees
	// included; jobTime what every other job may.
	planTime = 10 * time.Minute
	jobTime  = time.Minute
)

// Runner makes the job runner that works this pipeline.
func (p *Pipeline) Runner() (store.Runner, error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, verb(p, jobTime*2, p.handle))
	river.AddWorker(workers, verb(p, planTime, p.reconcile))
	river.AddWorker(workers, verb(p, jobTime, p.purge))
	river.AddWorker(workers, verb(p, jobTime, p.report))
	return p.Store.NewRunner(&river.Config{
		Logger:  slog.New(slog.DiscardHandler), // this package logs what a job did, once
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			store.HandleJob{}.Kind():    {MaxWorkers: 8},
			store.ReconcileJob{}.Kind(): {MaxWorkers: 4},
			store.PurgeJob{}.Kind():     {MaxWorkers: 8},
			store.ReportJob{}.Kind():    {MaxWorkers: 4},
		},
		FetchCooldown:               10 * time.Millisecond,
		FetchPollInterval:           500 * time.Millisecond,
		JobTimeout:                  jobTime,
		RescueStuckJobsAfter:        planTime + time.Minute,
		CompletedJobRetentionPeriod: 10 * time.Minute,
		RetryPolicy:                 retryPolicy{now: p.Now},
	})
}

// again asks for the same job once more after a time: nothing went wrong.
type again struct{ after time.Duration }

func (again) Error() string { return "not yet" }

// River puts a job off to the millisecond up to soon; what is later takes
// several steps, and what is much later is left to the sweep.
const (
	soon  = 4 * time.Second
	later = time.Minute
)

// worker is one verb as River runs it.
type worker[T river.JobArgs] struct {
	river.WorkerDefaults[T]
	p     *Pipeline
	limit time.Duration
	work  func(context.Context, T) error
}

func verb[T river.JobArgs](p *Pipeline, limit time.Duration, work func(context.Context, T) error) river.Worker[T] {
	return &worker[T]{p: p, limit: limit, work: work}
}

// Timeout implements river.Worker.
func (w *worker[T]) Timeout(*river.Job[T]) time.Duration { return w.limit }

// Work runs the verb. An error is logged here, once, and what the job was
// rung for is put off: by the time that GitHub asked for, or a growing pause.
func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	err := w.work(ctx, job.Args)
	var wait again
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wait) && wait.after <= later:
		return river.JobSnooze(max(min(wait.after, soon), time.Millisecond))
	case errors.As(err, &wait):
		return nil
	}
	level := slog.LevelError
	asked, waitable := github.RetryAfter(err)
	switch {
	case inTrouble(err):
		level = slog.LevelDebug
	case waitable:
		level = slog.LevelWarn
	}
	after, deferred := w.p.Store.Defer(context.WithoutCancel(ctx), job.Args, func(tries int) time.Duration {
		return pause(asked, tries)
	})
	w.p.Log.LogAttrs(ctx, level, "job will be tried again", slog.String("job", job.Kind),
		slog.Any("args", job.Args), slog.Duration("after", after), slog.Any("err", err))
	if deferred != nil {
		return err // not even that could be stored: River tries again
	}
	return nil
}

// retryPolicy tries again after 1, 2, 4 … seconds, at most every 2 minutes.
type retryPolicy struct{ now func() time.Time }

func (r retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	return r.now().Add(backoff(len(job.Errors)))
}

// backoff is the n-th pause, from one second to two minutes, shortened by up
// to a third so that many don't come back at once.
func backoff(n int) time.Duration {
	d := min(time.Second<<min(n, 10), 2*time.Minute)
	return d - rand.N(d/3) //nolint:gosec // spreads load, guards nothing
}

// pause is how long to wait after so many tries: as long as GitHub asked for,
// spread over a second, or a growing backoff where it named no time.
func pause(asked time.Duration, tries int) time.Duration {
	if asked > 0 {
		return asked + rand.N(time.Second) //nolint:gosec // spreads load, guards nothing
	}
	return backoff(tries)
}

// bells remembers the doorbells of this process that wait for a moment, so
// that of many for one kind only one is kept waiting.
type bells struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// wait reports whether the caller is to wait: nobody else does, or not so soon.
func (b *bells) wait(kind string, now, until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = map[string]time.Time{}
	}
	if other := b.until[kind]; other.After(now) && !other.After(until) {
		return false
	}
	b.until[kind] = until.Add(-10 * time.Millisecond) // River may come a little early
	return true
}

// repository is the App's view of a repository of the ledger.
func (p *Pipeline) repository(r ledger.Repository) *github.Repository {
	return p.GitHub.Repository(r.Installation, r.Owner, r.Name)
}
