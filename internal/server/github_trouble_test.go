package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

func isStatusPost(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/statuses/")
}

// The purge goes out whatever GitHub does with the statuses. When GitHub is back, it
// shows the final one.
func TestStatusesNeverHoldUpAPurge(t *testing.T) {
	t.Parallel()
	second := http.Header{"Retry-After": {"1"}}
	for name, fault := range map[string]github.Fault{
		"403 with retry-after": servertest.LimitedAnswer(http.StatusForbidden, second),
		"429 with retry-after": servertest.LimitedAnswer(http.StatusTooManyRequests, second),
		"500":                  {Status: http.StatusInternalServerError},
		"502 of a proxy":       {Status: http.StatusBadGateway, Body: "<html>"},
		"dropped":              {Drop: true},
		"answer lost":          {LoseAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, nil)
			w.Deploy("production", first, "success")
			w.Begin()
			var away atomic.Bool
			away.Store(true)
			w.GitHub.Fault(func(r *http.Request) github.Fault {
				if away.Load() && isStatusPost(r) {
					return fault
				}
				return github.Fault{}
			})
			sha := w.Commit("second", map[string]string{"content/index/home.md": "2"})
			w.Push(sha)
			w.Deploy("production", sha, "success")
			w.Eventually("the purge went out", func() bool { return len(w.Akamai.Accepted()) > 0 })
			away.Store(false)
			w.Await(sha, "production", "success", "2 URLs purged")
			w.WantSent(servertest.URLs("production", "/index/home/")...)
		})
	}
}

// A limit on writes that names no time lasts a minute, by GitHub's rules. No purge waits
// for it.
func TestNoPurgeWaitsForALimitOnWrites(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w, first := newWorld(t, nil)
			w.Deploy("production", first, "success")
			w.Begin()
			w.GitHub.Fault(func(r *http.Request) github.Fault {
				if isStatusPost(r) {
					return servertest.LimitedAnswer(status, nil)
				}
				return github.Fault{}
			})
			sha := w.Commit("second", map[string]string{"content/index/home.md": "2"})
			w.Push(sha)
			w.Eventually("GitHub refused", func() bool {
				for _, c := range w.GitHub.Calls() {
					if c.Status == status {
						return true
					}
				}
				return false
			})
			w.Deploy("production", sha, "success")
			w.Eventually("the purge went out", func() bool { return len(w.Akamai.Accepted()) > 0 })
			posts := 0
			for _, c := range w.GitHub.Calls() {
				if c.Method == http.MethodPost && c.Status == status {
					posts++
				}
			}
			if posts > 4 { // those that were under way together
				t.Errorf("GitHub was asked %d times within its limit", posts)
			}
		})
	}
}

// Every kind of trouble happens at random, on any call. All is purged and every final
// status is written.
func TestGitHubInTrouble(t *testing.T) {
	random := servertest.Seed(t)
	second := http.Header{"Retry-After": {"1"}}
	troubles := []github.Fault{
		{Drop: true},
		{LoseAnswer: true},
		{Status: http.StatusInternalServerError},
		{Status: http.StatusServiceUnavailable},
		{Status: http.StatusUnauthorized, Body: `{"message":"Bad credentials"}`},
		servertest.LimitedAnswer(http.StatusForbidden, second),
		servertest.LimitedAnswer(http.StatusTooManyRequests, second),
		{Status: http.StatusForbidden, Header: http.Header{
			"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {fmt.Sprint(time.Now().Unix())},
		}, Body: `{"message":"API rate limit exceeded for installation ID 1."}`},
	}
	dice := make(chan github.Fault, 80)
	for range cap(dice) {
		fault := github.Fault{}
		if random.IntN(12) == 0 {
			fault = troubles[random.IntN(len(troubles))]
		}
		dice <- fault
	}
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		select {
		case fault := <-dice:
			return fault
		default:
			return github.Fault{}
		}
	})
	last := first
	var want []string
	for i := range 4 {
		page := fmt.Sprintf("content/step/p%d.md", i)
		last = w.Commit(page, map[string]string{page: "x"})
		w.Push(last)
		w.Deploy("production", last, "success")
		want = append(want, servertest.URLs("production", fmt.Sprintf("/step/p%d/", i))...)
	}
	w.Await(last, "production", "success", "")
	w.Settled()
	w.WantSent(want...)
}

// An installation's token that ends early costs one more call, and nothing else.
func TestTokenEndsInTheMiddle(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	var old atomic.Value
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		token := r.Header.Get("Authorization")
		if !strings.HasPrefix(r.URL.Path, "/repos/") {
			return github.Fault{}
		}
		old.CompareAndSwap(nil, token)
		if isStatusPost(r) && old.Load() == token { // it ends with the first words
			old.Store("ended " + token)
		}
		if old.Load() == "ended "+token {
			return github.Fault{Status: http.StatusUnauthorized, Body: `{"message":"Bad credentials"}`}
		}
		return github.Fault{}
	})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent(servertest.URLs("production", "/index/home/")...)
}

// Near GitHub's limits on writes, statuses that others will replace wait. Purges don't
// wait, and neither does the answer to a person.
func TestPeopleAreAnsweredFirst(t *testing.T) {
	w, first := newWorld(t, func(c *stage.Config) { c.Limits.Enforce = true })
	w.People()
	w.Deploy("production", first, "success")
	w.Begin()
	number := w.Pull("topic", map[string]string{"content/index/home.md": "2"}, nil)
	w.Settled()
	for {
		wait, err := w.Server.Store().TakeWrite(t.Context(), 1, ledger.Progress)
		if err != nil {
			t.Fatal(err)
		}
		if wait > 0 {
			break
		}
	}
	second := w.Commit("second", map[string]string{"content/about/us.md": "2"})
	before := len(w.GitHub.Statuses(w.FullName(), ""))
	w.Deploy("production", second, "success")
	w.Eventually("the purge went out", func() bool { return len(w.Akamai.Accepted()) > 0 })
	comment := w.Say(number, "walt", "/purge status")
	w.Eventually("the person is answered", func() bool { return len(w.GitHub.Reactions(w.FullName(), comment))+len(w.Replies(number)) > 0 })
	for _, s := range w.GitHub.Statuses(w.FullName(), "")[before:] {
		if s.State == "pending" {
			t.Errorf("posted though there was no room: %q", s.Description)
		}
	}
}

// A merge train: a push and a deployment with every commit make far more statuses than
// GitHub accepts in a minute. GitHub refuses none, and the purges don't wait.
func TestMergeTrain(t *testing.T) {
	w, first := newWorld(t, func(c *stage.Config) { c.Limits = github.Limits{Enforce: true, PointsPerMinute: 100_000} })
	w.Deploy("production", first, "success")
	w.Begin()
	const earlier, room = 50, 78 - 50 // of this minute's writes
	for range earlier {
		if wait, err := w.Server.Store().TakeWrite(t.Context(), 1, ledger.LastWord); wait > 0 || err != nil {
			t.Fatal(wait, err)
		}
	}
	last := first
	for i := range 12 {
		last = w.Commit(fmt.Sprint(i), map[string]string{fmt.Sprintf("content/train/p%d.md", i): "x"})
		w.Push(last)
		w.Deploy("production", last, "success")
		w.Deploy("staging", last, "success")
	}
	for _, env := range []string{"production", "staging"} {
		w.Eventually(env+" is purged", func() bool {
			e, err := w.Server.Store().FindEnvironment(t.Context(), 1, env)
			return err == nil && e.Live.SHA == last
		})
	}
	w.Eventually("all was sent", func() bool {
		q, err := w.Server.Store().Queue(t.Context())
		return err == nil && q.Environments+q.Targets == 0
	})
	written, refused := 0, 0
	for _, c := range w.GitHub.Calls() {
		if c.Method != http.MethodPost || !strings.HasPrefix(c.Path, "/repos/") {
			continue
		}
		if written++; c.Status >= 400 {
			refused++
		}
	}
	q, err := w.Server.Store().Queue(t.Context())
	if err != nil || written > room || refused > 0 || q.Posts == 0 {
		t.Errorf("%d writes, %d refused, %d wait (%v)", written, refused, q.Posts, err)
	}
	t.Logf("%d writes, %d surfaces wait", written, q.Posts)
}
