package store_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// The clock ran an hour ahead and is right again, in the same process or after a restart.
// What was put off until a moment of the wrong clock is due now, not in an hour.
func TestWhatAClockPutOffThatRanAhead(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct{ swept, restart bool }{
		"running": {true, false}, "restarted": {true, true}, "dead before it swept": {false, true},
	} {
		restart := of.restart
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				sweep := func() {
					t.Helper()
					if err := s.Sweep(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				sweep()
				c.Advance(time.Hour)
				if of.swept {
					sweep()
				}
				e := environment(t, s, c.Now(), "a", 1, 1)
				deploy(t, s, e, append(urls(2), mapping.Target{Kind: mapping.Tag, Object: "shell", Action: mapping.Invalidate}))
				settle(t, s, claim(t, s), unavailable)
				settle(t, s, claimTags(t, s), badCredentials) // paused
				post, err := s.ClaimPost(t.Context(), surfaces()[0], time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.NotPosted(t.Context(), post, 10*time.Second, ""); err != nil {
					t.Fatal(err)
				}
				if _, err := s.ClaimPost(t.Context(), surfaces()[1], time.Minute); err != nil {
					t.Fatal(err) // its writer dies after this
				}
				if _, err := s.Receive(t.Context(), store.Delivery{GUID: "g", Event: "push", Body: []byte("{}"), ReceivedAt: c.Now()}); err != nil {
					t.Fatal(err)
				}
				tenSeconds := func(int) time.Duration { return 10 * time.Second }
				environment(t, s, c.Now(), "b", 2, 2)
				for _, job := range []river.JobArgs{store.HandleJob{GUID: "g"}, store.ReconcileJob{EnvID: e.ID}} {
					if _, err := s.Defer(t.Context(), job, tenSeconds); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Hasten(t.Context(), "chore"); err != nil {
					t.Fatal(err)
				}
				if _, ok, err := s.ClaimChore(t.Context(), "chore", time.Minute); err != nil || !ok {
					t.Fatal(ok, err) // the process that has the chore dies after this
				}

				c.Advance(-time.Hour)
				if restart {
					s = open(c.Now)
				} else if r, wait, err := s.Claim(t.Context(), "", purger.URL); err != nil || r == nil {
					t.Errorf("the pause lasts %v, %v", wait, err)
				}
				before := map[string]int{}
				kinds := []string{"handle", "reconcile", "report", "purge"}
				for _, kind := range kinds {
					before[kind] = jobs(t, s, kind)
				}
				sweep()
				for _, kind := range kinds {
					if jobs(t, s, kind) == before[kind] {
						t.Errorf("nobody wakes %s", kind)
					}
				}
				if restart {
					claim(t, s)
				}
				if _, ok, err := s.ClaimChore(t.Context(), "chore", time.Minute); err != nil || !ok {
					t.Errorf("the chore waits: %v", err)
				}
				for _, surface := range surfaces() {
					if p, err := s.ClaimPost(t.Context(), surface, time.Minute); err != nil || p.Wait > 0 {
						t.Errorf("%s waits %v: %v", surface, p.Wait, err)
					}
				}
			})
		})
	}
}

// Words that a clock that ran ahead has dated do not keep the next words waiting.
func TestNextWordsAfterAClockThatRanAhead(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "a", 1, 1)
		deploy(t, s, e, urls(2))
		c.Advance(time.Hour)
		post, err := s.ClaimPost(t.Context(), surfaces()[0], time.Minute)
		if err == nil {
			err = s.Posted(t.Context(), post, "words", true, 2*time.Second)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Advance(-time.Hour)
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		settle(t, s, claim(t, s), accepted)
		if post, err = s.ClaimPost(t.Context(), surfaces()[0], time.Minute); err != nil || post.Wait > 0 {
			t.Errorf("they wait %v: %v", post.Wait, err)
		}
	})
}

// A bucket that rests for an hour, and a pause of an hour, were written by a wrong clock:
// the claim itself does not wait for them.
func TestDeadlinesBeyondTheirMaximum(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneDeploy, urls(2))
		c.Advance(time.Hour)
		settle(t, s, claim(t, s), reply(purger.Answer{Verdict: purger.Limited}))
		if wait := nothing(t, s); wait != 5*time.Second {
			t.Errorf("denied, it waits %v", wait)
		}
		c.Advance(-time.Hour)
		nothing(t, s) // only tokens are missing, and they come back
		c.Advance(time.Second)
		settle(t, s, claim(t, s), badCredentials)
		c.Advance(-time.Hour)
		claim(t, s)
		c.Advance(-time.Hour)
		claim(t, s) // its lease is the last thing to put right
	})
}

func jobs(t *testing.T, s *store.Store, kind string) int {
	t.Helper()
	n, err := s.Jobs(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
