// Package storetest makes databases for tests, each its own and gone after it.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/purgebot/purgebot/internal/store"
)

// schema is a SQLite file with nothing but the schema in it. It is made once a
// process: the race detector takes over a second for the migrations, and a
// copy takes none.
var schema = sync.OnceValues(func() ([]byte, error) { //nolint:gochecknoglobals // written once, by itself
	dir, err := os.MkdirTemp("", "purgebot-schema-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "purgebot.db")
	s, err := store.Open(context.Background(), store.Config{URL: "sqlite:" + path})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // its own
	return data, errors.Join(err, os.RemoveAll(dir))
})

// SQLite gives the address of a migrated database in a folder of its own.
func SQLite(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "purgebot.db")
	Migrated(t, path)
	return "sqlite:" + path
}

// Migrated puts a migrated SQLite file at path.
func Migrated(t testing.TB, path string) {
	t.Helper()
	data, err := schema()
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Postgres gives the address of an empty database on the server that
// PURGEBOT_TEST_POSTGRES names, and skips the test where none is named.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv("PURGEBOT_TEST_POSTGRES") //nolint:forbidigo // the tests' own setting
	if server == "" {
		t.Skip("PURGEBOT_TEST_POSTGRES is not set: not tried on PostgreSQL")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("PURGEBOT_TEST_POSTGRES: %v", err)
	}
	conn, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatalf("PURGEBOT_TEST_POSTGRES: %v", err)
	}
	name := fmt.Sprintf("purgebot_test_%d", rand.Uint64()) //nolint:gosec // a name, no secret
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	})
	u.Path = "/" + name
	return u.String()
}
