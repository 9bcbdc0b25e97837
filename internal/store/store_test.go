package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
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

// clock is a clock that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// engines runs a test on every engine there is: SQLite always, PostgreSQL
// where PURGEBOT_TEST_POSTGRES names a server.
func engines(t *testing.T, test func(t *testing.T, open func(now func() time.Time) *store.Store)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		url := storetest.SQLite(t)
		test(t, func(now func() time.Time) *store.Store { return open(t, url, now) })
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		url := storetest.Postgres(t)
		test(t, func(now func() time.Time) *store.Store { return open(t, url, now) })
	})
}

func open(t *testing.T, url string, now func() time.Time) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

const repoID = 77

func environment(t *testing.T, s *store.Store, at time.Time, sha string, deploy, status int64) ledger.Environment {
	t.Helper()
	e, _, err := s.Desire(t.Context(), repoID, "production", ledger.Deploy{
		Point: ledger.Point{SHA: sha, Deploy: deploy, Status: status, At: at}, State: "success",
	}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func urls(n int) []mapping.Target {
	out := make([]mapping.Target, n)
	for i := range out {
		out[i] = mapping.Target{Kind: mapping.URL, Object: fmt.Sprintf("https://www.example.com/%05d/", i), Action: mapping.Invalidate, Rule: "pages", Path: "x"}
	}
	return out
}

// deploy moves the environment to a commit, with a purge of targets.
func deploy(t *testing.T, s *store.Store, e ledger.Environment, targets []mapping.Target) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{
		RepoID: repoID, EnvID: e.ID, Environment: e.Name, Cause: ledger.CauseDeploy,
		To: e.Desired, Network: mapping.Production, Lane: ledger.LaneDeploy,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(targets), asGiven); err != nil {
		t.Fatal(err)
	}
	ok, err := s.Commit(t.Context(), store.Move{Env: e, To: e.Desired, Purge: &p, Context: "purge/production"})
	if err != nil || !ok {
		t.Fatalf("Commit = %v, %v", ok, err)
	}
	return reread(t, s, p.ID)
}

func reread(t *testing.T, s *store.Store, id string) ledger.Purge {
	t.Helper()
	p, err := s.Purge(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func claim(t *testing.T, s *store.Store) *store.Request {
	t.Helper()
	r, wait, err := s.Claim(t.Context(), "", purger.URL)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		t.Fatalf("nothing to claim (wait %v)", wait)
	}
	return r
}

// claimed claims as one of many at a time, each of which waits for its turn. Like a job, it
// tries again if the machine has so much to do that this takes too long. nil: nothing is
// to be sent now.
func claimed(t *testing.T, s *store.Store) *store.Request {
	t.Helper()
	for {
		r, _, err := s.Claim(t.Context(), "", purger.URL)
		if err == nil {
			return r
		}
		if store.Unavailable(err) == "" || t.Context().Err() != nil {
			t.Error(err)
			return nil
		}
	}
}

func settle(t testing.TB, s *store.Store, r *store.Request, a store.Reply) bool {
	t.Helper()
	_, ok, err := s.Settle(t.Context(), r, a)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func reply(a purger.Answer) store.Reply { return store.Reply{Answer: a} }

// What Akamai may answer.
var (
	accepted       = reply(purger.Answer{Verdict: purger.Accepted, PurgeID: "eiup-1", Estimated: 5 * time.Second})
	unavailable    = reply(purger.Answer{Verdict: purger.Unavailable, Title: "no answer"})
	tooLarge       = reply(purger.Answer{Verdict: purger.TooLarge})
	badCredentials = reply(purger.Answer{Verdict: purger.BadCredentials})
	refusesAll     = reply(purger.Answer{Verdict: purger.Refused, Title: "bad request"})
)

// Public words of what pauses an account.
const (
	noCredentials = "Akamai does not accept purgebot's credentials"
	noAnswer      = "Akamai does not answer"
)

// offends is an answer that names one object as the reason of a refusal.
func offends(object, title string) store.Reply {
	return reply(purger.Answer{Verdict: purger.Refused, Offender: object, Title: title, Detail: object})
}

func TestReceive(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		d := store.Delivery{GUID: "g-1", Event: "push", Body: []byte(`{"a":1}`), ReceivedAt: c.Now()}
		for i, want := range []bool{true, false} {
			fresh, err := s.Receive(t.Context(), d)
			if err != nil || fresh != want {
				t.Fatalf("delivery %d: fresh %v, %v; want %v", i+1, fresh, err, want)
			}
		}
		got, err := s.Delivery(t.Context(), "g-1")
		if err != nil || string(got.Body) != `{"a":1}` || !got.HandledAt.IsZero() {
			t.Fatalf("read back %+v, %v", got, err)
		}
		if err := s.Handled(t.Context(), "g-1", "done"); err != nil {
			t.Fatal(err)
		}
		if got, _ = s.Delivery(t.Context(), "g-1"); got.HandledAt.IsZero() {
			t.Error("handled delivery has no time")
		}
		if _, err := s.Delivery(t.Context(), "g-2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown delivery: %v", err)
		}
	})
}

// A run that is run again keeps its id: who it was by then counts.
func TestARunOnceMoreIsByThePersonWhoBeganIt(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for _, run := range []struct {
			by, want string
			at       time.Duration
		}{{"ann", "ann", 0}, {"bob", "bob", time.Minute}, {"ann", "bob", 0}} {
			e, _, err := s.Desire(t.Context(), repoID, "production", ledger.Deploy{
				Point: ledger.Point{SHA: "a", Status: 7, Began: c.Now().Add(run.at), At: c.Now().Add(run.at)}, State: "success", Creator: run.by,
			}, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Creator(t.Context(), e.ID, 7); got != run.want || err != nil {
				t.Errorf("after %s's: %s, %v", run.by, got, err)
			}
		}
	})
}

func TestDesireFollowsGitHubsOrderNotArrival(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		at := c.Now()
		for _, step := range []struct {
			name           string
			sha            string
			deploy, status int64
			at             time.Time
			env, state     string
			moved          bool
		}{
			{"the first success", "b", 2, 20, at, "production", "success", true},
			{"the same again", "b", 2, 20, at, "production", "success", false},
			{"an older success that comes late", "a", 1, 10, at.Add(-time.Minute), "production", "success", false},
			{"a failure", "c", 3, 25, at.Add(time.Second), "production", "failure", false},
			{"the same second, a later status, another case", "c", 3, 30, at, "Production", "success", true},
			{"the same second, an earlier status", "b", 2, 29, at, "production", "success", false},
		} {
			_, moved, err := s.Desire(t.Context(), repoID, step.env, ledger.Deploy{
				Point: ledger.Point{SHA: step.sha, Deploy: step.deploy, Status: step.status, At: step.at}, State: step.state,
			}, time.Time{})
			if err != nil || moved != step.moved {
				t.Errorf("%s: moved %v, %v; want %v", step.name, moved, err, step.moved)
			}
		}
		e, err := s.FindEnvironment(t.Context(), repoID, "PRODUCTION")
		if err != nil || e.Desired.SHA != "c" || e.Desired.Status != 30 {
			t.Errorf("desired %+v, %v", e.Desired, err)
		}
	})
}

func TestCommitIsCompareAndSet(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		stale := environment(t, s, c.Now(), "a", 1, 1)
		p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, EnvID: stale.ID, Environment: "production", To: stale.Desired, Network: mapping.Production})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddTargets(t.Context(), p, slices.Values(urls(3)), asGiven); err != nil {
			t.Fatal(err)
		}
		fresh := environment(t, s, c.Now(), "b", 2, 2) // a newer success meanwhile
		ok, err := s.Commit(t.Context(), store.Move{Env: stale, To: stale.Desired, Purge: &p, Context: "purge/production"})
		if err != nil || ok {
			t.Fatalf("stale commit = %v, %v; want refused", ok, err)
		}
		if r, _, _ := s.Claim(t.Context(), "", purger.URL); r != nil {
			t.Errorf("the discarded purge is sent: %v", r.Objects)
		}
		done := deploy(t, s, fresh, urls(2))
		if done.State != ledger.Open || done.Counts.URLs != 2 {
			t.Errorf("committed purge %+v", done)
		}
		e, _ := s.Environment(t.Context(), fresh.ID)
		if e.Live != fresh.Desired || e.Next(c.Now()) != ledger.StepNone {
			t.Errorf("environment %+v", e)
		}
	})
}

func TestClaimAndSettle(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(3))
		r := claim(t, s)
		if len(r.Objects) != 3 || r.Network != purger.Production || r.Action != purger.Invalidate {
			t.Fatalf("claimed %+v", r.Request)
		}
		if again, _, _ := s.Claim(t.Context(), "", purger.URL); again != nil {
			t.Fatal("claimed twice")
		}
		if !settle(t, s, r, accepted) {
			t.Fatal("own claim lost")
		}
		if settle(t, s, r, accepted) {
			t.Error("settled twice")
		}
		p = reread(t, s, p.ID)
		if p.State != ledger.Done || p.Counts.Accepted != 3 || !p.DoneAt.Equal(c.Now().Add(5*time.Second)) {
			t.Errorf("purge %+v", p)
		}
	})
}

// A process dies between Akamai's answer and the settling. After the lease the same
// objects are claimed again. If the dead process's settling comes after all, it changes
// nothing.
func TestLeaseFencesTheSettling(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(3))
		dead := claim(t, s)
		c.Advance(2 * time.Minute)
		heir := claim(t, s)
		if heir.ID != dead.ID || heir.Number != 2 || len(heir.Objects) != 3 {
			t.Fatalf("heir %+v", heir)
		}
		if settle(t, s, dead, accepted) {
			t.Error("the dead one's settling counted")
		}
		if !settle(t, s, heir, accepted) {
			t.Error("the heir's settling did not count")
		}
		if p = reread(t, s, p.ID); p.Counts.Accepted != 3 {
			t.Errorf("accepted %d", p.Counts.Accepted)
		}
	})
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	words := "unauthorized arl: https://www.example.com/00001/"
	for name, test := range map[string]struct {
		reply    func(r *store.Request) store.Reply
		accepted int // after everything that can be claimed was accepted
		failed   int
		requests int
	}{
		"one object refused, the rest goes on": {func(r *store.Request) store.Reply {
			return offends(r.Objects[1], "unauthorized arl")
		}, 3, 1, 1},
		"too large": {func(*store.Request) store.Reply { return tooLarge }, 4, 0, 2},
		"away":      {func(*store.Request) store.Reply { return unavailable }, 4, 0, 1},
		"paused":    {func(*store.Request) store.Reply { return badCredentials }, 4, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				c := newClock()
				s := open(c.Now)
				p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(4))
				r := claim(t, s)
				settle(t, s, r, test.reply(r))
				c.Advance(16 * time.Second)
				requests := 0
				for {
					r, _, err := s.Claim(t.Context(), "", purger.URL)
					if err != nil {
						t.Fatal(err)
					}
					if r == nil {
						break
					}
					requests++
					settle(t, s, r, accepted)
				}
				p = reread(t, s, p.ID)
				if p.Counts.Accepted != test.accepted || p.Counts.Failed != test.failed || requests != test.requests || p.State != ledger.Done {
					t.Errorf("%d accepted, %d failed, %d requests, %s; want %d, %d, %d, done",
						p.Counts.Accepted, p.Counts.Failed, requests, p.State, test.accepted, test.failed, test.requests)
				}
				if test.failed > 0 && p.Reason != words {
					t.Errorf("reason %q", p.Reason)
				}
			})
		})
	}
}

func TestPauseHoldsEveryKind(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		targets := append(urls(1), mapping.Target{Kind: mapping.Tag, Object: "shell", Action: mapping.Invalidate})
		deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), targets)
		settle(t, s, claim(t, s), badCredentials)
		r, wait, err := s.Claim(t.Context(), "", purger.Tag)
		if err != nil || r != nil || wait != 15*time.Second {
			t.Errorf("paused claim = %v, %v, %v", r, wait, err)
		}
		if q, _ := s.Queue(t.Context()); !q.Account("default").Paused || q.Account("default").Words != noCredentials {
			t.Errorf("queue %+v", q)
		}
		c.Advance(16 * time.Second)
		if r, _, _ := s.Claim(t.Context(), "", purger.Tag); r == nil {
			t.Error("nothing is sent after the pause")
		}
	})
}

func TestCoalescing(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		first := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(2))
		second := deploy(t, s, environment(t, s, c.Now().Add(time.Second), "b", 2, 2), urls(3))
		r := claim(t, s)
		if len(r.Objects) != 3 {
			t.Fatalf("claimed %v", r.Objects)
		}
		// An object that is on its way is sent again for a newer deployment.
		third := deploy(t, s, environment(t, s, c.Now().Add(2*time.Second), "c", 3, 3), urls(1))
		settle(t, s, r, accepted)
		if a, b := reread(t, s, first.ID), reread(t, s, second.ID); a.Counts.Accepted != 2 || b.Counts.Accepted != 3 {
			t.Errorf("accepted %d and %d", a.Counts.Accepted, b.Counts.Accepted)
		}
		again := claim(t, s)
		if len(again.Objects) != 1 {
			t.Errorf("claimed %v", again.Objects)
		}
		settle(t, s, again, accepted)
		if p := reread(t, s, third.ID); p.Counts.Accepted != 1 {
			t.Errorf("third purge %+v", p.Counts)
		}
	})
}

func TestWaitingDeleteAbsorbsInvalidate(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		first := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(2))
		deletes := urls(1)
		deletes[0].Action = mapping.Delete
		second := deploy(t, s, environment(t, s, c.Now().Add(time.Second), "b", 2, 2), deletes)
		sent := map[string]int{}
		for range 2 {
			r := claim(t, s)
			for _, o := range r.Objects {
				sent[string(r.Action)+" "+o]++
			}
			settle(t, s, r, accepted)
		}
		if len(sent) != 2 || sent["delete https://www.example.com/00000/"] != 1 || sent["invalidate https://www.example.com/00001/"] != 1 {
			t.Errorf("sent %v", sent)
		}
		for _, id := range []string{first.ID, second.ID} {
			if p := reread(t, s, id); p.State != ledger.Done || p.Counts.Failed != 0 {
				t.Errorf("purge %+v", p)
			}
		}
	})
}

func TestPeopleFirst(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(3000))
		p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Cause: ledger.CauseComment, Network: mapping.Production, Lane: ledger.LanePeople})
		if err != nil {
			t.Fatal(err)
		}
		const theirs = "https://www.example.com/asked-for/"
		if err := s.AddTargets(t.Context(), p, slices.Values([]mapping.Target{{Kind: mapping.URL, Object: theirs, Action: mapping.Invalidate}}), asGiven); err != nil {
			t.Fatal(err)
		}
		if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
			t.Fatal(err)
		}
		r := claim(t, s)
		if r.Objects[0] != theirs {
			t.Errorf("first in line: %s", r.Objects[0])
		}
		body, err := r.Body()
		if err != nil || len(body) < purger.MaxBody*98/100 {
			t.Errorf("the rest of the request is not filled: %d bytes, %v", len(body), err)
		}
	})
}

func TestPolicyFailuresEndAPurgeAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		targets := urls(2)
		for i := range targets {
			targets[i].Reason = "policy doesn't allow host www.example.com"
		}
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), targets)
		if p.State != ledger.Done || p.Counts.Failed != 2 || !strings.Contains(p.Reason, "policy") {
			t.Errorf("purge %+v", p)
		}
	})
}

// Claims at the same time never take the same object twice, and together take no more
// than the budget holds.
func TestConcurrentClaims(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(11_000))
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					r := claimed(t, s)
					if r == nil {
						return
					}
					mu.Lock()
					for _, o := range r.Objects {
						seen[o]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for o, n := range seen {
			if n != 1 {
				t.Fatalf("%s was claimed %d times", o, n)
			}
		}
		if len(seen) > 10_000 || len(seen) < 9_000 {
			t.Errorf("%d objects claimed from a bucket of 10,000", len(seen))
		}
	})
}

func TestPrune(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for _, guid := range []string{"handled", "waiting"} {
			if _, err := s.Receive(t.Context(), store.Delivery{GUID: guid, Event: "push", Body: []byte("{}"), ReceivedAt: c.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Handled(t.Context(), "handled", "done"); err != nil {
			t.Fatal(err)
		}
		done := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(3))
		settle(t, s, claim(t, s), accepted)
		open2 := deploy(t, s, environment(t, s, c.Now().Add(time.Second), "b", 2, 2), urls(2))
		c.Advance(48 * time.Hour)
		young := deploy(t, s, environment(t, s, c.Now(), "c", 3, 3), nil)
		cut := c.Now().Add(-24 * time.Hour)
		if err := s.Prune(t.Context(), cut, cut); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delivery(t.Context(), "handled"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a handled delivery stays: %v", err)
		}
		if _, err := s.Delivery(t.Context(), "waiting"); err != nil {
			t.Errorf("a delivery that waits is gone: %v", err)
		}
		if _, err := s.Purge(t.Context(), done.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a done purge stays: %v", err)
		}
		for _, p := range []ledger.Purge{open2, young} {
			if _, err := s.Purge(t.Context(), p.ID); err != nil {
				t.Errorf("a purge that is open or young is gone: %v", err)
			}
		}
		if r := claim(t, s); len(r.Objects) != 2 {
			t.Errorf("the open purge lost objects: %v", r.Objects)
		}
	})
}

func TestOneProcessASQLiteFile(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "purgebot.db")
	first, second := open(t, url, time.Now), open(t, url, time.Now)
	if err := first.Takeover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Takeover(t.Context()); err == nil || !strings.Contains(err.Error(), "another purgebot works on") {
		t.Errorf("second takeover: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Takeover(t.Context()); err != nil {
		t.Errorf("after the first is gone: %v", err)
	}
}
