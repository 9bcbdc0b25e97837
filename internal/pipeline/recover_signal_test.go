package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// A deployment by a status, a check or a workflow is found without its webhook.
func TestRecoverSignals(t *testing.T) {
	t.Parallel()
	for environment, signal := range map[string]func(w *world, sha string){
		"netlify": func(w *world, sha string) { w.status(sha, "netlify/acme", "success", "netlify[bot]") },
		"checked": func(w *world, sha string) { w.check(sha, "Deploy", "success") },
		"actions": func(w *world, sha string) {
			w.ran(github.WorkflowRun{SHA: sha, Branch: "main", Conclusion: "success"})
		},
	} {
		t.Run(environment, func(t *testing.T) {
			var said servertest.Log
			w := newTriggered(t, triggerRules, servertest.WithLog(&said))
			first := w.page("first")
			signal(w.world, first)
			w.Await(first, environment, "success", "")
			w.Settled()
			w.Sent()

			w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
			second := w.page("second")
			signal(w.world, second)
			third := w.page("third") // its build has not ended
			w.recompare(&said)
			w.Await(second, environment, "success", "1 URL purged")
			w.WantSent("production invalidate url https://" + environment + ".acme.com/second/")
			if !strings.Contains(said.String(), "that no webhook told of") {
				t.Errorf("the log does not say what was recovered:\n%s", said.String())
			}
			w.recompare(&said)
			w.WantSent()
			signal(w.world, third)
			w.recompare(&said)
			w.Await(third, environment, "success", "1 URL purged")
			w.WantSent("production invalidate url https://" + environment + ".acme.com/third/")
		})
	}
}

// The first push to an environment that a push deploys is found too, though
// the ledger has never heard of it.
func TestRecoverTheFirstPush(t *testing.T) {
	var said servertest.Log
	w, _ := newWorld(t, servertest.WithLog(&said))
	w.Push(w.Commit("rules", map[string]string{
		"purge-rules.yaml": strings.Replace(servertest.Rules, "  staging:\n", "  staging:\n    trigger: push\n", 1),
	}))
	w.Begin()
	w.Eventually("the repository is known", func() bool { return strings.Contains(said.String(), "compared with GitHub") })
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
	second := w.Home("second")
	w.Push(second)
	w.recompare(&said)
	w.Await(second, "staging", "success", "1 URL purged")
	w.WantSent(servertest.URLs("staging", "/index/home/")...)
}

// A rules file that is a symbolic link does not change when its target does. So it is
// read anew for each commit.
func TestRulesBehindALink(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Git("rm", "--quiet", "purge-rules.yaml")
	if err := os.Symlink("config/rules.yaml", filepath.Join(w.Site.Dir, "purge-rules.yaml")); err != nil {
		t.Fatal(err)
	}
	first := w.Commit("link", map[string]string{"config/rules.yaml": servertest.Rules})
	w.Push(first)
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	w.Settled()
	w.Sent()
	second := w.Commit("second", map[string]string{
		"config/rules.yaml": strings.Replace(servertest.Rules, "{host}/{1}/{2}/", "{host}/new/{1}/{2}/", 1), "content/index/home.md": "2",
	})
	w.Deploy("production", second, "success") // a commit for which no branch's rules were read
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent(servertest.URLs("production", "/new/index/home/")...)
}
