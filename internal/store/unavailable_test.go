package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
)

// sqliteFault is an error as SQLite itself returns it.
func sqliteFault(t *testing.T, settings string, statements ...string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	made, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if _, err := made.ExecContext(t.Context(), `CREATE TABLE a (b)`); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?"+settings)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if s == "lock" {
			_, err = made.ExecContext(t.Context(), `BEGIN EXCLUSIVE`)
		} else {
			_, err = db.ExecContext(t.Context(), s)
		}
	}
	if err == nil {
		t.Fatalf("no error from %q", statements)
	}
	return err
}

// A full disk, a lock, a failover and whatever else happens to a database is told in
// words that people understand. A wrong query is not such trouble.
func TestTrouble(t *testing.T) {
	const insert = `INSERT INTO a VALUES (randomblob(100000))`
	pg := func(code string) error { return fmt.Errorf("commit: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"sqlite full":           {sqliteFault(t, "_pragma=max_page_count(3)", insert), "the database's disk is full"},
		"sqlite opened to read": {sqliteFault(t, "mode=ro", insert), "the database is read-only"},
		"sqlite query only":     {sqliteFault(t, "_pragma=query_only(1)", insert), "the database is read-only"},
		"sqlite locked":         {sqliteFault(t, "_pragma=busy_timeout(1)", "lock", insert), "another process holds the database's lock"},
		"sqlite no such table":  {sqliteFault(t, "", "SELECT * FROM nothing"), ""},
		"postgres full":         {pg("53100"), "the database's disk is full"},
		"postgres read-only":    {pg("25006"), "the database is read-only"},
		"postgres shutting":     {pg("57P01"), "the database does not answer"},
		"postgres starting":     {pg("57P03"), "the database does not answer"},
		"postgres too many":     {pg("53300"), "the database takes no more connections"},
		"postgres password":     {pg("28P01"), "the database refuses our login, or what we ask of it"},
		"postgres idle":         {pg("25P03"), "the database does not answer in time"},
		"postgres damaged":      {pg("XX001"), "the database is damaged"},
		"postgres deadlock":     {pg("40P01"), ""},
		"postgres duplicate":    {pg("23505"), ""},
		"cut":                   {fmt.Errorf("read: %w", os.ErrDeadlineExceeded), "the database does not answer in time"},
		"too late":              {context.DeadlineExceeded, "the database does not answer in time"},
		"given up":              {context.Canceled, ""},
		"not found":             {store.ErrNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := store.Unavailable(c.err); got != c.want {
				t.Errorf("%v: %q, want %q", c.err, got, c.want)
			}
		})
	}
}

// The log says that the database can't be used once a minute for each cause, and then
// that it works again.
func TestTroubleIsSaidOnceAMinute(t *testing.T) {
	var log bytes.Buffer
	c := newClock()
	path := filepath.Join(t.TempDir(), "purgebot.db")
	storetest.Migrated(t, path)
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Now: c.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	said := func(message string) int { return strings.Count(log.String(), `msg="`+message) }
	fails := func() {
		t.Helper()
		err := s.Hasten(t.Context(), "deliveries")
		if u, ok := errors.AsType[*store.UnavailableError](err); !ok || u.Why != "the database's file was moved or removed" {
			t.Fatalf("got %v", err)
		}
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		fails()
		c.Advance(time.Second)
	}
	if n := said("the database can't be used"); n != 1 {
		t.Errorf("said %d times in 50 s", n)
	}
	c.Advance(10 * time.Second)
	fails()
	if n := said("the database can't be used"); n != 2 {
		t.Errorf("said %d times in 60 s", n)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Hasten(t.Context(), "deliveries"); err != nil {
			t.Fatal(err)
		}
	}
	if n := said("the database takes writes again"); n != 1 || !strings.Contains(log.String(), "after=1m0s") {
		t.Errorf("said %d times that it is back:\n%s", n, &log)
	}
}

// If another file takes the place of the open one, the store writes neither to it nor to
// the one that was moved away.
func TestReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "purgebot.db")
	storetest.Migrated(t, path)
	s := open(t, "sqlite:"+path, time.Now)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	storetest.Migrated(t, path)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(t.Context(), store.Delivery{GUID: "1", Event: "push", Body: []byte("{}"), ReceivedAt: time.Now()}); err == nil {
		t.Error("a delivery was taken into a file that nobody finds again")
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("it calls itself ready")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the new file was written to (%v)", err)
	}
}

// A plan whose process died is deleted after an hour, with its targets. A plan that is
// being made is not.
func TestPruneAbandonedPlans(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		plan := func() ledger.Purge {
			t.Helper()
			p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Network: mapping.Production})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.AddTargets(t.Context(), p, slices.Values(urls(3)), asGiven); err != nil {
				t.Fatal(err)
			}
			return p
		}
		old := plan()
		c.Advance(2 * time.Hour)
		young := plan()
		if err := s.Prune(t.Context(), time.Time{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			ledger.Purge
			targets int
		}{{old, 0}, {young, 3}} {
			if got, err := s.Targets(t.Context(), want.ID, 0, 10); err != nil || len(got) != want.targets {
				t.Errorf("%d targets are left of a plan, want %d (%v)", len(got), want.targets, err)
			}
		}
	})
}
