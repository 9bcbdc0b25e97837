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

// UnavailableError is the error of a database that can't be used now, whatever was
// asked of it. The store logs it itself, once a minute.
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

// unavailable tells the database's trouble from every other error: "" is none.
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
	const primary = 0xff // the rest says more of the same
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

// write is one transaction, on disk when it returns. Trouble of the database
// is an *UnavailableError.
func (s *Store) write(ctx context.Context, f func(*tx) error) error {
	return s.written(ctx, s.engine.write, f)
}

// writeFirst is a write that others make way for.
func (s *Store) writeFirst(ctx context.Context, f func(*tx) error) error {
	return s.written(ctx, s.engine.writeFirst, f)
}

// writeSoon is a write that the machine's loss of power may undo, with all
// that was written later: for what is then done once more.
func (s *Store) writeSoon(ctx context.Context, f func(*tx) error) error {
	return s.written(ctx, s.engine.writeSoon, f)
}

// written is any write. It notes the time in the same transaction, see noteTime, and
// by its success ends what the log and the pages say of the database's trouble.
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

// judge tells trouble of the database from what the caller did: it went away,
// or asked for what is not there.
func (s *Reader) judge(ctx context.Context, err error) error {
	why := unavailable(err)
	if why == "" || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	s.health.ill(ctx, s.log, s.now(), why, err)
	return &UnavailableError{Why: why, Err: err}
}

// sayEvery is how often the log says of one cause that the database can't be
// used, for as long as that lasts.
const sayEvery = time.Minute

// health is what the log was told of the database.
type health struct {
	mu    sync.Mutex
	since time.Time            // of the trouble that the log knows of; zero: none
	said  map[string]time.Time // by cause
}

// ill tells the log of trouble, each cause once a minute: when the database is away
// everything fails at once.
func (h *health) ill(ctx context.Context, log *slog.Logger, now time.Time, why string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
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
	// probeTime is what a healthy database needs at most for a probe.
	probeTime = 3 * time.Second

	// probeFresh is how long a probe's result counts, so that whoever asks
	// often does not keep the disk busy.
	probeFresh = time.Second

	// probeSize is what a probe writes: more than a usual webhook takes with
	// its job, so that a disk that is nearly full is found out.
	probeSize = 64 << 10
)

// probe is the last answer to Ready.
type probe struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// Ready reports whether the database takes a webhook now, by writing as much
// to the disk; if not, the error is most often an *UnavailableError. It answers
// within three seconds, and at most a second late.
func (s *Store) Ready(ctx context.Context) error {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if !s.probe.at.IsZero() && time.Since(s.probe.at) < probeFresh {
		return s.probe.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.writeProbe(ctx) }() // no context ends a system call that a disk holds up
	select {
	case s.probe.err = <-done:
	case <-ctx.Done():
		s.probe.err = s.judge(ctx, ctx.Err())
	}
	s.probe.at = time.Now()
	return s.probe.err
}

func (s *Store) writeProbe(ctx context.Context) error {
	filler := make([]byte, probeSize)
	rand.Read(filler) // what compresses well takes no room
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO probe (id, filler) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET filler = excluded.filler`, filler)
		return err
	})
}
