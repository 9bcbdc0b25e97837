package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// crowd is a world of many repositories with the same content, each with production live
// at the first commit.
type crowd struct {
	*world
	names []string
	first string
}

// manyRepositories is how many repositories a crowd has. PURGEBOT_TEST_REPOSITORIES sets
// another number; the goal is stated for 500.
func manyRepositories() int {
	if n, err := strconv.Atoi(os.Getenv("PURGEBOT_TEST_REPOSITORIES")); err == nil {
		return n
	}
	return 20
}

// within polls until a condition holds, for as long as the goal allows.
func (c *crowd) within(what string, holds func() bool) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(c.T.Context(), 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.T.Fatalf("waited in vain until %s", what)
		}
	}
}

// real makes GitHub as far away and as strict as it is in reality, if
// PURGEBOT_TEST_REPOSITORIES is set.
func (c *crowd) real() {
	if os.Getenv("PURGEBOT_TEST_REPOSITORIES") == "" {
		return
	}
	c.GitHub.EnforceLimits()
	c.Config.Limits.Enforce = true // the server paces itself
	c.GitHub.Fault(func(*http.Request) github.Fault { return github.Fault{Delay: 50 * time.Millisecond} })
}

func newCrowd(t *testing.T, change func(*stage.Config)) *crowd {
	t.Helper()
	c := &crowd{}
	c.world, _ = newWorld(t, func(cfg *stage.Config) {
		if change != nil {
			change(cfg)
		}
		first, err := (&stage.Site{Dir: cfg.Repositories[0].Dir}).Commit(t.Context(), "rules", map[string]string{
			"purge-rules.yaml": strings.Replace(servertest.Rules, "{host}/{1}/{2}/", "{host}/{repo}/{1}/{2}/", 1),
		})
		if err != nil {
			t.Fatal(err)
		}
		c.first = first
		one := cfg.Repositories[0]
		cfg.Repositories = nil
		for i := range manyRepositories() {
			one.ID, one.Name = int64(i+1), fmt.Sprintf("site%d", i)
			cfg.Repositories = append(cfg.Repositories, one)
			c.names = append(c.names, one.Owner+"/"+one.Name)
		}
	})
	return c
}

// deployAll pushes a commit to every repository and deploys it as Actions does.
func (c *crowd) deployAll(sha string) {
	c.T.Helper()
	for _, name := range c.names {
		if _, err := c.GitHub.Push(c.T.Context(), name, "main", sha, github.PushOptions{}); err != nil {
			c.T.Fatal(err)
		}
		id, err := c.GitHub.Deploy(c.T.Context(), name, github.Deployment{SHA: sha, Environment: "production", RequiredContexts: []string{}})
		if err != nil {
			c.T.Fatal(err)
		}
		for _, state := range []string{"queued", "in_progress", "success"} {
			if _, err := c.GitHub.DeployStatus(c.T.Context(), name, id, github.DeploymentStatus{State: state}); err != nil {
				c.T.Fatal(err)
			}
		}
	}
}

// purged counts the objects that Akamai has accepted since a moment.
func (c *crowd) purged(since time.Time) (objects int) {
	for _, p := range c.Akamai.Accepted() {
		if !p.At.Before(since) {
			objects += len(p.Objects)
		}
	}
	return objects
}

// spoken counts the repositories that show a commit's final status.
func (c *crowd) spoken(sha string) (repositories int) {
	for _, name := range c.names {
		if slices.ContainsFunc(c.GitHub.Statuses(name, sha), func(s github.Status) bool {
			return s.State == "success" && strings.HasPrefix(s.Description, "2 URLs purged")
		}) {
			repositories++
		}
	}
	return repositories
}

// calls counts the calls to GitHub so far by their routes.
func (c *crowd) calls() (n int, by map[string]int) {
	by = map[string]int{}
	for _, call := range c.GitHub.Calls() {
		by[call.Route]++
		n++
	}
	return n, by
}

// During a downtime every repository was deployed. After it all are purged, with at most
// four calls to GitHub for each, every call counted. It makes no difference whether
// GitHub could not deliver the webhooks or never sent them.
func TestRecoverManyRepositories(t *testing.T) {
	t.Parallel()
	sqlite := func(testing.TB) string { return "" } // the world's own
	for _, test := range []struct {
		name     string
		way      github.Route
		database func(testing.TB) string
	}{
		{"never sent", github.Drop, sqlite},
		{"failed", github.Lose, sqlite},
		{"failed, on PostgreSQL", github.Lose, storetest.Postgres},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said servertest.Log
			database := test.database(t)
			c := newCrowd(t, func(cfg *stage.Config) {
				servertest.WithLog(&said)(cfg)
				cfg.Database = database
			})
			c.allLive()
			second := c.Commit("second", map[string]string{"content/index/home.md": "2"})
			c.GitHub.Route(func(github.Delivery) github.Route { return test.way })
			c.deployAll(second)
			c.GitHub.Route(nil)
			c.GitHub.ResetCalls()
			c.real()
			// The deployments were a while ago.
			c.Config.ServerNow = func() time.Time { return time.Now().Add(10 * time.Minute) }
			c.recovered(second, time.Now(), func() { c.Begin() })
			if n := strings.Count(said.String(), "recovered: a deployment that no webhook told of"); n != len(c.names) {
				t.Errorf("the log tells of %d recovered deployments, want %d", n, len(c.names))
			}
		})
	}
}

// allLive deploys the first commit everywhere, and stops the server when every status is
// final.
func (c *crowd) allLive() {
	c.T.Helper()
	c.Begin()
	c.within("every repository is known", func() bool {
		known, err := c.Server.Store().Repositories(c.T.Context())
		return err == nil && len(known) == len(c.names)
	})
	c.deployAll(c.first)
	c.within("all are live", func() bool { return c.live(c.first) == len(c.names) })
	c.Settled()
	if err := c.Stop(); err != nil {
		c.T.Fatal(err)
	}
}

// live counts the repositories whose production shows a commit as live: the first one
// that purgebot saw.
func (c *crowd) live(sha string) (repositories int) {
	for _, name := range c.names {
		if slices.ContainsFunc(c.GitHub.Statuses(name, sha), func(s github.Status) bool {
			return strings.Contains(s.Description, "first purge")
		}) {
			repositories++
		}
	}
	return repositories
}

// recovered begins, and checks what it takes until all is purged and until every status
// is final.
func (c *crowd) recovered(sha string, began time.Time, begin func()) {
	c.T.Helper()
	begin()
	many := len(c.names)
	c.within("everything is purged", func() bool { return c.purged(began) >= 2*many })
	n, by := c.calls()
	c.T.Logf("%d repositories: purged with %d calls in %v", many, n, time.Since(began))
	// The slower the purges, the more statuses are written in the meantime.
	if n -= by["POST /repos/{owner}/{repo}/statuses/{sha}"]; n > 4*many {
		c.T.Errorf("%d calls until all was purged, want at most %d: %v", n, 4*many, by)
	}
	c.within("everything is said", func() bool { return c.spoken(sha) >= min(many, 440) }) // GitHub takes 500 an hour
	n, by = c.calls()
	c.T.Logf("all said with %d calls in %v: %v", n, time.Since(began), by)
	if most := 4*many + 20 + by["GET /app/hook/deliveries"]; n > most {
		c.T.Errorf("%d calls until all was said, want at most %d: %v", n, most, by)
	}
	if purged := c.purged(began); purged != 2*many {
		c.T.Errorf("%d objects were purged, want %d", purged, 2*many)
	}
}

// Two replicas recover on PostgreSQL. One of them asks GitHub for both. When it is killed
// in the middle, the other one continues where it was.
func TestRecoverWithTwoReplicas(t *testing.T) {
	database := storetest.Postgres(t)
	c := newCrowd(t, func(cfg *stage.Config) { cfg.Database = database })
	c.allLive()
	config := c.filesWith(database)
	second := c.Commit("second", map[string]string{"content/index/home.md": "2"})
	c.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
	c.deployAll(second)
	c.GitHub.Route(nil)
	c.GitHub.ResetCalls()

	began, many := time.Now(), len(c.names)
	var lists atomic.Int64
	half := make(chan struct{})
	c.GitHub.Fault(func(r *http.Request) github.Fault {
		if strings.HasSuffix(r.URL.Path, "/deployments") && lists.Add(1) == int64(many/2) {
			close(half)
		}
		return github.Fault{Delay: 50 * time.Millisecond}
	})
	first := c.spawn(config)
	c.spawn(config)
	<-half
	first.kill()
	killed := time.Now()
	c.within("everything is purged", func() bool { return c.purged(began) >= 2*many })
	took := time.Since(killed)
	n, by := c.calls()
	c.T.Logf("purged %v after the kill with %d calls: %v", took, n, by)
	// The second replica looks again at what the first had begun and not noted: some of
	// its half, not all of it.
	if lists := by["GET /repos/{owner}/{repo}/deployments"]; lists >= 2*many-many/4 {
		t.Errorf("%d repositories were asked for their deployments %d times", many, lists)
	}
	if lists := by["GET /app/installations"]; lists > 2 {
		t.Errorf("what the App may see was asked for %d times", lists)
	}
}
