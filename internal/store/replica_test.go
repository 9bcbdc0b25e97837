package store_test

import (
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// What a replica was rung for and took with it when it died is rung for again
// within the time of a lease, not of a bell; a living one is left alone.
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
	before := bells(t, survivor)
	sweep(dead)
	rung := bells(t, survivor)
	if rung != before+1 {
		t.Fatalf("the sweep rang %d times for one delivery", rung-before)
	}
	for range 10 { // both live
		sweep(survivor)
		sweep(dead)
		c.Advance(2 * time.Second)
	}
	if n := bells(t, survivor); n != rung {
		t.Fatalf("%d bells of a replica that lives", n-rung)
	}
	died := c.Now()
	for bells(t, survivor) == rung {
		c.Advance(2 * time.Second)
		sweep(survivor)
		if gone := c.Now().Sub(died); gone > 12*time.Second {
			t.Fatalf("not rung again %v after it died", gone)
		}
	}
}

func bells(t *testing.T, s *store.Store) int {
	t.Helper()
	n, err := s.Jobs(t.Context(), store.HandleJob{}.Kind())
	if err != nil {
		t.Fatal(err)
	}
	return n
}
