package pipeline_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

const triggerRules = `version: 1
environments:
  production: {hosts: [www.acme.com]}
  netlify: {hosts: [netlify.acme.com], trigger: {status: netlify/acme}}
  checked: {hosts: [checked.acme.com], trigger: {check: Deploy}}
  actions: {hosts: [actions.acme.com], trigger: {workflow: deploy.yml}}
  release: {hosts: [release.acme.com], trigger: {workflow: .github/workflows/release.yml}, branch: release}
  strict: {hosts: [strict.acme.com], trigger: {status: ci/strict}, creators: ["netlify[bot]"]}
rules:
  - match: content/**.md
    urls: ["https://{host}/{1}/"]
`

// newTriggered opens a world whose environments have the rules' triggers, and
// gives a page on main.
func newTriggered(t *testing.T, rules string, change func(*stage.Config)) *triggered {
	t.Helper()
	w, _ := newWorld(t, func(c *stage.Config) {
		c.With = []string{"status", "workflow"}
		if change != nil {
			change(c)
		}
	})
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": rules}))
	w.Begin()
	return &triggered{world: w, counted: map[string]bool{}}
}

// triggered is a world whose deliveries are counted.
type triggered struct {
	*world
	counted map[string]bool
}

// page pushes a changed page to main.
func (w *world) page(name string) string {
	w.T.Helper()
	sha := w.Commit(name, map[string]string{"content/" + name + ".md": name + time.Now().String()})
	w.Push(sha)
	return sha
}

// branch pushes a changed page to another branch.
func (w *world) branch(name string) string {
	w.T.Helper()
	w.Git("checkout", "--quiet", "-b", name)
	sha := w.Commit(name, map[string]string{"content/" + name + ".md": name})
	w.Git("checkout", "--quiet", "main")
	if _, err := w.GitHub.Push(w.T.Context(), w.FullName(), name, sha, github.PushOptions{}); err != nil {
		w.T.Fatal(err)
	}
	return sha
}

func (w *world) status(sha, name, state, by string) {
	w.T.Helper()
	s := github.Status{SHA: sha, Context: name, State: state, Creator: by}
	if _, err := w.GitHub.Status(w.FullName(), s); err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) check(sha, name, conclusion string) {
	w.T.Helper()
	if _, err := w.GitHub.Check(w.T.Context(), w.FullName(), sha, "netlify", name, conclusion); err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) ran(run github.WorkflowRun) {
	w.T.Helper()
	if _, err := w.GitHub.CompleteWorkflow(w.T.Context(), w.FullName(), run); err != nil {
		w.T.Fatal(err)
	}
}

// send sends an event as its sender wrote it.
func (w *world) send(event, action, sender string, fields map[string]any) {
	w.T.Helper()
	if _, err := w.GitHub.Send(w.T.Context(), w.FullName(), event, action, sender, fields); err != nil {
		w.T.Fatal(err)
	}
}

// wantOutcome waits until one more delivery of an event came to one of what is
// wanted.
func (w *triggered) wantOutcome(event string, want ...string) {
	w.T.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(servertest.Patience); ; {
		found, others := w.counts(event, want)
		if found {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.T.Fatalf("no %s came to %q, but %q", event, want, others)
		}
	}
}

// counts looks for one more delivery of an event whose outcome is one of those wanted.
// others are the outcomes of the deliveries that did not fit.
func (w *triggered) counts(event string, want []string) (found bool, others []string) {
	w.T.Helper()
	for _, d := range w.GitHub.Deliveries() {
		if d.Event != event || w.counted[d.GUID] {
			continue
		}
		stored, err := w.Server.Store().Delivery(w.T.Context(), d.GUID)
		if err != nil {
			w.T.Fatal(err)
		}
		if slices.ContainsFunc(want, func(one string) bool { return strings.Contains(stored.Outcome, one) }) {
			w.counted[d.GUID] = true
			return true, nil
		}
		others = append(others, stored.Outcome)
	}
	return false, others
}

func TestTriggerStatus(t *testing.T) {
	w := newTriggered(t, triggerRules, nil)
	first := w.page("first")
	w.Await(first, "netlify", "success", "1 URL will be purged when netlify deploys")
	w.status(first, "netlify/acme", "pending", "netlify[bot]")
	w.wantOutcome("status", "decides nothing")
	w.status(first, "netlify/acme/deploy-preview", "success", "netlify[bot]")
	w.wantOutcome("status", "triggers nothing")
	w.status(w.branch("feature"), "netlify/acme", "success", "netlify[bot]")
	w.wantOutcome("status", "is not on main")
	w.status(first, "netlify/acme", "failure", "netlify[bot]")
	w.Await(first, "netlify", "success", "Deploy failed: 1 URL will be purged after the next successful one")
	w.WantSent()

	w.status(first, "Netlify/Acme", "success", "netlify[bot]")
	w.Await(first, "netlify", "success", "1 URL purged in ")
	w.WantSent("production invalidate url https://netlify.acme.com/first/")

	t.Run("a commit that the branch has passed", func(t *testing.T) {
		w.In(t)
		second, third := w.page("second"), w.page("third")
		w.status(second, "netlify/acme", "success", "netlify[bot]") // GitHub names no branch: main is ahead
		w.Await(second, "netlify", "success", "1 URL purged in ")
		w.status(third, "netlify/acme", "success", "netlify[bot]")
		w.Await(third, "netlify", "success", "1 URL purged in ")
		w.WantSent("production invalidate url https://netlify.acme.com/second/", "production invalidate url https://netlify.acme.com/third/")
	})
	t.Run("late", func(t *testing.T) {
		w.In(t)
		third, fourth, fifth := w.Git("rev-parse", "main"), w.page("fourth"), w.page("fifth")
		w.status(fifth, "netlify/acme", "success", "netlify[bot]")
		w.Await(fifth, "netlify", "success", "2 URLs purged in ")
		// The statuses of a minute ago come now.
		ago := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
		for _, sha := range []string{third, fourth} {
			w.send("status", "", "netlify[bot]", netlifyStatus(sha, ago))
			w.wantOutcome("status", "overtaken")
		}
		w.Await(fourth, "netlify", "success", "Purged as part of "+fifth[:7])
		w.WantSent("production invalidate url https://netlify.acme.com/fourth/", "production invalidate url https://netlify.acme.com/fifth/")
	})
	t.Run("the same fact twice", func(t *testing.T) {
		w.In(t)
		sixth := w.page("sixth")
		fact := netlifyStatus(sixth, time.Now().UTC().Format(time.RFC3339))
		w.send("status", "", "netlify[bot]", fact)
		w.Await(sixth, "netlify", "success", "1 URL purged in ")
		w.send("status", "", "netlify[bot]", fact)
		w.wantOutcome("status", "known already")
		w.WantSent("production invalidate url https://netlify.acme.com/sixth/")
	})
	t.Run("by somebody whom the rules don't count", func(t *testing.T) {
		w.In(t)
		sha := w.page("strict")
		w.status(sha, "ci/strict", "success", "mallory")
		w.wantOutcome("status", "the rules do not count deployments by mallory")
		w.status(sha, "ci/strict", "success", "netlify[bot]")
		w.Await(sha, "strict", "success", "1 URL purged in ")
		w.WantSent("production invalidate url https://strict.acme.com/strict/")
	})
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

// netlifyStatus is Netlify's status as GitHub sends it.
func netlifyStatus(sha, at string) map[string]any {
	return map[string]any{
		"id": 31_234_567_890, "sha": sha, "name": "acme/site", "context": "netlify/acme", "state": "success",
		"description": "Deploy Preview ready!", "target_url": "https://app.netlify.com/sites/acme/deploys/65f0",
		"avatar_url": "https://avatars.githubusercontent.com/in/13473?v=4", "created_at": at, "updated_at": at,
		"commit":   map[string]any{"sha": sha, "node_id": "C_x", "html_url": "https://github.com/acme/site/commit/" + sha},
		"branches": []any{},
	}
}

func TestTriggerCheck(t *testing.T) {
	w := newTriggered(t, triggerRules, nil)
	first := w.page("first")
	w.check(first, "Deploy", "failure")
	w.Await(first, "checked", "success", "Deploy failed: 1 URL will be purged after the next successful one")
	for name, want := range map[string]string{"deploy": "triggers nothing", "Deploy ": "triggers nothing"} {
		w.check(first, name, "success")
		w.wantOutcome("check_run", want)
	}
	w.check(first, "Deploy", "neutral")
	w.wantOutcome("check_run", "neutral decides nothing")
	w.check(w.branch("feature"), "Deploy", "success")
	w.wantOutcome("check_run", "is not on main")
	w.WantSent()
	w.check(first, "Deploy", "success")
	w.Await(first, "checked", "success", "1 URL purged in ")
	w.WantSent("production invalidate url https://checked.acme.com/first/")

	t.Run("a fork's main", func(t *testing.T) {
		w.In(t)
		foreign := w.branch("foreign") // a fork's commit is in the clone, but on no branch of this repository
		w.send("check_run", "completed", "mallory", map[string]any{"check_run": map[string]any{
			"id": 41_000_000_001, "name": "Deploy", "head_sha": foreign, "external_id": "x", "status": "completed", "conclusion": "success",
			"completed_at": time.Now().UTC().Format(time.RFC3339), "app": map[string]any{"id": 15368, "slug": "github-actions"},
			"check_suite": map[string]any{"id": 1, "head_branch": "main", "head_sha": foreign}, "pull_requests": []any{},
		}})
		w.wantOutcome("check_run", "is not on main")
		w.WantSent()
	})
	t.Run("our own", func(t *testing.T) {
		w.In(t)
		w.send("check_run", "completed", "purgebot[bot]", map[string]any{"check_run": map[string]any{
			"id": 41_000_000_002, "name": "Deploy", "head_sha": w.page("own"), "status": "completed", "conclusion": "success",
			"completed_at": time.Now().UTC().Format(time.RFC3339), "app": map[string]any{"id": w.GitHub.AppID()},
			"check_suite": map[string]any{"id": 1, "head_branch": "main"},
		}})
		w.wantOutcome("check_run", "our own")
		w.WantSent()
	})
}

func TestTriggerWorkflow(t *testing.T) {
	w := newTriggered(t, triggerRules, nil)
	first := w.page("first")
	run := github.WorkflowRun{SHA: first, Branch: "main", Path: ".github/workflows/deploy.yml", Conclusion: "success"}
	for _, c := range []struct {
		name   string
		change func(*github.WorkflowRun)
		want   string
	}{
		{"cancelled", func(r *github.WorkflowRun) { r.Conclusion = "cancelled" }, "cancelled decides nothing"},
		{"of another file", func(r *github.WorkflowRun) { r.Path = ".github/workflows/predeploy.yml" }, "triggers nothing"},
		{"of a pull request", func(r *github.WorkflowRun) { r.Event = "pull_request_target" }, "a pull request's run"},
		{"on another branch", func(r *github.WorkflowRun) { r.Branch = "feature" }, "is not on main"},
		{"of a commit that is not on the branch", func(r *github.WorkflowRun) { r.SHA = w.branch("aside") }, "is not on main"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.In(t)
			r := run
			c.change(&r)
			w.ran(r)
			w.wantOutcome("workflow_run", c.want)
			w.WantSent()
		})
	}
	t.Run("of a fork", func(t *testing.T) {
		w.In(t)
		w.send("workflow_run", "completed", "mallory", map[string]any{"workflow_run": map[string]any{
			"id": 1, "run_attempt": 1, "path": ".github/workflows/deploy.yml", "head_branch": "main", "head_sha": first, "event": "push",
			"status": "completed", "conclusion": "success", "updated_at": time.Now().UTC().Format(time.RFC3339),
			"head_repository": map[string]any{"id": 99, "full_name": "mallory/site"},
		}})
		w.wantOutcome("workflow_run", "a fork's run")
		w.WantSent()
	})
	t.Run("success", func(t *testing.T) {
		w.In(t)
		w.ran(run)
		w.Await(first, "actions", "success", "1 URL purged in ")
		w.WantSent("production invalidate url https://actions.acme.com/first/")
	})
	t.Run("run again", func(t *testing.T) {
		w.In(t)
		w.ran(run)
		w.wantOutcome("workflow_run", "desired")
		w.Settled()
		w.WantSent("production invalidate url https://actions.acme.com/first/")
	})
	t.Run("on the environment's own branch, by its whole path", func(t *testing.T) {
		w.In(t)
		sha := w.branch("release")
		w.ran(github.WorkflowRun{SHA: sha, Branch: "release", Path: ".github/workflows/release.yml@refs/heads/release", Conclusion: "success"})
		w.Await(sha, "release", "success", "1 URL purged in ")
		w.WantSent("production invalidate url https://release.acme.com/release/")
	})
}

func TestTriggerCountsAsItStandsOnTheDefaultBranch(t *testing.T) {
	w := newTriggered(t, triggerRules, nil)
	sha := w.branch("feature")
	w.Git("checkout", "--quiet", "feature")
	bold := w.Commit("bold", map[string]string{"purge-rules.yaml": strings.ReplaceAll(triggerRules, "netlify/acme}", "ci/mine}, branch: feature")})
	w.Git("checkout", "--quiet", "main")
	if _, err := w.GitHub.Push(t.Context(), w.FullName(), "feature", bold, github.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.status(bold, "ci/mine", "success", "mallory")
	w.wantOutcome("status", "triggers nothing")
	w.status(sha, "netlify/acme", "success", "mallory")
	w.wantOutcome("status", "is not on main")
	w.WantSent()
}

func TestTriggerByAPolicyThatCountsOthers(t *testing.T) {
	w := newTriggered(t, triggerRules, func(c *stage.Config) { c.Policy[0].Deploys.Creators = []string{"netlify[bot]"} })
	sha := w.page("first")
	w.status(sha, "netlify/acme", "success", "walt")
	w.wantOutcome("status", "policy does not count deployments by walt")
	w.WantSent()
	w.status(sha, "netlify/acme", "success", "netlify[bot]")
	w.Await(sha, "netlify", "success", "1 URL purged in ")
	w.WantSent("production invalidate url https://netlify.acme.com/first/")
}

// An environment starts only from an earlier deployment that would have moved it: by an
// account that the rules on the default branch name, and by the trigger that they name.
func TestFirstPurgeStartsFromADeploymentThatCounts(t *testing.T) {
	const rules = `version: 1
environments:
  production: {hosts: [www.acme.com], creators: [walt]}
  pushed: {hosts: [pushed.acme.com], trigger: push}
rules:
  - match: content/**.md
    urls: ["https://{host}/{1}/"]
`
	w, _ := newWorld(t, nil)
	live := w.Commit("live", map[string]string{"purge-rules.yaml": rules, "content/live.md": "live"})
	w.Push(live)
	w.says(w.deployed(github.Deployment{SHA: live, Creator: "walt", RequiredContexts: []string{}}), github.DeploymentStatus{State: "success"})
	claimed := w.Commit("claimed", map[string]string{"content/claimed.md": "claimed"})
	w.Push(claimed)
	for _, environment := range []string{"production", "pushed"} {
		w.says(w.deployed(github.Deployment{SHA: claimed, Environment: environment, Creator: "mallory", RequiredContexts: []string{}}),
			github.DeploymentStatus{State: "success"})
	}
	w.Push(w.Commit("between", map[string]string{"content/between.md": "between"}))
	w.Begin()
	now := w.page("now")
	w.Await(now, "pushed", "success", "1 URL purged in ")
	for _, c := range w.GitHub.Calls() {
		if strings.Contains(c.Query, "environment=pushed") {
			t.Errorf("asked for deployments that trigger nothing: %s?%s", c.Path, c.Query)
		}
	}
	w.says(w.deployed(github.Deployment{SHA: now, Creator: "walt", RequiredContexts: []string{}}), github.DeploymentStatus{State: "success"})
	w.Await(now, "production", "success", "3 URLs purged in ")
	w.WantSent("production invalidate url https://www.acme.com/claimed/", "production invalidate url https://www.acme.com/between/",
		"production invalidate url https://www.acme.com/now/", "production invalidate url https://pushed.acme.com/now/")
}

// Other triggers follow the same rules as deployments. A run for the live commit sends
// its targets again. A run that began before the live one and ended last is a crossing. A
// run that is run again is a rollback. All of these are found without their webhooks too.
func TestRunsAreDeployments(t *testing.T) {
	var said servertest.Log
	w := newTriggered(t, triggerRules, servertest.WithLog(&said))
	began := time.Now()
	older, newer := w.page("older"), w.page("newer")
	page := func(action, name string) string {
		return "production " + action + " url https://actions.acme.com/" + name + "/"
	}
	run := func(id int64, sha string, began time.Time) {
		w.ran(github.WorkflowRun{ID: id, SHA: sha, Branch: "main", Conclusion: "success", StartedAt: began})
	}

	run(20, newer, began.Add(-time.Minute))
	w.Await(newer, "actions", "success", "1 URL purged")
	w.Sent()
	run(30, newer, time.Now())
	w.Eventually("the second run's purge is sent", w.MoreSent)
	w.Settled()
	w.WantSent(page("invalidate", "newer"))

	w.nextSecond()
	run(10, older, began.Add(-time.Hour)) // slow, and last to end
	w.Await(older, "actions", "success", "1 URL purged")
	w.WantSent(page("invalidate", "newer"))
	run(30, newer, time.Now())
	w.Settled()
	w.Sent()

	w.nextSecond()
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
	run(10, older, time.Now())
	w.recompare(&said)
	w.Await(older, "actions", "success", "1 URL purged")
	w.WantSent(page("delete", "newer"))
}

// nextSecond waits for GitHub's next second: it tells no facts within one apart.
func (w *world) nextSecond() {
	second := time.Now().Unix()
	w.Eventually("the next second", func() bool { return time.Now().Unix() > second })
}

// While the default branch has a broken file, the last good file still decides who may
// deploy and what triggers, also after a restart, and whatever another branch says.
func TestLastGoodRulesDecideWhoMayDeploy(t *testing.T) {
	const good = `version: 1
environments:
  production: {hosts: [www.acme.com], creators: [walt]}
  netlify: {hosts: [netlify.acme.com], trigger: {status: netlify/acme}}
rules:
  - match: content/**.md
    urls: ["https://{host}/{1}/"]
`
	w := newTriggered(t, good, nil)
	counts := []string{"desired", "known already"} // the comparison with GitHub may come first
	deploy := func(sha, environment, by string) {
		w.says(w.deployed(github.Deployment{SHA: sha, Environment: environment, Creator: by, RequiredContexts: []string{}}), github.DeploymentStatus{State: "success"})
	}
	deploy(w.page("first"), "production", "walt")
	w.wantOutcome("deployment_status", counts...)
	broken := w.Commit("broken", map[string]string{"purge-rules.yaml": "version: 1\nenvironments: {\n", "content/b.md": "b"})
	w.Push(broken)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	w.Begin()
	deploy(broken, "production", "mallory")
	w.wantOutcome("deployment_status", "the rules do not count deployments by mallory")
	deploy(broken, "netlify", "walt")
	w.wantOutcome("deployment_status", "deployments do not trigger netlify")
	deploy(broken, "production", "walt")
	w.wantOutcome("deployment_status", counts...)

	w.Push(w.Commit("gone", map[string]string{"purge-rules.yaml": stage.Removed}))
	deploy(w.page("after"), "production", "mallory")
	w.wantOutcome("deployment_status", counts...) // without rules no creator is named, and nothing is purged
}
