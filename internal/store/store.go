// Package store keeps the ledger and the jobs, on SQLite or PostgreSQL. It
// alone knows SQL; with package pipeline it alone knows River.
//
// Every exported method that changes something is one transaction, and rings
// the jobs that the change calls for in that same transaction: what is stored
// is never forgotten, and what rolls back never rings.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oklog/ulid/v2"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// Config opens a store.
type Config struct {
	URL string           // sqlite:PATH, sqlite:///PATH or postgres://…
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

// Store is the ledger on disk. It is safe for concurrent use.
type Store struct {
	now func() time.Time
	log *slog.Logger
	engine

	ids    ids
	health health
	probe  probe
	intake intake
	zstd   *compressor

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
	s := &Store{now: cfg.Now, log: cfg.Log, engine: eng, zstd: zstd, intake: newIntake(eng.intakes())}
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
}

// NewRunner makes the River client that works the jobs.
func (s *Store) NewRunner(cfg *river.Config) (Runner, error) { return s.runner(cfg) }

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

// sqliteEngine is one file and one process.
type sqliteEngine struct {
	path   string
	file   os.FileInfo // of what path led to when it was opened
	db     *sql.DB     // one connection
	reads  *sql.DB
	turn   chan struct{} // held by the one write that stands in line for db
	jobs   *river.Client[*sql.Tx]
	locked *os.File // held while this process works on the file
}

func openSQLite(ctx context.Context, path string, log *slog.Logger) (*sqliteEngine, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// For the owner alone. If that fails, SQLite says better what is wrong.
	if f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600); err == nil { //nolint:gosec // the operator's own path
		_ = f.Close()
	}
	// A log that is written ahead. Its commits are on disk when they return
	// only where the transaction asked for it: see durably. Immediate
	// transactions wait for the write lock at the start, where busy_timeout
	// holds, rather than fail in the middle. A connection never makes a file:
	// one that was moved away would be followed by an empty one.
	dsn := "file:" + escapePath(abs) + "?mode=rw&_txlock=immediate" +
		"&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" +
		fmt.Sprintf("&_pragma=wal_autocheckpoint(%d)", autoLogPages) // see Checkpoint
	db := openStatements(dsn)
	// One connection writes, for River too: who waits for it is served in
	// turn and at once, where SQLite's own way for a second writer is to
	// sleep and look again. So nothing may write beside a transaction that it
	// holds itself. Reads have connections of their own: in WAL mode they wait
	// for nobody.
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	file, err := os.Stat(abs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	jobs, err := river.NewClient(newShortDriver(db), inserter(log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open job queue: %w", err), db.Close())
	}
	reads := openStatements(dsn + "&_pragma=cache_size(-256)")
	reads.SetMaxOpenConns(readers)
	reads.SetMaxIdleConns(readers)
	return &sqliteEngine{path: abs, file: file, db: db, reads: reads, turn: make(chan struct{}, 1), jobs: jobs}, nil
}

// readers is how many reads a SQLite file takes at a time. Each keeps 256 KiB of
// the file for itself, not the usual 2 MB: they look for single rows, and the
// operating system has the file in memory too.
const readers = 8

func escapePath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func (e *sqliteEngine) name() string { return "sqlite" }
func (e *sqliteEngine) intakes() int { return 1 }

func (e *sqliteEngine) close() error {
	err := errors.Join(e.reads.Close(), e.db.Close()) // the last one checkpoints
	if e.locked != nil {
		err = errors.Join(err, unlockFile(e.locked), e.locked.Close())
	}
	return err
}

// lock takes the file for this process alone, until it closes it or dies.
func (e *sqliteEngine) lock() error {
	if e.locked != nil {
		return nil
	}
	f, err := os.OpenFile(e.path+"-lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock database: %w", err)
	}
	if err := lockFile(f); err != nil {
		return errors.Join(fmt.Errorf("another purgebot works on %s: SQLite takes one process a file, several need postgres://… (%w)", e.path, err), f.Close())
	}
	e.locked = f
	return nil
}

// unmoved fails where the path leads elsewhere by now: SQLite would go on
// writing to what nobody finds again.
func (e *sqliteEngine) unmoved() error {
	if now, err := os.Stat(e.path); err != nil || !os.SameFile(e.file, now) {
		return fmt.Errorf("%s: %w", e.path, errMoved)
	}
	return nil
}

func (e *sqliteEngine) write(ctx context.Context, f func(*tx) error) error {
	return e.inTurn(ctx, func() error { return e.writeFirst(ctx, f) })
}

func (e *sqliteEngine) writeSoon(ctx context.Context, f func(*tx) error) error {
	return e.inTurn(ctx, func() error {
		return e.connected(ctx, func(c *sql.Conn) error { return e.transact(ctx, c, f) })
	})
}

func (e *sqliteEngine) writeFirst(ctx context.Context, f func(*tx) error) error {
	return e.connected(ctx, func(c *sql.Conn) error {
		return durably(ctx, c, func() error { return e.transact(ctx, c, f) })
	})
}

// inTurn lets one write stand in the line for the connection, so that what
// comes first has one before it at most.
func (e *sqliteEngine) inTurn(ctx context.Context, write func() error) error {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
		return write()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *sqliteEngine) connected(ctx context.Context, f func(*sql.Conn) error) error {
	if err := e.unmoved(); err != nil {
		return err
	}
	c, err := e.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer c.Close() //nolint:errcheck // gives it back
	return f(c)
}

// durably has a connection's commits on disk when they return, and with them
// all that was committed before: https://www.sqlite.org/pragma.html#pragma_synchronous
func durably(ctx context.Context, c *sql.Conn, write func() error) error {
	if err := synchronous(ctx, c, "FULL"); err != nil {
		return err
	}
	defer synchronous(context.WithoutCancel(ctx), c, "NORMAL") //nolint:errcheck // or what comes next waits for the disk too
	return write()
}

func (e *sqliteEngine) transact(ctx context.Context, c *sql.Conn, f func(*tx) error) error {
	t, err := c.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer t.Rollback() //nolint:errcheck // after a commit it only says so
	q := &tx{
		querier: sqlQuerier{t},
		enqueue: func(ctx context.Context, bells []river.InsertManyParams) error {
			_, err := e.jobs.InsertManyTx(ctx, t, bells)
			return err
		},
	}
	if err := f(q); err != nil {
		return err
	}
	if err := q.ring(ctx); err != nil {
		return err
	}
	return t.Commit()
}

func (e *sqliteEngine) read(ctx context.Context, f func(*tx) error) error {
	return f(&tx{querier: sqlQuerier{e.reads}})
}

func (e *sqliteEngine) runner(cfg *river.Config) (Runner, error) {
	return river.NewClient(newShortDriver(e.db), cfg)
}

// postgresEngine is one ledger for several replicas.
type postgresEngine struct {
	pool *pgxpool.Pool
	jobs *pgJobs
}

func openPostgres(ctx context.Context, url string, log *slog.Logger) (*postgresEngine, error) {
	cfg, err := postgresConfig(url)
	if err != nil {
		return nil, errors.New("open database: the postgres:// address can't be read") // pgx's error may show the password
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), inserter(log))
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open job queue: %w", err)
	}
	return &postgresEngine{pool: pool, jobs: jobs}, nil
}

func (e *postgresEngine) name() string { return "postgres" }
func (e *postgresEngine) lock() error  { return nil }

// While one waits for the disk, others get their rows there.
func (e *postgresEngine) intakes() int { return 4 }

func (e *postgresEngine) close() error {
	e.pool.Close()
	return nil
}

func (e *postgresEngine) write(ctx context.Context, f func(*tx) error) error {
	return e.transact(ctx, pgx.TxOptions{BeginQuery: durable}, f)
}

// durable begins a transaction that is on disk when it returns, and on a
// standby where the server is set so; with it all that was committed before:
// https://www.postgresql.org/docs/current/wal-async-commit.html
const durable = "BEGIN; SET LOCAL synchronous_commit TO DEFAULT"

func (e *postgresEngine) writeFirst(ctx context.Context, f func(*tx) error) error {
	return e.write(ctx, f)
}

func (e *postgresEngine) writeSoon(ctx context.Context, f func(*tx) error) error {
	return e.transact(ctx, pgx.TxOptions{}, f)
}

func (e *postgresEngine) transact(ctx context.Context, options pgx.TxOptions, f func(*tx) error) (err error) {
	defer func() {
		// A session stays with the server, and the settings, that it began
		// with: after a failover only new ones may write.
		if trouble(err) == whyReadOnly {
			e.pool.Reset()
		}
	}()
	t, err := e.pool.BeginTx(ctx, options)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer t.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after a commit it only says so
	q := &tx{
		querier: pgQuerier{t},
		enqueue: func(ctx context.Context, bells []river.InsertManyParams) error {
			_, err := e.jobs.InsertManyTx(ctx, t, bells)
			return err
		},
	}
	if err := f(q); err != nil {
		return err
	}
	if err := q.ring(ctx); err != nil {
		return err
	}
	return t.Commit(ctx)
}

func (e *postgresEngine) read(ctx context.Context, f func(*tx) error) error {
	return f(&tx{querier: pgQuerier{e.pool}})
}

func (e *postgresEngine) runner(cfg *river.Config) (Runner, error) {
	return river.NewClient(riverpgxv5.New(e.pool), cfg)
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
