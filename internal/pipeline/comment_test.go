package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// handled waits until every delivery was handled.
func (w *world) handled() {
	w.T.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(servertest.Patience); ; {
		q, err := w.Server.Store().Queue(w.T.Context())
		if err != nil {
			w.T.Fatal(err)
		}
		if q.Deliveries == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.T.Fatalf("%d deliveries are left", q.Deliveries)
		}
	}
}

func TestCommentWholePullRequest(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{
		"content/index/home.md": "new", "content/about/us.md": stage.Removed, "content/about/team.md": "us", "notes.txt": "x",
	}, nil)
	comment := w.Say(number, "walt", "/purge\r\nplease")
	w.Reacted(comment, "eyes", "rocket")
	reply := w.Replied(number, "**6 URLs purged in", "`walt`", "refreshed in `production`, on Akamai's production network", "https://www.acme.com/about/us/",
		"No rule matches 1 file: `notes.txt`", "Akamai purge id", " UTC", "/purges/")
	if n := len(w.Replies(number)); n != 1 || reply.Edits == 0 {
		t.Errorf("%d replies, the last edited %d times", n, reply.Edits)
	}
	w.WantSent(
		"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/",
		"production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/",
		"production invalidate url https://www.acme.com/about/team/", "production invalidate url https://m.acme.com/about/team/",
	)
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

func TestCommentWhoMayWhat(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	const url = "https://www.acme.com/x/"
	for i, test := range []struct {
		login, body string
		reply       string // to a person who may not
		sent        []string
	}{
		{"rita", "/purge " + url, "purging here needs the **write** role and you have **read**", nil},
		{"nobody", "/purge help", "needs the **write** role and you have **read**", nil},
		{"walt", "/purge " + url, "", []string{"production invalidate url " + url}},
		{"custom", "/purge tag:acme-a", "", []string{"production invalidate tag acme-a"}},
		{"walt", "/purge --delete " + url, "deleting here needs the **maintain** role and you have **write**", nil},
		{"mona", "/purge --delete " + url, "", []string{"production delete url " + url}},
		{"mona", "/purge cpcode:12345", "purging a CP code here needs the **admin** role and you have **maintain**", nil},
		{"adam", "/purge cpcode:12345 --env staging", "", []string{"staging invalidate cpcode 12345"}},
		{"mona", "/purge cpcode:12345 --delete", "deleting a CP code here needs the **admin** role", nil},
	} {
		t.Run(test.login+" "+test.body, func(t *testing.T) {
			w.In(t)
			number := w.Pull("topic"+string(rune('a'+i)), map[string]string{"notes.txt": test.body}, nil)
			comment := w.Say(number, test.login, test.body)
			if test.reply == "" {
				w.Reacted(comment, "eyes", "rocket")
			} else {
				want := []string{"eyes", "confused"}
				if test.login == "rita" || test.login == "nobody" { // these two may not use commands at all
					want = want[1:]
				}
				w.Reacted(comment, want...)
				w.Replied(number, test.reply)
			}
			w.WantSent(test.sent...)
		})
	}
}

func TestCommentPoliteReplyOnce(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for range 3 {
		w.Reacted(w.Say(number, "rita", "/purge"), "confused")
	}
	w.Reacted(w.Say(number, "walt", "/purge rety"), "eyes", "confused")
	w.Replied(number, "Did you mean `/purge retry`?")
	if n := len(w.Replies(number)); n != 2 {
		t.Errorf("%d replies: %+v", n, w.Replies(number))
	}
	w.WantSent()
}

func TestCommentIgnored(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	issue, err := w.GitHub.OpenIssue(w.FullName(), "walt", "a plain issue")
	if err != nil {
		t.Fatal(err)
	}
	const command = "/purge https://www.acme.com/x/"
	silent := []int64{
		w.Say(issue, "adam", command),
		w.Say(number, "helper[bot]", command),
		w.Say(number, "adam", "> "+command),
		w.Say(number, "adam", "```\n"+command+"\n```"),
		w.Say(number, "adam", "please\n"+command),
	}
	edited := w.Say(number, "rita", "hello")
	if err := w.GitHub.EditComment(t.Context(), w.FullName(), edited, "adam", command); err != nil {
		t.Fatal(err)
	}
	w.Reacted(w.Say(number, "walt", "/purge help"), "eyes", "rocket") // all earlier comments were handled or are under way
	w.Replied(number, "You are `walt` and have the **write** role", "`--delete`: no, this needs the **maintain** role",
		"CP codes: no, this needs the **admin** role", "`production`, `staging`")
	w.handled()
	for _, id := range append(silent, edited) {
		if r := w.Reactions(id); len(r) > 0 {
			t.Errorf("comment %d: %v", id, r)
		}
	}
	if n := len(w.Replies(issue)); n > 0 {
		t.Errorf("%d replies on the plain issue", n)
	}
	w.WantSent()
}

func TestCommentObjectsAndFiles(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	// The pull request's own rules would purge another host: they don't count.
	number := w.Pull("topic", map[string]string{
		"content/new/page.md": "x", "purge-rules.yaml": strings.ReplaceAll(servertest.Rules, "www.acme.com", "evil.acme.com"),
	}, func(p *github.PullRequest) { p.HeadRepository = "stranger/site" })
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
			[]string{"**Nothing was purged: no file on `main` (", "matches `content/new/page.md`**"},
			nil,
		},
		{
			"braces that would keep the server busy", "/purge --dry-run {" + strings.Repeat(",", 120) + "}{" + strings.Repeat(",", 120) + "}x",
			[]string{"confused", "eyes"},
			[]string{"braces that stand for too many combinations"},
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
			[]string{"**Would invalidate 1 URL, 1 tag**", "nothing was purged", "`tag:acme-shell`", "`https://www.acme.com/%C3%BC`"},
			nil,
		},
		{
			"one refused host", "/purge https://www.acme.com/a https://evil.example/",
			[]string{"confused", "eyes"},
			[]string{"**1 purged, 1 refused**", "- `https://evil.example/`: `policy doesn't allow host evil.example for acme/site`"},
			[]string{"production invalidate url https://www.acme.com/a"},
		},
		{
			"a CP code that takes another role", "/purge https://www.acme.com/a cpcode:12345",
			[]string{"confused", "eyes"},
			[]string{"**1 purged, 1 refused**", "- `cpcode:12345`: `purging a CP code needs the admin role and "},
			[]string{"production invalidate url https://www.acme.com/a"},
		},
		{
			"an unknown environment", "/purge --env preview",
			[]string{"confused", "eyes"},
			[]string{"no environment `preview` in the rules. Use `--env production` or `--env staging`."},
			nil,
		},
		{"no rule", "/purge purge-rules.yaml", []string{"confused", "eyes"}, []string{"**Nothing was purged: no rule matches `purge-rules.yaml`**"}, nil},
		{"status", "/purge status", []string{"eyes", "rocket"}, []string{"- `production`: no deployment yet", "No purge is waiting."}, nil},
		{
			"smuggled", "/purge tag:@acme/security[x](https://evil.example)<img/src=x>#1`|",
			[]string{"confused", "eyes"},
			[]string{"**0 purged, 1 refused**"},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.In(t)
			w.Reacted(w.Say(number, "walt", test.body), test.reactions...)
			body := w.Replied(number, test.reply...).Body
			for _, alive := range []string{"@acme", "](https://evil", "<img", "#1"} {
				if strings.Contains(body, alive) {
					t.Errorf("%q is alive in:\n%s", alive, body)
				}
			}
			w.WantSent(test.sent...)
		})
	}
}

// Pasted and misspelt commands purge what the person meant, or the reply says what to do.
// No offered command would only fail.
func TestCommentAsPeopleWrite(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for _, test := range []struct {
		name, body string
		reactions  []string
		reply      []string
		sent       []string
	}{
		{
			"a file that is there, one without a rule and one that isn't there", "/purge content/about/us.md purge-rules.yaml content/typo.md",
			[]string{"confused", "eyes"},
			[]string{"**Not purged: no file on `main` (", "matches `content/typo.md`; no rule matches `purge-rules.yaml`**", "**2 URLs purged in "},
			[]string{"production invalidate url https://m.acme.com/about/us/", "production invalidate url https://www.acme.com/about/us/"},
		},
		{
			"pasted", "/Purge: <https://www.acme.com/a/>, [b](https://www.acme.com/b/).\n- `https://www.acme.com/c/`;\n\nand https://www.acme.com/d/, please",
			[]string{"eyes", "rocket"},
			[]string{"**3 URLs purged in ", "Not part of the command: `https://www.acme.com/d/`"},
			[]string{
				"production invalidate url https://www.acme.com/a/", "production invalidate url https://www.acme.com/b/",
				"production invalidate url https://www.acme.com/c/",
			},
		},
		{
			"a wildcard in a URL", "/purge https://www.acme.com/*",
			[]string{"confused", "eyes"},
			[]string{"Nothing was purged: `Akamai purges exactly the URL that is written", "name each page, or a tag"},
			nil,
		},
		{
			"a page of the only host", "/purge /about/us/ --env staging",
			[]string{"eyes", "rocket"},
			[]string{"**1 URL purged in "},
			[]string{"staging invalidate url https://staging.acme.com/about/us/"},
		},
		{
			"a page of one of several hosts", "/purge /about/us/",
			[]string{"confused", "eyes"},
			[]string{"`production` has several hosts. Use `/purge https://www.acme.com/about/us/` or `/purge https://m.acme.com/about/us/`."},
			nil,
		},
		{
			"a file from the root", "/purge /content/about/us.md --env staging",
			[]string{"eyes", "rocket"},
			[]string{"**1 URL purged in "},
			[]string{"staging invalidate url https://staging.acme.com/about/us/"},
		},
		{"another case", "/purge Content/About/us", []string{"confused", "eyes"}, []string{"Did you mean `/purge content/about/us.md`?"}, nil},
		{"no scheme", "/purge www.acme.com/about/us/", []string{"confused", "eyes"}, []string{"Did you mean `/purge https://www.acme.com/about/us/`?"}, nil},
		{"a folder that no rule matches, which is not offered", "/purge .github/workflow", []string{"confused", "eyes"}, []string{"matches `.github/workflow`**\n\n<!--"}, nil},
		{"a host that is not allowed, which is not offered", "/purge evil.example/a", []string{"confused", "eyes"}, []string{"matches `evil.example/a`**\n\n<!--"}, nil},
		{"a prefix misspelt", "/purge tags:acme-shell", []string{"confused", "eyes"}, []string{"Did you mean `/purge tag:acme-shell`?"}, nil},
		{"a tag misspelt that is not allowed", "/purge tags:others", []string{"confused", "eyes"}, []string{"Nothing was purged: `Unknown kind tags:`.\n\n`/purge help`"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.In(t)
			w.Reacted(w.Say(number, "walt", test.body), test.reactions...)
			w.Replied(number, test.reply...)
			w.WantSent(test.sent...)
		})
	}
}

func TestCommentRateLimit(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for range 21 { // a person who may not: the fewest writes on GitHub
		w.Say(number, "rita", "/purge status")
	}
	w.handled()
	outcomes := map[string]int{}
	for _, d := range w.GitHub.Deliveries() {
		stored, err := w.Server.Store().Delivery(t.Context(), d.GUID)
		if err == nil && d.Event == "issue_comment" {
			outcomes[stored.Outcome]++
		}
	}
	if outcomes["denied"] != 20 || outcomes["too many"] != 1 {
		t.Errorf("outcomes of 21 comments: %v", outcomes)
	}
	w.Reacted(w.Say(number, "adam", "/purge status"), "eyes", "rocket")
}

func TestCommentRulesMissingOrBroken(t *testing.T) {
	w, _ := newWorld(t, nil)
	broken := w.Commit("broken", map[string]string{"purge-rules.yaml": "version: 1\nenvironments: {}\nrules: []\n"})
	w.Push(broken)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "walt", "/purge https://www.acme.com/"), "eyes", "confused")
	w.Replied(number, "the rules file on `main` has an error: `purge-rules.yaml:2:")
	gone := w.Commit("gone", map[string]string{"purge-rules.yaml": stage.Removed})
	w.Push(gone)
	w.Reacted(w.Say(number, "walt", "/purge https://www.acme.com/"), "eyes", "confused")
	w.Replied(number, "there is no purge-rules.yaml on `main`")
	w.WantSent()
}

// TestCommentThroughTrouble loses answers of GitHub's. A rate limit is no denial, and a
// reply that was made is edited and not made again.
func TestCommentPullRequestThatGitHubCuts(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("static/%04d.css", i)] = "x"
	}
	number := w.Pull("topic", files, nil)
	w.Reacted(w.Say(number, "walt", "/purge"), "eyes", "confused")
	w.Replied(number, "3,000 files or more")
	w.WantSent()
}

func TestCommentUnlistedRepository(t *testing.T) {
	w, _ := newWorld(t, func(cfg *stage.Config) { cfg.Policy[0].Repositories = []string{"other/*"} })
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	for range 2 {
		w.Reacted(w.Say(number, "adam", "/purge https://www.acme.com/"), "confused")
	}
	w.Replied(number, "purgebot's policy doesn't list `acme/site`")
	if n := len(w.Replies(number)); n != 1 {
		t.Errorf("%d replies", n)
	}
	w.WantSent()
}

// TestCommentEnvironment has an environment on a branch of its own, whose rules differ
// from those on the default branch.
func TestCommentEnvironment(t *testing.T) {
	w, _ := newWorld(t, nil)
	rules := func(host string, names ...string) string {
		file := "version: 1\nenvironments:\n"
		for _, name := range names {
			file += "  " + name + ": {hosts: [" + host + "], branch: " + name + "}\n"
		}
		return file + "rules:\n  - {match: \"content/**/*.md\", urls: [\"https://{host}/{1}/{2}/\"]}\n"
	}
	w.Git("checkout", "--quiet", "-b", "live")
	live := w.Commit("live", map[string]string{"purge-rules.yaml": rules("live.acme.com", "live")})
	w.Git("checkout", "--quiet", "main")
	one := w.Commit("one", map[string]string{"purge-rules.yaml": rules("main.acme.com", "live")})
	w.Push(one)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "walt", "/purge content/about/us.md"), "eyes", "confused")
	w.Replied(number, "there is no branch `live`")
	if _, err := w.GitHub.Push(t.Context(), w.FullName(), "live", live, github.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.Reacted(w.Say(number, "walt", "/purge content/about/us.md"), "eyes", "rocket")
	w.WantSent("production invalidate url https://live.acme.com/about/us/")

	w.Push(w.Commit("two", map[string]string{"purge-rules.yaml": rules("main.acme.com", "live", "beta")}))
	w.Reacted(w.Say(number, "walt", "/purge content/about/us.md"), "eyes", "confused")
	w.Replied(number, "the rules have several environments. Use `--env live` or `--env beta`.")
	w.Reacted(w.Say(number, "walt", "/purge content/about/us.md --env LIVE"), "eyes", "rocket")
	w.WantSent("production invalidate url https://live.acme.com/about/us/")
	w.Reacted(w.Say(number, "walt", "/purge retry"), "eyes", "confused")
	w.Replied(number, "no purge here has refused items")
}

// A stranger's flood of comments takes almost none of the writes that GitHub allows the
// App. Meanwhile a purge's status is written to its end, and people who may use commands
// are answered, even if they lack the role for what they ask.
func TestAStrangersFlood(t *testing.T) {
	w, first := newWorld(t, func(c *stage.Config) { c.Limits = github.Limits{Enforce: true} })
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	var flood []int64
	for range 40 {
		flood = append(flood, w.Say(number, "rita", "/purge https://www.acme.com/"))
	}
	second := w.Home("second")
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Reacted(w.Say(number, "walt", "/purge status"), "eyes", "rocket")
	w.Await(second, "production", "success", "2 URLs purged")
	w.handled()
	w.Settled()
	reactions := 0
	for _, comment := range flood {
		reactions += len(w.Reactions(comment))
	}
	if reactions == 0 || reactions > 5 || len(w.Replies(number)) != 2 {
		t.Errorf("40 comments got %d reactions and %d replies", reactions, len(w.Replies(number))-1)
	}
	w.Reacted(w.Say(number, "walt", "/purge cpcode:12345"), "eyes", "confused")
	w.Replied(number, "purging a CP code here needs the **admin** role")
}
