package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"

	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// Replicas are replaced one after the other, and the upgrade may be undone. Meanwhile
// this release works on the next one's schema, and leaves alone what only the next
// release knows: its jobs, its webhooks and its surfaces on GitHub.
func TestBesideTheNextRelease(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(t *testing.T, dir string) (url, driver, dsn string){
		"sqlite": func(_ *testing.T, dir string) (string, string, string) {
			path := filepath.Join(dir, "purgebot.db")
			return "sqlite:" + path, "sqlite", "file:" + path + "?_pragma=busy_timeout(5000)"
		},
		"postgres": func(t *testing.T, _ string) (string, string, string) {
			url := storetest.Postgres(t)
			return url, "pgx", url
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, driver, dsn := address(t, t.TempDir())
			w, first := newWorld(t, func(c *stage.Config) { c.Database = url })
			w.Deploy("production", first, "success")
			w.Begin()
			page := func(content string) {
				t.Helper()
				sha := w.Commit(content, map[string]string{"content/index/home.md": content})
				w.Push(sha)
				w.Deploy("production", sha, "success")
				w.Await(sha, "production", "success", "2 URLs purged")
			}
			page("before")

			db, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for _, statement := range []string{
				`ALTER TABLE environment ADD COLUMN colour TEXT NOT NULL DEFAULT ''`,
				`ALTER TABLE purge ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'`,
				`CREATE TABLE novelty (id BIGINT PRIMARY KEY)`,
				`INSERT INTO schema_version (version, works) VALUES (3, 2)`,
				`INSERT INTO river_job (kind, queue, args, max_attempts, state) VALUES ('novelty', 'novelty', '{}', 25, 'available')`,
				`INSERT INTO delivery (guid, event, body, received_at, next_at)
					SELECT 'newer', 'moon_landing', body, received_at, next_at FROM delivery LIMIT 1`,
				`INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version)
					VALUES ('moon/1', 1, '', '', '', '', '', 'one small step', 0, 1)`,
			} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			page("beside")
			if err := w.Stop(); err != nil {
				t.Fatal(err)
			}
			w.Begin()
			page("restarted")

			var left string
			if err := db.QueryRowContext(t.Context(), `SELECT (SELECT state FROM river_job WHERE kind = 'novelty') || ' ' ||
				(SELECT CAST(handled_at AS TEXT) FROM delivery WHERE guid = 'newer') || ' ' ||
				(SELECT CAST(posted_version AS TEXT) || ' ' || words FROM post WHERE surface = 'moon/1')`).Scan(&left); err != nil {
				t.Fatal(err)
			}
			if want := "available 0 0 one small step"; left != want {
				t.Errorf("what only the next release knows is %q now, want %q", left, want)
			}
			if err := w.Stop(); err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), `INSERT INTO schema_version (version, works) VALUES (4, 3)`); err != nil {
				t.Fatal(err)
			}
			if err := w.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "a newer purgebot brought the database to schema 4") {
				t.Errorf("on the schema after the next it starts with %v", err)
			}
		})
	}
}
