package server_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// lacks takes a permission away from the App for some calls, until granted is called.
func (w *world) lacks(permission string, calls ...string) (granted func()) {
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		for _, call := range calls {
			if strings.Contains(r.URL.Path, call) {
				return github.Fault{
					Status: http.StatusForbidden, Body: `{"message":"Resource not accessible by integration"}`,
					Header: http.Header{"X-Accepted-Github-Permissions": {permission}},
				}
			}
		}
		return github.Fault{}
	})
	return func() { w.GitHub.Fault(nil) }
}

// An owner takes a permission away after a deployment. That is reported where possible,
// and what is owed goes out once the permission is back.
func TestPermissionsTakenAway(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (w *world, second string, forward *atomic.Int64) {
		var first string
		forward = new(atomic.Int64)
		w, first = newWorld(t, func(c *stage.Config) {
			c.ServerNow = func() time.Time { return time.Now().Add(time.Duration(forward.Load())) }
		})
		w.Deploy("production", first, "success")
		w.Begin()
		second = w.Home("second")
		w.Push(second)
		w.Await(second, "production", "success", "2 URLs will be purged when production deploys")
		return w, second, forward
	}
	home := servertest.URLs("production", "/index/home/")
	t.Run("contents", func(t *testing.T) {
		w, second, forward := begin(t)
		granted := w.lacks("contents=read", "/git/", "/compare/", "/contents/", "/commits")
		w.Deploy("production", second, "success")
		w.Await(second, "production", "pending", "waiting: the GitHub App lacks a permission (contents=read)")
		w.WantSent()
		granted()
		w.Eventually("it is purged", func() bool {
			forward.Add(int64(100 * time.Millisecond))
			return w.MoreSent()
		})
		w.Await(second, "production", "success", "2 URLs purged")
		w.WantSent(home...)
	})
	t.Run("statuses", func(t *testing.T) {
		w, second, forward := begin(t)
		granted := w.lacks("statuses=write", "/statuses/")
		w.Deploy("production", second, "success")
		w.Eventually("the check run says it", func() bool {
			for _, run := range w.GitHub.CheckRuns(w.FullName(), second) {
				if strings.Contains(run.Summary+run.Text, "The commit status can't say this: the GitHub App lacks a permission (statuses=write)") {
					return true
				}
			}
			return false
		})
		w.Eventually("the metric counts it", func() bool { return !w.metric("purgebot_statuses_refused 0") })
		w.WantSent(home...)
		granted()
		w.Eventually("the status says how it ended", func() bool {
			forward.Add(int64(100 * time.Millisecond))
			return slices.ContainsFunc(w.GitHub.Statuses(w.FullName(), second), func(s github.Status) bool {
				return strings.HasPrefix(s.Description, "2 URLs purged")
			})
		})
		w.Eventually("the metric counts nothing", func() bool { return w.metric("purgebot_statuses_refused 0") })
	})
}

// A branch that was made from the deployed commit does not hide the push that brought the
// commit: the environment's first purge includes that push's earlier commits.
func TestFirstPurgeBesideANewBranch(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.Push(first)
	w.Home("second")
	third := w.Commit("third", map[string]string{"content/about/us.md": "third"})
	w.Push(third) // two commits
	w.PushTo("release", third)
	w.Settled()
	w.Sent()
	w.Deploy("staging", third, "success")
	w.Await(third, "staging", "success", "")
	w.Settled()
	w.WantSent(append(servertest.URLs("staging", "/index/home/"), servertest.URLs("staging", "/about/us/")...)...)
}

// A status that GitHub refuses is tried in plainer words, and counted.
func TestRefusedWordsAreCounted(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	var left atomic.Int64
	left.Store(1)
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		if isStatusPost(r) && left.Add(-1) >= 0 {
			return github.Fault{Status: http.StatusUnprocessableEntity, Body: `{"message":"Validation Failed"}`}
		}
		return github.Fault{}
	})
	second := w.Home("second")
	w.Push(second)
	w.Await(second, "production", "success", "2 URLs will be purged")
	if !w.metric("purgebot_words_refused_total 1") {
		t.Error("the metric does not count it")
	}
}
