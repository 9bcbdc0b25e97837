package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/standin"
)

// logged keeps what a server says.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func withLog(l *logged) func(*stageConfig) {
	return func(c *stageConfig) { c.log = slog.New(slog.NewTextHandler(l, nil)) }
}

// eventually polls until a condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// recompare has the server compare what is deployed, and waits until it has.
func (w *world) recompare(l *logged) {
	w.t.Helper()
	rounds := func() int { return strings.Count(l.String(), `msg="compared with GitHub"`) }
	before := rounds()
	if err := w.server.store.Hasten(w.t.Context(), "deployments"); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("GitHub was compared", func() bool { return rounds() > before })
	w.settled()
}

func urls(network string, pages ...string) (all []string) {
	hosts := []string{"www.acme.com", "m.acme.com"}
	if network == "staging" {
		hosts = []string{"staging.acme.com"}
	}
	for _, page := range pages {
		for _, host := range hosts {
			all = append(all, fmt.Sprintf("%s invalidate url https://%s%s", network, host, page))
		}
	}
	return all
}

// Events that GitHub never sent are found by what it says is deployed; an
// event that comes after all changes nothing.
func TestRecoverWhatWasNeverSent(t *testing.T) {
	var said logged
	w, first := newWorld(t, withLog(&said))
	w.begin()
	w.deploy("production", first, "success")
	w.deploy("staging", first, "success")
	w.await(first, "production", "success", "")
	w.await(first, "staging", "success", "")
	w.settled()
	w.sent()

	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	third := w.commit("third", map[string]string{"content/about/us.md": "3"})
	w.deploy("Production", third, "success")
	w.deploy("staging", third, "failure") // decides nothing
	w.recompare(&said)
	w.await(third, "production", "success", "4 URLs purged")
	w.await(second, "production", "success", "purged with "+third[:7])
	w.wantSent(urls("production", "/index/home/", "/about/us/")...)
	if log := said.String(); !strings.Contains(log, "recovered: a deployment that no webhook told of") || !strings.Contains(log, third[:7]) {
		t.Errorf("the log does not say what was recovered:\n%s", log)
	}

	said.all.Reset()
	w.recompare(&said)
	w.wantSent()
	if log := said.String(); strings.Contains(log, "no webhook told of") {
		t.Errorf("recovered twice:\n%s", log)
	}
}

// A success whose environment's ledger is newer moves nothing back.
func TestRecoverNeverGoesBack(t *testing.T) {
	var said logged
	w, first := newWorld(t, withLog(&said))
	w.begin()
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "")
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	third := w.commit("third", map[string]string{"content/about/us.md": "3"})
	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
	w.deploy("production", second, "success")
	w.github.Route(nil)
	w.deploy("production", third, "success")
	w.await(third, "production", "success", "4 URLs purged")
	w.settled()
	w.sent()
	w.recompare(&said)
	w.wantSent()
	w.await(second, "production", "success", "purged with "+third[:7])
}

// The rules and the policy count for what is recovered as for a webhook.
func TestRecoverByTheSameRules(t *testing.T) {
	var said logged
	w, _ := newWorld(t, withLog(&said))
	first := w.commit("trust", map[string]string{"purge-rules.yaml": strings.Replace(testRules,
		"  staging:\n", "    creators: [deployer]\n  staging:\n    trigger: push\n", 1)})
	w.push(first)
	w.begin()
	deploy := func(sha, creator string) {
		t.Helper()
		id, err := w.github.Deploy(t.Context(), w.fullName(), standin.GitHubDeployment{SHA: sha, Environment: "production", Creator: creator})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.github.DeployStatus(t.Context(), w.fullName(), id, standin.GitHubDeploymentStatus{State: "success", Creator: creator}); err != nil {
			t.Fatal(err)
		}
	}
	deploy(first, "deployer")
	w.await(first, "production", "success", "")
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.push(second)
	w.await(second, "staging", "success", "1 URL purged")
	w.settled()
	w.sent()

	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
	third := w.commit("third", map[string]string{"content/index/home.md": "3"})
	w.push(third)
	deploy(third, "mallory")
	w.recompare(&said)
	w.await(third, "staging", "success", "1 URL purged")
	w.wantSent(urls("staging", "/index/home/")...)
	if log := said.String(); !strings.Contains(log, "recovered: a push that no webhook told of") {
		t.Errorf("the log does not say what was recovered:\n%s", log)
	}
}

// What GitHub could not deliver while the server was down is delivered once
// more, and what nobody but its webhook tells of is among it.
func TestRecoverFailedDeliveries(t *testing.T) {
	var said logged
	w, first := newWorld(t, withLog(&said))
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged")
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.sent()

	third := w.commit("third", map[string]string{"content/index/home.md": "3"})
	w.push(third)
	w.deploy("production", third, "success")
	fourth := w.commit("fourth", map[string]string{"content/about/us.md": "4"})
	w.push(fourth) // its announcement is told of by the webhook alone
	w.begin()
	w.await(third, "production", "success", "2 URLs purged")
	w.eventually("what waits is announced", func() bool {
		return slices.ContainsFunc(w.github.Statuses(w.fullName(), fourth), func(s standin.GitHubStatus) bool {
			return strings.HasSuffix(s.Description, " URLs wait for production to deploy")
		})
	})
	w.settled()
	w.wantSent(urls("production", "/index/home/")...)

	again := map[string]int{}
	for _, d := range w.github.Deliveries() {
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

// A delivery that fails once more is asked for once more, but not for ever.
func TestRecoverADeliveryThatFailsAgain(t *testing.T) {
	var said logged
	w, first := newWorld(t, withLog(&said))
	w.begin()
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "")
	w.settled()
	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubLose })
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.push(second)
	w.github.Route(nil)
	w.github.SetWebhook("http://127.0.0.1:1/webhook", w.secret)
	attempts := func() (n int) {
		for _, d := range w.github.Deliveries() {
			if d.Event == "push" && strings.Contains(string(d.Body), second) {
				n++
			}
		}
		return n
	}
	for i := range 7 {
		before := strings.Count(said.String(), "redelivery asked for")
		if err := w.server.store.Hasten(t.Context(), "deliveries"); err != nil {
			t.Fatal(err)
		}
		if i < 5 {
			w.eventually("GitHub was asked", func() bool { return strings.Count(said.String(), "redelivery asked for") > before })
			w.eventually("GitHub tried", func() bool { return attempts() == i+2 })
		}
	}
	if n := attempts(); n != 6 {
		t.Errorf("tried %d times, want 1 and 5 more", n)
	}
}

// Where the App may go, the ledger follows: what is gone waits without noise,
// and goes on when it is back.
func TestRepositoriesGoAndComeBack(t *testing.T) {
	var said logged
	w, first := newWorld(t, withLog(&said))
	w.begin()
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "")
	w.settled()
	w.sent()
	ctx := t.Context()
	if err := w.github.Suspend(ctx, 1); err != nil {
		t.Fatal(err)
	}
	w.eventually("the suspension is known", func() bool { return strings.Contains(said.String(), "repository is gone") })
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success") // GitHub sends nothing
	w.wantSent()
	if err := w.github.Unsuspend(ctx, 1); err != nil {
		t.Fatal(err)
	}
	w.await(second, "production", "success", "2 URLs purged")
	w.wantSent(urls("production", "/index/home/")...)
	if log := said.String(); !strings.Contains(log, "repository is back") {
		t.Errorf("the log does not say that the repository is back:\n%s", log)
	}

	if err := w.github.Rename(w.fullName(), "acme/pages"); err != nil {
		t.Fatal(err)
	}
	w.cfg.repo.Name = "pages"
	w.recompare(&said)
	ledgerHas := func(what string, holds func(ledger.Repository) bool) {
		t.Helper()
		w.eventually(what, func() bool {
			repo, err := w.server.store.Repository(ctx, 1)
			return err == nil && holds(repo)
		})
	}
	ledgerHas("the rename is known", func(r ledger.Repository) bool { return r.FullName() == "acme/pages" })
	third := w.commit("third", map[string]string{"content/index/home.md": "3"})
	w.deploy("production", third, "success")
	w.await(third, "production", "success", "2 URLs purged")
	w.settled()

	if err := w.github.Delete("acme/pages"); err != nil {
		t.Fatal(err)
	}
	w.recompare(&said)
	ledgerHas("its end is known", func(r ledger.Repository) bool { return strings.Contains(r.Gone, "can't see the repository") })
}

// Redirects lead reads to a renamed repository, but no writes: the words
// still arrive.
func TestRenamedBetweenPurgeAndStatus(t *testing.T) {
	w, first := newWorld(t, nil)
	w.begin()
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "")
	w.settled()
	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubHold })
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	if err := w.github.Rename(w.fullName(), "acme/pages"); err != nil {
		t.Fatal(err)
	}
	w.cfg.repo.Name = "pages"
	w.github.Route(nil)
	w.github.Release(t.Context()) // the events have the old name
	w.await(second, "production", "success", "2 URLs purged")
}
