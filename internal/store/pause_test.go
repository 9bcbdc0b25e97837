package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

const otherRepo = repoID + 1

// deployed opens the purge of a deployment.
func deployed(t testing.TB, s *store.Store, repo int64, environment string, urls ...string) ledger.Purge {
	t.Helper()
	return opens(t, s, ledger.Purge{RepoID: repo, Environment: environment, Cause: ledger.CauseDeploy, Network: mapping.Production, Lane: ledger.LaneDeploy}, urls...)
}

// opens plans a purge of URLs and opens it.
func opens(t testing.TB, s *store.Store, p ledger.Purge, urls ...string) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var targets []mapping.Target
	for _, u := range urls {
		targets = append(targets, target(u, mapping.Invalidate))
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(targets), asGiven); err != nil {
		t.Fatal(err)
	}
	if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
		t.Fatal(err)
	}
	return p
}

func known(t *testing.T, s *store.Store) {
	t.Helper()
	for id, name := range map[int64]string{repoID: "Site", otherRepo: "blog"} {
		if _, err := s.SeeRepository(t.Context(), ledger.Repository{ID: id, Owner: "acme", Name: name, FirstSeen: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
}

func pause(t *testing.T, s *store.Store, p ledger.Pause) store.Paused {
	t.Helper()
	p.By, p.Reason = "ann", "the origin is away"
	begun, err := s.Pause(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return begun
}

func resume(t *testing.T, s *store.Store, scope ledger.Scope) []store.Paused {
	t.Helper()
	ended, err := s.Resume(t.Context(), scope, "bob")
	if err != nil {
		t.Fatal(err)
	}
	return ended
}

// wantSent claims until nothing is left, accepts all of it, and wants exactly these
// objects, each once.
func wantSent(t *testing.T, s *store.Store, c *clock, want ...string) {
	t.Helper()
	var got []string
	for vain := 0; vain < 3; { // a request that turned out empty is only put away
		r, _, err := s.Claim(t.Context(), "", purger.URL)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			vain++
			continue
		}
		got = append(got, r.Objects...)
		settle(t, s, r, accepted)
		c.Advance(time.Second)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

func swept(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const (
	pageA = "https://www.example.com/a"
	pageB = "https://www.example.com/b"
	pageC = "https://www.example.com/c"
)

func TestPauseHoldsBackWhatItCovers(t *testing.T) {
	t.Parallel()
	person := ledger.Purge{RepoID: repoID, Environment: "production", Cause: ledger.CauseComment, Network: mapping.Production, Lane: ledger.LanePeople}
	for name, test := range map[string]struct {
		pause ledger.Pause
		sent  []string // while the pause lasts
	}{
		"everything":                    {ledger.Pause{}, []string{pageC}},
		"people's too":                  {ledger.Pause{All: true}, nil},
		"a repository in another case":  {ledger.Pause{Scope: ledger.Scope{Repositories: "ACME/s*"}}, []string{pageB, pageC}},
		"another repository":            {ledger.Pause{Scope: ledger.Scope{Repositories: "acme/blog"}}, []string{pageA, pageC}},
		"an environment":                {ledger.Pause{Scope: ledger.Scope{Environment: "Production"}}, []string{pageB, pageC}},
		"neither that repository's":     {ledger.Pause{Scope: ledger.Scope{Repositories: "acme/blog", Environment: "production"}}, []string{pageA, pageB, pageC}},
		"the account":                   {ledger.Pause{Scope: ledger.Scope{Account: ledger.DefaultAccount}}, []string{pageC}},
		"a repository's people as well": {ledger.Pause{Scope: ledger.Scope{Repositories: "acme/site"}, All: true}, []string{pageB}},
	} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, opened before %v", name, before), func(t *testing.T) {
				engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
					c := newClock()
					s := open(c.Now)
					known(t, s)
					if !before {
						pause(t, s, test.pause)
					}
					deployed(t, s, repoID, "production", pageA)
					deployed(t, s, otherRepo, "staging", pageB)
					opens(t, s, person, pageC)
					if before {
						pause(t, s, test.pause)
					}
					wantSent(t, s, c, test.sent...)
					all := []string{pageA, pageB, pageC}
					ended := resume(t, s, test.pause.Scope)
					if want := len(all) - len(test.sent); len(ended) != 1 || ended[0].Purges != want || ended[0].Objects != want {
						t.Errorf("resumed %+v, want %d purges", ended, want)
					}
					wantSent(t, s, c, slices.DeleteFunc(all, func(u string) bool { return slices.Contains(test.sent, u) })...)
				})
			})
		}
	}
}

func TestPausedObjectsGoOnceAfterwards(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		known(t, s)
		pause(t, s, ledger.Pause{Scope: ledger.Scope{Repositories: "acme/site"}})
		first := deployed(t, s, repoID, "production", pageA, pageB)
		later := deployed(t, s, repoID, "production", pageB, pageC)
		wantSent(t, s, c)
		if p := reread(t, s, first.ID); p.PausedBy != "ann: the origin is away" || p.State != ledger.Open {
			t.Errorf("the first: %s, paused by %q", p.State, p.PausedBy)
		}
		// What others send of the same object is theirs alone: after the pause
		// the edge may hold what was wrong.
		deployed(t, s, otherRepo, "production", pageA)
		wantSent(t, s, c, pageA)
		resume(t, s, ledger.Scope{Repositories: "Acme/Site"})
		wantSent(t, s, c, pageA, pageB, pageC)
		for _, id := range []string{first.ID, later.ID} {
			if p := reread(t, s, id); p.State != ledger.Done || p.PausedBy != "" || p.Counts.Accepted != 2 {
				t.Errorf("at the end: %+v", p)
			}
		}
	})
}

// A pause also holds what Akamai did not take, and what a dead replica had claimed.
func TestPausedRequestsAreNotSentAgain(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testing.T, *store.Store, *clock, *store.Request){
		"unavailable": func(t *testing.T, s *store.Store, c *clock, r *store.Request) {
			settle(t, s, r, store.Reply{Answer: purger.Answer{Verdict: purger.Unavailable}})
			c.Advance(time.Minute)
		},
		"its replica died": func(_ *testing.T, _ *store.Store, c *clock, _ *store.Request) { c.Advance(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				known(t, s)
				deployed(t, s, repoID, "production", pageA, pageB)
				deployed(t, s, otherRepo, "production", pageB, pageC)
				r := claim(t, s)
				if len(r.Objects) != 3 {
					t.Fatalf("claimed %v", r.Objects)
				}
				pause(t, s, ledger.Pause{Scope: ledger.Scope{Repositories: "acme/site"}})
				leave(t, s, c, r)
				wantSent(t, s, c, pageB, pageC)
				resume(t, s, ledger.Scope{Repositories: "acme/site"})
				wantSent(t, s, c, pageA, pageB)
			})
		})
	}
}

func TestPauseEndsByItself(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		known(t, s)
		pause(t, s, ledger.Pause{Until: c.Now().Add(2 * time.Hour)})
		pause(t, s, ledger.Pause{Scope: ledger.Scope{Repositories: "acme/blog"}})
		deployed(t, s, repoID, "production", pageA)
		deployed(t, s, otherRepo, "production", pageB)
		c.Advance(2*time.Hour - time.Second)
		swept(t, s)
		wantSent(t, s, c)
		c.Advance(time.Second)
		swept(t, s)
		wantSent(t, s, c, pageA) // the other pause covers the rest
		all, err := s.Pauses(t.Context())
		if err != nil || len(all) != 1 || all[0].Repositories != "acme/blog" || all[0].Purges != 1 {
			t.Errorf("left: %+v, %v", all, err)
		}
		if _, err := s.Resume(t.Context(), ledger.Scope{}, "bob"); !errors.Is(err, store.ErrNothing) {
			t.Errorf("resume what ended by itself: %v", err)
		}
		resume(t, s, ledger.Scope{Repositories: "acme/blog"})
		wantSent(t, s, c, pageB)
	})
}

func TestPauseTakesThePlaceOfOneOfItsScope(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		known(t, s)
		deployed(t, s, repoID, "production", pageA)
		pause(t, s, ledger.Pause{})
		again := pause(t, s, ledger.Pause{Until: c.Now().Add(time.Hour)})
		all, err := s.Pauses(t.Context())
		if err != nil || len(all) != 1 || all[0].ID != again.ID || all[0].Purges != 1 {
			t.Errorf("%+v, %v", all, err)
		}
		wantSent(t, s, c)
	})
}

// A pause is one write. The process that began or ended it may die after that.
func TestPauseThatBreaksOff(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		known(t, s)
		first := deployed(t, s, repoID, "production", pageA)
		mend := s.Break(1, errors.New("the disk is full"))
		if begun := pause(t, s, ledger.Pause{}); begun.Purges != 1 || begun.Objects != 1 {
			t.Errorf("it holds back %+v", begun)
		}
		mend()
		if p := reread(t, s, first.ID); p.PausedBy != "" {
			t.Errorf("marked, though the write failed: %q", p.PausedBy)
		}
		swept(t, s)
		if p := reread(t, s, first.ID); p.PausedBy == "" {
			t.Error("the sweep did not go on")
		}
		wantSent(t, s, c)
		deployed(t, s, otherRepo, "production", pageB)
		mend = s.Break(1, errors.New("the disk is full"))
		if ended := resume(t, s, ledger.Scope{}); len(ended) != 1 || ended[0].Purges != 1 {
			t.Errorf("it held back %+v", ended)
		}
		mend()
		wantSent(t, s, c, pageB)
		swept(t, s)
		wantSent(t, s, c, pageA)
	})
}

func TestPauseOfManyPurgesGoesInChunks(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := open(t, "sqlite:"+t.TempDir()+"/p.db", c.Now)
	known(t, s)
	const n = 2 * store.MarkedAtOnce
	var pages []string
	for i := range n {
		pages = append(pages, fmt.Sprintf("https://www.example.com/%04d", i))
		deployed(t, s, repoID, "production", pages[i])
	}
	m := store.Measure(s)
	bounded := func(step string) {
		t.Helper()
		if rows, _ := m.Reset(); rows > 3*store.MarkedAtOnce+20 { // purges are let go, read and written
			t.Errorf("%s: one write touched %d rows", step, rows)
		}
	}
	pause(t, s, ledger.Pause{})
	bounded("pause")
	if all, err := s.Pauses(t.Context()); err != nil || len(all) != 1 || all[0].Purges != n || all[0].Objects != n {
		t.Errorf("it holds back %+v, %v", all, err)
	}
	wantSent(t, s, c)
	pause(t, s, ledger.Pause{Reason: "still"})
	bounded("another in its place")
	wantSent(t, s, c)
	resume(t, s, ledger.Scope{})
	bounded("resume")
	wantSent(t, s, c, pages...)
	pause(t, s, ledger.Pause{Scope: ledger.Scope{Repositories: "acme/blog"}})
	for i := range n {
		pages[i] += "/again"
		deployed(t, s, repoID, "production", pages[i])
	}
	opens(t, s, ledger.Purge{RepoID: repoID, Environment: "production", Cause: ledger.CauseComment, Network: mapping.Production, Lane: ledger.LanePeople}, pageA)
	var first *store.Request
	for first == nil { // each claim holds some of the purges against the pause
		var err error
		if first, _, err = s.Claim(t.Context(), "", purger.URL); err != nil {
			t.Fatal(err)
		}
	}
	if first.Lane != ledger.LanePeople || first.Objects[0] != pageA {
		t.Errorf("lane %d goes first, with %s", first.Lane, first.Objects[0])
	}
	settle(t, s, first, accepted)
	rest := slices.DeleteFunc(pages, func(page string) bool { return slices.Contains(first.Objects, page) })
	wantSent(t, s, c, rest...)
}

// Once a pause has begun, no replica claims what it covers, however many claim and open
// purges at that moment.
func TestNoReplicaClaimsAfterAPause(t *testing.T) {
	url := storetest.Postgres(t)
	c := newClock()
	replicas := []*store.Store{open(t, url, c.Now), open(t, url, c.Now), open(t, url, c.Now)}
	known(t, replicas[0])
	var work sync.WaitGroup
	paused := make(chan struct{})
	for i, s := range replicas[1:] {
		work.Go(func() {
			for n := range 40 {
				deployed(t, s, repoID, "production", fmt.Sprintf("https://www.example.com/%d/%d", i, n))
				begun := isClosed(paused)
				if r := claimed(t, s); r != nil && begun {
					t.Errorf("claimed %v while paused", r.Objects)
				}
				if n == 10 && i == 0 {
					pause(t, replicas[0], ledger.Pause{})
					close(paused)
				}
				c.Advance(time.Second)
			}
		})
	}
	work.Wait()
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
