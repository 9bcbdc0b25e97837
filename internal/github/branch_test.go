package github_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/mapping"
)

// One call tells a branch's head and the difference to it. Afterwards the difference
// between the two commits costs no call. If the comparison does not tell the head, the
// branch does.
func TestChangesToBranch(t *testing.T) {
	t.Parallel()
	var w writer
	one := w.commit("main", map[string]content{"a": {"100644", "1"}})
	two := w.commit("main", map[string]content{"a": {"100644", "2"}}, one)
	three := w.commit("main", map[string]content{"a": {"100644", "2"}, "b": {"100644", "1"}}, two)
	fork := w.commit("main", map[string]content{"a": {"100644", "9"}}, one)
	orphan := w.commit("main", map[string]content{"z": {"100644", "1"}})
	h := w.finish(t)
	g, app := serveConfig(t, ghstandin.Config{
		Limits: ghstandin.Limits{CompareCommits: 1},
		Repositories: []ghstandin.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: h.dir, DefaultBranch: "main", Branches: map[string]string{
			"main": h.commits[two-1], "far": h.commits[three-1], "feature/x": h.commits[fork-1], "old": h.commits[one-1], "orphan": h.commits[orphan-1],
		}}},
	})
	// Anybody who may push may also create a tag. It must not be taken for the branch.
	if _, err := g.Push(t.Context(), "acme/site", "refs/tags/main", h.commits[orphan-1], ghstandin.PushOptions{Quiet: true}); err != nil {
		t.Fatal(err)
	}
	changed := []mapping.Change{{Path: "a", Op: mapping.Modified}}
	for name, c := range map[string]struct {
		from   string
		branch string
		head   int
		want   github.Changes
		calls  int // of ChangesToBranch
	}{
		"ahead":               {h.commits[one-1], "main", two, github.Changes{Files: changed, Way: github.WayCompare, Relation: github.Ahead}, 1},
		"the same":            {h.commits[two-1], "main", two, github.Changes{Way: github.WaySame, Relation: github.Identical}, 1},
		"behind":              {h.commits[two-1], "old", one, github.Changes{Relation: github.Behind}, 1},
		"diverged":            {h.commits[two-1], "feature/x", fork, github.Changes{Relation: github.Diverged}, 1},
		"more commits":        {h.commits[one-1], "far", three, github.Changes{}, 2},
		"no common ancestor":  {h.commits[one-1], "orphan", orphan, github.Changes{}, 2},
		"the commit is gone":  {anySHA, "main", two, github.Changes{}, 2},
		"there is no branch":  {h.commits[one-1], "nowhere", 0, github.Changes{}, 2},
		"the tag is no help ": {h.commits[orphan-1], "main", two, github.Changes{}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			repository := app.Repository(1, "acme", "site")
			g.ResetCalls()
			head, got, err := repository.ChangesToBranch(t.Context(), c.from, c.branch)
			if c.head == 0 {
				if !github.IsNotFound(err) {
					t.Errorf("%s, %v; want not found", head, err)
				}
				return
			}
			if err != nil || head != h.commits[c.head-1] {
				t.Fatalf("the head is %s, %v; want %s", head, err, h.commits[c.head-1])
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(github.Changes{}, "Tree")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			calls := 0
			for _, call := range g.Calls() {
				if call.Route != "POST /app/installations/{installation}/access_tokens" {
					calls++
				}
			}
			if calls != c.calls {
				t.Errorf("it took %d calls, want %d", calls, c.calls)
			}
			if c.want.Way == "" {
				return
			}
			g.ResetCalls()
			again, err := repository.Changes(t.Context(), c.from, head, nil)
			if diff := cmp.Diff(got, again, cmpopts.IgnoreFields(github.Changes{}, "Tree")); diff != "" || err != nil || len(g.Calls()) > 0 {
				t.Errorf("once more it took %d calls, %v (-want +got):\n%s", len(g.Calls()), err, diff)
			}
		})
	}
}

// GitHub follows a symbolic link and does not say so. Its target may change while the
// link stays the same.
func TestPlainRulesFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path  string
		files map[string]content
		want  bool
	}{
		"a file":             {"purge-rules.yaml", map[string]content{"purge-rules.yaml": {"100644", "x"}}, true},
		"an executable":      {"purge-rules.yaml", map[string]content{"purge-rules.yaml": {"100755", "x"}}, true},
		"a link":             {"purge-rules.yaml", map[string]content{"purge-rules.yaml": {"120000", "y"}, "y": {"100644", "x"}}, false},
		"in .github":         {".github/purge-rules.yaml", map[string]content{".github/purge-rules.yaml": {"100644", "x"}}, true},
		"a link in .github":  {".github/purge-rules.yaml", map[string]content{".github/purge-rules.yaml": {"120000", "../y"}, "y": {"100644", "x"}}, false},
		"not there":          {"purge-rules.yaml", map[string]content{"y": {"100644", "x"}}, false},
		"no folder .github":  {".github/purge-rules.yaml", map[string]content{"y": {"100644", "x"}}, false},
		"a folder of a name": {"purge-rules.yaml", map[string]content{"purge-rules.yaml/y": {"100644", "x"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w writer
			w.commit("main", c.files)
			h := w.finish(t)
			_, repository := h.serve(t, ghstandin.Limits{})
			if got, err := repository.PlainRulesFile(t.Context(), h.commits[0], c.path); got != c.want || err != nil {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}
