package server_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// docs/github.md shows what the real server told the GitHub stand-in. After a
// change of words:
//
//	go test ./internal/server -run TestGitHubPage -update
var updatePage = flag.Bool("update", false, "write what docs/github.md shows anew")

const githubPage = "../../docs/github.md"

const pageRules = `version: 1
environments:
  production:
    hosts: [www.acme.com, m.acme.com]
rules:
  - name: pages
    match: content/**/*.md
    urls: ["https://{host}/{1}/{2}/"]
  - name: assets
    match: static/**
    urls: ["https://{host}/{1}"]
limits:
  - over: 200
    instead: hold
`

func TestGitHubPage(t *testing.T) {
	a := newAuthor(t)
	a.preview()
	a.deployment()
	a.comments()
	a.refused()
	a.carried()
	a.rollback()
	a.held()
	a.brokenRules()
	if t.Failed() {
		return
	}
	text, err := os.ReadFile(githubPage)
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`(?s)<!-- said: (\S+) -->\n(.*?)<!-- end -->`).ReplaceAllStringFunc(string(text), func(block string) string {
		name := strings.Fields(block)[2]
		words, ok := a.said[name]
		if !ok {
			t.Errorf("%s: nobody says %s", githubPage, name)
		}
		delete(a.said, name)
		return "<!-- said: " + name + " -->\n" + words + "<!-- end -->"
	})
	for name := range a.said {
		t.Errorf("%s does not show %s", githubPage, name)
	}
	if *updatePage {
		if err := os.WriteFile(githubPage, []byte(said), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(string(text), said); diff != "" && !*updatePage {
		t.Errorf("%s (-page +what the program says); -update writes it anew:\n%s", githubPage, diff)
	}
}

// author goes through every step that docs/github.md shows, and keeps what is there to
// see.
type author struct {
	*world
	number int               // of the pull request
	merged string            // its commit
	names  map[string]string // commits by the id that the page shows
	said   map[string]string // Markdown, by the name of its place on the page
}

func newAuthor(t *testing.T) *author {
	t.Helper()
	w, _ := newWorld(t, func(cfg *stage.Config) {
		cfg.Akamai.Limits.URLs = akamai.Bucket{Burst: 9, PerSecond: 100} // so that 14 take two requests
	})
	a := &author{world: w, names: map[string]string{}, said: map[string]string{}}
	first := a.commits("b1a57e0", "A site", map[string]string{
		"purge-rules.yaml": pageRules, "layouts/base.html": stage.Removed, "content/index/home.md": stage.Removed, "content/about/us.md": stage.Removed,
	})
	a.Push(first)
	a.Deploy("production", first, "success")
	a.Begin()
	live := a.commits("2c9d04e", "Owners", map[string]string{"CODEOWNERS": "* @acme/site"})
	a.Push(live)
	a.Deploy("production", live, "success")
	a.Await(live, "production", "success", "Nothing to purge")
	for login, role := range map[string]string{"eve": "read", "ann": "write", "rob": "maintain"} {
		if err := a.GitHub.SetPermission(a.FullName(), login, role); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// commits commits on the branch that is checked out; the page shows id.
func (a *author) commits(id, message string, files map[string]string) string {
	a.T.Helper()
	sha := a.Commit(message, files)
	a.names[sha[:7]] = id
	return sha
}

func pages(folder string, n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("content/%s/%d.md", folder, i+1)] = folder
	}
	return files
}

func (a *author) preview() {
	a.T.Helper()
	files := pages("news", 4)
	maps.Copy(files, map[string]string{
		"content/shop/prices.md": "12 EUR", "content/shop/offers.md": "none", "static/site.css": "body {}", "CODEOWNERS": "* @acme/web",
	})
	a.Git("checkout", "--quiet", "-b", "prices")
	a.merged = a.commits("8f3a1c2", "New prices", files)
	a.Git("checkout", "--quiet", "main")
	a.PushTo("prices", a.merged)
	a.number = a.opens("New prices", "prices")
	run := a.Run(a.merged, "Purge preview", "neutral", "Would purge 14 URLs in production")
	a.keep("preview", a.page(run))
}

func (a *author) deployment() {
	a.T.Helper()
	a.Git("merge", "--quiet", "--ff-only", "prices")
	a.Push(a.merged)
	a.keep("push", a.status(a.merged, a.Await(a.merged, "production", "success", "14 URLs will be purged")))
	a.Deploy("production", a.merged, "failure")
	a.keep("deploy-failed", a.status(a.merged, a.Await(a.merged, "production", "success", "Deploy failed: 14 URLs will be purged")))
	seen := make(chan struct{})
	a.Akamai.Fault(func(r *http.Request, body []byte) akamai.Fault {
		if bytes.Count(body, []byte("https://")) == 5 { // the second request waits until the first was seen
			select {
			case <-seen:
			case <-r.Context().Done():
			}
		}
		return akamai.Fault{}
	})
	a.Deploy("production", a.merged, "success")
	a.keep("pending", a.status(a.merged, a.Await(a.merged, "production", "pending", "9 of 14 purged")))
	close(seen)
	a.keep("success", a.status(a.merged, a.Await(a.merged, "production", "success", "14 URLs purged in ")))
}

func (a *author) comments() {
	a.T.Helper()
	a.comment("comment", "ann", "/purge https://www.acme.com/shop/prices/ content/shop/offers.md", "**3 URLs purged", "eyes", "rocket")
	a.comment("comment-refused", "eve", "/purge https://www.acme.com/shop/prices/", "needs the **write** role", "confused")
	a.comment("help", "ann", "/purge help", "You are `ann`", "eyes", "rocket")
}

func (a *author) refused() {
	a.T.Helper()
	const bad = "https://m.acme.com/news/scoop/"
	a.Akamai.Refuse(bad, 0, "unauthorized arl")
	sha := a.commits("c40de51", "A scoop", map[string]string{"content/news/scoop.md": "!", "content/news/1.md": "old news"})
	a.Push(sha)
	a.Deploy("production", sha, "success")
	s := a.Await(sha, "production", "failure", "3 purged, 1 refused: Akamai doesn't let purgebot purge ")
	run := a.Run(sha, "Purge production", "failure", "3 purged, 1 refused: Akamai doesn't let purgebot purge ")
	a.keep("failed", a.status(sha, s), a.page(run))
	a.Akamai.Allow(bad)
	a.Press(run, "retry", "ann")
	a.keep("retried", a.page(a.Run(sha, "Purge production", "success", "4 URLs purged in")))
}

func (a *author) carried() {
	a.T.Helper()
	early := a.commits("5d2e9b7", "A typo", map[string]string{"content/news/2.md": "typo"})
	a.Push(early)
	late := a.commits("e07a4f3", "Another one", map[string]string{"content/news/3.md": "typo"})
	a.Push(late)
	a.Deploy("production", late, "success")
	a.Await(late, "production", "success", "4 URLs purged in ")
	a.keep("carried", a.status(early, a.Await(early, "production", "success", "Purged as part of ")))
}

func (a *author) rollback() {
	a.T.Helper()
	a.Deploy("production", a.merged, "success")
	a.keep("rollback", a.status(a.merged, a.Await(a.merged, "production", "success", "8 URLs purged in ")))
}

func (a *author) held() {
	a.T.Helper()
	sha := a.commits("f16b8d9", "The archive moves", pages("archive", 116))
	a.Push(sha)
	a.Deploy("production", sha, "success")
	s := a.Await(sha, "production", "pending", "Needs approval: ")
	run := a.Run(sha, "Purge production", "action_required", "press **Release** to send it or **Cancel** to discard it")
	a.keep("held", a.status(sha, s), a.page(run))
}

func (a *author) brokenRules() {
	a.T.Helper()
	broken := strings.Replace(pageRules, `{host}/{1}"`, `{host}/{2}"`, 1)
	a.Git("checkout", "--quiet", "-b", "rules")
	sha := a.commits("70c1d3a", "Assets move", map[string]string{"purge-rules.yaml": broken})
	a.Git("checkout", "--quiet", "main")
	a.PushTo("rules", sha)
	a.opens("Assets move", "rules")
	run := a.Run(sha, "Purge preview", "failure", "1 error in the rules file")
	if len(run.Annotations) != 1 {
		a.T.Fatalf("annotations: %+v", run.Annotations)
	}
	fault, lines := run.Annotations[0], strings.Split(broken, "\n")
	around := lines[max(0, fault.StartLine-4):fault.StartLine]
	a.keep("rules", a.page(run), fmt.Sprintf("`%s`, line %d:\n\n```yaml\n%s\n```\n\n❌ %s",
		fault.Path, fault.StartLine, strings.Join(around, "\n"), fault.Message))
}

// opens opens a pull request of ann's into main.
func (a *author) opens(title, branch string) (number int) {
	a.T.Helper()
	number, err := a.GitHub.OpenPullRequest(a.T.Context(), a.FullName(), github.PullRequest{Title: title, Login: "ann", Head: branch})
	if err != nil {
		a.T.Fatal(err)
	}
	return number
}

func mark(state string) string {
	return map[string]string{"success": "✅", "failure": "❌", "pending": "🟡", "in_progress": "🟡", "action_required": "⚠️", "neutral": "⬜"}[state]
}

// status is a commit's status, as a line.
func (a *author) status(sha string, s github.Status) string {
	line := fmt.Sprintf("`%s` %s **%s** — %s", sha[:7], mark(s.State), s.Context, s.Description)
	if s.TargetURL != "" {
		line += " · *Details*"
	}
	return line
}

// page is a check run's page.
func (a *author) page(run github.CheckRun) string {
	state := cmp.Or(run.Conclusion, run.Status)
	parts := []string{fmt.Sprintf("%s **%s** — %s", mark(state), run.Name, run.Title), run.Summary, run.Text}
	var buttons []string
	for _, b := range run.Actions {
		buttons = append(buttons, "**["+b.Label+"]**")
	}
	parts = append(parts, strings.Join(buttons, " "))
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "\n\n")
}

// comment gives a command and keeps it with what came back.
func (a *author) comment(name, login, body, reply string, reactions ...string) {
	a.T.Helper()
	id := a.Say(a.number, login, body)
	a.Reacted(id, slices.Clone(reactions)...) // it sorts them
	answer := a.Replied(a.number, reply)
	var faces []string
	for _, r := range reactions {
		faces = append(faces, map[string]string{"eyes": "👀", "rocket": "🚀", "confused": "😕"}[r])
	}
	a.keep(name, fmt.Sprintf("**%s**: `%s` %s", login, body, strings.Join(faces, " ")), "**purgebot**: "+answer.Body)
}

// keep keeps what is there to see, as quoted Markdown.
func (a *author) keep(name string, parts ...string) {
	text := regexp.MustCompile(`<!-- purgebot .*? -->`).ReplaceAllString(strings.Join(parts, "\n\n"), "") // nobody sees them
	text = a.constant(strings.TrimSpace(text))
	a.said[name] = strings.ReplaceAll("> "+strings.ReplaceAll(text, "\n", "\n> ")+"\n", "> \n", ">\n")
}

// constant replaces what differs in each run by something of the same form.
func (a *author) constant(s string) string {
	for sha, name := range a.names {
		s = strings.ReplaceAll(s, sha, name)
	}
	s = regexp.MustCompile(`\s*<!-- purgebot [^>]* -->`).ReplaceAllString(s, "") // which GitHub does not show
	n := 0
	s = regexp.MustCompile(`\be[di][utc]p-[A-Z2-7]{26}\b`).ReplaceAllStringFunc(s, func(id string) string {
		n++
		return fmt.Sprintf("%sIOGQHXZ5T6BWMK4E2LVYD7RAN%c", id[:len("eiup-")], 'B'+n)
	})
	for pattern, constant := range map[string]string{
		`purged in \d+ s`:                      "purged in 6 s",
		`\b01[0-9A-Z]{24}\b`:                   "01KAN7ZC8QW3M5T0R2VXE9B6HD",
		`\b17PY-[A-Z2-7]{26}\b`:                "17PY-DZN3E56YVFUE6JBCFOGYIBFQ7P",
		`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`:   "2026-11-24 09:41:06 UTC",
		`http://127\.0\.0\.1:\d+/purges/\w+\b`: "https://purgebot.acme.com/purges/01kan",
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, constant)
	}
	return s
}
