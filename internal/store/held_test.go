package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
)

const carries, overtakes = "Purged as part of bbbbbbb", "newer deploy bbbbbbb"

// planFor writes a purge of an environment's desired commit.
func planFor(t *testing.T, s *store.Store, e ledger.Environment, targets []mapping.Target, cause ledger.Cause) *ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{
		RepoID: repoID, EnvID: e.ID, Environment: e.Name, Cause: cause,
		To: e.Desired, Network: mapping.Production, Lane: ledger.LaneDeploy, Note: "limit 1",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(targets), asGiven); err != nil {
		t.Fatal(err)
	}
	return &p
}

// named moves what is desired in an environment of its own.
func named(t *testing.T, s *store.Store, name, sha string, id int64, at time.Time) ledger.Environment {
	t.Helper()
	e, _, err := s.Desire(t.Context(), repoID, name, ledger.Deploy{
		Point: ledger.Point{SHA: sha, Deploy: id, Status: id, At: at}, State: "success",
	}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func commit(t *testing.T, s *store.Store, m store.Move) {
	t.Helper()
	m.Carries, m.Overtakes = carries, overtakes
	if ok, err := s.Commit(t.Context(), m); err != nil || !ok {
		t.Fatalf("Commit = %v, %v", ok, err)
	}
}

func deletes(targets []mapping.Target) []mapping.Target {
	for i := range targets {
		targets[i].Action = mapping.Delete
	}
	return targets
}

// A release that has begun makes targets wait that no other purge has: it is not covered
// any more, whatever was compared before.
func TestReleaseBesideADeployment(t *testing.T) {
	url, c := storetest.Postgres(t), newClock()
	s, other := open(t, url, c.Now), open(t, url, c.Now)
	targets := urls(2)
	targets[1].Reason = "policy doesn't allow it"
	e := named(t, s, "production", "aaa", 1, c.Now())
	held := planFor(t, s, e, targets, ledger.CauseDeploy)
	commit(t, s, store.Move{Env: e, To: e.Desired, Purge: held, Hold: true, Context: "purge/production"})
	e = named(t, s, "production", "bbb", 2, c.Now())
	next := planFor(t, s, e, urls(1), ledger.CauseDeploy)
	s.Between("state = 'held' AND cause", func() {
		defer other.Break(1, errors.New("the replica dies"))()
		if err := other.Release(t.Context(), store.Act{Purge: held.ID, By: "ann"}, allow); err == nil {
			t.Error("it was released as a whole")
		}
	})
	commit(t, s, store.Move{Env: e, To: e.Desired, Purge: next, Context: "purge/production"})
	if p := reread(t, s, held.ID); p.State != ledger.Held || p.Counts.Left() != 2 {
		t.Errorf("%s, %d left: the second object was never purged", p.State, p.Counts.Left())
	}
}

func TestHeldPurgeIsOvertaken(t *testing.T) {
	refused := func(targets []mapping.Target) []mapping.Target {
		targets[0].Reason = "policy doesn't allow it"
		return targets
	}
	tests := []struct {
		name   string
		held   []mapping.Target
		next   []mapping.Target // nil: live moves on without a purge
		sha    string
		hold   bool
		state  ledger.State
		closed string
	}{
		{"by some of its objects", urls(2), urls(1), "bbb", false, ledger.Held, overtakes},
		{"by all of its objects", urls(2), urls(3), "bbb", false, ledger.Cancelled, carries},
		{"by deletes of them", urls(2), deletes(urls(2)), "bbb", false, ledger.Cancelled, carries},
		{"a delete, by invalidations", deletes(urls(2)), urls(2), "bbb", false, ledger.Held, overtakes},
		{"by what policy refuses", urls(2), refused(urls(2)), "bbb", false, ledger.Held, overtakes},
		{"by one that is held as well", urls(2), urls(3), "bbb", true, ledger.Held, overtakes},
		{"by none", urls(2), nil, "bbb", false, ledger.Held, overtakes},
		{"by a deployment of its own commit", urls(2), nil, "aaa", false, ledger.Held, ""},
	}
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for _, test := range tests {
			e := named(t, s, test.name, "aaa", 1, c.Now())
			held := planFor(t, s, e, slices.Clone(test.held), ledger.CauseDeploy)
			commit(t, s, store.Move{Env: e, To: e.Desired, Purge: held, Hold: true, Context: "purge/production"})
			persons := planFor(t, s, e, urls(2), ledger.CauseComment)
			if err := s.OpenPurge(t.Context(), persons.ID, true); err != nil {
				t.Fatal(err)
			}
			e = named(t, s, test.name, test.sha, 2, c.Now().Add(time.Second))
			m := store.Move{Env: e, To: e.Desired, Context: "purge/production", Hold: test.hold}
			if test.next != nil {
				m.Purge = planFor(t, s, e, slices.Clone(test.next), ledger.CauseDeploy)
			}
			commit(t, s, m)

			p := reread(t, s, held.ID)
			if p.State != test.state || p.Closed != test.closed || p.Covered() != (test.state == ledger.Cancelled) {
				t.Errorf("%s: %s, closed: %q", test.name, p.State, p.Closed)
			}
			if p := reread(t, s, persons.ID); p.State != ledger.Held || p.Closed != "" {
				t.Errorf("%s: a person's is %s, closed: %q", test.name, p.State, p.Closed)
			}
			if test.state == ledger.Cancelled {
				wantFates(t, s, held.ID, "dropped https://www.example.com/00000/", "dropped https://www.example.com/00001/")
			}
		}
	})
}

func TestHeldPurgeThatNobodyComesFor(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "aaa", 1, 1)
		held := planFor(t, s, e, urls(2), ledger.CauseDeploy)
		commit(t, s, store.Move{Env: e, To: e.Desired, Purge: held, Hold: true, Context: "purge/production"})
		for _, step := range []struct {
			before time.Duration
			words  string
			closed string
		}{{0, "too early", ""}, {time.Second, "for long", "for long"}, {time.Second, "again", "for long"}} {
			if err := s.CloseHeld(t.Context(), c.Now().Add(step.before), step.words); err != nil {
				t.Fatal(err)
			}
			if p := reread(t, s, held.ID); p.Closed != step.closed || p.State != ledger.Held {
				t.Errorf("%s, closed: %q, want %q", p.State, p.Closed, step.closed)
			}
		}
		if err := s.Release(t.Context(), store.Act{Purge: held.ID, By: "ann"}, allow); err != nil {
			t.Fatal(err)
		}
		if r := claim(t, s); len(r.Objects) != 2 {
			t.Errorf("%d objects go out", len(r.Objects))
		}
	})
}
