package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

// A commit that serves once more while the purge of what it served before is
// planned is not forgotten with it.
func TestServedOnceMoreMeanwhile(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		succeed := func(sha string, deploy, status int64) ledger.Environment {
			t.Helper()
			at := c.Now().Add(time.Duration(status) * time.Second)
			e, _, err := s.Desire(t.Context(), repoID, "staging", ledger.Deploy{
				Point: ledger.Point{SHA: sha, Deploy: deploy, Status: status, At: at}, State: "success",
			}, at)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := succeed("live", 9, 9)
		commit(t, s, store.Move{Env: e, To: e.Desired, Context: "purge/staging"})
		succeed("overtaken", 1, 1)
		first, err := s.Served(t.Context(), e.ID)
		if err != nil || first.Status != 1 {
			t.Fatalf("first: %+v, %v", first, err)
		}
		succeed("overtaken", 1, 5)
		for _, step := range []struct {
			planned ledger.Point
			left    int64
		}{{first, 5}, {ledger.Point{SHA: "overtaken", Status: 5, At: c.Now().Add(5 * time.Second)}, 0}} {
			if e, err = s.Environment(t.Context(), e.ID); err != nil {
				t.Fatal(err)
			}
			commit(t, s, store.Move{Env: e, To: e.Live, Served: step.planned, Context: "purge/staging"})
			left, err := s.Served(t.Context(), e.ID)
			if left.Status != step.left || errors.Is(err, store.ErrNotFound) != (step.left == 0) {
				t.Errorf("after status %d was planned: %+v, %v", step.planned.Status, left, err)
			}
		}
	})
}

// Of pushes within one of GitHub's seconds the ledger can't tell which served
// first, once they are overtaken: what one of them purged may have been before
// the other.
func TestServedInTheSecondOfAnotherPush(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		pushed := func(sha string, after time.Duration, status int64) ledger.Environment {
			t.Helper()
			at := c.Now().Add(after)
			e, _, err := s.Desire(t.Context(), repoID, "staging", ledger.Deploy{
				Point: ledger.Point{SHA: sha, Status: status, At: at}, State: "success",
			}, at)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := pushed("second", time.Second, 1)
		commit(t, s, store.Move{Env: e, To: e.Desired, Purge: planFor(t, s, e, urls(2), ledger.CausePush), Context: "purge/staging"})
		e = pushed("live", 2*time.Second, 0)
		commit(t, s, store.Move{Env: e, To: e.Desired, Context: "purge/staging"})
		for _, test := range []struct {
			name  string
			after time.Duration
			since int
		}{{"before", 0, 2}, {"within its second", time.Second, 0}} {
			e = pushed(test.name, test.after, 0)
			p, err := s.Served(t.Context(), e.ID)
			if err != nil || p.SHA != test.name {
				t.Fatalf("%s: %+v, %v", test.name, p, err)
			}
			since, err := s.PurgedSince(t.Context(), e.ID, p)
			if err != nil || len(since) != test.since {
				t.Errorf("%s: %d objects were purged since, want %d: %v", test.name, len(since), test.since, err)
			}
			if e, err = s.Environment(t.Context(), e.ID); err != nil {
				t.Fatal(err)
			}
			commit(t, s, store.Move{Env: e, To: e.Live, Served: p, Context: "purge/staging"})
		}
	})
}
