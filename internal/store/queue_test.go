package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// asked opens a purge that a comment asked for.
func asked(t *testing.T, s *store.Store, targets ...mapping.Target) ledger.Purge {
	t.Helper()
	return opened(t, s, ledger.LanePeople, targets)
}

// opened opens a purge of targets in a lane.
func opened(t *testing.T, s *store.Store, lane int, targets []mapping.Target) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Cause: ledger.CauseComment, Network: mapping.Production, Lane: lane})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(targets), asGiven); err != nil {
		t.Fatal(err)
	}
	if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
		t.Fatal(err)
	}
	return reread(t, s, p.ID)
}

func target(object string, action mapping.Action) mapping.Target {
	return mapping.Target{Kind: mapping.URL, Object: object, Action: action}
}

// nothing wants a claim to find nothing, and returns how long to wait.
func nothing(t *testing.T, s *store.Store) time.Duration {
	t.Helper()
	r, wait, err := s.Claim(t.Context(), "", purger.URL)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		t.Fatalf("claimed %d objects, attempt %d", len(r.Objects), r.Number)
	}
	return wait
}

// answered accepts a request and says how full the bucket of its objects is.
func answered(limit, perSecond, remaining float64) store.Reply {
	v := accepted
	v.Limits.Objects = purger.Level{Limit: &limit, PerSecond: &perSecond, Remaining: &remaining}
	return v
}

func TestPersonsURLGoesInTheNextRequestFromAnEmptyBucket(t *testing.T) {
	const waiting = 100_000
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(waiting))
		settle(t, s, claim(t, s), answered(10_000, 200, 0))
		if wait := nothing(t, s); wait <= 0 {
			t.Fatalf("the bucket is empty, and the wait is %v", wait)
		}
		theirs := target("https://www.example.com/asked-for/", mapping.Invalidate)
		p := asked(t, s, theirs)
		wait := nothing(t, s)
		if wait > 10*time.Millisecond {
			t.Errorf("one URL waits %v; one token takes 5 ms", wait)
		}
		c.Advance(wait)
		r := claim(t, s)
		if r.Objects[0] != theirs.Object {
			t.Errorf("the next request begins with %s", r.Objects[0])
		}
		settle(t, s, r, accepted)
		if p = reread(t, s, p.ID); p.State != ledger.Done {
			t.Errorf("their purge is %s", p.State)
		}
	})
}

func TestRequestsAreFullWhereEnoughWaits(t *testing.T) {
	t.Parallel()
	long := make([]mapping.Target, 400) // every third one is so long that it often does not fit into the rest
	for i := range long {
		pad := 40
		if i%3 == 0 {
			pad = 3000
		}
		long[i] = target(fmt.Sprintf("https://www.example.com/%s/%d", strings.Repeat("x", pad), i), mapping.Invalidate)
	}
	mixed := urls(4000)
	for i := range mixed {
		if i%2 == 0 {
			mixed[i].Action = mapping.Delete
		}
	}
	many := func(t *testing.T, s *store.Store) {
		for i := range 300 {
			opened(t, s, ledger.LaneDeploy, []mapping.Target{
				target(fmt.Sprintf("https://www.example.com/%s/%d/a", strings.Repeat("y", 80), i), mapping.Invalidate),
				target(fmt.Sprintf("https://www.example.com/%s/%d/b", strings.Repeat("y", 80), i), mapping.Invalidate),
			})
		}
	}
	one := func(targets []mapping.Target) func(*testing.T, *store.Store) {
		return func(t *testing.T, s *store.Store) { opened(t, s, ledger.LaneLarge, targets) }
	}
	for name, test := range map[string]struct {
		fill  func(*testing.T, *store.Store)
		empty bool // the bucket is empty
		full  int  // so many requests are full
	}{
		"one purge":                   {one(urls(4000)), false, 2},
		"an empty bucket":             {one(urls(9000)), true, 3},
		"long and short ones":         {one(long), false, 4},
		"deletes between invalidates": {one(mixed), false, 1},
		"many small purges":           {many, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				test.fill(t, s)
				for i := range test.full {
					if test.empty && i > 0 {
						c.Advance(nothing(t, s)) // until there is a single token
						c.Advance(nothing(t, s))
					}
					r := claim(t, s)
					body, err := r.Body()
					if err != nil || len(body) < purger.MaxBody*99/100 {
						t.Errorf("request %d has %d bytes in %d objects, %v", i+1, len(body), len(r.Objects), err)
					}
					v := accepted
					if test.empty {
						v = answered(10_000, 200, 0)
					}
					settle(t, s, r, v)
				}
			})
		})
	}
}

// Small purges that are first in line do not wait for the tokens of a full request.
func TestSmallPurgeDoesNotWaitForAFullRequest(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(4000))
		settle(t, s, claim(t, s), answered(10_000, 200, 0))
		opened(t, s, ledger.LaneDeploy, []mapping.Target{target("https://www.example.com/a", mapping.Invalidate), target("https://www.example.com/b", mapping.Invalidate)})
		if wait := nothing(t, s); wait > 10*time.Millisecond {
			t.Errorf("two URLs wait %v", wait)
		}
	})
}

// What Akamai says of the account's buckets holds for every replica and for the next
// start. Tokens that the model lost come back.
func TestBudgetFollowsTheAnswers(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s, replica := open(c.Now), open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(9000))

		settle(t, s, claim(t, s), answered(300, 10, 5)) // a smaller account, which other clients use too
		wait := nothing(t, replica)
		if wait < 19*time.Second || wait > 20*time.Second {
			t.Errorf("200 objects at 10 a second, 5 are there: wait %v", wait)
		}
		c.Advance(wait)
		r := claim(t, replica)
		if len(r.Objects) != 200 {
			t.Errorf("%d objects after %v", len(r.Objects), wait)
		}

		settle(t, replica, r, answered(20_000, 400, 15_000)) // Akamai has raised the limit
		first := claim(t, s)
		if len(first.Objects) < 1000 {
			t.Errorf("%d objects of 15,000 tokens", len(first.Objects))
		}

		// The answer to a request knows nothing of the ones under way.
		second := claim(t, s)
		settle(t, s, first, answered(20_000, 400, 19_000))
		settle(t, s, second, answered(20_000, 400, 3))
		if wait := nothing(t, s); wait < 3*time.Second {
			t.Errorf("3 tokens are left, and a full request waits %v", wait)
		}
	})
}

// A claim that died with its process took tokens that Akamai never saw used. The next
// answer brings them back.
func TestTokensOfADeadClaimComeBack(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(9000))
		settle(t, s, claim(t, s), answered(5000, 0.1, 3200))
		claim(t, s) // dies
		c.Advance(2 * time.Minute)
		heir := claim(t, s)
		settle(t, s, heir, answered(5000, 0.1, 1700))
		if r := claim(t, s); len(r.Objects) < 1000 {
			t.Errorf("%d objects; Akamai has 1,700 tokens", len(r.Objects))
		}
	})
}

// An answer is settled when its turn comes, which may be late. Its figures say nothing of
// what was sent since, nor of what the buckets gained since.
func TestFiguresOfALateAnswer(t *testing.T) {
	t.Parallel()
	t.Run("do not bring back what others took since", func(t *testing.T) {
		engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
			c := newClock()
			s := open(c.Now)
			opened(t, s, ledger.LaneLarge, urls(9000))
			slow := claim(t, s)
			quick := claim(t, s)
			settle(t, s, quick, answered(2000, 0.1, 100))
			settle(t, s, slow, answered(2000, 0.1, 1400)) // accepted before that
			if r := claim(t, s); len(r.Objects) != 100 {
				t.Errorf("%d objects; 100 tokens are left", len(r.Objects))
			}
		})
	})
	t.Run("have grown since", func(t *testing.T) {
		engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
			c := newClock()
			s := open(c.Now)
			opened(t, s, ledger.LaneLarge, urls(9000))
			r := claim(t, s)
			v := answered(10_000, 20, 0)
			v.At = c.Now()
			c.Advance(30 * time.Second)
			settle(t, s, r, v)
			if r := claim(t, s); len(r.Objects) != 600 {
				t.Errorf("%d objects, 30 s after an answer that left nothing", len(r.Objects))
			}
		})
	})
}

func TestLimitedAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limits purger.Limits
		after  time.Duration
		want   int // objects in the next new request
	}{
		"nothing said: wait for the tokens":  {purger.Limits{}, 10 * time.Second, 20},
		"what is left counts":                {purger.Limits{Objects: purger.Level{Remaining: new(400.0)}}, 0, 400},
		"next to nothing is left":            {purger.Limits{Objects: purger.Level{Remaining: new(40.0)}}, 2 * time.Second, 20},
		"more left than the model thinks":    {purger.Limits{Objects: purger.Level{Remaining: new(9999.0)}}, 2 * time.Second, 20},
		"a bucket that is smaller than this": {purger.Limits{Objects: purger.Level{Limit: new(50.0), Remaining: new(50.0)}}, 2 * time.Second, 20},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				opened(t, s, ledger.LaneLarge, urls(9000))
				r := claim(t, s)
				n := len(r.Objects)
				settle(t, s, r, reply(purger.Answer{Verdict: purger.Limited, Limits: test.limits}))
				if test.after > 0 {
					nothing(t, s)
				}
				c.Advance(test.after)
				var again *store.Request
				for range 3 { // to split what does not fit takes a turn of its own
					if again, _, _ = s.Claim(t.Context(), "", purger.URL); again != nil {
						break
					}
				}
				if again == nil {
					t.Fatal("nothing to claim")
				}
				if got := len(again.Objects); got != min(test.want, n) {
					t.Errorf("%d objects, want %d", got, min(test.want, n))
				}
			})
		})
	}
}

// Within a lane a small purge does not wait for a large one that was there before.
func TestSmallPurgesGoFirst(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		s := open(newClock().Now)
		opened(t, s, ledger.LaneDeploy, urls(1000))
		small := mapping.Target{Kind: mapping.URL, Action: mapping.Invalidate, Object: "https://www.example.com/small/"}
		opened(t, s, ledger.LaneDeploy, []mapping.Target{small})
		if r := claim(t, s); r.Objects[0] != small.Object {
			t.Errorf("first goes %s", r.Objects[0])
		}
	})
}

// soon claims the next request, a second later each time that none may be sent yet.
func soon(t *testing.T, s *store.Store, c *clock) *store.Request {
	t.Helper()
	for {
		c.Advance(time.Second)
		r, _, err := s.Claim(t.Context(), "", purger.URL)
		if err != nil {
			t.Fatal(err)
		}
		if r != nil {
			return r
		}
	}
}

// denied settles a request for which its bucket had too little left.
func denied(t *testing.T, s *store.Store, r *store.Request, left int) purger.Decision {
	t.Helper()
	d, ok, err := s.Settle(t.Context(), r, reply(purger.Answer{
		Verdict: purger.Limited, Limits: purger.Limits{Objects: purger.Level{Remaining: new(float64(left))}},
	}))
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	return d
}

// A request that was cut to what was left, and is halved for another reason, is not cut
// again: whatever takes from the bucket takes from the halves too.
func TestHalvesOfACutRequestAreNotCutAgain(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(400))
		denied(t, s, soon(t, s, c), 200)
		settle(t, s, soon(t, s, c), tooLarge)
		r := soon(t, s, c)
		for len(r.Objects) > 100 { // the other half
			settle(t, s, r, accepted)
			r = soon(t, s, c)
		}
		if d := denied(t, s, r, 50); len(d.Part) > 0 || d.Hold == 0 {
			t.Errorf("cut to %d, and rests for %v", len(d.Part), d.Hold)
		}
	})
}

// What is left in a bucket that was just denied is not counted on: other clients take it
// meanwhile.
func TestDeniedTwiceRests(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(9000))
		denied(t, s, soon(t, s, c), 0)
		r := soon(t, s, c)
		if denied(t, s, r, len(r.Objects)/2).Hold == 0 {
			t.Error("it does not rest")
		}
	})
}

// Replicas whose clocks differ do not refill the buckets at each turn.
func TestSkewedClocksShareOneBudget(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		behind := open(c.Now)
		ahead := open(func() time.Time { return c.Now().Add(20 * time.Second) })
		opened(t, behind, ledger.LaneLarge, urls(16_000))
		total := 0
		for i := range 40 {
			s := []*store.Store{behind, ahead}[i%2]
			r, _, err := s.Claim(t.Context(), "", purger.URL)
			if err != nil {
				t.Fatal(err)
			}
			if r != nil {
				total += len(r.Objects)
			}
		}
		if total > 14_000+1 { // a full bucket and what 20 s add
			t.Errorf("%d objects of a bucket of 10,000, within 20 s", total)
		}
	})
}

func TestReplicasShareOneBudget(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		stores := []*store.Store{open(c.Now), open(c.Now)}
		opened(t, stores[0], ledger.LaneLarge, urls(12_000))
		settle(t, stores[0], claim(t, stores[0]), answered(10_000, 200, 5000))
		var mu sync.Mutex
		total := 0
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for {
					r := claimed(t, stores[i%2])
					if r == nil {
						return
					}
					mu.Lock()
					total += len(r.Objects)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if total > 5000 || total < 3500 { // less than a full request may be left
			t.Errorf("%d objects claimed of 5,000 tokens", total)
		}
	})
}

// After a pause one request probes, and the others wait for its answer.
func TestOneRequestProbesAfterAPause(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		probe store.Reply
		next  bool // others may be sent at once
	}{
		"accepted":                  {accepted, true},
		"refused an object":         {offends("https://www.example.com/00000/", "unauthorized arl"), true},
		"limited":                   {reply(purger.Answer{Verdict: purger.Limited, Limits: purger.Limits{Objects: purger.Level{Remaining: new(600.0)}}}), true},
		"away":                      {unavailable, false},
		"still no good credentials": {badCredentials, false},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				opened(t, s, ledger.LaneLarge, urls(6000))
				settle(t, s, claim(t, s), badCredentials)
				if wait := nothing(t, s); wait != 15*time.Second {
					t.Errorf("paused for %v", wait)
				}
				c.Advance(15 * time.Second)
				probe := claim(t, s)
				nothing(t, s)
				if q, err := s.Queue(t.Context()); err != nil || !q.Account("default").Paused || q.Account("default").Words != noCredentials {
					t.Errorf("while it probes: %+v, %v", q.Accounts, err)
				}
				settle(t, s, probe, test.probe)
				if test.next {
					claim(t, s)
					c.Advance(10 * time.Second)
					claim(t, s)
				} else {
					nothing(t, s)
				}
				if q, _ := s.Queue(t.Context()); q.Account("default").Paused == test.next {
					t.Errorf("after the probe: %+v", q.Accounts)
				}
			})
		})
	}
}

// Late answers to requests that were sent before a pause do not end it.
func TestStragglersDoNotEndAPause(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := opened(t, s, ledger.LaneLarge, urls(6000))
		first, second := claim(t, s), claim(t, s)
		settle(t, s, first, badCredentials)
		settle(t, s, second, unavailable)
		if wait := nothing(t, s); wait < time.Second {
			t.Errorf("paused for %v", wait)
		}
		if p = reread(t, s, p.ID); p.Paused == "" {
			t.Error("the purge does not say that it is paused")
		}
		c.Advance(15 * time.Second)
		settle(t, s, claim(t, s), accepted)
		if p = reread(t, s, p.ID); p.Paused != "" {
			t.Errorf("the purge is still paused: %s", p.Paused)
		}
	})
}

// A purge that is first in line does not wait for the turn of another one that wants the
// same object deleted: the delete goes now, for both.
func TestDeleteOfALaterPurgeGoesWithTheFirst(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		large := urls(3000)
		const object = "https://www.example.com/asked-for/"
		large = append(large, target(object, mapping.Delete))
		last := opened(t, s, ledger.LaneLarge, large)
		first := asked(t, s, target(object, mapping.Invalidate))
		r := claim(t, s)
		if r.Action != purger.Delete || len(r.Objects) != 1 || r.Objects[0] != object {
			t.Fatalf("the first request: %s of %d objects, %s", r.Action, len(r.Objects), r.Objects[0])
		}
		settle(t, s, r, accepted)
		if p := reread(t, s, first.ID); p.State != ledger.Done {
			t.Errorf("their purge is %s", p.State)
		}
		if p := reread(t, s, last.ID); p.Counts.Accepted != 1 {
			t.Errorf("the other purge has %d accepted", p.Counts.Accepted)
		}
	})
}

// A held purge's deletes absorb nothing. A delete that comes while the invalidation is
// under way goes out on its own.
func TestDeletesThatAbsorbNothing(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		const object = "https://www.example.com/a"
		held, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Network: mapping.Production})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddTargets(t.Context(), held, slices.Values([]mapping.Target{target(object, mapping.Delete)}), asGiven); err != nil {
			t.Fatal(err)
		}
		if err := s.OpenPurge(t.Context(), held.ID, true); err != nil {
			t.Fatal(err)
		}
		asked(t, s, target(object, mapping.Invalidate))
		r := claim(t, s)
		if r.Action != purger.Invalidate {
			t.Errorf("a held delete was sent: %+v", r.Request)
		}
		asked(t, s, target(object, mapping.Delete))
		again := claim(t, s)
		if again.Action != purger.Delete || len(again.Objects) != 1 {
			t.Errorf("the delete that came later: %+v", again.Request)
		}
		settle(t, s, r, accepted)
		settle(t, s, again, accepted)
	})
}

// A purge that is cancelled while its request is under way is not sent again.
func TestCancelledWhileUnderWay(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		shared := target("https://www.example.com/shared", mapping.Invalidate)
		gone := asked(t, s, target("https://www.example.com/gone", mapping.Invalidate), shared)
		asked(t, s, shared)
		r := claim(t, s)
		if err := s.Cancel(t.Context(), store.Act{Purge: gone.ID, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		settle(t, s, r, unavailable)
		c.Advance(time.Second)
		if r = claim(t, s); len(r.Objects) != 1 || r.Objects[0] != shared.Object {
			t.Errorf("sent again: %v", r.Objects)
		}
	})
}

// If many objects of a host are refused, some of them alone in their request, and none is
// accepted, the host is not tried any more: under neither scheme, and in no ARL. A retry
// tries it.
func TestHostIsSetAsideAfterItsRefusals(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		targets := urls(3000)
		for i := range targets {
			if i%3 == 0 {
				targets[i].Object = strings.Replace(targets[i].Object, "https:", "http:", 1)
			}
		}
		for i := range 10 {
			targets = append(targets, target(fmt.Sprintf("https://img.example.com/%d", i), mapping.Invalidate))
		}
		p := opened(t, s, ledger.LaneLarge, targets)
		const title = "unauthorized arl"
		refused := refuse(t, s, func(object string) bool { return strings.Contains(object, "www.") }, title)
		if refused < 20 || refused > 40 {
			t.Errorf("%d were tried one by one", refused)
		}
		p = reread(t, s, p.ID)
		if p.State != ledger.Done || p.Counts.Accepted != 10 || p.Counts.Failed != 3000 || p.Counts.Untried != 3000-refused || !strings.HasPrefix(p.Reason, title) {
			t.Errorf("in the end: %+v", p)
		}
		lines, err := s.Targets(t.Context(), p.ID, 2998, 1)
		if want := fmt.Sprintf("not tried, as Akamai refused %d URLs of www.example.com before: %s", refused, title); err != nil || !strings.HasPrefix(lines[0].Reason, want) {
			t.Errorf("the last one: %q, %v", lines[0].Reason, err)
		}

		n, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "ann"}, func(mapping.Target) string { return "" })
		if err != nil || n != 3000 {
			t.Fatalf("retried %d, %v", n, err)
		}
		r := claim(t, s)
		settle(t, s, r, offends(r.Objects[0], title))
		if p = reread(t, s, p.ID); p.Counts.Failed != 1 || p.Counts.Untried != 0 {
			t.Errorf("after one refusal of the retry %+v", p.Counts)
		}
	})
}

// refuse lets Akamai name the bad objects, one in each answer, and accept requests
// without any, until nothing is left. It returns how many objects were named.
func refuse(t testing.TB, s *store.Store, bad func(string) bool, title string) (refused int) {
	t.Helper()
	empty := 0
	for empty < 100 { // a request with nothing left sends nothing
		r, _, err := s.Claim(t.Context(), "", purger.URL)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			empty++
			continue
		}
		empty = 0
		if i := slices.IndexFunc(r.Objects, bad); i >= 0 {
			refused++
			settle(t, s, r, offends(r.Objects[i], title))
		} else {
			settle(t, s, r, accepted)
		}
	}
	return refused
}

// A host that could not be set aside because the process was stopping is set aside by the
// next refusal. The answers themselves count.
func TestHostIsSetAsideLater(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		s := open(newClock().Now)
		const n = 2*store.Chunk + 17
		p := opened(t, s, ledger.LaneLarge, urls(n))
		stopped, stop := context.WithCancel(t.Context())
		stop()
		for range 40 {
			if r, _, err := s.Claim(t.Context(), "", purger.URL); err != nil {
				t.Fatal(err)
			} else if r != nil {
				if _, ok, err := s.Settle(stopped, r, offends(r.Objects[0], "unauthorized arl")); err != nil || !ok {
					t.Fatal(ok, err)
				}
			}
		}
		before := reread(t, s, p.ID).Counts
		if before.Failed < 20 || before.Untried != 0 {
			t.Errorf("while it stops: %+v", before)
		}
		if refused := refuse(t, s, func(string) bool { return true }, "unauthorized arl"); refused != 1 {
			t.Errorf("%d more were tried", refused)
		}
		if p = reread(t, s, p.ID); p.State != ledger.Done || p.Counts.Failed != n || p.Counts.Untried != n-before.Failed-1 {
			t.Errorf("in the end %s: %+v", p.State, p.Counts)
		}
	})
}

// If Akamai accepts anything of a host, only the objects that it names are refused.
func TestGoodOnesOfAHostAreAccepted(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(int) bool{
		"the first ones": func(i int) bool { return i < 20 },
		"the last ones":  func(i int) bool { return i >= 80 },
		"every fifth":    func(i int) bool { return i%5 == 0 },
		"every second":   func(i int) bool { return i%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				s := open(newClock().Now)
				p := opened(t, s, ledger.LaneDeploy, urls(100))
				isBad := map[string]bool{}
				for i, u := range urls(100) {
					isBad[u.Object] = bad(i)
				}
				want := refuse(t, s, func(object string) bool { return isBad[object] }, "unauthorized arl")
				p = reread(t, s, p.ID)
				if p.State != ledger.Done || p.Counts.Failed != want || p.Counts.Accepted != 100-want || p.Counts.Untried != 0 || want < 20 {
					t.Errorf("%d named, and %s: %+v", want, p.State, p.Counts)
				}
			})
		})
	}
}

// A refusal that names nothing is examined by halves. The answer to the second half is
// heard before either is believed. Acceptances of other requests count for a minute.
func TestRefusalsRemember(t *testing.T) {
	decide := func(t *testing.T, s *store.Store, r *store.Request, a store.Reply) purger.Decision {
		t.Helper()
		d, ok, err := s.Settle(t.Context(), r, a)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return d
	}
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		asked(t, s, urls(4)...)
		since := c.Now()
		if d := decide(t, s, claim(t, s), refusesAll); len(d.Part) != 2 || !d.Since.Equal(since) {
			t.Errorf("the whole: %+v", d)
		}
		c.Advance(time.Second)
		a := claim(t, s)
		if d := decide(t, s, a, refusesAll); d.Pause > 0 || d.Wait == 0 || len(d.Part) > 0 || !d.Since.Equal(since) {
			t.Errorf("the first half, while the other waits: %+v", d)
		}
		b := claim(t, s)
		if b.ID == a.ID {
			t.Fatal("the first half goes again before the other one")
		}
		if d := decide(t, s, b, refusesAll); d.Pause == 0 || len(d.Part) > 0 || !d.Since.Equal(since) {
			t.Errorf("both halves alike: %+v", d)
		}
		asked(t, s, target("https://www.example.com/other", mapping.Invalidate))
		c.Advance(15 * time.Second) // the other request comes before the halves
		settle(t, s, claim(t, s), accepted)
		c.Advance(61 * time.Second)
		if d := decide(t, s, claim(t, s), refusesAll); d.Pause == 0 {
			t.Errorf("a half, when others were accepted long ago: %+v", d)
		}
		asked(t, s, target("https://www.example.com/another", mapping.Invalidate))
		c.Advance(15 * time.Second)
		settle(t, s, claim(t, s), accepted)
		c.Advance(3 * time.Second)
		if d := decide(t, s, claim(t, s), refusesAll); d.Pause > 0 || len(d.Part) != 1 {
			t.Errorf("a half, when others are accepted: %+v", d)
		}
	})
}

// A long outage piles up neither jobs nor requests.
func TestOutageDoesNotGrowTheQueue(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(8000))
		const rounds = 400
		requests := map[string]bool{}
		attempts := 0
		for range rounds {
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			r, _, err := s.Claim(t.Context(), "", purger.URL)
			if err != nil {
				t.Fatal(err)
			}
			if r != nil {
				attempts++
				requests[r.ID] = true
				settle(t, s, r, unavailable)
			}
			c.Advance(2 * time.Second)
		}
		if len(requests) > 12 || attempts > 60 {
			t.Errorf("%d requests, %d attempts in an outage of %v", len(requests), attempts, rounds*2*time.Second)
		}
	})
}

func TestSkipsOfOtherNetworks(t *testing.T) {
	s := open(t, storetest.SQLite(t), newClock().Now)
	asked(t, s, urls(2)...)
	p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "staging", Network: mapping.Staging})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(urls(3)), asGiven); err != nil {
		t.Fatal(err)
	}
	if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
		t.Fatal(err)
	}
	sent := map[purger.Network]int{}
	for range 2 {
		r := claim(t, s)
		sent[r.Network] += len(r.Objects)
		settle(t, s, r, accepted)
	}
	if sent[purger.Production] != 2 || sent[purger.Staging] != 3 {
		t.Errorf("sent %v", sent)
	}
}
