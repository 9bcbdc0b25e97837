package store

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// recorder keeps every query that goes through an engine.
type recorder struct {
	engine
	mu      sync.Mutex
	queries map[string]bool
}

func (e *recorder) write(ctx context.Context, f func(*tx) error) error {
	return e.engine.write(ctx, e.recorded(f))
}

func (e *recorder) writeSoon(ctx context.Context, f func(*tx) error) error {
	return e.engine.writeSoon(ctx, e.recorded(f))
}

func (e *recorder) read(ctx context.Context, f func(*tx) error) error {
	return e.engine.read(ctx, e.recorded(f))
}

func (e *recorder) recorded(f func(*tx) error) func(*tx) error {
	return func(t *tx) error { t.querier = recording{t.querier, e}; return f(t) }
}

func (e *recorder) note(query string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queries[query] = true
}

type recording struct {
	querier
	e *recorder
}

func (r recording) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r.e.note(query)
	return r.querier.exec(ctx, query, args...)
}

func (r recording) each(ctx context.Context, f func(row) error, query string, args ...any) error {
	r.e.note(query)
	return r.querier.each(ctx, f, query, args...)
}

func (r recording) row(ctx context.Context, query string, args ...any) row {
	r.e.note(query)
	return r.querier.row(ctx, query, args...)
}

// queueQueries takes a queue through everything that can happen to it, and returns every
// query that this took.
func queueQueries(t *testing.T, s *Store, now *time.Time) map[string]bool {
	t.Helper()
	ctx := t.Context()
	rec := &recorder{engine: s.engine, queries: map[string]bool{}}
	purge := func(n int, action mapping.Action) ledger.Purge {
		p, err := s.Begin(ctx, ledger.Purge{RepoID: 1, Environment: "production", Network: mapping.Production, Lane: ledger.LaneDeploy})
		if err != nil {
			t.Fatal(err)
		}
		targets := make([]mapping.Target, n)
		for i := range targets {
			targets[i] = mapping.Target{Kind: mapping.URL, Action: action, Object: fmt.Sprintf("https://www.example.com/%d", i)}
		}
		if err := s.AddTargets(ctx, p, slices.Values(targets), func(g mapping.Target) string { return g.Reason }); err != nil {
			t.Fatal(err)
		}
		if err := s.OpenPurge(ctx, p.ID, false); err != nil {
			t.Fatal(err)
		}
		return p
	}
	claim := func() *Request {
		for range 5 { // a request with nothing left sends nothing
			if r, _, err := s.Claim(ctx, "", purger.URL); err != nil {
				t.Fatal(err)
			} else if r != nil {
				return r
			}
		}
		t.Fatal("nothing to claim")
		return nil
	}
	settle := func(r *Request, a purger.Answer) {
		if _, ok, err := s.Settle(ctx, r, Reply{Answer: a}); err != nil || !ok {
			t.Fatalf("settle: %v, %v", ok, err)
		}
	}
	purge(300, mapping.Invalidate)
	purge(10, mapping.Delete)
	s.engine = rec
	defer func() { s.engine = rec.engine }()
	accept := purger.Answer{Verdict: purger.Accepted}
	settle(claim(), accept)
	r := claim()
	settle(r, purger.Answer{Verdict: purger.Refused, Title: "bad request"})
	r = claim()
	for range 25 {
		settle(r, purger.Answer{Verdict: purger.Refused, Title: "unauthorized arl", Offender: r.Objects[0]})
		r = claim()
	}
	settle(r, accept)
	purge(3, mapping.Invalidate)
	r = claim()
	settle(r, purger.Answer{Verdict: purger.BadCredentials})
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(2 * time.Second)
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r, _, err := s.Claim(ctx, "", purger.URL); err == nil && r != nil {
			settle(r, accept)
		}
	}
	held := purge(5, mapping.Invalidate)
	if _, err := s.Pause(ctx, ledger.Pause{By: "ann", Reason: "a trial", Until: now.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if r, _, err := s.Claim(ctx, "", purger.URL); err != nil || r != nil {
		t.Fatalf("claimed %v of %s while paused, %v", r, held.ID, err)
	}
	*now = now.Add(time.Second)
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SeeRepository(ctx, ledger.Repository{ID: 1, Owner: "acme", Name: "site"}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetAccounts(ctx, []string{"emea"}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Assign(ctx, func(string) string { return "emea" }); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if _, err := s.Queue(ctx); err != nil {
		t.Fatal(err)
	}
	failed, err := s.Failed(ctx, *now, "", 10)
	if err != nil || len(failed) == 0 {
		t.Fatalf("failed purges: %v, %v", failed, err)
	}
	if err := s.Refused(ctx, failed[0].ID, func(string, int) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(ctx, now.Add(time.Hour), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return rec.queries
}

// No query of the queue reads a whole table of targets or requests, and no pruning reads
// any large table as a whole, however many rows there are.
func TestQueriesUseIndexes(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
		s := openFile(t, func() time.Time { return now })
		whole := regexp.MustCompile(`^SCAN (target|request|purge|delivery|post|command|ask|t|r)\b`)
		for query := range queueQueries(t, s, &now) {
			err := s.read(t.Context(), func(tx *tx) error {
				n := strings.Count(query, "$")
				return tx.each(t.Context(), func(r row) error {
					var id, parent, unused int
					var detail string
					if err := r.Scan(&id, &parent, &unused, &detail); err != nil {
						return err
					}
					if whole.MatchString(detail) && !strings.Contains(detail, "USING") {
						t.Errorf("%s\n%s", detail, query)
					}
					return nil
				}, "EXPLAIN QUERY PLAN "+query, make([]any, min(n, 900))...)
			})
			if err != nil {
				t.Errorf("%v\n%s", err, query)
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		server := os.Getenv("PURGEBOT_TEST_POSTGRES")
		if server == "" {
			t.Skip("PURGEBOT_TEST_POSTGRES is not set: not tried on PostgreSQL")
		}
		explainPostgres(t, server)
	})
}

// explainPostgres has PostgreSQL explain every query of the queue on a database of its
// own, and fails for each that reads a large table as a whole.
func explainPostgres(t *testing.T, server string) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	name := fmt.Sprintf("purgebot_explain_%d", time.Now().UnixNano())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	defer conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)") //nolint:errcheck // a test's own
	url := regexp.MustCompile(`/[^/]*$`).ReplaceAllString(server, "/"+name)
	s, err := Open(ctx, Config{URL: url, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	queries := queueQueries(t, s, &now)
	mine, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close(context.Background())
	// With sequential scans made as expensive as possible, one in the plan means that no
	// index serves, whatever the statistics are. The same then holds for a million rows.
	if _, err := mine.Exec(ctx, "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`Seq Scan on (target|request|purge|delivery|post|command|ask)\b`)
	for query := range queries {
		n := 0
		for strings.Contains(query, fmt.Sprintf("$%d", n+1)) {
			n++
		}
		execute := "EXECUTE q"
		if n > 0 {
			execute += "(" + strings.Repeat(",NULL", n)[1:] + ")"
		}
		results, err := mine.PgConn().Exec(ctx, "DEALLOCATE ALL; PREPARE q AS "+query+"; EXPLAIN "+execute).ReadAll()
		if err != nil {
			t.Errorf("%v\n%s", err, query)
			continue
		}
		var plan strings.Builder
		for _, row := range results[2].Rows {
			plan.Write(row[0])
			plan.WriteByte('\n')
		}
		if whole.MatchString(plan.String()) {
			t.Errorf("%s\n%s", query, plan.String())
		}
	}
}
