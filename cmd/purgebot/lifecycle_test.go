package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/standin"
)

// newLife opens a world whose production is live at its first commit. The
// policy knows both accounts between which the repository may move.
func newLiveWorld(t *testing.T, said *logged) *world {
	t.Helper()
	w, first := newWorld(t, func(c *stageConfig) {
		withLog(said)(c)
		e := c.policy[0]
		e.Repositories = []string{"acme/*", "globex/*"}
		c.policy = policy.Policy{e}
	})
	w.begin()
	w.deploy("production", first, "success")
	w.await(first, "production", "success", "")
	w.settled()
	w.sent()
	return w
}

// home commits a new front page.
func (w *world) home(content string) string {
	w.t.Helper()
	return w.commit(content, map[string]string{"content/index/home.md": content})
}

func (w *world) logs(said *logged, words string) {
	w.t.Helper()
	w.eventually("the log says "+words, func() bool { return strings.Contains(said.String(), words) })
}

// silent looks for calls to GitHub about the repository for a while in which
// the sweep comes round twice.
func (w *world) silent(when string) {
	w.t.Helper()
	w.github.ResetCalls()
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	<-timer.C
	for _, c := range w.github.Calls() {
		late := strings.HasSuffix(c.Path, "/installation") // whether an event that came late means that it is back
		if !late && strings.Contains(c.Path, "/repos/") || strings.Contains(c.Path, "access_tokens") {
			w.t.Errorf("%s GitHub is asked for %s %s", when, c.Method, c.Path)
		}
	}
	q, err := w.server.store.Queue(w.t.Context())
	if err != nil || q.Environments+q.Posts+q.Deliveries > 0 {
		w.t.Errorf("%s the queue has %+v, %v", when, q, err)
	}
}

// moved makes the test speak of the repository by another name.
func (w *world) moved(owner, name string) { w.cfg.repo.Owner, w.cfg.repo.Name = owner, name }

// Out of reach, a repository's work waits without a single call; back again,
// what was deployed in between is found.
func TestOutOfReachAndBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leave, back func(w *world) error
		why         string
	}{
		"suspended": {
			func(w *world) error { return w.github.Suspend(w.t.Context(), 1) },
			func(w *world) error { return w.github.Unsuspend(w.t.Context(), 1) },
			"the GitHub App's installation is suspended",
		},
		"uninstalled and installed anew": {
			func(w *world) error { return w.github.Uninstall(w.t.Context(), 1) },
			func(w *world) error { return w.github.Reinstall(w.t.Context(), 1, 7) },
			"the GitHub App was uninstalled",
		},
		"taken from the installation and added": {
			func(w *world) error { return w.github.RemoveRepository(w.t.Context(), "acme/site") },
			func(w *world) error { return w.github.AddRepository(w.t.Context(), "acme/site", 1) },
			"the repository was taken from the GitHub App's installation",
		},
		"transferred to where the App is not": {
			func(w *world) error { return w.github.Transfer(w.t.Context(), "acme/site", "globex", 0) },
			func(w *world) error {
				w.moved("globex", "site")
				return w.github.AddRepository(w.t.Context(), "globex/site", 2)
			},
			"the repository was taken from the GitHub App's installation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var said logged
			w := newLiveWorld(t, &said)
			// What is told of a moment before can't be read any more.
			w.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubHold })
			w.push(w.home("held"))
			w.github.Route(nil)
			if err := c.leave(w); err != nil {
				t.Fatal(err)
			}
			w.logs(&said, c.why)
			w.github.Release(t.Context())
			w.silent("out of reach")
			w.wantSent()

			between := w.home("between")
			full := "acme/site"
			if strings.HasPrefix(name, "transferred") {
				full = "globex/site"
			}
			id, err := w.github.Deploy(t.Context(), full, standin.GitHubDeployment{SHA: between, Environment: "production"})
			if err == nil {
				_, err = w.github.DeployStatus(t.Context(), full, id, standin.GitHubDeploymentStatus{State: "success"})
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := c.back(w); err != nil {
				t.Fatal(err)
			}
			w.await(between, "production", "success", "2 URLs purged")
			w.wantSent(urls("production", "/index/home/")...)
			if n := strings.Count(said.String(), "repository is gone"); n != 1 {
				t.Errorf("the log says %d times that the repository is gone", n)
			}
			after := w.home("after")
			w.deploy("production", after, "success")
			w.await(after, "production", "success", "2 URLs purged")
		})
	}
}

// Transferred to an account that has the App too, a repository goes on under
// its new name and installation.
func TestTransferredWithTheApp(t *testing.T) {
	var said logged
	w := newLiveWorld(t, &said)
	if err := w.github.Transfer(t.Context(), "acme/site", "globex", 2); err != nil {
		t.Fatal(err)
	}
	w.moved("globex", "site")
	second := w.home("second")
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged")
	w.wantSent(urls("production", "/index/home/")...)
	repo, err := w.server.store.Repository(t.Context(), 1)
	if err != nil || repo.FullName() != "globex/site" || repo.Installation != 2 || repo.Gone != "" {
		t.Errorf("the ledger has %+v, %v", repo, err)
	}
}

// What was planned is deployed: it goes to Akamai whatever becomes of the
// repository, and what can't be said is not tried for ever.
func TestPlannedPurgesOutliveTheirRepository(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(w *world) error
		says string
	}{
		"deleted":  {func(w *world) error { return w.github.Delete("acme/site") }, "repository is gone"},
		"archived": {func(w *world) error { return w.github.Archive("acme/site") }, "Repository was archived so is read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			var said logged
			w := newLiveWorld(t, &said)
			var away atomic.Bool
			away.Store(true)
			w.akamai.Fault(func(*http.Request, []byte) standin.AkamaiFault {
				if away.Load() {
					return standin.AkamaiFault{Status: http.StatusServiceUnavailable}
				}
				return standin.AkamaiFault{}
			})
			second := w.home("second")
			w.deploy("production", second, "success")
			w.eventually("the purge is planned", func() bool {
				q, err := w.server.store.Queue(t.Context())
				return err == nil && q.Targets == 2
			})
			if err := c.end(w); err != nil {
				t.Fatal(err)
			}
			w.recompareAway(&said)
			away.Store(false)
			w.eventually("the purge went out", func() bool { return len(w.akamai.Accepted()) > w.seen })
			w.logs(&said, c.says)
			w.eventually("nothing is tried any more", func() bool {
				q, err := w.server.store.Queue(t.Context())
				return err == nil && q.Targets+q.Posts == 0
			})
			w.wantSent(urls("production", "/index/home/")...)
			w.silent("at the end")
		})
	}
}

// recompareAway has the server compare what is deployed, without waiting for
// what Akamai holds up.
func (w *world) recompareAway(said *logged) {
	w.t.Helper()
	rounds := func() int { return strings.Count(said.String(), `msg="compared with GitHub"`) }
	before := rounds()
	if err := w.server.store.Hasten(w.t.Context(), "deployments"); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("GitHub was compared", func() bool { return rounds() > before })
}

// An archived repository was deployed to while nobody listened: that is found,
// and it costs no call from then on.
func TestArchivedWhileNobodyListened(t *testing.T) {
	var said logged
	w := newLiveWorld(t, &said)
	w.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubDrop })
	second := w.home("second")
	w.deploy("production", second, "success")
	if err := w.github.Archive("acme/site"); err != nil {
		t.Fatal(err)
	}
	w.recompareAway(&said)
	w.eventually("the purge went out", func() bool { return len(w.akamai.Accepted()) > w.seen })
	w.wantSent(urls("production", "/index/home/")...)
	w.logs(&said, "Repository was archived so is read-only")
	w.github.ResetCalls()
	w.recompareAway(&said)
	for _, call := range w.github.Calls() {
		if call.Method == http.MethodGet && strings.Contains(call.Path, "/repos/") {
			t.Errorf("an archived repository is asked for by %s %s", call.Method, call.Path)
		}
	}
}

// Tokens end in the middle of the work: nobody notices.
func TestTokensEndInTheMiddle(t *testing.T) {
	var said logged
	w := newLiveWorld(t, &said)
	var calls atomic.Int64
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		if strings.Contains(r.URL.Path, "/repos/") {
			if n := calls.Add(1); n == 2 || n == 8 { // a call that is made once more is not revoked again
				w.github.RevokeTokens()
			}
		}
		return standin.GitHubFault{}
	})
	second := w.home("second")
	w.push(second)
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged")
	w.wantSent(urls("production", "/index/home/")...)
	if strings.Contains(said.String(), "level=ERROR") {
		t.Errorf("the log has an error:\n%s", said.String())
	}
}
