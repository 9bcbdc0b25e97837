package store

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// openFile opens a store on a SQLite file of its own.
func openFile(t *testing.T, now func() time.Time) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "p.db"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Unavailable is unavailable, for the tests outside the package.
func Unavailable(err error) string { return unavailable(err) }

// Jobs counts the jobs of a kind that were ever enqueued.
func (s *Store) Jobs(ctx context.Context, kind string) (n int, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.row(ctx, `SELECT COUNT(*) FROM river_job WHERE kind = $1`, kind).Scan(&n)
	})
	return n, err
}

// Waits tells whether a commit waits for the disk, as the database itself says within the
// transaction: for write, writeFirst, writeSoon, and last for what River does on its own.
func (s *Store) Waits(ctx context.Context) (all [4]string, err error) {
	setting := map[string]string{"sqlite": `SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous`, "postgres": `SELECT current_setting('synchronous_commit')`}[s.name()]
	for i, write := range []func(context.Context, func(*tx) error) error{s.write, s.writeFirst, s.writeSoon} {
		if err := write(ctx, func(t *tx) error { return t.row(ctx, setting).Scan(&all[i]) }); err != nil {
			return all, err
		}
	}
	switch e := s.engine.(type) {
	case *sqliteEngine:
		err = e.db.QueryRowContext(ctx, setting).Scan(&all[3])
	case *postgresEngine:
		err = e.pool.QueryRow(ctx, setting).Scan(&all[3])
	}
	return all, err
}

// Write is a write in the middle of which something happens.
func (s *Store) Write(ctx context.Context, midst func()) error {
	return s.write(ctx, func(t *tx) error {
		midst()
		_, err := t.exec(ctx, `UPDATE delivery SET tries = 0`)
		return err
	})
}

// Measured is an engine that keeps the most rows that one write touched, and the longest
// time that one took.
type Measured struct {
	engine
	mu      sync.Mutex
	rows    int64
	longest time.Duration
}

// Measure measures a store's writes from now on.
func Measure(s *Store) *Measured {
	m := &Measured{engine: s.engine}
	s.engine = m
	return m
}

// Reset returns what was Measured, and forgets it.
func (m *Measured) Reset() (rows int64, longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows, longest = m.rows, m.longest
	m.rows, m.longest = 0, 0
	return rows, longest
}

func (m *Measured) around(f func(*tx) error) func(*tx) error {
	return func(t *tx) error {
		start := time.Now()
		c := &counted{querier: t.querier}
		t.querier = c
		err := f(t)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.rows, m.longest = max(m.rows, c.rows), max(m.longest, time.Since(start))
		return err
	}
}

func (m *Measured) write(ctx context.Context, f func(*tx) error) error {
	return m.engine.write(ctx, m.around(f))
}

func (m *Measured) writeSoon(ctx context.Context, f func(*tx) error) error {
	return m.engine.writeSoon(ctx, m.around(f))
}

// counted counts the rows that changes touch and that queries return.
type counted struct {
	querier
	rows int64
}

func (c *counted) exec(ctx context.Context, query string, args ...any) (int64, error) {
	n, err := c.querier.exec(ctx, query, args...)
	c.rows += n
	return n, err
}

func (c *counted) each(ctx context.Context, f func(row) error, query string, args ...any) error {
	return c.querier.each(ctx, func(r row) error { c.rows++; return f(r) }, query, args...)
}

// failing is an engine whose writes fail after a number of them.
type failing struct {
	engine
	after int
	err   error
}

func (f *failing) write(ctx context.Context, do func(*tx) error) error {
	if f.after--; f.after < 0 {
		return f.err
	}
	return f.engine.write(ctx, do)
}

// twice is an engine that runs each transaction twice, as PostgreSQL's does after a
// deadlock: the first time all that it did is undone.
type twice struct{ engine }

var errUndone = errors.New("undone")

func (e twice) write(ctx context.Context, do func(*tx) error) error {
	err := e.engine.write(ctx, func(t *tx) error { return cmp.Or(do(t), errUndone) })
	if !errors.Is(err, errUndone) {
		return err
	}
	return e.engine.write(ctx, do)
}

// Twice has all transactions run twice from now on.
func (s *Store) Twice() { s.engine = twice{s.engine} }

// OpenPurge opens a planned purge that moves no environment.
func (s *Store) OpenPurge(ctx context.Context, id string, hold bool) error {
	return s.write(ctx, func(t *tx) error { return s.openTold(ctx, t, id, hold) })
}

// Break lets all writes fail except the next few. The function that it returns ends that.
func (s *Store) Break(after int, err error) (mend func()) {
	f := &failing{engine: s.engine, after: after, err: err}
	s.engine = f
	return func() { s.engine = f.engine }
}

// Leftovers counts the targets of cancelled purges that are not marked as
// dropped, and the purges that are planned.
func (s *Store) Leftovers(ctx context.Context) (waiting, planned int, err error) {
	err = s.read(ctx, func(t *tx) error {
		if err := t.row(ctx, `SELECT COUNT(*) FROM target t JOIN purge p ON p.id = t.purge_id
			WHERE t.state = 'waiting' AND p.state = 'cancelled'`).Scan(&waiting); err != nil {
			return err
		}
		return t.row(ctx, `SELECT COUNT(*) FROM purge WHERE state = 'planning'`).Scan(&planned)
	})
	return waiting, planned, err
}

// Bounds of one write, for the tests outside the package.
const (
	Chunk         = chunk
	RejudgeAtOnce = rejudgeAtOnce
	MarkedAtOnce  = markedAtOnce
)

// Between runs something once, before the first statement that contains a text.
func (s *Store) Between(text string, do func()) {
	s.engine = &between{engine: s.engine, text: text, do: do}
}

type between struct {
	engine
	text string
	do   func()
}

func (e *between) write(ctx context.Context, f func(*tx) error) error {
	return e.engine.write(ctx, func(t *tx) error { t.querier = betweening{t.querier, e}; return f(t) })
}

type betweening struct {
	querier
	e *between
}

func (b betweening) each(ctx context.Context, f func(row) error, query string, args ...any) error {
	if do := b.e.do; do != nil && strings.Contains(query, b.e.text) {
		b.e.do = nil
		do()
	}
	return b.querier.each(ctx, f, query, args...)
}

// Used is how many bytes of a SQLite file hold anything. It counts as if the words had
// been written and the jobs done that wait for a runner.
func (s *Store) Used(ctx context.Context) (n int64, err error) {
	err = s.write(ctx, func(t *tx) error {
		return t.execs(ctx, `DELETE FROM river_job`, `DELETE FROM river_notification`,
			`UPDATE post SET posted_version = version, next_at = at WHERE version > posted_version`)
	})
	if err != nil {
		return 0, err
	}
	err = s.read(ctx, func(t *tx) error {
		return t.row(ctx, `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`).Scan(&n)
	})
	return n, err
}

// TellPauses tells of many pauses in one transaction, for each that it began and that it
// ended.
func (s *Store) TellPauses(ctx context.Context, from, to int64) error {
	return s.write(ctx, func(t *tx) error {
		for id := from; id < to; id++ {
			p := Paused{Pause: ledger.Pause{ID: id, By: "ann"}}
			for _, kind := range []ledger.EventKind{ledger.EventPaused, ledger.EventResumed} {
				if err := s.tellPause(ctx, t, kind, p, ""); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
