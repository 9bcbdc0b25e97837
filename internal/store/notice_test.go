package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

// told runs a test on each engine with two receivers: one hears everything, and one hears
// only what fails in another repository.
func told(t *testing.T, test func(t *testing.T, s *store.Store, c *clock)) {
	t.Parallel()
	for engine, url := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s, err := store.Open(t.Context(), store.Config{URL: url(t), Now: c.Now, Receivers: func() []ledger.Receiver {
				return []ledger.Receiver{
					{ID: "all", Events: ledger.EventKinds()},
					{ID: "few", Events: []ledger.EventKind{ledger.EventFailed}, Repositories: []string{"acme/blog"}},
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			known(t, s)
			test(t, s, c)
		})
	}
}

// noticed claims the next event that a receiver is to be told.
func noticed(t *testing.T, s *store.Store, receiver string) store.Notice {
	t.Helper()
	n, err := s.ClaimNotice(t.Context(), receiver, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hears takes everything that a receiver is to be told, one line each.
func hears(t *testing.T, s *store.Store, receiver string) (all []string) {
	t.Helper()
	for {
		n, err := s.ClaimNotice(t.Context(), receiver, time.Minute)
		if errors.Is(err, store.ErrNotFound) {
			return all
		}
		if err != nil || n.Wait > 0 {
			t.Fatal(err, n.Wait)
		}
		line := string(n.Kind) + " " + strings.Join(n.Repositories, ",")
		if n.Purge != nil {
			line += fmt.Sprintf(" %d/%d/%d", n.Purge.Counts.Accepted, n.Purge.Counts.Failed, n.Purge.Proof.Stale)
		}
		if line = strings.TrimSpace(line); n.Missed > 0 {
			line += fmt.Sprintf(" missed %d", n.Missed)
		}
		all = append(all, line)
		if err := s.Told(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
}

func wantHeard(t *testing.T, s *store.Store, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, hears(t, s, "all")); diff != "" {
		t.Errorf("the receiver hears (-want +got):\n%s", diff)
	}
}

// Each event is written once, together with what makes it true, for those whom it
// concerns.
func TestEventsOfAPurge(t *testing.T) {
	told(t, func(t *testing.T, s *store.Store, c *clock) {
		e := environment(t, s, c.Now(), "a", 1, 10)
		p := deploy(t, s, e, urls(3))
		settle(t, s, claim(t, s), offends("https://www.example.com/00000/", "unauthorized arl"))
		wantHeard(t, s)
		settle(t, s, claim(t, s), accepted)
		wantHeard(t, s, "failed acme/Site 2/1/0")
		may := func(mapping.Target) string { return "" }
		for _, answer := range []store.Reply{offends("https://www.example.com/00000/", "unauthorized arl"), accepted} {
			if _, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "ann"}, may); err != nil {
				t.Fatal(err)
			}
			settle(t, s, claim(t, s), answer)
		}
		wantHeard(t, s, "failed acme/Site 2/1/0", "mended acme/Site 3/0/0")

		// Held, and when it is released policy refuses all of it.
		held := planFor(t, s, named(t, s, "staging", "b", 2, c.Now()), urls(2), ledger.CauseDeploy)
		commit(t, s, store.Move{Env: named(t, s, "staging", "b", 2, c.Now()), To: ledger.Point{SHA: "b", Deploy: 2, Status: 2, At: c.Now()}, Purge: held, Hold: true, Context: "purge/staging"})
		wantHeard(t, s, "held acme/Site 0/0/0")
		if err := s.Release(t.Context(), store.Act{Purge: held.ID, By: "ann"}, func(mapping.Target) string { return "no" }); err != nil {
			t.Fatal(err)
		}
		wantHeard(t, s, "failed acme/Site 0/2/0")

		refused, err := s.Begin(t.Context(), ledger.Purge{RepoID: otherRepo, Environment: "production", Cause: ledger.CauseComment, Network: mapping.Production})
		if err == nil {
			err = s.AddTargets(t.Context(), refused, slices.Values(urls(1)), func(mapping.Target) string { return "no" })
		}
		if err == nil {
			err = s.OpenPurge(t.Context(), refused.ID, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		wantHeard(t, s, "failed acme/blog 0/1/0")
		if diff := cmp.Diff([]string{"failed acme/blog 0/1/0"}, hears(t, s, "few")); diff != "" {
			t.Errorf("the other receiver hears:\n%s", diff)
		}
	})
}

// looked ends the proof of a purge, with one page as it was seen.
func looked(t *testing.T, s *store.Store, c *clock, purge string, verdict verify.Verdict) {
	t.Helper()
	p := claimProof(t, s, purge)
	p.Pages = []ledger.Page{{URL: "https://www.example.com/00000/", Verdict: verdict}}
	p.State, p.Done = ledger.ProofDone, c.Now()
	settleProof(t, s, store.ProofStep{Proof: p})
}

// Stale pages are told once. It is told as well that a later purge of the environment
// left no page stale.
func TestEventsOfAProof(t *testing.T) {
	told(t, func(t *testing.T, s *store.Store, c *clock) {
		proved := func(verdict verify.Verdict) {
			t.Helper()
			c.Advance(time.Minute)
			p := planFor(t, s, named(t, s, "production", fmt.Sprint(c.Now().Unix()), c.Now().Unix(), c.Now()), urls(3), ledger.CauseDeploy)
			commit(t, s, store.Move{Env: named(t, s, "production", p.To.SHA, p.To.Deploy, p.To.At), To: p.To, Purge: p, Context: "purge/production", Asks: asks})
			waits := claimProof(t, s, p.ID)
			wantHeard(t, s)
			waits.State = ledger.ProofPurged
			settleProof(t, s, store.ProofStep{Proof: waits, Open: true})
			settle(t, s, claim(t, s), accepted)
			wantHeard(t, s)
			looked(t, s, c, p.ID, verdict)
		}
		proved(verify.Stale)
		wantHeard(t, s, "stale acme/Site 3/0/1")
		proved(verify.Stale)
		wantHeard(t, s, "stale acme/Site 3/0/1")
		proved(verify.Unknown)
		wantHeard(t, s)
		proved(verify.Fresh)
		wantHeard(t, s, "mended acme/Site 3/0/0")
		proved(verify.Fresh)
		wantHeard(t, s)
	})
}

func TestEventsOfAPause(t *testing.T) {
	told(t, func(t *testing.T, s *store.Store, c *clock) {
		pause(t, s, ledger.Pause{Scope: ledger.Scope{Repositories: "acme/b*"}})
		wantHeard(t, s, "paused acme/b*,acme/blog")
		pause(t, s, ledger.Pause{Scope: ledger.Scope{Repositories: "ACME/b*"}, All: true}) // the same scope in another spelling: takes the place of the first
		resume(t, s, ledger.Scope{Repositories: "acme/b*"})
		wantHeard(t, s, "paused ACME/b*,acme/blog", "resumed ACME/b*,acme/blog")
		pause(t, s, ledger.Pause{Until: c.Now().Add(time.Hour)})
		c.Advance(time.Hour)
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantHeard(t, s, "paused", "resumed")
	})
}

// Events of one purge keep their order, whatever the clocks show. An event that a
// receiver does not take holds up no other purge's events.
func TestNoticesKeepTheirOrder(t *testing.T) {
	told(t, func(t *testing.T, s *store.Store, c *clock) {
		may := func(mapping.Target) string { return "" }
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 10), urls(1))
		settle(t, s, claim(t, s), offends("https://www.example.com/00000/", "unauthorized arl"))
		c.Advance(-time.Minute) // the retry is another replica's, whose clock is behind
		if _, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "ann"}, may); err != nil {
			t.Fatal(err)
		}
		settle(t, s, claim(t, s), accepted)
		c.Advance(2 * time.Minute)
		pause(t, s, ledger.Pause{})

		first := noticed(t, s, "all")
		if first.Kind != ledger.EventFailed || first.Attempt != 1 || first.Missed != 0 {
			t.Fatalf("%+v", first)
		}
		if _, err := s.ClaimNotice(t.Context(), "all", time.Minute); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("claimed twice at once: %v", err)
		}
		if err := s.NotTold(t.Context(), first, time.Second); err != nil {
			t.Fatal(err)
		}
		if n := noticed(t, s, "all"); n.Wait != time.Second {
			t.Errorf("waits %v", n.Wait)
		}
		c.Advance(time.Second)
		if n := noticed(t, s, "all"); n.Kind != ledger.EventPaused || n.Failures != 1 {
			t.Errorf("%s after %d failures: that of another purge is first, since it was not tried", n.Kind, n.Failures)
		} else if err := s.Told(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		// Its process died after the event was sent: it is sent once more, and says so.
		again := noticed(t, s, "all")
		if again.ID != first.ID || again.Attempt != 2 || again.Failures != 0 {
			t.Errorf("%+v", again)
		}
		c.Advance(2 * time.Minute)
		third := noticed(t, s, "all")
		if third.ID != first.ID || third.Attempt != 3 {
			t.Errorf("%+v", third)
		}
		if err := s.Told(t.Context(), again); err != nil { // this process lost its claim
			t.Fatal(err)
		}
		if err := s.NotTold(t.Context(), third, 0); err != nil {
			t.Fatal(err)
		}
		wantHeard(t, s, "failed acme/Site 0/1/0", "mended acme/Site 1/0/0")
	})
}

// An event that a receiver was not told for a day is dropped, and so is what exceeds the
// number that may wait for it. The next event that it is told says how many were dropped.
func TestNoticesAreBounded(t *testing.T) {
	told(t, func(t *testing.T, s *store.Store, c *clock) {
		err := s.TellPauses(t.Context(), 0, 501)
		if c.Advance(time.Minute); err == nil {
			err = s.TellPauses(t.Context(), 501, 502)
		}
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Queue(t.Context())
		if err != nil || q.Notices != 1000 {
			t.Fatalf("%d wait, %v", q.Notices, err)
		}
		n := noticed(t, s, "all")
		if n.Missed != 4 || n.Pause.ID != 2 {
			t.Fatalf("%+v", n)
		}
		c.Advance(24*time.Hour - time.Minute)
		wantHeard(t, s, "paused missed 1002", "resumed")
		if q, err = s.Queue(t.Context()); err != nil || q.Notices != 0 {
			t.Errorf("%d wait, %v", q.Notices, err)
		}

		pause(t, s, ledger.Pause{}) // an event for a receiver that is gone as well
		c.Advance(26 * time.Hour)
		if err := s.Prune(t.Context(), time.Time{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if q, err = s.Queue(t.Context()); err != nil || q.Notices != 0 {
			t.Errorf("%d wait, %v", q.Notices, err)
		}
	})
}

// An installation is told as unheard, and as heard again, once each for either reason.
func TestHearing(t *testing.T) {
	told(t, func(t *testing.T, s *store.Store, c *clock) {
		if _, err := s.SeeRepository(t.Context(), ledger.Repository{ID: repoID, Owner: "acme", Name: "Site", Installation: 5, FirstSeen: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		comes := func(guid string) {
			t.Helper()
			if _, err := s.Receive(t.Context(), store.Delivery{GUID: guid, Event: "push", RepoID: repoID, Body: []byte(`{}`), ReceivedAt: c.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		comes("a")
		c.Advance(3 * time.Hour)
		comes("b")
		c.Advance(time.Hour)
		comes("c")
		all, err := s.Hearings(t.Context())
		want := []ledger.Hearing{{Installation: 5, Webhooks: 3, First: c.Now().Add(-4 * time.Hour), Last: c.Now(), Longest: 3 * time.Hour}}
		if diff := cmp.Diff(want, all); err != nil || diff != "" {
			t.Error(err, diff)
		}
		silence := ledger.Silence{Installation: 5, Last: c.Now(), Habit: 3 * time.Hour}
		for _, silent := range []bool{false, true, true} {
			if err := s.Silent(t.Context(), silence, silent); err != nil {
				t.Fatal(err)
			}
		}
		if all, err = s.Hearings(t.Context()); err != nil || !all[0].Told {
			t.Error(err, all)
		}
		wantHeard(t, s, "unheard acme/Site")
		if err := s.Silent(t.Context(), silence, false); err != nil {
			t.Fatal(err)
		}
		wantHeard(t, s, "mended acme/Site")

		fails := func(n int) {
			t.Helper()
			failing := map[int64]int{}
			if n > 0 {
				failing[5] = n
			}
			if err := s.Failing(t.Context(), failing); err != nil {
				t.Fatal(err)
			}
		}
		fails(2)
		fails(3)
		fails(0) // nothing new came
		wantHeard(t, s, "unheard acme/Site")
		c.Advance(time.Minute)
		comes("d")
		fails(1)
		wantHeard(t, s)
		fails(0)
		fails(0)
		wantHeard(t, s, "mended acme/Site")
	})
}
