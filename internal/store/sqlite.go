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

// sqliteEngine is one file and one process.
type sqliteEngine struct {
	path   string
	file   os.FileInfo // of what path led to when it was opened
	db     *sql.DB     // one connection
	reads  *sql.DB
	turn   chan struct{} // held by the one write that stands in line for db
	jobs   *river.Client[*sql.Tx]
	bell   *doorbell
	locked *os.File // held while this process works on the file
}

// openSQLite opens a file for the one process that works on it.
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

// readers is how many reads a SQLite file takes at a time. Each keeps 256 KiB of
// the file for itself, not the usual 2 MB: they look for single rows, and the
// operating system has the file in memory too.
const readers = 8

func escapePath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func (e *sqliteEngine) name() string { return "sqlite" }

// One writes at a time.
func (e *sqliteEngine) forUpdate() string  { return "" }
func (e *sqliteEngine) skipLocked() string { return "" }

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

// transact is one transaction. The doorbell rings after the commit: whoever looked
// before would find nothing and go back to sleep.
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

func (e *sqliteEngine) read(ctx context.Context, f func(*tx) error) error {
	return f(&tx{querier: sqlQuerier{e.reads}})
}

func (e *sqliteEngine) runner(cfg *river.Config) (Runner, error) {
	return river.NewClient(newInProcessDriver(e.db, e.bell), cfg)
}
