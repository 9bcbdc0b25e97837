package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const (
	// checkpointEvery is how often SQLite's log is moved into the database file: often
	// and a little at a time, because a sync of much data holds up the syncs of commits.
	checkpointEvery = 100 * time.Millisecond

	// logPages is how long the log may grow before writes wait for a moment so that it
	// can begin anew, in pages of 4 KiB: 16 MiB.
	logPages = 4096

	// autoLogPages is the length at which a commit moves the log itself, in case nothing
	// else does: 128 MiB.
	autoLogPages = 32768
)

// Checkpoint keeps SQLite's write-ahead log short until ctx ends. It works beside the
// commits. Left to SQLite, a commit would do it every so many pages, and the caller of
// that commit would wait for the whole log. On PostgreSQL it returns at once: the server
// does this by itself.
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

// checkpoint moves what the log holds. The log can begin anew only when all of it has
// been moved. If commits kept adding to a long log meanwhile, it takes the writing
// connection, so that they wait while it moves the rest, which is little by then.
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

// moveLog moves as much of the log as can be moved without waiting for anybody. It
// returns how many pages the log has and how many of them were moved.
// https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
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
