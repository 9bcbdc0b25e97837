package main

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
)

// newSeed gives a test's seed and says how to replay it.
func newSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PURGEBOT_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("replay with PURGEBOT_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// hold keeps every event back until it is released.
func (w *world) hold() {
	w.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubHold })
}

// liveIs fails unless a commit is live in an environment.
func (w *world) liveIs(environment, sha string) {
	w.t.Helper()
	env, err := w.server.store.FindEnvironment(w.t.Context(), 1, environment)
	if err != nil || env.Live.SHA != sha {
		w.t.Errorf("live in %s is %.7s, want %.7s (%v)", environment, env.Live.SHA, sha, err)
	}
}

// begun is a world whose first commit is live in both environments.
func begun(t *testing.T) (w *world, first string) {
	t.Helper()
	w, first = newWorld(t, nil)
	w.begin()
	for _, env := range []string{"production", "staging"} {
		w.deploy(env, first, "success")
		w.await(first, env, "success", "")
	}
	w.settled()
	w.sent()
	return w, first
}

// The ledger follows what GitHub recorded, whatever comes in whichever order.
func TestOrder(t *testing.T) {
	t.Parallel()
	t.Run("two environments", func(t *testing.T) {
		w, first := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.deploy("staging", second, "success")
		w.await(second, "staging", "success", "1 URL purged")
		w.liveIs("production", first)
		w.wantSent(urls("staging", "/index/home/")...)
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		w.deploy("production", third, "success")
		w.await(third, "production", "success", "4 URLs purged")
		w.liveIs("staging", second)
		w.wantSent(urls("production", "/index/home/", "/about/us/")...)
	})
	t.Run("two deployments crossing", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		older, newer := w.deploy("production", second, "in_progress"), w.deploy("production", third, "in_progress")
		w.state(newer, "success")
		w.await(third, "production", "success", "4 URLs purged")
		w.sent()
		w.state(older, "success") // live all the same: by `action`, as it is no rollback
		w.await(second, "production", "success", "2 URLs purged")
		w.liveIs("production", second)
		w.wantSent(urls("production", "/about/us/")...)
	})
	t.Run("an older deployment arrives late", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.hold()
		w.deploy("production", second, "success")
		w.github.Route(nil)
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		w.deploy("production", third, "success")
		w.await(third, "production", "success", "4 URLs purged")
		w.sent()
		w.github.Release(t.Context())
		w.await(second, "production", "success", "purged with "+third[:7])
		w.settled()
		w.liveIs("production", third)
		w.wantSent()
	})
	t.Run("a true rollback", func(t *testing.T) {
		w, first := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.deploy("production", second, "success")
		w.await(second, "production", "success", "2 URLs purged")
		w.sent()
		w.deploy("production", first, "success")
		w.eventually("it is rolled back", func() bool { return len(w.akamai.Accepted()) > w.seen })
		w.settled()
		w.liveIs("production", first)
		var want []string
		for _, line := range urls("production", "/index/home/") {
			want = append(want, strings.Replace(line, "invalidate", "delete", 1))
		}
		w.wantSent(want...)
	})
	t.Run("success after failure", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		id := w.deploy("production", second, "failure")
		w.await(second, "production", "success", "deploy failed, 2 URLs wait")
		w.wantSent()
		w.state(id, "success") // a job that was run again
		w.await(second, "production", "success", "2 URLs purged")
		w.wantSent(urls("production", "/index/home/")...)
	})
	t.Run("a failure that arrives after its success", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.hold()
		id := w.deploy("production", second, "failure")
		w.github.Route(nil)
		w.state(id, "success")
		w.await(second, "production", "success", "2 URLs purged")
		w.github.Release(t.Context())
		w.settled()
		w.await(second, "production", "success", "2 URLs purged")
		w.wantSent(urls("production", "/index/home/")...)
	})
	t.Run("a push during a purge", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		w.deploy("production", second, "in_progress")
		w.push(second)
		w.deploy("production", second, "success")
		w.eventually("it is sent", func() bool { return len(w.akamai.Accepted()) > w.seen })
		w.push(third) // before Akamai is done
		w.await(second, "production", "success", "2 URLs purged")
		w.await(third, "production", "success", "2 URLs wait for production to deploy")
		w.settled()
		w.wantSent(urls("production", "/index/home/")...)
		w.await(third, "production", "success", "2 URLs wait for production to deploy")
	})
	t.Run("renamed by its status", func(t *testing.T) {
		w, first := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		id := w.deploy("staging", second, "in_progress")
		if _, err := w.github.DeployStatus(t.Context(), w.fullName(), id, standin.GitHubDeploymentStatus{State: "success", Environment: "production"}); err != nil {
			t.Fatal(err)
		}
		w.await(second, "production", "success", "2 URLs purged")
		w.liveIs("staging", first)
		w.wantSent(urls("production", "/index/home/")...)
	})
	t.Run("another case", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.deploy("PRODUCTION", second, "success")
		w.await(second, "production", "success", "2 URLs purged")
		w.liveIs("production", second)
		w.wantSent(urls("production", "/index/home/")...)
	})
}
