// Package pipeline has purgebot's verbs, one file each:
//
//	handle     turn a delivery into facts: move desired, carry out a command
//	reconcile  make live follow desired: write the plan down, then open its purge
//	purge      make one request to Akamai: claim, send, settle
//	report     write the newest words to one surface on GitHub
//	notify     tell one receiver one event
//	sweep      wake what is due and has no job
//	recover    ask GitHub for facts that no webhook told
//
// All but the last two are jobs. A job may run twice: on two replicas at once, or again
// after a crash at any line. So each job reads, has at most one effect outside, and ends
// in one transaction. That transaction changes nothing if what the job read has changed.
// A job carries an id and no work: a needless job costs one read, and the sweep makes a
// lost job again.
//
// Two traps. First, neither the order in which webhooks arrive nor this machine's clock
// may decide anything: facts carry GitHub's times and ids. Second, an error ends only the
// job. The job's row is put off (see Work), so that a long outage does not multiply jobs.
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

// Config is what a pipeline works with. New gives Now, Log and Receivers a default.
type Config struct {
	Store     *store.Store
	GitHub    *github.App
	Akamai    Sender
	Policy    func() policy.Policy // the current one: a running server may load another
	Pages     probe.Getter         // fetches pages, to verify and to warm; nil: no purge is verified or warmed
	Receivers func() []notify.Receiver
	Poster    notify.Poster // sends to Receivers
	PublicURL string        // base address of the pages that statuses link to, without a final slash; "": no links
	Now       func() time.Time
	Log       *slog.Logger

	// FetchOrigins are hosts, or HOST:PORT, that purgebot may fetch from in addition to
	// the hosts that policy lets a repository purge.
	FetchOrigins []string

	// StatusEvery is the least time between two writes of one commit status; 0: three
	// seconds. GitHub allows 80 writes a minute and 500 an hour.
	StatusEvery time.Duration
	// Unpaced switches off purgebot's own limits on writes, for a GitHub that has none.
	Unpaced bool

	// HandleTime is how long the handling of one delivery may take; 0: two minutes.
	HandleTime time.Duration

	// KeepDeliveries and KeepPurges are how long deliveries and purges are kept after
	// they are done; 0: for ever.
	KeepDeliveries, KeepPurges time.Duration
}

// Sender makes one attempt at a request to Akamai with an account's credentials; see
// purger.Client. It never returns an error: the answer says what went wrong, and the
// store decides whether the request is sent again.
type Sender interface {
	Send(ctx context.Context, account string, r purger.Request) purger.Answer
}

// Pipeline does the work between the webhook and Akamai. All its methods are safe for
// concurrent use. What it keeps in memory is only a shortcut or a figure for metrics:
// another replica, or the next process, does not need it.
type Pipeline struct {
	Config
	planner *planner.Planner
	owed    owed
	snoozed snoozed
	alarm   alarm

	assigned atomic.Int64 // Unix time in ns at which the policy was loaded; see Assign

	refused atomic.Bool // a webhook was refused since GitHub was last asked for failed deliveries; see Refused
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
	// planTime is the limit for one reconcile job. It covers the slowest difference:
	// GitHub truncates the trees of large repositories, and they are read in parts.
	// jobTime is the limit for every other kind of job but handle, which has
	// Config.HandleTime.
	planTime = 10 * time.Minute
	jobTime  = time.Minute
)

// Runner makes the job runner that works this pipeline. Each kind of job has a queue and
// workers of its own, so that slow jobs of one kind (a large plan, a GitHub that does not
// answer) leave the workers of all other kinds free. Within handle, reconcile and report,
// one repository or person holds only a share of the workers: see shares.
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
		Logger:  slog.New(slog.DiscardHandler), // River logs nothing: this package logs what a job did, once
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			store.HandleJob{}.Kind():    {MaxWorkers: handlers},
			store.ReconcileJob{}.Kind(): {MaxWorkers: reconcilers},
			store.PurgeJob{}.Kind():     {MaxWorkers: 8},
			store.ReportJob{}.Kind():    {MaxWorkers: reporters},
			store.ProveJob{}.Kind():     {MaxWorkers: 4},
			store.NotifyJob{}.Kind():    {MaxWorkers: notify.Most}, // one for each receiver that there may be
		},
		FetchCooldown:               10 * time.Millisecond,
		FetchPollInterval:           500 * time.Millisecond,
		JobTimeout:                  jobTime,
		RescueStuckJobsAfter:        planTime + time.Minute, // no job runs that long: its process is dead
		CompletedJobRetentionPeriod: 10 * time.Minute,
		RetryPolicy:                 retryPolicy{now: p.Now},
	})
}

// snooze asks for the same job once more after a time. It is an error only so that a verb
// can return it: nothing went wrong, and nothing is logged.
type snooze struct{ after time.Duration }

func (snooze) Error() string { return "not yet" }

// River wakes a job to the millisecond if the job sleeps no longer than soon. A longer
// snooze, up to later, is split into steps of soon. Beyond later the job just ends: the
// row has its own time, and the sweep wakes it then.
const (
	soon  = 4 * time.Second
	later = time.Minute
)

// worker runs one verb as a River worker.
type worker[T river.JobArgs] struct {
	river.WorkerDefaults[T]
	p     *Pipeline
	limit time.Duration // of one run: then the context of work ends
	work  func(context.Context, T) error
}

// verb makes River's worker of a verb; limit is how long one job may take.
func verb[T river.JobArgs](p *Pipeline, limit time.Duration, work func(context.Context, T) error) river.Worker[T] {
	return &worker[T]{p: p, limit: limit, work: work}
}

// Timeout implements river.Worker.
func (w *worker[T]) Timeout(*river.Job[T]) time.Duration { return w.limit }

// Work runs the verb. It logs an error once, and puts off the row that the job is about:
// by the time that GitHub asked for, else by a pause that grows with the row's tries. The
// job itself then counts as done. If the retry were River's, each needless job would
// become a chain of retries of its own (docs/decisions/0002-river-only-rings.md).
//
// Work returns an error to River only where the row could not be put off: the database
// does not answer, or Store.Defer does not know the kind of job. Those are purge, report
// and notify, whose rows have leases and times of their own.
func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	err := w.p.caught(ctx, job.Args, func() error { return w.work(ctx, job.Args) })
	var wait snooze
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wait) && wait.after <= later:
		// At least a millisecond: the job must not come back in the same moment for ever.
		return river.JobSnooze(max(min(wait.after, soon), time.Millisecond))
	case errors.As(err, &wait):
		return nil
	}
	level := slog.LevelError
	asked, waitable := github.RetryAfter(err)
	switch {
	// The store logs its own trouble, once a minute; a line for each job would drown it.
	case inTrouble(err):
		level = slog.LevelDebug
	// GitHub's limits and a busy mapping room pass without anybody's help.
	case waitable, errors.Is(err, mapping.ErrBusy):
		level = slog.LevelWarn
	}
	// Not with ctx: the job's own time limit may just have ended it, and then the row
	// would keep no trace of the failure.
	after, deferred := w.p.Store.Defer(context.WithoutCancel(ctx), job.Args, func(tries int) time.Duration {
		return pause(asked, tries)
	})
	w.p.Log.LogAttrs(ctx, level, "job will be tried again", slog.String("job", job.Kind),
		slog.Any("args", job.Args), slog.Duration("after", after), slog.Any("err", err))
	if deferred != nil {
		return err // the row could not be put off: River tries again
	}
	return nil
}

// errPanicked stands for a panic in a job. The log has its stack; see caught and wrongly.
var errPanicked = errors.New("it panicked, as the log shows")

// caught turns a panic of work into errPanicked, and logs its stack. So a panic ends one
// job and not the process. Handle calls it a second time, around the handling alone, to
// count the panic against the delivery.
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

// retryPolicy is for the few errors that Work returns to River: it tries again after 1,
// 2, 4 … seconds, at most every 2 minutes.
type retryPolicy struct{ now func() time.Time }

// NextRetry implements river.ClientRetryPolicy.
func (r retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	return r.now().Add(backoff(len(job.Errors)))
}

// backoff is the n-th pause, counted from 0: from one second to two minutes, shortened by
// up to a third at random so that many rows don't come back at once. The shift stops at
// 10, long after two minutes: a larger one would overflow.
func backoff(n int) time.Duration {
	d := min(time.Second<<min(n, 10), 2*time.Minute)
	return d - rand.N(d/3) //nolint:gosec // spreads load, guards nothing
}

// pause is how long to wait after so many tries: as long as GitHub asked for, plus up to
// a second at random, or a growing backoff where GitHub named no time.
func pause(asked time.Duration, tries int) time.Duration {
	if asked > 0 {
		return asked + rand.N(time.Second) //nolint:gosec // spreads load, guards nothing
	}
	return backoff(tries)
}

// snoozed remembers until when purge jobs of this process wait. Every settled request and
// every opened purge may enqueue a job for the same account and kind of object; only one
// of them has to come back, and the others end. Other replicas have their own.
type snoozed struct {
	mu    sync.Mutex
	until map[store.PurgeJob]time.Time
}

// wait reports whether the caller has to wait, and come back at until. It is false where
// another job of the same account and kind waits already and comes no later.
func (b *snoozed) wait(job store.PurgeJob, now, until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = map[store.PurgeJob]time.Time{}
	}
	if other := b.until[job]; other.After(now) && !other.After(until) {
		return false
	}
	b.until[job] = until.Add(-10 * time.Millisecond) // River may wake a job a little early; it must not find its own entry
	return true
}

// repository gives the App's view of a repository of the ledger. It makes no call: name
// and installation are those of the ledger, and may be out of date.
func (p *Pipeline) repository(r ledger.Repository) *github.Repository {
	return p.GitHub.Repository(r.Installation, r.Owner, r.Name)
}
