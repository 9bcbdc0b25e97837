// Package store keeps the ledger and the jobs, on SQLite or PostgreSQL. No other package
// knows SQL; only this one and package pipeline know River.
//
// Every exported method that changes something is one transaction. It enqueues the jobs
// that the change calls for in that same transaction. So what is stored is never
// forgotten, and what is rolled back wakes nobody. A change of very many rows is the
// exception: it runs in chunks, each a transaction. After each chunk all that the package
// promises holds, and if the change breaks off, the next call or the sweep finishes it.
//
// To read the package: schema.sql has the tables. states.go says by which change a state
// may be written, from the tables of package ledger. plan.go moves an environment.
// queue.go, pack.go and settle.go are the way of a request to Akamai and back. post.go is
// what GitHub is to show. sweep.go finds work that nobody took.
//
// Three rules hold everywhere:
//
//   - Lock order. A transaction that needs a budget's row locks it first, then a purge's,
//     then others in the order of their ids. So no two transactions wait for each other.
//   - Fences. A claim is settled by the number that it was given (an attempt or a fence), not
//     by who holds it. A worker that was too slow has an older number and changes nothing.
//     Surfaces have no such number: see Store.Posted.
//   - Wrong clocks. A stored moment that lies further ahead than anything is ever put off was
//     written by a wrong clock, and counts as over.
package store

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/riverqueue/river"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Config opens a store.
type Config struct {
	URL string           // sqlite:PATH, sqlite:///PATH or postgres://…
	Now func() time.Time // this process's clock; nil: time.Now
	Log *slog.Logger     // nil: none

	// Ahead is the least by which GitHub's clock is ahead of a clock that shows now. What
	// is stored to be compared with GitHub's facts is stored in GitHub's time. nil: not
	// ahead.
	Ahead func(now time.Time) time.Duration

	// Receivers gives those who are told of events, as they are configured at that
	// moment; nil: nobody is told.
	Receivers func() []ledger.Receiver
}

// Reader reads the ledger and changes nothing. Pages and the API get no more than this.
// It is safe for concurrent use.
type Reader struct {
	now func() time.Time // the time by which all replicas go, see replicas.follow
	log *slog.Logger
	engine

	health   health
	zstd     *compressor
	accounts accounts
}

// Store is the ledger on disk: its Reader reads it, and the Store's own methods change
// it. It is safe for concurrent use.
type Store struct {
	Reader
	ownClock  func() time.Time                  // this process's own clock, which other replicas do not move
	ahead     func(now time.Time) time.Duration // never nil
	receivers func() []ledger.Receiver          // never nil

	ids    ids
	probe  probe
	intake intake

	noted    atomic.Int64 // milliseconds: the last time that this process noted, see noteTime
	replicas replicas
}

// ErrNotFound is returned by reads of something that is not there.
var ErrNotFound = errors.New("not found")

// Open opens the database and brings its schema up to date. It starts nothing. Close
// releases it. On SQLite, call Takeover before any job is worked.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Ahead == nil {
		cfg.Ahead = func(time.Time) time.Duration { return 0 }
	}
	if cfg.Receivers == nil {
		cfg.Receivers = func() []ledger.Receiver { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	zstd, err := newCompressor()
	if err != nil {
		return nil, err
	}
	eng, err := openEngine(ctx, cfg.URL, cfg.Log)
	if err != nil {
		return nil, errors.Join(err, zstd.close())
	}
	s := &Store{
		ownClock: cfg.Now,
		Reader:   Reader{log: cfg.Log, engine: eng, zstd: zstd},
		ahead:    cfg.Ahead, receivers: cfg.Receivers, intake: newIntake(eng.intakes()),
	}
	// All leases and moments that are stored are of this clock: the replica whose clock
	// is ahead gives it, see replicas.follow.
	s.now = func() time.Time { return s.ownClock().Add(time.Duration(s.replicas.lead.Load()) * time.Millisecond) }
	s.replicas.id = s.ids.new(s.now())
	if err := eng.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate database: %w", err), s.Close())
	}
	return s, nil
}

// Close releases the database.
func (s *Store) Close() error { return errors.Join(s.close(), s.zstd.close()) }

// An engine is a database that purgebot runs on. Both engines take the same text of each
// query.
type engine interface {
	name() string
	// write is one transaction, which is on disk when it returns. An engine may run f
	// again after it has rolled back.
	write(ctx context.Context, f func(*tx) error) error
	// writeFirst is a write that others make way for, where all writes wait in one line.
	writeFirst(ctx context.Context, f func(*tx) error) error
	// writeSoon is a write that is on disk soon after it returns, and before whatever is
	// written later. If the machine loses its power, the last moments may be gone. It is
	// for what is then done once more.
	writeSoon(ctx context.Context, f func(*tx) error) error
	// read is no transaction: its queries may see different moments.
	read(ctx context.Context, f func(*tx) error) error
	migrate(ctx context.Context) error
	runner(cfg *river.Config) (Runner, error)
	// forUpdate ends a SELECT that locks the rows that it finds. skipLocked does the same
	// but leaves out rows that others lock. Both are "" where only one can write at a
	// time.
	forUpdate() string
	skipLocked() string
	// intakes is how many transactions store deliveries at the same time.
	intakes() int
	// lock keeps other processes off the database, where it takes only one.
	lock() error
	close() error
}

// Runner runs the jobs. Start returns at once. Stop waits until the jobs at work end;
// StopAndCancel cancels them first.
type Runner interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
	Queues() *river.QueueBundle
}

// openEngine opens the engine that an address names.
func openEngine(ctx context.Context, url string, log *slog.Logger) (engine, error) {
	path, sqlite := strings.CutPrefix(url, "sqlite:")
	path = strings.TrimPrefix(path, "//")
	switch {
	case sqlite && path == "":
		return nil, errors.New(`open database: "sqlite:" lacks a path`)
	case sqlite:
		return openSQLite(ctx, path, log)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return openPostgres(ctx, url, log)
	default:
		return nil, fmt.Errorf("open database: %q is neither sqlite:PATH nor postgres://…", url)
	}
}

// inserter configures the client that only inserts jobs. With the default FetchCooldown
// River leaves out an announcement that comes soon after another, and such a job would
// wait for the next poll. So the cooldown is 1 ms here.
func inserter(log *slog.Logger) *river.Config {
	return &river.Config{Logger: quiet(log), FetchCooldown: time.Millisecond, FetchPollInterval: time.Second}
}

// quiet lets only River's warnings through: the pipeline logs once what a job did.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(levelHandler{log.Handler(), slog.LevelWarn})
}

type levelHandler struct {
	slog.Handler
	least slog.Level
}

func (h levelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.least && h.Handler.Enabled(ctx, l)
}

// ids makes ids that sort by the time at which they were made, even within one
// millisecond of one process.
type ids struct {
	mu   sync.Mutex
	mono *ulid.MonotonicEntropy
}

// new makes an id. Within one millisecond the random part of each id is higher than that
// of the one before. Ids of two replicas sort only as well as their clocks agree.
func (g *ids) new(now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mono == nil {
		g.mono = ulid.Monotonic(rand.Reader, 0)
	}
	return ulid.MustNew(ulid.Timestamp(now), g.mono).String()
}

// newKey is the unguessable part of a page's address: 26 characters of base32, 130 bits.
func newKey() string {
	b := make([]byte, 20)
	rand.Read(b)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:26]
}

// ms turns a time into a column's value, and when turns it back: milliseconds since 1970,
// 0 for the zero time.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func when(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
