package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
)

// people gives the people of these tests their roles.
func (w *world) people() {
	w.t.Helper()
	for login, role := range map[string]string{
		"rita": "read", "walt": "write", "mona": "maintain", "adam": "admin", "custom": "publisher:write",
	} {
		if err := w.github.SetPermission(w.fullName(), login, role); err != nil {
			w.t.Fatal(err)
		}
	}
}

// pull opens a pull request with a commit on a branch of its own.
func (w *world) pull(branch string, files map[string]string, change func(*standin.GitHubPullRequest)) int {
	w.t.Helper()
	w.mustGit("checkout", "--quiet", "-b", branch)
	sha := w.commit("a pull request", files)
	w.mustGit("checkout", "--quiet", "main")
	if _, err := w.github.Push(w.t.Context(), w.fullName(), branch, sha, standin.GitHubPushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	p := standin.GitHubPullRequest{Title: "Change", Login: "walt", Head: branch}
	if change != nil {
		change(&p)
	}
	number, err := w.github.OpenPullRequest(w.t.Context(), w.fullName(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return number
}

func (w *world) mustGit(args ...string) {
	w.t.Helper()
	if _, err := w.site.git(w.t.Context(), args...); err != nil {
		w.t.Fatal(err)
	}
}

// in lets a subtest use the world: its failures are the subtest's.
func (w *world) in(t *testing.T) {
	outer := w.t
	w.t = t
	t.Cleanup(func() { w.t = outer })
}

// say comments on a pull request and gives the comment's id.
func (w *world) say(number int, login, body string) int64 {
	w.t.Helper()
	id, err := w.github.Comment(w.t.Context(), w.fullName(), number, login, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// reactions gives our reactions to a comment, in order.
func (w *world) reactions(comment int64) (all []string) {
	for _, r := range w.github.Reactions(w.fullName(), comment) {
		all = append(all, r.Content)
	}
	return all
}

// reacted waits for our reactions to a comment, in whatever order.
func (w *world) reacted(comment int64, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if !w.awaits("reactions "+strings.Join(want, ", "), func() bool {
		got := w.reactions(comment)
		slices.Sort(got)
		return slices.Equal(got, want)
	}) {
		w.t.Errorf("reactions: %v", w.reactions(comment))
	}
}

// replies gives our comments on a pull request, in order.
func (w *world) replies(number int) (all []standin.GitHubComment) {
	for _, c := range w.github.Comments(w.fullName(), number) {
		if strings.HasSuffix(c.Login, "[bot]") {
			all = append(all, c)
		}
	}
	return all
}

// replied waits until our last reply holds every one of the words.
func (w *world) replied(number int, want ...string) standin.GitHubComment {
	w.t.Helper()
	var last standin.GitHubComment
	if !w.awaits("a reply with "+strings.Join(want, " … "), func() bool {
		all := w.replies(number)
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return !slices.ContainsFunc(want, func(words string) bool { return !strings.Contains(last.Body, words) })
	}) {
		w.t.Fatalf("last reply:\n%s", last.Body)
	}
	return last
}

// handled waits until every delivery was handled.
func (w *world) handled() {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(waitTime); ; {
		q, err := w.server.store.Queue(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if q.Deliveries == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("%d deliveries are left", q.Deliveries)
		}
	}
}

func (w *world) awaits(what string, done func() bool) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitTime)
	defer cancel()
	err := w.github.Await(ctx, done)
	if err != nil {
		w.t.Errorf("want %s: %v", what, err)
	}
	return err == nil
}

func TestCommentWholePullRequest(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{
		"content/index/home.md": "new", "content/about/us.md": removed, "content/about/team.md": "us", "notes.txt": "x",
	}, nil)
	comment := w.say(number, "walt", "/purge\r\nplease")
	w.reacted(comment, "eyes", "rocket")
	reply := w.replied(number, "**6 URLs purged in", "`walt`", "`production`, invalidation on Akamai's production network", "https://www.acme.com/about/us/",
		"No rule matches 1 file: `notes.txt`", "Akamai's purge id: `", " UTC", "/purges/")
	if n := len(w.replies(number)); n != 1 || reply.Edits == 0 {
		t.Errorf("%d replies, the last edited %d times", n, reply.Edits)
	}
	w.wantSent(
		"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/",
		"production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/",
		"production invalidate url https://www.acme.com/about/team/", "production invalidate url https://m.acme.com/about/team/",
	)
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

func TestCommentWhoMayWhat(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	const url = "https://www.acme.com/x/"
	for i, test := range []struct {
		login, body string
		reply       string // of who may not
		sent        []string
	}{
		{"rita", "/purge " + url, "To purge here takes the role **write**, and yours is **read**", nil},
		{"nobody", "/purge help", "takes the role **write**, and yours is **read**", nil},
		{"walt", "/purge " + url, "", []string{"production invalidate url " + url}},
		{"custom", "/purge tag:acme-a", "", []string{"production invalidate tag acme-a"}},
		{"walt", "/purge --delete " + url, "To delete here takes the role **maintain**, and yours is **write**", nil},
		{"mona", "/purge --delete " + url, "", []string{"production delete url " + url}},
		{"mona", "/purge cpcode:12345", "To purge a CP code here takes the role **admin**, and yours is **maintain**", nil},
		{"adam", "/purge cpcode:12345 --env staging", "", []string{"staging invalidate cpcode 12345"}},
		{"mona", "/purge cpcode:12345 --delete", "To delete a CP code here takes the role **admin**", nil},
	} {
		t.Run(test.login+" "+test.body, func(t *testing.T) {
			w.in(t)
			number := w.pull("topic"+string(rune('a'+i)), map[string]string{"notes.txt": test.body}, nil)
			comment := w.say(number, test.login, test.body)
			if test.reply == "" {
				w.reacted(comment, "eyes", "rocket")
			} else {
				w.reacted(comment, "eyes", "confused")
				w.replied(number, test.reply)
			}
			w.wantSent(test.sent...)
		})
	}
}

func TestCommentPoliteReplyOnce(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for range 3 {
		w.reacted(w.say(number, "rita", "/purge"), "eyes", "confused")
	}
	w.reacted(w.say(number, "walt", "/purge rety"), "eyes", "confused")
	w.replied(number, "Did you mean `/purge retry`?")
	if n := len(w.replies(number)); n != 2 {
		t.Errorf("%d replies: %+v", n, w.replies(number))
	}
	w.wantSent()
}

func TestCommentIgnored(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	issue, err := w.github.OpenIssue(w.fullName(), "walt", "a plain issue")
	if err != nil {
		t.Fatal(err)
	}
	const command = "/purge https://www.acme.com/x/"
	silent := []int64{
		w.say(issue, "adam", command),
		w.say(number, "helper[bot]", command),
		w.say(number, "adam", "> "+command),
		w.say(number, "adam", "```\n"+command+"\n```"),
		w.say(number, "adam", "please\n"+command),
	}
	edited := w.say(number, "rita", "hello")
	if err := w.github.EditComment(t.Context(), w.fullName(), edited, "adam", command); err != nil {
		t.Fatal(err)
	}
	w.reacted(w.say(number, "walt", "/purge help"), "eyes", "rocket") // what came before was handled or is in hand
	w.replied(number, "You are `walt`, with the role **write**", "`--delete`: no, that takes **maintain**",
		"CP codes: no, that takes **admin**", "`production`, `staging`")
	w.handled()
	for _, id := range append(silent, edited) {
		if r := w.reactions(id); len(r) > 0 {
			t.Errorf("comment %d: %v", id, r)
		}
	}
	if n := len(w.replies(issue)); n > 0 {
		t.Errorf("%d replies on the plain issue", n)
	}
	w.wantSent()
}

func TestCommentObjectsAndFiles(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	// The pull request's own rules would purge another host: they don't count.
	number := w.pull("topic", map[string]string{
		"content/new/page.md": "x", "purge-rules.yaml": strings.ReplaceAll(testRules, "www.acme.com", "evil.acme.com"),
	}, func(p *standin.GitHubPullRequest) { p.HeadRepository = "stranger/site" })
	for _, test := range []struct {
		name, body string
		reactions  []string
		reply      []string
		sent       []string
	}{
		{
			"a glob", "/purge content/about/** --env staging",
			[]string{"eyes", "rocket"},
			[]string{"**1 URL purged", "`staging`"},
			[]string{"staging invalidate url https://staging.acme.com/about/us/"},
		},
		{
			"a file that is only in the pull request", "/purge content/new/page.md",
			[]string{"confused", "eyes"},
			[]string{"No file on `main` (", "matches `content/new/page.md`"},
			nil,
		},
		{"a folder", "/purge content/about", []string{"confused", "eyes"}, []string{"Did you mean `/purge content/about/**`?"}, nil},
		{
			"a fork's pull request", "/purge",
			[]string{"eyes", "rocket"},
			[]string{"**2 URLs purged"},
			[]string{"production invalidate url https://m.acme.com/new/page/", "production invalidate url https://www.acme.com/new/page/"},
		},
		{
			"a dry run", "/purge layouts/** https://www.acme.com/ü --dry-run",
			[]string{"eyes", "rocket"},
			[]string{"**This would invalidate 1 URL, 1 tag**", "Nothing was sent", "`tag:acme-shell`", "`https://www.acme.com/%C3%BC`"},
			nil,
		},
		{
			"one refused host", "/purge https://www.acme.com/a https://evil.example/",
			[]string{"confused", "eyes"},
			[]string{"**1 purged, 1 refused**", "- `https://evil.example/`: `policy does not allow host evil.example for acme/site`"},
			[]string{"production invalidate url https://www.acme.com/a"},
		},
		{
			"a CP code that takes another role", "/purge https://www.acme.com/a cpcode:12345",
			[]string{"confused", "eyes"},
			[]string{"**1 purged, 1 refused**", "- `cpcode:12345`: `to purge a CP code takes the role admin, and "},
			[]string{"production invalidate url https://www.acme.com/a"},
		},
		{
			"an unknown environment", "/purge --env preview",
			[]string{"confused", "eyes"},
			[]string{"the rules name no environment `preview`", "`--env production`, `--env staging`"},
			nil,
		},
		{"no rule", "/purge purge-rules.yaml", []string{"eyes", "rocket"}, []string{"**Nothing to purge.**"}, nil},
		{"status", "/purge status", []string{"eyes", "rocket"}, []string{"- `production`: nothing is known to be live", "No purge waits."}, nil},
		{
			"smuggled", "/purge tag:@acme/security,[x](https://evil.example)<img/src=x>#1`|",
			[]string{"confused", "eyes"},
			[]string{"**0 purged, 1 refused**"},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.in(t)
			w.reacted(w.say(number, "walt", test.body), test.reactions...)
			body := w.replied(number, test.reply...).Body
			for _, alive := range []string{"@acme", "](https://evil", "<img", "#1"} {
				if strings.Contains(body, alive) {
					t.Errorf("%q is alive in:\n%s", alive, body)
				}
			}
			w.wantSent(test.sent...)
		})
	}
}

func TestCommentRateLimit(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for range 21 { // somebody who may not: the fewest writes on GitHub
		w.say(number, "rita", "/purge status")
	}
	w.handled()
	outcomes := map[string]int{}
	for _, d := range w.github.Deliveries() {
		stored, err := w.server.store.Delivery(t.Context(), d.GUID)
		if err == nil && d.Event == "issue_comment" {
			outcomes[stored.Outcome]++
		}
	}
	if outcomes["denied"] != 20 || outcomes["too many"] != 1 {
		t.Errorf("outcomes of 21 comments: %v", outcomes)
	}
	w.reacted(w.say(number, "adam", "/purge status"), "eyes", "rocket")
}

func TestCommentRulesMissingOrBroken(t *testing.T) {
	w, _ := newWorld(t, nil)
	broken := w.commit("broken", map[string]string{"purge-rules.yaml": "version: 1\nenvironments: {}\nrules: []\n"})
	w.push(broken)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.reacted(w.say(number, "walt", "/purge https://www.acme.com/"), "eyes", "confused")
	w.replied(number, "the rules file on `main` can't be used: `purge-rules.yaml:2:")
	gone := w.commit("gone", map[string]string{"purge-rules.yaml": removed})
	w.push(gone)
	w.reacted(w.say(number, "walt", "/purge https://www.acme.com/"), "eyes", "confused")
	w.replied(number, "there is no purge-rules.yaml on `main`")
	w.wantSent()
}

// TestCommentThroughTrouble loses answers of GitHub's: a limit is no denial,
// and a reply that was made is edited, not made again.
func TestCommentPullRequestThatGitHubCuts(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("static/%04d.css", i)] = "x"
	}
	number := w.pull("topic", files, nil)
	w.reacted(w.say(number, "walt", "/purge"), "eyes", "confused")
	w.replied(number, "3,000 files or more")
	w.wantSent()
}

func TestCommentUnlistedRepository(t *testing.T) {
	w, _ := newWorld(t, func(cfg *stageConfig) { cfg.policy[0].Repositories = []string{"other/*"} })
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for range 2 {
		w.reacted(w.say(number, "adam", "/purge https://www.acme.com/"), "eyes", "confused")
	}
	w.replied(number, "purgebot's policy does not name `acme/site`")
	if n := len(w.replies(number)); n != 1 {
		t.Errorf("%d replies", n)
	}
	w.wantSent()
}

// TestCommentEnvironment has the rules of an environment on a branch of its
// own, where they are others than on the default branch.
func TestCommentEnvironment(t *testing.T) {
	w, _ := newWorld(t, nil)
	rules := func(host string, names ...string) string {
		file := "version: 1\nenvironments:\n"
		for _, name := range names {
			file += "  " + name + ": {hosts: [" + host + "], branch: " + name + "}\n"
		}
		return file + "rules:\n  - {match: \"content/**/*.md\", urls: [\"https://{host}/{1}/{2}/\"]}\n"
	}
	w.mustGit("checkout", "--quiet", "-b", "live")
	live := w.commit("live", map[string]string{"purge-rules.yaml": rules("live.acme.com", "live")})
	w.mustGit("checkout", "--quiet", "main")
	one := w.commit("one", map[string]string{"purge-rules.yaml": rules("main.acme.com", "live")})
	w.push(one)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.reacted(w.say(number, "walt", "/purge content/about/us.md"), "eyes", "confused")
	w.replied(number, "there is no branch `live`")
	if _, err := w.github.Push(t.Context(), w.fullName(), "live", live, standin.GitHubPushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.reacted(w.say(number, "walt", "/purge content/about/us.md"), "eyes", "rocket")
	w.wantSent("production invalidate url https://live.acme.com/about/us/")

	w.push(w.commit("two", map[string]string{"purge-rules.yaml": rules("main.acme.com", "live", "beta")}))
	w.reacted(w.say(number, "walt", "/purge content/about/us.md"), "eyes", "confused")
	w.replied(number, "which environment? Write one of `--env live`, `--env beta`.")
	w.reacted(w.say(number, "walt", "/purge content/about/us.md --env LIVE"), "eyes", "rocket")
	w.wantSent("production invalidate url https://live.acme.com/about/us/")
	w.reacted(w.say(number, "walt", "/purge retry"), "eyes", "confused")
	w.replied(number, "no purge has failed objects here")
}
