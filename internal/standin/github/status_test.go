package github_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestStatuses(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, func(c *standin.Config) { c.Limits = standin.Limits{StatusesPerContext: 3} })
	create := func(sha, state, description string) (*github.RepoStatus, error) {
		s, _, err := p.client.Repositories.CreateStatus(t.Context(), "acme", "site", sha, &github.RepoStatus{
			State: &state, Description: &description, Context: new("purge/production"), TargetURL: new("https://purgebot.example/p/1"),
		})
		return s, err
	}
	if s, err := create(h.third, "pending", strings.Repeat("ü", 140)); err != nil || s.GetCreator().GetLogin() != "purgebot[bot]" || s.GetID() == 0 {
		t.Fatalf("%v, %v", s, err)
	}
	for name, tc := range map[string]struct{ sha, state, description, words string }{
		"141 characters": {h.third, "success", strings.Repeat("ü", 141), "description is too long (maximum is 140 characters)"},
		"unknown state":  {h.third, "waiting", "", "state is not included in the list"},
		"no such commit": {strings.Repeat("c", 40), "success", "", "No commit found for SHA"},
		"a short id":     {h.third[:8], "success", "", "No commit found for SHA"},
	} {
		_, err := create(tc.sha, tc.state, tc.description)
		var refused *github.ErrorResponse
		if !errors.As(err, &refused) || refused.Response.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: %v, want 422 with %q", name, err, tc.words)
		}
	}
	if _, err := create(h.third, "success", "14 URLs purged"); err != nil {
		t.Fatal(err)
	}
	p.do("POST", repoPath("statuses/%s", h.third), `{"state":"error","context":"PURGE/Production"}`).want(http.StatusCreated, "")
	if _, err := create(h.third, "success", ""); err == nil || !strings.Contains(err.Error(), "422") {
		t.Errorf("one status too many: %v", err)
	}
	list, resp, err := p.client.Repositories.ListStatuses(t.Context(), "acme", "site", h.third, &github.ListOptions{PerPage: 2})
	if err != nil || len(list) != 2 || list[0].GetState() != "error" || resp.NextPage != 2 || resp.LastPage != 2 {
		t.Errorf("%v, %v, %v", list, resp, err)
	}
	var states []string
	for _, s := range p.Statuses(acme, h.third) {
		states = append(states, s.State)
	}
	if got := strings.Join(states, " "); got != "pending success error" {
		t.Errorf("Statuses: %s", got)
	}
}

func TestAwaitStatus(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	done := make(chan error, 1)
	go func() {
		_, err := p.AwaitStatus(t.Context(), acme, h.third, "purge/production", statusAs("success"))
		done <- err
	}()
	for _, state := range []string{"pending", "success"} {
		p.do("POST", repoPath("statuses/%s", h.third), `{"state":"`+state+`","context":"purge/production"}`).want(http.StatusCreated, "")
	}
	must(t, <-done)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.AwaitStatus(ctx, acme, h.third, "purge/production", statusAs("failure"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"success"`) {
		t.Errorf("what was waited for in vain: %v", err)
	}
}

func TestStatusStopsADeployment(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL = receiver.URL
		c.Permissions = map[string]string{"metadata": "read", "statuses": "write", "deployments": "write", "contents": "read"}
		c.Events = []string{"deployment", "deployment_status"}
	})
	set := func(state string) {
		t.Helper()
		p.do("POST", repoPath("statuses/%s", h.third), `{"state":"`+state+`","context":"purge/production"}`).want(http.StatusCreated, "")
	}
	post := func(status int, body string) answer {
		t.Helper()
		return p.do("POST", repoPath("deployments"), body).want(status, "")
	}
	post(http.StatusCreated, `{"ref":"main"}`) // a commit without statuses
	for _, state := range []string{"pending", "failure", "error"} {
		set(state)
		post(http.StatusConflict, `{"ref":"main"}`)
		if _, err := p.Deploy(t.Context(), acme, standin.Deployment{SHA: h.third}); !errors.Is(err, standin.ErrConflict) {
			t.Errorf("Deploy over a %s status: %v", state, err)
		}
		post(http.StatusCreated, `{"ref":"main","required_contexts":[]}`)
		post(http.StatusConflict, `{"ref":"main","required_contexts":["purge/production"]}`)
	}
	set("success")
	var d github.Deployment
	post(http.StatusCreated, `{"ref":"main","environment":"Preview – site","payload":{"a":1}}`).into(&d)
	if d.GetSHA() != h.third || d.GetRef() != "main" || d.GetEnvironment() != "Preview – site" || string(d.Payload) != `{"a":1}` {
		t.Errorf("%v", d)
	}
	post(http.StatusUnprocessableEntity, `{"ref":"nowhere"}`)
	post(http.StatusUnprocessableEntity, `{}`)
	path := repoPath("deployments/%d/statuses", d.GetID())
	p.do("POST", path, `{"state":"waiting"}`).want(http.StatusUnprocessableEntity, "state")
	p.do("POST", path, `{"state":"success","description":"`+strings.Repeat("x", 141)+`"}`).want(http.StatusUnprocessableEntity, "140")
	p.do("POST", path, `{"state":"success","log_url":"https://ci.example/1"}`).want(http.StatusCreated, "https://ci.example/1")
	must(t, p.Await(t.Context(), func() bool { return len(receiver.of("deployment_status")) == 1 && len(receiver.of("deployment")) == 5 }))
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL, c.Events = receiver.URL, []string{"push", "deployment", "deployment_status"}
	})
	deploy := func(d standin.Deployment) int64 {
		t.Helper()
		id, err := p.Deploy(t.Context(), acme, d)
		must(t, err)
		return id
	}
	status := func(id int64, s standin.DeploymentStatus) {
		t.Helper()
		if _, err := p.DeployStatus(t.Context(), acme, id, s); err != nil {
			t.Fatal(err)
		}
	}
	old := deploy(standin.Deployment{SHA: h.first, Environment: "staging", Creator: "github-actions[bot]", WorkflowRun: 5})
	status(old, standin.DeploymentStatus{State: "success"})
	young := deploy(standin.Deployment{Ref: "main", Environment: "staging"})
	status(young, standin.DeploymentStatus{State: "in_progress", Sender: "ada"})
	status(young, standin.DeploymentStatus{State: "success", URL: "https://staging.acme.com"})
	production := deploy(standin.Deployment{SHA: h.third})
	status(production, standin.DeploymentStatus{State: "waiting"})
	status(production, standin.DeploymentStatus{State: "success", Environment: "live"})
	for range 2 { // production stays, whatever follows
		status(deploy(standin.Deployment{SHA: h.second}), standin.DeploymentStatus{State: "success"})
	}
	status(old, standin.DeploymentStatus{State: "inactive"})

	list, _, err := p.client.Repositories.ListDeployments(t.Context(), "acme", "site", &github.DeploymentsListOptions{Environment: "staging"})
	if err != nil || len(list) != 2 || list[0].GetID() != young || list[1].GetID() != old {
		t.Errorf("newest first: %v, %v", list, err)
	}
	states, _, err := p.client.Repositories.ListDeploymentStatuses(t.Context(), "acme", "site", old, nil)
	if err != nil || len(states) != 3 || states[1].GetState() != "inactive" || states[0].GetState() != "inactive" || states[2].GetState() != "success" {
		t.Errorf("the older deployment became %v, %v", states, err)
	}
	if list, _, err = p.client.Repositories.ListDeployments(t.Context(), "acme", "site", &github.DeploymentsListOptions{Environment: "live"}); err != nil || len(list) != 1 {
		t.Errorf("a status renames the environment: %v, %v", list, err)
	}
	list, _, err = p.client.Repositories.ListDeployments(t.Context(), "acme", "site", &github.DeploymentsListOptions{Environment: "production"})
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if states, _, err = p.client.Repositories.ListDeploymentStatuses(t.Context(), "acme", "site", list[1].GetID(), nil); err != nil || len(states) != 1 {
		t.Errorf("an older production deployment became %v, %v", states, err)
	}
	events := receiver.of("deployment_status")
	if len(events) != 7 || len(receiver.of("deployment")) != 5 {
		t.Fatalf("%d deployment_status events (none of inactive), %d deployment events", len(events), len(receiver.of("deployment")))
	}
	e := events[1]
	if e.body["action"] != "created" || dig(e.body, "sender", "login") != "ada" || dig(e.body, "deployment", "sha") != h.third ||
		dig(e.body, "deployment_status", "environment") != "staging" || dig(e.body, "deployment", "original_environment") != "staging" {
		t.Errorf("%s", e.raw)
	}
	if dig(events[0].body, "workflow_run", "id") != 5.0 || dig(events[0].body, "deployment", "creator", "type") != "Bot" || events[1].body["workflow_run"] != nil {
		t.Errorf("%s", events[0].raw)
	}
	live := events[4].body
	if dig(live, "deployment_status", "environment") != "live" || dig(live, "deployment", "original_environment") != "production" ||
		dig(live, "deployment", "production_environment") != true {
		t.Errorf("%s", events[4].raw)
	}
}

// dig finds a field in a decoded payload.
func dig(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}
