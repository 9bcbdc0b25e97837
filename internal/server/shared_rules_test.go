package server_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

const organization = `version: 1
environments:
  production: {hosts: [www.acme.com]}
rules:
  - {match: "content/**/*.md", urls: "https://{host}/{1}/{2}/"}
`

// shared is a world with a repository whose rules other repositories use.
type shared struct {
	*world
	rules *stage.Site
	now   string // its commit
}

func newShared(t *testing.T) *shared {
	t.Helper()
	s := new(shared)
	var err error
	if s.rules, err = stage.NewSite(t.Context(), filepath.Join(t.TempDir(), "rules")); err != nil {
		t.Fatal(err)
	}
	if s.now, err = s.rules.Commit(t.Context(), "rules", map[string]string{"purge-rules.yaml": organization}); err != nil {
		t.Fatal(err)
	}
	s.world, _ = newWorld(t, func(c *stage.Config) {
		c.Repositories = append(c.Repositories, github.Repository{ID: 2, Owner: "acme", Name: ".github", Dir: s.rules.Dir})
		c.Policy[0].RulesFrom = "acme/.github"
	})
	return s
}

// share changes the shared rules.
func (s *shared) share(rules string) {
	s.T.Helper()
	var err error
	if s.now, err = s.rules.Commit(s.T.Context(), "change", map[string]string{"purge-rules.yaml": rules}); err != nil {
		s.T.Fatal(err)
	}
	if _, err := s.GitHub.Push(s.T.Context(), "acme/.github", "main", s.now, github.PushOptions{}); err != nil {
		s.T.Fatal(err)
	}
	s.Settled()
}

func (s *shared) words() string { return "(rules of acme/.github@" + s.now[:7] + ")" }

// TestSharedRulesStandIn: a repository without rules of its own uses those of the
// organization, as they are when it is deployed.
func TestSharedRulesStandIn(t *testing.T) {
	w := newShared(t)
	w.Begin()
	w.Live("production", w.Commit("no rules", map[string]string{"purge-rules.yaml": stage.Removed}))

	sha := w.Commit("page", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "success", "1 URL purged in … "+w.words())
	w.WantSent("production invalidate url https://www.acme.com/index/home/")

	// A broken file makes the purges wait and shows its fault. They continue once it is
	// fixed.
	w.share("version: 1\nenvironments: {}\nrules: []\n")
	sha = w.Commit("page", map[string]string{"content/index/home.md": "3"})
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "pending", "the rules of acme/.github@"+w.now[:7]+" are broken: purge-rules.yaml:2:1")
	w.share(strings.Replace(organization, "www.acme.com", "m.acme.com", 1))
	w.Await(sha, "production", "success", "1 URL purged in … "+w.words())
	w.WantSent("production invalidate url https://m.acme.com/index/home/")
}

// TestSharedRulesBeneath: a file that extends another has its own keys, and the other's
// keys where it has none. Only a repository that the policy names may be extended.
func TestSharedRulesBeneath(t *testing.T) {
	w := newShared(t)
	w.Begin()
	own := "version: 1\nextends: acme/.github\nrules: [{match: 'static/**', urls: 'https://{host}/{1}'}]\n"
	w.Live("production", w.Commit("extends", map[string]string{"purge-rules.yaml": own}))
	w.GitHub.ResetCalls()
	sha := w.Commit("page", map[string]string{"content/index/home.md": "2", "static/x.css": "x"})
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "success", "2 URLs purged in … "+w.words())
	w.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://www.acme.com/x.css")
	asked := 0
	for _, call := range w.GitHub.Calls() {
		if strings.Contains(call.Path, "/acme/.github/") {
			asked++
		}
	}
	if asked > 1 {
		t.Errorf("%d requests to the shared repository for one deployment", asked)
	}
	sha = w.Commit("another", map[string]string{"purge-rules.yaml": strings.Replace(own, "acme/.github", "evil/rules", 1)})
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "pending", "purge-rules.yaml: extends evil/rules, which the operator's policy does not name for acme/site")
}

// TestPreviewNamesSharedRules: a pull request's preview says whose rules count, and at
// which commit, as the status does. That holds where shared rules replace missing ones,
// and where a file extends them.
func TestPreviewNamesSharedRules(t *testing.T) {
	w := newShared(t)
	w.Begin()
	w.Live("production", w.Commit("no rules", map[string]string{"purge-rules.yaml": stage.Removed}))
	previewed := func(branch string) {
		t.Helper()
		w.Push(w.Git("rev-parse", "main")[:40])
		w.Pull(branch, map[string]string{"content/index/home.md": branch}, nil)
		w.Run(w.Git("rev-parse", branch)[:40], "Purge preview", "neutral", "Would purge 1 URL in production", "with the rules of `acme/.github` (`"+w.now[:7]+"`)")
	}
	previewed("stand-in")
	w.Git("checkout", "--quiet", "main")
	w.Commit("extends", map[string]string{"purge-rules.yaml": "version: 1\nextends: acme/.github\n"})
	previewed("beneath")
}
