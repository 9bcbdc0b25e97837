package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

func many(n int, action mapping.Action) func(func(mapping.Target) bool) {
	return func(yield func(mapping.Target) bool) {
		for i := range n {
			if !yield(mapping.Target{
				Kind: mapping.URL, Action: action, Rule: "pages", Path: "content/" + strconv.Itoa(i),
				Object: fmt.Sprintf("https://www.example.com/a-page-of-about-eighty-bytes/%012d/", i),
			}) {
				return
			}
		}
	}
}

func refuses(mapping.Target) string { return "policy doesn't allow it" }

// bulk does everything that is done with many targets at once, and calls after at the end
// of each step.
func bulk(tb testing.TB, s *store.Store, c *clock, n int, after func(step string)) {
	tb.Helper()
	ctx := tb.Context()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	deployed := func(sha string, id int64) ledger.Environment {
		e, _, err := s.Desire(ctx, 77, "production", ledger.Deploy{
			Point: ledger.Point{SHA: sha, Deploy: id, Status: id, At: at.Add(time.Duration(id) * time.Second)}, State: "success",
		}, time.Time{})
		must(err)
		return e
	}
	plan := func(e ledger.Environment, judge store.Judge) *ledger.Purge {
		p, err := s.Begin(ctx, ledger.Purge{
			RepoID: 77, EnvID: e.ID, Environment: e.Name, Cause: ledger.CauseDeploy, To: e.Desired,
			Network: mapping.Production, Lane: ledger.LaneLarge,
		})
		must(err)
		must(s.AddTargets(ctx, p, many(n, mapping.Invalidate), judge))
		return &p
	}
	commit := func(e ledger.Environment, p *ledger.Purge, hold, want bool) {
		ok, err := s.Commit(ctx, store.Move{Env: e, To: e.Desired, Purge: p, Hold: hold, Context: "purge/production", Carries: "covered", Overtakes: "overtaken"})
		if must(err); ok != want {
			tb.Fatal("committed:", ok)
		}
	}
	e := deployed("a", 1)
	held := plan(e, refuses)
	after("plan")
	commit(e, held, true, true)
	after("commit")
	e = deployed("b", 2)
	second := plan(e, refuses)
	commit(e, second, false, true)
	_, err := s.Retry(ctx, store.Act{Purge: second.ID, By: "ann"}, allow)
	must(err)
	after("retry")
	r, _, err := s.Claim(ctx, "", purger.URL)
	must(err)
	_, _, err = s.Settle(ctx, r, accepted)
	must(err)
	after("send")
	must(s.Cancel(ctx, store.Act{Purge: second.ID, By: "ann"}))
	after("cancel")
	sent, failure := s.Sent(ctx, second.ID)
	e = deployed("c", 3)
	again := plan(e, allow)
	commit(e, again, true, true)
	must(failure())
	if left := len(slices.Collect(sent)); left != len(r.Objects) {
		tb.Errorf("%d targets of the cancelled purge would be sent again, %d were sent", left, len(r.Objects))
	}
	must(s.Release(ctx, store.Act{Purge: again.ID, By: "ann"}, refuses))
	after("release")
	e = deployed("d", 4)
	held = plan(e, allow)
	commit(e, held, true, true)
	e = deployed("e", 5)
	last := plan(e, allow)
	commit(e, last, false, true)
	if p, err := s.Purge(ctx, held.ID); err != nil || !p.Covered() {
		tb.Errorf("the held purge is %s: %v", p.State, err)
	}
	after("cover")
	lost := plan(e, allow)
	commit(e, lost, false, false)
	after("discard")
	plan(e, allow)
	must(s.Takeover(ctx))
	after("takeover")
	must(s.Cancel(ctx, store.Act{Purge: last.ID, By: "ann"}))
	e = deployed("f", 6)
	c.Advance(time.Hour) // Akamai accepted the rest long before
	commit(e, plan(e, allow), false, true)
	if refused := refuse(tb, s, func(string) bool { return true }, "unauthorized arl"); refused > 100 {
		tb.Errorf("%d were tried one by one", refused)
	}
	after("host")
	for range 3 * (n/store.Chunk + 1) {
		must(s.Sweep(ctx))
	}
	after("sweep")
}

// TestWritesAreSmall: whatever is done with many targets, no transaction touches many
// more rows than a chunk.
func TestWritesAreSmall(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s, err := store.Open(t.Context(), store.Config{URL: url(t), Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			m := store.Measure(s)
			const n = 2*store.Chunk + 17
			bulk(t, s, c, n, func(step string) {
				if rows, _ := m.Reset(); rows > 2000 { // a full request of URLs is about 1,500
					t.Errorf("%s: one write touches %d rows", step, rows)
				}
			})
			if waiting, planned, err := s.Leftovers(t.Context()); err != nil || waiting != 0 || planned != 1 {
				t.Errorf("%d targets of cancelled purges wait, %d purges are planned: %v", waiting, planned, err)
			}
		})
	}
}

// TestActsGoOn: an act that broke off between two chunks is done once more, this time by
// transactions that run again, and the result is the same.
func TestActsGoOn(t *testing.T) {
	const n = 2*store.RejudgeAtOnce + 5
	broken := errors.New("broken off")
	for _, test := range []struct {
		name string
		held bool
		act  func(s *store.Store, id string, judge store.Judge) error
		want ledger.State // after it broke off
	}{
		{"retry", false, func(s *store.Store, id string, judge store.Judge) error {
			_, err := s.Retry(t.Context(), store.Act{Purge: id, By: "ann"}, judge)
			return err
		}, ledger.Open},
		{"release", true, func(s *store.Store, id string, judge store.Judge) error {
			return s.Release(t.Context(), store.Act{Purge: id, By: "ann"}, judge)
		}, ledger.Held},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, storetest.SQLite(t), nil)
			p, err := s.Begin(t.Context(), ledger.Purge{RepoID: 1, Environment: "production", Network: mapping.Production})
			if err == nil {
				err = s.AddTargets(t.Context(), p, many(n, mapping.Invalidate), func(g mapping.Target) string {
					if g.Path == "content/0" {
						return ""
					}
					return "policy doesn't allow it"
				})
			}
			if err == nil {
				err = s.OpenPurge(t.Context(), p.ID, test.held)
			}
			if err != nil {
				t.Fatal(err)
			}
			mend := s.Break(1, broken)
			if err := test.act(s, p.ID, allow); !errors.Is(err, broken) {
				t.Fatal(err)
			}
			mend()
			s.Twice()
			if now, err := s.Purge(t.Context(), p.ID); err != nil || now.State != test.want || now.Counts.Failed != n-1-store.RejudgeAtOnce && now.Counts.Failed != n-store.RejudgeAtOnce {
				t.Errorf("broken off: %s, %+v, %v", now.State, now.Counts, err)
			}
			if err := test.act(s, p.ID, allow); err != nil {
				t.Fatal(err)
			}
			if now, err := s.Purge(t.Context(), p.ID); err != nil || now.State != ledger.Open || now.Counts.Failed != 0 || now.Reason != "" {
				t.Errorf("done: %s, %+v, %v", now.State, now.Counts, err)
			}
		})
	}
}

// BenchmarkLongestWrite does everything that is done with many targets at once, with very
// many of them, on SQLite. It reports for each step the longest time for which a write
// held the one writer, in milliseconds:
//
//	go test ./internal/store -run '^$' -bench LongestWrite/1000000 -benchtime 1x -timeout 1h
func BenchmarkLongestWrite(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := newClock()
			s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + b.TempDir() + "/purgebot.db", Now: c.Now})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			m := store.Measure(s)
			for b.Loop() {
				bulk(b, s, c, n, func(step string) {
					_, longest := m.Reset()
					b.ReportMetric(float64(longest.Milliseconds()), step+"-ms")
				})
			}
		})
	}
}

// BenchmarkPause pauses and resumes many open purges, each with a status of its own. It
// reports the longest write of each.
func BenchmarkPause(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := newClock()
			s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + b.TempDir() + "/purgebot.db", Now: c.Now})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			must := func(err error) {
				if err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				e, _, err := s.Desire(b.Context(), int64(i+1), "production", ledger.Deploy{
					Point: ledger.Point{SHA: "a", Deploy: 1, Status: 1, At: c.Now()}, State: "success",
				}, c.Now())
				must(err)
				p, err := s.Begin(b.Context(), ledger.Purge{
					RepoID: e.RepoID, EnvID: e.ID, Environment: e.Name, Cause: ledger.CauseDeploy, To: e.Desired, Network: mapping.Production, Lane: ledger.LaneDeploy,
				})
				must(err)
				must(s.AddTargets(b.Context(), p, slices.Values(urls(1)), asGiven))
				_, err = s.Commit(b.Context(), store.Move{Env: e, To: e.Desired, Purge: &p, Context: "purge/production"})
				must(err)
			}
			m := store.Measure(s)
			for b.Loop() {
				m.Reset()
				_, err := s.Pause(b.Context(), ledger.Pause{By: "ann", Reason: "the origin is away"})
				must(err)
				_, pause := m.Reset()
				_, err = s.Resume(b.Context(), ledger.Scope{}, "ann")
				must(err)
				_, resume := m.Reset()
				b.ReportMetric(float64(pause.Milliseconds()), "pause-ms")
				b.ReportMetric(float64(resume.Milliseconds()), "resume-ms")
			}
		})
	}
}
