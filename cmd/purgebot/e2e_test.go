package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

const waitTime = time.Minute // far more than anything takes

const testRules = `version: 1
environments:
  production:
    network: production
    hosts: [www.acme.com, m.acme.com]
  staging:
    network: staging
    hosts: [staging.acme.com]
rules:
  - name: pages
    match: content/**/*.md
    urls: ["https://{host}/{1}/{2}/"]
  - name: assets
    match: static/**
    urls: ["https://{host}/{1}"]
  - name: shell
    match: layouts/**
    tags: [acme-shell]
`

// world is a stage with a site on it, for a test.
type world struct {
	*stage
	site *site
	t    *testing.T
	seen int // purges that sent returned already
}

func testPolicy() policy.Policy {
	e := policy.NewEntry()
	e.Repositories, e.Hosts, e.Tags, e.CPCodes = []string{"acme/*"}, []string{"*.acme.com"}, []string{"acme-*"}, []int64{12345}
	return policy.Policy{e}
}

// newWorld opens a stage with one commit on main: the rules and two pages.
func newWorld(t *testing.T, change func(*stageConfig)) (*world, string) {
	t.Helper()
	t.Parallel() // a world mostly waits, for polls and for Akamai's estimate
	s, err := newSite(t.Context(), filepath.Join(t.TempDir(), "site"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{site: s, t: t}
	first := w.commit("first", map[string]string{
		"purge-rules.yaml": testRules, "content/index/home.md": "home", "content/about/us.md": "us", "layouts/base.html": "base",
	})
	cfg := stageConfig{
		dir:         t.TempDir(),
		repo:        standin.GitHubRepository{ID: 1, Owner: "acme", Name: "site", Dir: s.dir},
		policy:      testPolicy(),
		akamai:      standin.AkamaiConfig{Estimate: time.Second},
		statusEvery: 50 * time.Millisecond,
	}
	if os.Getenv("PURGEBOT_TEST_LOG") != "" {
		cfg.log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.database == "" {
		storetest.Migrated(t, filepath.Join(cfg.dir, "purgebot.db"))
	}
	if w.stage, err = newStage(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w, first
}

func (w *world) commit(message string, files map[string]string) string {
	w.t.Helper()
	sha, err := w.site.commit(w.t.Context(), message, files)
	if err != nil {
		w.t.Fatal(err)
	}
	return sha
}

// begin starts the server; what happened on GitHub before, it never saw.
func (w *world) begin() {
	w.t.Helper()
	// The server outlives the test's context: it is stopped in order.
	if err := w.start(context.WithoutCancel(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) push(sha string) {
	w.t.Helper()
	if _, err := w.github.Push(w.t.Context(), w.fullName(), "main", sha, standin.GitHubPushOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// deploy makes a deployment and gives it a state.
func (w *world) deploy(environment, sha, state string) int64 {
	w.t.Helper()
	id, err := w.github.Deploy(w.t.Context(), w.fullName(), standin.GitHubDeployment{SHA: sha, Environment: environment})
	if err != nil {
		w.t.Fatal(err)
	}
	w.state(id, state)
	return id
}

func (w *world) state(deployment int64, state string) {
	w.t.Helper()
	if _, err := w.github.DeployStatus(w.t.Context(), w.fullName(), deployment, standin.GitHubDeploymentStatus{State: state}); err != nil {
		w.t.Fatal(err)
	}
}

// await waits until a commit's status begins with the words.
func (w *world) await(sha, environment, state, words string) standin.GitHubStatus {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitTime)
	defer cancel()
	s, err := w.github.AwaitStatus(ctx, w.fullName(), sha, "purge/"+environment, func(s standin.GitHubStatus) bool {
		return says(s, state, words)
	})
	if err != nil {
		w.t.Fatalf("want %s %q: %v\nall: %v", state, words, err, w.github.Statuses(w.fullName(), ""))
	}
	return s
}

// sent gives what reached Akamai since the last call, one line an object.
func (w *world) sent() []string {
	all := w.akamai.Accepted()
	var out []string
	for _, p := range all[w.seen:] {
		for _, o := range p.Objects {
			out = append(out, fmt.Sprintf("%s %s %s %s", p.Network, p.Action, p.Kind, o))
		}
	}
	w.seen = len(all)
	slices.Sort(out)
	return out
}

func (w *world) wantSent(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, w.sent()); diff != "" {
		w.t.Errorf("what reached Akamai (-want +got):\n%s", diff)
	}
}

func TestPushDeployPurgeStatus(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success") // before the server: where it starts from
	w.begin()
	second := w.commit("second", map[string]string{
		"content/index/home.md": "new home", "content/about/us.md": removed, "content/about/team.md": "us", "layouts/base.html": "new",
	})
	w.push(second)
	w.await(second, "production", "success", "6 URLs, 1 tag wait for production to deploy")
	w.wantSent()

	id := w.deploy("production", second, "in_progress")
	w.state(id, "failure")
	w.await(second, "production", "success", "deploy failed, 6 URLs, 1 tag wait for the next one")
	w.wantSent()

	w.deploy("production", second, "success")
	w.await(second, "production", "success", "6 URLs, 1 tag purged in ")
	w.wantSent(
		"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/",
		"production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/",
		"production invalidate url https://www.acme.com/about/team/", "production invalidate url https://m.acme.com/about/team/",
		"production invalidate tag acme-shell",
	)
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}
