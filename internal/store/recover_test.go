package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

// One replica does a chore at a time. If it dies, another one follows, and the dead one
// settles nothing that is not its own any more.
func TestChore(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		clock := newClock()
		one, other := open(clock.Now), open(clock.Now)
		ctx := t.Context()
		claim := func(s *store.Store) (store.Chore, bool) {
			t.Helper()
			c, ok, err := s.ClaimChore(ctx, "compare", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return c, ok
		}
		if _, ok := claim(one); ok {
			t.Fatal("claimed what nobody made due")
		}
		if err := one.Hasten(ctx, "compare", "other"); err != nil {
			t.Fatal(err)
		}
		dead, ok := claim(one)
		if _, twice := claim(other); !ok || twice {
			t.Fatalf("claimed by one: %v, by the other as well: %v", ok, twice)
		}
		clock.Advance(50 * time.Second)
		if err := one.RenewChore(ctx, dead, time.Minute); err != nil {
			t.Fatal(err)
		}
		clock.Advance(50 * time.Second)
		if _, ok := claim(other); ok {
			t.Fatal("claimed though the lease was renewed")
		}
		clock.Advance(11 * time.Second)
		c, ok := claim(other)
		if !ok || !c.Last.IsZero() {
			t.Fatalf("after the lease: %v, %+v", ok, c)
		}
		if err := one.RenewChore(ctx, dead, time.Minute); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("renewed a lost claim: %v", err)
		}
		began := clock.Now()
		if err := one.ChoreDone(ctx, dead, began.Add(time.Hour), 0); err != nil {
			t.Fatal(err)
		}
		if _, ok := claim(one); ok {
			t.Fatal("who lost the claim ended that of another")
		}
		if err := other.ChoreDone(ctx, c, began, 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		clock.Advance(9 * time.Minute)
		if _, ok := claim(one); ok {
			t.Fatal("claimed before it was due")
		}
		clock.Advance(time.Minute)
		if c, ok = claim(one); !ok || !c.Last.Equal(began) {
			t.Fatalf("when due: %v, last %v, want %v", ok, c.Last, began)
		}
		if err := other.Hasten(ctx, "compare"); err != nil { // a reason to do it again came up meanwhile
			t.Fatal(err)
		}
		if err := one.ChoreDone(ctx, c, time.Time{}, time.Hour); err != nil {
			t.Fatal(err)
		}
		if c, ok = claim(one); !ok || !c.Last.Equal(began) {
			t.Errorf("after it was hastened at work: %v, last %v, want %v", ok, c.Last, began)
		}
		// A start hastens only chores that nobody is doing.
		if err := other.HastenIdle(ctx, "compare", "new"); err != nil {
			t.Fatal(err)
		}
		if err := one.ChoreDone(ctx, c, time.Time{}, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, ok = claim(one); ok {
			t.Error("what was done at that moment is done once more")
		}
		if err := other.HastenIdle(ctx, "compare"); err != nil {
			t.Fatal(err)
		}
		if _, ok = claim(one); !ok {
			t.Error("what nobody is at is not hastened")
		}
		if _, ok, err := one.ClaimChore(ctx, "new", time.Minute); !ok || err != nil {
			t.Errorf("what was never done is not due: %v", err)
		}
	})
}

// An environment that its caller reconciles wakes nobody else, unless the caller does not
// finish.
func TestDesireHere(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		clock := newClock()
		s := open(clock.Now)
		ctx := t.Context()
		jobs := func(when string, want int) {
			t.Helper()
			if err := s.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			n, err := s.Jobs(ctx, store.ReconcileJob{}.Kind())
			if err != nil || n != want {
				t.Errorf("%s %d jobs were enqueued, %v; want %d", when, n, err, want)
			}
		}
		at := ledger.Point{SHA: "a", Deploy: 1, Status: 1, At: clock.Now().Add(-time.Hour)}
		_, moved, err := s.DesireHere(ctx, repoID, "production", ledger.Deploy{Point: at, State: "success"}, at.At)
		if err != nil || !moved {
			t.Fatal(moved, err)
		}
		jobs("at once", 0)
		clock.Advance(14 * time.Second)
		jobs("within its time", 0)
		clock.Advance(2 * time.Second)
		jobs("after it", 1)
		seen, err := s.SeenDeployments(ctx, repoID, at.At)
		if diff := cmp.Diff(map[int64]time.Time{1: at.At}, seen); diff != "" || err != nil {
			t.Errorf("the deployments that were seen: %v (-want +got):\n%s", err, diff)
		}
	})
}

// Replicas share what GitHub lets an installation write.
func TestTakeWriteAcrossReplicas(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		clock := newClock()
		replicas := []*store.Store{open(clock.Now), open(clock.Now)}
		var taken atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 12 {
					wait, err := replicas[i%2].TakeWrite(t.Context(), 7, ledger.Person)
					if err != nil {
						t.Error(err)
					}
					if wait == 0 {
						taken.Add(1)
					}
				}
			})
		}
		all.Wait()
		if n := taken.Load(); n != 66 {
			t.Errorf("%d writes in a minute, want 66", n)
		}
		if wait, err := replicas[0].TakeWrite(t.Context(), 8, ledger.LastWord); wait != 0 || err != nil {
			t.Errorf("another installation waits %v, %v", wait, err)
		}
		clock.Advance(time.Minute)
		if wait, err := replicas[1].TakeWrite(t.Context(), 7, ledger.LastWord); wait != 0 || err != nil {
			t.Errorf("after a minute: %v, %v", wait, err)
		}
	})
}

func TestGoneAndBack(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		clock := newClock()
		s := open(clock.Now)
		ctx := t.Context()
		see := func(at time.Time) ledger.Repository {
			t.Helper()
			r, err := s.SeeRepository(ctx, ledger.Repository{ID: 5, Owner: "acme", Name: "site", Installation: 3, DefaultBranch: "main", FirstSeen: at})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		early := clock.Now()
		see(early)
		if _, _, err := s.Desire(ctx, 5, "production", ledger.Deploy{Point: ledger.Point{SHA: "a", Deploy: 1, Status: 1, At: early}, State: "success"}, early); err != nil {
			t.Fatal(err)
		}
		owed := func() int {
			t.Helper()
			q, err := s.Queue(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return q.Environments
		}
		due := func() int {
			t.Helper()
			repos, err := s.Repositories(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return len(repos)
		}
		// Words that GitHub did not take.
		if err := s.Announce(ctx, store.Announcement{RepoID: 5, SHA: "a", Context: "purge/production", State: "success", Words: "x", At: early}); err != nil {
			t.Fatal(err)
		}
		// And what a commit shows that waits to be deployed.
		waits := store.Announcement{RepoID: 5, EnvID: "e", SHA: "b", Context: "purge/production", State: "pending", Words: "waits", At: early}
		if err := s.Announce(ctx, waits); err != nil {
			t.Fatal(err)
		}
		shown, err := s.ClaimPost(ctx, "status/5/b/purge/production", time.Minute)
		if err == nil {
			err = s.Posted(ctx, shown, "waits", true, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		const surface = "status/5/a/purge/production"
		post, err := s.ClaimPost(ctx, surface, time.Minute)
		if err == nil {
			err = s.NotPosted(ctx, post, time.Hour, "")
		}
		if err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Minute)
		ids, err := s.RepositoriesOf(ctx, 3)
		if err != nil {
			t.Fatal(err)
		}
		gone, err := s.Gone(ctx, "the repository was deleted", append(ids, 99)...)
		if diff := cmp.Diff([]int64{5}, gone); diff != "" || err != nil {
			t.Errorf("gone: %v %s", err, diff)
		}
		if n := owed(); n != 0 {
			t.Errorf("%d environments wait that are out of reach", n)
		}
		if gone, err = s.Gone(ctx, "again", 5); len(gone) != 0 || err != nil {
			t.Errorf("gone once more: %v, %v", gone, err)
		}
		for _, at := range []time.Time{early.Add(time.Second), clock.Now().Add(time.Second)} {
			if r := see(at); r.Gone != "the repository was deleted" || due() != 0 {
				t.Errorf("an event, which may be late, brings it back: %+v", r)
			}
		}
		back, err := s.Back(ctx, 5, 99)
		if diff := cmp.Diff([]int64{5}, back); diff != "" || err != nil || due() != 1 {
			t.Errorf("back: %v %s", err, diff)
		}
		if n := owed(); n != 1 {
			t.Errorf("%d environments wait that are back", n)
		}
		if post, err = s.ClaimPost(ctx, surface, time.Minute); err != nil || post.Wait > 0 {
			t.Errorf("its words wait %v, %v", post.Wait, err)
		}
		if err := s.Prune(ctx, early, early.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if waiting, err := s.Announced(ctx, "e", 10); len(waiting) != 1 || err != nil {
			t.Errorf("nothing will end what %v show, %v", waiting, err)
		}
	})
}

func TestAskedRedeliveries(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		clock := newClock()
		s := open(clock.Now)
		ctx := t.Context()
		want := func(guid string, attempt int64, times int) {
			t.Helper()
			if a, n, err := s.Asked(ctx, guid); a != attempt || n != times || err != nil {
				t.Errorf("%s was asked for %d times, last attempt %d (%v), want %d and %d", guid, n, a, err, times, attempt)
			}
		}
		ask := func(guid string, attempt int64) {
			t.Helper()
			if err := s.Ask(ctx, guid, attempt, clock.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		want("a", 0, 0)
		ask("a", 1)
		ask("a", 2)
		want("a", 2, 2)
		clock.Advance(61 * time.Minute)
		ask("b", 3)
		want("a", 0, 0)
		want("b", 3, 1)
	})
}
