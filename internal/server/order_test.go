package server_test

import (
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// hold keeps every event back until it is released.
func (w *world) hold() {
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Hold })
}

// liveIs fails unless a commit is live in an environment.
func (w *world) liveIs(environment, sha string) {
	w.T.Helper()
	env, err := w.Server.Store().FindEnvironment(w.T.Context(), 1, environment)
	if err != nil || env.Live.SHA != sha {
		w.T.Errorf("live in %s is %.7s, want %.7s (%v)", environment, env.Live.SHA, sha, err)
	}
}

// begun is a world whose first commit is live in both environments.
func begun(t *testing.T) (w *world, first string) {
	t.Helper()
	w, first = newWorld(t, nil)
	w.Begin()
	for _, env := range []string{"production", "staging"} {
		w.Deploy(env, first, "success")
		w.Await(first, env, "success", "")
	}
	w.Settled()
	w.Sent()
	return w, first
}

// The ledger follows what GitHub recorded, in whatever order it arrives.
func TestOrder(t *testing.T) {
	t.Parallel()
	t.Run("two environments", func(t *testing.T) {
		w, first := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		w.Deploy("staging", second, "success")
		w.Await(second, "staging", "success", "1 URL purged")
		w.liveIs("production", first)
		w.WantSent(servertest.URLs("staging", "/index/home/")...)
		third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
		w.Deploy("production", third, "success")
		w.Await(third, "production", "success", "4 URLs purged")
		w.liveIs("staging", second)
		w.WantSent(servertest.URLs("production", "/index/home/", "/about/us/")...)
	})
	t.Run("two deployments crossing", func(t *testing.T) {
		w, _ := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
		older, newer := w.Deploy("production", second, "in_progress"), w.Deploy("production", third, "in_progress")
		w.State(newer, "success")
		w.Await(third, "production", "success", "4 URLs purged")
		w.Sent()
		w.State(older, "success") // it becomes live all the same, and is purged by `action`: it is no rollback
		w.Await(second, "production", "success", "2 URLs purged")
		w.liveIs("production", second)
		w.WantSent(servertest.URLs("production", "/about/us/")...)
	})
	t.Run("an older deployment arrives late", func(t *testing.T) {
		w, _ := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		w.hold()
		w.Deploy("production", second, "success")
		w.GitHub.Route(nil)
		third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
		w.Deploy("production", third, "success")
		w.Await(third, "production", "success", "4 URLs purged")
		w.Sent()
		w.GitHub.Release(t.Context())
		w.Await(second, "production", "success", "Purged as part of "+third[:7])
		w.Settled()
		w.liveIs("production", third)
		w.WantSent()
	})
	t.Run("a true rollback", func(t *testing.T) {
		w, first := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		w.Deploy("production", second, "success")
		w.Await(second, "production", "success", "2 URLs purged")
		w.Sent()
		w.Deploy("production", first, "success")
		w.Eventually("it is rolled back", w.MoreSent)
		w.Settled()
		w.liveIs("production", first)
		var want []string
		for _, line := range servertest.URLs("production", "/index/home/") {
			want = append(want, strings.Replace(line, "invalidate", "delete", 1))
		}
		w.WantSent(want...)
	})
	t.Run("success after failure", func(t *testing.T) {
		w, _ := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		id := w.Deploy("production", second, "failure")
		w.Await(second, "production", "success", "Deploy failed: 2 URLs will be purged")
		w.WantSent()
		w.State(id, "success") // a job that was run again
		w.Await(second, "production", "success", "2 URLs purged")
		w.WantSent(servertest.URLs("production", "/index/home/")...)
	})
	t.Run("a failure that arrives after its success", func(t *testing.T) {
		w, _ := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		w.hold()
		id := w.Deploy("production", second, "failure")
		w.GitHub.Route(nil)
		w.State(id, "success")
		w.Await(second, "production", "success", "2 URLs purged")
		w.GitHub.Release(t.Context())
		w.Settled()
		w.Await(second, "production", "success", "2 URLs purged")
		w.WantSent(servertest.URLs("production", "/index/home/")...)
	})
	t.Run("a push during a purge", func(t *testing.T) {
		w, _ := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		third := w.Commit("third", map[string]string{"content/about/us.md": "3"})
		w.Deploy("production", second, "in_progress")
		w.Push(second)
		w.Deploy("production", second, "success")
		w.Eventually("it is sent", w.MoreSent)
		w.Push(third) // before Akamai is done
		w.Await(second, "production", "success", "2 URLs purged")
		w.Await(third, "production", "success", "2 URLs will be purged when production deploys")
		w.Settled()
		w.WantSent(servertest.URLs("production", "/index/home/")...)
		w.Await(third, "production", "success", "2 URLs will be purged when production deploys")
	})
	t.Run("renamed by its status", func(t *testing.T) {
		w, first := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		id := w.Deploy("staging", second, "in_progress")
		if _, err := w.GitHub.DeployStatus(t.Context(), w.FullName(), id, github.DeploymentStatus{State: "success", Environment: "production"}); err != nil {
			t.Fatal(err)
		}
		w.Await(second, "production", "success", "2 URLs purged")
		w.liveIs("staging", first)
		w.WantSent(servertest.URLs("production", "/index/home/")...)
	})
	t.Run("another case", func(t *testing.T) {
		w, _ := begun(t)
		second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
		w.Deploy("PRODUCTION", second, "success")
		w.Await(second, "production", "success", "2 URLs purged")
		w.liveIs("production", second)
		w.WantSent(servertest.URLs("production", "/index/home/")...)
	})
}
