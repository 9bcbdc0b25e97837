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

type pgJobs = river.Client[pgx.Tx]

// rows and row are what database/sql and pgx have in common.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

type row interface{ Scan(dest ...any) error }

type querier interface {
	exec(ctx context.Context, query string, args ...any) (int64, error)
	each(ctx context.Context, f func(row) error, query string, args ...any) error
	row(ctx context.Context, query string, args ...any) row
}

// tx is one transaction, or one read, on either engine.
type tx struct {
	querier
	insert func(context.Context, []river.InsertManyParams) error
	jobs   []river.JobArgs
}

// enqueue asks for a job when the transaction commits: the same one once a
// transaction.
func (t *tx) enqueue(args river.JobArgs) {
	if !slices.Contains(t.jobs, args) {
		t.jobs = append(t.jobs, args)
	}
}

// do makes a change and inserts its jobs: all but the commit.
func (t *tx) do(ctx context.Context, f func(*tx) error) error {
	if err := f(t); err != nil {
		return err
	}
	return t.insertJobs(ctx)
}

// insertJobs writes the jobs that were asked for.
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

// lockRow takes the lock of a row, where others may write at the same time, so
// that the clock is read once its turn has come.
func (s *Store) lockRow(ctx context.Context, t *tx, table, column, value string) error {
	if s.forUpdate() == "" {
		return nil
	}
	_, err := t.exec(ctx, `SELECT 1 FROM `+table+` WHERE `+column+` = $1`+s.forUpdate(), value)
	return err
}

// texts reads the only column of a query, a text.
func (t *tx) texts(ctx context.Context, query string, args ...any) (all []string, err error) {
	err = t.each(ctx, func(r row) error {
		var one string
		err := r.Scan(&one)
		all = append(all, one)
		return err
	}, query, args...)
	return all, err
}

// affected fails with ErrNotFound where a change met no row.
func affected(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

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

func scanAll(rs rows, f func(row) error) error {
	for rs.Next() {
		if err := f(rs); err != nil {
			return err
		}
	}
	return rs.Err()
}

// list is "($from,$from+1,…)" for n parameters.
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
