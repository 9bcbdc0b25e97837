package planner_test

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// site is a repository on the stand-in, with a planner that reads it.
type site struct {
	*testing.T
	git    *stage.Site
	GitHub *ghstandin.Server
	store  *store.Store
	repo   ledger.Repository
	*planner.Planner
}

// newSite makes a repository with rules on the stand-in, and a planner that reads it.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.git, err = stage.NewSite(t.Context(), filepath.Join(t.TempDir(), "site"))
	must(err)
	s.commit("first", map[string]string{"purge-rules.yaml": servertest.Rules, "content/index/home.md": "1"})
	s.GitHub, err = ghstandin.New(ghstandin.Config{Repositories: []ghstandin.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: s.git.Dir}}})
	must(err)
	server := httptest.NewServer(s.GitHub)
	t.Cleanup(func() { server.Close(); s.GitHub.Close() })
	app, err := github.New(github.Config{APIURL: server.URL, AppID: s.GitHub.AppID(), PrivateKey: s.GitHub.PrivateKeyPEM()})
	must(err)
	s.store, err = store.Open(t.Context(), store.Config{URL: storetest.SQLite(t)})
	must(err)
	t.Cleanup(func() { s.store.Close() })
	s.repo, err = s.store.SeeRepository(t.Context(), ledger.Repository{ID: 1, Owner: "acme", Name: "site", Installation: 1, DefaultBranch: "main"})
	must(err)
	s.Planner = planner.New(planner.Config{Ledger: s.store, GitHub: app, Policy: servertest.Policy})
	return s
}

func (s *site) commit(message string, files map[string]string) string {
	s.Helper()
	sha, err := s.git.Commit(s.Context(), message, files)
	if err != nil {
		s.Fatal(err)
	}
	return sha
}

// live makes a commit live in an environment, with what is remembered of it.
func (s *site) live(name, sha string, id int64) ledger.Environment {
	s.Helper()
	e, _, err := s.store.Desire(s.Context(), s.repo.ID, name, ledger.Deploy{
		Point: ledger.Point{SHA: sha, Deploy: id, Status: id, At: time.Unix(1_800_000_000+id, 0)}, State: "success",
	}, time.Time{})
	if err != nil {
		s.Fatal(err)
	}
	move := store.Move{Env: e, To: e.Desired, Rules: &store.Rules{SHA: sha, Path: "purge-rules.yaml", Source: []byte(servertest.Rules)}}
	if ok, err := s.store.Commit(s.Context(), move); err != nil || !ok {
		s.Fatal(ok, err)
	}
	if e, err = s.store.Environment(s.Context(), e.ID); err != nil {
		s.Fatal(err)
	}
	return e
}

// TestStagesReadWhatTheyNeed: each stage is read once, when it is needed, and
// what is remembered spares the reading.
func TestStagesReadWhatTheyNeed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	live, err := s.git.Git(t.Context(), "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	page := s.commit("page", map[string]string{"content/index/home.md": "2"})
	rules := s.commit("rules", map[string]string{"purge-rules.yaml": servertest.Rules + "  - {match: x, tags: [acme-x]}\n", "content/index/home.md": "3"})
	none := s.commit("none", map[string]string{"purge-rules.yaml": stage.Removed})
	broken := s.commit("broken", map[string]string{"purge-rules.yaml": "version: 2\n"})
	if _, err := s.GitHub.Push(t.Context(), "acme/site", "main", broken, ghstandin.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	production, preview := s.live("production", live, 1), s.live("preview", live, 2)
	for _, c := range []struct {
		name     string
		env      ledger.Environment
		to       string
		compares int
		contents int // requests for the two places of a rules file
		targets  int
		fault    string
	}{
		{"the rules stay as they are", production, page, 1, 0, 2, ""},
		{"the rules change", production, rules, 1, 2, 2, ""},
		{"the rules go", production, none, 1, 2, 0, ""},
		{"the rules break", production, broken, 1, 2, 0, "purge-rules.yaml:1:1: "},
		{"an environment that no rules name", preview, page, 0, 0, 0, ""}, // its rules are known by now
	} {
		s.GitHub.ResetCalls()
		plan, err := s.Plan(t.Context(), s.repo, c.env, ledger.Point{SHA: c.to, Deploy: 9, Status: 9, At: time.Unix(1_800_000_100, 0)}, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		compares, contents, trees := 0, 0, 0
		for _, call := range s.GitHub.Calls() {
			switch {
			case strings.Contains(call.Path, "/compare/"):
				compares++
			case strings.Contains(call.Path, "/contents/"):
				contents++
			case strings.Contains(call.Path, "/git/trees/"):
				trees++
			}
		}
		if compares != c.compares || contents != c.contents || trees > c.compares {
			t.Errorf("%s: %d comparisons, %d files, %d trees are read", c.name, compares, contents, trees)
		}
		if plan.Len() != c.targets || !strings.HasPrefix(plan.Rules.Fault, c.fault) || (plan.Rules.Fault == "") != (c.fault == "") {
			t.Errorf("%s: %d targets, fault %q", c.name, plan.Len(), plan.Rules.Fault)
		}
		if plan.From.SHA != live && c.env.Name == "production" {
			t.Errorf("%s: it starts from %q", c.name, plan.From.SHA)
		}
		plan.Release()
	}
}

// TestWhatAPlanStartsFrom: an environment's first purge starts from what its
// commit's push moved from, or from the commit's parent where that push made the
// branch; and from nothing where GitHub has forgotten the live commit.
func TestWhatAPlanStartsFrom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, err := s.git.Git(t.Context(), "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	second := s.commit("second", map[string]string{"content/index/home.md": "2"})
	third := s.commit("third", map[string]string{"content/about/us.md": "3"})
	if _, err := s.GitHub.Push(t.Context(), "acme/site", "main", third, ghstandin.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Began = func(context.Context, ledger.Repository, ledger.Environment, ledger.Point) (planner.Beginning, error) {
		return planner.Beginning{First: third}, nil // nothing was deployed before
	}
	gone := strings.Repeat("d", 40)
	for name, c := range map[string]struct {
		repo   int64 // each has pushes of its own
		env    string
		before string // of the push
		live   string
		from   string
		pages  int
		note   string
	}{
		"a push of two commits": {repo: 1, env: "production", before: first, from: first, pages: 2},
		"a new branch":          {repo: 2, env: "staging", before: strings.Repeat("0", 40), from: second, pages: 1},
		"no push":               {repo: 3, env: "staging", from: second, pages: 1},
		"the live one is gone":  {repo: 1, env: "staging", live: gone, from: gone, pages: 2, note: "every file, since commit ddddddd is gone"},
	} {
		if c.before != "" {
			if _, err := s.store.SeePush(t.Context(), ledger.Push{RepoID: c.repo, Branch: "main", Before: c.before, After: third, At: time.Unix(1_800_000_000, 0), Delivery: name}); err != nil {
				t.Fatal(err)
			}
		}
		repo := s.repo
		repo.ID = c.repo
		env := ledger.Environment{RepoID: c.repo, Name: c.env}
		if c.live != "" {
			env = s.live(c.env, c.live, 7)
		}
		plan, err := s.Plan(t.Context(), repo, env, ledger.Point{SHA: third, Deploy: 9, Status: 9, At: time.Unix(1_800_000_100, 0)}, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := c.pages
		if c.env == "production" { // it has two hosts
			want *= 2
		}
		if plan.From.SHA != c.from || plan.Len() != want || plan.Note != c.note {
			t.Errorf("%s: %d targets since %q, %q", name, plan.Len(), plan.From.SHA, plan.Note)
		}
		plan.Release()
	}
}
