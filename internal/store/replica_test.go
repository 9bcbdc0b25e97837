package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/purger"
)

// What a replica took along when it died is woken again within the time of a lease, not
// of a job. A living replica is left alone.
func TestBellsOfADeadReplica(t *testing.T) {
	url := storetest.Postgres(t)
	c := newClock()
	survivor, dead := open(t, url, c.Now), open(t, url, c.Now)
	if _, err := dead.Receive(t.Context(), store.Delivery{GUID: "g", Event: "push", Body: []byte("{}"), ReceivedAt: c.Now()}); err != nil {
		t.Fatal(err)
	}
	sweep := func(s *store.Store) {
		t.Helper()
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(10 * time.Second)
	before := jobCount(t, survivor)
	sweep(dead)
	woken := jobCount(t, survivor)
	if woken != before+1 {
		t.Fatalf("the sweep woke it %d times for one delivery", woken-before)
	}
	for range 10 { // both live
		sweep(survivor)
		sweep(dead)
		c.Advance(2 * time.Second)
	}
	if n := jobCount(t, survivor); n != woken {
		t.Fatalf("%d jobs of a replica that lives", n-woken)
	}
	died := c.Now()
	for jobCount(t, survivor) == woken {
		c.Advance(2 * time.Second)
		sweep(survivor)
		if gone := c.Now().Sub(died); gone > 12*time.Second {
			t.Fatalf("not woken again %v after it died", gone)
		}
	}
}

func jobCount(t *testing.T, s *store.Store) int {
	t.Helper()
	n, err := s.Jobs(t.Context(), store.HandleJob{}.Kind())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Two replicas have clocks that are as far apart as they may be. What the slow one has
// taken is not over by the other's clock. A clock that is wrong by more leads nobody.
func TestReplicasGoByOneClock(t *testing.T) {
	url := storetest.Postgres(t)
	clock := func(ahead time.Duration) func() time.Time {
		return func() time.Time { return time.Now().Add(ahead) }
	}
	slow, fast, wrong := open(t, url, clock(-30*time.Second)), open(t, url, clock(29*time.Second)), open(t, url, clock(time.Hour))
	opened(t, slow, ledger.LaneDeploy, urls(2))
	deploy(t, slow, environment(t, slow, time.Now(), "a", 1, 1), urls(1))
	if err := slow.Hasten(t.Context(), "chore"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*store.Store{wrong, fast, slow, fast} {
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d := slow.Now().Sub(fast.Now()).Abs(); d > 2*time.Second {
		t.Errorf("they are %v apart", d)
	}
	r := claim(t, slow)
	if again, _, err := fast.Claim(t.Context(), "", purger.URL); err != nil || again != nil {
		t.Errorf("what is being sent is sent by the other too: %v", err)
	}
	if !settle(t, slow, r, accepted) {
		t.Error("the answer does not count")
	}
	surface := surfaces()[0]
	speaker(t, slow, surface)
	if _, err := fast.ClaimPost(t.Context(), surface, 15*time.Second); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what is being written is written by the other too: %v", err)
	}
	if _, ok, err := slow.ClaimChore(t.Context(), "chore", 15*time.Second); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, ok, err := fast.ClaimChore(t.Context(), "chore", 15*time.Second); err != nil || ok {
		t.Errorf("what one does the other does too: %v", err)
	}
}
