package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
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

// A deployment that overtakes a held purge goes out on its own. What is held
// is as stale as before: it stays held, and its status says so and waits for
// nobody.
func TestHeldPurgeThatIsOvertaken(t *testing.T) {
	w, held, run := newHeld(t)
	next := w.commit("next", map[string]string{"content/about/us.md": "new", "purge-rules.yaml": testRules})
	w.push(next)
	w.deploy("production", next, "success")
	w.await(next, "production", "success", "2 URLs purged in ")
	w.wantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/")
	last := w.await(held, "production", "failure", "held, overtaken by "+next[:7]+": 2 URLs, 1 tag not purged. /purge release, or purgebot release "+run.ExternalID)
	if len(last.Description) > 140 {
		t.Errorf("%d characters: %s", len(last.Description), last.Description)
	}
	run = w.run(held, "Purge production", "action_required", "held, overtaken by "+next[:7], "press **Release** or **Cancel**")
	w.press(run, "release", "mona")
	w.await(held, "production", "success", "2 URLs, 1 tag purged in ")
	w.wantSent("production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/",
		"production delete tag acme-shell")
}

// A rollback purges all that the held purge would: nothing of it is left.
func TestHeldPurgeThatIsCovered(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	held := w.commit("second", map[string]string{"purge-rules.yaml": holdRules, "content/index/home.md": "new"})
	w.push(held)
	w.deploy("production", held, "success")
	w.await(held, "production", "pending", "held: 2 URLs")
	run := w.run(held, "Purge production", "action_required", "Held: 2 URLs")
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "2 URLs purged in ")
	w.await(held, "production", "success", "purged with "+first[:7])
	if last := w.run(held, "Purge production", "success", "purged with "+first[:7]); buttons(last) != "" || last.ID != run.ID {
		t.Errorf("the run: %+v", last)
	}
	w.wantSent("production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/")
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.reacted(w.say(number, "mona", "/purge release"), "eyes", "confused")
	w.replied(number, "no purge is held here")
}

// A run that GitHub made and whose id was never noted, as after a crash, is
// found again and not made twice.
func TestCheckRunWhoseAnswerIsLost(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	var lost, torn atomic.Int64
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/check-runs"):
			return standin.GitHubFault{LoseAnswer: lost.Add(1)%2 == 1}
		case r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/check-runs/"):
			return standin.GitHubFault{LoseAnswer: torn.Add(1) == 1}
		}
		return standin.GitHubFault{}
	})
	t.Run("of a purge", func(t *testing.T) {
		w.in(t)
		const bad = "https://m.acme.com/index/home/"
		w.akamai.Refuse(bad, 0, "")
		second := w.commit("second", map[string]string{"content/index/home.md": "new"})
		w.deploy("production", second, "success")
		run := w.run(second, "Purge production", "failure", "1 purged, 1 refused")
		w.akamai.Allow(bad)
		w.settled()
		w.press(run, "retry", "walt") // its id is known now
		last := w.run(second, "Purge production", "success", "2 URLs purged in ")
		if n := len(w.runs(second, "Purge production")); n != 1 || last.ID != run.ID || lost.Load() != 1 {
			t.Errorf("%d runs, made by %d requests", n, lost.Load())
		}
	})
	t.Run("of a preview with more annotations than one request takes", func(t *testing.T) {
		w.in(t)
		lost.Store(0)
		torn.Store(0)
		rules, faults := testRules, 120
		for i := range faults {
			rules += fmt.Sprintf("  - name: bad %d\n    match: x/*\n    tags: [\"{7}\"]\n", i)
		}
		w.pull("topic", map[string]string{"purge-rules.yaml": rules}, nil)
		sha := w.git("rev-parse", "topic")
		w.run(sha, "Purge preview", "failure", fmt.Sprintf("%d faults in the rules file", faults))
		w.settled()
		all := w.runs(sha, "Purge preview")
		if len(all) != 1 || lost.Load() != 1 || torn.Load() < 2 {
			t.Fatalf("%d runs, made by %d requests and changed by %d", len(all), lost.Load(), torn.Load())
		}
		lines := map[int]bool{}
		for _, a := range all[0].Annotations {
			lines[a.StartLine] = true
		}
		if len(all[0].Annotations) != faults || len(lines) != faults {
			t.Errorf("%d annotations on %d lines for %d faults", len(all[0].Annotations), len(lines), faults)
		}
		if _, err := w.github.Rerequest(t.Context(), all[0].ID, "walt"); err != nil {
			t.Fatal(err)
		}
		w.awaits("a run of its own for the re-run", func() bool { return len(w.runs(sha, "Purge preview")) == 2 })
	})
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

// Buttons and comments of one person in one repository are limited together.
func TestCheckRunButtonsAreLimited(t *testing.T) {
	w, sha, run := newHeld(t)
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.reacted(w.say(number, "rita", "/purge status"), "eyes", "confused")
	w.handled()
	w.github.ResetCalls()
	for range 20 {
		w.press(run, "release", "rita")
	}
	w.handled()
	asked := 0
	for _, c := range w.github.Calls() {
		if strings.HasSuffix(c.Path, "/rita/permission") {
			asked++
		}
	}
	if asked != 19 {
		t.Errorf("after a comment %d of 20 presses were read, want 19", asked)
	}
	w.reacted(w.say(number, "rita", "/purge status"), "confused")
	w.press(run, "release", "mona")
	w.await(sha, "production", "success", "2 URLs, 1 tag purged in ")
}

// A status is written when its words change and at no other time, whatever is
// told twice and however many requests a purge takes.
func TestStatusIsWrittenWhenItsWordsChange(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	const bad = "https://m.acme.com/files/0007.css"
	w.akamai.Refuse(bad, 0, "")
	files := map[string]string{"layouts/base.html": "new"}
	for i := range 1500 {
		files[fmt.Sprintf("static/files/%04d.css", i)] = "x"
	}
	second := w.commit("second", files)
	w.push(second)
	deployment := w.deploy("production", second, "success")
	w.await(second, "production", "failure", "3000 purged, 1 refused")
	w.state(deployment, "success") // once more, by another status
	w.akamai.Allow(bad)
	w.press(w.run(second, "Purge production", "failure"), "retry", "walt")
	w.await(second, "production", "success", "3000 URLs, 1 tag purged in ")
	w.settled()
	last := map[string]standin.GitHubStatus{}
	writes := map[string]int{}
	for _, s := range w.github.Statuses(w.fullName(), "") {
		key := s.SHA + " " + s.Context
		if before := last[key]; before.State == s.State && before.Description == s.Description {
			t.Errorf("%s was written twice: %s %q", key, s.State, s.Description)
		}
		last[key] = s
		writes[key]++
	}
	if n := writes[second+" purge/production"]; n < 4 || n > 25 {
		t.Errorf("%d writes of one status", n)
	}
}

// An environment called "preview" has a check run of the same name as a pull
// request's preview, often on the same commit: neither takes the other's place.
func TestCheckRunOfAnEnvironmentCalledPreview(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.push(w.commit("rules", map[string]string{"purge-rules.yaml": strings.ReplaceAll(testRules, "  staging:", "  preview:")}))
	w.begin()
	w.people()
	const bad = "https://staging.acme.com/index/home/"
	w.akamai.Refuse(bad, 0, "")
	w.pull("topic", map[string]string{"content/index/home.md": "new"}, nil)
	sha := w.git("rev-parse", "topic")
	preview := w.run(sha, "Purge preview", "neutral", "2 URLs in production; 1 URL in preview")
	w.deploy("preview", sha, "success")
	run := w.run(sha, "Purge preview", "failure", "0 purged, 1 refused")
	if all := w.runs(sha, "Purge preview"); len(all) != 2 || all[0].ID != preview.ID || all[0].Conclusion != "neutral" || buttons(run) != "retry" {
		t.Fatalf("the runs: %+v", all)
	}
	if _, err := w.github.Rerequest(t.Context(), preview.ID, "walt"); err != nil {
		t.Fatal(err)
	}
	w.awaits("the preview anew", func() bool { return len(w.runs(sha, "Purge preview")) == 3 })
	w.akamai.Allow(bad)
	w.press(run, "retry", "walt")
	w.await(sha, "preview", "success", "1 URL purged in ")
	w.settled()
	var conclusions []string
	for _, c := range w.runs(sha, "Purge preview") {
		conclusions = append(conclusions, c.Conclusion)
	}
	if got := strings.Join(conclusions, " "); got != "neutral success neutral" {
		t.Errorf("the runs end as %s", got)
	}
}
