package server_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// newLiveWorld opens a world whose production is live at its first commit. The policy
// knows both accounts that the repository may move between.
func newLiveWorld(t *testing.T, said *servertest.Log) *world {
	t.Helper()
	w, first := newWorld(t, func(c *stage.Config) {
		servertest.WithLog(said)(c)
		e := c.Policy[0]
		e.Repositories = []string{"acme/*", "globex/*"}
		c.Policy = policy.Policy{e}
	})
	w.Begin()
	w.Deploy("production", first, "success")
	w.Await(first, "production", "success", "")
	w.Settled()
	w.Sent()
	return w
}

func (w *world) logs(said *servertest.Log, words string) {
	w.T.Helper()
	w.Eventually("the log says "+words, func() bool { return strings.Contains(said.String(), words) })
}

// silent wants no calls to GitHub about the repository, for a time in which the sweep
// runs twice.
func (w *world) silent(when string) {
	w.T.Helper()
	w.GitHub.ResetCalls()
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	<-timer.C
	for _, c := range w.GitHub.Calls() {
		late := strings.HasSuffix(c.Path, "/installation") // whether an event that came late means that it is back
		if !late && strings.Contains(c.Path, "/repos/") || strings.Contains(c.Path, "access_tokens") {
			w.T.Errorf("%s GitHub is asked for %s %s", when, c.Method, c.Path)
		}
	}
	q, err := w.Server.Store().Queue(w.T.Context())
	if err != nil || q.Environments+q.Posts+q.Deliveries > 0 {
		w.T.Errorf("%s the queue has %+v, %v", when, q, err)
	}
}

// moved makes the test use another name for the repository.
func (w *world) moved(owner, name string) {
	w.Config.Repositories[0].Owner, w.Config.Repositories[0].Name = owner, name
}

// While a repository is out of reach, its work waits without a single call. When it is
// back, what was deployed in between is found.
func TestOutOfReachAndBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leave, back func(w *world) error
		why         string
	}{
		"suspended": {
			func(w *world) error { return w.GitHub.Suspend(w.T.Context(), 1) },
			func(w *world) error { return w.GitHub.Unsuspend(w.T.Context(), 1) },
			"the GitHub App's installation is suspended",
		},
		"uninstalled and installed anew": {
			func(w *world) error { return w.GitHub.Uninstall(w.T.Context(), 1) },
			func(w *world) error { return w.GitHub.Reinstall(w.T.Context(), 1, 7) },
			"the GitHub App was uninstalled",
		},
		"taken from the installation and added": {
			func(w *world) error { return w.GitHub.RemoveRepository(w.T.Context(), "acme/site") },
			func(w *world) error { return w.GitHub.AddRepository(w.T.Context(), "acme/site", 1) },
			"the repository was taken from the GitHub App's installation",
		},
		"transferred to where the App is not": {
			func(w *world) error { return w.GitHub.Transfer(w.T.Context(), "acme/site", "globex", 0) },
			func(w *world) error {
				w.moved("globex", "site")
				return w.GitHub.AddRepository(w.T.Context(), "globex/site", 2)
			},
			"the repository was taken from the GitHub App's installation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var said servertest.Log
			w := newLiveWorld(t, &said)
			// GitHub's records from the moment before can't be read any more.
			w.GitHub.Route(func(github.Delivery) github.Route { return github.Hold })
			w.Push(w.Home("held"))
			w.GitHub.Route(nil)
			if err := c.leave(w); err != nil {
				t.Fatal(err)
			}
			w.logs(&said, c.why)
			w.GitHub.Release(t.Context())
			w.silent("out of reach")
			w.WantSent()

			between := w.Home("between")
			full := "acme/site"
			if strings.HasPrefix(name, "transferred") {
				full = "globex/site"
			}
			id, err := w.GitHub.Deploy(t.Context(), full, github.Deployment{SHA: between, Environment: "production"})
			if err == nil {
				_, err = w.GitHub.DeployStatus(t.Context(), full, id, github.DeploymentStatus{State: "success"})
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := c.back(w); err != nil {
				t.Fatal(err)
			}
			w.Await(between, "production", "success", "2 URLs purged")
			w.WantSent(servertest.URLs("production", "/index/home/")...)
			if n := strings.Count(said.String(), "repository is gone"); n != 1 {
				t.Errorf("the log says %d times that the repository is gone", n)
			}
			after := w.Home("after")
			w.Deploy("production", after, "success")
			w.Await(after, "production", "success", "2 URLs purged")
		})
	}
}

// A repository that is transferred to an account with the App continues under its new
// name and installation.
func TestTransferredWithTheApp(t *testing.T) {
	var said servertest.Log
	w := newLiveWorld(t, &said)
	if err := w.GitHub.Transfer(t.Context(), "acme/site", "globex", 2); err != nil {
		t.Fatal(err)
	}
	w.moved("globex", "site")
	second := w.Home("second")
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent(servertest.URLs("production", "/index/home/")...)
	repo, err := w.Server.Store().Repository(t.Context(), 1)
	if err != nil || repo.FullName() != "globex/site" || repo.Installation != 2 || repo.Gone != "" {
		t.Errorf("the ledger has %+v, %v", repo, err)
	}
}

// What is planned is deployed: it goes to Akamai whatever becomes of the repository. A
// status that can't be written is not tried for ever.
func TestPlannedPurgesOutliveTheirRepository(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(w *world) error
		says string
	}{
		"deleted":  {func(w *world) error { return w.GitHub.Delete("acme/site") }, "repository is gone"},
		"archived": {func(w *world) error { return w.GitHub.Archive("acme/site") }, "Repository was archived so is read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			var said servertest.Log
			w := newLiveWorld(t, &said)
			var away atomic.Bool
			away.Store(true)
			w.Akamai.Fault(func(*http.Request, []byte) akamai.Fault {
				if away.Load() {
					return akamai.Fault{Status: http.StatusServiceUnavailable}
				}
				return akamai.Fault{}
			})
			second := w.Home("second")
			w.Deploy("production", second, "success")
			w.Eventually("the purge is planned", func() bool {
				q, err := w.Server.Store().Queue(t.Context())
				return err == nil && q.Targets == 2
			})
			if err := c.end(w); err != nil {
				t.Fatal(err)
			}
			w.recompareAway(&said)
			away.Store(false)
			w.Eventually("the purge went out", w.MoreSent)
			w.logs(&said, c.says)
			w.Eventually("nothing is tried any more", func() bool {
				q, err := w.Server.Store().Queue(t.Context())
				return err == nil && q.Targets+q.Posts == 0
			})
			w.WantSent(servertest.URLs("production", "/index/home/")...)
			w.silent("at the end")
		})
	}
}

// recompareAway makes the server compare what is deployed, without waiting for what
// Akamai delays.
func (w *world) recompareAway(said *servertest.Log) {
	w.T.Helper()
	rounds := func() int { return strings.Count(said.String(), `msg="compared with GitHub"`) }
	before := rounds()
	if err := w.Server.Store().Hasten(w.T.Context(), "deployments"); err != nil {
		w.T.Fatal(err)
	}
	w.Eventually("GitHub was compared", func() bool { return rounds() > before })
}

// A repository was deployed and archived while no server ran. The deployment is found,
// and from then on the repository costs no call.
func TestArchivedWhileNobodyListened(t *testing.T) {
	var said servertest.Log
	w := newLiveWorld(t, &said)
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
	second := w.Home("second")
	w.Deploy("production", second, "success")
	if err := w.GitHub.Archive("acme/site"); err != nil {
		t.Fatal(err)
	}
	w.recompareAway(&said)
	w.Eventually("the purge went out", w.MoreSent)
	w.WantSent(servertest.URLs("production", "/index/home/")...)
	w.logs(&said, "Repository was archived so is read-only")
	w.GitHub.ResetCalls()
	w.recompareAway(&said)
	for _, call := range w.GitHub.Calls() {
		if call.Method == http.MethodGet && strings.Contains(call.Path, "/repos/") {
			t.Errorf("an archived repository is asked for by %s %s", call.Method, call.Path)
		}
	}
}

// Tokens end in the middle of the work, and nothing is lost or late.
func TestTokensEndInTheMiddle(t *testing.T) {
	var said servertest.Log
	w := newLiveWorld(t, &said)
	var calls atomic.Int64
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		if strings.Contains(r.URL.Path, "/repos/") {
			if calls.Add(1) == 2 { // once a round: what is asked again is not refused again
				w.GitHub.RevokeTokens()
			}
		}
		return github.Fault{}
	})
	second := w.Home("second")
	w.Push(second)
	w.Settled()
	calls.Store(0)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent(servertest.URLs("production", "/index/home/")...)
	if calls.Load() < 2 {
		t.Error("no token ended in the middle")
	}
	if strings.Contains(said.String(), "level=ERROR") {
		t.Errorf("the log has an error:\n%s", said.String())
	}
}
