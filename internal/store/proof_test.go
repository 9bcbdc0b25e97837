package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
	"github.com/purgebot/purgebot/verify"
)

var asks = ledger.Asks{Verify: &mapping.Verify{Origin: "origin.acme.com", Wait: time.Minute, Late: mapping.LatePurge, Sample: 20}, Rules: []string{"pages"}}

// proving is a purge that waits for its origin.
func proving(t *testing.T, s *store.Store, name string, now time.Time) ledger.Purge {
	t.Helper()
	e := named(t, s, name, "aaa", 1, now)
	p := planFor(t, s, e, urls(3), ledger.CauseDeploy)
	commit(t, s, store.Move{Env: e, To: e.Desired, Purge: p, Context: "purge/production", Asks: asks})
	return reread(t, s, p.ID)
}

func claimProof(t *testing.T, s *store.Store, purge string) store.Proof {
	t.Helper()
	p, err := s.ClaimProof(t.Context(), purge, time.Minute, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func settleProof(t *testing.T, s *store.Store, step store.ProofStep) bool {
	t.Helper()
	ok, err := s.SettleProof(t.Context(), step)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// A purge waits for its origin and goes out with the step that saw it ready. Its pages
// are kept, and their result is shown with the purge.
func TestProof(t *testing.T) {
	engines(t, func(t *testing.T, open func(now func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		purge := proving(t, s, "production", c.Now())
		if purge.State != ledger.Held || purge.Proof.State != ledger.ProofOrigin {
			t.Fatalf("%s, %+v", purge.State, purge.Proof)
		}
		p := claimProof(t, s, purge.ID)
		if diff := cmp.Diff(asks, p.Asks); diff != "" {
			t.Error(diff)
		}
		before := &verify.Answer{URL: "https://www.acme.com/0", Status: 200, SHA256: "old", Age: new(int)}
		p.Pages = []ledger.Page{{URL: "https://www.acme.com/0", Before: before, Delete: true}, {URL: "https://www.acme.com/1"}}
		p.Words = "waiting for the origin to serve aaa"
		settleProof(t, s, store.ProofStep{Proof: p, After: time.Second})
		if _, err := s.ClaimProof(t.Context(), purge.ID, time.Minute, time.Minute); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("claimed before its time: %v", err)
		}
		c.Advance(2 * time.Second)
		told := reread(t, s, purge.ID).Version
		settleProof(t, s, store.ProofStep{Proof: claimProof(t, s, purge.ID), After: time.Second})
		if got := reread(t, s, purge.ID).Version; got != told {
			t.Errorf("a look that saw nothing new is told: version %d, then %d", told, got)
		}
		c.Advance(2 * time.Second)
		p = claimProof(t, s, purge.ID)
		if diff := cmp.Diff(before, p.Pages[0].Before); diff != "" || len(p.Pages) != 2 || !p.Pages[0].Delete || p.Pages[1].Before != nil {
			t.Errorf("%+v %s", p.Pages, diff)
		}
		if r, _, err := s.Claim(t.Context(), "", purger.URL); r != nil || err != nil {
			t.Errorf("sent while it waits: %v, %v", r, err)
		}
		p.State, p.Confirmed, p.Words = ledger.ProofPurged, true, ""
		settleProof(t, s, store.ProofStep{Proof: p, Open: true})
		if got := reread(t, s, purge.ID); got.State != ledger.Open || !got.OpenedAt.Equal(c.Now()) {
			t.Errorf("%s at %v", got.State, got.OpenedAt)
		}
		if r := claim(t, s); r == nil || len(r.Objects) != 3 {
			t.Errorf("claimed %+v", r)
		}
		p = claimProof(t, s, purge.ID)
		p.Pages[0].Verdict, p.Pages[1].Verdict, p.Pages[1].Cause = verify.Fresh, verify.Stale, "old"
		p.State, p.Done, p.Words, p.Warmed = ledger.ProofDone, c.Now(), "old", 7
		settleProof(t, s, store.ProofStep{Proof: p})
		want := ledger.Proof{State: ledger.ProofDone, Words: "old", Checked: 2, Fresh: 1, Stale: 1, Warmed: 7, DoneAt: c.Now()}
		if diff := cmp.Diff(want, reread(t, s, purge.ID).Proof); diff != "" {
			t.Error(diff)
		}
		if _, err := s.ClaimProof(t.Context(), purge.ID, time.Minute, time.Minute); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("claimed though it is done: %v", err)
		}
	})
}

// A later purge of the environment is under way until nothing of it is sent any more:
// while its pages are looked at it may purge stale ones once more.
func TestLaterPurgeIsUnderWay(t *testing.T) {
	engines(t, func(t *testing.T, open func(now func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		first := proving(t, s, "production", c.Now())
		underWay := func(when string, want bool) {
			t.Helper()
			if _, is, err := s.LaterShas(t.Context(), first, 0); is != want || err != nil {
				t.Errorf("%s: under way: %t, %v", when, is, err)
			}
		}
		underWay("there is none", false)
		e := named(t, s, "production", "bbb", 2, c.Now().Add(time.Second))
		later := planFor(t, s, e, urls(2), ledger.CauseDeploy)
		commit(t, s, store.Move{Env: e, To: e.Desired, Purge: later, Context: "purge/production", Asks: ledger.Asks{Warm: mapping.Warm{Limit: 1}}})
		underWay("it is open", true)
		settle(t, s, claim(t, s), store.Reply{Answer: purger.Answer{Verdict: purger.Accepted, Estimated: 5 * time.Second}})
		underWay("Akamai is at work", true)
		c.Advance(time.Minute)
		for _, state := range []ledger.ProofState{ledger.ProofPurged, ledger.ProofAgain, ledger.ProofWarm, ledger.ProofDone} {
			p := claimProof(t, s, later.ID)
			p.State = state
			settleProof(t, s, store.ProofStep{Proof: p})
			underWay(string(state), state == ledger.ProofPurged || state == ledger.ProofAgain)
		}
	})
}

// A process that was too slow settles nothing: neither the pages nor the purge.
func TestLeaseFencesTheProof(t *testing.T) {
	engines(t, func(t *testing.T, open func(now func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		purge := proving(t, s, "production", c.Now())
		slow := claimProof(t, s, purge.ID)
		if _, err := s.ClaimProof(t.Context(), purge.ID, time.Minute, time.Minute); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("claimed twice: %v", err)
		}
		c.Advance(2 * time.Minute)
		quick := claimProof(t, s, purge.ID)
		slow.Pages, slow.State = []ledger.Page{{URL: "https://www.acme.com/slow"}}, ledger.ProofPurged
		if settleProof(t, s, store.ProofStep{Proof: slow, Open: true}) {
			t.Error("settled a claim that was lost")
		}
		if got := reread(t, s, purge.ID); got.State != ledger.Held {
			t.Errorf("opened by a claim that was lost: %s", got.State)
		}
		if !settleProof(t, s, store.ProofStep{Proof: quick}) {
			t.Error("the claim that counts was lost")
		}
		if pages, err := s.Pages(t.Context(), purge.ID); err != nil || len(pages) != 0 {
			t.Errorf("%v, %v", pages, err)
		}
	})
}

// If a newer deployment's purge covers all of a waiting one, the waiting one is
// cancelled. Any other leaves it waiting, because it goes out by itself. A purge that a
// person cancelled stays cancelled, whatever the origin comes to serve.
func TestWaitingForTheOriginIsOvertaken(t *testing.T) {
	engines(t, func(t *testing.T, open func(now func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for _, test := range []struct {
			name string
			next int
			want ledger.State
		}{{"by less", 1, ledger.Held}, {"by all", 4, ledger.Cancelled}} {
			purge := proving(t, s, test.name, c.Now())
			e := named(t, s, test.name, "bbb", 2, c.Now().Add(time.Minute))
			next := planFor(t, s, e, urls(test.next), ledger.CauseDeploy)
			commit(t, s, store.Move{Env: e, To: e.Desired, Purge: next, Context: "purge/production", Asks: asks})
			if got := reread(t, s, purge.ID); got.State != test.want || got.State == ledger.Held && got.Closed != "" {
				t.Errorf("%s: %s %q", test.name, got.State, got.Closed)
			}
		}
		purge := proving(t, s, "cancelled", c.Now())
		p := claimProof(t, s, purge.ID)
		if err := s.Cancel(t.Context(), store.Act{Purge: purge.ID, By: "walt"}); err != nil {
			t.Fatal(err)
		}
		p.State = ledger.ProofPurged
		settleProof(t, s, store.ProofStep{Proof: p, Open: true})
		if got := reread(t, s, purge.ID); got.State != ledger.Cancelled {
			t.Errorf("cancelled, then %s", got.State)
		}
	})
}
