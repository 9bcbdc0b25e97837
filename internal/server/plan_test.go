package server_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store"
)

// TestEnvironmentsThatNoRulesNameCostLittle: a host deploys every commit of every branch
// to an environment that no rules file names. For those the server compares nothing and
// reads no tree.
func TestEnvironmentsThatNoRulesNameCostLittle(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Begin()
	w.Live("production", first)
	w.Live("Preview", first)
	w.GitHub.ResetCalls()
	for _, text := range []string{"2", "3", "4"} {
		sha := w.Commit("page", map[string]string{"content/index/home.md": text})
		w.Live("Preview", sha)
	}
	for _, call := range w.GitHub.Calls() {
		if strings.Contains(call.Path, "/compare/") || strings.Contains(call.Path, "/git/trees/") {
			t.Errorf("%s %s", call.Method, call.Path)
		}
	}

	// Once the rules name the environment, the first purge starts from the commit that
	// was live there before, though nothing was said about it.
	rules := strings.TrimSpace(w.Git("show", "HEAD:purge-rules.yaml")) + "\n  - {match: 'x/**', tags: [acme-x]}\n"
	sha := w.Commit("rules", map[string]string{
		"purge-rules.yaml": strings.Replace(rules, "  staging:", "  preview: {hosts: [preview.acme.com]}\n  staging:", 1), "content/index/home.md": "5",
	})
	w.Deploy("Preview", sha, "success")
	w.Await(sha, "preview", "success", "1 URL purged")
	w.WantSent("production invalidate url https://preview.acme.com/index/home/")
}

// TestCancelledStaysCancelled: the next job that deploys the same commit does not send
// what a person dropped.
func TestCancelledStaysCancelled(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Begin()
	w.Live("production", first)
	w.Akamai.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Status: http.StatusServiceUnavailable} })
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	build, deploy := w.Deploy("production", second, "in_progress"), w.Deploy("production", second, "in_progress")
	w.State(build, "success")
	w.Await(second, "production", "pending", "0 of 2 purged")
	purges, err := w.Server.Store().Recent(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w.Eventually("a request was sent", func() bool {
		last, err := w.Server.Store().LastPurge(t.Context(), purges[0].EnvID, second)
		return err == nil && !last.FirstSent.IsZero()
	})
	if err := w.Server.Store().Cancel(t.Context(), store.Act{Purge: purges[0].ID, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	w.Await(second, "production", "failure", "cancelled by ann, 2 not purged")
	w.Settled()
	w.Akamai.Fault(nil)
	w.State(deploy, "success")
	w.Settled()
	w.WantSent()
	w.Await(second, "production", "failure", "cancelled by ann, 2 not purged")
}

// TestRebuilds: another deployment of the live commit may be a later job of the first
// one. Long after that it is a rebuild.
func TestRebuilds(t *testing.T) {
	var ago atomic.Int64 // when deployments are recorded
	w, first := newWorld(t, func(c *stage.Config) {
		c.Now = func() time.Time { return time.Now().Add(-time.Duration(ago.Load())) }
	})
	w.Begin()
	deploy := func(environment, sha string, before time.Duration) {
		t.Helper()
		w.Settled()
		ago.Store(int64(before))
		w.Deploy(environment, sha, "success")
		ago.Store(0)
		w.Settled()
	}
	deploy("production", first, 28*time.Hour)
	rules := w.Git("show", "HEAD:purge-rules.yaml")
	sha := w.Commit("rules", map[string]string{
		"purge-rules.yaml": strings.Replace(rules, "    network: production\n", `    network: production
    redeploy: {within: 30m, purge: {urls: ["https://{host}/news/"], tags: [acme-news]}}
`, 1),
		"content/index/home.md": "2",
	})
	w.Sent()
	home := []string{"production invalidate url https://m.acme.com/index/home/", "production invalidate url https://www.acme.com/index/home/"}
	news := []string{"production invalidate tag acme-news", "production invalidate url https://m.acme.com/news/", "production invalidate url https://www.acme.com/news/"}
	for _, step := range []struct {
		before time.Duration
		words  string
		sent   []string
	}{
		{26 * time.Hour, "2 URLs purged in", home},
		{25*time.Hour + 31*time.Minute, "2 URLs purged in", nil}, // all of it after that success
		{25*time.Hour + 29*time.Minute, "rebuilt: 2 URLs, 1 tag purged in", news},
		{time.Minute, "rebuilt: 2 URLs, 1 tag purged in", news},
	} {
		deploy("production", sha, step.before)
		w.Await(sha, "production", "success", step.words)
		w.WantSent(step.sent...)
	}
	// A rebuild says nothing over a purge that failed.
	w.Akamai.Refuse("https://staging.acme.com/index/bad/", http.StatusForbidden, "unauthorized arl")
	bad := w.Commit("bad", map[string]string{"content/index/bad.md": "1"})
	deploy("staging", bad, 6*time.Hour)
	w.Await(bad, "staging", "failure", "")
	ago.Store(int64(4 * time.Hour))
	id, err := w.GitHub.Deploy(t.Context(), w.FullName(), github.Deployment{SHA: bad, Environment: "staging", RequiredContexts: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	w.State(id, "success")
	ago.Store(0)
	w.Settled()
	for _, said := range w.GitHub.Statuses(w.FullName(), bad) {
		if strings.HasPrefix(said.Description, "rebuilt") {
			t.Errorf("over what failed: %s", said.Description)
		}
	}
	w.Akamai.Allow("https://staging.acme.com/index/bad/")
	// If the rules name nothing, the rebuild purges nothing and says so.
	deploy("staging", sha, 2*time.Hour)
	w.Sent()
	deploy("staging", sha, time.Minute)
	w.Await(sha, "staging", "success", "rebuilt: Nothing to purge")
	w.WantSent()
	// A rebuild that no webhook reported is found.
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
	deploy("production", sha, 0)
	if err := w.Server.Store().Hasten(t.Context(), "deployments"); err != nil {
		t.Fatal(err)
	}
	w.Eventually("it is found", w.MoreSent)
	w.Settled()
	w.WantSent(news...)
}
