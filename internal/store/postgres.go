package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

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
