package store

import (
	"context"
	"path/filepath"
	"testing"
	"time"
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

// Trouble is trouble, for the tests outside.
func Trouble(err error) string { return trouble(err) }

// Jobs counts the bells of a kind that ever rang.
func (s *Store) Jobs(ctx context.Context, kind string) (n int, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.row(ctx, `SELECT COUNT(*) FROM river_job WHERE kind = $1`, kind).Scan(&n)
	})
	return n, err
}

// Waits tells whether a write's commit waits for the disk, as the database
// itself says within the transaction: by write, writeFirst and writeSoon, and
// last by what River does on its own.
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

// Write is a write in whose midst something happens.
func (s *Store) Write(ctx context.Context, midst func()) error {
	return s.write(ctx, func(t *tx) error {
		midst()
		_, err := t.exec(ctx, `UPDATE delivery SET tries = 0`)
		return err
	})
}
