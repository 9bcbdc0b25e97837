package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/standin"
)

// runs gives our check runs of a commit that have a name; of all commits if
// sha is empty.
func (w *world) runs(sha, name string) (all []standin.GitHubCheckRun) {
	for _, c := range w.github.CheckRuns(w.fullName(), sha) {
		if c.Name == name && c.App == w.app() {
			all = append(all, c)
		}
	}
	return all
}

func (w *world) app() string { return "purgebot" }

// run waits until the newest of our check runs of a name is as wanted.
func (w *world) run(sha, name, conclusion string, words ...string) standin.GitHubCheckRun {
	w.t.Helper()
	var last standin.GitHubCheckRun
	w.awaits("a check run "+name+", "+conclusion, func() bool {
		all := w.runs(sha, name)
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		text := last.Title + "\n" + last.Summary + "\n" + last.Text
		return last.Conclusion == conclusion &&
			!slices.ContainsFunc(words, func(s string) bool { return !strings.Contains(text, s) })
	})
	if w.t.Failed() {
		w.t.Fatalf("want %q; the last one: %s %s\n%s\n%s\n%s", words, last.Status, last.Conclusion, last.Title, last.Summary, last.Text)
	}
	return last
}

func TestPreview(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	w.pull("topic", map[string]string{
		"content/index/home.md": "new", "content/about/us.md": removed, "content/about/@team.md": "x", "layouts/base.html": "new", "notes.txt": "x",
	}, nil)
	sha := w.git("rev-parse", "topic")
	run := w.run(sha, "Purge preview", "neutral",
		"Would purge 6 URLs, 1 tag in production; 3 URLs, 1 tag in staging",
		"| `production` | production | **6 URLs, 1 tag** |  |", "| `staging` | staging | **3 URLs, 1 tag** |  |",
		"No rule matches 1 changed file", "- `notes.txt`",
		"### `pages`: 6 objects", "| `https://www.acme.com/index/home/` | `content/index/home.md` |", "| `tag:acme-shell` | `layouts/base.html` |",
	)
	if strings.Contains(run.Summary+run.Text, "@team") {
		t.Errorf("a mention is alive:\n%s", run.Text)
	}
	if run.Status != "completed" || len(run.Annotations) != 0 || len(run.Actions) != 0 {
		t.Errorf("the run: %+v", run)
	}
	w.settled()
	w.wantSent()

	t.Run("new commits get a run of their own", func(t *testing.T) {
		w.in(t)
		w.mustGit("checkout", "--quiet", "topic")
		next := w.commit("more", map[string]string{"static/x.css": "x"})
		w.mustGit("checkout", "--quiet", "main")
		if _, err := w.github.Push(t.Context(), w.fullName(), "topic", next, standin.GitHubPushOptions{}); err != nil {
			t.Fatal(err)
		}
		w.run(next, "Purge preview", "neutral", "8 URLs, 1 tag in production")
	})
	t.Run("the same event again writes nothing", func(t *testing.T) {
		w.in(t)
		w.settled()
		before := len(w.runs("", "Purge preview"))
		for _, d := range w.github.Deliveries() {
			if d.Event == "pull_request" {
				var body map[string]any
				if err := json.Unmarshal(d.Body, &body); err != nil {
					t.Fatal(err)
				}
				w.send("pull_request", d.Action, "walt", map[string]any{"number": body["number"], "pull_request": body["pull_request"]})
			}
		}
		w.settled()
		if after := len(w.runs("", "Purge preview")); after != before {
			t.Errorf("%d runs, then %d", before, after)
		}
	})
	t.Run("run again", func(t *testing.T) {
		w.in(t)
		all := w.runs("", "Purge preview")
		last := all[len(all)-1]
		if _, err := w.github.Rerequest(t.Context(), last.ID, "walt"); err != nil {
			t.Fatal(err)
		}
		w.awaits("another run", func() bool { return len(w.runs(last.SHA, "Purge preview")) == 2 })
		w.run(last.SHA, "Purge preview", "neutral", "8 URLs, 1 tag in production")
	})
	t.Run("into a branch that no environment follows", func(t *testing.T) {
		w.in(t)
		w.pull("aside", map[string]string{"content/x.md": "x"}, func(p *standin.GitHubPullRequest) { p.Base = "topic" })
		w.settled()
		if all := w.runs(w.git("rev-parse", "aside"), "Purge preview"); len(all) != 0 {
			t.Errorf("runs: %+v", all)
		}
	})
	if calls := w.github.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

func TestPreviewOfABrokenRulesFile(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	broken := strings.ReplaceAll(testRules, "{host}/{1}\"", "{host}/{7}\"") + "tset: []\n"
	w.pull("topic", map[string]string{"purge-rules.yaml": broken, "content/index/home.md": "new"}, nil)
	sha := w.git("rev-parse", "topic")
	run := w.run(sha, "Purge preview", "failure", "2 faults in the rules file", "| `production` | production | **2 URLs** |", "**2 errors.**")
	var got []string
	for _, a := range run.Annotations {
		got = append(got, fmt.Sprintf("%s:%d %s", a.Path, a.StartLine, a.Level))
		if a.StartColumn == nil || *a.StartColumn < 1 || a.Message == "" {
			t.Errorf("annotation: %+v", a)
		}
	}
	lines := strings.Split(broken, "\n")
	want := []string{
		fmt.Sprintf("purge-rules.yaml:%d failure", 1+slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, "{7}") })),
		fmt.Sprintf("purge-rules.yaml:%d failure", 1+slices.Index(lines, "tset: []")),
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}

	t.Run("mended", func(t *testing.T) {
		w.in(t)
		w.mustGit("checkout", "--quiet", "topic")
		good := strings.ReplaceAll(testRules, "https://{host}/{1}/{2}/", "https://{host}/v2/{1}/{2}/") +
			"tests:\n  - file: content/a/b.md\n    purges: [https://www.acme.com/nowhere/]\n"
		next := w.commit("mend", map[string]string{"purge-rules.yaml": good})
		w.mustGit("checkout", "--quiet", "main")
		if _, err := w.github.Push(t.Context(), w.fullName(), "topic", next, standin.GitHubPushOptions{}); err != nil {
			t.Fatal(err)
		}
		// Its test fails, and the difference is shown only for a file without errors.
		run := w.run(next, "Purge preview", "failure", "in the rules file")
		if len(run.Annotations) == 0 {
			t.Error("the test that fails has no annotation")
		}
		w.mustGit("checkout", "--quiet", "topic")
		good, _, _ = strings.Cut(good, "tests:")
		next = w.commit("mend more", map[string]string{"purge-rules.yaml": good + "  - name: more\n    match: content/index/**\n    tags: [acme-index]\n"})
		w.mustGit("checkout", "--quiet", "main")
		if _, err := w.github.Push(t.Context(), w.fullName(), "topic", next, standin.GitHubPushOptions{}); err != nil {
			t.Fatal(err)
		}
		w.run(next, "Purge preview", "neutral", "Would purge 2 URLs in production; 1 URL in staging", "It is valid, and its tests pass.",
			"**`production`**: 3 more, 2 less", "| + | `https://www.acme.com/v2/index/home/` | `pages` |", "| + | `tag:acme-index` | `more` |",
			"| − | `https://www.acme.com/index/home/` | `pages` |")
		w.settled()
		w.wantSent()
	})
}

func TestPreviewOfLimitsAndPolicy(t *testing.T) {
	w, _ := newWorld(t, func(c *stageConfig) { c.policy[0].HoldOver.Delete = 2 })
	w.push(w.commit("rules", map[string]string{"purge-rules.yaml": testRules + `  - name: other
    match: content/**
    urls: ["https://www.other.com/{1}"]
limits:
  - over: 3
    instead: hold
`}))
	w.begin()
	w.pull("topic", map[string]string{"content/a/a.md": "x", "content/a/b.md": "x"}, nil)
	w.run(w.git("rev-parse", "topic"), "Purge preview", "neutral", "4 URLs in production, held", "would wait until somebody releases it",
		"2 more would be refused", "### Would be refused: 2", "policy does not allow host www.other.com")
}

// An operator may want more than a good rules file before a merge.
func TestPreviewThatFailsByPolicy(t *testing.T) {
	w, _ := newWorld(t, func(c *stageConfig) {
		c.policy[0].Previews.Fail = []policy.Concern{policy.Refused, policy.Held, policy.Unmatched}
	})
	w.push(w.commit("rules", map[string]string{"purge-rules.yaml": testRules + `  - name: other
    match: other/**
    urls: ["https://www.other.com/{1}"]
limits: [{over: 3, instead: hold}]
`}))
	w.begin()
	const fails = "**Fails by the operator's policy:** "
	for branch, test := range map[string]struct {
		files      map[string]string
		conclusion string
		words      string
	}{
		"good":      {map[string]string{"content/a/a.md": "x"}, "neutral", ""},
		"refused":   {map[string]string{"other/a.md": "x"}, "failure", fails + "2 objects would be refused."},
		"held":      {map[string]string{"content/a/a.md": "y", "content/a/b.md": "x"}, "failure", fails + "a purge would wait for a person."},
		"unmatched": {map[string]string{"notes.txt": "x"}, "failure", fails + "1 changed file matches no rule."},
	} {
		w.pull(branch, test.files, nil)
		run := w.run(w.git("rev-parse", branch), "Purge preview", test.conclusion, test.words)
		if failed := strings.Contains(run.Summary, fails); failed != (test.words != "") {
			t.Errorf("%s:\n%s", branch, run.Summary)
		}
	}
}

func TestPreviewOfAHugePullRequest(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	files := map[string]string{}
	for i := range 3001 {
		files[fmt.Sprintf("static/a-rather-long-folder-name/another-one/%04d.css", i)] = "x"
	}
	w.pull("topic", files, func(p *standin.GitHubPullRequest) { p.Login = "renovate[bot]" })
	run := w.run(w.git("rev-parse", "topic"), "Purge preview", "neutral", "6000 URLs in production", "This is a part", "3000 files", "Cut here")
	for _, text := range []string{run.Summary, run.Text} {
		if len(text) > 65_535 || strings.Count(text, "<details>") != strings.Count(text, "</details>") {
			t.Errorf("a text of %d bytes, with %d tags open", len(text), strings.Count(text, "<details>")-strings.Count(text, "</details>"))
		}
	}
	_, link, _ := strings.Cut(run.Text, "[All of it](")
	link, _, _ = strings.Cut(link, ")")
	if run.DetailsURL != link {
		t.Errorf("details_url is %q, the text links to %q", run.DetailsURL, link)
	}
	listing := w.page200(link)
	if n := strings.Count(listing, "\ninvalidate\thttps://"); n != 9000 { // two hosts, and one of staging
		t.Errorf("the listing has %d objects", n)
	}
}

// page200 reads a page of the server's.
func (w *world) page200(address string) string {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		w.t.Errorf("%s: %s, %s, %v", address, answer.Status, answer.Header.Get("Content-Type"), err)
	}
	return string(body)
}

func TestPreviewOfAForkAndOfAMergeQueue(t *testing.T) {
	w, first := newWorld(t, nil)
	w.begin()
	w.pull("topic", map[string]string{"content/index/home.md": "new", "purge-rules.yaml": strings.ReplaceAll(testRules, "www.acme.com", "www.evil.com")},
		func(p *standin.GitHubPullRequest) { p.HeadRepository, p.Login = "mallory/site", "mallory" })
	sha := w.git("rev-parse", "topic")
	w.run(sha, "Purge preview", "neutral", "| `https://www.acme.com/index/home/` | `content/index/home.md` |",
		"| − | `https://www.acme.com/index/home/` | `pages` |") // what policy refuses would not be purged by its rules either
	if _, err := w.github.Push(t.Context(), w.fullName(), "gh-readonly-queue/main/pr-1", sha, standin.GitHubPushOptions{}); err != nil {
		t.Fatal(err)
	}
	queued := w.branchFrom("queued", first, map[string]string{"content/index/home.md": "queued"})
	w.send("merge_group", "checks_requested", "walt", map[string]any{"merge_group": map[string]any{
		"head_sha": queued, "head_ref": "refs/heads/gh-readonly-queue/main/pr-1-" + first, "base_sha": first, "base_ref": "refs/heads/main",
		"head_commit": map[string]any{"id": queued},
	}})
	w.run(queued, "Purge preview", "neutral", "2 URLs in production")
	w.settled()
	w.wantSent()
}

// branchFrom pushes a branch with one commit on another commit.
func (w *world) branchFrom(name, from string, files map[string]string) string {
	w.t.Helper()
	w.mustGit("checkout", "--quiet", "-b", name, from)
	sha := w.commit(name, files)
	w.mustGit("checkout", "--quiet", "main")
	if _, err := w.github.Push(w.t.Context(), w.fullName(), name, sha, standin.GitHubPushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	return sha
}
