package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
)

// pgJobs inserts jobs on PostgreSQL.
type pgJobs = river.Client[pgx.Tx]

// rows and row are what database/sql and pgx have in common.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

type row interface{ Scan(dest ...any) error }

// querier runs queries on either engine. exec returns how many rows it changed. each
// calls its function for every row, and stops at the first error.
type querier interface {
	exec(ctx context.Context, query string, args ...any) (int64, error)
	each(ctx context.Context, f func(row) error, query string, args ...any) error
	row(ctx context.Context, query string, args ...any) row
}

// tx is one transaction, or one read, on either engine. Jobs that are enqueued in a read
// are lost: nothing inserts them.
type tx struct {
	querier
	insert func(context.Context, []river.InsertManyParams) error
	jobs   []river.JobArgs
}

// enqueue asks for a job, which is inserted with the transaction and so runs only after
// the commit. The same job is inserted once in a transaction.
func (t *tx) enqueue(args river.JobArgs) {
	if !slices.Contains(t.jobs, args) {
		t.jobs = append(t.jobs, args)
	}
}

// do makes a change and inserts its jobs: everything but the commit.
func (t *tx) do(ctx context.Context, f func(*tx) error) error {
	if err := f(t); err != nil {
		return err
	}
	return t.insertJobs(ctx)
}

// insertJobs inserts the jobs that were asked for, all at once.
func (t *tx) insertJobs(ctx context.Context) error {
	if len(t.jobs) == 0 {
		return nil
	}
	jobs := make([]river.InsertManyParams, len(t.jobs))
	for i, args := range t.jobs {
		jobs[i] = river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{Queue: queueOf(args), MaxAttempts: maxAttempts}}
	}
	if err := t.insert(ctx, jobs); err != nil {
		return fmt.Errorf("enqueue %d jobs: %w", len(jobs), err)
	}
	return nil
}

// execs runs changes that take no arguments.
func (t *tx) execs(ctx context.Context, queries ...string) error {
	for _, query := range queries {
		if _, err := t.exec(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether a query finds any row.
func (t *tx) has(ctx context.Context, query string, args ...any) (found bool, err error) {
	err = t.row(ctx, `SELECT EXISTS (`+query+`)`, args...).Scan(&found)
	return found, err
}

// lockRow locks a row until the transaction ends, where others may write at the same
// time. Callers read the clock after it: while they wait for the lock, time passes. A row
// that does not exist is not locked and is no error.
func (s *Store) lockRow(ctx context.Context, t *tx, table, column, value string) error {
	if s.forUpdate() == "" {
		return nil
	}
	_, err := t.exec(ctx, `SELECT 1 FROM `+table+` WHERE `+column+` = $1`+s.forUpdate(), value)
	return err
}

// texts reads the only column of a query as texts.
func (t *tx) texts(ctx context.Context, query string, args ...any) (all []string, err error) {
	err = t.each(ctx, func(r row) error {
		var one string
		err := r.Scan(&one)
		all = append(all, one)
		return err
	}, query, args...)
	return all, err
}

// affected turns a change that met no row into ErrNotFound.
func affected(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// missing turns both engines' "no rows" into ErrNotFound.
func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// ignoreMissing turns ErrNotFound into no error.
func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// sqlQuerier is a querier on a *sql.Tx or on a pool.
type sqlQuerier struct {
	q interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}
}

func (s sqlQuerier) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := s.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s sqlQuerier) each(ctx context.Context, f func(row) error, query string, args ...any) error {
	rs, err := s.q.QueryContext(ctx, query, args...) //nolint:rowserrcheck // scanAll checks it
	if err != nil {
		return err
	}
	defer rs.Close() //nolint:errcheck // scanAll has read to the end, or has an error of its own
	return scanAll(rs, f)
}

func (s sqlQuerier) row(ctx context.Context, query string, args ...any) row {
	return s.q.QueryRowContext(ctx, query, args...)
}

// pgQuerier is a querier on a pgx.Tx or on a pool.
type pgQuerier struct {
	q interface {
		Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
		Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
		QueryRow(ctx context.Context, query string, args ...any) pgx.Row
	}
}

func (p pgQuerier) exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := p.q.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (p pgQuerier) each(ctx context.Context, f func(row) error, query string, args ...any) error {
	rs, err := p.q.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rs.Close()
	return scanAll(rs, f)
}

func (p pgQuerier) row(ctx context.Context, query string, args ...any) row {
	return p.q.QueryRow(ctx, query, args...)
}

// scanAll calls f for each row. The engines report a connection that breaks only in Err.
func scanAll(rs rows, f func(row) error) error {
	for rs.Next() {
		if err := f(rs); err != nil {
			return err
		}
	}
	return rs.Err()
}

// list is "($from,$from+1,…)" with n parameters, for IN and VALUES.
func list(from, n int) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(from + i))
	}
	b.WriteByte(')')
	return b.String()
}
