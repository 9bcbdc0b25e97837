package store_test

import (
	"fmt"
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

func opened(t *testing.T, s *store.Store, lane int, targets []mapping.Target) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Cause: ledger.CauseComment, Network: mapping.Production, Lane: lane})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, targets); err != nil {
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

// nothing claims in vain and gives how long to wait.
func nothing(t *testing.T, s *store.Store) time.Duration {
	t.Helper()
	r, wait, err := s.Claim(t.Context(), purger.URL, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		t.Fatalf("claimed %d objects, attempt %d", len(r.Objects), r.Attempt)
	}
	return wait
}

// answered accepts a request and says how full the bucket of its objects is.
func answered(limit, perSecond, remaining float64) store.Settlement {
	v := accepted
	v.Answer.Limits.Objects = purger.Level{Limit: &limit, PerSecond: &perSecond, Remaining: &remaining}
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
	long := make([]mapping.Target, 400) // every third a long one, that often does not fit any more
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
		empty bool // the bucket
		full  int  // so many requests are
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
						c.Advance(nothing(t, s)) // until there is a token at all
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

// Small purges first in line don't wait for the tokens of a full request.
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

// What Akamai says of the account's buckets holds for every replica and the
// next start, and tokens that the model lost come back.
func TestBudgetFollowsTheAnswers(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s, replica := open(c.Now), open(c.Now)
		opened(t, s, ledger.LaneLarge, urls(9000))

		settle(t, s, claim(t, s), answered(300, 10, 5)) // a smaller account, which others use too
		wait := nothing(t, replica)
		if wait < 19*time.Second || wait > 20*time.Second {
			t.Errorf("200 objects at 10 a second, 5 are there: wait %v", wait)
		}
		c.Advance(wait)
		r := claim(t, replica)
		if len(r.Objects) != 200 {
			t.Errorf("%d objects after %v", len(r.Objects), wait)
		}

		settle(t, replica, r, answered(20_000, 400, 15_000)) // raised
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

// A claim that died with its process took tokens that Akamai never saw. The
// next answer brings them back.
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

// An answer is settled when its turn comes, which may be late: it knows
// nothing of what was sent since, and the buckets filled since.
func TestFiguresOfALateAnswer(t *testing.T) {
	t.Run("do not bring back what others took since", func(t *testing.T) {
		engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
			c := newClock()
			s := open(c.Now)
			opened(t, s, ledger.LaneLarge, urls(9000))
			slow := claim(t, s)
			quick := claim(t, s)
			settle(t, s, quick, answered(2000, 0.1, 100))
			settle(t, s, slow, answered(2000, 0.1, 1400)) // was accepted before
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
			v.Heard = c.Now()
			c.Advance(30 * time.Second)
			settle(t, s, r, v)
			if r := claim(t, s); len(r.Objects) != 600 {
				t.Errorf("%d objects, 30 s after an answer that left nothing", len(r.Objects))
			}
		})
	})
}

func TestLimitedAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		limits purger.Limits
		after  time.Duration
		want   int // objects of the next new request
	}{
		"nothing said: wait for the tokens":  {purger.Limits{}, 10 * time.Second, 1e6},
		"what is left counts":                {purger.Limits{Objects: purger.Level{Remaining: new(40.0)}}, 0, 40},
		"more left than the model thinks":    {purger.Limits{Objects: purger.Level{Remaining: new(9999.0)}}, 0, 1e6},
		"a bucket that is smaller than this": {purger.Limits{Objects: purger.Level{Limit: new(50.0), Remaining: new(50.0)}}, 0, 50},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				opened(t, s, ledger.LaneLarge, urls(9000))
				r := claim(t, s)
				n := len(r.Objects)
				v := store.Settlement{Verdict: store.Again, Next: c.Now(), Answer: purger.Answer{Verdict: purger.Limited, Limits: test.limits}}
				if left := test.limits.Objects.Remaining; left != nil && int(*left) < n {
					v.Verdict, v.At = store.Split, int(*left)
				}
				settle(t, s, r, v)
				c.Advance(test.after)
				var again *store.Request
				for range 3 { // to split what does not fit is a turn of its own
					if again, _, _ = s.Claim(t.Context(), purger.URL, time.Minute); again != nil {
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

// Replicas whose clocks differ don't refill the buckets at each turn.
func TestSkewedClocksShareOneBudget(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		behind := open(c.Now)
		ahead := open(func() time.Time { return c.Now().Add(20 * time.Second) })
		opened(t, behind, ledger.LaneLarge, urls(16_000))
		total := 0
		for i := range 40 {
			s := []*store.Store{behind, ahead}[i%2]
			r, _, err := s.Claim(t.Context(), purger.URL, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if r != nil {
				total += len(r.Objects)
			}
		}
		if total > 14_000+1 { // a full bucket and 20 s
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
					r, _, err := stores[i%2].Claim(t.Context(), purger.URL, time.Minute)
					if err != nil {
						t.Error(err)
					}
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
		if total > 5000 || total < 3500 { // less than a full request may stay
			t.Errorf("%d objects claimed of 5,000 tokens", total)
		}
	})
}

// After a pause one request probes; the others wait for its answer.
func TestOneRequestProbesAfterAPause(t *testing.T) {
	for name, test := range map[string]struct {
		probe store.Settlement
		next  bool // others may go at once
	}{
		"accepted":                  {accepted, true},
		"refused an object":         {store.Settlement{Verdict: store.Fail, Objects: []string{"https://www.example.com/00000/"}, Words: "unauthorized arl"}, true},
		"limited":                   {store.Settlement{Verdict: store.Again, Answer: purger.Answer{Verdict: purger.Limited, Limits: purger.Limits{Objects: purger.Level{Remaining: new(9999.0)}}}}, true},
		"away":                      {store.Settlement{Verdict: store.Again, Away: true, Why: "Akamai does not answer"}, false},
		"still no good credentials": {store.Settlement{Verdict: store.Again, Why: "credentials"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				opened(t, s, ledger.LaneLarge, urls(6000))
				pause := store.Settlement{Verdict: store.Again, Next: c.Now(), Pause: c.Now().Add(15 * time.Second), Why: "credentials"}
				settle(t, s, claim(t, s), pause)
				if wait := nothing(t, s); wait != 15*time.Second {
					t.Errorf("paused for %v", wait)
				}
				c.Advance(15 * time.Second)
				probe := claim(t, s)
				nothing(t, s)
				if q, err := s.Queue(t.Context()); err != nil || !q.Pause.Paused || q.Pause.Words != "credentials" {
					t.Errorf("while it probes: %+v, %v", q.Pause, err)
				}
				v := test.probe
				v.Next = c.Now()
				if name == "still no good credentials" {
					v.Pause = c.Now().Add(15 * time.Second)
				}
				settle(t, s, probe, v)
				if test.next {
					claim(t, s)
					claim(t, s)
				} else {
					nothing(t, s)
				}
				if q, _ := s.Queue(t.Context()); q.Pause.Paused == test.next {
					t.Errorf("after the probe: %+v", q.Pause)
				}
			})
		})
	}
}

// Straggling answers of requests that went out before a pause don't end it.
func TestStragglersDoNotEndAPause(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := opened(t, s, ledger.LaneLarge, urls(6000))
		first, second := claim(t, s), claim(t, s)
		settle(t, s, first, store.Settlement{Verdict: store.Again, Next: c.Now(), Pause: c.Now().Add(15 * time.Second), Why: "credentials"})
		settle(t, s, second, store.Settlement{Verdict: store.Again, Next: c.Now(), Away: true, Why: "Akamai does not answer"})
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

// Whoever is first in line does not wait for the turn of a purge that wants
// the same object deleted: the delete goes now, for both.
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

// A held purge's deletes absorb nothing, and a delete that comes while the
// invalidation is under way goes out on its own.
func TestDeletesThatAbsorbNothing(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		const object = "https://www.example.com/a"
		held, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Network: mapping.Production})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddTargets(t.Context(), held, []mapping.Target{target(object, mapping.Delete)}); err != nil {
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
		settle(t, s, r, store.Settlement{Verdict: store.Again, Next: c.Now(), Away: true})
		if r = claim(t, s); len(r.Objects) != 1 || r.Objects[0] != shared.Object {
			t.Errorf("sent again: %v", r.Objects)
		}
	})
}

// After 20 refusals of a host the rest of it is not tried; a retry tries it.
func TestHostIsSetAsideAfterItsRefusals(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		targets := urls(3000)
		for i := range 10 {
			targets = append(targets, target(fmt.Sprintf("https://img.example.com/%d", i), mapping.Invalidate))
		}
		p := opened(t, s, ledger.LaneLarge, targets)
		const words = "unauthorized arl"
		for i := range 20 {
			r := claim(t, s)
			if strings.Contains(r.Objects[0], "img.") {
				t.Fatalf("refusal %d: %v", i+1, r.Objects)
			}
			settle(t, s, r, store.Settlement{Verdict: store.Fail, Objects: r.Objects[:1], Words: words})
		}
		p = reread(t, s, p.ID)
		if p.Counts.Failed != 3000 || p.Reason != words {
			t.Errorf("%d failed: %s", p.Counts.Failed, p.Reason)
		}
		lines, err := s.Targets(t.Context(), p.ID, 2999, 1)
		if err != nil || lines[0].Reason != "not tried, as Akamai refused 20 URLs of www.example.com before: "+words {
			t.Errorf("the last one: %q, %v", lines[0].Reason, err)
		}
		var rest *store.Request
		for rest == nil { // the refused request has nothing left
			rest, _, _ = s.Claim(t.Context(), purger.URL, time.Minute)
		}
		if len(rest.Objects) != 10 {
			t.Errorf("of the other host: %v", rest.Objects)
		}
		settle(t, s, rest, accepted)
		if p = reread(t, s, p.ID); p.State != ledger.Done || p.Counts.Accepted != 10 {
			t.Errorf("in the end: %+v", p)
		}

		n, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "ann"}, func(ledger.Target) string { return "" })
		if err != nil || n != 3000 {
			t.Fatalf("retried %d, %v", n, err)
		}
		r := claim(t, s)
		settle(t, s, r, store.Settlement{Verdict: store.Fail, Objects: r.Objects[:1], Words: words})
		if p = reread(t, s, p.ID); p.Counts.Failed != 1 {
			t.Errorf("after one refusal of the retry %d failed", p.Counts.Failed)
		}
	})
}

// What a refusal that named nothing leaves to the next decision.
func TestRefusalsRemember(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		asked(t, s, urls(4)...)
		whole := claim(t, s)
		since := c.Now()
		settle(t, s, whole, store.Settlement{Verdict: store.Split, At: 2, Refusal: "bad request", Since: since})
		a := claim(t, s)
		if f := a.Refused; !f.Since.Equal(since) || !f.SiblingWaits || f.Sibling != "" || f.OthersAccepted {
			t.Errorf("the first half: %+v", f)
		}
		c.Advance(time.Second)
		settle(t, s, a, store.Settlement{Verdict: store.Again, Next: c.Now().Add(time.Second), Refusal: "bad request", Since: since})
		b := claim(t, s)
		if f := b.Refused; b.ID == a.ID || !f.Since.Equal(since) || f.SiblingWaits || f.Sibling != "bad request" {
			t.Errorf("the other half: %+v", f)
		}
		settle(t, s, b, accepted)
		c.Advance(time.Second)
		if a = claim(t, s); !a.Refused.OthersAccepted {
			t.Errorf("the first half, after the other was accepted: %+v", a.Refused)
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
			r, _, err := s.Claim(t.Context(), purger.URL, 12*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if r != nil {
				attempts++
				requests[r.ID] = true
				settle(t, s, r, store.Settlement{Verdict: store.Again, Away: true, Why: "away", Next: c.Now().Add(20 * time.Second)})
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
	if err := s.AddTargets(t.Context(), p, urls(3)); err != nil {
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
