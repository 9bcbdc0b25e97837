// Package store keeps the ledger and the jobs, on SQLite or PostgreSQL. It
// alone knows SQL; with package pipeline it alone knows River.
//
// Every exported method that changes something is one transaction, and
// enqueues the jobs that the change calls for in that same transaction: what is
// stored is never forgotten, and what rolls back wakes nobody. What may be about
// very many rows is the exception: it goes in chunks, each a transaction after
// which all that the package promises holds, and whoever finds the rest goes on.
//
// To read it: schema.sql has the tables; states.go says who may change a state and
// to what, by the tables of package ledger; plan.go moves an environment; queue.go,
// pack.go and settle.go are the way of a request to Akamai and back; post.go is
// what GitHub is to show; sweep.go finds what nobody took.
//
// Three rules hold all over it. A transaction that needs a budget's row takes it
// first, then a purge's, then others in the order of their ids: so two never wait
// for each other. A claim is given back by the number that it was given with, not
// by who holds it: whoever was too slow changes nothing any more. And a stored
// moment that lies further ahead than what is put off ever does was written by a
// wrong clock, and counts as over.
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
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none

	// Ahead is how far GitHub's clock is ahead of one that shows now, at the
	// least: what is stored to be compared with GitHub's facts is stored in its
	// time. nil: not at all.
	Ahead func(now time.Time) time.Duration

	// Receivers are told of events, as they are now; nil: nobody is.
	Receivers func() []ledger.Receiver
}

// Reader reads the ledger and changes nothing: pages and the API have no more.
// It is safe for concurrent use.
type Reader struct {
	now func() time.Time
	log *slog.Logger
	engine

	health   health
	zstd     *compressor
	accounts accounts
}

// Store is the ledger on disk: what its Reader reads, and every change. It is
// safe for concurrent use.
type Store struct {
	Reader
	own       func() time.Time // this process's clock, and nobody else's
	ahead     func(now time.Time) time.Duration
	receivers func() []ledger.Receiver

	ids    ids
	probe  probe
	intake intake

	noted    atomic.Int64 // see noteTime
	replicas replicas
}

// ErrNotFound is returned by reads of something that isn't there.
var ErrNotFound = errors.New("not found")

// Open opens the database and brings its schema up to date. It starts
// nothing; Close releases it.
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
		own:    cfg.Now,
		Reader: Reader{log: cfg.Log, engine: eng, zstd: zstd},
		ahead:  cfg.Ahead, receivers: cfg.Receivers, intake: newIntake(eng.intakes()),
	}
	s.now = func() time.Time { return s.own().Add(time.Duration(s.replicas.lead.Load()) * time.Millisecond) }
	s.replicas.id = s.ids.new(s.now())
	if err := eng.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate database: %w", err), s.Close())
	}
	return s, nil
}

// Close releases the database.
func (s *Store) Close() error { return errors.Join(s.close(), s.zstd.close()) }

// An engine is a database that purgebot runs on. Both take the same text of
// each query.
type engine interface {
	name() string
	// write is one transaction, which is on disk when it returns.
	write(ctx context.Context, f func(*tx) error) error
	// writeFirst is a write that others make way for, where they would wait
	// in one line.
	writeFirst(ctx context.Context, f func(*tx) error) error
	// writeSoon is a write that is on disk soon after, and before whatever is
	// written later: of a machine that loses its power, the last moments may
	// be gone. It is for what is then done once more.
	writeSoon(ctx context.Context, f func(*tx) error) error
	read(ctx context.Context, f func(*tx) error) error
	migrate(ctx context.Context) error
	runner(cfg *river.Config) (Runner, error)
	// forUpdate ends a SELECT that locks the rows it finds, where others may
	// write at the same time; skipLocked leaves out those that others lock.
	forUpdate() string
	skipLocked() string
	// intakes is how many transactions take deliveries at the same time.
	intakes() int
	lock() error
	close() error
}

// Runner runs the jobs. Start returns at once; Stop waits for the jobs at
// work to end, StopAndCancel cancels them first.
type Runner interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
	Queues() *river.QueueBundle
}

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

// inserter configures the client that only inserts jobs. It announces each of
// them: River leaves out announcements within FetchCooldown of another, and
// such a job would wait for the next poll.
func inserter(log *slog.Logger) *river.Config {
	return &river.Config{Logger: quiet(log), FetchCooldown: time.Millisecond, FetchPollInterval: time.Second}
}

// quiet keeps River's own chatter to warnings: what a job did is logged once,
// by the pipeline.
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

// ids makes ids that sort by the time they were made, also within one
// millisecond of one process.
type ids struct {
	mu   sync.Mutex
	mono *ulid.MonotonicEntropy
}

func (g *ids) new(now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mono == nil {
		g.mono = ulid.Monotonic(rand.Reader, 0)
	}
	return ulid.MustNew(ulid.Timestamp(now), g.mono).String()
}

// newKey is the unguessable part of a page's address: 130 bits.
func newKey() string {
	b := make([]byte, 20)
	rand.Read(b)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:26]
}

// ms and when turn times into columns and back; 0 is the zero time.
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
