package store_test

import (
	"context"
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

const emea = "emea"

// withEMEA gives a store a second account.
func withEMEA(t testing.TB, s *store.Store) *store.Store {
	t.Helper()
	if err := s.SetAccounts(t.Context(), []string{emea}); err != nil {
		t.Fatal(err)
	}
	return s
}

// openedFor opens a purge of a deployment of otherRepo that is sent with an account.
func openedFor(t testing.TB, s *store.Store, account string, urls ...string) ledger.Purge {
	t.Helper()
	return opens(t, s, ledger.Purge{
		RepoID: otherRepo, Environment: "production", Cause: ledger.CauseDeploy, Network: mapping.Production,
		Lane: ledger.LaneDeploy, Account: account,
	}, urls...)
}

// claimFor claims the next request of an account; nil: there is none.
func claimFor(t testing.TB, s *store.Store, account string) (*store.Request, time.Duration) {
	t.Helper()
	for range 3 { // a request that turned out empty is only put away
		r, wait, err := s.Claim(t.Context(), account, purger.URL)
		if err != nil {
			t.Fatal(err)
		}
		if r != nil || wait > 0 {
			return r, wait
		}
	}
	return nil, 0
}

// wantClaim wants exactly these objects in the account's next request.
func wantClaim(t *testing.T, s *store.Store, account string, want ...string) *store.Request {
	t.Helper()
	r, wait := claimFor(t, s, account)
	if r == nil {
		r = &store.Request{}
	}
	if slices.Sort(r.Objects); !slices.Equal(r.Objects, want) {
		t.Fatalf("of %s %v is claimed (wait %v), want %v", account, r.Objects, wait, want)
	}
	return r
}

// nowOf is an account as the queue shows it.
func nowOf(t *testing.T, s *store.Store, account string) store.Account {
	t.Helper()
	q, err := s.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return q.Account(account)
}

// finishes drains the default account's queue on two replicas, while trouble gives the
// answers to the other account. It returns how long that took by the test's own clock,
// and how many requests it took. A nil answer takes all the time that an attempt may.
func finishes(t *testing.T, open func(func() time.Time) *store.Store, trouble func(n int) *store.Reply) (took time.Duration, requests int) {
	const objects = 1000
	c := newClock()
	replicas := []*store.Store{withEMEA(t, open(c.Now)), withEMEA(t, open(c.Now))}
	asked(t, replicas[0], target(pageA, mapping.Invalidate))
	r, _ := claimFor(t, replicas[0], "")
	settle(t, replicas[0], r, answered(1000, 20, 0))
	opened(t, replicas[0], ledger.LaneLarge, urls(objects))
	if trouble != nil {
		openedFor(t, replicas[0], emea, addresses(500)...)
	}
	type pending struct {
		s  *store.Store
		r  *store.Request
		at time.Time
	}
	var hanging []pending
	began, left, theirs := c.Now(), objects, 0
	for left > 0 {
		next := 10 * time.Second
		sooner := func(wait time.Duration) {
			if wait > 0 {
				next = min(next, wait)
			}
		}
		hanging = slices.DeleteFunc(hanging, func(p pending) bool {
			if p.at.After(c.Now()) {
				sooner(p.at.Sub(c.Now()))
				return false
			}
			a := reply(purger.Answer{Verdict: purger.Unavailable})
			a.Took = p.r.Limit
			settle(t, p.s, p.r, a)
			return true
		})
		for _, s := range replicas {
			for trouble != nil && len(hanging) < 8 {
				r, wait := claimFor(t, s, emea)
				sooner(wait)
				if r == nil {
					break
				}
				theirs++
				if a := trouble(theirs); a != nil {
					settle(t, s, r, *a)
				} else {
					hanging = append(hanging, pending{s, r, c.Now().Add(r.Limit)})
					sooner(r.Limit)
				}
			}
			for {
				r, wait := claimFor(t, s, "")
				sooner(wait)
				if r == nil {
					break
				}
				settle(t, s, r, accepted)
				left, requests = left-len(r.Objects), requests+1
			}
		}
		if left > 0 {
			c.Advance(max(next, time.Millisecond))
		}
	}
	if trouble != nil && theirs < 2 {
		t.Fatalf("the other account sent %d requests: there was no trouble", theirs)
	}
	return c.Now().Sub(began), requests
}

func addresses(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("https://emea.example.com/%05d/", i)
	}
	return all
}

// An account that is revoked, limited or silent takes nothing of what another account may
// send. On two replicas the other one stays within 2 % of its own bound: Akamai has said
// 20 objects a second.
func TestAnAccountInTroubleSlowsNoOther(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(n int) *store.Reply{
		"alone":   nil,
		"revoked": func(int) *store.Reply { return &badCredentials },
		"limited": func(int) *store.Reply { return new(reply(purger.Answer{Verdict: purger.Limited})) },
		"emptied by others": func(int) *store.Reply {
			return new(reply(purger.Answer{Verdict: purger.Limited, Limits: purger.Limits{Objects: purger.Level{Remaining: new(0.0)}}}))
		},
		"refuses all": func(int) *store.Reply { return &refusesAll },
		"silent":      func(int) *store.Reply { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				took, requests := finishes(t, open, trouble)
				if bound := 50 * time.Second; took > bound+bound/50 || took < bound-bound/50 {
					t.Errorf("1,000 objects took %v, the bound is %v", took, bound)
				}
				if requests > 4 {
					t.Errorf("1,000 objects took %d requests", requests)
				}
			})
		})
	}
}

// Trouble of one account is told of its own purges and holds up only these. Tokens, hosts
// and pauses are each account's own as well.
func TestEachAccountHasItsOwn(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := withEMEA(t, open(c.Now))
		known(t, s)
		ours := deployed(t, s, repoID, "production", pageA, pageB)
		theirs := openedFor(t, s, emea, pageA, pageC)
		if ours = reread(t, s, ours.ID); ours.Account != ledger.DefaultAccount || reread(t, s, theirs.ID).Account != emea {
			t.Errorf("of account %s", ours.Account)
		}
		r := wantClaim(t, s, emea, pageA, pageC)
		settle(t, s, r, badCredentials)
		if p := reread(t, s, theirs.ID); p.Paused != noCredentials {
			t.Errorf("theirs is paused for %q", p.Paused)
		}
		if p := reread(t, s, ours.ID); p.Paused != "" {
			t.Errorf("ours is paused for %q", p.Paused)
		}
		if a, b := nowOf(t, s, ledger.DefaultAccount), nowOf(t, s, emea); a.Paused || !b.Paused || b.Words != noCredentials || a.Targets != 2 || b.Targets != 2 {
			t.Errorf("accounts: %+v, %+v", a, b)
		}
		settle(t, s, wantClaim(t, s, "", pageA, pageB), answered(10_000, 200, 7))
		b, err := s.Backlog(t.Context())
		if err != nil || len(b.Budget) != 8 || b.Budget[1].Available() != 7 || b.Budget[5].Account != emea || b.Budget[5].Available() != 10_000 {
			t.Errorf("budgets: %+v, %v", b.Budget, err)
		}
		c.Advance(16 * time.Second)
		settle(t, s, wantClaim(t, s, emea, pageA, pageC), accepted)
		if b := nowOf(t, s, emea); b.Paused || b.Targets != 0 {
			t.Errorf("after the answer %+v", b)
		}
		wantClaim(t, s, "nobody's")
	})
}

// A host that one account accepts may be refused to another.
func TestHostLimitsAreAnAccountsOwn(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := withEMEA(t, open(c.Now))
		all := addresses(60)
		p := openedFor(t, s, emea, all...)
		openedFor(t, s, "", "https://emea.example.com/")
		settle(t, s, wantClaim(t, s, "", "https://emea.example.com/"), accepted)
		for range 40 {
			r, _ := claimFor(t, s, emea)
			if r == nil {
				break
			}
			settle(t, s, r, offends(r.Objects[0], "unauthorized arl"))
		}
		if p = reread(t, s, p.ID); p.State != ledger.Done || p.Counts.Untried < 20 {
			t.Errorf("%s, %+v: what the other account had accepted counts", p.State, p.Counts)
		}
	})
}

// When a purge moves to another account, what still waits is sent with that account, each
// object once. What is on its way ends with the account that it was sent with.
func TestAssignedPurgesGoWithTheOtherAccount(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := withEMEA(t, open(c.Now))
		known(t, s)
		all := addresses(4)
		p := openedFor(t, s, emea, all...)
		settle(t, s, wantClaim(t, s, emea, all...), tooLarge) // makes two halves, one of which is on its way after the next claim
		flying := wantClaim(t, s, emea, all[:2]...)
		more := openedFor(t, s, emea, pageA)
		if n, err := s.Assign(t.Context(), func(repository string) string {
			return map[string]string{"acme/blog": ledger.DefaultAccount}[repository]
		}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := s.Assign(t.Context(), func(string) string { return ledger.DefaultAccount }); n != 0 || err != nil {
			t.Fatal("once more: ", n, err)
		}
		if p = reread(t, s, p.ID); p.Account != ledger.DefaultAccount {
			t.Errorf("it is of account %s", p.Account)
		}
		if err := s.SetAccounts(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		swept(t, s) // what the account that is gone still had to send
		settle(t, s, wantClaim(t, s, "", slices.Sorted(slices.Values(append([]string{pageA}, all[2:]...)))...), accepted)
		settle(t, s, flying, unavailable)
		c.Advance(time.Minute)
		swept(t, s)
		settle(t, s, wantClaim(t, s, "", all[:2]...), accepted)
		for _, id := range []string{p.ID, more.ID} {
			if p := reread(t, s, id); p.State != ledger.Done || p.Counts.Accepted != p.Counts.Total() {
				t.Errorf("%s, %+v", p.State, p.Counts)
			}
		}
	})
}

// A retry and a release send with the account that the repository has at that moment.
func TestActsSendWithTheAccountOfTheMoment(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := withEMEA(t, open(c.Now))
		p := openedFor(t, s, "", pageA)
		settle(t, s, wantClaim(t, s, "", pageA), offends(pageA, "unauthorized arl"))
		if _, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "ann", Account: emea}, allow); err != nil {
			t.Fatal(err)
		}
		wantClaim(t, s, "")
		settle(t, s, wantClaim(t, s, emea, pageA), accepted)
		if p = reread(t, s, p.ID); p.State != ledger.Done || p.Account != emea {
			t.Errorf("%s of account %s", p.State, p.Account)
		}
	})
}

func TestPauseOfAnAccount(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := withEMEA(t, open(c.Now))
		known(t, s)
		deployed(t, s, repoID, "production", pageA)
		moves := openedFor(t, s, emea, pageB)
		paused := pause(t, s, ledger.Pause{Scope: ledger.Scope{Account: emea}})
		if paused.Purges != 1 {
			t.Errorf("it covers %d purges", paused.Purges)
		}
		wantClaim(t, s, emea)
		settle(t, s, wantClaim(t, s, "", pageA), accepted)
		// A purge that moves away is not covered any more, and one that moves in is.
		stays := deployed(t, s, repoID, "production", pageC)
		if n, err := s.Assign(t.Context(), func(repository string) string { return map[string]string{"acme/Site": emea}[repository] }); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		wantClaim(t, s, emea)
		settle(t, s, wantClaim(t, s, "", pageB), accepted)
		if p := reread(t, s, moves.ID); p.PausedBy != "" || p.State != ledger.Done {
			t.Errorf("%s, paused by %q", p.State, p.PausedBy)
		}
		if p := reread(t, s, stays.ID); p.PausedBy != "ann: the origin is away" {
			t.Errorf("paused by %q", p.PausedBy)
		}
		resume(t, s, ledger.Scope{Account: emea})
		wantClaim(t, s, emea, pageC)
	})
}

// No account waits for another's rows. A pause waits for all of them, so that nothing is
// claimed once it has begun.
func TestLocksOfAccounts(t *testing.T) {
	t.Parallel()
	url, c := storetest.Postgres(t), newClock()
	s, replica := withEMEA(t, open(t, url, c.Now)), withEMEA(t, open(t, url, c.Now))
	known(t, s)
	deployed(t, s, repoID, "production", pageA, pageC)
	openedFor(t, s, emea, pageB)
	holder := connect(t, url)
	for _, q := range []string{"BEGIN", `SELECT 1 FROM budget WHERE bucket = 'requests@emea' FOR UPDATE`} {
		if _, err := holder.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, _, err := s.Claim(ctx, "", purger.URL)
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	if _, ok, err := s.Settle(ctx, r, badCredentials); !ok || err != nil {
		t.Fatal(ok, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := replica.Pause(t.Context(), ledger.Pause{By: "ann", Reason: "a trial"}); err != nil {
			t.Error(err)
		}
	})
	waitsForLock(t, url, nil)
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	wantClaim(t, s, emea)
}
