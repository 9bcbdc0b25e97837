package pipeline_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// refuse makes GitHub refuse calls whose path contains what, until the permission is
// back.
func (w *world) refuse(what string, status int, message string) {
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		if !strings.Contains(r.URL.Path, what) {
			return github.Fault{}
		}
		return github.Fault{Status: status, Body: `{"message": "` + message + `"}`}
	})
}

// A call that GitHub refuses for one environment hides nothing of the others. The log has
// the refusal once, and after the permission is back nothing was lost.
func TestRecoverPastWhatMayNotBeAsked(t *testing.T) {
	t.Parallel()
	const noPermission = "Resource not accessible by integration"
	const rules = `version: 1
environments:
  checked: {hosts: [checked.acme.com], trigger: {check: Deploy}}
  feature: {hosts: [feature.acme.com], trigger: push, branch: feature}
  netlify: {hosts: [netlify.acme.com], trigger: {status: netlify/acme}}
  pushed: {hosts: [pushed.acme.com], trigger: push}
  running: {hosts: [running.acme.com], trigger: {workflow: deploy.yml}}
rules:
  - {match: content/**.md, urls: ["https://{host}/{1}/"]}
`
	for name, test := range map[string]struct {
		refused, message string
		status           int
		hidden           []string
	}{
		"deployments":         {"/deployments", noPermission, http.StatusForbidden, nil},
		"one branch's head":   {"/git/ref/heads/feature", noPermission, http.StatusForbidden, nil},
		"checks":              {"/check-runs", noPermission, http.StatusForbidden, []string{"checked"}},
		"checks, as not here": {"/check-runs", "Not Found", http.StatusNotFound, []string{"checked"}},
	} {
		t.Run(name, func(t *testing.T) {
			var said servertest.Log
			w := newTriggered(t, rules, servertest.WithLog(&said))
			deploy := func(name string) string {
				sha := w.page(name)
				w.status(sha, "netlify/acme", "success", "netlify[bot]")
				w.check(sha, "Deploy", "success")
				w.ran(github.WorkflowRun{SHA: sha, Branch: "main", Conclusion: "success"})
				return sha
			}
			first := deploy("first")
			for _, env := range []string{"checked", "netlify", "pushed", "running"} {
				w.Await(first, env, "success", "")
			}
			w.branch("feature")
			w.Settled()
			w.Sent()

			w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
			second := deploy("second")
			w.refuse(test.refused, test.status, test.message)
			w.recompare(&said)
			for _, env := range []string{"checked", "netlify", "pushed", "running"} {
				if strings.Contains(strings.Join(test.hidden, " "), env) {
					continue
				}
				w.Await(second, env, "success", "1 URL purged")
			}
			w.recompare(&said)
			if n := strings.Count(said.String(), "can't compare all with GitHub"); n != 1 {
				t.Errorf("the fault was told %d times", n)
			}
			w.GitHub.Fault(nil)
			w.recompare(&said)
			for _, env := range test.hidden {
				w.Await(second, env, "success", "1 URL purged")
			}
		})
	}
}

// An installation whose repositories can't be listed hides no other installation's, and
// its own do not count as gone for that.
func TestAnInstallationThatMayNotBeListed(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, func(cfg *stage.Config) {
		servertest.WithLog(&said)(cfg)
		cfg.Policy[0].Repositories = []string{"acme/*"}
		cfg.Repositories = append(cfg.Repositories, github.Repository{ID: 2, Owner: "acme", Name: "pages", Dir: cfg.Repositories[0].Dir, Installation: 2})
	})
	var token atomic.Value // the token of installation 1
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		own := r.Header.Get("Authorization")
		if strings.HasPrefix(r.URL.Path, "/repos/acme/site/") {
			token.Store(own)
		}
		if r.URL.Path != "/installation/repositories" || token.Load() != own {
			return github.Fault{}
		}
		return github.Fault{Status: http.StatusForbidden, Body: `{"message": "Resource not accessible by integration"}`}
	})
	w.GitHub.Route(func(d github.Delivery) github.Route {
		if strings.Contains(string(d.Body), `"acme/pages"`) {
			return github.Drop
		}
		return github.Send
	})
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	w.recompare(&said)
	w.Eventually("the other installation's repository is met", func() bool {
		_, err := w.Server.Store().Repository(t.Context(), 2)
		return err == nil
	})
	if repo, err := w.Server.Store().Repository(t.Context(), 1); err != nil || repo.Gone != "" {
		t.Errorf("its own: %+v, %v", repo, err)
	}
	if !strings.Contains(said.String(), "the lists of what the App may see") {
		t.Errorf("the log does not say so:\n%s", said.String())
	}
}
