// Package pipeline has purgebot's verbs, a file each:
//
//	handle     a delivery becomes facts: desired moves, a command is carried out
//	reconcile  live follows desired: the plan is written down, then opened
//	purge      one request to Akamai: claim, send, settle
//	report     the newest words to one surface on GitHub
//	notify     one event to one receiver
//	sweep      wake what is due and nobody took
//	recover    ask GitHub for what no webhook told
//
// All but the last two are jobs, and a job may run twice: on two replicas at once,
// or again after a crash at any line. So each reads, has at most one effect
// outside, and ends in one transaction that changes nothing if what it read
// has changed. A job carries an id and no work: one too many costs a look, and
// one that is lost is made again by sweep.
//
// Two traps. Nothing may be decided by the order in which webhooks arrive, or
// by this machine's clock: facts have GitHub's times and ids. And an error
// ends only the job; what it was about is put off on its own row (see Work),
// so that a long outage does not multiply jobs.
package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/notify"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/probe"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// Config is what a pipeline works with.
type Config struct {
	Store     *store.Store
	GitHub    *github.App
	Akamai    Sender
	Policy    func() policy.Policy // as it is now: a running server may take another
	Pages     probe.Getter         // fetches pages, to verify and to warm
	Receivers func() []notify.Receiver
	Poster    notify.Poster // tells them
	PublicURL string        // of the pages that statuses link to, without a slash at its end
	Now       func() time.Time
	Log       *slog.Logger

	// FetchOrigins are hosts, or HOST:PORT, that may be fetched from beside those
	// that policy lets a repository purge.
	FetchOrigins []string

	// StatusEvery is the least time between two writes of one commit status.
	// GitHub allows 80 writes a minute and 500 an hour.
	StatusEvery time.Duration
	// Unpaced leaves out the limits on writes: a GitHub that has none.
	Unpaced bool

	// HandleTime is what the handling of one delivery may take; 0: two minutes.
	HandleTime time.Duration

	// How long deliveries and purges are kept once they are done; 0: for ever.
	KeepDeliveries, KeepPurges time.Duration
}

// Sender makes one attempt at a request to Akamai with an account's credentials;
// see purger.Client.
type Sender interface {
	Send(ctx context.Context, account string, r purger.Request) purger.Answer
}

// Pipeline does the work between the webhook and Akamai.
type Pipeline struct {
	Config
	planner *planner.Planner
	owed    owed
	snoozed snoozed
	alarm   alarm

	assigned atomic.Int64 // when policy was taken: see Assign

	refused atomic.Bool // a webhook, since GitHub was last asked for them
	timings *timings
	notices notices
}

// New makes a pipeline. It starts nothing: see Runner.
func New(cfg Config) *Pipeline {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.HandleTime == 0 {
		cfg.HandleTime = 2 * time.Minute
	}
	if cfg.StatusEvery == 0 {
		cfg.StatusEvery = 3 * time.Second
	}
	if cfg.Receivers == nil {
		cfg.Receivers = func() []notify.Receiver { return nil }
	}
	p := &Pipeline{timings: newTimings(), notices: newNotices(), Config: cfg}
	p.planner = planner.New(planner.Config{Ledger: cfg.Store, GitHub: cfg.GitHub, Policy: cfg.Policy, Log: cfg.Log, Began: p.began})
	return p
}

const (
	// planTime is what one difference may take, GitHub's truncated trees
	// included; jobTime what every other job may.
	planTime = 10 * time.Minute
	jobTime  = time.Minute
)

// Runner makes the job runner that works this pipeline.
func (p *Pipeline) Runner() (store.Runner, error) {
	const handlers, reconcilers, reporters = 8, 4, 4
	workers := river.NewWorkers()
	river.AddWorker(workers, verb(p, p.HandleTime, shared(p, newShares(handlers/4), p.whoseDelivery, p.handle)))
	river.AddWorker(workers, verb(p, planTime, shared(p, newShares(reconcilers/2), p.whoseEnvironment, p.reconcile)))
	river.AddWorker(workers, verb(p, jobTime, p.purge))
	river.AddWorker(workers, verb(p, jobTime, shared(p, newShares(reporters/2), p.whosePost, p.report)))
	river.AddWorker(workers, verb(p, jobTime, p.prove))
	river.AddWorker(workers, verb(p, jobTime, p.notify))
	return p.Store.NewRunner(&river.Config{
		Logger:  slog.New(slog.DiscardHandler), // this package logs what a job did, once
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			store.HandleJob{}.Kind():    {MaxWorkers: handlers},
			store.ReconcileJob{}.Kind(): {MaxWorkers: reconcilers},
			store.PurgeJob{}.Kind():     {MaxWorkers: 8},
			store.ReportJob{}.Kind():    {MaxWorkers: reporters},
			store.ProveJob{}.Kind():     {MaxWorkers: 4},
			store.NotifyJob{}.Kind():    {MaxWorkers: notify.Most},
		},
		FetchCooldown:               10 * time.Millisecond,
		FetchPollInterval:           500 * time.Millisecond,
		JobTimeout:                  jobTime,
		RescueStuckJobsAfter:        planTime + time.Minute,
		CompletedJobRetentionPeriod: 10 * time.Minute,
		RetryPolicy:                 retryPolicy{now: p.Now},
	})
}

// snooze asks for the same job once more after a time: nothing went wrong.
type snooze struct{ after time.Duration }

func (snooze) Error() string { return "not yet" }

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
// woken for is put off: by the time that GitHub asked for, or a growing pause.
func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	err := w.p.caught(ctx, job.Args, func() error { return w.work(ctx, job.Args) })
	var wait snooze
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
	case waitable, errors.Is(err, mapping.ErrBusy):
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

var errPanicked = errors.New("it panicked, as the log shows")

// caught makes an error of a panic: it ends one job, and the log has it.
func (p *Pipeline) caught(ctx context.Context, job river.JobArgs, work func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.Log.LogAttrs(ctx, slog.LevelError, "a job panicked", slog.String("job", job.Kind()), slog.Any("args", job),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = errPanicked
		}
	}()
	return work()
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

// snoozed remembers the jobs of this process that wait for a moment, so that of
// many for one account and kind only one is kept waiting.
type snoozed struct {
	mu    sync.Mutex
	until map[store.PurgeJob]time.Time
}

// wait reports whether the caller is to wait: nobody else does, or not so soon.
func (b *snoozed) wait(job store.PurgeJob, now, until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = map[store.PurgeJob]time.Time{}
	}
	if other := b.until[job]; other.After(now) && !other.After(until) {
		return false
	}
	b.until[job] = until.Add(-10 * time.Millisecond) // River may come a little early
	return true
}

// repository is the App's view of a repository of the ledger.
func (p *Pipeline) repository(r ledger.Repository) *github.Repository {
	return p.GitHub.Repository(r.Installation, r.Owner, r.Name)
}
