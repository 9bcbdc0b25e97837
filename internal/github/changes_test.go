package github_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/mapping"
)

// serve plays GitHub for one history and returns the App's handle of it.
func (h history) serve(t testing.TB, limits ghstandin.Limits) (*ghstandin.Server, *github.Repository) {
	t.Helper()
	g, app := serveConfig(t, ghstandin.Config{
		Limits:       limits,
		Repositories: []ghstandin.Repository{{Owner: "acme", Name: "site", Dir: h.dir}},
	})
	return g, app.Repository(1, "acme", "site")
}

func serveConfig(t testing.TB, cfg ghstandin.Config) (*ghstandin.Server, *github.App) {
	t.Helper()
	g, appConfig := serveHTTP(t, cfg)
	app, err := github.New(appConfig)
	if err != nil {
		t.Fatal(err)
	}
	return g, app
}

func serveHTTP(t testing.TB, cfg ghstandin.Config) (*ghstandin.Server, github.Config) {
	t.Helper()
	key := newKey(t)
	cfg.AppKey = &key.PublicKey
	g, err := ghstandin.New(cfg)
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
	return g, github.Config{APIURL: server.URL, AppID: g.AppID(), PrivateKey: keyPEM(key)}
}

// noCompare hides the comparison, so that the trees must be used.
func noCompare(r *http.Request) ghstandin.Fault {
	if strings.Contains(r.URL.Path, "/compare/") {
		return ghstandin.Fault{Status: http.StatusNotFound}
	}
	return ghstandin.Fault{}
}

func TestChangesEqualGitDiff(t *testing.T) {
	t.Parallel()
	truncating := ghstandin.Limits{TreeEntries: 6}
	histories := make([]history, 3)
	pairs := make([][]pair, len(histories))
	for seed := range histories {
		histories[seed] = randomHistory(t, uint64(seed), 40)
		pairs[seed] = histories[seed].pairs(t, rand.New(rand.NewPCG(uint64(seed), 2)), 40)
	}
	for _, test := range []struct {
		name     string
		limits   ghstandin.Limits
		fault    func(*http.Request) ghstandin.Fault
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
			for seed, h := range histories {
				g, repository := h.serve(t, test.limits)
				g.Fault(test.fault)
				random := rand.New(rand.NewPCG(uint64(seed), 3))
				ways := map[github.Way]int{}
				for _, p := range pairs[seed] {
					ways[h.checkPair(t, repository, p, test.remember, random)]++
				}
				for _, w := range test.ways {
					if ways[w] == 0 {
						t.Errorf("seed %d: no difference was found by %s; the ways were %v", seed, w, ways)
					}
				}
			}
		})
	}
}

// checkPair compares two commits and returns the way that was used. If a tree is
// remembered, it is sometimes that of a random commit.
func (h history) checkPair(t *testing.T, repository *github.Repository, p pair, remember bool, random *rand.Rand) github.Way {
	t.Helper()
	var remembered *github.Tree
	if remember {
		known := p.from
		if random.IntN(3) == 0 {
			known = h.commits[random.IntN(len(h.commits))]
		}
		remembered = github.MakeTree(known, h.tree(t, known)...)
	}
	got, err := repository.Changes(t.Context(), p.from, p.to, remembered)
	if err != nil {
		t.Fatalf("changes from %s to %s: %v", p.from, p.to, err)
	}
	if diff := cmp.Diff(p.want, got.Files, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("changes from %s to %s by %s (-git +got):\n%s", p.from, p.to, got.Way, diff)
	}
	if got.Tree != nil {
		h.checkTree(t, p.to, got.Tree)
	} else if got.Way == github.WayTrees || remember && got.Way == github.WayWalk {
		t.Fatalf("by %s the new tree was read, but is not given", got.Way)
	}
	return got.Way
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
	for name, limits := range map[string]ghstandin.Limits{
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
	_, repository := h.serve(t, ghstandin.Limits{})
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

// GitHub also answers 404 for a repository that the App may no longer see. That must not
// look like a commit that is gone, because then everything would be purged.
func TestChangesOfARepositoryOutOfSight(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 3, 5)
	g, repository := h.serve(t, ghstandin.Limits{})
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
	g, repository := h.serve(t, ghstandin.Limits{})
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
		_, repository := h.serve(t, ghstandin.Limits{})
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
	_, repository := h.serve(t, ghstandin.Limits{})
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

// A comparison that says ahead and shows no file at all is not believed.
func TestChangesDoubtAnEmptyComparison(t *testing.T) {
	t.Parallel()
	const head = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for name, files := range map[string]string{"empty": `, "files": []`, "null": `, "files": null`, "missing": ""} {
		repository, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "/compare/"):
				fmt.Fprintf(w, `{"status": "ahead", "ahead_by": 1, "merge_base_commit": {"sha": %q}%s}`, anySHA, files)
			case strings.HasSuffix(r.URL.Path, head):
				fmt.Fprintf(w, `{"tree": [{"path": "a", "mode": "100644", "type": "blob", "sha": %q}], "truncated": false}`, anySHA)
			default:
				fmt.Fprint(w, `{"tree": [], "truncated": false}`)
			}
		})
		c, err := repository.Changes(t.Context(), anySHA, head, nil)
		if want := []mapping.Change{{Path: "a", Op: mapping.Added}}; !slices.Equal(c.Files, want) || err != nil {
			t.Errorf("%s: %+v, %v; want %v", name, c, err, want)
		}
	}
}

// Two files that exchanged their paths are both modified.
func TestRenamesThatCross(t *testing.T) {
	t.Parallel()
	repository, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"filename": "b", "previous_filename": "a", "status": "renamed"},
			{"filename": "a", "previous_filename": "b", "status": "renamed"},
			{"filename": "d", "previous_filename": "c", "status": "copied"}, {"filename": "e", "status": "unchanged"}]`)
	})
	changes, complete, err := repository.PullFiles(t.Context(), 1)
	want := []mapping.Change{{Path: "a", Op: mapping.Modified}, {Path: "b", Op: mapping.Modified}, {Path: "d", Op: mapping.Added}}
	if !slices.Equal(changes, want) || !complete || err != nil {
		t.Errorf("%v, %v, %v; want %v", changes, complete, err, want)
	}
}

// wideHistory has two commits. The second one changes a file in each of many folders
// inside one folder, beside others that stay the same.
func wideHistory(t testing.TB) history {
	t.Helper()
	files := map[string]content{}
	for i := range 40 {
		files[fmt.Sprintf("same/%02d/x", i)] = content{"100644", "1"}
		files[fmt.Sprintf("docs/en/%02d/x", i)] = content{"100644", "1"}
	}
	var w writer
	base := w.commit("main", files)
	for i := range 30 {
		files[fmt.Sprintf("docs/en/%02d/x", i)] = content{"100644", "2"}
	}
	w.commit("main", files, base)
	return w.finish(t)
}

func TestAWalkAsksForLittle(t *testing.T) {
	t.Parallel()
	h := wideHistory(t)
	for _, test := range []struct {
		name     string
		remember bool
		calls    int
	}{
		// Both listings; both roots, docs and docs/en; both listings of docs/en.
		{"nothing remembered", false, 2 + 6 + 2},
		// Only those of the new commit.
		{"remembered", true, 1 + 3 + 1},
	} {
		g, repository := h.serve(t, ghstandin.Limits{TreeEntries: 100})
		g.Fault(noCompare)
		var remembered *github.Tree
		if test.remember {
			remembered = github.MakeTree(h.commits[0], h.tree(t, h.commits[0])...)
		}
		for _, calls := range []int{test.calls, 0} { // the second time everything is in the cache
			g.ResetCalls()
			c, err := repository.Changes(t.Context(), h.commits[0], h.commits[1], remembered)
			if err != nil || len(c.Files) != 30 || c.Way != github.WayWalk {
				t.Fatalf("%s: %d files by %s, %v", test.name, len(c.Files), c.Way, err)
			}
			got := 0
			for _, call := range g.Calls() {
				if strings.Contains(call.Path, "/git/trees/") {
					got++
				}
			}
			if got != calls {
				t.Errorf("%s: %d calls; want %d", test.name, got, calls)
			}
		}
		// A tree that was walked is walked from at once the next time.
		if !test.remember {
			continue
		}
		c, err := repository.Changes(t.Context(), h.commits[0], h.commits[1], remembered)
		if err != nil {
			t.Fatal(err)
		}
		g.ResetCalls()
		if c, err = repository.Changes(t.Context(), h.commits[1], h.commits[0], c.Tree); err != nil || len(c.Files) != 30 {
			t.Fatalf("back: %d files, %v", len(c.Files), err)
		}
		for _, call := range g.Calls() {
			if strings.Contains(call.Query, "recursive") && strings.HasSuffix(call.Path, h.commits[0]) {
				t.Error("the whole listing was asked for, though it is known to be truncated")
			}
		}
	}
}

// A walk that was stopped by a rate limit continues where it was.
func TestAStoppedWalkGoesOn(t *testing.T) {
	t.Parallel()
	h := wideHistory(t)
	g, repository := h.serve(t, ghstandin.Limits{TreeEntries: 10})
	var left atomic.Int32
	left.Store(6)
	g.Fault(func(r *http.Request) ghstandin.Fault {
		if strings.Contains(r.URL.Path, "/git/trees/") && left.Add(-1) < 0 {
			return ghstandin.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
		}
		return noCompare(r)
	})
	tries, calls := 0, 0
	for {
		c, err := repository.Changes(t.Context(), h.commits[0], h.commits[1], nil)
		if err == nil {
			if diff := cmp.Diff(h.diff(t, h.commits[0], h.commits[1]), c.Files); diff != "" {
				t.Errorf("(-git +got):\n%s", diff)
			}
			break
		}
		after, retry := github.RetryAfter(err)
		if !retry || len(c.Files) != 0 || tries > 20 {
			t.Fatalf("%+v, %v after %d tries", c, err, tries)
		}
		tries++
		select {
		case <-time.After(after):
		case <-t.Context().Done():
		}
		left.Store(30)
	}
	for _, call := range g.Calls() {
		if call.Status == http.StatusOK && strings.Contains(call.Path, "/git/trees/") {
			calls++
		}
	}
	if tries == 0 || calls > 80 {
		t.Errorf("it took %d tries and %d calls", tries, calls)
	}
}

// crowd counts the requests that are under way.
type crowd struct{ now, most atomic.Int32 }

func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for {
		most := c.most.Load()
		if n <= most || c.most.CompareAndSwap(most, n) {
			return http.DefaultTransport.RoundTrip(r)
		}
	}
}

func TestReadsGoSeveralAtATimeAndNotMore(t *testing.T) {
	t.Parallel()
	h := wideHistory(t)
	_, cfg := serveHTTP(t, ghstandin.Config{
		Latency: 2 * time.Millisecond, Limits: ghstandin.Limits{TreeEntries: 3},
		Repositories: []ghstandin.Repository{{Owner: "acme", Name: "site", Dir: h.dir}},
	})
	var c crowd
	cfg.Transport = &c
	app, err := github.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Repository(1, "acme", "site").Changes(t.Context(), h.commits[1], h.commits[0], nil); err != nil {
		t.Fatal(err)
	}
	if most := c.most.Load(); most < 4 || most > 8 {
		t.Errorf("%d requests were in the air; want several, and no more than 8", most)
	}
}
