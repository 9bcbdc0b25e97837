package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// rulesOf are rules files as commits may have them.
var rulesOf = map[string]string{
	"good":    servertest.Rules,
	"broken":  "version: 1\nenvironments: {production: {hosts: [www.acme.com]\n",
	"none":    stage.Removed,
	"unnamed": strings.NewReplacer("  production:\n", "  elsewhere:\n", "  staging:\n", "  other:\n").Replace(servertest.Rules),
	"pending": strings.Replace(servertest.Rules, "  production:\n", "  production:\n    announce: pending\n", 1),
}

// waiter is a world in which anything may happen to rules, to deployments and to the
// App's permissions.
type waiter struct {
	*world
	random  *rand.Rand
	commits []string
	rules   string                 // kind of rules file of the last commit
	denied  atomic.Pointer[string] // calls that GitHub refuses now: statuses, contents, or all
	later   atomic.Int64           // how far the server's clock is ahead
	script  []string
}

func newWaiter(t *testing.T, random *rand.Rand, database string) *waiter {
	w := &waiter{random: random}
	var first string
	w.world, first = newWorld(t, func(c *stage.Config) {
		c.Database = database
		c.ServerNow = func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	})
	w.commits = []string{first}
	w.GitHub.Fault(w.fault)
	return w
}

func (w *waiter) fault(r *http.Request) github.Fault {
	denied := w.denied.Load()
	switch {
	case denied == nil || !strings.HasPrefix(r.URL.Path, "/repos/"):
	case *denied == "all":
		return github.Fault{Status: http.StatusNotFound, Body: `{"message":"Not Found"}`}
	case strings.Contains(r.URL.Path, "/"+*denied+"/"):
		return github.Fault{Status: http.StatusForbidden, Body: `{"message":"Resource not accessible by integration"}`}
	}
	return github.Fault{}
}

func (w *waiter) note(format string, args ...any) {
	w.script = append(w.script, fmt.Sprintf(format, args...))
}

// step does one random thing: a push, a deployment, calls that GitHub refuses, webhooks
// that are lost, or a repository that is taken away and given back.
func (w *waiter) step() {
	ctx := context.WithoutCancel(w.T.Context())
	switch n := w.random.IntN(20); {
	case n < 8:
		names := []string{"good", "broken", "none", "unnamed", "pending"}
		name := names[w.random.IntN(len(names))]
		if name == w.rules {
			name = "good" // a file can't be removed twice
		}
		w.rules = name
		w.note("push a commit with rules %s", name)
		sha := w.Commit(name, map[string]string{"purge-rules.yaml": rulesOf[name], "content/index/home.md": fmt.Sprint(len(w.commits))})
		w.commits = append(w.commits, sha)
		w.Push(sha)
	case n < 15:
		sha := w.commits[max(0, len(w.commits)-1-w.random.IntN(3))]
		environment, state := []string{"production", "Staging"}[w.random.IntN(2)], []string{"success", "success", "failure"}[w.random.IntN(3)]
		w.note("deploy %s to %s: %s", sha[:7], environment, state)
		w.says(w.deployed(github.Deployment{SHA: sha, Environment: environment, RequiredContexts: []string{}}), github.DeploymentStatus{State: state})
	case n < 17:
		what := []string{"statuses", "git", "all"}[w.random.IntN(3)]
		w.note("GitHub refuses %s", what)
		w.denied.Store(&what)
	case n < 18:
		w.note("GitHub refuses nothing")
		w.denied.Store(nil)
	case n < 19:
		lost := w.random.IntN(2) == 0
		w.note("webhooks are lost: %t", lost)
		w.GitHub.Route(func(github.Delivery) github.Route {
			if lost {
				return github.Drop
			}
			return github.Send
		})
	default:
		w.note("the repository is taken away and given back")
		if err := w.GitHub.RemoveRepository(ctx, w.FullName()); err != nil {
			w.T.Fatal(err)
		}
		if err := w.GitHub.AddRepository(ctx, w.FullName(), 1); err != nil {
			w.T.Fatal(err)
		}
	}
	if w.random.IntN(3) == 0 {
		w.note("rest")
		w.Server.Store().Sweep(ctx) //nolint:errcheck // it comes again
	}
}

// pending lists the statuses of purgebot's that wait.
func (w *waiter) pending() (all []string) {
	last := map[string]github.Status{}
	for _, s := range w.GitHub.Statuses(w.FullName(), "") {
		last[s.SHA[:7]+" "+strings.ToLower(s.Context)] = s
	}
	for at, s := range last {
		if s.State == "pending" {
			all = append(all, at+": "+s.Description)
		}
	}
	return all
}

// Whatever happens to rules, deployments, webhooks and permissions, no status waits for
// ever: a day after the last change, none waits for something that will not come.
func TestNothingIsPendingForEver(t *testing.T) {
	for name, database := range map[string]func(t testing.TB) string{
		"sqlite": func(testing.TB) string { return "" }, "postgres": storetest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			random := servertest.Seed(t)
			w := newWaiter(t, random, database(t))
			w.Begin()
			for range 14 {
				w.step()
			}
			w.denied.Store(nil)
			w.GitHub.Route(nil)
			w.ended()
		})
	}
}

// ended lets a day pass, and fails if a status still waits then.
func (w *waiter) ended() {
	w.T.Helper()
	w.later.Store(int64(26 * time.Hour)) // past a day and the hour between two prunings
	if err := w.Server.Store().Hasten(w.T.Context(), "deployments", "deliveries"); err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() {
		if w.T.Failed() {
			w.T.Logf("pending for ever: %v\nin this life:\n%s", w.pending(), strings.Join(w.script, "\n"))
		}
	})
	looks := 0
	w.Eventually("nothing is pending", func() bool {
		if looks++; looks%100 == 0 { // what came too late for one pruning is there at the next
			w.later.Add(int64(time.Hour))
		}
		q, err := w.Server.Store().Queue(w.T.Context())
		return err == nil && q.Deliveries+q.Environments+q.Targets+q.Posts == 0 && len(w.pending()) == 0
	})
}

// The next deployment ends what was said of a commit, whatever environments its own rules
// name.
func TestFaultsEnd(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string]string{"the file is gone": stage.Removed, "it names another environment": rulesOf["unnamed"]} {
		t.Run(name, func(t *testing.T) {
			w, _ := newWorld(t, nil)
			w.Begin()
			broken := w.Commit("broken", map[string]string{"purge-rules.yaml": rulesOf["broken"]})
			w.Push(broken)
			w.Await(broken, "production", "pending", "purge-rules.yaml:")
			w.says(w.deployed(github.Deployment{SHA: broken, Environment: "production", RequiredContexts: []string{}}), github.DeploymentStatus{State: "success"})
			w.Settled()
			mended := w.Commit("mended", map[string]string{"purge-rules.yaml": rules})
			w.Push(mended)
			w.Deploy("production", mended, "success")
			w.Await(broken, "production", "success", "Not purged: the rules of "+mended[:7])
		})
	}
}

// A commit that GitHub does not know yet gets its status. So does a commit of a
// repository that was out of sight for a while without a webhook.
func TestStatusesOfWhatIsNotSeenYet(t *testing.T) {
	t.Parallel()
	for name, refusals := range map[string]int64{"a moment": 3, "until it was given up": 12} {
		t.Run(name, func(t *testing.T) {
			var later, left atomic.Int64
			var said servertest.Log
			w, _ := newWorld(t, func(c *stage.Config) {
				servertest.WithLog(&said)(c)
				c.ServerNow = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
			})
			w.Begin()
			sha := w.Home("second")
			left.Store(refusals)
			w.GitHub.Fault(func(r *http.Request) github.Fault {
				if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/statuses/") && left.Add(-1) >= 0 {
					return github.Fault{Status: http.StatusUnprocessableEntity, Body: `{"message":"No commit found for SHA: ` + sha + `"}`}
				}
				if name != "a moment" && left.Load() > 0 && left.Load() < refusals && strings.HasPrefix(r.URL.Path, "/repos/") {
					left.Add(-1)
					return github.Fault{Status: http.StatusNotFound, Body: `{"message":"Not Found"}`}
				}
				return github.Fault{}
			})
			w.Push(sha)
			looks := 0
			w.Eventually("the status is there", func() bool {
				if looks++; looks%10 == 0 {
					later.Add(int64(20 * time.Second))
				}
				return len(w.GitHub.Statuses(w.FullName(), sha)) > 0
			})
		})
	}
}
