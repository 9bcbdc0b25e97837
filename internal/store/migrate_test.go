package store_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
)

// databases runs a test on a database of each engine. exec does to the database what
// another release would do.
func databases(t *testing.T, test func(t *testing.T, url string, exec func(statements ...string))) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "purgebot.db")
		test(t, "sqlite:"+path, func(statements ...string) {
			t.Helper()
			db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for _, s := range statements {
				if _, err := db.ExecContext(t.Context(), s); err != nil {
					t.Fatalf("%s: %v", s, err)
				}
			}
		})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		url := storetest.Postgres(t)
		test(t, url, func(statements ...string) {
			t.Helper()
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			for _, s := range statements {
				if _, err := conn.Exec(t.Context(), s); err != nil {
					t.Fatalf("%s: %v", s, err)
				}
			}
		})
	})
}

// nextRelease is what the next release's step might do: it only adds.
func nextRelease() []string {
	return []string{
		`ALTER TABLE environment ADD COLUMN colour TEXT NOT NULL DEFAULT ''`,
		`ALTER TABLE delivery ADD COLUMN weight BIGINT NOT NULL DEFAULT 0`,
		`ALTER TABLE purge ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'`,
		`ALTER TABLE target ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'`,
		`ALTER TABLE post ADD COLUMN tone TEXT NOT NULL DEFAULT ''`,
		`CREATE TABLE novelty (id BIGINT PRIMARY KEY)`,
		`CREATE INDEX purge_mood ON purge (mood)`,
		`INSERT INTO river_job (kind, queue, args, max_attempts, state) VALUES ('novelty', 'novelty', '{}', 25, 'available')`,
		`INSERT INTO schema_version (version, works) VALUES (3, 2)`,
	}
}

// A program works on the schema of the release after its own, even if that comes while it
// runs. It refuses the schema of the release after that one.
func TestTheNextReleasesSchema(t *testing.T) {
	databases(t, func(t *testing.T, url string, exec func(...string)) {
		running := open(t, url, nil)
		use(t, running, "before")
		exec(nextRelease()...)
		use(t, running, "beside")
		again := open(t, url, nil)
		use(t, again, "restarted")

		exec(`INSERT INTO schema_version (version, works) VALUES (4, 3)`)
		_, err := store.Open(t.Context(), store.Config{URL: url})
		var refused *store.SchemaError
		if !errors.As(err, &refused) || refused.Have != 4 || refused.Works != 3 || refused.Known != 2 {
			t.Fatalf("on the schema after the next: %v", err)
		}
		if words := "start the newer release again, or the one before it"; !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
		use(t, running, "still")
	})
}

// use does with a store everything that a purge needs.
func use(t *testing.T, s *store.Store, name string) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Receive(ctx, store.Delivery{GUID: name, Event: "push", Body: []byte(`{}`), ReceivedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if d, err := s.Delivery(ctx, name); err != nil || string(d.Body) != "{}" {
		t.Fatal(d, err)
	}
	repo, err := s.SeeRepository(ctx, ledger.Repository{ID: repoID, Owner: "acme", Name: "site", FirstSeen: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	at := ledger.Point{SHA: strings.Repeat("a", 40), Deploy: 1, Status: time.Now().UnixNano(), At: time.Now()}
	env, moved, err := s.Desire(ctx, repo.ID, name, ledger.Deploy{Point: at, State: "success"}, time.Time{})
	if err != nil || !moved {
		t.Fatal(env, moved, err)
	}
	purge, err := s.Begin(ctx, ledger.Purge{RepoID: repo.ID, EnvID: env.ID, Environment: name, Cause: ledger.CauseDeploy, To: at, Network: "production"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(ctx, purge, slices.Values([]mapping.Target{target("https://www.acme.com/"+name, mapping.Invalidate)}), asGiven); err != nil {
		t.Fatal(err)
	}
	rules := &store.Rules{SHA: at.SHA, Path: "purge-rules.yaml", Source: []byte("version: 1\n")}
	if ok, err := s.Commit(ctx, store.Move{Env: env, To: at, Purge: &purge, Context: "purge/" + name, Rules: rules}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if r, err := s.LiveRules(ctx, repo.ID, env.ID); err != nil || r.Path != rules.Path || string(r.Source) != string(rules.Source) {
		t.Errorf("the rules of what is live are %+v, %v", r, err)
	}
	if request, _, err := s.Claim(ctx, "", "url"); err != nil || request == nil {
		t.Fatal(request, err)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
}
