package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// postgresEngine is one PostgreSQL database that several replicas work on.
type postgresEngine struct {
	pool *pgxpool.Pool
	jobs *pgJobs
}

// openPostgres opens a database and checks that it answers.
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

func (e *postgresEngine) forUpdate() string  { return " FOR UPDATE" }
func (e *postgresEngine) skipLocked() string { return " FOR UPDATE SKIP LOCKED" }

// intakes is more than one: while one transaction waits for the disk, others write their
// rows there.
func (e *postgresEngine) intakes() int { return 4 }

func (e *postgresEngine) close() error {
	e.pool.Close()
	return nil
}

func (e *postgresEngine) write(ctx context.Context, f func(*tx) error) error {
	return e.transact(ctx, pgx.TxOptions{BeginQuery: durable}, f)
}

// durable begins a transaction that is on disk when it returns, and on a standby too if
// the server is set so. With it, all that was committed before is on disk:
// https://www.postgresql.org/docs/current/wal-async-commit.html
const durable = "BEGIN; SET LOCAL synchronous_commit TO DEFAULT"

// writeFirst is a write: each has a connection of its own, so there is no line.
func (e *postgresEngine) writeFirst(ctx context.Context, f func(*tx) error) error {
	return e.write(ctx, f)
}

func (e *postgresEngine) writeSoon(ctx context.Context, f func(*tx) error) error {
	return e.transact(ctx, pgx.TxOptions{}, f)
}

// deadlocks is how often a transaction is begun anew that PostgreSQL broke off because it
// and another waited for each other. We lock rows in one order where we can (see touch).
// Where many surfaces change at once, we can't:
// https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-DEADLOCKS
const deadlocks = 5

// transact runs a transaction, and again if it was broken off (40P01, deadlock_detected).
// Nothing of a failed one is left in the database, so f may run more than once. f must
// therefore set anew whatever it gives to its caller, and must not add to it.
func (e *postgresEngine) transact(ctx context.Context, options pgx.TxOptions, f func(*tx) error) error {
	for again := 0; ; again++ {
		err := e.once(ctx, options, f)
		if broken, ok := errors.AsType[*pgconn.PgError](err); !ok || broken.Code != "40P01" || again == deadlocks {
			return err
		}
	}
}

// once is one try of a transaction. Its jobs are inserted at its end, so that nobody is
// woken before there is something to see.
func (e *postgresEngine) once(ctx context.Context, options pgx.TxOptions, f func(*tx) error) (err error) {
	defer func() {
		// A connection stays with the server, and the settings, with which it began.
		// After a failover only new connections can write.
		if unavailable(err) == whyReadOnly {
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
		insert: func(ctx context.Context, jobs []river.InsertManyParams) error {
			_, err := e.jobs.InsertManyTx(ctx, t, jobs)
			return err
		},
	}
	if err := q.do(ctx, f); err != nil {
		return err
	}
	return t.Commit(ctx)
}

// read takes a connection for each query.
func (e *postgresEngine) read(ctx context.Context, f func(*tx) error) error {
	return f(&tx{querier: pgQuerier{e.pool}})
}

func (e *postgresEngine) runner(cfg *river.Config) (Runner, error) {
	return river.NewClient(riverpgxv5.New(e.pool), cfg)
}

// connectTime is how long it may take to make a connection, unless the address says
// otherwise (connect_timeout).
const connectTime = 5 * time.Second

// connections is how many connections a replica holds at most, unless the address says
// otherwise (pool_max_conns). pgx's own default is so small that under load jobs hold all
// of them, and a webhook would wait.
const connections = 16

// session sets what every connection needs:
//
//   - synchronous_commit off: a commit that does not ask for the disk does not wait for it, see
//     durable.
//   - read committed: a transaction that waited for a row's lock must read what the one before
//     it wrote, whatever the server's default isolation is.
//   - Timeouts: PostgreSQL ends what is left by a client that froze or whose machine is gone.
//     An open transaction keeps the budget's rows locked, and that stops every other replica.
//     They are shorter than a lease.
const session = `SELECT
	set_config('synchronous_commit', 'off', false),
	set_config('default_transaction_isolation', 'read committed', false),
	set_config('idle_in_transaction_session_timeout', '10s', false),
	set_config('tcp_keepalives_idle', '5', false),
	set_config('tcp_keepalives_interval', '2', false),
	set_config('tcp_keepalives_count', '3', false),
	set_config('tcp_user_timeout', '10s', false)`

// postgresConfig reads an address and sets what an outage needs. Its error may hold the
// password: do not show it.
func postgresConfig(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTime
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = connections
	}
	cfg.ConnConfig.Tracer = limit{}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, session)
		return err
	}
	return cfg, nil
}
