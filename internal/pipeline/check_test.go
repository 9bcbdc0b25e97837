package pipeline_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/github"
)

func buttons(run github.CheckRun) string {
	var all []string
	for _, a := range run.Actions {
		all = append(all, a.Identifier)
	}
	return strings.Join(all, " ")
}

func TestCheckRunRetry(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	const bad = "https://m.acme.com/index/home/"
	w.Akamai.Refuse(bad, 0, "")
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "1 purged, 1 refused: Akamai doesn't let purgebot purge ")
	run := w.Run(second, "Purge production", "failure", "1 purged, 1 refused: Akamai doesn't let purgebot purge ", "### Refused", "- `"+bad+"`: `Akamai doesn't let purgebot purge ",
		"press **Retry**", "Akamai purge id")
	if run.ExternalID == "" || buttons(run) != "retry" || run.Status != "completed" {
		t.Errorf("the run: %+v", run)
	}
	w.WantSent("production invalidate url https://www.acme.com/index/home/")

	t.Run("by a person who may not", func(t *testing.T) {
		w.In(t)
		w.Press(run, "retry", "rita")
		w.Run(second, "Purge production", "failure", "`rita` pressed *retry*", "needs the **write** role and you have **read**")
		w.WantSent()
	})
	t.Run("by a bot", func(t *testing.T) {
		w.In(t)
		w.Press(run, "retry", "walt[bot]")
		w.Settled()
		w.WantSent()
	})
	t.Run("in vain", func(t *testing.T) {
		w.In(t)
		w.Press(run, "retry", "walt")
		w.Run(second, "Purge production", "failure", "`walt` retried 1 item.", "### Refused")
		w.WantSent()
	})
	t.Run("mended", func(t *testing.T) {
		w.In(t)
		w.Akamai.Allow(bad)
		w.Press(run, "retry", "custom")
		last := w.Run(second, "Purge production", "success", "2 URLs purged in ", "`custom` retried 1 item.")
		if buttons(last) != "" || last.ID != run.ID {
			t.Errorf("the run: %+v", last)
		}
		w.Await(second, "production", "success", "2 URLs purged in ")
		w.WantSent("production invalidate url " + bad)
	})
	t.Run("again, with nothing left to do", func(t *testing.T) {
		w.In(t)
		if _, err := w.GitHub.Rerequest(t.Context(), run.ID, "walt"); err != nil {
			t.Fatal(err)
		}
		w.Run(second, "Purge production", "success", "`walt` pressed *re-run*. Nothing was done: no purge here has refused items.")
		w.WantSent()
	})
	t.Run("re-run all checks", func(t *testing.T) {
		w.In(t)
		w.send("check_suite", "rerequested", "mona", map[string]any{"check_suite": map[string]any{
			"id": 1, "head_sha": second, "head_branch": "main", "app": map[string]any{"id": w.GitHub.AppID()},
		}})
		w.Run(second, "Purge production", "success", "`mona` pressed *re-run*.")
		w.WantSent()
	})
	if n := len(w.Runs("", "Purge production")); n != 1 {
		t.Errorf("%d runs", n)
	}
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

const holdRules = servertest.Rules + "limits:\n  - over: 1\n    instead: hold\n"

// newHeld opens a world in which a purge of three objects is held: two URLs and a deleted
// tag.
func newHeld(t *testing.T) (w *world, sha string, run github.CheckRun) {
	t.Helper()
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	sha = w.Commit("second", map[string]string{"purge-rules.yaml": holdRules + "action: delete\n", "content/index/home.md": "new", "layouts/base.html": "new"})
	w.Push(sha)
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "pending", "Needs approval: 2 URLs, 1 tag")
	run = w.Run(sha, "Purge production", "action_required", "Needs approval: 2 URLs, 1 tag", "limit 1", "press **Release** to send it or **Cancel** to discard it")
	if buttons(run) != "release cancel" {
		t.Errorf("buttons: %s", buttons(run))
	}
	return w, sha, run
}

func TestCheckRunRelease(t *testing.T) {
	w, sha, run := newHeld(t)
	w.Press(run, "release", "walt")
	w.Run(sha, "Purge production", "action_required", "`walt` pressed *release*", "deleting here needs the **maintain** role and you have **write**")
	if _, err := w.GitHub.Rerequest(t.Context(), run.ID, "mona"); err != nil { // "Re-run" never releases
		t.Fatal(err)
	}
	w.Run(sha, "Purge production", "action_required", "`mona` pressed *re-run*")
	w.WantSent()
	w.Press(run, "release", "mona")
	w.Run(sha, "Purge production", "success", "2 URLs, 1 tag purged in ", "`mona` released this purge.")
	w.Await(sha, "production", "success", "2 URLs, 1 tag purged in ")
	w.WantSent("production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/",
		"production delete tag acme-shell")
}

func TestCheckRunCancel(t *testing.T) {
	w, sha, run := newHeld(t)
	w.Press(run, "cancel", "rita")
	w.Run(sha, "Purge production", "action_required", "`rita` pressed *cancel*")
	w.Press(run, "cancel", "walt")
	last := w.Run(sha, "Purge production", "cancelled", "cancelled by walt, 3 not purged")
	w.Await(sha, "production", "failure", "cancelled by walt, 3 not purged")
	if buttons(last) != "" {
		t.Errorf("buttons: %s", buttons(last))
	}
	w.Settled()
	w.WantSent()
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
			"app": map[string]any{"id": w.GitHub.AppID()}, "check_suite": map[string]any{"head_branch": "main"},
		}
		change(body)
		button := "release"
		if strings.HasSuffix(name, "button") {
			button = "launch"
		}
		w.send("check_run", "requested_action", "mona", map[string]any{"check_run": body, "requested_action": map[string]any{"identifier": button}})
	}
	w.Settled()
	w.WantSent()
	w.Run(sha, "Purge production", "action_required", "Needs approval")
}

// A purge that goes well gets no check run: there is nothing to read.
func TestCheckRunOnlyWhereThereIsSomethingToRead(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged in ")
	w.Settled()
	if all := w.GitHub.CheckRuns(w.FullName(), ""); len(all) != 0 {
		t.Errorf("check runs: %+v", all)
	}
}

// A deployment that failed in part and is deployed again ends well: so does
// its check run.
func TestCheckRunOfADeploymentThatCameAgain(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	const bad = "https://m.acme.com/index/home/"
	w.Akamai.Refuse(bad, 0, "")
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	w.Deploy("production", second, "success")
	w.Run(second, "Purge production", "failure", "1 purged, 1 refused")
	w.Akamai.Allow(bad)
	again := w.deployed(github.Deployment{SHA: second, RequiredContexts: []string{}}) // without that, the failed status would stop the deployment
	w.says(again, github.DeploymentStatus{State: "success"})
	w.Run(second, "Purge production", "success", "2 URLs purged in ")
}

// A deployment that overtakes a held purge goes out alone. The held pages are as stale as
// before, so the purge stays held; its status says so and is no longer pending.
func TestHeldPurgeThatIsOvertaken(t *testing.T) {
	w, held, _ := newHeld(t)
	next := w.Commit("next", map[string]string{"content/about/us.md": "new", "purge-rules.yaml": servertest.Rules})
	w.Push(next)
	w.Deploy("production", next, "success")
	w.Await(next, "production", "success", "2 URLs purged in ")
	w.WantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/")
	last := w.Await(held, "production", "failure", "Not purged: 2 URLs, 1 tag still need approval (newer deploy "+next[:7]+`). Comment "/purge release" on a pull request`)
	if len(last.Description) > 140 {
		t.Errorf("%d characters: %s", len(last.Description), last.Description)
	}
	run := w.Run(held, "Purge production", "action_required", "still need approval (newer deploy "+next[:7], "press **Release** to send it or **Cancel** to discard it")
	w.Press(run, "release", "mona")
	w.Await(held, "production", "success", "2 URLs, 1 tag purged in ")
	w.WantSent("production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/",
		"production delete tag acme-shell")
}

// A rollback purges everything that the held purge would have purged, so the held purge
// ends.
func TestHeldPurgeThatIsCovered(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	held := w.Commit("second", map[string]string{"purge-rules.yaml": holdRules, "content/index/home.md": "new"})
	w.Push(held)
	w.Deploy("production", held, "success")
	w.Await(held, "production", "pending", "Needs approval: 2 URLs")
	run := w.Run(held, "Purge production", "action_required", "Needs approval: 2 URLs")
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "2 URLs purged in ")
	w.Await(held, "production", "success", "Purged as part of "+first[:7])
	if last := w.Run(held, "Purge production", "success", "Purged as part of "+first[:7]); buttons(last) != "" || last.ID != run.ID {
		t.Errorf("the run: %+v", last)
	}
	w.WantSent("production delete url https://www.acme.com/index/home/", "production delete url https://m.acme.com/index/home/")
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "mona", "/purge release"), "eyes", "confused")
	w.Replied(number, "no purge here needs approval")
}

// A run that GitHub made and whose id was not stored, as after a crash, is found again
// and not made twice.
func TestCheckRunWhoseAnswerIsLost(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	var lost, torn atomic.Int64
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/check-runs"):
			return github.Fault{LoseAnswer: lost.Add(1)%2 == 1}
		case r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/check-runs/"):
			return github.Fault{LoseAnswer: torn.Add(1) == 1}
		}
		return github.Fault{}
	})
	t.Run("of a purge", func(t *testing.T) {
		w.In(t)
		const bad = "https://m.acme.com/index/home/"
		w.Akamai.Refuse(bad, 0, "")
		second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
		w.Deploy("production", second, "success")
		run := w.Run(second, "Purge production", "failure", "1 purged, 1 refused")
		w.Akamai.Allow(bad)
		w.Settled()
		w.Press(run, "retry", "walt") // its id is known now
		last := w.Run(second, "Purge production", "success", "2 URLs purged in ")
		if n := len(w.Runs(second, "Purge production")); n != 1 || last.ID != run.ID || lost.Load() != 1 {
			t.Errorf("%d runs, made by %d requests", n, lost.Load())
		}
	})
	t.Run("of a preview with more annotations than one request takes", func(t *testing.T) {
		w.In(t)
		lost.Store(0)
		torn.Store(0)
		rules, faults := servertest.Rules, 120
		for i := range faults {
			rules += fmt.Sprintf("  - name: bad %d\n    match: x/*\n    tags: [\"{7}\"]\n", i)
		}
		w.Pull("topic", map[string]string{"purge-rules.yaml": rules}, nil)
		sha := w.Git("rev-parse", "topic")
		w.Run(sha, "Purge preview", "failure", fmt.Sprintf("%d errors in the rules file", faults))
		w.Settled()
		all := w.Runs(sha, "Purge preview")
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
		if _, err := w.GitHub.Rerequest(t.Context(), all[0].ID, "walt"); err != nil {
			t.Fatal(err)
		}
		w.Awaits("a run of its own for the re-run", func() bool { return len(w.Runs(sha, "Purge preview")) == 2 })
	})
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

// Buttons and comments of one person in one repository are limited together.
func TestCheckRunButtonsAreLimited(t *testing.T) {
	w, sha, run := newHeld(t)
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "rita", "/purge status"), "confused")
	w.handled()
	w.GitHub.ResetCalls()
	for range 20 {
		w.Press(run, "release", "rita")
	}
	w.handled()
	asked := 0
	for _, c := range w.GitHub.Calls() {
		if strings.HasSuffix(c.Path, "/rita/permission") {
			asked++
		}
	}
	if asked != 19 {
		t.Errorf("after a comment %d of 20 presses were read, want 19", asked)
	}
	w.Reacted(w.Say(number, "rita", "/purge status"), "confused")
	w.Press(run, "release", "mona")
	w.Await(sha, "production", "success", "2 URLs, 1 tag purged in ")
}

// A status is written only when its words change, however many events come twice and
// however many requests a purge takes.
func TestStatusIsWrittenWhenItsWordsChange(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	const bad = "https://m.acme.com/files/0007.css"
	w.Akamai.Refuse(bad, 0, "")
	files := map[string]string{"layouts/base.html": "new"}
	for i := range 1500 {
		files[fmt.Sprintf("static/files/%04d.css", i)] = "x"
	}
	second := w.Commit("second", files)
	w.Push(second)
	deployment := w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "3000 purged, 1 refused")
	w.State(deployment, "success") // once more, by another status
	w.Akamai.Allow(bad)
	w.Press(w.Run(second, "Purge production", "failure"), "retry", "walt")
	w.Await(second, "production", "success", "3000 URLs, 1 tag purged in ")
	w.Settled()
	last := map[string]github.Status{}
	writes := map[string]int{}
	for _, s := range w.GitHub.Statuses(w.FullName(), "") {
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

// The check run of an environment called "preview" has the same name as a pull request's
// preview, often on the same commit. Neither replaces the other.
func TestCheckRunOfAnEnvironmentCalledPreview(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": strings.ReplaceAll(servertest.Rules, "  staging:", "  preview:")}))
	w.Begin()
	w.People()
	const bad = "https://staging.acme.com/index/home/"
	w.Akamai.Refuse(bad, 0, "")
	w.Pull("topic", map[string]string{"content/index/home.md": "new"}, nil)
	sha := w.Git("rev-parse", "topic")
	preview := w.Run(sha, "Purge preview", "neutral", "2 URLs in production; 1 URL in preview")
	w.Deploy("preview", sha, "success")
	run := w.Run(sha, "Purge preview", "failure", "0 purged, 1 refused")
	if all := w.Runs(sha, "Purge preview"); len(all) != 2 || all[0].ID != preview.ID || all[0].Conclusion != "neutral" || buttons(run) != "retry" {
		t.Fatalf("the runs: %+v", all)
	}
	if _, err := w.GitHub.Rerequest(t.Context(), preview.ID, "walt"); err != nil {
		t.Fatal(err)
	}
	w.Awaits("the preview anew", func() bool { return len(w.Runs(sha, "Purge preview")) == 3 })
	w.Akamai.Allow(bad)
	w.Press(run, "retry", "walt")
	w.Await(sha, "preview", "success", "1 URL purged in ")
	w.Settled()
	var conclusions []string
	for _, c := range w.Runs(sha, "Purge preview") {
		conclusions = append(conclusions, c.Conclusion)
	}
	if got := strings.Join(conclusions, " "); got != "neutral success neutral" {
		t.Errorf("the runs end as %s", got)
	}
}
