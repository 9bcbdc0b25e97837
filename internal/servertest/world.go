package servertest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// Patience is much more than anything should take.
const Patience = 2 * time.Minute

// World is a stage with a site on it, for one test.
type World struct {
	*stage.Stage
	Site *stage.Site
	T    *testing.T
	seen int // purges that Sent has returned
}

// New opens a stage with one commit on main: the rules and two pages.
func New(t *testing.T, change func(*stage.Config)) (*World, string) {
	t.Helper()
	t.Parallel() // a world mostly waits, for polls and for Akamai's estimate
	s, err := stage.NewSite(t.Context(), filepath.Join(t.TempDir(), "site"))
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Site: s, T: t}
	first := w.Commit("first", map[string]string{
		"purge-rules.yaml": Rules, "content/index/home.md": "home", "content/about/us.md": "us", "layouts/base.html": "base",
	})
	cfg := stage.Config{
		Dir:          t.TempDir(),
		Repositories: []github.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: s.Dir}},
		Policy:       Policy(),
		Akamai:       akamai.Config{Estimate: time.Second},
		StatusEvery:  50 * time.Millisecond,
	}
	if os.Getenv("PURGEBOT_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.Database == "" {
		storetest.Migrated(t, filepath.Join(cfg.Dir, "purgebot.db"))
	}
	if w.Stage, err = stage.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w, first
}

// Commit writes files and commits them; see [stage.Site.Commit].
func (w *World) Commit(message string, files map[string]string) string {
	w.T.Helper()
	sha, err := w.Site.Commit(w.T.Context(), message, files)
	if err != nil {
		w.T.Fatal(err)
	}
	return sha
}

// Begin starts the server. It never saw what happened on GitHub before.
func (w *World) Begin(changes ...func(*server.Config)) {
	w.T.Helper()
	// The server outlives the test's context: it is stopped in order.
	if err := w.Start(context.WithoutCancel(w.T.Context()), changes...); err != nil {
		w.T.Fatal(err)
	}
}

// Push pushes to main.
func (w *World) Push(sha string) {
	w.T.Helper()
	w.PushTo("main", sha)
}

// Deploy makes a deployment and gives it a state.
func (w *World) Deploy(environment, sha, state string) int64 {
	w.T.Helper()
	return w.DeployTo(w.FullName(), environment, sha, state)
}

// DeployTo is Deploy in any repository, OWNER/NAME.
func (w *World) DeployTo(repository, environment, sha, state string) int64 {
	w.T.Helper()
	id, err := w.GitHub.Deploy(w.T.Context(), repository, github.Deployment{SHA: sha, Environment: environment})
	if err == nil {
		_, err = w.GitHub.DeployStatus(w.T.Context(), repository, id, github.DeploymentStatus{State: state})
	}
	if err != nil {
		w.T.Fatal(err)
	}
	return id
}

// State gives a deployment a state.
func (w *World) State(deployment int64, state string) {
	w.T.Helper()
	if _, err := w.GitHub.DeployStatus(w.T.Context(), w.FullName(), deployment, github.DeploymentStatus{State: state}); err != nil {
		w.T.Fatal(err)
	}
}

// Await waits until a commit's status begins with the words.
func (w *World) Await(sha, environment, state, words string) github.Status {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), Patience)
	defer cancel()
	s, err := w.AwaitStatus(ctx, sha, environment, state, words)
	if err != nil {
		w.T.Fatalf("want %s %q: %v\nall: %v", state, words, err, w.GitHub.Statuses(w.FullName(), ""))
	}
	return s
}

// Says waits until any status of a commit in any repository, OWNER/NAME, begins with
// the words.
func (w *World) Says(repository, sha, words string) {
	w.T.Helper()
	w.Eventually(repository+" says "+words, func() bool {
		return slices.ContainsFunc(w.GitHub.Statuses(repository, sha), func(s github.Status) bool { return strings.HasPrefix(s.Description, words) })
	})
}

// MoreSent reports whether anything reached Akamai since the last call of Sent.
func (w *World) MoreSent() bool { return len(w.Akamai.Accepted()) > w.seen }

// Sent is what reached Akamai since the last call, one line for each object.
func (w *World) Sent() []string {
	all := w.Akamai.Accepted()
	var out []string
	for _, p := range all[w.seen:] {
		for _, o := range p.Objects {
			out = append(out, fmt.Sprintf("%s %s %s %s", p.Network, p.Action, p.Kind, o))
		}
	}
	w.seen = len(all)
	slices.Sort(out)
	return out
}

// WantSent compares what Sent returns with what is wanted, in any order.
func (w *World) WantSent(want ...string) {
	w.T.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, w.Sent()); diff != "" {
		w.T.Errorf("what reached Akamai (-want +got):\n%s", diff)
	}
}

// PushTo pushes to a branch.
func (w *World) PushTo(branch, sha string) {
	w.T.Helper()
	if _, err := w.GitHub.Push(w.T.Context(), w.FullName(), branch, sha, github.PushOptions{}); err != nil {
		w.T.Fatal(err)
	}
}

// Git runs git in the site and returns its output.
func (w *World) Git(args ...string) string {
	w.T.Helper()
	out, err := w.Site.Git(w.T.Context(), args...)
	if err != nil {
		w.T.Fatal(err)
	}
	return out
}

// Live makes a first commit live and forgets what that sent.
func (w *World) Live(environment, sha string) {
	w.T.Helper()
	w.Deploy(environment, sha, "success")
	w.Settled()
	w.Sent()
}

// Settled waits until the server has nothing left to do.
func (w *World) Settled() {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), Patience)
	defer cancel()
	if err := w.Server.Idle(ctx); err != nil {
		w.T.Fatal(err)
	}
}

// Eventually polls until a condition holds.
func (w *World) Eventually(what string, holds func() bool) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.T.Fatalf("waited in vain until %s", what)
		}
	}
}

// Awaits waits for something at GitHub and reports whether it happened.
func (w *World) Awaits(what string, done func() bool) bool {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), Patience)
	defer cancel()
	err := w.GitHub.Await(ctx, done)
	if err != nil {
		w.T.Errorf("want %s: %v", what, err)
	}
	return err == nil
}

// In lets a subtest use the world. Failures then belong to the subtest.
func (w *World) In(t *testing.T) {
	outer := w.T
	w.T = t
	t.Cleanup(func() { w.T = outer })
}

// Home commits a new front page.
func (w *World) Home(content string) string {
	w.T.Helper()
	return w.Commit(content, map[string]string{"content/index/home.md": content})
}
