package pipeline_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// history gives what a commit's status said in an environment, in order.
func (w *world) history(sha, environment string) (all []string) {
	for _, s := range w.GitHub.Statuses(w.FullName(), sha) {
		if s.Context == "purge/"+environment {
			all = append(all, s.State+": "+s.Description)
		}
	}
	return all
}

// wantHistory holds the history against what each entry begins with; an
// entry that begins with "?" may be missing.
func (w *world) wantHistory(sha, environment string, want ...string) {
	w.T.Helper()
	got := w.history(sha, environment)
	rest := got
	for _, words := range want {
		words, optional := strings.CutPrefix(words, "?")
		switch {
		case len(rest) > 0 && strings.HasPrefix(rest[0], words):
			rest = rest[1:]
		case !optional:
			w.T.Errorf("%s of %.7s: want %q next, got %q", environment, sha, words, got)
			return
		}
	}
	if len(rest) > 0 {
		w.T.Errorf("%s of %.7s: written beyond what was wanted: %q", environment, sha, rest)
	}
}

// again sends every event once more, as GitHub's own redelivery, and every
// deployment status under another id too.
func (w *world) again() {
	w.T.Helper()
	for _, d := range w.GitHub.Deliveries() {
		if d.Event != "push" && d.Event != "deployment_status" {
			continue
		}
		if _, err := w.GitHub.Redeliver(w.T.Context(), d.GUID); err != nil {
			w.T.Fatal(err)
		}
		if d.Event == "push" {
			continue
		}
		fields := map[string]any{}
		if err := unmarshalEvent(d.Body, fields); err != nil {
			w.T.Fatal(err)
		}
		w.send(d.Event, d.Action, "walt", fields)
	}
	w.Settled()
}

// A branch that goes back to a commit which went live with a later one is told what
// that deployment will purge, and no more that it is live.
func TestPushBackToAnEarlierCommit(t *testing.T) {
	var ahead atomic.Int64
	w, first := newWorld(t, func(c *stage.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	w.Deploy("production", first, "success")
	w.Begin()
	earlier := w.Commit("a", map[string]string{"content/new/a.md": "a"})
	w.Push(earlier)
	live := w.Commit("b", map[string]string{"content/new/b.md": "b"})
	w.Push(live)
	w.Deploy("production", live, "success")
	w.Await(earlier, "production", "success", "Purged as part of "+live[:7])
	ahead.Store(int64(5 * time.Second)) // GitHub's whole seconds tell them apart
	w.Push(earlier)
	w.Await(earlier, "production", "success", "2 URLs will be purged when production deploys")
}

// A push that is live by the time of its first word is told what carried it: if the
// deployment went through before its webhook came, within the same second too, and if it
// goes through while GitHub is asked what the push changed.
func TestPushIsLiveBeforeItsFirstWord(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]func(w *world, earlier string, deploy func()){
		"webhook comes late, all in one second": func(w *world, earlier string, deploy func()) {
			w.GitHub.Route(func(github.Delivery) github.Route { return github.Hold })
			w.Push(earlier)
			w.GitHub.Route(nil)
			deploy()
			w.GitHub.Release(w.T.Context())
		},
		"goes live meanwhile": func(w *world, earlier string, deploy func()) {
			w.meanwhile(earlier, func() { w.Push(earlier) }, deploy)
		},
		"fails while a later one goes live": func(w *world, earlier string, deploy func()) {
			w.meanwhile(earlier, func() { w.Deploy("production", earlier, "failure") }, deploy)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var ahead atomic.Int64
			w, first := newWorld(t, func(c *stage.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			})
			w.Begin()
			w.Live("production", first)
			earlier := w.Commit("a", map[string]string{"content/new/a.md": "a"})
			live := w.Commit("b", map[string]string{"content/new/b.md": "b"})
			now := time.Now()
			ahead.Store(int64(now.Truncate(time.Second).Add(time.Second).Sub(now))) // a second of GitHub's begins
			late(w, earlier, func() {
				w.Push(live)
				w.Deploy("production", live, "success")
				w.Await(live, "production", "success", "4 URLs purged")
			})
			w.Settled()
			w.Await(earlier, "production", "success", "Purged as part of "+live[:7])
		})
	}
}

// meanwhile does what makes the server ask GitHub about a commit, and something else
// before GitHub answers.
func (w *world) meanwhile(sha string, asks, do func()) {
	asked, done := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		if r.Method == http.MethodGet && strings.Contains(r.URL.String(), sha) && first.CompareAndSwap(false, true) {
			close(asked)
			<-done
		}
		return github.Fault{}
	})
	asks()
	<-asked
	do()
	close(done)
}

// Each commit's status is written once for each thing that there is to say, even if
// events come twice, and it does not stay pending.
func TestStatusesAreFewAndEnd(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	page := func(name string) string {
		sha := w.Commit(name, map[string]string{"content/new/" + name + ".md": name})
		w.Push(sha)
		return sha
	}
	carried, failed, live := page("a"), page("b"), page("c")
	for sha, words := range map[string]string{carried: "2 URLs will be purged", failed: "4 URLs will be purged", live: "6 URLs will be purged"} {
		w.Await(sha, "production", "success", words)
	}
	w.again()
	bad := w.Deploy("production", failed, "failure")
	w.Await(failed, "production", "success", "Deploy failed: 4 URLs will be purged")
	w.again()
	w.Deploy("production", live, "success")
	w.Await(live, "production", "success", "6 URLs purged in ")
	w.again()
	w.Await(failed, "production", "success", "Purged as part of "+live[:7])
	w.Await(carried, "production", "success", "Purged as part of "+live[:7])
	w.Settled()

	w.wantHistory(carried, "production", "success: 2 URLs will be purged when production", "success: Purged as part of "+live[:7])
	w.wantHistory(failed, "production", "success: 4 URLs will be purged when production", "success: Deploy failed", "success: Purged as part of "+live[:7])
	w.wantHistory(live, "production", "success: 6 URLs will be purged when production", "?pending: 0 of 6 purged", "?pending: 6 of 6 purged", "success: 6 URLs purged")
	for _, sha := range []string{carried, failed, live} {
		w.wantHistory(sha, "staging", "success: ") // this commit was never deployed there
	}
	w.State(bad, "inactive")

	next := page("d")
	w.Deploy("production", next, "success")
	w.Await(next, "production", "success", "2 URLs purged in ")
	w.Settled()
	for _, sha := range []string{carried, failed} { // what carried them stays what did
		w.Await(sha, "production", "success", "Purged as part of "+live[:7])
	}
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

// Where a commit's own rules can't be read, its status is under the name that the default
// branch's rules give to the environment, and not the live commit's.
func TestFaultIsSaidUnderTheDefaultBranchsName(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Begin()
	w.Live("production", first)
	renamed := w.Commit("renamed", map[string]string{"purge-rules.yaml": strings.Replace(servertest.Rules, "  production:", "  Production:", 1)})
	w.Push(renamed)
	broken := w.Commit("broken", map[string]string{"purge-rules.yaml": "version: none"})
	w.Deploy("production", broken, "success")
	w.Awaits("the broken commit's status", func() bool { return len(w.GitHub.Statuses(w.FullName(), broken)) > 0 })
	if s := w.GitHub.Statuses(w.FullName(), broken)[0]; s.Context != "purge/Production" || s.State != "pending" {
		t.Errorf("%s is %s: %s", s.Context, s.State, s.Description)
	}
}

// The first word is what the rules say; by default nothing is pending before
// a deployment, since that would stop it.
func TestStatusFirstWord(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": `version: 1
environments:
  production: {hosts: [www.acme.com]}
  loud: {hosts: [loud.acme.com], announce: pending}
  quiet: {hosts: [quiet.acme.com], announce: none}
rules:
  - match: content/**.md
    urls: ["https://{host}/{1}/"]
`}))
	w.Begin()
	one := w.Commit("one", map[string]string{"content/one.md": "x"})
	w.Push(one)
	two := w.Commit("two", map[string]string{"content/two.md": "x"})
	w.Push(two)
	none := w.Commit("none", map[string]string{"notes.txt": "x"})
	w.Push(none)
	w.Await(one, "loud", "pending", "1 URL will be purged when loud deploys")
	w.Await(none, "loud", "success", "")
	w.Await(one, "production", "success", "1 URL will be purged when production deploys")
	w.Settled()
	w.wantHistory(one, "quiet")
	for _, environment := range []string{"production", "loud", "quiet"} {
		id := w.deployed(github.Deployment{SHA: two, Environment: environment, RequiredContexts: []string{}})
		w.says(id, github.DeploymentStatus{State: "success"})
		w.Await(two, environment, "success", "")
	}
	w.Await(two, "quiet", "success", "1 URL purged in ")
	w.Settled()
	w.wantHistory(one, "loud", "pending: 1 URL will be purged", "success: Purged as part of "+two[:7])
	w.wantHistory(one, "production", "success: 1 URL will be purged", "success: Purged as part of "+two[:7])
	for _, s := range w.GitHub.Statuses(w.FullName(), "") {
		if s.State != "pending" {
			continue
		}
		if last := w.history(s.SHA, strings.TrimPrefix(s.Context, "purge/")); strings.HasPrefix(last[len(last)-1], "pending") {
			t.Errorf("it stays pending: %q", last)
		}
	}
}

func unmarshalEvent(body []byte, fields map[string]any) error {
	if err := json.Unmarshal(body, &fields); err != nil {
		return err
	}
	for _, key := range []string{"sender", "repository", "installation", "action"} {
		delete(fields, key)
	}
	return nil
}
