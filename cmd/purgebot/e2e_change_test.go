package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/mapping"
)

// live brings a first commit live and forgets what that sent.
func (w *world) live(environment, sha string) {
	w.t.Helper()
	w.deploy(environment, sha, "success")
	w.settled()
	w.sent()
}

func TestRollbackDeletes(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "new", "layouts/base.html": "new"})
	w.push(second)
	w.live("production", second)
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "2 URLs, 1 tag purged")
	w.wantSent(
		"production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/",
		"production invalidate tag acme-shell",
	)
}

func TestAnotherDeploymentOfTheSameCommitSendsAgain(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "new"})
	build := w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged")
	want := []string{"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/"}
	w.wantSent(want...)

	w.state(build, "success") // the same deployment says so again: nothing new
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged in … (deployed again)")
	w.wantSent(want...)
}

func TestLateAndRepeatedDeliveries(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	third := w.commit("third", map[string]string{"content/about/us.md": "3"})
	w.push(second)
	w.await(second, "production", "success", "2 URLs wait")

	// The success of the second commit is recorded first and arrives last.
	late := ""
	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute {
		if d.Event == "deployment_status" && late == "" {
			late = d.GUID
			return standin.GitHubHold
		}
		return standin.GitHubSend
	})
	w.deploy("production", second, "success")
	w.push(third)
	w.deploy("production", third, "success")
	w.await(third, "production", "success", "4 URLs purged")
	w.await(second, "production", "success", "purged with "+third[:7])
	want := w.sent()
	if len(want) != 4 {
		t.Errorf("sent %v", want)
	}

	w.github.Release(t.Context(), late)
	for _, d := range w.github.Deliveries() {
		if _, err := w.github.Redeliver(t.Context(), d.GUID); err != nil {
			t.Fatal(err)
		}
	}
	w.settled()
	w.wantSent()
	w.await(second, "production", "success", "purged with "+third[:7])
}

// settled waits until the server has nothing left to do.
func (w *world) settled() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitTime)
	defer cancel()
	if err := w.server.idle(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func TestPolicyRefusesByObject(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{
		"purge-rules.yaml":      testRules + "  - name: other\n    match: content/index/*\n    urls: [\"https://www.other.com/{1}\"]\n",
		"content/index/home.md": "new",
	})
	w.deploy("production", second, "success")
	w.await(second, "production", "failure", "2 purged, 1 refused: policy does not allow host www.other.com for acme/site")
	w.wantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
}

func TestBrokenRulesWait(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"purge-rules.yaml": testRules + "  - nane: x\n", "content/index/home.md": "2"})
	w.push(second)
	w.await(second, "production", "pending", "purge-rules.yaml:")
	id, err := w.github.Deploy(t.Context(), w.fullName(), standin.GitHubDeployment{SHA: second, Environment: "production", RequiredContexts: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	w.state(id, "success")
	w.settled()
	w.await(second, "production", "pending", "purge-rules.yaml:")
	w.wantSent()

	third := w.commit("third", map[string]string{"purge-rules.yaml": testRules, "content/about/us.md": "3"})
	w.push(third)
	w.deploy("production", third, "success")
	w.await(third, "production", "success", "4 URLs purged")
	w.await(second, "production", "success", "purged with "+third[:7])
}

func TestRulesTakenAway(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"purge-rules.yaml": removed, "content/index/home.md": "2"})
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "nothing purged: this commit has no purge-rules.yaml")
	third := w.commit("third", map[string]string{"content/index/home.md": "3"})
	w.deploy("production", third, "success")
	w.settled()
	fourth := w.commit("fourth", map[string]string{"purge-rules.yaml": testRules, "content/about/us.md": "4"})
	w.deploy("production", fourth, "success")
	w.await(fourth, "production", "success", "2 URLs purged")
	w.wantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/")
	if s := w.github.Statuses(w.fullName(), third); len(s) != 0 {
		t.Errorf("a commit without rules after one without: %v", s)
	}
}

func TestStagingNetworkAndUnnamedEnvironment(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("staging", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("preview-7", second, "success")
	w.deploy("Staging", second, "success") // names compare without case
	w.await(second, "staging", "success", "1 URL purged")
	w.wantSent("staging invalidate url https://staging.acme.com/index/home/")
	for _, s := range w.github.Statuses(w.fullName(), second) {
		if s.Context != "purge/staging" {
			t.Errorf("status %s", s.Context)
		}
	}
}

func TestTriggerPush(t *testing.T) {
	w, _ := newWorld(t, nil)
	rules := `version: 1
environments:
  production: {hosts: [www.acme.com], trigger: push}
rules:
  - match: content/**/*.md
    urls: ["https://{host}/{1}/{2}/"]
`
	first := w.commit("rules", map[string]string{"purge-rules.yaml": rules})
	w.begin()
	w.push(first)
	w.settled()
	w.sent()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.push(second)
	w.await(second, "production", "success", "1 URL purged")
	w.wantSent("production invalidate url https://www.acme.com/index/home/")
}

// The exact difference, whatever the history and however much GitHub shows of
// it, against git's own.
func TestEveryWayToADifference(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]standin.GitHubLimits{
		"as GitHub is":            {},
		"trees are truncated":     {TreeEntries: 20},
		"all trees are truncated": {TreeEntries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, func(c *stageConfig) { c.limits = limits })
			w.deploy("production", first, "success")
			w.begin()
			many := map[string]string{"content/about/us.md": removed}
			for i := range 320 { // more than a comparison lists
				many[fmt.Sprintf("content/d%d/p%d.md", i%7, i)] = fmt.Sprint(i)
			}
			second := w.commit("many", many)
			w.compare(first, second)
			// An orphan: no common ancestor.
			w.git("checkout", "--quiet", "--orphan", "island")
			orphan := w.commit("orphan", map[string]string{"content/d0/p0.md": "other", "content/d1/p1.md": removed, "static/x.css": "x"})
			w.compare(second, orphan)
			// Back to the side of the first: a force-push.
			w.git("checkout", "--quiet", "-B", "main", first)
			forced := w.commit("forced", map[string]string{"content/d0": "a file now", "content/new/page.md": "n"})
			w.compare(orphan, forced)
		})
	}
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	out, err := w.site.git(w.t.Context(), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// compare deploys a commit over another and holds what reached Akamai against
// git's own difference and a naive reading of testRules.
func (w *world) compare(from, to string) {
	w.t.Helper()
	if _, err := w.github.Push(w.t.Context(), w.fullName(), "main", to, standin.GitHubPushOptions{Quiet: true}); err != nil {
		w.t.Fatal(err)
	}
	w.deploy("production", to, "success")
	w.settled()
	changes, err := gitDifference(w.t.Context(), w.site.dir, from, to)
	if err != nil {
		w.t.Fatal(err)
	}
	want := map[string]bool{}
	for _, c := range changes {
		for _, object := range naive(w.t, testRules, c, "production") {
			want["production invalidate "+object] = true
		}
	}
	var lines []string
	for line := range want {
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		w.t.Fatal("nothing to compare")
	}
	w.wantSent(lines...)
}

func naive(t *testing.T, rules string, c mapping.Change, environment string) []string {
	t.Helper()
	n, err := readNaive([]byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	return n.objects(environment, c.Path)
}

// A deployment of a commit that no push brought, such as a merge that GitHub
// made for it, closes the statuses of the pushes that it carries.
func TestCarriedByACommitThatNoPushBrought(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.push(second)
	w.await(second, "production", "success", "2 URLs wait")
	third := w.commit("third", map[string]string{"content/about/us.md": "3"})
	w.deploy("production", third, "success")
	w.await(third, "production", "success", "4 URLs purged")
	w.await(second, "production", "success", "purged with "+third[:7])
}
