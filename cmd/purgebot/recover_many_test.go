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

	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// crowd is a world of many repositories with the same content, each with
// production live at the first commit.
type crowd struct {
	*world
	names []string
	first string
}

// manyRepositories is how many a crowd has. PURGEBOT_TEST_REPOSITORIES says
// another number; the goal speaks of 500.
func manyRepositories() int {
	if n, err := strconv.Atoi(os.Getenv("PURGEBOT_TEST_REPOSITORIES")); err == nil {
		return n
	}
	return 20
}

// within polls until a condition holds, for as long as the goal allows.
func (c *crowd) within(what string, holds func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// real lets GitHub be as far away and as strict as it is, where that is wanted.
func (c *crowd) real() {
	if os.Getenv("PURGEBOT_TEST_REPOSITORIES") == "" {
		return
	}
	c.github.EnforceLimits()
	c.cfg.limits.Enforce = true // the server paces itself
	c.github.Fault(func(*http.Request) standin.GitHubFault { return standin.GitHubFault{Delay: 50 * time.Millisecond} })
}

func newCrowd(t *testing.T, change func(*stageConfig)) *crowd {
	t.Helper()
	w, _ := newWorld(t, change)
	first := w.commit("rules", map[string]string{"purge-rules.yaml": strings.Replace(testRules, "{host}/{1}/{2}/", "{host}/{repo}/{1}/{2}/", 1)})
	c := &crowd{world: w, first: first}
	repos := make([]standin.GitHubRepository, manyRepositories())
	for i := range repos {
		repos[i] = standin.GitHubRepository{ID: int64(i + 1), Owner: "acme", Name: fmt.Sprintf("site%d", i), Dir: w.site.dir}
		c.names = append(c.names, "acme/"+repos[i].Name)
	}
	github, err := standin.NewGitHub(standin.GitHubConfig{
		WebhookSecret: w.secret, Repositories: repos, Now: w.now, Limits: w.cfg.limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.closers = append(w.closers, func(context.Context) error { return github.Close() })
	w.github = github
	if w.githubURL, err = w.listen(t.Context(), github); err != nil {
		t.Fatal(err)
	}
	return c
}

// deployAll pushes a commit to every repository, and deploys it as Actions do.
func (c *crowd) deployAll(sha string) {
	c.t.Helper()
	for _, name := range c.names {
		if _, err := c.github.Push(c.t.Context(), name, "main", sha, standin.GitHubPushOptions{}); err != nil {
			c.t.Fatal(err)
		}
		id, err := c.github.Deploy(c.t.Context(), name, standin.GitHubDeployment{SHA: sha, Environment: "production", RequiredContexts: []string{}})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, state := range []string{"queued", "in_progress", "success"} {
			if _, err := c.github.DeployStatus(c.t.Context(), name, id, standin.GitHubDeploymentStatus{State: state}); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// purged counts the objects that Akamai took since a moment.
func (c *crowd) purged(since time.Time) (objects int) {
	for _, p := range c.akamai.Accepted() {
		if !p.At.Before(since) {
			objects += len(p.Objects)
		}
	}
	return objects
}

// spoken counts the repositories that show a commit's last word.
func (c *crowd) spoken(sha string) (repositories int) {
	for _, name := range c.names {
		if slices.ContainsFunc(c.github.Statuses(name, sha), func(s standin.GitHubStatus) bool {
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
	for _, call := range c.github.Calls() {
		by[call.Route]++
		n++
	}
	return n, by
}

// After a downtime in which every repository was deployed, all are purged
// within four calls to GitHub for each, all of them counted: whether GitHub
// could not deliver the webhooks, or never sent any.
func TestRecoverManyRepositories(t *testing.T) {
	t.Parallel()
	sqlite := func(testing.TB) string { return "" } // the world's own
	for _, test := range []struct {
		name     string
		way      standin.GitHubRoute
		database func(testing.TB) string
	}{
		{"never sent", standin.GitHubDrop, sqlite},
		{"failed", standin.GitHubLose, sqlite},
		{"failed, on PostgreSQL", standin.GitHubLose, storetest.Postgres},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said logged
			database := test.database(t)
			c := newCrowd(t, func(cfg *stageConfig) {
				withLog(&said)(cfg)
				cfg.database = database
			})
			c.begin()
			c.within("every repository is known", func() bool {
				known, err := c.server.store.Repositories(t.Context())
				return err == nil && len(known) == len(c.names)
			})
			c.deployAll(c.first)
			c.within("all are live", func() bool { return c.live(c.first) == len(c.names) })
			c.within("nothing is left to do", func() bool {
				q, err := c.server.store.Queue(t.Context())
				return err == nil && q.Deliveries+q.Environments+q.Targets+q.Posts == 0
			})
			if err := c.stop(); err != nil {
				t.Fatal(err)
			}
			second := c.commit("second", map[string]string{"content/index/home.md": "2"})
			c.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return test.way })
			c.deployAll(second)
			c.github.Route(nil)
			c.github.ResetCalls()
			c.real()
			// The deployments were a while ago.
			c.cfg.serverNow = func() time.Time { return time.Now().Add(10 * time.Minute) }
			c.recovered(second, time.Now(), c.begin)
			if n := strings.Count(said.String(), "recovered: a deployment that no webhook told of"); n != len(c.names) {
				t.Errorf("the log tells of %d recovered deployments, want %d", n, len(c.names))
			}
		})
	}
}

// live counts the repositories whose production says that a commit is live
// there, the first one that purgebot saw.
func (c *crowd) live(sha string) (repositories int) {
	for _, name := range c.names {
		if slices.ContainsFunc(c.github.Statuses(name, sha), func(s standin.GitHubStatus) bool {
			return strings.Contains(s.Description, "first seen")
		}) {
			repositories++
		}
	}
	return repositories
}

// recovered begins, and checks what it takes until all is purged, and until
// all is said.
func (c *crowd) recovered(sha string, began time.Time, begin func()) {
	c.t.Helper()
	begin()
	many := len(c.names)
	c.within("everything is purged", func() bool { return c.purged(began) >= 2*many })
	n, _ := c.calls()
	c.t.Logf("%d repositories: purged with %d calls in %v", many, n, time.Since(began))
	if n > 4*many {
		_, by := c.calls()
		c.t.Errorf("%d calls until all was purged, want at most %d: %v", n, 4*many, by)
	}
	c.within("everything is said", func() bool { return c.spoken(sha) >= min(many, 440) }) // GitHub takes 500 an hour
	n, by := c.calls()
	c.t.Logf("all said with %d calls in %v: %v", n, time.Since(began), by)
	if most := 4*many + 20 + by["GET /app/hook/deliveries"]; n > most {
		c.t.Errorf("%d calls until all was said, want at most %d: %v", n, most, by)
	}
	if purged := c.purged(began); purged != 2*many {
		c.t.Errorf("%d objects were purged, want %d", purged, 2*many)
	}
}

// Two replicas recover on PostgreSQL: one of them asks GitHub for both, and
// when it is killed in the middle the other one goes on where it was.
func TestRecoverWithTwoReplicas(t *testing.T) {
	c := newCrowd(t, nil)
	config := c.filesWith(storetest.Postgres(t))
	before := c.spawn(config)
	c.deployAll(c.first)
	c.within("all are live", func() bool { return c.live(c.first) == len(c.names) })
	before.kill()
	second := c.commit("second", map[string]string{"content/index/home.md": "2"})
	c.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
	c.deployAll(second)
	c.github.Route(nil)
	c.github.ResetCalls()

	began, many := time.Now(), len(c.names)
	var lists atomic.Int64
	half := make(chan struct{})
	c.github.Fault(func(r *http.Request) standin.GitHubFault {
		if strings.HasSuffix(r.URL.Path, "/deployments") && lists.Add(1) == int64(many/2) {
			close(half)
		}
		return standin.GitHubFault{Delay: 50 * time.Millisecond}
	})
	first := c.spawn(config)
	c.spawn(config)
	<-half
	first.kill()
	killed := time.Now()
	c.within("everything is purged", func() bool { return c.purged(began) >= 2*many })
	took := time.Since(killed)
	n, by := c.calls()
	c.t.Logf("purged %v after the kill with %d calls: %v", took, n, by)
	if took > time.Minute {
		t.Errorf("the other one took %v", took)
	}
	// What the one was at and had not noted, the other looks at again: some of
	// its half, not all of it.
	if lists := by["GET /repos/{owner}/{repo}/deployments"]; lists >= 2*many-many/4 {
		t.Errorf("%d repositories were asked for their deployments %d times", many, lists)
	}
	if lists := by["GET /app/installations"]; lists > 2 {
		t.Errorf("what the App may see was asked for %d times", lists)
	}
}
