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
