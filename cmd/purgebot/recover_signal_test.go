package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
)

// What a status, a check or a workflow deployed is found without its webhook.
func TestRecoverSignals(t *testing.T) {
	t.Parallel()
	for environment, signal := range map[string]func(w *world, sha string){
		"netlify": func(w *world, sha string) { w.status(sha, "netlify/acme", "success", "netlify[bot]") },
		"checked": func(w *world, sha string) { w.check(sha, "Deploy", "success") },
		"actions": func(w *world, sha string) {
			w.ran(standin.GitHubWorkflowRun{SHA: sha, Branch: "main", Conclusion: "success"})
		},
	} {
		t.Run(environment, func(t *testing.T) {
			var said logged
			w := newTriggered(t, triggerRules, withLog(&said))
			first := w.page("first")
			signal(w.world, first)
			w.await(first, environment, "success", "")
			w.settled()
			w.sent()

			w.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
			second := w.page("second")
			signal(w.world, second)
			third := w.page("third") // its build is not through
			w.recompare(&said)
			w.await(second, environment, "success", "1 URL purged")
			w.wantSent("production invalidate url https://" + environment + ".acme.com/second/")
			if !strings.Contains(said.String(), "that no webhook told of") {
				t.Errorf("the log does not say what was recovered:\n%s", said.String())
			}
			w.recompare(&said)
			w.wantSent()
			signal(w.world, third)
			w.recompare(&said)
			w.await(third, environment, "success", "1 URL purged")
			w.wantSent("production invalidate url https://" + environment + ".acme.com/third/")
		})
	}
}

// The first push to an environment that a push deploys is found too, though
// the ledger has never heard of it.
func TestRecoverTheFirstPush(t *testing.T) {
	var said logged
	w, _ := newWorld(t, withLog(&said))
	w.push(w.commit("rules", map[string]string{
		"purge-rules.yaml": strings.Replace(testRules, "  staging:\n", "  staging:\n    trigger: push\n", 1),
	}))
	w.begin()
	w.eventually("the repository is known", func() bool { return strings.Contains(said.String(), "compared with GitHub") })
	w.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
	second := w.home("second")
	w.push(second)
	w.recompare(&said)
	w.await(second, "staging", "success", "1 URL purged")
	w.wantSent(urls("staging", "/index/home/")...)
}

// A rules file that is a symbolic link stays as it is while what it leads to
// changes: it is read anew for each commit.
func TestRulesBehindALink(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.mustGit("rm", "--quiet", "purge-rules.yaml")
	if err := os.Symlink("config/rules.yaml", filepath.Join(w.site.dir, "purge-rules.yaml")); err != nil {
		t.Fatal(err)
	}
	first := w.commit("link", map[string]string{"config/rules.yaml": testRules})
	w.push(first)
	w.begin()
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "")
	w.settled()
	w.sent()
	second := w.commit("second", map[string]string{
		"config/rules.yaml": strings.Replace(testRules, "{host}/{1}/{2}/", "{host}/new/{1}/{2}/", 1), "content/index/home.md": "2",
	})
	w.deploy("production", second, "success") // of a commit that no branch's rules were read for
	w.await(second, "production", "success", "2 URLs purged")
	w.wantSent(urls("production", "/new/index/home/")...)
}
