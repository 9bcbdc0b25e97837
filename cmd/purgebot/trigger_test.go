package main

import (
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
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
func newTriggered(t *testing.T, rules string, change func(*stageConfig)) *triggered {
	t.Helper()
	w, _ := newWorld(t, change)
	w.push(w.commit("rules", map[string]string{"purge-rules.yaml": rules}))
	w.begin()
	return &triggered{world: w, counted: map[string]bool{}}
}

// triggered is a world whose deliveries are counted.
type triggered struct {
	*world
	counted map[string]bool
}

// page pushes a changed page to main.
func (w *world) page(name string) string {
	w.t.Helper()
	sha := w.commit(name, map[string]string{"content/" + name + ".md": name + time.Now().String()})
	w.push(sha)
	return sha
}

// branch pushes a changed page to another branch.
func (w *world) branch(name string) string {
	w.t.Helper()
	w.mustGit("checkout", "--quiet", "-b", name)
	sha := w.commit(name, map[string]string{"content/" + name + ".md": name})
	w.mustGit("checkout", "--quiet", "main")
	if _, err := w.github.Push(w.t.Context(), w.fullName(), name, sha, standin.GitHubPushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	return sha
}

func (w *world) status(sha, name, state, by string) {
	w.t.Helper()
	s := standin.GitHubStatus{SHA: sha, Context: name, State: state, Creator: by}
	if _, err := w.github.Status(w.fullName(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) check(sha, name, conclusion string) {
	w.t.Helper()
	if _, err := w.github.Check(w.t.Context(), w.fullName(), sha, "netlify", name, conclusion); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ran(run standin.GitHubWorkflowRun) {
	w.t.Helper()
	if _, err := w.github.CompleteWorkflow(w.t.Context(), w.fullName(), run); err != nil {
		w.t.Fatal(err)
	}
}

// send sends an event as its sender wrote it.
func (w *world) send(event, action, sender string, fields map[string]any) {
	w.t.Helper()
	if _, err := w.github.Send(w.t.Context(), w.fullName(), event, action, sender, fields); err != nil {
		w.t.Fatal(err)
	}
}

// wantOutcome waits until one more delivery of an event came to what is wanted.
func (w *triggered) wantOutcome(event, want string) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(waitTime); ; {
		found, others := w.counts(event, want)
		if found {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("no %s came to %q, but %q", event, want, others)
		}
	}
}

func (w *triggered) counts(event, want string) (found bool, others []string) {
	w.t.Helper()
	for _, d := range w.github.Deliveries() {
		if d.Event != event || w.counted[d.GUID] {
			continue
		}
		stored, err := w.server.store.Delivery(w.t.Context(), d.GUID)
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(stored.Outcome, want) {
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
	w.await(first, "netlify", "success", "1 URL waits for netlify to deploy")
	w.status(first, "netlify/acme", "pending", "netlify[bot]")
	w.wantOutcome("status", "decides nothing")
	w.status(first, "netlify/acme/deploy-preview", "success", "netlify[bot]")
	w.wantOutcome("status", "triggers nothing")
	w.status(w.branch("feature"), "netlify/acme", "success", "netlify[bot]")
	w.wantOutcome("status", "is not on main")
	w.status(first, "netlify/acme", "failure", "netlify[bot]")
	w.await(first, "netlify", "success", "deploy failed, 1 URL waits for the next one")
	w.wantSent()

	w.status(first, "Netlify/Acme", "success", "netlify[bot]")
	w.await(first, "netlify", "success", "1 URL purged in ")
	w.wantSent("production invalidate url https://netlify.acme.com/first/")

	t.Run("a commit that the branch has passed", func(t *testing.T) {
		w.in(t)
		second, third := w.page("second"), w.page("third")
		w.status(second, "netlify/acme", "success", "netlify[bot]") // GitHub names no branch: main is ahead
		w.await(second, "netlify", "success", "1 URL purged in ")
		w.status(third, "netlify/acme", "success", "netlify[bot]")
		w.await(third, "netlify", "success", "1 URL purged in ")
		w.wantSent("production invalidate url https://netlify.acme.com/second/", "production invalidate url https://netlify.acme.com/third/")
	})
	t.Run("late", func(t *testing.T) {
		w.in(t)
		third, fourth, fifth := w.git("rev-parse", "main"), w.page("fourth"), w.page("fifth")
		w.status(fifth, "netlify/acme", "success", "netlify[bot]")
		w.await(fifth, "netlify", "success", "2 URLs purged in ")
		// The statuses of a minute ago come now.
		ago := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
		for _, sha := range []string{third, fourth} {
			w.send("status", "", "netlify[bot]", netlifyStatus(sha, ago))
			w.wantOutcome("status", "overtaken")
		}
		w.await(fourth, "netlify", "success", "purged with "+fifth[:7])
		w.wantSent("production invalidate url https://netlify.acme.com/fourth/", "production invalidate url https://netlify.acme.com/fifth/")
	})
	t.Run("the same fact twice", func(t *testing.T) {
		w.in(t)
		sixth := w.page("sixth")
		fact := netlifyStatus(sixth, time.Now().UTC().Format(time.RFC3339))
		w.send("status", "", "netlify[bot]", fact)
		w.await(sixth, "netlify", "success", "1 URL purged in ")
		w.send("status", "", "netlify[bot]", fact)
		w.wantOutcome("status", "known already")
		w.wantSent("production invalidate url https://netlify.acme.com/sixth/")
	})
	t.Run("by somebody whom the rules don't count", func(t *testing.T) {
		w.in(t)
		sha := w.page("strict")
		w.status(sha, "ci/strict", "success", "mallory")
		w.wantOutcome("status", "the rules do not count deployments by mallory")
		w.status(sha, "ci/strict", "success", "netlify[bot]")
		w.await(sha, "strict", "success", "1 URL purged in ")
		w.wantSent("production invalidate url https://strict.acme.com/strict/")
	})
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
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
	w.await(first, "checked", "success", "deploy failed, 1 URL waits for the next one")
	for name, want := range map[string]string{"deploy": "triggers nothing", "Deploy ": "triggers nothing"} {
		w.check(first, name, "success")
		w.wantOutcome("check_run", want)
	}
	w.check(first, "Deploy", "neutral")
	w.wantOutcome("check_run", "neutral decides nothing")
	w.check(w.branch("feature"), "Deploy", "success")
	w.wantOutcome("check_run", "is not on main")
	w.wantSent()
	w.check(first, "Deploy", "success")
	w.await(first, "checked", "success", "1 URL purged in ")
	w.wantSent("production invalidate url https://checked.acme.com/first/")

	t.Run("a fork's main", func(t *testing.T) {
		w.in(t)
		foreign := w.branch("foreign") // a fork's commit is in the clone, and on no branch of ours
		w.send("check_run", "completed", "mallory", map[string]any{"check_run": map[string]any{
			"id": 41_000_000_001, "name": "Deploy", "head_sha": foreign, "external_id": "x", "status": "completed", "conclusion": "success",
			"completed_at": time.Now().UTC().Format(time.RFC3339), "app": map[string]any{"id": 15368, "slug": "github-actions"},
			"check_suite": map[string]any{"id": 1, "head_branch": "main", "head_sha": foreign}, "pull_requests": []any{},
		}})
		w.wantOutcome("check_run", "is not on main")
		w.wantSent()
	})
	t.Run("our own", func(t *testing.T) {
		w.in(t)
		w.send("check_run", "completed", "purgebot[bot]", map[string]any{"check_run": map[string]any{
			"id": 41_000_000_002, "name": "Deploy", "head_sha": w.page("own"), "status": "completed", "conclusion": "success",
			"completed_at": time.Now().UTC().Format(time.RFC3339), "app": map[string]any{"id": w.github.AppID()},
			"check_suite": map[string]any{"id": 1, "head_branch": "main"},
		}})
		w.wantOutcome("check_run", "our own")
		w.wantSent()
	})
}

func TestTriggerWorkflow(t *testing.T) {
	w := newTriggered(t, triggerRules, nil)
	first := w.page("first")
	run := standin.GitHubWorkflowRun{SHA: first, Branch: "main", Path: ".github/workflows/deploy.yml", Conclusion: "success"}
	for _, c := range []struct {
		name   string
		change func(*standin.GitHubWorkflowRun)
		want   string
	}{
		{"cancelled", func(r *standin.GitHubWorkflowRun) { r.Conclusion = "cancelled" }, "cancelled decides nothing"},
		{"of another file", func(r *standin.GitHubWorkflowRun) { r.Path = ".github/workflows/predeploy.yml" }, "triggers nothing"},
		{"of a pull request", func(r *standin.GitHubWorkflowRun) { r.Event = "pull_request_target" }, "a pull request's run"},
		{"on another branch", func(r *standin.GitHubWorkflowRun) { r.Branch = "feature" }, "is not on main"},
		{"of a commit that is not on the branch", func(r *standin.GitHubWorkflowRun) { r.SHA = w.branch("aside") }, "is not on main"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.in(t)
			r := run
			c.change(&r)
			w.ran(r)
			w.wantOutcome("workflow_run", c.want)
			w.wantSent()
		})
	}
	t.Run("of a fork", func(t *testing.T) {
		w.in(t)
		w.send("workflow_run", "completed", "mallory", map[string]any{"workflow_run": map[string]any{
			"id": 1, "run_attempt": 1, "path": ".github/workflows/deploy.yml", "head_branch": "main", "head_sha": first, "event": "push",
			"status": "completed", "conclusion": "success", "updated_at": time.Now().UTC().Format(time.RFC3339),
			"head_repository": map[string]any{"id": 99, "full_name": "mallory/site"},
		}})
		w.wantOutcome("workflow_run", "a fork's run")
		w.wantSent()
	})
	t.Run("success", func(t *testing.T) {
		w.in(t)
		w.ran(run)
		w.await(first, "actions", "success", "1 URL purged in ")
		w.wantSent("production invalidate url https://actions.acme.com/first/")
	})
	t.Run("run again", func(t *testing.T) {
		w.in(t)
		w.ran(run)
		w.wantOutcome("workflow_run", "desired")
		w.settled()
		w.wantSent()
	})
	t.Run("on the environment's own branch, by its whole path", func(t *testing.T) {
		w.in(t)
		sha := w.branch("release")
		w.ran(standin.GitHubWorkflowRun{SHA: sha, Branch: "release", Path: ".github/workflows/release.yml@refs/heads/release", Conclusion: "success"})
		w.await(sha, "release", "success", "1 URL purged in ")
		w.wantSent("production invalidate url https://release.acme.com/release/")
	})
}

func TestTriggerCountsAsItStandsOnTheDefaultBranch(t *testing.T) {
	w := newTriggered(t, triggerRules, nil)
	sha := w.branch("feature")
	w.mustGit("checkout", "--quiet", "feature")
	bold := w.commit("bold", map[string]string{"purge-rules.yaml": strings.ReplaceAll(triggerRules, "netlify/acme}", "ci/mine}, branch: feature")})
	w.mustGit("checkout", "--quiet", "main")
	if _, err := w.github.Push(t.Context(), w.fullName(), "feature", bold, standin.GitHubPushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.status(bold, "ci/mine", "success", "mallory")
	w.wantOutcome("status", "triggers nothing")
	w.status(sha, "netlify/acme", "success", "mallory")
	w.wantOutcome("status", "is not on main")
	w.wantSent()
}

func TestTriggerByAPolicyThatCountsOthers(t *testing.T) {
	w := newTriggered(t, triggerRules, func(c *stageConfig) { c.policy[0].Deploys.Creators = []string{"netlify[bot]"} })
	sha := w.page("first")
	w.status(sha, "netlify/acme", "success", "walt")
	w.wantOutcome("status", "policy does not count deployments by walt")
	w.wantSent()
	w.status(sha, "netlify/acme", "success", "netlify[bot]")
	w.await(sha, "netlify", "success", "1 URL purged in ")
	w.wantSent("production invalidate url https://netlify.acme.com/first/")
}

// Where an environment starts, only such an earlier deployment counts as would
// have moved it: by whom the rules on the default branch name, and by what
// they say triggers.
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
	live := w.commit("live", map[string]string{"purge-rules.yaml": rules, "content/live.md": "live"})
	w.push(live)
	w.says(w.deployed(standin.GitHubDeployment{SHA: live, Creator: "walt", RequiredContexts: []string{}}), standin.GitHubDeploymentStatus{State: "success"})
	claimed := w.commit("claimed", map[string]string{"content/claimed.md": "claimed"})
	w.push(claimed)
	for _, environment := range []string{"production", "pushed"} {
		w.says(w.deployed(standin.GitHubDeployment{SHA: claimed, Environment: environment, Creator: "mallory", RequiredContexts: []string{}}),
			standin.GitHubDeploymentStatus{State: "success"})
	}
	w.push(w.commit("between", map[string]string{"content/between.md": "between"}))
	w.begin()
	now := w.page("now")
	w.await(now, "pushed", "success", "1 URL purged in ")
	for _, c := range w.github.Calls() {
		if strings.Contains(c.Query, "environment=pushed") {
			t.Errorf("asked for deployments that trigger nothing: %s?%s", c.Path, c.Query)
		}
	}
	w.says(w.deployed(standin.GitHubDeployment{SHA: now, Creator: "walt", RequiredContexts: []string{}}), standin.GitHubDeploymentStatus{State: "success"})
	w.await(now, "production", "success", "3 URLs purged in ")
	w.wantSent("production invalidate url https://www.acme.com/claimed/", "production invalidate url https://www.acme.com/between/",
		"production invalidate url https://www.acme.com/now/", "production invalidate url https://pushed.acme.com/now/")
}
