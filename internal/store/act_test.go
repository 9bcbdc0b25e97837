package store_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// allow is a policy that lets everything pass.
func allow(mapping.Target) string { return "" }

// asGiven judges targets by the reasons that they have.
func asGiven(g mapping.Target) string { return g.Reason }

// fates gives a purge's targets, one line each.
func fates(t *testing.T, s *store.Store, purge string) []string {
	t.Helper()
	lines, err := s.Targets(t.Context(), purge, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range lines {
		out = append(out, strings.TrimRight(string(l.Fate)+" "+l.Object+" "+l.Reason, " "))
	}
	return out
}

func wantFates(t *testing.T, s *store.Store, purge string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, fates(t, s, purge)); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

func tags(refused string, names ...string) []mapping.Target {
	var out []mapping.Target
	for _, name := range names {
		g := mapping.Target{Kind: mapping.Tag, Object: name, Action: mapping.Invalidate, Rule: "r", Path: "x"}
		if strings.HasPrefix(name, "bad") {
			g.Reason = refused
		}
		out = append(out, g)
	}
	return out
}

func claimTags(t *testing.T, s *store.Store) *store.Request {
	t.Helper()
	r, wait, err := s.Claim(t.Context(), "", purger.Tag)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		t.Fatalf("nothing to claim (wait %v)", wait)
	}
	return r
}

// planned is a purge that a person asked for and that is not opened yet.
func planned(t *testing.T, s *store.Store, targets []mapping.Target) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{
		RepoID: repoID, EnvID: "env", Environment: "production", Cause: ledger.CauseComment,
		By: "alice", Network: mapping.Production, Lane: ledger.LanePeople, Note: "12 deletes, limit 10",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddTargets(t.Context(), p, slices.Values(targets), asGiven); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRetryFreesWhatPolicyLetsPass(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), tags("policy said no", "a", "b", "bad-1", "bad-2"))
		r := claimTags(t, s)
		settle(t, s, r, offends("b", "unauthorized tag"))
		r = claimTags(t, s)
		settle(t, s, r, reply(purger.Answer{Verdict: purger.Accepted, PurgeID: "p-1", Estimated: 5 * time.Second}))
		if done := reread(t, s, p.ID); done.State != ledger.Done || done.Counts.Failed != 3 || done.Reason != "policy said no" && done.Reason != "unauthorized tag" {
			t.Fatalf("before: %+v", done)
		}
		c.Advance(time.Hour)

		s.Twice()
		freed, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "bob"}, func(g mapping.Target) string {
			if g.Object == "bad-2" {
				return "policy still says no"
			}
			return ""
		})
		if err != nil || freed != 2 {
			t.Fatalf("Retry = %d, %v", freed, err)
		}
		wantFates(t, s, p.ID, "accepted a", "waiting b", "waiting bad-1", "failed bad-2 policy still says no")
		again := reread(t, s, p.ID)
		if again.State != ledger.Open || again.Counts.Failed != 1 || again.Counts.Accepted != 1 ||
			again.Reason != "policy still says no" || !again.OpenedAt.Equal(c.Now()) || !again.DoneAt.IsZero() {
			t.Errorf("reopened: %+v", again)
		}

		r = claimTags(t, s)
		if !slices.Equal(r.Objects, []string{"b", "bad-1"}) {
			t.Errorf("sent again: %v", r.Objects)
		}
		c.Advance(time.Second)
		settle(t, s, r, reply(purger.Answer{Verdict: purger.Accepted, PurgeID: "p-2", Estimated: 5 * time.Second}))
		end := reread(t, s, p.ID)
		if end.State != ledger.Done || end.Counts.Accepted != 3 || end.Counts.Failed != 1 || end.DoneAt.Sub(end.OpenedAt) != 6*time.Second {
			t.Errorf("done again: %+v, took %v", end, end.DoneAt.Sub(end.OpenedAt))
		}
		if _, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "bob"}, func(mapping.Target) string { return "no" }); !errors.Is(err, store.ErrNothing) {
			t.Errorf("nothing passes: %v", err)
		}
		if _, err := s.Retry(t.Context(), store.Act{Purge: "none", By: "bob"}, allow); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no such purge: %v", err)
		}
		account, err := s.Summary(t.Context(), p.ID, 2)
		if err != nil || len(account.Failed) != 1 || len(account.Others) != 2 || !slices.Equal(account.Akamai, []string{"p-1", "p-2"}) {
			t.Errorf("account %+v, %v", account, err)
		}
	})
}

func TestReleaseJudgesAnew(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := planned(t, s, tags("policy said no", "a", "b", "bad-1"))
		if err := s.OpenPurge(t.Context(), p.ID, true); err != nil {
			t.Fatal(err)
		}
		if r, _, _ := s.Claim(t.Context(), "", purger.Tag); r != nil {
			t.Fatalf("a held purge is sent: %v", r.Objects)
		}
		if _, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "bob"}, allow); !errors.Is(err, store.ErrNothing) {
			t.Errorf("retry of a held purge: %v", err)
		}
		tallies, err := s.Tallies(t.Context(), p.ID)
		if diff := cmp.Diff([]store.Tally{{Kind: mapping.Tag, Action: mapping.Invalidate, N: 3}}, tallies); diff != "" || err != nil {
			t.Errorf("tallies: %s %v", diff, err)
		}
		c.Advance(time.Minute)
		if err := s.Release(t.Context(), store.Act{Purge: p.ID, By: "bob"}, func(g mapping.Target) string {
			if g.Object == "b" {
				return "policy changed its mind"
			}
			return ""
		}); err != nil {
			t.Fatal(err)
		}
		wantFates(t, s, p.ID, "waiting a", "failed b policy changed its mind", "waiting bad-1")
		if now := reread(t, s, p.ID); now.State != ledger.Open || now.Counts.Failed != 1 || !now.OpenedAt.Equal(c.Now()) || now.Note != "released by bob" {
			t.Errorf("released: %+v", now)
		}
		if r := claimTags(t, s); !slices.Equal(r.Objects, []string{"a", "bad-1"}) {
			t.Errorf("sent: %v", r.Objects)
		}
		if err := s.Release(t.Context(), store.Act{Purge: p.ID, By: "bob"}, allow); !errors.Is(err, store.ErrNothing) {
			t.Errorf("released twice: %v", err)
		}

		none := planned(t, s, tags("", "c"))
		if err := s.OpenPurge(t.Context(), none.ID, true); err != nil {
			t.Fatal(err)
		}
		if err := s.Release(t.Context(), store.Act{Purge: none.ID, By: "bob"}, func(mapping.Target) string { return "no" }); err != nil {
			t.Fatal(err)
		}
		if end := reread(t, s, none.ID); end.State != ledger.Done || end.Counts.Failed != 1 || end.Reason != "no" {
			t.Errorf("released, and nothing may go: %+v", end)
		}
	})
}

func TestCancelDropsWhatWasNotSent(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), append(tags("", "one"), urls(1)...))
		back := planned(t, s, urls(2)[1:])
		if err := s.OpenPurge(t.Context(), back.ID, false); err != nil {
			t.Fatal(err)
		}
		sending := claimTags(t, s) // on its way when the cancel comes
		waits := claim(t, s)       // backs off when the cancel comes
		settle(t, s, waits, unavailable)

		if err := s.Cancel(t.Context(), store.Act{Purge: p.ID, By: "bob"}); err != nil {
			t.Fatal(err)
		}
		wantFates(t, s, p.ID, "claimed one", "dropped https://www.example.com/00000/")
		now := reread(t, s, p.ID)
		if now.State != ledger.Cancelled || now.EndedBy != "bob" {
			t.Errorf("cancelled: %+v", now)
		}
		settle(t, s, sending, accepted)
		if end := reread(t, s, p.ID); end.State != ledger.Cancelled || end.Counts.Accepted != 1 {
			t.Errorf("after Akamai's answer: %+v", end)
		}
		c.Advance(2 * time.Minute)
		if r := claim(t, s); !slices.Equal(r.Objects, []string{"https://www.example.com/00001/"}) {
			t.Errorf("the other purge of that request: %v", r.Objects)
		}
		for name, err := range map[string]error{
			"twice": s.Cancel(t.Context(), store.Act{Purge: p.ID, By: "bob"}),
			"retry": func() error {
				_, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "bob"}, allow)
				return err
			}(),
		} {
			if !errors.Is(err, store.ErrNothing) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What was on its way when the cancel came, and was not accepted by Akamai, is dropped
// with the answer. Another deployment of the commit sends none of it.
func TestCancelledWhileItWasSent(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(2))
		sending := claim(t, s)
		if err := s.Cancel(t.Context(), store.Act{Purge: p.ID, By: "bob"}); err != nil {
			t.Fatal(err)
		}
		again := func() int {
			sent, failure := s.Sent(t.Context(), p.ID)
			n := len(slices.Collect(sent))
			if err := failure(); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := again(); n != 0 {
			t.Errorf("%d would go again while it is sent", n)
		}
		settle(t, s, sending, unavailable)
		wantFates(t, s, p.ID, "dropped https://www.example.com/00000/", "dropped https://www.example.com/00001/")
		if n := again(); n != 0 {
			t.Errorf("%d would go again", n)
		}
	})
}

func comment(id int64, at time.Time) store.Command {
	return store.Command{RepoID: repoID, Comment: id, Number: 3, Person: 9, Login: "alice", At: at}
}

// posts claims surfaces and returns what they are to show.
func posts(t *testing.T, s *store.Store, surfaces ...string) (out []string) {
	t.Helper()
	for _, name := range surfaces {
		p, err := s.ClaimPost(t.Context(), name, time.Minute)
		switch {
		case errors.Is(err, store.ErrNotFound):
			out = append(out, name+": nothing")
		case err != nil:
			t.Fatal(err)
		default:
			out = append(out, strings.TrimRight(name+": "+p.State+p.Words+" "+p.PurgeID, " "))
		}
	}
	return out
}

func TestCommandIsBoundAndAnsweredOnce(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		cmd, err := s.BeginCommand(t.Context(), comment(100, c.Now()), store.Rate{Most: 10, Within: time.Minute})
		if err != nil || cmd.Outcome != "" {
			t.Fatalf("begin: %+v, %v", cmd, err)
		}
		for _, sha := range []string{"first", "second"} { // handled again after the branch moved
			if cmd, err = s.BindCommand(t.Context(), cmd, "production", sha); err != nil || cmd.SHA != "first" {
				t.Fatalf("bound to %q, %v", cmd.SHA, err)
			}
		}
		one, two := planned(t, s, tags("", "a")), planned(t, s, tags("", "a"))
		if err := s.OpenManual(t.Context(), one.ID, false, store.Answer{Command: cmd, Outcome: "purge"}); err != nil {
			t.Fatal(err)
		}
		if err := s.OpenManual(t.Context(), two.ID, false, store.Answer{Command: cmd, Outcome: "purge"}); !errors.Is(err, store.ErrAnswered) {
			t.Fatalf("opened twice: %v", err)
		}
		if _, err := s.Purge(t.Context(), two.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the second purge is still there: %v", err)
		}
		if err := s.Cancel(t.Context(), store.Act{Purge: one.ID, By: "x", Answer: &store.Answer{Command: cmd, Outcome: "cancel"}}); !errors.Is(err, store.ErrAnswered) {
			t.Errorf("an answered command acts: %v", err)
		}
		if p := reread(t, s, one.ID); p.State != ledger.Open {
			t.Errorf("purge %+v", p)
		}
		known, err := s.BeginCommand(t.Context(), comment(100, c.Now()), store.Rate{Most: 10, Within: time.Minute})
		if err != nil || known.Outcome != "purge" || known.Environment != "production" {
			t.Errorf("known: %+v, %v", known, err)
		}
		if fresh, err := s.Answer(t.Context(), store.Answer{Command: cmd, Outcome: "again", Words: "no"}); fresh || err != nil {
			t.Errorf("answered again: %v, %v", fresh, err)
		}
		if diff := cmp.Diff([]string{
			"reaction/77/100/end:  " + one.ID, "reply/77/3/100:  " + one.ID, "reply/77/3/101: nothing",
		}, posts(t, s, "reaction/77/100/end", "reply/77/3/100", "reply/77/3/101")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCommandsOverTheLimitGetOneReaction(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for id := int64(1); id <= 4; id++ {
			cmd, err := s.BeginCommand(t.Context(), comment(id, c.Now()), store.Rate{Most: 3, Within: time.Minute})
			if err != nil || (cmd.Outcome != "") != (id > 3) {
				t.Errorf("command %d: %+v, %v", id, cmd, err)
			}
		}
		other := comment(5, c.Now())
		other.Person = 10
		if cmd, err := s.BeginCommand(t.Context(), other, store.Rate{Most: 3, Within: time.Minute}); err != nil || cmd.Outcome != "" {
			t.Errorf("another person: %+v, %v", cmd, err)
		}
		c.Advance(time.Minute)
		if cmd, err := s.BeginCommand(t.Context(), comment(6, c.Now()), store.Rate{Most: 3, Within: time.Minute}); err != nil || cmd.Outcome != "" {
			t.Errorf("a minute later: %+v, %v", cmd, err)
		}
		// Presses of buttons count together with comments. A press that is allowed stays
		// allowed when its delivery is handled once more.
		for _, press := range []struct {
			guid string
			may  bool
		}{{"a", true}, {"b", true}, {"c", false}, {"a", true}, {"c", false}} {
			may, err := s.MayPress(t.Context(), store.Press{RepoID: 77, Person: 9, GUID: press.guid, At: c.Now()}, store.Rate{Most: 3, Within: time.Minute})
			if err != nil || may != press.may {
				t.Errorf("press %s: %v, %v", press.guid, may, err)
			}
		}
		if diff := cmp.Diff([]string{"reaction/77/4/eyes: nothing", "reaction/77/4/denied: confused", "reply/77/3/4: nothing"},
			posts(t, s, "reaction/77/4/eyes", "reaction/77/4/denied", "reply/77/3/4")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMeantPurge(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "a", 1, 1)
		asked := planned(t, s, tags("no", "bad-1"))
		cmd, _ := s.BeginCommand(t.Context(), comment(100, c.Now()), store.Rate{Most: 10, Within: time.Minute})
		if err := s.OpenManual(t.Context(), asked.ID, false, store.Answer{Command: cmd, Outcome: "purge"}); err != nil {
			t.Fatal(err)
		}
		deployed := deploy(t, s, e, tags("no", "bad-2", "a"))
		for _, test := range []struct {
			name   string
			number int
			env    string
			verb   store.Verb
			want   string
		}{
			{"this pull request's", 3, "", store.Retry, asked.ID},
			{"the environment's, on another pull request", 4, e.ID, store.Retry, deployed.ID},
			{"no environment, another pull request", 4, "", store.Retry, ""},
			{"what can still be cancelled", 3, e.ID, store.Cancel, deployed.ID},
			{"nothing is held", 3, e.ID, store.Release, ""},
		} {
			p, err := s.FindPurge(t.Context(), repoID, test.number, test.env, test.verb)
			if p.ID != test.want || (err != nil) != (test.want == "") {
				t.Errorf("%s: %q, %v; want %q", test.name, p.ID, err, test.want)
			}
		}
		left, err := s.Unfinished(t.Context(), repoID, 10)
		if err != nil || len(left) != 1 || left[0].ID != deployed.ID {
			t.Errorf("unfinished: %v, %v", left, err)
		}
	})
}

func TestReplyIsFoundAgainAfterACrash(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		cmd, _ := s.BeginCommand(t.Context(), comment(100, c.Now()), store.Rate{Most: 10, Within: time.Minute})
		if _, err := s.Answer(t.Context(), store.Answer{Command: cmd, Outcome: "help", Reaction: "rocket", Words: "hello"}); err != nil {
			t.Fatal(err)
		}
		p, err := s.ClaimPost(t.Context(), "reply/77/3/100", time.Minute)
		if err != nil || p.Claims != 1 || p.Kind() != store.ReplyPost || p.Number != 3 {
			t.Fatalf("first claim %+v, %v", p, err)
		}
		if err := s.Takeover(t.Context()); err != nil { // the process died before it settled
			t.Fatal(err)
		}
		c.Advance(2 * time.Minute)
		if p, err = s.ClaimPost(t.Context(), "reply/77/3/100", time.Minute); err != nil || p.Claims != 2 || p.RemoteID != 0 {
			t.Fatalf("second claim %+v, %v", p, err)
		}
		p.RemoteID = 4711
		if err := s.Posted(t.Context(), p, "hello", false, 0); err != nil {
			t.Fatal(err)
		}
		if p, err = s.ClaimPost(t.Context(), "reply/77/3/100", time.Minute); err != nil || p.RemoteID != 4711 {
			t.Errorf("third claim %+v, %v", p, err)
		}
	})
}

// TestActsBesideClaims lets people act while requests are claimed and settled. No act
// fails, and a purge's counts agree with what became of its targets.
func TestActsBesideClaims(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		s := open(time.Now)
		var all []string
		for range 6 {
			p := planned(t, s, tags("no", "a", "b", "c", "d", "bad-1"))
			if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
				t.Fatal(err)
			}
			all = append(all, p.ID)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for i := range 20 {
					r, _, err := s.Claim(t.Context(), "", purger.Tag)
					if err != nil {
						t.Errorf("claim: %v", err)
					}
					if r == nil {
						continue
					}
					v := accepted
					if i%2 == 0 {
						v = offends(r.Objects[0], "unauthorized tag")
					}
					if _, _, err := s.Settle(t.Context(), r, v); err != nil {
						t.Errorf("settle: %v", err)
					}
				}
			})
		}
		for _, id := range all {
			wg.Go(func() {
				for range 5 {
					if _, err := s.Retry(t.Context(), store.Act{Purge: id, By: "x"}, allow); err != nil && !errors.Is(err, store.ErrNothing) {
						t.Errorf("retry: %v", err)
					}
				}
				if err := s.Cancel(t.Context(), store.Act{Purge: id, By: "x"}); err != nil && !errors.Is(err, store.ErrNothing) {
					t.Errorf("cancel: %v", err)
				}
			})
		}
		wg.Wait()
		for _, id := range all {
			p, count := reread(t, s, id), map[string]int{}
			for _, line := range fates(t, s, id) {
				fate, _, _ := strings.Cut(line, " ")
				count[fate]++
			}
			if p.Counts.Accepted != count["accepted"] || p.Counts.Failed != count["failed"] || count["waiting"] > 0 {
				t.Errorf("%s purge counts %+v, its targets %v", p.State, p.Counts, count)
			}
		}
	})
}

// What people asked for, and listings of previews, are deleted after a time.
func TestPruneOfAsksAndPreviews(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		old := c.Now()
		may := func(guid string) bool {
			t.Helper()
			may, err := s.MayPress(t.Context(), store.Press{RepoID: repoID, Person: 9, GUID: guid, At: old}, store.Rate{Most: 1, Within: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			return may
		}
		if !may("a") || may("b") {
			t.Error("the rate does not hold")
		}
		key, err := s.KeepPreview(t.Context(), repoID, 0, "aaaa", []byte("all of it"))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			before time.Time
			gone   bool
		}{{old.Add(-time.Second), false}, {old.Add(time.Second), true}} {
			if err := s.Prune(t.Context(), step.before, step.before); err != nil {
				t.Fatal(err)
			}
			listing, err := s.Preview(t.Context(), key)
			if step.gone != errors.Is(err, store.ErrNotFound) || !step.gone && string(listing) != "all of it" {
				t.Errorf("the listing is %q, %v", listing, err)
			}
			if may("b") != step.gone {
				t.Errorf("what was asked is forgotten: %v, want %v", !step.gone, step.gone)
			}
		}
	})
}
