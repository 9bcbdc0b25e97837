package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// UnavailableError says that the database can't be used now, whatever was asked of it.
// The store logs it itself, each cause once a minute, so callers need not.
type UnavailableError struct {
	Why string // in public words: "the database is read-only"
	Err error
}

func (u *UnavailableError) Error() string { return u.Why + ": " + u.Err.Error() }
func (u *UnavailableError) Unwrap() error { return u.Err }

// What can be wrong with a database, in public words.
const (
	whyFull     = "the database's disk is full"
	whyReadOnly = "the database is read-only"
	whyLocked   = "another process holds the database's lock"
	whyDisk     = "the database's disk fails"
	whyDamaged  = "the database is damaged"
	whyMoved    = "the database's file was moved or removed"
	whyOpen     = "the database's file can't be opened"
	whyAway     = "the database does not answer"
	whySlow     = "the database does not answer in time"
	whyTooMany  = "the database takes no more connections"
	whyRefused  = "the database refuses our login, or what we ask of it"
)

var errMoved = errors.New("the path leads elsewhere now")

// unavailable tells the database's trouble from every other error; "": it is none. The
// engines' own errors come first: they may wrap a network error or a deadline, and their
// code says more.
func unavailable(err error) (why string) {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteUnavailable(e.Code())
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return postgresUnavailable(e.Code)
	}
	var network net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, errMoved):
		return whyMoved
	case errors.Is(err, context.DeadlineExceeded):
		return whySlow
	case errors.As(err, &network) && network.Timeout():
		return whySlow
	case errors.As(err, &network), errors.As(err, &connect), pgconn.SafeToRetry(err),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return whyAway
	case errors.Is(err, syscall.ENOSPC):
		return whyFull
	}
	return ""
}

// sqliteUnavailable reads a result code: https://www.sqlite.org/rescode.html
func sqliteUnavailable(code int) string {
	const primary = 0xff // an extended code has the primary one in its low byte
	switch code & primary {
	case sqlite3.SQLITE_FULL:
		return whyFull
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return whyReadOnly
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return whyLocked
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM:
		return whyDisk
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return whyDamaged
	case sqlite3.SQLITE_CANTOPEN:
		return whyOpen
	case sqlite3.SQLITE_INTERRUPT:
		return whySlow
	}
	return ""
}

// postgresUnavailable reads an SQLSTATE:
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func postgresUnavailable(code string) string {
	switch code {
	case "25006": // read_only_sql_transaction
		return whyReadOnly
	case "53100": // disk_full
		return whyFull
	case "53300": // too_many_connections
		return whyTooMany
	case "57014", "55P03", "25P03", "25P04": // query_canceled, lock_not_available, idle and transaction timeouts
		return whySlow
	case "3D000", "42501": // invalid_catalog_name, insufficient_privilege
		return whyRefused
	}
	switch code[:min(len(code), 2)] {
	case "08", "57": // connection exceptions; operator intervention: shut down, starting
		return whyAway
	case "28": // invalid authorization
		return whyRefused
	case "53": // insufficient resources
		return whySlow
	case "58": // system error
		return whyDisk
	case "XX": // internal error: data_corrupted, index_corrupted
		return whyDamaged
	}
	return ""
}

// write is one transaction, on disk when it returns. Trouble of the database is an
// *UnavailableError. f may run more than once (see postgresEngine.transact), so it must
// set anew whatever it gives to its caller.
func (s *Store) write(ctx context.Context, f func(*tx) error) error {
	return s.written(ctx, s.engine.write, f)
}

// writeFirst is a write that other writes make way for.
func (s *Store) writeFirst(ctx context.Context, f func(*tx) error) error {
	return s.written(ctx, s.engine.writeFirst, f)
}

// writeSoon is a write that a loss of the machine's power may undo, together with all
// that was written later. It is for what is then done once more. The death of the process
// alone undoes nothing.
func (s *Store) writeSoon(ctx context.Context, f func(*tx) error) error {
	return s.written(ctx, s.engine.writeSoon, f)
}

// written is the common part of the writes. It notes the time in the same transaction
// (see noteTime). Its success ends what the log says of the database's trouble.
func (s *Store) written(ctx context.Context, write func(context.Context, func(*tx) error) error, f func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var noted int64
	err := write(ctx, func(t *tx) (err error) {
		if noted, err = s.noteTime(ctx, t); err != nil {
			return err
		}
		return f(t)
	})
	if err != nil {
		return s.judge(ctx, err)
	}
	// Only after the commit: a time that was rolled back is noted by nobody.
	s.noted.Store(noted)
	s.health.mended(ctx, s.log, s.now())
	return nil
}

// read is one or several reads. Trouble of the database is an *UnavailableError.
func (s *Reader) read(ctx context.Context, f func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.engine.read(ctx, f); err != nil {
		return s.judge(ctx, err)
	}
	return nil
}

// has is a read that reports whether a query finds any row.
func (s *Reader) has(ctx context.Context, query string, args ...any) (found bool, err error) {
	err = s.read(ctx, func(t *tx) error {
		found, err = t.has(ctx, query, args...)
		return err
	})
	return found, err
}

// judge tells trouble of the database from the caller's own doing: that it went away, or
// asked for what is not there.
func (s *Reader) judge(ctx context.Context, err error) error {
	why := unavailable(err)
	// A caller that went away has made the query fail; that says nothing of the database.
	if why == "" || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	s.health.ill(ctx, s.log, s.now(), why, err)
	return &UnavailableError{Why: why, Err: err}
}

// sayEvery is how often the log repeats one cause while the database can't be used.
const sayEvery = time.Minute

// health is what the log has been told of the database.
type health struct {
	mu    sync.Mutex
	since time.Time            // begin of the trouble that the log knows of; zero: none
	said  map[string]time.Time // when each cause was logged last
}

// ill logs trouble, each cause once a minute: when the database is away, everything fails
// at once.
func (h *health) ill(ctx context.Context, log *slog.Logger, now time.Time, why string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// Trouble that ends and comes back within a minute is logged neither way: a disk that
	// is nearly full takes every other write.
	if last, ok := h.said[why]; ok && now.Sub(last) < sayEvery {
		return
	}
	if h.said == nil {
		h.said = map[string]time.Time{}
	}
	h.said[why] = now
	if h.since.IsZero() {
		h.since = now
	}
	log.LogAttrs(ctx, slog.LevelError, "the database can't be used", slog.String("why", why), slog.Any("err", err))
}

// mended logs that the trouble is over, once.
func (h *health) mended(ctx context.Context, log *slog.Logger, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		return
	}
	log.LogAttrs(ctx, slog.LevelInfo, "the database takes writes again", slog.Duration("after", now.Sub(h.since)))
	h.since = time.Time{}
}

const (
	// probeTime is the most that a healthy database needs for a probe.
	probeTime = 3 * time.Second

	// probeFresh is how long a probe's result counts: a client that asks often must not
	// keep the disk busy.
	probeFresh = time.Second

	// probeSize is how many bytes a probe writes: more than a usual webhook takes with
	// its job, so that a disk that is nearly full is found out.
	probeSize = 64 << 10
)

// probe is the last answer of Ready. Its lock makes concurrent callers share one probe.
type probe struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// Ready reports whether the database takes a webhook now, by writing as much to the disk.
// If not, the error is usually an *UnavailableError. It answers within three seconds, and
// its answer is at most one second old.
func (s *Store) Ready(ctx context.Context) error {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if !s.probe.at.IsZero() && time.Since(s.probe.at) < probeFresh {
		return s.probe.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.writeProbe(ctx) }() // no context ends a system call that a disk holds up: then this goroutine ends later
	select {
	case s.probe.err = <-done:
	case <-ctx.Done():
		s.probe.err = s.judge(ctx, ctx.Err())
	}
	s.probe.at = time.Now()
	return s.probe.err
}

// writeProbe overwrites one row with random bytes, on disk when it returns.
func (s *Store) writeProbe(ctx context.Context) error {
	filler := make([]byte, probeSize)
	rand.Read(filler) // bytes that compress well would take no room
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO probe (id, filler) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET filler = excluded.filler`, filler)
		return err
	})
}
