package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
)

// An App as purgebot setup makes it without options hears no commit statuses:
// rules that wait for one say so on the commit and in the preview, with what to
// do, until the operator has added the event and an owner has accepted it.
func TestATriggerThatTheAppDoesNotHear(t *testing.T) {
	const unheard = "this App does not receive `status` events: "
	w, _ := newWorld(t, nil)
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": triggerRules}))
	w.Begin()
	first := w.page("first")
	w.Await(first, "netlify", "pending", unheard+"its operator must add Status in the App's settings…")
	w.Await(first, "actions", "pending", "this App does not receive `workflow_run` events: its operator must add Actions (read) and Workflow run in the App's settings…")
	w.Await(first, "checked", "success", "1 URL will be purged") // the App gets check runs, since it writes them
	w.Await(first, "production", "success", "1 URL will be purged")
	w.Pull("topic", map[string]string{"content/first.md": "new", "purge-rules.yaml": triggerRules + "# same\n"}, nil)
	w.Run(w.Git("rev-parse", "topic"), "Purge preview", "neutral", "**"+unheard+"its operator must add Status in the App's settings**",
		"netlify would not be purged: "+unheard)
	w.status(first, "netlify/acme", "success", "netlify[bot]")                                       // and nobody tells
	if err := w.Server.Store().Compared(t.Context(), 1, time.Now().Add(2*time.Minute)); err != nil { // nor does a push since
		t.Fatal(err)
	}

	asked := needs.Ask(needs.Chosen("status"))
	w.GitHub.Ask(asked.Permissions, asked.Events)
	if err := w.GitHub.Accept(t.Context(), 2); err == nil {
		t.Fatal("there is no second installation")
	}
	if err := w.GitHub.Accept(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.Await(first, "netlify", "success", "1 URL purged") // what deployed before is found
	w.Settled()
	second := w.page("second")
	w.Await(second, "netlify", "success", "1 URL will be purged")
	w.Await(second, "actions", "pending", "this App does not receive `workflow_run` events")
	w.Sent()
	w.status(second, "netlify/acme", "success", "netlify[bot]")
	w.Await(second, "netlify", "success", "1 URL purged")
}

// A permission that the App asks for does not count before an owner of the account
// accepts it.
func TestATriggerThatAnOwnerHasNotAccepted(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": triggerRules}))
	asked := needs.Ask(needs.Chosen("status"))
	w.GitHub.Ask(asked.Permissions, asked.Events)
	w.Begin()
	w.Await(w.page("first"), "netlify", "pending", "this App does not receive `status` events: an owner of acme must accept its new permissions")
}

// GitHub is seldom asked which events the App gets, however many pushes there are.
func TestWhatTheAppHearsIsAskedSeldom(t *testing.T) {
	var said servertest.Log
	w := newTriggered(t, triggerRules, servertest.WithLog(&said))
	asked := func(pages ...string) (n int) {
		for _, name := range pages {
			w.Await(w.page(name), "netlify", "success", "")
		}
		for _, c := range w.GitHub.Calls() {
			if strings.HasSuffix(c.Path, "/installation") || c.Path == "/app" {
				n++
			}
		}
		return n
	}
	first := asked("a") // jobs side by side may each have asked
	if later := asked("b", "c", "d"); later != first {
		t.Errorf("%d calls ask what the App may, %d of them later", later, later-first)
	}
}

// A feature that an App was made with works, and its events come: each option
// of purgebot setup is held to the stand-in's own idea of what GitHub asks.
func TestEachOptionBringsItsEvents(t *testing.T) {
	for _, need := range needs.All() {
		for _, event := range need.Events {
			t.Run(event, func(t *testing.T) {
				w, _ := newWorld(t, func(c *stage.Config) { c.With = []string{need.Option} })
				guid, err := w.GitHub.Send(t.Context(), w.FullName(), event, "x", "acme", nil)
				if err != nil || guid == "" {
					t.Errorf("%s is not sent: %v", event, err)
				}
			})
		}
	}
	t.Run("and no others", func(t *testing.T) {
		w, _ := newWorld(t, nil)
		for _, need := range needs.Optional() {
			if guid, err := w.GitHub.Send(t.Context(), w.FullName(), need.Events[0], "x", "acme", nil); err != nil || guid != "" {
				t.Errorf("%s is sent to an App that never asked for it: %v", need.Events[0], err)
			}
		}
	})
}
