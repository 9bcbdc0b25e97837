package server_test

import (
	"fmt"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/mapping"
)

func TestRollbackDeletes(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "new", "layouts/base.html": "new"})
	w.Push(second)
	w.Live("production", second)
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "2 URLs, 1 tag purged")
	w.WantSent(
		"production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/",
		"production invalidate tag acme-shell",
	)
}

func TestAnotherDeploymentOfTheSameCommitSendsAgain(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	build := w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	want := []string{"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/"}
	w.WantSent(want...)

	w.State(build, "success") // the same deployment says so again: nothing new
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged in … (deployed again)")
	w.WantSent(want...)
}

func TestLateAndRepeatedDeliveries(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
	w.Push(second)
	w.Await(second, "production", "success", "2 URLs will be purged")

	// The success of the second commit is recorded first and arrives last.
	late := ""
	w.GitHub.Route(func(d github.Delivery) github.Route {
		if d.Event == "deployment_status" && late == "" {
			late = d.GUID
			return github.Hold
		}
		return github.Send
	})
	w.Deploy("production", second, "success")
	w.Push(third)
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "4 URLs purged")
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
	want := w.Sent()
	if len(want) != 4 {
		t.Errorf("sent %v", want)
	}

	w.GitHub.Release(t.Context(), late)
	for _, d := range w.GitHub.Deliveries() {
		if _, err := w.GitHub.Redeliver(t.Context(), d.GUID); err != nil {
			t.Fatal(err)
		}
	}
	w.Settled()
	w.WantSent()
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
}

func TestPolicyRefusesByObject(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{
		"purge-rules.yaml":      servertest.Rules + "  - name: other\n    match: content/index/*\n    urls: [\"https://www.other.com/{1}\"]\n",
		"content/index/home.md": "new",
	})
	w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "2 purged, 1 refused: policy doesn't allow host www.other.com for acme/site")
	w.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
}

func TestBrokenRulesWait(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"purge-rules.yaml": servertest.Rules + "  - nane: x\n", "content/index/home.md": "2"})
	w.Push(second)
	w.Await(second, "production", "pending", "purge-rules.yaml:")
	id, err := w.GitHub.Deploy(t.Context(), w.FullName(), github.Deployment{SHA: second, Environment: "production", RequiredContexts: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	w.State(id, "success")
	w.Settled()
	w.Await(second, "production", "pending", "purge-rules.yaml:")
	w.WantSent()

	third := w.Commit("third", map[string]string{"purge-rules.yaml": servertest.Rules, "content/about/us.md": "3"})
	w.Push(third)
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "4 URLs purged")
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
}

func TestRulesTakenAway(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"purge-rules.yaml": stage.Removed, "content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "Nothing to purge: this commit has no purge-rules.yaml")
	third := w.Commit("third", map[string]string{"content/index/home.md": "3"})
	w.Deploy("production", third, "success")
	w.Settled()
	fourth := w.Commit("fourth", map[string]string{"purge-rules.yaml": servertest.Rules, "content/about/us.md": "4"})
	w.Deploy("production", fourth, "success")
	w.Await(fourth, "production", "success", "2 URLs purged")
	w.WantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/")
	if s := w.GitHub.Statuses(w.FullName(), third); len(s) != 0 {
		t.Errorf("a commit without rules after one without: %v", s)
	}
}

func TestStagingNetworkAndUnnamedEnvironment(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("staging", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("preview-7", second, "success")
	w.Deploy("Staging", second, "success") // names compare without case
	w.Await(second, "staging", "success", "1 URL purged")
	w.WantSent("staging invalidate url https://staging.acme.com/index/home/")
	for _, s := range w.GitHub.Statuses(w.FullName(), second) {
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
	first := w.Commit("rules", map[string]string{"purge-rules.yaml": rules})
	w.Begin()
	w.Push(first)
	w.Settled()
	w.Sent()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Push(second)
	w.Await(second, "production", "success", "1 URL purged")
	w.WantSent("production invalidate url https://www.acme.com/index/home/")
}

// The exact difference is found, whatever the history and however much GitHub shows of
// it. Git's own difference is the reference.
func TestEveryWayToADifference(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]github.Limits{
		"as GitHub is":            {},
		"trees are truncated":     {TreeEntries: 20},
		"all trees are truncated": {TreeEntries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, func(c *stage.Config) { c.Limits = limits })
			w.Deploy("production", first, "success")
			w.Begin()
			many := map[string]string{"content/about/us.md": stage.Removed}
			for i := range 320 { // more than a comparison lists
				many[fmt.Sprintf("content/d%d/p%d.md", i%7, i)] = fmt.Sprint(i)
			}
			second := w.Commit("many", many)
			w.compare(first, second)
			// An orphan: no common ancestor.
			w.Git("checkout", "--quiet", "--orphan", "island")
			orphan := w.Commit("orphan", map[string]string{"content/d0/p0.md": "other", "content/d1/p1.md": stage.Removed, "static/x.css": "x"})
			w.compare(second, orphan)
			// Back to the side of the first: a force-push.
			w.Git("checkout", "--quiet", "-B", "main", first)
			forced := w.Commit("forced", map[string]string{"content/d0": "a file now", "content/new/page.md": "n"})
			w.compare(orphan, forced)
		})
	}
}

// compare deploys one commit over another. It compares what reached Akamai with git's own
// difference and a naive reading of servertest.Rules.
func (w *world) compare(from, to string) {
	w.T.Helper()
	if _, err := w.GitHub.Push(w.T.Context(), w.FullName(), "main", to, github.PushOptions{Quiet: true}); err != nil {
		w.T.Fatal(err)
	}
	w.Deploy("production", to, "success")
	w.Settled()
	changes, err := servertest.GitDifference(w.T.Context(), w.Site.Dir, from, to)
	if err != nil {
		w.T.Fatal(err)
	}
	want := map[string]bool{}
	for _, c := range changes {
		for _, object := range naive(w.T, servertest.Rules, c, "production") {
			want["production invalidate "+object] = true
		}
	}
	var lines []string
	for line := range want {
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		w.T.Fatal("nothing to compare")
	}
	w.WantSent(lines...)
}

func naive(t *testing.T, rules string, c mapping.Change, environment string) []string {
	t.Helper()
	n, err := servertest.ReadNaive([]byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	return n.Objects(environment, c.Path)
}

// A deployment of a commit that no push brought, such as a merge that GitHub made for it,
// closes the statuses of the pushes that it carries.
func TestCarriedByACommitThatNoPushBrought(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Push(second)
	w.Await(second, "production", "success", "2 URLs will be purged")
	third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "4 URLs purged")
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
}
