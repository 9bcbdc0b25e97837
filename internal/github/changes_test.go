package github_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/mapping"
)

// serve plays GitHub for one history and gives the App's handle of it.
func (h history) serve(t testing.TB, limits standin.GitHubLimits) (*standin.GitHub, *github.Repository) {
	t.Helper()
	g, app := serveConfig(t, standin.GitHubConfig{
		Limits:       limits,
		Repositories: []standin.GitHubRepository{{Owner: "acme", Name: "site", Dir: h.dir}},
	})
	return g, app.Repository(1, "acme", "site")
}

func serveConfig(t testing.TB, cfg standin.GitHubConfig) (*standin.GitHub, *github.App) {
	t.Helper()
	g, err := standin.NewGitHub(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		server.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, newApp(t, g, server.URL)
}

func newApp(t testing.TB, g *standin.GitHub, address string) *github.App {
	t.Helper()
	app, err := github.New(github.Config{APIURL: address, AppID: g.AppID(), PrivateKey: g.PrivateKeyPEM()})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// noCompare hides the comparison, so that trees must do.
func noCompare(r *http.Request) standin.GitHubFault {
	if strings.Contains(r.URL.Path, "/compare/") {
		return standin.GitHubFault{Status: http.StatusNotFound}
	}
	return standin.GitHubFault{}
}

func TestChangesEqualGitDiff(t *testing.T) {
	t.Parallel()
	truncating := standin.GitHubLimits{TreeEntries: 6}
	for _, test := range []struct {
		name     string
		limits   standin.GitHubLimits
		fault    func(*http.Request) standin.GitHubFault
		remember bool
		ways     []github.Way
	}{
		{name: "as it comes", ways: []github.Way{github.WayCompare, github.WayTrees}},
		{name: "as it comes, remembered", remember: true, ways: []github.Way{github.WayCompare, github.WayTrees}},
		{name: "trees", fault: noCompare, ways: []github.Way{github.WayTrees}},
		{name: "walk", fault: noCompare, limits: truncating, ways: []github.Way{github.WayWalk}},
		{name: "walk, remembered", fault: noCompare, limits: truncating, remember: true, ways: []github.Way{github.WayWalk}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				h := randomHistory(t, seed, 40)
				g, repository := h.serve(t, test.limits)
				g.Fault(test.fault)
				ways := h.checkPairs(t, repository, rand.New(rand.NewPCG(seed, 2)), test.remember)
				for _, w := range test.ways {
					if ways[w] == 0 {
						t.Errorf("seed %d: no difference was found by %s; the ways were %v", seed, w, ways)
					}
				}
			}
		})
	}
}

// checkPairs compares random commits and counts the ways it went.
func (h history) checkPairs(t *testing.T, repository *github.Repository, random *rand.Rand, remember bool) map[github.Way]int {
	t.Helper()
	ways := map[github.Way]int{}
	for range 40 {
		from, to := h.commits[random.IntN(len(h.commits))], h.commits[random.IntN(len(h.commits))]
		if random.IntN(3) == 0 { // a near pair, where a comparison does
			i := random.IntN(len(h.commits) - 1)
			from, to = h.commits[i], h.commits[i+1]
		}
		var remembered *github.Tree
		if remember {
			remembered = github.MakeTree(from, h.tree(t, from)...)
		}
		got, err := repository.Changes(t.Context(), from, to, remembered)
		if err != nil {
			t.Fatalf("changes from %s to %s: %v", from, to, err)
		}
		if diff := cmp.Diff(h.diff(t, from, to), got.Files, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changes from %s to %s by %s (-git +got):\n%s", from, to, got.Way, diff)
		}
		if got.Tree != nil {
			h.checkTree(t, to, got.Tree)
		} else if got.Way == github.WayTrees || remember && got.Way == github.WayWalk {
			t.Fatalf("by %s the new tree was read, but is not given", got.Way)
		}
		ways[got.Way]++
	}
	return ways
}

func (h history) checkTree(t *testing.T, commit string, got *github.Tree) {
	t.Helper()
	if got.Commit() != commit {
		t.Errorf("the tree of %s says it is of %s", commit, got.Commit())
	}
	if diff := cmp.Diff(h.tree(t, commit), slices.Collect(got.All()), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("tree of %s (-git +got):\n%s", commit, diff)
	}
}

func TestTreeEqualsGitsListing(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]standin.GitHubLimits{
		"one call":  {},
		"truncated": {TreeEntries: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := randomHistory(t, 7, 25)
			_, repository := h.serve(t, limits)
			for _, commit := range h.commits {
				tree, err := repository.Tree(t.Context(), commit)
				if err != nil {
					t.Fatal(err)
				}
				h.checkTree(t, commit, tree)
				root := strings.TrimSpace(git(t, h.dir, nil, "rev-parse", commit+"^{tree}"))
				if id := github.RootID(tree); id.String() != root {
					t.Errorf("the root of %s is computed as %s; it is %s", commit, id, root)
				}
			}
		})
	}
}

func TestChangesOfAGoneCommit(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 3, 5)
	_, repository := h.serve(t, standin.GitHubLimits{})
	const gone = "0123456789012345678901234567890123456789"
	newest := h.commits[4]

	if c, err := repository.Changes(t.Context(), gone, newest, nil); !errors.Is(err, github.ErrGone) || github.IsNotFound(err) {
		t.Errorf("from a gone commit: %+v, %v; want ErrGone and nothing else", c, err)
	}
	remembered := github.MakeTree(gone, h.tree(t, h.commits[0])...)
	c, err := repository.Changes(t.Context(), gone, newest, remembered)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h.diff(t, h.commits[0], newest), c.Files); diff != "" {
		t.Errorf("from a gone commit whose tree is remembered (-git +got):\n%s", diff)
	}
	if c, err := repository.Changes(t.Context(), newest, gone, nil); !github.IsNotFound(err) || errors.Is(err, github.ErrGone) {
		t.Errorf("to a gone commit: %+v, %v; want not found and nothing else", c, err)
	}
}

// GitHub says 404 of a repository that the App may no longer see, too. That
// must not look like a commit that is gone, after which everything is purged.
func TestChangesOfARepositoryOutOfSight(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 3, 5)
	g, repository := h.serve(t, standin.GitHubLimits{})
	if err := g.Delete("acme/site"); err != nil {
		t.Fatal(err)
	}
	c, err := repository.Changes(t.Context(), h.commits[0], h.commits[4], nil)
	if !github.IsNotFound(err) || errors.Is(err, github.ErrGone) {
		t.Errorf("%+v, %v; want not found and nothing else", c, err)
	}
	if file, found, err := repository.RulesFile(t.Context(), h.commits[4]); err == nil {
		t.Errorf("rules file: %+v, %v; want an error, not a repository without rules", file, found)
	}
}

func TestChangesIgnoreTheTreeOfAnotherCommit(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 4, 6)
	g, repository := h.serve(t, standin.GitHubLimits{})
	g.Fault(noCompare)
	wrong := github.MakeTree(h.commits[1], h.tree(t, h.commits[1])...)
	c, err := repository.Changes(t.Context(), h.commits[0], h.commits[5], wrong)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h.diff(t, h.commits[0], h.commits[5]), c.Files); diff != "" {
		t.Errorf("(-git +got):\n%s", diff)
	}
}

// A comparison with 300 files may have more; with 299 it has all.
func TestChangesTrustAComparisonBelowItsLimit(t *testing.T) {
	t.Parallel()
	for files, want := range map[int]github.Way{299: github.WayCompare, 300: github.WayTrees, 301: github.WayTrees} {
		var w writer
		tree := map[string]content{"old": {"100644", "1"}}
		base := w.commit("main", tree)
		for i := range files {
			tree[string(rune('a'+i%26))+"/"+strings.Repeat("x", i/26+1)] = content{"100644", "new" + string(rune('0'+i%10))}
		}
		w.commit("main", tree, base)
		h := w.finish(t)
		_, repository := h.serve(t, standin.GitHubLimits{})
		c, err := repository.Changes(t.Context(), h.commits[0], h.commits[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Way != want || len(c.Files) != files {
			t.Errorf("%d files: found %d by %s; want %s", files, len(c.Files), c.Way, want)
		}
		if want == github.WayCompare && c.Relation != github.Ahead {
			t.Errorf("the relation is %q", c.Relation)
		}
	}
}

func TestChangesSeeWhatComparisonsDoNot(t *testing.T) {
	t.Parallel()
	var w writer
	first := w.commit("main", map[string]content{"a": {"100644", "1"}, "b": {"100644", "1"}})
	second := w.commit("main", map[string]content{"a": {"100644", "2"}, "c": {"100644", "1"}}, first)
	fork := w.commit("main", map[string]content{"a": {"100644", "3"}, "b": {"100644", "1"}}, first)
	orphan := w.commit("main", map[string]content{"z": {"100644", "1"}})
	empty := w.commit("main", map[string]content{"z": {"100644", "1"}}, orphan)
	h := w.finish(t)
	_, repository := h.serve(t, standin.GitHubLimits{})
	for _, test := range []struct {
		name     string
		from, to int
		want     []mapping.Change
		relation github.Relation
	}{
		{"rollback", second, first, []mapping.Change{
			{Path: "a", Op: mapping.Modified}, {Path: "b", Op: mapping.Added}, {Path: "c", Op: mapping.Removed},
		}, github.Behind},
		{"force-push", second, fork, []mapping.Change{
			{Path: "a", Op: mapping.Modified}, {Path: "b", Op: mapping.Added}, {Path: "c", Op: mapping.Removed},
		}, github.Diverged},
		{"unrelated", first, orphan, []mapping.Change{
			{Path: "a", Op: mapping.Removed}, {Path: "b", Op: mapping.Removed}, {Path: "z", Op: mapping.Added},
		}, github.Unrelated},
		{"a commit that changes nothing", orphan, empty, nil, github.Ahead},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			from, to := h.commits[test.from-1], h.commits[test.to-1]
			c, err := repository.Changes(t.Context(), from, to, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, c.Files, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			compared, err := repository.Compare(t.Context(), from, to)
			if err != nil || compared.Relation != test.relation {
				t.Errorf("the relation is %q, %v; want %q", compared.Relation, err, test.relation)
			}
		})
	}
}
