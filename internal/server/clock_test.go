package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

func withClock(ahead time.Duration) func(*stage.Config) {
	return func(c *stage.Config) { c.ServerNow = func() time.Time { return time.Now().Add(ahead) } }
}

// What GitHub recorded is compared with GitHub's own time. A server whose clock is an
// hour off sends what is owed, at once, and nothing more.
func TestAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"fast": time.Hour, "slow": -time.Hour, "20 s fast": 20 * time.Second, "20 s slow": -20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, withClock(ahead))
			w.Deploy("production", first, "success")
			w.Begin()
			second := w.Home("second")
			w.Push(second)
			w.Await(second, "production", "success", "2 URLs will be purged")
			home := servertest.URLs("production", "/index/home/")

			w.Deploy("production", second, "success")
			w.Await(second, "production", "success", "2 URLs purged")
			w.WantSent(home...)
			w.Deploy("production", second, "success") // the job that deployed; the first only built
			w.Eventually("the second job's purge is sent", func() bool { return len(w.Akamai.Accepted()) == 2 })
			w.WantSent(home...)
			w.Settled()
			w.WantSent()
		})
	}
}

// A deployment that no webhook reported, after the server first heard of the repository,
// must be purged, whatever the server's clock said at that time.
func TestFirstSeenByAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"fast": time.Hour, "slow": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, withClock(ahead))
			w.Deploy("production", first, "success")
			w.Begin()
			second := w.Home("second")
			w.Push(second)
			w.Await(second, "production", "success", "2 URLs will be purged")
			w.GitHub.Route(func(d github.Delivery) github.Route {
				if d.Event == "deployment_status" {
					return github.Drop
				}
				return github.Send
			})
			w.Deploy("production", second, "success")
			w.GitHub.Route(nil)
			third := w.Commit("third", map[string]string{"content/about/us.md": "third"})
			w.Push(third)
			w.Deploy("production", third, "success")
			w.Await(third, "production", "success", "")
			w.Settled()
			w.WantSent(slices.Concat(servertest.URLs("production", "/index/home/"), servertest.URLs("production", "/about/us/"))...)
		})
	}
}

// Caches may have what a site served between its first deployment and the first one that
// the server heard of, though neither the commit before nor the live one has any of it.
func TestServedBeforeTheFirstPurge(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Begin()
	w.Push(first)
	w.Settled()
	w.GitHub.Route(func(d github.Delivery) github.Route {
		if d.Event == "deployment_status" {
			return github.Drop
		}
		return github.Send
	})
	second := w.Commit("second", map[string]string{"content/offers/today.md": "half price"})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.GitHub.Route(nil)
	third := w.Commit("third", map[string]string{"content/offers/today.md": stage.Removed, "content/index/home.md": "3"})
	w.Push(third)
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "2 URLs purged")
	w.Await(second, "production", "success", "2 URLs purged")
	w.Settled()
	w.WantSent(slices.Concat(servertest.URLs("production", "/index/home/"), servertest.URLs("production", "/offers/today/"))...)
}
