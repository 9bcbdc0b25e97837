package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/picture"
	"github.com/purgebot/purgebot/internal/standin"
)

// The pictures of docs/github.md are drawn from what the real server told the
// GitHub stand-in. After a change of words:
//
//	go test ./cmd/purgebot -run TestPictures -update
var updatePictures = flag.Bool("update", false, "draw the pictures of docs/github.md anew")

const (
	picturesDir = "../../docs/pictures"
	pictureMost = 20 << 10 // bytes
)

const pictureRules = `version: 1
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

func TestPictures(t *testing.T) {
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
	if *updatePictures {
		a.write()
	}
	kept, err := filepath.Glob(filepath.Join(picturesDir, "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range kept {
		if _, ok := a.pictures[filepath.Base(file)]; !ok {
			t.Errorf("%s: nothing draws this", file)
		}
	}
	for name, drawn := range a.pictures {
		file := filepath.Join(picturesDir, name)
		if committed, err := os.ReadFile(file); err != nil || !bytes.Equal(committed, drawn) {
			t.Errorf("%s is not what the program says now (%v); -update draws it anew", file, err)
		}
		if len(drawn) > pictureMost {
			t.Errorf("%s has %d bytes, more than %d", file, len(drawn), pictureMost)
		}
	}
}

// author is somebody who lives through every step that docs/github.md shows,
// and draws what is there to see.
type author struct {
	*world
	number   int               // of the pull request
	merged   string            // its commit
	names    map[string]string // commits by the id that the pictures show
	pictures map[string][]byte // by file
}

func newAuthor(t *testing.T) *author {
	t.Helper()
	w, _ := newWorld(t, func(cfg *stageConfig) {
		cfg.akamai.Limits.URLs = standin.AkamaiBucket{Burst: 9, PerSecond: 100} // so that 14 take two requests
	})
	a := &author{world: w, names: map[string]string{}, pictures: map[string][]byte{}}
	first := a.commits("b1a57e0", "A site", map[string]string{
		"purge-rules.yaml": pictureRules, "layouts/base.html": removed, "content/index/home.md": removed, "content/about/us.md": removed,
	})
	a.push(first)
	a.deploy("production", first, "success")
	a.begin()
	live := a.commits("2c9d04e", "Owners", map[string]string{"CODEOWNERS": "* @acme/site"})
	a.push(live)
	a.deploy("production", live, "success")
	a.await(live, "production", "success", "nothing to purge")
	for login, role := range map[string]string{"eve": "read", "ann": "write", "rob": "maintain"} {
		if err := a.github.SetPermission(a.fullName(), login, role); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// commits commits on the branch that is checked out; the pictures show id.
func (a *author) commits(id, message string, files map[string]string) string {
	a.t.Helper()
	sha := a.commit(message, files)
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
	a.t.Helper()
	files := pages("news", 4)
	maps.Copy(files, map[string]string{
		"content/shop/prices.md": "12 EUR", "content/shop/offers.md": "none", "static/site.css": "body {}", "CODEOWNERS": "* @acme/web",
	})
	a.mustGit("checkout", "--quiet", "-b", "prices")
	a.merged = a.commits("8f3a1c2", "New prices", files)
	a.mustGit("checkout", "--quiet", "main")
	a.pushTo("prices", a.merged)
	a.number = a.opens("New prices", "prices")
	run := a.run(a.merged, "Purge preview", "neutral", "Would purge 14 URLs in production")
	a.paint("preview", "A pull request says what it would purge", mergeBox("New prices", run), a.page(run))
}

func (a *author) deployment() {
	a.t.Helper()
	a.mustGit("merge", "--quiet", "--ff-only", "prices")
	a.push(a.merged)
	a.shows("push", "The merge: what waits", a.merged, "New prices", a.await(a.merged, "production", "success", "14 URLs wait"))
	a.deploy("production", a.merged, "failure")
	a.shows("deploy-failed", "The deployment failed: nothing is purged", a.merged, "New prices",
		a.await(a.merged, "production", "success", "deploy failed, 14 URLs wait"))
	seen := make(chan struct{})
	a.akamai.Fault(func(r *http.Request, body []byte) standin.AkamaiFault {
		if bytes.Count(body, []byte("https://")) == 5 { // the second request waits until the first was seen
			select {
			case <-seen:
			case <-r.Context().Done():
			}
		}
		return standin.AkamaiFault{}
	})
	a.deploy("production", a.merged, "success")
	a.shows("pending", "The deployment succeeded: the purge is under way", a.merged, "New prices",
		a.await(a.merged, "production", "pending", "9 of 14 purged"))
	close(seen)
	a.shows("success", "Everything is purged", a.merged, "New prices", a.await(a.merged, "production", "success", "14 URLs purged in "))
}

func (a *author) comments() {
	a.t.Helper()
	a.comment("comment", "A purge by a comment", "ann", "/purge https://www.acme.com/shop/prices/ content/shop/offers.md", "**3 URLs purged", "eyes", "rocket")
	a.comment("comment-refused", "A comment by somebody who may not purge", "eve", "/purge https://www.acme.com/shop/prices/", "takes the role **write**", "eyes", "confused")
	a.comment("help", "What one may do here", "ann", "/purge help", "You are `ann`", "eyes", "rocket")
}

func (a *author) refused() {
	a.t.Helper()
	const bad = "https://m.acme.com/news/scoop/"
	a.akamai.Refuse(bad, 0, "unauthorized arl")
	sha := a.commits("c40de51", "A scoop", map[string]string{"content/news/scoop.md": "!", "content/news/1.md": "old news"})
	a.push(sha)
	a.deploy("production", sha, "success")
	s := a.await(sha, "production", "failure", "3 purged, 1 refused: unauthorized arl")
	run := a.run(sha, "Purge production", "failure", "3 purged, 1 refused: unauthorized arl")
	a.shows("failed", "Akamai refused one URL: the check run has the reason and a button", sha, "A scoop", s, a.page(run))
	a.akamai.Allow(bad)
	a.press(run, "retry", "ann")
	a.paint("retried", "After Retry", a.page(a.run(sha, "Purge production", "success", "4 URLs purged in")))
}

func (a *author) carried() {
	a.t.Helper()
	early := a.commits("5d2e9b7", "A typo", map[string]string{"content/news/2.md": "typo"})
	a.push(early)
	late := a.commits("e07a4f3", "Another one", map[string]string{"content/news/3.md": "typo"})
	a.push(late)
	a.deploy("production", late, "success")
	a.await(late, "production", "success", "4 URLs purged in ")
	a.shows("carried", "A later deployment carried this commit", early, "A typo", a.await(early, "production", "success", "purged with "))
}

func (a *author) rollback() {
	a.t.Helper()
	a.deploy("production", a.merged, "success")
	a.shows("rollback", "A rollback: the commit of before is live again", a.merged, "New prices",
		a.await(a.merged, "production", "success", "8 URLs purged in "))
}

func (a *author) held() {
	a.t.Helper()
	sha := a.commits("f16b8d9", "The archive moves", pages("archive", 116))
	a.push(sha)
	a.deploy("production", sha, "success")
	s := a.await(sha, "production", "pending", "held: ")
	run := a.run(sha, "Purge production", "action_required", "press **Release** or **Cancel**")
	a.shows("held", "A large purge waits for a person", sha, "The archive moves", s, a.page(run))
}

func (a *author) brokenRules() {
	a.t.Helper()
	broken := strings.Replace(pictureRules, `{host}/{1}"`, `{host}/{2}"`, 1)
	a.mustGit("checkout", "--quiet", "-b", "rules")
	sha := a.commits("70c1d3a", "Assets move", map[string]string{"purge-rules.yaml": broken})
	a.mustGit("checkout", "--quiet", "main")
	a.pushTo("rules", sha)
	a.opens("Assets move", "rules")
	run := a.run(sha, "Purge preview", "failure", "1 fault in the rules file")
	if len(run.Annotations) != 1 {
		a.t.Fatalf("annotations: %+v", run.Annotations)
	}
	const around = 3
	fault, lines := run.Annotations[0], strings.Split(broken, "\n")
	from := max(1, fault.StartLine-around)
	a.paint("rules", "A broken rules file: the fault stands on its line", mergeBox("Assets move", run), picture.Annotation{
		Path: fault.Path, Level: fault.Level, Message: a.constant(fault.Message), First: from, Line: fault.StartLine,
		Lines: lines[from-1 : min(len(lines), fault.StartLine+around)],
	})
}

// opens opens a pull request of ann's into main.
func (a *author) opens(title, branch string) (number int) {
	a.t.Helper()
	number, err := a.github.OpenPullRequest(a.t.Context(), a.fullName(), standin.GitHubPullRequest{Title: title, Login: "ann", Head: branch})
	if err != nil {
		a.t.Fatal(err)
	}
	return number
}

// mergeBox is a pull request's merge box with a check run.
func mergeBox(title string, run standin.GitHubCheckRun) picture.Statuses {
	return picture.Statuses{
		Title: title, Note: "by ann, into main",
		Lines: []picture.Status{{State: run.Conclusion, Context: run.Name, Words: run.Title, Linked: true}},
	}
}

// shows draws a commit's status, and what comes with it.
func (a *author) shows(name, title, sha, message string, s standin.GitHubStatus, more ...picture.Panel) {
	a.t.Helper()
	a.paint(name, title, append([]picture.Panel{picture.Statuses{
		Title: a.constant(sha[:7]), Note: message,
		Lines: []picture.Status{{State: s.State, Context: s.Context, Words: a.constant(s.Description), Linked: s.TargetURL != ""}},
	}}, more...)...)
}

// comment gives a command and draws it with what came back.
func (a *author) comment(name, title, login, body, reply string, reactions ...string) {
	a.t.Helper()
	id := a.say(a.number, login, body)
	a.reacted(id, slices.Clone(reactions)...) // it sorts them
	answer := a.replied(a.number, reply)
	a.paint(name, title,
		picture.Comment{Login: login, Body: body, Reactions: reactions},
		picture.Comment{Login: strings.TrimSuffix(answer.Login, "[bot]"), Note: "bot", Body: a.constant(answer.Body)})
}

// page is a check run's page.
func (a *author) page(run standin.GitHubCheckRun) picture.Check {
	c := picture.Check{
		Name: run.Name, State: run.Conclusion, Title: a.constant(run.Title), Summary: a.constant(run.Summary), Text: a.constant(run.Text),
	}
	if c.State == "" {
		c.State = run.Status
	}
	for _, b := range run.Actions {
		c.Buttons = append(c.Buttons, b.Label)
	}
	return c
}

func (a *author) paint(name, title string, panels ...picture.Panel) {
	a.pictures[name+".svg"] = picture.SVG(picture.Picture{Title: title, Panels: panels})
}

// constant replaces what is another in each run by something of the same form.
func (a *author) constant(s string) string {
	for sha, name := range a.names {
		s = strings.ReplaceAll(s, sha, name)
	}
	n := 0
	s = regexp.MustCompile(`\be[di][utc]p-[A-Z2-7]{26}\b`).ReplaceAllStringFunc(s, func(id string) string {
		n++
		return fmt.Sprintf("%sIOGQHXZ5T6BWMK4E2LVYD7RAN%c", id[:len("eiup-")], 'B'+n)
	})
	for pattern, constant := range map[string]string{
		`purged in \d+ s`:                      "purged in 6 s",
		`\b01[0-9A-Z]{24}\b`:                   "01KAN7ZC8QW3M5T0R2VXE9B6HD",
		`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`:   "2026-11-24 09:41:06 UTC",
		`http://127\.0\.0\.1:\d+/purges/\w+\b`: "https://purgebot.acme.com/purges/01kan",
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, constant)
	}
	return s
}

func (a *author) write() {
	a.t.Helper()
	if err := os.MkdirAll(picturesDir, 0o755); err != nil {
		a.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(a.pictures)) {
		if err := os.WriteFile(filepath.Join(picturesDir, name), a.pictures[name], 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
}
