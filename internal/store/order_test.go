package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// begun begins a purge of an environment's desired commit.
func begun(t *testing.T, s *store.Store, e ledger.Environment, cause ledger.Cause) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{
		RepoID: repoID, EnvID: e.ID, Environment: e.Name, Cause: cause, To: e.Desired, Network: mapping.Production,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(urls(1)), asGiven); err != nil {
		t.Fatal(err)
	}
	return p
}

func committed(t *testing.T, s *store.Store, e ledger.Environment, p ledger.Purge) {
	t.Helper()
	ok, err := s.Commit(t.Context(), store.Move{Env: e, To: e.Desired, Purge: &p, Context: "purge/production"})
	if err != nil || !ok {
		t.Fatalf("Commit = %v, %v", ok, err)
	}
}

// surfaces are the surfaces of the commit "a": its status and its check run.
func surfaces() []string {
	return []string{"status/77/a/purge/production", store.CheckSurface(repoID, "a", "Purge production")}
}

// speaker is the purge whose words a surface shows.
func speaker(t *testing.T, s *store.Store, surface string) string {
	t.Helper()
	p, err := s.ClaimPost(t.Context(), surface, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return p.PurgeID
}

// The clock is set back between two purges of one commit, so their ids are in the wrong
// order. The later one speaks all the same, and is the last.
func TestLaterPurgeSpeaksWhateverTheClock(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "a", 1, 1)
		first := begun(t, s, e, ledger.CauseDeploy)
		committed(t, s, e, first)
		c.Advance(-time.Hour)
		e = environment(t, s, c.Now().Add(2*time.Hour), "a", 2, 2)
		again := begun(t, s, e, ledger.CauseAgain)
		committed(t, s, e, again)
		if again.ID > first.ID {
			t.Fatal("the clock was not set back")
		}
		if last, err := s.LastPurge(t.Context(), e.ID, "a"); err != nil || last.ID != again.ID {
			t.Errorf("the last purge is the first: %v, %v", last.ID == first.ID, err)
		}
		for _, surface := range surfaces() {
			if speaker(t, s, surface) != again.ID {
				t.Errorf("%s shows the first purge", surface)
			}
		}
		if all, err := s.Recent(t.Context(), 2); err != nil || all[0].ID != again.ID {
			t.Errorf("the newest of all is the first: %v", err)
		}
		if all, err := s.PurgesOf(t.Context(), e.ID, 2); err != nil || all[0].ID != again.ID {
			t.Errorf("the newest of the environment is the first: %v", err)
		}
		if p, err := s.FindPurge(t.Context(), repoID, 0, e.ID, store.Cancel); err != nil || p.ID != again.ID {
			t.Errorf("a cancel means the first: %v", err)
		}
	})
}

// A purge that was begun first and is committed last takes no surface from the one that
// was begun after it.
func TestEarlierPurgeTakesNoSurface(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "a", 1, 1)
		early := begun(t, s, e, ledger.CauseDeploy)
		c.Advance(time.Second)
		late := begun(t, s, e, ledger.CauseDeploy)
		committed(t, s, e, late)
		e = environment(t, s, c.Now().Add(time.Minute), "a", 2, 2)
		committed(t, s, e, early)
		for _, surface := range surfaces() {
			if speaker(t, s, surface) != late.ID {
				t.Errorf("%s shows the purge that was begun first", surface)
			}
		}
	})
}

// A purge of what an overtaken commit served, and a purge that a person asked for, were
// not for the deployment of that commit.
func TestLastPurgeIsOfADeployment(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "a", 1, 1)
		of := begun(t, s, e, ledger.CauseDeploy)
		committed(t, s, e, of)
		for _, cause := range []ledger.Cause{ledger.CauseOvertaken, ledger.CauseComment} {
			other := begun(t, s, e, cause)
			if err := s.OpenPurge(t.Context(), other.ID, false); err != nil {
				t.Fatal(err)
			}
			if last, err := s.LastPurge(t.Context(), e.ID, "a"); err != nil || last.ID != of.ID {
				t.Errorf("the last purge is the %s one, %v", cause, err)
			}
		}
		begun(t, s, e, ledger.CauseAgain) // not committed yet
		if last, err := s.LastPurge(t.Context(), e.ID, "a"); err != nil || last.ID != of.ID {
			t.Errorf("the last purge is still being planned, %v", err)
		}
	})
}

// A purge of several requests counts as sent with the first of them. A success that
// GitHub records between two requests has all of them sent once more.
func TestFirstSentIsOfTheFirstRequest(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		began := c.Now()
		p := deploy(t, s, environment(t, s, began, "a", 1, 1), urls(6000))
		for range 2 {
			settle(t, s, claim(t, s), accepted)
			c.Advance(time.Minute)
		}
		if p = reread(t, s, p.ID); p.Counts.Left() == 0 {
			t.Fatal("two requests took all of it")
		}
		if last, err := s.LastPurge(t.Context(), p.EnvID, "a"); err != nil || !last.FirstSent.Equal(began) {
			t.Errorf("first sent at %v, want %v, %v", last.FirstSent, began, err)
		}
	})
}

// A request that waits to be sent again keeps its place: behind people's purges, and
// before those of its own lane that were not tried yet.
func TestReadyRequestKeepsItsLane(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneDeploy, []mapping.Target{target("https://www.example.com/again/", mapping.Invalidate)})
		settle(t, s, claim(t, s), reply(purger.Answer{Verdict: purger.Unavailable, Status: 503}))
		c.Advance(time.Minute)
		opened(t, s, ledger.LaneLarge, []mapping.Target{target("https://www.example.com/large/", mapping.Invalidate)})
		asked(t, s, target("https://www.example.com/asked-for/", mapping.Delete))
		for _, first := range []string{"asked-for", "again", "large"} {
			r := claim(t, s)
			if r.Objects[0] != "https://www.example.com/"+first+"/" {
				t.Fatalf("%s goes out, want %s", r.Objects[0], first)
			}
			settle(t, s, r, accepted)
		}
	})
}
