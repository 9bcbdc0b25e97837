package github_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestTrees(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	wanted := strings.Split(strings.TrimSuffix(h.git("", "ls-tree", "-rtz", h.third), "\x00"), "\x00")
	for _, name := range []string{h.third, h.git("", "rev-parse", h.third+"^{tree}"), "main"} {
		tree, _, err := p.client.Git.GetTree(t.Context(), "acme", "site", name, true)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range tree.Entries {
			got = append(got, e.GetMode()+" "+e.GetType()+" "+e.GetSHA()+"\t"+e.GetPath())
		}
		slices.Sort(got)
		slices.Sort(wanted)
		if d := cmp.Diff(wanted, got); d != "" || tree.GetTruncated() {
			t.Errorf("recursive tree of %s (-git +stand-in):\n%s", name, d)
		}
	}
	flat, _, err := p.client.Git.GetTree(t.Context(), "acme", "site", h.third, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range flat.Entries {
		if strings.Contains(e.GetPath(), "/") {
			t.Errorf("a tree without recursive has %s", e.GetPath())
		}
	}
	p.do("GET", repoPath("git/trees/%s", strings.Repeat("a", 40)), "").want(http.StatusNotFound, "Not Found")
}

func TestTreesAreTruncated(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]standin.Limits{"entries": {TreeEntries: 3}, "bytes": {TreeBytes: 700}} {
		t.Run(name, func(t *testing.T) {
			p, h := playHistory(t, func(c *standin.Config) { c.Limits = limits })
			all, _, err := p.client.Git.GetTree(t.Context(), "acme", "site", h.third, true)
			if err != nil || !all.GetTruncated() || len(all.Entries) > 3 || len(all.Entries) == 0 {
				t.Errorf("recursive: %d entries, truncated %v, %v", len(all.Entries), all.GetTruncated(), err)
			}
			one, _, err := p.client.Git.GetTree(t.Context(), "acme", "site", h.third, false)
			if err != nil || one.GetTruncated() || len(one.Entries) < 5 {
				t.Errorf("one level: %d entries, truncated %v, %v", len(one.Entries), one.GetTruncated(), err)
			}
		})
	}
}

func TestContents(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	h := newHistory(t, "commit refs/heads/main\ncommitter Ada <ada@example.com> 1793534700 +0000\ndata 3\nbig\nfrom :4\n",
		fmt.Sprintf("M 100644 inline big.bin\ndata %d\n%s\n", mega+1, strings.Repeat("x", mega+1)),
		fmt.Sprintf("M 100644 inline edge.bin\ndata %d\n%s\n\n", mega, strings.Repeat("x", mega)))
	head := h.third
	p := play(t, standin.Config{Repositories: []standin.Repository{{Owner: "acme", Name: "site", Dir: h.dir}}})
	get := func(path, ref string) (*github.RepositoryContent, []*github.RepositoryContent) {
		t.Helper()
		file, dir, _, err := p.client.Repositories.GetContents(t.Context(), "acme", "site", path, &github.RepositoryContentGetOptions{Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		return file, dir
	}
	file, _ := get("content/docs/ü b%#.md", "feature/ü")
	if text, err := file.GetContent(); err != nil || text != "ü\n" {
		t.Errorf("unicode name: %q, %v", text, err)
	}
	link, _ := get("link", head)
	if text, err := link.GetContent(); err != nil || text != "version: 1\n" || link.GetPath() != "link" || link.GetType() != "file" {
		t.Errorf("a symbolic link gives %q of %s %s, %v; want its target's content", text, link.GetType(), link.GetPath(), err)
	}
	if away, _ := get("away", head); away.GetType() != "symlink" || away.GetTarget() != "/etc/passwd" {
		t.Errorf("a symbolic link out of the repository: %v", away)
	}
	if sub, _ := get("theme", head); sub.GetType() != "submodule" || sub.GetSHA() != strings.Repeat("1", 40) {
		t.Errorf("a submodule: %v", sub)
	}
	if _, err := mustFile(get("edge.bin", head)).GetContent(); err != nil {
		t.Errorf("1 MB: %v", err)
	}
	if big, _ := get("big.bin", head); big.GetEncoding() != "none" || big.GetSize() != mega+1 {
		t.Errorf("over 1 MB: encoding %s, size %d", big.GetEncoding(), big.GetSize())
	}
	if raw := p.do("GET", repoPath("contents/big.bin"), "", "Accept", "application/vnd.github.raw+json"); len(raw.body) != mega+1 {
		t.Errorf("raw: %d bytes", len(raw.body))
	}
	if _, dir := get("content/docs", "feature/ü"); len(dir) != 2 || dir[0].GetType() != "file" || dir[0].GetSize() == 0 {
		t.Errorf("a folder: %v", dir)
	}
	p.do("GET", repoPath("contents/nothing.md"), "").want(http.StatusNotFound, "Not Found")
	p.do("GET", repoPath("contents/link?ref=nowhere"), "").want(http.StatusNotFound, "No commit found for the ref nowhere")
}

func mustFile(file *github.RepositoryContent, _ []*github.RepositoryContent) *github.RepositoryContent {
	return file
}

func TestCommits(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	c, _, err := p.client.Repositories.GetCommit(t.Context(), "acme", "site", h.second, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.GetSHA() != h.second || c.Parents[0].GetSHA() != h.first || c.GetCommit().GetTree().GetSHA() != h.git("", "rev-parse", h.second+"^{tree}") {
		t.Errorf("commit: %v", c)
	}
	if c.GetCommit().GetMessage() != "second" || c.GetCommit().GetAuthor().GetEmail() != "ada@example.com" || c.GetStats().GetAdditions() == 0 {
		t.Errorf("commit's words: %v", c.GetCommit())
	}
	for _, ref := range []string{"main", "heads/main", "refs/heads/main", h.third[:8], "HEAD"} {
		sha, _, err := p.client.Repositories.GetCommitSHA1(t.Context(), "acme", "site", ref, "")
		if err != nil || sha != h.third {
			t.Errorf("%s is %s, %v; want %s", ref, sha, err, h.third)
		}
	}
	p.do("GET", repoPath("commits/%s", strings.Repeat("b", 40)), "").want(http.StatusUnprocessableEntity, "No commit found for SHA")
	git, _, err := p.client.Git.GetCommit(t.Context(), "acme", "site", h.first)
	if err != nil || git.GetTree().GetSHA() != h.git("", "rev-parse", h.first+"^{tree}") || len(git.Parents) != 0 {
		t.Errorf("git commit: %v, %v", git, err)
	}
	ref, _, err := p.client.Git.GetRef(t.Context(), "acme", "site", "heads/feature/ü")
	if err != nil || ref.GetObject().GetSHA() != h.side || ref.GetObject().GetType() != "commit" {
		t.Errorf("reference: %v, %v", ref, err)
	}
	p.do("GET", repoPath("git/ref/heads/feature"), "").want(http.StatusNotFound, "Not Found")
}

func TestCompare(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	for _, tc := range []struct {
		name, base, head string
		status           string
		ahead, behind    int
		files            []string
	}{
		{"ahead", h.first, h.second, "ahead", 1, 0, []string{
			"renamed content/docs/renamed.md < content/docs/a.md", "removed content/docs/ü b%#.md", "added new.txt", "changed run.sh", "added theme",
		}},
		{"a rollback lists nothing", h.third, h.first, "behind", 0, 2, nil},
		{"diverged from the merge base", h.side, h.third, "diverged", 2, 1, []string{
			"renamed content/docs/renamed.md < content/docs/a.md", "removed content/docs/ü b%#.md", "added new.txt", "changed run.sh", "added theme",
		}},
		{"identical", "main", h.third, "identical", 0, 0, nil},
		{"branches", "main", "feature/ü", "diverged", 1, 2, []string{"added side.txt"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, err := p.client.Repositories.CompareCommits(t.Context(), "acme", "site", tc.base, tc.head, nil)
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, f := range c.Files {
				line := f.GetStatus() + " " + f.GetFilename()
				if f.GetPreviousFilename() != "" {
					line += " < " + f.GetPreviousFilename()
				}
				files = append(files, line)
			}
			slices.Sort(files)
			slices.Sort(tc.files)
			if d := cmp.Diff(tc.files, files); d != "" {
				t.Error(d)
			}
			if c.GetStatus() != tc.status || c.GetAheadBy() != tc.ahead || c.GetBehindBy() != tc.behind || len(c.Commits) != tc.ahead {
				t.Errorf("%s, ahead %d, behind %d, %d commits", c.GetStatus(), c.GetAheadBy(), c.GetBehindBy(), len(c.Commits))
			}
		})
	}
	p.do("GET", repoPath("compare/%s...%s", h.first, h.orphan), "").want(http.StatusNotFound, "No common ancestor between "+h.first+" and "+h.orphan)
	p.do("GET", repoPath("compare/%s..%s", h.first, h.second), "").want(http.StatusNotFound, "Not Found")
	p.do("GET", repoPath("compare/%s...%s", h.first, url.PathEscape("no/where")), "").want(http.StatusNotFound, "Not Found")
}

func TestCompareIsCutOff(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, func(c *standin.Config) { c.Limits = standin.Limits{CompareFiles: 2, CompareCommits: 1} })
	var c github.CommitsComparison
	p.do("GET", repoPath("compare/%s...%s", h.first, h.third), "").want(http.StatusOK, "").into(&c)
	if len(c.Files) != 2 || len(c.Commits) != 1 || c.GetTotalCommits() != 2 {
		t.Errorf("%d files, %d commits of %d; want 2, 1 of 2", len(c.Files), len(c.Commits), c.GetTotalCommits())
	}
	second := p.do("GET", repoPath("compare/%s...%s?per_page=1&page=2", h.first, h.third), "").want(http.StatusOK, "")
	c = github.CommitsComparison{}
	second.into(&c)
	if len(c.Files) != 0 || len(c.Commits) != 1 || c.Commits[0].GetSHA() != h.third {
		t.Errorf("second page: %d files, commits %v", len(c.Files), c.Commits)
	}
	if link := second.header.Get("Link"); !strings.Contains(link, `page=1&per_page=1>; rel="prev"`) || strings.Contains(link, `rel="next"`) {
		t.Errorf("Link: %s", link)
	}
}
