package store_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// Examine changes nothing: it makes no file and no table.
func TestExamineChangesNothing(t *testing.T) {
	names := func(folder string) (all []string) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	t.Run("sqlite", func(t *testing.T) {
		folder := t.TempDir()
		address := "sqlite:" + filepath.Join(folder, "purgebot.db")
		examine(t, address, "sqlite, made at the first start")
		if left := names(folder); len(left) > 0 {
			t.Errorf("it made %q", left)
		}
		s, err := store.Open(t.Context(), store.Config{URL: address})
		if err != nil {
			t.Fatal(err)
		}
		examine(t, address, "sqlite, schema ") // while a server has the file open
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := names(folder)
		examine(t, address, "sqlite, schema ")
		if after := names(folder); strings.Join(before, " ") != strings.Join(after, " ") {
			t.Errorf("%q became %q", before, after)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		address := storetest.Postgres(t)
		examine(t, address, "postgres, its tables are made at the first start")
		examine(t, address, "postgres, its tables are made at the first start")
		if _, _, err := store.Migrate(t.Context(), store.Config{URL: address}); err != nil {
			t.Fatal(err)
		}
		examine(t, address, "postgres, schema ")
	})
}

func examine(t *testing.T, address, want string) {
	t.Helper()
	if found, err := store.Examine(t.Context(), address); err != nil || !strings.HasPrefix(found, want) {
		t.Errorf("%s: %q, %v; want %q", address, found, err, want)
	}
}

// What would stop a start is told in our own words, with what to do and without the
// password.
func TestExamineSaysWhatToDo(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"sqlite:" + filepath.Join(folder, "none", "x.db"): "does not exist: make it, or change database",
		"sqlite:" + filepath.Join(text, "x.db"):           "is not a folder: change database",
		"sqlite:" + folder:                                "is a folder: name a file in it",
		"sqlite:" + text:                                  "is not a SQLite database, or is damaged: name another file in database",
		"postgres://u:s3cret@127.0.0.1:1/db":              "PostgreSQL at 127.0.0.1:1, database db does not answer: start it, or correct host and port in database",
		"postgres://u:s3cret@nowhere.invalid/db":          "the host of PostgreSQL at nowhere.invalid:5432, database db is not known",
		"postgres://u:s3cret@h:port/db":                   "database is not a postgres:// address",
	} {
		_, err := store.Examine(t.Context(), address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
	}
}

func TestExaminePostgresSaysWhatToDo(t *testing.T) {
	good, err := url.Parse(storetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*url.URL)
		want   string
	}{
		"another database": {func(u *url.URL) { u.Path = "/no_such_database" }, "database no_such_database does not exist: CREATE DATABASE"},
		"another user":     {func(u *url.URL) { u.User = url.UserPassword("nobody_here", "s3cret") }, "let the user nobody_here in"},
		"read-only":        {func(u *url.URL) { u.RawQuery = "options=-c%20default_transaction_read_only%3Don" }, "is read-only (default_transaction_read_only)"},
		"no TLS there":     {func(u *url.URL) { u.RawQuery = "sslmode=require" }, "speaks no TLS: switch TLS on there, or add ?sslmode=disable"},
	} {
		t.Run(name, func(t *testing.T) {
			u := *good
			test.change(&u)
			_, err := store.Examine(t.Context(), u.String())
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}
