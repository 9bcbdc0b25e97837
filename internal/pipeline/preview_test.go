package pipeline_test

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
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

func TestPreview(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	w.Pull("topic", map[string]string{
		"content/index/home.md": "new", "content/about/us.md": stage.Removed, "content/about/@team.md": "x", "layouts/base.html": "new", "notes.txt": "x",
	}, nil)
	sha := w.Git("rev-parse", "topic")
	run := w.Run(sha, "Purge preview", "neutral",
		"Would purge 6 URLs, 1 tag in production; 3 URLs, 1 tag in staging",
		"| `production` | production | **6 URLs, 1 tag** |  |", "| `staging` | staging | **3 URLs, 1 tag** |  |",
		"No rule matches 1 changed file", "- `notes.txt`",
		"### `pages`: 6 items", "| `https://www.acme.com/index/home/` | `content/index/home.md` |", "| `tag:acme-shell` | `layouts/base.html` |",
	)
	if strings.Contains(run.Summary+run.Text, "@team") {
		t.Errorf("a mention is alive:\n%s", run.Text)
	}
	if run.Status != "completed" || len(run.Annotations) != 0 || len(run.Actions) != 0 {
		t.Errorf("the run: %+v", run)
	}
	w.Settled()
	w.WantSent()

	t.Run("new commits get a run of their own", func(t *testing.T) {
		w.In(t)
		w.Git("checkout", "--quiet", "topic")
		next := w.Commit("more", map[string]string{"static/x.css": "x"})
		w.Git("checkout", "--quiet", "main")
		if _, err := w.GitHub.Push(t.Context(), w.FullName(), "topic", next, github.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		w.Run(next, "Purge preview", "neutral", "8 URLs, 1 tag in production")
	})
	t.Run("the same event again writes nothing", func(t *testing.T) {
		w.In(t)
		w.Settled()
		before := len(w.Runs("", "Purge preview"))
		for _, d := range w.GitHub.Deliveries() {
			if d.Event == "pull_request" {
				var body map[string]any
				if err := json.Unmarshal(d.Body, &body); err != nil {
					t.Fatal(err)
				}
				w.send("pull_request", d.Action, "walt", map[string]any{"number": body["number"], "pull_request": body["pull_request"]})
			}
		}
		w.Settled()
		if after := len(w.Runs("", "Purge preview")); after != before {
			t.Errorf("%d runs, then %d", before, after)
		}
	})
	t.Run("run again", func(t *testing.T) {
		w.In(t)
		all := w.Runs("", "Purge preview")
		last := all[len(all)-1]
		if _, err := w.GitHub.Rerequest(t.Context(), last.ID, "walt"); err != nil {
			t.Fatal(err)
		}
		w.Awaits("another run", func() bool { return len(w.Runs(last.SHA, "Purge preview")) == 2 })
		w.Run(last.SHA, "Purge preview", "neutral", "8 URLs, 1 tag in production")
	})
	t.Run("into a branch that no environment follows", func(t *testing.T) {
		w.In(t)
		w.Pull("aside", map[string]string{"content/x.md": "x"}, func(p *github.PullRequest) { p.Base = "topic" })
		w.Settled()
		if all := w.Runs(w.Git("rev-parse", "aside"), "Purge preview"); len(all) != 0 {
			t.Errorf("runs: %+v", all)
		}
	})
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}

func TestPreviewOfABrokenRulesFile(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	broken := strings.ReplaceAll(servertest.Rules, "{host}/{1}\"", "{host}/{7}\"") + "tset: []\n"
	w.Pull("topic", map[string]string{"purge-rules.yaml": broken, "content/index/home.md": "new"}, nil)
	sha := w.Git("rev-parse", "topic")
	run := w.Run(sha, "Purge preview", "failure", "2 errors in the rules file", "| `production` | production | **2 URLs** |", "**2 errors.**")
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
		w.In(t)
		w.Git("checkout", "--quiet", "topic")
		good := strings.ReplaceAll(servertest.Rules, "https://{host}/{1}/{2}/", "https://{host}/v2/{1}/{2}/") +
			"tests:\n  - file: content/a/b.md\n    purges: [https://www.acme.com/nowhere/]\n"
		next := w.Commit("mend", map[string]string{"purge-rules.yaml": good})
		w.Git("checkout", "--quiet", "main")
		if _, err := w.GitHub.Push(t.Context(), w.FullName(), "topic", next, github.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		// Its test fails, and the difference is shown only for a file without errors.
		run := w.Run(next, "Purge preview", "failure", "in the rules file")
		if len(run.Annotations) == 0 {
			t.Error("the test that fails has no annotation")
		}
		w.Git("checkout", "--quiet", "topic")
		good, _, _ = strings.Cut(good, "tests:")
		next = w.Commit("mend more", map[string]string{"purge-rules.yaml": good + "  - name: more\n    match: content/index/**\n    tags: [acme-index]\n"})
		w.Git("checkout", "--quiet", "main")
		if _, err := w.GitHub.Push(t.Context(), w.FullName(), "topic", next, github.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		w.Run(next, "Purge preview", "neutral", "Would purge 2 URLs in production; 1 URL in staging", "It is valid and its tests pass, with", "fits no file",
			"**`production`**: 3 more, 2 fewer", "| + | `https://www.acme.com/v2/index/home/` | `pages` |", "| + | `tag:acme-index` | `more` |",
			"| − | `https://www.acme.com/index/home/` | `pages` |", "How many of the repository's files each rule fits:", "| `pages` | 2 | 0 |", "| `more` | 1 | 0 |")
		w.Settled()
		w.WantSent()
	})
}

func TestPreviewOfLimitsAndPolicy(t *testing.T) {
	w, _ := newWorld(t, func(c *stage.Config) { c.Policy[0].HoldOver.Delete = 2 })
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": servertest.Rules + `  - name: other
    match: content/**
    urls: ["https://www.other.com/{1}"]
limits:
  - over: 3
    instead: hold
`}))
	w.Begin()
	w.Pull("topic", map[string]string{"content/a/a.md": "x", "content/a/b.md": "x"}, nil)
	w.Run(w.Git("rev-parse", "topic"), "Purge preview", "neutral", "4 URLs in production (needs approval)", "would need approval",
		"2 more would be refused", "### Would be refused: 2", "policy doesn't allow host www.other.com")
}

// An operator may want more than a good rules file before a merge.
func TestPreviewThatFailsByPolicy(t *testing.T) {
	w, _ := newWorld(t, func(c *stage.Config) {
		c.Policy[0].Previews.Fail = []policy.Finding{policy.Refused, policy.Held, policy.Unmatched}
	})
	w.Push(w.Commit("rules", map[string]string{"purge-rules.yaml": servertest.Rules + `  - name: other
    match: other/**
    urls: ["https://www.other.com/{1}"]
limits: [{over: 3, instead: hold}]
`}))
	w.Begin()
	const fails = "**Failed, as the purgebot operator's policy asks:** "
	for branch, test := range map[string]struct {
		files      map[string]string
		conclusion string
		words      string
	}{
		"good":      {map[string]string{"content/a/a.md": "x"}, "neutral", ""},
		"refused":   {map[string]string{"other/a.md": "x"}, "failure", fails + "2 items would be refused."},
		"held":      {map[string]string{"content/a/a.md": "y", "content/a/b.md": "x"}, "failure", fails + "a purge would need approval."},
		"unmatched": {map[string]string{"notes.txt": "x"}, "failure", fails + "No rule matches 1 changed file."},
	} {
		w.Pull(branch, test.files, nil)
		run := w.Run(w.Git("rev-parse", branch), "Purge preview", test.conclusion, test.words)
		if failed := strings.Contains(run.Summary, fails); failed != (test.words != "") {
			t.Errorf("%s:\n%s", branch, run.Summary)
		}
	}
}

func TestPreviewOfAHugePullRequest(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	files := map[string]string{}
	for i := range 3001 {
		files[fmt.Sprintf("static/a-rather-long-folder-name/another-one/%04d.css", i)] = "x"
	}
	w.Pull("topic", files, func(p *github.PullRequest) { p.Login = "renovate[bot]" })
	run := w.Run(w.Git("rev-parse", "topic"), "Purge preview", "neutral", "6000 URLs in production", "Incomplete list", "3000 files", "no more text here")
	for _, text := range []string{run.Summary, run.Text} {
		if len(text) > 65_535 || strings.Count(text, "<details>") != strings.Count(text, "</details>") {
			t.Errorf("a text of %d bytes, with %d tags open", len(text), strings.Count(text, "<details>")-strings.Count(text, "</details>"))
		}
	}
	_, link, _ := strings.Cut(run.Text, "[Full details](")
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
	w.T.Helper()
	r, err := http.NewRequestWithContext(w.T.Context(), http.MethodGet, address, nil)
	if err != nil {
		w.T.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.T.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		w.T.Errorf("%s: %s, %s, %v", address, answer.Status, answer.Header.Get("Content-Type"), err)
	}
	return string(body)
}

func TestPreviewOfAForkAndOfAMergeQueue(t *testing.T) {
	w, first := newWorld(t, func(c *stage.Config) { c.With = []string{"merge-queue"} })
	w.Begin()
	w.Pull("topic", map[string]string{"content/index/home.md": "new", "purge-rules.yaml": strings.ReplaceAll(servertest.Rules, "www.acme.com", "www.evil.com")},
		func(p *github.PullRequest) { p.HeadRepository, p.Login = "mallory/site", "mallory" })
	sha := w.Git("rev-parse", "topic")
	w.Run(sha, "Purge preview", "neutral", "| `https://www.acme.com/index/home/` | `content/index/home.md` |",
		"| − | `https://www.acme.com/index/home/` | `pages` |") // what policy refuses would not be purged by its rules either
	if _, err := w.GitHub.Push(t.Context(), w.FullName(), "gh-readonly-queue/main/pr-1", sha, github.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	queued := w.branchFrom("queued", first, map[string]string{"content/index/home.md": "queued"})
	w.send("merge_group", "checks_requested", "walt", map[string]any{"merge_group": map[string]any{
		"head_sha": queued, "head_ref": "refs/heads/gh-readonly-queue/main/pr-1-" + first, "base_sha": first, "base_ref": "refs/heads/main",
		"head_commit": map[string]any{"id": queued},
	}})
	w.Run(queued, "Purge preview", "neutral", "2 URLs in production")
	w.Settled()
	w.WantSent()
}

// branchFrom pushes a branch with one commit on another commit.
func (w *world) branchFrom(name, from string, files map[string]string) string {
	w.T.Helper()
	w.Git("checkout", "--quiet", "-b", name, from)
	sha := w.Commit(name, files)
	w.Git("checkout", "--quiet", "main")
	if _, err := w.GitHub.Push(w.T.Context(), w.FullName(), name, sha, github.PushOptions{}); err != nil {
		w.T.Fatal(err)
	}
	return sha
}
