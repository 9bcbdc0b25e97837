package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const (
	// checkpointEvery is how often SQLite's log is moved into the database
	// file. Often and little: a sync of much holds up the commits' own.
	checkpointEvery = 100 * time.Millisecond

	// logPages is how long the log may grow, in pages of 4 KiB, before writes
	// wait for a moment so that it can begin anew: 16 MiB.
	logPages = 4096

	// autoLogPages is when a commit moves the log itself, for the case that
	// nobody else does: 128 MiB.
	autoLogPages = 32768
)

// Checkpoint keeps SQLite's write-ahead log short until ctx ends, beside the
// commits: left to SQLite, every so many a commit would do it, and whoever
// waits for that one would wait for the whole log. PostgreSQL sees to itself.
func (s *Store) Checkpoint(ctx context.Context) {
	e, ok := s.engine.(*sqliteEngine)
	if !ok {
		return
	}
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := e.checkpoint(ctx); err != nil {
				_ = s.judge(ctx, err) // logs it; the next commit meets the same trouble
			}
		}
	}
}

// checkpoint moves what the log holds. Only when all of it has been moved can
// the log begin anew; where commits kept adding to a long one meanwhile, the
// rest, which is little by then, is moved while they wait.
func (e *sqliteEngine) checkpoint(ctx context.Context) error {
	pages, moved, err := moveLog(ctx, e.reads)
	if err != nil || moved == pages || pages < logPages {
		return err
	}
	writer, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer writer.Close() //nolint:errcheck // gives it back
	_, _, err = moveLog(ctx, writer)
	return err
}

// moveLog moves as much of the log as can be moved without waiting for
// anybody, and tells how many pages the log has and how many were moved.
func moveLog(ctx context.Context, conn rowQuerier) (pages, moved int, err error) {
	var busy int
	if err := conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &pages, &moved); err != nil {
		return 0, 0, fmt.Errorf("checkpoint: %w", err)
	}
	return pages, moved, nil
}

// rowQuerier is a pool of connections, or one of them.
type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
