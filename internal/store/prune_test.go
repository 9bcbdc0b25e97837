package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// received stores n handled deliveries of about 10 KB that don't compress.
func received(t *testing.T, s *Store, round, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			body := make([]byte, 10_000)
			for k := range body {
				body[k] = byte(rand.Uint32())
			}
			d := Delivery{GUID: fmt.Sprint(round, "/", i), Event: "push", Body: body, ReceivedAt: s.now()}
			if _, err := s.Receive(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	err := s.write(t.Context(), func(q *tx) error {
		for _, change := range []string{`UPDATE delivery SET handled_at = received_at`, `DELETE FROM river_job`} {
			if _, err := q.exec(t.Context(), change); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s *Store, query string) (n int) {
	t.Helper()
	if err := s.read(t.Context(), func(q *tx) error { return q.row(t.Context(), query).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// However much there is to prune, other writes wait for one small change at most.
func TestPruneIsBounded(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	s := openFile(t, func() time.Time { return now })
	received(t, s, 0, 2*pruneAtOnce)
	p, err := s.Begin(t.Context(), ledger.Purge{RepoID: 1, Environment: "production", Network: mapping.Production})
	if err != nil {
		t.Fatal(err)
	}
	targets := make([]mapping.Target, 3*pruneAtOnce+1)
	for i := range targets {
		targets[i] = mapping.Target{Kind: mapping.URL, Action: mapping.Invalidate, Object: fmt.Sprintf("https://www.example.com/%d", i)}
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(targets), func(g mapping.Target) string { return g.Reason }); err != nil {
		t.Fatal(err)
	}
	if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.Claim(t.Context(), "", purger.URL)
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	if _, _, err := s.Settle(t.Context(), r, Reply{Answer: purger.Answer{Verdict: purger.Accepted}}); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), func(q *tx) error { // nothing was live for long, and much has failed since
		if _, err := q.exec(t.Context(), `INSERT INTO environment (id, repo_id, name, name_folded, live_sha, desired_sha, live_at, desired_at)
			VALUES ('e', 1, 'p', 'p', 'a', 'a', 1, 1)`); err != nil {
			return err
		}
		for i := range 2*pruneAtOnce + 1 {
			if _, err := q.exec(t.Context(), `INSERT INTO deploy (status_id, env_id, deploy_id, sha, state, creator, recorded_at)
				VALUES ($1, 'e', $1, 'b', 'failure', 'ann', 9000000000000)`, i+1); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	m := Measure(s)
	now = now.Add(time.Hour)
	if err := s.Prune(t.Context(), now, now); err != nil {
		t.Fatal(err)
	}
	if rows, _ := m.Reset(); rows < pruneAtOnce || rows > pruneAtOnce+1 { // with the environment whose rows they are
		t.Errorf("a change of %d rows, not %d", rows, pruneAtOnce)
	}
	for _, table := range []string{"delivery", "purge", "target", "request", "environment", "deploy"} {
		if n := count(t, s, "SELECT COUNT(*) FROM "+table); n != 0 {
			t.Errorf("%d rows left of %s", n, table)
		}
	}
}

// New rows take the room of what was pruned, and the file stays as large as it is.
func TestPruneLetsTheFileBe(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	s := openFile(t, func() time.Time { return now })
	first := 0
	for round := range 5 {
		received(t, s, round, 300)
		pages := count(t, s, "PRAGMA page_count")
		if first == 0 {
			first = pages
		}
		if pages > first+first/10 {
			t.Fatalf("%d pages after %d rounds, %d after the first", pages, round+1, first)
		}
		now = now.Add(time.Hour)
		if err := s.Prune(t.Context(), now, now); err != nil {
			t.Fatal(err)
		}
	}
}

// A status that waits is kept even if everything else is deleted at once: it still has to
// be ended.
func TestPruneKeepsWhatWaits(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	s := openFile(t, func() time.Time { return now })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	shown := func(sha, state string) {
		t.Helper()
		must(s.Announce(t.Context(), Announcement{RepoID: 5, EnvID: "e", SHA: sha, Context: "purge/production", State: state, Words: "x", At: now}))
		post, err := s.ClaimPost(t.Context(), surface(5, sha, "purge/production"), time.Minute)
		must(err)
		must(s.Posted(t.Context(), post, state, true, 0))
	}
	shown("a", "pending")
	shown("b", "success")
	now = now.Add(2 * time.Hour)
	prune := func(want ...string) {
		t.Helper()
		must(s.Prune(t.Context(), now.Add(-time.Hour), now.Add(-time.Hour)))
		if left, err := s.Announced(t.Context(), "e", 10); !slices.Equal(left, want) {
			t.Errorf("left: %v, %v; want %v", left, err, want)
		}
	}
	prune("a")
	must(s.Lapse(t.Context(), now))
	post, err := s.ClaimPost(t.Context(), surface(5, "a", "purge/production"), time.Minute)
	must(err)
	must(s.Posted(t.Context(), post, "failure", true, 0))
	now = now.Add(2 * time.Hour)
	prune()
}

// A commit that was live once more is remembered since then: to go back to it is a
// rollback.
func TestPruneGoesByWhenACommitWasLiveLast(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	s := openFile(t, func() time.Time { return now })
	var env string
	for i, sha := range []string{"a", "b", "a", "c"} {
		e, _, err := s.Desire(t.Context(), 5, "production", ledger.Deploy{
			Point: ledger.Point{SHA: sha, Deploy: int64(i + 1), Status: int64(i + 1), At: now}, State: "success",
		}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Commit(t.Context(), Move{Env: e, To: e.Desired}); err != nil || !ok {
			t.Fatal(ok, err)
		}
		env, now = e.ID, now.Add(24*time.Hour)
	}
	if err := s.Prune(t.Context(), now, now.Add(-60*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for sha, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if lived, err := s.Lived(t.Context(), env, sha); lived != want || err != nil {
			t.Errorf("%s: %t, %v", sha, lived, err)
		}
	}
}

// Jobs that are done do not stay.
func TestSweepDropsDoneJobs(t *testing.T) {
	s := openFile(t, nil)
	for _, guid := range []string{"done", "waiting"} {
		if _, err := s.Receive(t.Context(), Delivery{GUID: guid, Event: "push", Body: []byte("{}"), ReceivedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	err := s.write(t.Context(), func(q *tx) error {
		_, err := q.exec(t.Context(), `UPDATE river_job SET state = 'completed', finalized_at = created_at WHERE json_extract(args, '$.guid') = 'done'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT COUNT(*) FROM river_job WHERE json_extract(args, '$.guid') = 'waiting'`); n != 1 {
		t.Errorf("%d jobs wait, not 1", n)
	}
	if n := count(t, s, `SELECT COUNT(*) FROM river_job`); n != 1 {
		t.Errorf("%d jobs, not 1", n)
	}
}
