package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/standin"
)

func isStatusPost(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/statuses/")
}

func limitedAnswer(status int, header http.Header) standin.GitHubFault {
	return standin.GitHubFault{Status: status, Header: header, Body: `{"message":"You have exceeded a secondary rate limit. ` +
		`Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest"}`}
}

// Whatever GitHub does with the words, the purge goes out; and when GitHub is
// back, it shows the last word.
func TestStatusesNeverHoldUpAPurge(t *testing.T) {
	t.Parallel()
	second := http.Header{"Retry-After": {"1"}}
	for name, fault := range map[string]standin.GitHubFault{
		"403 with retry-after": limitedAnswer(http.StatusForbidden, second),
		"429 with retry-after": limitedAnswer(http.StatusTooManyRequests, second),
		"500":                  {Status: http.StatusInternalServerError},
		"502 of a proxy":       {Status: http.StatusBadGateway, Body: "<html>"},
		"dropped":              {Drop: true},
		"answer lost":          {LoseAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, first := newWorld(t, nil)
			w.deploy("production", first, "success")
			w.begin()
			var away atomic.Bool
			away.Store(true)
			w.github.Fault(func(r *http.Request) standin.GitHubFault {
				if away.Load() && isStatusPost(r) {
					return fault
				}
				return standin.GitHubFault{}
			})
			sha := w.commit("second", map[string]string{"content/index/home.md": "2"})
			w.push(sha)
			w.deploy("production", sha, "success")
			w.eventually("the purge went out", func() bool { return len(w.akamai.Accepted()) > 0 })
			away.Store(false)
			w.await(sha, "production", "success", "2 URLs purged")
			w.wantSent(urls("production", "/index/home/")...)
		})
	}
}

// A limit on writes that names no time lasts a minute by GitHub's rules. No
// purge waits for it.
func TestNoPurgeWaitsForALimitOnWrites(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w, first := newWorld(t, nil)
			w.deploy("production", first, "success")
			w.begin()
			w.github.Fault(func(r *http.Request) standin.GitHubFault {
				if isStatusPost(r) {
					return limitedAnswer(status, nil)
				}
				return standin.GitHubFault{}
			})
			sha := w.commit("second", map[string]string{"content/index/home.md": "2"})
			w.push(sha)
			w.eventually("GitHub refused", func() bool {
				for _, c := range w.github.Calls() {
					if c.Status == status {
						return true
					}
				}
				return false
			})
			began := time.Now()
			w.deploy("production", sha, "success")
			w.eventually("the purge went out", func() bool { return len(w.akamai.Accepted()) > 0 })
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the purge took %v", took)
			}
			posts := 0
			for _, c := range w.github.Calls() {
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

// Every kind of trouble at random, on any call: all is purged and the last
// word is said.
func TestGitHubInTrouble(t *testing.T) {
	random := newSeed(t)
	second := http.Header{"Retry-After": {"1"}}
	troubles := []standin.GitHubFault{
		{Drop: true},
		{LoseAnswer: true},
		{Status: http.StatusInternalServerError},
		{Status: http.StatusServiceUnavailable},
		{Status: http.StatusUnauthorized, Body: `{"message":"Bad credentials"}`},
		limitedAnswer(http.StatusForbidden, second),
		limitedAnswer(http.StatusTooManyRequests, second),
		{Status: http.StatusForbidden, Header: http.Header{
			"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {fmt.Sprint(time.Now().Unix())},
		}, Body: `{"message":"API rate limit exceeded for installation ID 1."}`},
	}
	dice := make(chan standin.GitHubFault, 80)
	for range cap(dice) {
		fault := standin.GitHubFault{}
		if random.IntN(12) == 0 {
			fault = troubles[random.IntN(len(troubles))]
		}
		dice <- fault
	}
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		select {
		case fault := <-dice:
			return fault
		default:
			return standin.GitHubFault{}
		}
	})
	last := first
	var want []string
	for i := range 4 {
		page := fmt.Sprintf("content/step/p%d.md", i)
		last = w.commit(page, map[string]string{page: "x"})
		w.push(last)
		w.deploy("production", last, "success")
		want = append(want, urls("production", fmt.Sprintf("/step/p%d/", i))...)
	}
	w.await(last, "production", "success", "")
	w.settled()
	w.wantSent(want...)
}

// An installation's token that ends early costs one call more, nothing else.
func TestTokenEndsInTheMiddle(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	var old atomic.Value
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		token := r.Header.Get("Authorization")
		if !strings.HasPrefix(r.URL.Path, "/repos/") {
			return standin.GitHubFault{}
		}
		old.CompareAndSwap(nil, token)
		if isStatusPost(r) && old.Load() == token { // it ends with the first words
			old.Store("ended " + token)
		}
		if old.Load() == "ended "+token {
			return standin.GitHubFault{Status: http.StatusUnauthorized, Body: `{"message":"Bad credentials"}`}
		}
		return standin.GitHubFault{}
	})
	w.push(second)
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged")
	w.wantSent(urls("production", "/index/home/")...)
}

// Where GitHub's limits on writes are near, words wait and purges don't, and
// a person is answered first.
func TestPeopleAreAnsweredFirst(t *testing.T) {
	w, first := newWorld(t, func(c *stageConfig) { c.limits.Enforce = true })
	w.people()
	w.deploy("production", first, "success")
	w.begin()
	number := w.pull("topic", map[string]string{"content/index/home.md": "2"}, nil)
	w.settled()
	for {
		wait, err := w.server.store.TakeWrite(t.Context(), 1, ledger.LastWord)
		if err != nil {
			t.Fatal(err)
		}
		if wait > 0 {
			break
		}
	}
	second := w.commit("second", map[string]string{"content/about/us.md": "2"})
	before := len(w.github.Statuses(w.fullName(), ""))
	w.deploy("production", second, "success")
	w.eventually("the purge went out", func() bool { return len(w.akamai.Accepted()) > 0 })
	comment := w.say(number, "walt", "/purge status")
	w.eventually("the person is answered", func() bool { return len(w.github.Reactions(w.fullName(), comment))+len(w.replies(number)) > 0 })
	if n := len(w.github.Statuses(w.fullName(), "")); n != before {
		t.Errorf("%d statuses were posted though there was no room", n-before)
	}
}

// A merge train: a push and a deployment with every commit, far more words
// than GitHub takes in a minute. It refuses none, and the purges don't wait.
func TestMergeTrain(t *testing.T) {
	w, first := newWorld(t, func(c *stageConfig) { c.limits = standin.GitHubLimits{Enforce: true, PointsPerMinute: 100_000} })
	w.deploy("production", first, "success")
	w.begin()
	const earlier, room = 50, 78 - 50 // of this minute's writes
	for range earlier {
		if wait, err := w.server.store.TakeWrite(t.Context(), 1, ledger.LastWord); wait > 0 || err != nil {
			t.Fatal(wait, err)
		}
	}
	last := first
	for i := range 12 {
		last = w.commit(fmt.Sprint(i), map[string]string{fmt.Sprintf("content/train/p%d.md", i): "x"})
		w.push(last)
		w.deploy("production", last, "success")
		w.deploy("staging", last, "success")
	}
	for _, env := range []string{"production", "staging"} {
		w.eventually(env+" is purged", func() bool {
			e, err := w.server.store.FindEnvironment(t.Context(), 1, env)
			return err == nil && e.Live.SHA == last
		})
	}
	w.eventually("all was sent", func() bool {
		q, err := w.server.store.Queue(t.Context())
		return err == nil && q.Environments+q.Targets == 0
	})
	written, refused := 0, 0
	for _, c := range w.github.Calls() {
		if c.Method != http.MethodPost || !strings.HasPrefix(c.Path, "/repos/") {
			continue
		}
		if written++; c.Status >= 400 {
			refused++
		}
	}
	q, err := w.server.store.Queue(t.Context())
	if err != nil || written > room || refused > 0 || q.Posts == 0 {
		t.Errorf("%d writes, %d refused, %d wait (%v)", written, refused, q.Posts, err)
	}
	t.Logf("%d writes, %d surfaces wait", written, q.Posts)
}
