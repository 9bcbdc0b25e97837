package main

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"

	"github.com/purgebot/purgebot/internal/servertest"
)

// openDatabase opens the database of a server that runs at the same time.
func openDatabase(t *testing.T, url string) *sql.DB {
	t.Helper()
	driver, source := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?mode=rw&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// half names each thing that could be written by half, with a query that finds it in a
// database at rest.
var half = map[string]string{
	"a target without its purge":      `SELECT seq FROM target t WHERE NOT EXISTS (SELECT 1 FROM purge p WHERE p.id = t.purge_id)`,
	"a claimed target of no request":  `SELECT seq FROM target t WHERE t.state = 'claimed' AND NOT EXISTS (SELECT 1 FROM request r WHERE r.id = t.request_id AND r.state IN ('ready', 'sending'))`,
	"an accepted target of no answer": `SELECT seq FROM target t WHERE t.state = 'accepted' AND NOT EXISTS (SELECT 1 FROM request r WHERE r.id = t.request_id AND r.state = 'accepted')`,
	"a request that holds no target":  `SELECT id FROM request r WHERE r.state IN ('ready', 'sending') AND NOT EXISTS (SELECT 1 FROM target t WHERE t.request_id = r.id)`,
	"a purge that counts wrongly": `SELECT id FROM purge p WHERE p.state <> 'planning' AND (
		urls + tags + cpcodes <> (SELECT COUNT(*) FROM target t WHERE t.purge_id = p.id)
		OR accepted <> (SELECT COUNT(*) FROM target t WHERE t.purge_id = p.id AND t.state = 'accepted')
		OR failed <> (SELECT COUNT(*) FROM target t WHERE t.purge_id = p.id AND t.state = 'failed'))`,
	"a purge that ended too early": `SELECT id FROM purge p WHERE p.state = 'done' AND accepted + failed < urls + tags + cpcodes`,
}

// left is what is still to purge, by name. Words on GitHub do not count: they may wait
// for GitHub's limits.
const left = `SELECT 'delivery ' || event FROM delivery WHERE handled_at = 0
	UNION ALL SELECT 'environment ' || name || ': ' || live_sha || ' to ' || desired_sha FROM environment
		WHERE desired_sha <> live_sha OR desired_status <> live_status
	UNION ALL SELECT 'purge ' || id FROM purge WHERE state = 'open'`

// atRest waits until nothing is left to purge, and then checks that the rows agree with
// each other.
func (w *world) atRest(open func() *sql.DB) {
	w.T.Helper()
	var (
		todo []string
		err  error
		db   *sql.DB
	)
	defer func() {
		if w.T.Failed() {
			w.T.Logf("left to purge: %q (%v)", todo, err)
		}
	}()
	// A sweep wakes the same work again only after a minute. That matters if the sweep's
	// process was killed.
	ctx, cancel := context.WithTimeout(w.T.Context(), 3*servertest.Patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		db = open()
		if todo, err = texts(ctx, db, left); err == nil && len(todo) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.T.Fatal("waited in vain until nothing is left to purge")
		}
	}
	for what, query := range half {
		found, err := texts(w.T.Context(), db, query)
		if err != nil {
			w.T.Errorf("look for %s: %v", what, err)
		}
		for _, id := range found {
			w.T.Errorf("%s: %s", what, id)
		}
	}
}

// texts returns the one column of a query's rows.
func texts(ctx context.Context, db *sql.DB, query string) (all []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

// beside opens a server's database and returns a function that returns it.
func beside(t *testing.T, url string) func() *sql.DB {
	db := openDatabase(t, url)
	return func() *sql.DB { return db }
}
