package pipeline_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
)

// These tests show what docs/security.md promises and no other test shows.

func TestSecurityDeploymentByWhomPolicyDoesNotCount(t *testing.T) {
	w, first := newWorld(t, func(cfg *stage.Config) { cfg.Policy[0].Deploys.Creators = []string{"github-actions[bot]"} })
	w.deployAs("github-actions[bot]", "production", first)
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	w.Push(second)
	w.deployAs("mallory", "production", second)
	w.handled()
	w.Settled()
	w.WantSent()
	w.deployAs("GitHub-Actions[bot]", "production", second)
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
}

// The rules' creators bind the environments that a good file on the default branch names.
// The policy's creators bind every way in.
func TestSecurityPolicysCreatorsBindEveryRoad(t *testing.T) {
	w, first := ruled(t, fmt.Sprintf(pageRules, ""), func(cfg *stage.Config) { cfg.Policy[0].Deploys.Creators = []string{"github-actions[bot]"} })
	page := map[string]string{"content/a/b.md": "2"}
	w.deployAs("mallory", "production", w.on("own-page", first, page))
	w.deployAs("mallory", "other", w.on("own-environment", first, map[string]string{
		"content/a/b.md": "2", "purge-rules.yaml": strings.Replace(fmt.Sprintf(pageRules, ""), "production", "other", 1),
	}))
	w.Push(w.Commit("broken", map[string]string{"purge-rules.yaml": "version: 1\n"}))
	w.deployAs("mallory", "production", w.on("beside-broken-rules", first, page))
	w.handled()
	w.Settled()
	w.WantSent()
}

const greedyRules = `version: 1
action: delete
environments:
  production: {hosts: [www.acme.com]}
rules:
  - {match: content/**, urls: ["https://{host}/"], tags: [acme-all], cpcodes: [12345]}
`

// A deployment uses the rules of the deployed commit, on any branch. The roles for
// comments don't bound it, `deploys` does.
func TestSecurityOwnRulesOfADeployedCommit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		allow bool
		sent  []string
	}{
		"policy's default": {true, []string{
			"production delete url https://www.acme.com/", "production delete tag acme-all", "production delete cpcode 12345",
		}},
		"deletes and CP codes are for people alone": {false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, func(cfg *stage.Config) {
				cfg.Policy[0].Deploys.Delete, cfg.Policy[0].Deploys.CPCode = test.allow, test.allow
			})
			w.Deploy("production", first, "success")
			w.Begin()
			w.deployAs("mallory", "production", w.on("topic", first, map[string]string{"purge-rules.yaml": greedyRules, "content/index/home.md": "x"}))
			w.handled()
			w.Settled()
			w.WantSent(test.sent...)
		})
	}
}

// Anybody with write access may edit another person's comment, and an App may write in a
// person's name. Neither counts as that person's word.
func TestSecurityCommentInAnothersName(t *testing.T) {
	w := newTriggered(t, servertest.Rules, nil)
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	id := w.Say(number, "adam", "hello")
	said := w.sentBy("adam", "issue_comment")
	for name, change := range map[string]func(comment map[string]any){
		"of another's comment":        func(c map[string]any) { c["user"] = map[string]any{"id": 4711, "login": "rita", "type": "User"} },
		"of an App in adam's name":    func(c map[string]any) { c["performed_via_github_app"] = map[string]any{"id": 1, "slug": "helper"} },
		"of an account of that login": func(c map[string]any) { c["user"] = map[string]any{"id": 4712, "login": "adam", "type": "User"} },
	} {
		t.Run(name, func(t *testing.T) {
			w.In(t)
			comment := maps.Clone(said["comment"].(map[string]any))
			comment["id"], comment["body"] = id+int64(len(name))*1000, "/purge https://www.acme.com/x/"
			change(comment)
			w.send("issue_comment", "created", "adam", map[string]any{"issue": said["issue"], "comment": comment})
			w.wantOutcome("issue_comment", "not by a person")
			w.Settled()
			w.WantSent()
		})
	}
	if n := len(w.Replies(number)); n != 0 {
		t.Errorf("replies: %+v", w.Replies(number))
	}
}

// sentBy is the body of the last delivery of an event that somebody set off.
func (w *world) sentBy(login, event string) (body map[string]any) {
	w.T.Helper()
	for _, d := range w.GitHub.Deliveries() {
		var b map[string]any
		if err := json.Unmarshal(d.Body, &b); err != nil {
			w.T.Fatal(err)
		}
		if sender, ok := b["sender"].(map[string]any); ok && d.Event == event && sender["login"] == login {
			body = b
		}
	}
	if body == nil {
		w.T.Fatalf("no %s by %s", event, login)
	}
	return body
}

// GitHub signs the body of a delivery, not its id. A body that comes again under another
// id is authentic, and changes nothing.
func TestSecurityReplayedCommandsDoNothing(t *testing.T) {
	w, sha, run := newHeld(t)
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "walt", "/purge https://www.acme.com/x/"), "eyes", "rocket")
	comment := w.sentBy("walt", "issue_comment")
	w.Press(run, "release", "mona")
	press := w.sentBy("mona", "check_run")
	w.Await(sha, "production", "success", "2 URLs, 1 tag purged in ")
	if n := len(w.Sent()); n != 4 {
		t.Fatalf("%d objects sent", n)
	}
	w.send("issue_comment", "created", "walt", map[string]any{"issue": comment["issue"], "comment": comment["comment"]})
	w.send("check_run", "requested_action", "mona", map[string]any{
		"check_run": press["check_run"], "requested_action": press["requested_action"],
	})
	w.Run(sha, "Purge production", "success", "`mona` pressed *release*. Nothing was done: no purge here needs approval.")
	w.handled()
	w.Settled()
	w.WantSent()
	if n := len(w.Replies(number)); n != 1 {
		t.Errorf("%d replies", n)
	}
}

// Anybody who can push can set a commit status. A status with a context of purgebot's own
// is no trigger.
func TestSecurityForgedStatusTriggersNothing(t *testing.T) {
	w := newTriggered(t, strings.Replace(triggerRules, "netlify/acme", "purge/netlify", 1), nil)
	w.status(w.page("first"), "purge/netlify", "success", "mallory")
	w.wantOutcome("status", "a status of purgebot's own")
	w.Settled()
	w.WantSent()
}

// A repository that policy does not list purges nothing, whichever way the request comes
// in.
func TestSecurityUnlistedRepository(t *testing.T) {
	w, first := newWorld(t, func(cfg *stage.Config) {
		cfg.Policy[0].Repositories = []string{"acme/other", "acme/site2", "evil-acme/*"}
	})
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	second := w.Commit("second", map[string]string{"content/index/home.md": "new", "layouts/base.html": "new"})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "0 purged, 3 refused")
	run := w.Run(second, "Purge production", "failure")
	w.Press(run, "retry", "adam")
	number := w.Pull("topic", map[string]string{"content/about/us.md": "x"}, nil)
	w.Reacted(w.Say(number, "adam", "/purge"), "confused")
	w.Settled()
	w.WantSent()
}

// Anybody who can push can give an environment any name. GitHub shows the name as it is,
// and nothing in it moves, turns or hides text.
func TestSecurityNamesDoNothing(t *testing.T) {
	const rules = `version: 1
environments:
  production: {hosts: [www.acme.com]}
  "preview-*": {hosts: [www.acme.com]}
rules:
  - {match: content/**/*.md, tags: ["acme-{env}"], urls: ["https://{host}/{1}/{2}/"]}
`
	w, _ := ruled(t, rules, nil)
	for name, shown := range map[string]string{
		"preview-\x1b[31m\nX: y": `preview-\u001b[31m X: y`,
		"preview-\u202egnp.exe":  `preview-\u202egnp.exe`,
		"preview-a\u200bb":       `preview-a\u200bb`,
	} {
		sha := w.Commit("page", map[string]string{"content/a/b.md": name})
		w.PushTo("main", sha)
		w.deployAs("mallory", name, sha)
		w.Await(sha, shown, "failure", "1 purged, 1 refused")
		w.Settled()
	}
	for _, s := range w.GitHub.Statuses(w.FullName(), "") {
		if text := s.Context + s.Description; strings.ContainsAny(text, "\x1b\n\u202e\u200b") {
			t.Errorf("a status says %q", text)
		}
	}
	for _, run := range w.GitHub.CheckRuns(w.FullName(), "") {
		if strings.ContainsAny(run.Name+run.Title, "\x1b\n\u202e") {
			t.Errorf("a check run says %q, %q", run.Name, run.Title)
		}
	}
}
