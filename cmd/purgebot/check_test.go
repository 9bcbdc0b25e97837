package main

import (
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
)

// press presses a check run's button.
func (w *world) press(run standin.GitHubCheckRun, button, login string) {
	w.t.Helper()
	if _, err := w.github.Press(w.t.Context(), run.ID, button, login); err != nil {
		w.t.Fatal(err)
	}
}

func buttons(run standin.GitHubCheckRun) string {
	var all []string
	for _, a := range run.Actions {
		all = append(all, a.Identifier)
	}
	return strings.Join(all, " ")
}

func TestCheckRunRetry(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	const bad = "https://m.acme.com/index/home/"
	w.akamai.Refuse(bad, 0, "")
	second := w.commit("second", map[string]string{"content/index/home.md": "new"})
	w.push(second)
	w.deploy("production", second, "success")
	w.await(second, "production", "failure", "1 purged, 1 refused: unauthorized arl")
	run := w.run(second, "Purge production", "failure", "1 purged, 1 refused: unauthorized arl", "### Refused", "- `"+bad+"`: `unauthorized arl",
		"press **Retry**", "Akamai's purge id")
	if run.ExternalID == "" || buttons(run) != "retry" || run.Status != "completed" {
		t.Errorf("the run: %+v", run)
	}
	w.wantSent("production invalidate url https://www.acme.com/index/home/")

	t.Run("by whoever may not", func(t *testing.T) {
		w.in(t)
		w.press(run, "retry", "rita")
		w.run(second, "Purge production", "failure", "`rita` pressed *retry*", "takes the role **write**, and yours is **read**")
		w.wantSent()
	})
	t.Run("by a bot", func(t *testing.T) {
		w.in(t)
		w.press(run, "retry", "walt[bot]")
		w.settled()
		w.wantSent()
	})
	t.Run("in vain", func(t *testing.T) {
		w.in(t)
		w.press(run, "retry", "walt")
		w.run(second, "Purge production", "failure", "`walt` tries 1 object again.", "### Refused")
		w.wantSent()
	})
	t.Run("mended", func(t *testing.T) {
		w.in(t)
		w.akamai.Allow(bad)
		w.press(run, "retry", "custom")
		last := w.run(second, "Purge production", "success", "2 URLs purged in ", "`custom` tries 1 object again.")
		if buttons(last) != "" || last.ID != run.ID {
			t.Errorf("the run: %+v", last)
		}
		w.await(second, "production", "success", "2 URLs purged in ")
		w.wantSent("production invalidate url " + bad)
	})
	t.Run("again, with nothing left to do", func(t *testing.T) {
		w.in(t)
		if _, err := w.github.Rerequest(t.Context(), run.ID, "walt"); err != nil {
			t.Fatal(err)
		}
		w.run(second, "Purge production", "success", "`walt` pressed *re-run*. Nothing was done: no purge has failed objects here.")
		w.wantSent()
	})
	t.Run("re-run all checks", func(t *testing.T) {
		w.in(t)
		w.send("check_suite", "rerequested", "mona", map[string]any{"check_suite": map[string]any{
			"id": 1, "head_sha": second, "head_branch": "main", "app": map[string]any{"id": w.github.AppID()},
		}})
		w.run(second, "Purge production", "success", "`mona` pressed *re-run*.")
		w.wantSent()
	})
	if n := len(w.runs("", "Purge production")); n != 1 {
		t.Errorf("%d runs", n)
	}
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

const holdRules = testRules + "limits:\n  - over: 1\n    instead: hold\n"

// newHeld opens a world in which a purge of three objects waits: two URLs and
// a deleted tag.
func newHeld(t *testing.T) (w *world, sha string, run standin.GitHubCheckRun) {
	t.Helper()
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	sha = w.commit("second", map[string]string{"purge-rules.yaml": holdRules + "action: delete\n", "content/index/home.md": "new", "layouts/base.html": "new"})
	w.push(sha)
	w.deploy("production", sha, "success")
	w.await(sha, "production", "pending", "held: 2 URLs, 1 tag")
	run = w.run(sha, "Purge production", "action_required", "Held: 2 URLs, 1 tag", "2 URLs, the rules hold more than 1", "press **Release** or **Cancel**")
	if buttons(run) != "release cancel" {
		t.Errorf("buttons: %s", buttons(run))
	}
	return w, sha, run
}

func TestCheckRunRelease(t *testing.T) {
	w, sha, run := newHeld(t)
	w.press(run, "release", "walt")
	w.run(sha, "Purge production", "action_required", "`walt` pressed *release*", "To delete here takes the role **maintain**, and yours is **write**")
	if _, err := w.github.Rerequest(t.Context(), run.ID, "mona"); err != nil { // "Re-run" never releases
		t.Fatal(err)
	}
	w.run(sha, "Purge production", "action_required", "`mona` pressed *re-run*")
	w.wantSent()
	w.press(run, "release", "mona")
	w.run(sha, "Purge production", "success", "2 URLs, 1 tag purged in ", "`mona` released this purge.")
	w.await(sha, "production", "success", "2 URLs, 1 tag purged in ")
	w.wantSent("production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/",
		"production delete tag acme-shell")
}

func TestCheckRunCancel(t *testing.T) {
	w, sha, run := newHeld(t)
	w.press(run, "cancel", "rita")
	w.run(sha, "Purge production", "action_required", "`rita` pressed *cancel*")
	w.press(run, "cancel", "walt")
	last := w.run(sha, "Purge production", "cancelled", "cancelled by walt, 3 not purged")
	w.await(sha, "production", "failure", "cancelled by walt, 3 not purged")
	if buttons(last) != "" {
		t.Errorf("buttons: %s", buttons(last))
	}
	w.settled()
	w.wantSent()
}

// Only a press on our own run counts, and only on the purge that it shows.
func TestCheckRunOfAnother(t *testing.T) {
	w, sha, run := newHeld(t)
	for name, change := range map[string]func(map[string]any){
		"of another App":      func(c map[string]any) { c["app"] = map[string]any{"id": 15368, "slug": "github-actions"} },
		"of another purge":    func(c map[string]any) { c["external_id"] = "01ARZ3NDEKTSV4RRFFQ69G5FAV" },
		"of another name":     func(c map[string]any) { c["name"] = "Purge staging" },
		"of another commit":   func(c map[string]any) { c["head_sha"] = strings.Repeat("a", 40) },
		"with another button": func(map[string]any) {},
	} {
		body := map[string]any{
			"id": run.ID, "name": run.Name, "head_sha": sha, "external_id": run.ExternalID, "status": "completed", "conclusion": "action_required",
			"app": map[string]any{"id": w.github.AppID()}, "check_suite": map[string]any{"head_branch": "main"},
		}
		change(body)
		button := "release"
		if strings.HasSuffix(name, "button") {
			button = "launch"
		}
		w.send("check_run", "requested_action", "mona", map[string]any{"check_run": body, "requested_action": map[string]any{"identifier": button}})
	}
	w.settled()
	w.wantSent()
	w.run(sha, "Purge production", "action_required", "Held")
}

// A purge that goes well has no check run: there is nothing to read.
func TestCheckRunOnlyWhereThereIsSomethingToRead(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "new"})
	w.push(second)
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged in ")
	w.settled()
	if all := w.github.CheckRuns(w.fullName(), ""); len(all) != 0 {
		t.Errorf("check runs: %+v", all)
	}
}

// A deployment that failed in part and is deployed again ends well: so does
// its check run.
func TestCheckRunOfADeploymentThatCameAgain(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	const bad = "https://m.acme.com/index/home/"
	w.akamai.Refuse(bad, 0, "")
	second := w.commit("second", map[string]string{"content/index/home.md": "new"})
	w.deploy("production", second, "success")
	w.run(second, "Purge production", "failure", "1 purged, 1 refused")
	w.akamai.Allow(bad)
	again := w.deployed(standin.GitHubDeployment{SHA: second, RequiredContexts: []string{}}) // the failed status would stop it
	w.says(again, standin.GitHubDeploymentStatus{State: "success"})
	w.run(second, "Purge production", "success", "2 URLs purged in ")
}
