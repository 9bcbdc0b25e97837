package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
)

// The reaction is one round trip to GitHub and waits for no other: whatever
// GitHub's latency, nothing is asked before it.
func TestCommentReactionWaitsForNothing(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.reacted(w.say(number, "walt", "/purge help"), "eyes", "rocket") // the App has its token
	w.settled()
	answers := make(chan struct{})
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		if !strings.HasSuffix(r.URL.Path, "/reactions") {
			select {
			case <-answers:
			case <-r.Context().Done():
			}
		}
		return standin.GitHubFault{}
	})
	w.github.ResetCalls()
	comment := w.say(number, "walt", "/purge https://www.acme.com/x/")
	w.reacted(comment, "eyes")
	for _, c := range w.github.Calls() {
		if !strings.HasSuffix(c.Path, "/reactions") {
			t.Errorf("it came after an answer to %+v", c)
		}
	}
	close(answers)
	w.reacted(comment, "eyes", "rocket")
	w.wantSent("production invalidate url https://www.acme.com/x/")
}

// A command may be given on whatever is a pull request, in whatever state.
func TestCommentOnPullRequestsInEveryState(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	for _, test := range []struct {
		name string
		pull standin.GitHubPullRequest
		then func(number int) error
	}{
		{name: "draft", pull: standin.GitHubPullRequest{Draft: true}},
		{name: "fork", pull: standin.GitHubPullRequest{HeadRepository: "stranger/site", Login: "stranger"}},
		{name: "fork-that-is-gone", pull: standin.GitHubPullRequest{HeadRepository: "stranger/site", HeadGone: true, Login: "stranger"}},
		{name: "closed", then: func(n int) error { return w.github.ClosePullRequest(t.Context(), w.fullName(), n, "walt") }},
		{name: "merged", then: func(n int) error { return w.github.MergePullRequest(t.Context(), w.fullName(), n, "walt") }},
		{name: "by-a-bot", pull: standin.GitHubPullRequest{Login: "dependabot[bot]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.in(t)
			number := w.pull(test.name, map[string]string{"content/" + test.name + "/page.md": "x"}, func(p *standin.GitHubPullRequest) {
				test.pull.Title, test.pull.Head = p.Title, p.Head
				*p = test.pull
			})
			w.run(w.git("rev-parse", test.name), "Purge preview", "neutral", "Would purge 2 URLs in production")
			if test.then != nil {
				if err := test.then(number); err != nil {
					t.Fatal(err)
				}
			}
			w.reacted(w.say(number, "walt", "/purge"), "eyes", "rocket")
			w.replied(number, "**2 URLs purged in")
			w.wantSent("production invalidate url https://www.acme.com/"+test.name+"/page/", "production invalidate url https://m.acme.com/"+test.name+"/page/")
		})
	}
}

// GitHub lets the App say nothing in a locked conversation: what was asked for
// is done all the same, and nothing is tried for ever.
func TestCommentInALockedConversation(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.handled()
	if err := w.github.LockConversation(w.fullName(), number); err != nil {
		t.Fatal(err)
	}
	w.say(number, "walt", "/purge https://www.acme.com/x/")
	w.settled()
	w.wantSent("production invalidate url https://www.acme.com/x/")
	refused := 0
	for _, c := range w.github.Calls() {
		if c.Status == http.StatusForbidden {
			refused++
		}
	}
	if refused < 3 || refused > 6 { // two reactions, and the reply at each change of its words
		t.Errorf("GitHub refused %d times", refused)
	}
}

// Roles change: whoever gives a command, or presses a button, is asked for at
// that moment.
func TestCommentPermissionIsOfTheMoment(t *testing.T) {
	w, _ := newWorld(t, func(cfg *stageConfig) { cfg.policy[0].HoldOver.Delete = 1 })
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	const bad, a, b = "https://www.acme.com/bad/", "https://www.acme.com/a/", "https://www.acme.com/b/"
	role := func(login, role string) {
		t.Helper()
		if err := w.github.SetPermission(w.fullName(), login, role); err != nil {
			t.Fatal(err)
		}
	}
	w.akamai.Refuse(bad, 0, "")
	w.reacted(w.say(number, "walt", "/purge "+bad), "eyes", "confused")
	w.akamai.Allow(bad)
	role("walt", "read")
	w.reacted(w.say(number, "walt", "/purge retry"), "eyes", "confused")
	w.replied(number, "To purge here takes the role **write**, and yours is **read**")
	w.wantSent()

	w.say(number, "mona", "/purge --delete "+a+" "+b)
	w.replied(number, "**Held: 2 URLs**")
	role("mona", "triage")
	w.reacted(w.say(number, "mona", "/purge release"), "eyes", "confused")
	w.replied(number, "yours is **triage**")
	role("mona", "release manager:write") // a role of the customer's own counts as what it is built on
	w.reacted(w.say(number, "mona", "/purge release"), "eyes", "confused")
	w.replied(number, "To delete here takes the role **maintain**, and yours is **write**")
	w.wantSent()
	role("mona", "maintain")
	w.reacted(w.say(number, "mona", "/purge release"), "eyes", "rocket")
	w.wantSent("production delete url "+a, "production delete url "+b)
}

// A command goes by the head of the branch at its first reading, whatever is
// pushed while it waits for GitHub.
func TestCommentIsBoundToTheHeadThatItFound(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.handled()
	head := w.git("rev-parse", "main")
	var away atomic.Bool
	away.Store(true)
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		if away.Load() && strings.Contains(r.URL.Path, "/git/trees/") {
			return standin.GitHubFault{Status: http.StatusBadGateway}
		}
		return standin.GitHubFault{}
	})
	comment := w.say(number, "walt", "/purge content/about/**")
	w.awaits("a call that fails", func() bool {
		for _, c := range w.github.Calls() {
			if c.Status == http.StatusBadGateway {
				return true
			}
		}
		return false
	})
	w.push(w.commit("meanwhile", map[string]string{
		"purge-rules.yaml": strings.ReplaceAll(testRules, "www.acme.com", "new.acme.com"), "content/about/new.md": "x",
	}))
	away.Store(false)
	w.reacted(comment, "eyes", "rocket")
	w.replied(number, "rules and files of `"+head[:7]+"`")
	w.wantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/")
}
