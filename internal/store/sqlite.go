package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/riverqueue/river"
)

// sqliteEngine is one SQLite file that one process works on.
type sqliteEngine struct {
	path   string
	file   os.FileInfo   // what path led to when it was opened, see unmoved
	db     *sql.DB       // one connection, for all writes
	reads  *sql.DB       // several connections, which only read
	turn   chan struct{} // holds one: the one write that stands in line for db
	jobs   *river.Client[*sql.Tx]
	bell   *doorbell
	locked *os.File // the lock file; nil until lock
}

// openSQLite opens a file for the one process that works on it, and makes it if it is
// missing.
func openSQLite(ctx context.Context, path string, log *slog.Logger) (*sqliteEngine, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// Only the owner may read it. If this fails, SQLite's own error says better what is
	// wrong.
	if f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600); err == nil { //nolint:gosec // the operator's own path
		_ = f.Close()
	}
	// Write-ahead log: a commit is on disk when it returns only if its transaction asked
	// for that, see durably. Immediate transactions take the write lock at their start,
	// where busy_timeout (5 s) applies, and do not fail in the middle. mode=rw: a
	// connection never makes a file, or a file that was moved away would be followed by
	// an empty one.
	dsn := "file:" + escapePath(abs) + "?mode=rw&_txlock=immediate" +
		"&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" +
		fmt.Sprintf("&_pragma=wal_autocheckpoint(%d)", autoLogPages) // see Checkpoint
	db := openStatements(dsn)
	// One connection writes, for River too. Its waiters are served in turn and at once,
	// where SQLite's own way for a second writer is to sleep and look again. So nothing
	// may write beside a transaction that it holds itself: it would wait for ever. Reads
	// have connections of their own: in WAL mode they wait for nobody.
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	file, err := os.Stat(abs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	bell := newDoorbell()
	jobs, err := river.NewClient(newInProcessDriver(db, bell), inserter(log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open job queue: %w", err), db.Close())
	}
	reads := openStatements(dsn + "&_pragma=cache_size(-256)")
	reads.SetMaxOpenConns(readers)
	reads.SetMaxIdleConns(readers)
	return &sqliteEngine{path: abs, file: file, db: db, reads: reads, turn: make(chan struct{}, 1), jobs: jobs, bell: bell}, nil
}

// readers is how many reads a SQLite file takes at the same time. Each connection keeps
// 256 KiB of the file in its cache instead of the usual 2 MB: reads look for single rows,
// and the operating system has the file in memory too.
const readers = 8

// escapePath escapes what would end the path of a file: URI.
func escapePath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func (e *sqliteEngine) name() string { return "sqlite" }

// Only one transaction writes at a time, so no row needs a lock of its own.
func (e *sqliteEngine) forUpdate() string  { return "" }
func (e *sqliteEngine) skipLocked() string { return "" }

func (e *sqliteEngine) intakes() int { return 1 }

func (e *sqliteEngine) close() error {
	err := errors.Join(e.reads.Close(), e.db.Close()) // closing the last connection moves the log into the file
	if e.locked != nil {
		err = errors.Join(err, unlockFile(e.locked), e.locked.Close())
	}
	return err
}

// lock takes the file for this process alone, until the process closes it or dies. The
// lock is on a file beside it, so that SQLite's own locks are not touched.
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

// unmoved fails where the path leads elsewhere by now. SQLite would go on writing to a
// file that nobody finds again.
func (e *sqliteEngine) unmoved() error {
	if now, err := os.Stat(e.path); err != nil || !os.SameFile(e.file, now) {
		return fmt.Errorf("%s: %w", e.path, errMoved)
	}
	return nil
}

// write waits for its turn and commits to the disk.
func (e *sqliteEngine) write(ctx context.Context, f func(*tx) error) error {
	return e.inTurn(ctx, func() error { return e.writeFirst(ctx, f) })
}

// writeSoon waits for its turn and does not wait for the disk.
func (e *sqliteEngine) writeSoon(ctx context.Context, f func(*tx) error) error {
	return e.inTurn(ctx, func() error {
		return e.connected(ctx, func(c *sql.Conn) error { return e.transact(ctx, c, f) })
	})
}

// writeFirst does not wait for its turn: at most one other write is before it in the line
// for the connection.
func (e *sqliteEngine) writeFirst(ctx context.Context, f func(*tx) error) error {
	return e.connected(ctx, func(c *sql.Conn) error {
		return durably(ctx, c, func() error { return e.transact(ctx, c, f) })
	})
}

// inTurn lets only one of its writes stand in the line for the connection, so that
// writeFirst has one of them before it at most.
func (e *sqliteEngine) inTurn(ctx context.Context, write func() error) error {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
		return write()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connected runs f with the writing connection.
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

// durably has a connection's commits on disk when they return, and with them all that was
// committed before: https://www.sqlite.org/pragma.html#pragma_synchronous
func durably(ctx context.Context, c *sql.Conn, write func() error) error {
	if err := synchronous(ctx, c, "FULL"); err != nil {
		return err
	}
	defer synchronous(context.WithoutCancel(ctx), c, "NORMAL") //nolint:errcheck // or what comes next waits for the disk too
	return write()
}

// transact is one transaction. The doorbell rings only after the commit: a runner that
// looked earlier would find nothing and go back to sleep.
func (e *sqliteEngine) transact(ctx context.Context, c *sql.Conn, f func(*tx) error) error {
	t, err := c.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer t.Rollback() //nolint:errcheck // after a commit it only says so
	q := &tx{
		querier: sqlQuerier{t},
		insert: func(ctx context.Context, jobs []river.InsertManyParams) error {
			_, err := e.jobs.InsertManyTx(ctx, t, jobs)
			return err
		},
	}
	if err := q.do(ctx, f); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	for _, job := range q.jobs {
		e.bell.ring(queueOf(job))
	}
	return nil
}

// read sees what was committed before each of its queries. It waits for no write.
func (e *sqliteEngine) read(ctx context.Context, f func(*tx) error) error {
	return f(&tx{querier: sqlQuerier{e.reads}})
}

func (e *sqliteEngine) runner(cfg *river.Config) (Runner, error) {
	return river.NewClient(newInProcessDriver(e.db, e.bell), cfg)
}
