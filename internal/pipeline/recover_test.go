package pipeline_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// recompare has the server compare what is deployed, and waits until it has.
func (w *world) recompare(l *servertest.Log) {
	w.T.Helper()
	rounds := func() int { return strings.Count(l.String(), `msg="compared with GitHub"`) }
	before := rounds()
	if err := w.Server.Store().Hasten(w.T.Context(), "deployments"); err != nil {
		w.T.Fatal(err)
	}
	w.Eventually("GitHub was compared", func() bool { return rounds() > before })
	w.Settled()
}

// Events that GitHub never sent are found by comparing what it says is deployed. An event
// that comes after that changes nothing.
func TestRecoverWhatWasNeverSent(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, servertest.WithLog(&said))
	w.Begin()
	w.Deploy("production", first, "success")
	w.Deploy("staging", first, "success")
	w.Await(first, "production", "success", "")
	w.Await(first, "staging", "success", "")
	w.Settled()
	w.Sent()

	w.GitHub.Route(func(d github.Delivery) github.Route { return github.Drop })
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
	w.Deploy("Production", third, "success")
	w.Deploy("staging", third, "failure") // decides nothing
	w.recompare(&said)
	w.Await(third, "production", "success", "4 URLs purged")
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
	w.WantSent(servertest.URLs("production", "/index/home/", "/about/us/")...)
	if log := said.String(); !strings.Contains(log, "recovered: a deployment that no webhook told of") || !strings.Contains(log, third[:7]) {
		t.Errorf("the log does not say what was recovered:\n%s", log)
	}

	before := len(said.String())
	w.recompare(&said)
	w.WantSent()
	if log := said.String()[before:]; strings.Contains(log, "no webhook told of") {
		t.Errorf("recovered twice:\n%s", log)
	}
}

// A repository that no webhook told of is taken up only if the policy lists it and if it
// is not archived.
func TestRecoverMeetsWhatThePolicyLists(t *testing.T) {
	var said servertest.Log
	w, _ := newWorld(t, func(cfg *stage.Config) {
		servertest.WithLog(&said)(cfg)
		for id, name := range []string{2: "listed", 3: "unlisted", 4: "archived"} {
			if name != "" {
				cfg.Repositories = append(cfg.Repositories, github.Repository{ID: int64(id), Owner: "acme", Name: name, Dir: cfg.Repositories[0].Dir})
			}
		}
		cfg.Policy[0].Repositories = []string{"acme/site", "acme/listed", "acme/archived"}
	})
	if err := w.GitHub.Archive("acme/archived"); err != nil {
		t.Fatal(err)
	}
	w.Begin()
	w.recompare(&said)
	for id, want := range []bool{2: true, 3: false, 4: false} {
		if id < 2 {
			continue
		}
		if _, err := w.Server.Store().Repository(t.Context(), int64(id)); (err == nil) != want {
			t.Errorf("repository %d: %v", id, err)
		}
	}
}

// A deployment that succeeded before the server knew of the repository, and once more
// since, changed nothing: what it deployed was live already.
func TestFirstHeardIsASuccessOnceMore(t *testing.T) {
	var ahead atomic.Int64
	w, first := newWorld(t, func(c *stage.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	id := w.Deploy("production", first, "success")
	ahead.Store(int64(5 * time.Second)) // GitHub's whole seconds tell them apart
	w.Begin()
	w.Push(w.Commit("other", map[string]string{"notes.txt": "x"})) // the repository is known from here on
	w.Settled()
	ahead.Add(int64(5 * time.Second))
	w.State(id, "success")
	w.Eventually("it is live", func() bool {
		env, err := w.Server.Store().FindEnvironment(t.Context(), 1, "production")
		return err == nil && env.Live.SHA == first
	})
	w.Settled()
	w.WantSent()
}

// A success that is older than what the ledger has moves nothing back.
func TestRecoverNeverGoesBack(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, servertest.WithLog(&said))
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
	w.GitHub.Route(func(d github.Delivery) github.Route { return github.Drop })
	w.Deploy("production", second, "success")
	w.GitHub.Route(nil)
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "4 URLs purged")
	w.Settled()
	w.Sent()
	w.recompare(&said)
	w.WantSent()
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
}

// Rules and policy decide about what is recovered as about a webhook.
func TestRecoverByTheSameRules(t *testing.T) {
	var said servertest.Log
	w, _ := newWorld(t, servertest.WithLog(&said))
	first := w.Commit("trust", map[string]string{"purge-rules.yaml": strings.Replace(servertest.Rules,
		"  staging:\n", "    creators: [deployer]\n  staging:\n    trigger: push\n", 1)})
	w.Push(first)
	w.Begin()
	deploy := func(sha, creator string) {
		t.Helper()
		id, err := w.GitHub.Deploy(t.Context(), w.FullName(), github.Deployment{SHA: sha, Environment: "production", Creator: creator})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.GitHub.DeployStatus(t.Context(), w.FullName(), id, github.DeploymentStatus{State: "success", Creator: creator}); err != nil {
			t.Fatal(err)
		}
	}
	deploy(first, "deployer")
	w.Await(first, "production", "success", "")
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Push(second)
	w.Await(second, "staging", "success", "1 URL purged")
	w.Settled()
	w.Sent()

	w.GitHub.Route(func(d github.Delivery) github.Route { return github.Drop })
	third := w.Commit("third", map[string]string{"content/index/home.md": "3"})
	w.Push(third)
	deploy(third, "mallory")
	w.recompare(&said)
	w.Await(third, "staging", "success", "1 URL purged")
	w.WantSent(servertest.URLs("staging", "/index/home/")...)
	if log := said.String(); !strings.Contains(log, "recovered: a push that no webhook told of") {
		t.Errorf("the log does not say what was recovered:\n%s", log)
	}
}

// GitHub delivers again what it could not deliver while the server was down, also the
// events that no comparison finds.
func TestRecoverFailedDeliveries(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, servertest.WithLog(&said))
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	w.Sent()

	third := w.Commit("third", map[string]string{"content/index/home.md": "3"})
	w.Push(third)
	w.Deploy("production", third, "success")
	fourth := w.Commit("fourth", map[string]string{"content/about/us.md": "4"})
	w.Push(fourth) // only its webhook tells of the announcement
	w.Begin()
	w.Await(third, "production", "success", "2 URLs purged")
	w.Eventually("what waits is announced", func() bool {
		return slices.ContainsFunc(w.GitHub.Statuses(w.FullName(), fourth), func(s github.Status) bool {
			return strings.HasSuffix(s.Description, " URLs will be purged when production deploys")
		})
	})
	w.Settled()
	w.WantSent(servertest.URLs("production", "/index/home/")...)

	again := map[string]int{}
	for _, d := range w.GitHub.Deliveries() {
		if d.Redelivery && (d.Event == "push" || d.Event == "deployment_status") {
			again[d.GUID]++
		}
		if d.Redelivery && d.Event == "deployment" {
			t.Errorf("an event without use was delivered again: %s", d.Event)
		}
	}
	for guid, n := range again {
		if n > 1 {
			t.Errorf("%s was delivered again %d times", guid, n)
		}
	}
	if len(again) != 3 { // two pushes and a deployment's status
		t.Errorf("delivered again: %v", again)
	}
}

// A delivery that fails again is asked for again, but not for ever.
func TestRecoverADeliveryThatFailsAgain(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, servertest.WithLog(&said))
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	w.Settled()
	w.GitHub.Route(func(d github.Delivery) github.Route { return github.Lose })
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Push(second)
	w.GitHub.Route(nil)
	w.GitHub.SetWebhook("http://127.0.0.1:1/webhook", w.Secret)
	attempts := func() (n int) {
		for _, d := range w.GitHub.Deliveries() {
			if d.Event == "push" && strings.Contains(string(d.Body), second) {
				n++
			}
		}
		return n
	}
	for i := range 7 {
		before := strings.Count(said.String(), "redelivery asked for")
		if err := w.Server.Store().Hasten(t.Context(), "deliveries"); err != nil {
			t.Fatal(err)
		}
		if i < 5 {
			w.Eventually("GitHub was asked", func() bool { return strings.Count(said.String(), "redelivery asked for") > before })
			w.Eventually("GitHub tried", func() bool { return attempts() == i+2 })
		}
	}
	if n := attempts(); n != 6 {
		t.Errorf("tried %d times, want 1 and 5 more", n)
	}
}

// The ledger follows what the App may see: the work of a repository that is gone waits
// without log lines, and goes on when the repository is back.
func TestRepositoriesGoAndComeBack(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, servertest.WithLog(&said))
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	w.Settled()
	w.Sent()
	ctx := t.Context()
	if err := w.GitHub.Suspend(ctx, 1); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the suspension is known", func() bool { return strings.Contains(said.String(), "repository is gone") })
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success") // GitHub sends nothing
	w.WantSent()
	if err := w.GitHub.Unsuspend(ctx, 1); err != nil {
		t.Fatal(err)
	}
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent(servertest.URLs("production", "/index/home/")...)
	if log := said.String(); !strings.Contains(log, "repository is back") {
		t.Errorf("the log does not say that the repository is back:\n%s", log)
	}

	if err := w.GitHub.Rename(w.FullName(), "acme/pages"); err != nil {
		t.Fatal(err)
	}
	w.Config.Repositories[0].Name = "pages"
	w.recompare(&said)
	ledgerHas := func(what string, holds func(ledger.Repository) bool) {
		t.Helper()
		w.Eventually(what, func() bool {
			repo, err := w.Server.Store().Repository(ctx, 1)
			return err == nil && holds(repo)
		})
	}
	ledgerHas("the rename is known", func(r ledger.Repository) bool { return r.FullName() == "acme/pages" })
	third := w.Commit("third", map[string]string{"content/index/home.md": "3"})
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "2 URLs purged")
	w.Settled()

	if err := w.GitHub.Delete("acme/pages"); err != nil {
		t.Fatal(err)
	}
	w.recompare(&said)
	ledgerHas("its end is known", func(r ledger.Repository) bool { return strings.Contains(r.Gone, "can't see the repository") })
}

// GitHub redirects reads to a renamed repository, but not writes. The words arrive all
// the same.
func TestRenamedBetweenPurgeAndStatus(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	w.Settled()
	w.GitHub.Route(func(d github.Delivery) github.Route { return github.Hold })
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	if err := w.GitHub.Rename(w.FullName(), "acme/pages"); err != nil {
		t.Fatal(err)
	}
	w.Config.Repositories[0].Name = "pages"
	w.GitHub.Route(nil)
	w.GitHub.Release(t.Context()) // these events have the old name
	w.Await(second, "production", "success", "2 URLs purged")
}
