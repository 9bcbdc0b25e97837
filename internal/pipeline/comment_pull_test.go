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

// Before the reaction GitHub is asked only whether the person may use commands, so it
// comes soon, however slow GitHub is.
func TestCommentReactionWaitsForThePermissionAlone(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "walt", "/purge help"), "eyes", "rocket") // now the App has its token
	w.Settled()
	answers := make(chan struct{})
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		if !strings.HasSuffix(r.URL.Path, "/reactions") && !strings.HasSuffix(r.URL.Path, "/permission") {
			select {
			case <-answers:
			case <-r.Context().Done():
			}
		}
		return github.Fault{}
	})
	w.GitHub.ResetCalls()
	comment := w.Say(number, "walt", "/purge https://www.acme.com/x/")
	w.Reacted(comment, "eyes")
	for _, c := range w.GitHub.Calls() {
		if !strings.HasSuffix(c.Path, "/reactions") && !strings.HasSuffix(c.Path, "/permission") {
			t.Errorf("it came after an answer to %+v", c)
		}
	}
	close(answers)
	w.Reacted(comment, "eyes", "rocket")
	w.WantSent("production invalidate url https://www.acme.com/x/")
}

// A command works on any pull request, in any state.
func TestCommentOnPullRequestsInEveryState(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	for _, test := range []struct {
		name string
		pull github.PullRequest
		then func(number int) error
	}{
		{name: "draft", pull: github.PullRequest{Draft: true}},
		{name: "fork", pull: github.PullRequest{HeadRepository: "stranger/site", Login: "stranger"}},
		{name: "fork-that-is-gone", pull: github.PullRequest{HeadRepository: "stranger/site", HeadGone: true, Login: "stranger"}},
		{name: "closed", then: func(n int) error { return w.GitHub.ClosePullRequest(t.Context(), w.FullName(), n, "walt") }},
		{name: "merged", then: func(n int) error { return w.GitHub.MergePullRequest(t.Context(), w.FullName(), n, "walt") }},
		{name: "by-a-bot", pull: github.PullRequest{Login: "dependabot[bot]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.In(t)
			number := w.Pull(test.name, map[string]string{"content/" + test.name + "/page.md": "x"}, func(p *github.PullRequest) {
				test.pull.Title, test.pull.Head = p.Title, p.Head
				*p = test.pull
			})
			w.Run(w.Git("rev-parse", test.name), "Purge preview", "neutral", "Would purge 2 URLs in production")
			if test.then != nil {
				if err := test.then(number); err != nil {
					t.Fatal(err)
				}
			}
			w.Reacted(w.Say(number, "walt", "/purge"), "eyes", "rocket")
			w.Replied(number, "**2 URLs purged in")
			w.WantSent("production invalidate url https://www.acme.com/"+test.name+"/page/", "production invalidate url https://m.acme.com/"+test.name+"/page/")
		})
	}
}

// GitHub lets the App write nothing in a locked conversation. The command is carried out
// all the same, and no write is tried for ever.
func TestCommentInALockedConversation(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.handled()
	if err := w.GitHub.LockConversation(w.FullName(), number); err != nil {
		t.Fatal(err)
	}
	w.Say(number, "walt", "/purge https://www.acme.com/x/")
	w.Settled()
	w.WantSent("production invalidate url https://www.acme.com/x/")
	refused := 0
	for _, c := range w.GitHub.Calls() {
		if c.Status == http.StatusForbidden {
			refused++
		}
	}
	if refused < 3 || refused > 6 { // two reactions, and the reply at each change of its words
		t.Errorf("GitHub refused %d times", refused)
	}
}

// Roles change. GitHub is asked for a person's role at the moment of each command and
// each press of a button.
func TestCommentPermissionIsOfTheMoment(t *testing.T) {
	w, _ := newWorld(t, func(cfg *stage.Config) { cfg.Policy[0].HoldOver.Delete = 1 })
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	const bad, a, b = "https://www.acme.com/bad/", "https://www.acme.com/a/", "https://www.acme.com/b/"
	role := func(login, role string) {
		t.Helper()
		if err := w.GitHub.SetPermission(w.FullName(), login, role); err != nil {
			t.Fatal(err)
		}
	}
	w.Akamai.Refuse(bad, 0, "")
	w.Reacted(w.Say(number, "walt", "/purge "+bad), "eyes", "confused")
	w.Akamai.Allow(bad)
	role("walt", "read")
	w.Reacted(w.Say(number, "walt", "/purge retry"), "confused")
	w.Replied(number, "purging here needs the **write** role and you have **read**")
	w.WantSent()

	w.Say(number, "mona", "/purge --delete "+a+" "+b)
	w.Replied(number, "**Needs approval: 2 URLs**")
	role("mona", "triage")
	w.Reacted(w.Say(number, "mona", "/purge release"), "confused")
	w.Replied(number, "you have **triage**")
	role("mona", "release manager:write") // a custom role counts as the role that it is based on
	w.Reacted(w.Say(number, "mona", "/purge release"), "eyes", "confused")
	w.Replied(number, "deleting here needs the **maintain** role and you have **write**")
	w.WantSent()
	role("mona", "maintain")
	w.Reacted(w.Say(number, "mona", "/purge release"), "eyes", "rocket")
	w.WantSent("production delete url "+a, "production delete url "+b)
}

// A command uses the head of the branch at its first handling, even if more is pushed
// while it waits for GitHub.
func TestCommentIsBoundToTheHeadThatItFound(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.handled()
	head := w.Git("rev-parse", "main")
	var away atomic.Bool
	away.Store(true)
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		if away.Load() && strings.Contains(r.URL.Path, "/git/trees/") {
			return github.Fault{Status: http.StatusBadGateway}
		}
		return github.Fault{}
	})
	comment := w.Say(number, "walt", "/purge content/about/**")
	w.Awaits("a call that fails", func() bool {
		for _, c := range w.GitHub.Calls() {
			if c.Status == http.StatusBadGateway {
				return true
			}
		}
		return false
	})
	w.Push(w.Commit("meanwhile", map[string]string{
		"purge-rules.yaml": strings.ReplaceAll(servertest.Rules, "www.acme.com", "new.acme.com"), "content/about/new.md": "x",
	}))
	away.Store(false)
	w.Reacted(comment, "eyes", "rocket")
	w.Replied(number, "rules of `"+head[:7]+"`")
	w.WantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/")
}
