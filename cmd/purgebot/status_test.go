package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
)

// history gives what a commit's status said in an environment, in order.
func (w *world) history(sha, environment string) (all []string) {
	for _, s := range w.github.Statuses(w.fullName(), sha) {
		if s.Context == "purge/"+environment {
			all = append(all, s.State+": "+s.Description)
		}
	}
	return all
}

// wantHistory holds the history against what each entry begins with; an
// entry that begins with "?" may be missing.
func (w *world) wantHistory(sha, environment string, want ...string) {
	w.t.Helper()
	got := w.history(sha, environment)
	rest := got
	for _, words := range want {
		words, optional := strings.CutPrefix(words, "?")
		switch {
		case len(rest) > 0 && strings.HasPrefix(rest[0], words):
			rest = rest[1:]
		case !optional:
			w.t.Errorf("%s of %.7s: want %q next, got %q", environment, sha, words, got)
			return
		}
	}
	if len(rest) > 0 {
		w.t.Errorf("%s of %.7s: written beyond what was wanted: %q", environment, sha, rest)
	}
}

// again sends every event once more, as GitHub's own redelivery, and every
// deployment status under another id too.
func (w *world) again() {
	w.t.Helper()
	for _, d := range w.github.Deliveries() {
		if d.Event != "push" && d.Event != "deployment_status" {
			continue
		}
		if _, err := w.github.Redeliver(w.t.Context(), d.GUID); err != nil {
			w.t.Fatal(err)
		}
		if d.Event == "push" {
			continue
		}
		fields := map[string]any{}
		if err := unmarshalEvent(d.Body, fields); err != nil {
			w.t.Fatal(err)
		}
		w.send(d.Event, d.Action, "walt", fields)
	}
	w.settled()
}

// Each commit's status is written once for each thing that there is to say,
// whatever comes twice, and ends.
func TestStatusesAreFewAndEnd(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	page := func(name string) string {
		sha := w.commit(name, map[string]string{"content/new/" + name + ".md": name})
		w.push(sha)
		return sha
	}
	carried, failed, live := page("a"), page("b"), page("c")
	for sha, words := range map[string]string{carried: "2 URLs wait", failed: "4 URLs wait", live: "6 URLs wait"} {
		w.await(sha, "production", "success", words)
	}
	w.again()
	bad := w.deploy("production", failed, "failure")
	w.await(failed, "production", "success", "deploy failed, 4 URLs wait")
	w.again()
	w.deploy("production", live, "success")
	w.await(live, "production", "success", "6 URLs purged in ")
	w.again()
	w.await(failed, "production", "success", "purged with "+live[:7])
	w.await(carried, "production", "success", "purged with "+live[:7])
	w.settled()

	w.wantHistory(carried, "production", "success: 2 URLs wait for production", "success: purged with "+live[:7])
	w.wantHistory(failed, "production", "success: 4 URLs wait for production", "success: deploy failed", "success: purged with "+live[:7])
	w.wantHistory(live, "production", "success: 6 URLs wait for production", "?pending: 0 of 6 purged", "?pending: 6 of 6 purged", "success: 6 URLs purged")
	for _, sha := range []string{carried, failed, live} {
		w.wantHistory(sha, "staging", "success: ") // it was never deployed there
	}
	w.state(bad, "inactive")
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

// The first word is what the rules say; by default nothing is pending before
// a deployment, since that would stop it.
func TestStatusFirstWord(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.push(w.commit("rules", map[string]string{"purge-rules.yaml": `version: 1
environments:
  production: {hosts: [www.acme.com]}
  loud: {hosts: [loud.acme.com], announce: pending}
  quiet: {hosts: [quiet.acme.com], announce: none}
rules:
  - match: content/**.md
    urls: ["https://{host}/{1}/"]
`}))
	w.begin()
	one := w.commit("one", map[string]string{"content/one.md": "x"})
	w.push(one)
	two := w.commit("two", map[string]string{"content/two.md": "x"})
	w.push(two)
	none := w.commit("none", map[string]string{"notes.txt": "x"})
	w.push(none)
	w.await(one, "loud", "pending", "1 URL waits for loud to deploy")
	w.await(none, "loud", "success", "")
	w.await(one, "production", "success", "1 URL waits for production to deploy")
	w.settled()
	w.wantHistory(one, "quiet")
	for _, environment := range []string{"production", "loud", "quiet"} {
		id := w.deployed(standin.GitHubDeployment{SHA: two, Environment: environment, RequiredContexts: []string{}})
		w.says(id, standin.GitHubDeploymentStatus{State: "success"})
		w.await(two, environment, "success", "")
	}
	w.await(two, "quiet", "success", "1 URL purged in ")
	w.settled()
	w.wantHistory(one, "loud", "pending: 1 URL waits", "success: purged with "+two[:7])
	w.wantHistory(one, "production", "success: 1 URL waits", "success: purged with "+two[:7])
	for _, s := range w.github.Statuses(w.fullName(), "") {
		if s.State != "pending" {
			continue
		}
		if last := w.history(s.SHA, strings.TrimPrefix(s.Context, "purge/")); strings.HasPrefix(last[len(last)-1], "pending") {
			t.Errorf("it stays pending: %q", last)
		}
	}
}

func unmarshalEvent(body []byte, fields map[string]any) error {
	if err := json.Unmarshal(body, &fields); err != nil {
		return err
	}
	for _, key := range []string{"sender", "repository", "installation", "action"} {
		delete(fields, key)
	}
	return nil
}
