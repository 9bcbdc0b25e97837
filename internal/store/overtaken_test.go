package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// While the purge of what a commit served is planned, the commit serves once more. It is
// not forgotten with that purge.
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
		first, err := s.Overtaken(t.Context(), e.ID)
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
			commit(t, s, store.Move{Env: e, To: e.Live, Overtaken: step.planned, Context: "purge/staging"})
			left, err := s.Overtaken(t.Context(), e.ID)
			if left.Status != step.left || errors.Is(err, store.ErrNotFound) != (step.left == 0) {
				t.Errorf("after status %d was planned: %+v, %v", step.planned.Status, left, err)
			}
		}
	})
}

// Of pushes within one of GitHub's seconds, once they are overtaken, the ledger can't
// tell which served first. What one of them purged may have been before the other.
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
			p, err := s.Overtaken(t.Context(), e.ID)
			if err != nil || p.SHA != test.name {
				t.Fatalf("%s: %+v, %v", test.name, p, err)
			}
			since, err := s.PurgedSince(t.Context(), e.ID, p)
			if err != nil || since.Len() != test.since {
				t.Errorf("%s: %d objects were purged since, want %d: %v", test.name, since.Len(), test.since, err)
			}
			if e, err = s.Environment(t.Context(), e.ID); err != nil {
				t.Fatal(err)
			}
			commit(t, s, store.Move{Env: e, To: e.Live, Overtaken: p, Context: "purge/staging"})
		}
	})
}

// A commit that was noted as overtaken and goes live after all is purged by the move that
// makes it live. Nothing more is owed for it.
func TestOvertakenGoesLive(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "live", 9, 9)
		commit(t, s, store.Move{Env: e, To: e.Desired, Context: "purge/production"})
		for id, sha := range map[int64]string{1: "back", 2: "other"} {
			environment(t, s, c.Now().Add(time.Duration(id-60)*time.Second), sha, id, id)
		}
		e = environment(t, s, c.Now().Add(time.Second), "back", 10, 10)
		commit(t, s, store.Move{Env: e, To: e.Desired, Context: "purge/production"})
		if left, err := s.Overtaken(t.Context(), e.ID); err != nil || left.SHA != "other" {
			t.Errorf("left is %+v, %v", left, err)
		}
	})
}

// An object that was deleted since then needs no invalidation. One that was invalidated
// may still need a delete.
func TestPurgedSinceByAction(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "live", 1, 1)
		targets := urls(2)
		targets[0].Action = mapping.Delete
		commit(t, s, store.Move{Env: e, To: e.Desired, Purge: planFor(t, s, e, targets, ledger.CauseDeploy), Context: "purge/production"})
		since, err := s.PurgedSince(t.Context(), e.ID, ledger.Point{})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct{ invalidate, remove bool }{{true, true}, {true, false}} {
			object := targets[i].Object
			if got := since.Has(mapping.URL, object, mapping.Invalidate); got != want.invalidate {
				t.Errorf("%s was invalidated: %v", object, got)
			}
			if got := since.Has(mapping.URL, object, mapping.Delete); got != want.remove {
				t.Errorf("%s was deleted: %v", object, got)
			}
		}
		if since.Has(mapping.Tag, targets[0].Object, mapping.Invalidate) {
			t.Error("a tag of the same name counts as purged")
		}
	})
}

// A branch that is created from a commit does not hide the push that brought the commit,
// nor earlier pushes.
func TestPushOf(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		zero := "0000000000000000000000000000000000000000"
		for i, p := range []ledger.Push{
			{Branch: "main", Before: "b", After: "c"},
			{Branch: "main", Before: "old", After: "c"},
			{Branch: "release", Before: "r", After: "c"},
			{Branch: "cut", Before: zero, After: "c"},
			{Branch: "new", Before: zero, After: "n"},
		} {
			p.RepoID, p.At = repoID, c.Now().Add(time.Duration(i)*time.Minute)
			if _, err := s.SeePush(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct{ sha, branch, want string }{
			{"c", "main", "old"}, {"c", "release", "r"}, {"c", "cut", "r"}, {"c", "", "r"}, {"n", "main", zero},
		} {
			if p, err := s.PushOf(t.Context(), repoID, test.sha, test.branch); err != nil || p.Before != test.want {
				t.Errorf("%s for %q: %+v, %v; want before %s", test.sha, test.branch, p, err, test.want)
			}
		}
	})
}

// A commit that serves twice within one of GitHub's seconds is noted with the later of
// the two: what was purged in between was before it.
func TestServedTwiceInASecond(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for i, sha := range []string{"a", "b", "a", "c"} {
			if _, _, err := s.Desire(t.Context(), repoID, "staging", ledger.Deploy{
				Point: ledger.Point{SHA: sha, Deploy: int64(i + 1), Status: int64(i + 1), At: c.Now()}, State: "success",
			}, c.Now()); err != nil {
				t.Fatal(err)
			}
		}
		e, err := s.FindEnvironment(t.Context(), repoID, "staging")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := s.Overtaken(t.Context(), e.ID); err != nil || p.SHA != "b" {
			t.Errorf("the first that was overtaken for good is %s, by status %d, %v", p.SHA, p.Status, err)
		}
	})
}

// Of two pushes within GitHub's second either may be the one that was overtaken: nothing
// is noted before the branch was asked, or it would be purged as a rollback.
func TestATiedPushIsNotOvertakenYet(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		pushed := func(sha string, tied bool) ledger.Environment {
			t.Helper()
			e, moved, err := s.Desire(t.Context(), repoID, "production", ledger.Deploy{
				Point: ledger.Point{SHA: sha, At: c.Now()}, State: "success", Tied: tied,
			}, time.Time{})
			if err != nil || moved != (sha == "a") {
				t.Fatalf("%s: moved %t, %v", sha, moved, err)
			}
			return e
		}
		deploy(t, s, pushed("a", true), urls(1))
		before := jobs(t, s, "reconcile")
		e := pushed("b", true)
		if p, err := s.Overtaken(t.Context(), e.ID); !errors.Is(err, store.ErrNotFound) || jobs(t, s, "reconcile") != before {
			t.Errorf("noted: %+v, %v", p, err)
		}
		pushed("b", false)
		if p, err := s.Overtaken(t.Context(), e.ID); p.SHA != "b" || err != nil {
			t.Errorf("not noted: %+v, %v", p, err)
		}
	})
}
