package store_test

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// People who open pull requests can't fill the disk: of each pull request the last
// listing is kept, up to a number in a repository, and none after it is closed.
func TestPreviewsHaveTheirShare(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		keep := func(repo int64, number int, sha, text string) string {
			t.Helper()
			c.Advance(time.Second)
			key, err := s.KeepPreview(t.Context(), repo, number, sha, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		read := func(key string) string {
			text, err := s.Preview(t.Context(), key)
			if err != nil {
				return ""
			}
			return string(text)
		}
		other := keep(2, 1, "sha", "another repository's")
		queued := keep(1, 0, "sha", "a merge queue's")
		first := keep(1, 1, "sha1", "one")
		if again := keep(1, 1, "sha2", "two"); again != first || read(first) != "two" {
			t.Errorf("the second push: key %s, not %s, with %q", again, first, read(first))
		}
		noise := make([]byte, 5<<20)
		if _, err := crand.Read(noise); err != nil {
			t.Fatal(err)
		}
		var large []string
		for number := 2; number <= 5; number++ {
			large = append(large, keep(1, number, "sha", string(noise)))
		}
		if read(queued) != "" || read(first) != "" || read(large[0]) != "" || read(large[1]) == "" || read(large[3]) == "" {
			t.Error("listings of 20 MiB: the oldest should be gone, and no other")
		}
		var small []string
		for number := 10; number < 70; number++ {
			small = append(small, keep(1, number, "sha", fmt.Sprint(number)))
		}
		if read(small[9]) != "" || read(small[10]) != "10" && read(small[10]) != "20" || read(other) == "" {
			t.Error("of sixty the last fifty should be kept, and another repository's")
		}
		if err := s.ClosePreview(t.Context(), 1, 69); err != nil || read(small[59]) != "" || read(small[58]) == "" {
			t.Error("closed: ", err)
		}
	})
}

// deployment takes a deployment through all its steps: live moves, and a purge of some
// pages is sent and ends.
func deployment(t testing.TB, s *store.Store, repo int64, environment string, n int, at time.Time) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	to := ledger.Point{SHA: fmt.Sprintf("%040x", n+1), Deploy: int64(n + 1), Status: int64(n + 1), At: at}
	env, _, err := s.Desire(ctx, repo, environment, ledger.Deploy{Point: to, State: "success", Creator: "ci"}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	purge, err := s.Begin(ctx, ledger.Purge{RepoID: repo, EnvID: env.ID, Environment: environment, Cause: ledger.CauseDeploy, From: env.Live, To: to, Network: mapping.Production})
	if err != nil {
		t.Fatal(err)
	}
	var targets []mapping.Target
	for i := range 10 {
		targets = append(targets, mapping.Target{
			Kind: mapping.URL, Action: mapping.Invalidate, Rule: "pages", Path: fmt.Sprintf("content/docs/page-%d.md", i),
			Object: fmt.Sprintf("https://www.acme.com/docs/page-%d/", i),
		})
	}
	if err := s.AddTargets(ctx, purge, slices.Values(targets), func(g mapping.Target) string { return g.Reason }); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Commit(ctx, store.Move{Env: env, To: to, Purge: &purge, Context: "purge/" + environment, Tree: []byte(strings.Repeat("t", 200))}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	r, _, err := s.Claim(ctx, "", purger.URL)
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	if _, ok, err := s.Settle(ctx, r, accepted); err != nil || !ok {
		t.Fatal(ok, err)
	}
}

// An environment to which nobody deploys any more is forgotten with everything that was
// kept of it. What is live stays.
func TestPruneForgetsEnvironments(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		if _, err := s.SeeRepository(t.Context(), ledger.Repository{ID: 1, Owner: "acme", Name: "site", FirstSeen: c.Now()}); err != nil {
			t.Fatal(err)
		}
		n := 0
		deploy := func(environment string) {
			c.Advance(time.Minute)
			n++
			deployment(t, s, 1, environment, n, c.Now())
		}
		for i := range 5 {
			deploy(fmt.Sprintf("pr-%d", i))
		}
		deploy("production")
		first := c.Now()
		c.Advance(300 * 24 * time.Hour)
		deploy("production")
		c.Advance(200 * 24 * time.Hour)
		before := c.Now().Add(-400 * 24 * time.Hour)
		if first.After(before) {
			t.Fatal("the first deployments are not old enough")
		}
		if err := s.Prune(t.Context(), before, before); err != nil {
			t.Fatal(err)
		}
		if _, err := s.FindEnvironment(t.Context(), 1, "pr-3"); err == nil {
			t.Error("an environment that nobody deploys to is kept")
		}
		env, err := s.FindEnvironment(t.Context(), 1, "production")
		if err != nil || env.Live.Deploy != int64(n+1) {
			t.Fatal(env.Live, err)
		}
		if tree, err := s.Tree(t.Context(), env.ID); err != nil || len(tree) == 0 {
			t.Errorf("the live commit's listing: %d bytes, %v", len(tree), err)
		}
		deploy("pr-3") // the environment begins anew
	})
}

// BenchmarkStorage deploys to a hundred repositories in turn, and reports how large the
// database gets. One operation is a deployment with ten pages and a webhook's delivery of
// 10 KB, which compresses to a quarter.
//
//	go test ./internal/store -run '^$' -bench Storage -benchtime 100000x -timeout 60m
//
// bytes/op is what a deployment takes as long as it is kept. pruned-MiB is what the
// database takes after all but the last hundred deployments are pruned.
func BenchmarkStorage(b *testing.B) {
	c := newClock()
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + b.TempDir() + "/purgebot.db", Now: c.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	go s.Checkpoint(b.Context())
	for repo := range int64(100) {
		if _, err := s.SeeRepository(b.Context(), ledger.Repository{ID: repo + 1, Owner: "acme", Name: fmt.Sprint("site-", repo), FirstSeen: c.Now()}); err != nil {
			b.Fatal(err)
		}
	}
	used := func() int64 {
		n, err := s.Used(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	empty, n := used(), 0
	for b.Loop() {
		c.Advance(time.Minute)
		d := store.Delivery{GUID: fmt.Sprint(n), Event: "deployment_status", RepoID: int64(n%100) + 1, Body: body(n), ReceivedAt: c.Now()}
		if _, err := s.Receive(b.Context(), d); err != nil {
			b.Fatal(err)
		}
		if err := s.Handled(b.Context(), d.GUID, "desired"); err != nil {
			b.Fatal(err)
		}
		deployment(b, s, int64(n%100)+1, "production", n, c.Now())
		if n++; n%1000 == 0 {
			used() // so that the jobs count as done
		}
	}
	full := used()
	b.ReportMetric(float64(full-empty)/float64(n), "bytes/op")
	b.ReportMetric(float64(full)/(1<<20), "MiB")
	before := c.Now().Add(-100 * time.Minute)
	c.Advance(time.Hour)
	if err := s.Prune(b.Context(), before, before); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(used())/(1<<20), "pruned-MiB")
}

// body is 10 KB that compress to a quarter, as a delivery's JSON does.
func body(n int) []byte {
	var b strings.Builder
	for range 100 {
		fmt.Fprintf(&b, `{"url":"https://api.github.com/repos/acme/site/deployments/%d/statuses/%016x","n":`, n, rand.Uint64())
	}
	return []byte(b.String())
}
