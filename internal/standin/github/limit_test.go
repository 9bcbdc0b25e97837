package github_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestConditionalRequestsAreFree(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	first := p.do("GET", repoPath("commits/%s", h.first), "").want(http.StatusOK, "")
	again := p.do("GET", repoPath("commits/%s", h.first), "", "If-None-Match", first.header.Get("ETag")).want(http.StatusNotModified, "")
	if len(again.body) != 0 || again.header.Get("X-Ratelimit-Remaining") != first.header.Get("X-Ratelimit-Remaining") {
		t.Errorf("304 with %d bytes, %s remaining of %s", len(again.body), again.header.Get("X-Ratelimit-Remaining"), first.header.Get("X-Ratelimit-Remaining"))
	}
	other := p.do("GET", repoPath("commits/%s", h.second), "", "If-None-Match", first.header.Get("ETag")).want(http.StatusOK, "")
	if other.header.Get("X-Ratelimit-Remaining") == first.header.Get("X-Ratelimit-Remaining") {
		t.Error("a whole answer was free")
	}
}

func TestPrimaryLimit(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	p, _ := playHistory(t, func(c *standin.Config) {
		c.Now, c.Limits = func() time.Time { return clock }, standin.Limits{Enforce: true, Primary: 2}
	})
	for range 2 {
		p.do("GET", repoPath("git/ref/heads/main"), "").want(http.StatusOK, "")
	}
	_, _, err := p.client.Git.GetRef(t.Context(), "acme", "site", "heads/main")
	var limited *github.RateLimitError
	if !errors.As(err, &limited) || limited.Rate.Remaining != 0 || limited.Rate.Limit != 2 {
		t.Errorf("go-github reads %v", err)
	}
	clock = clock.Add(time.Hour)
	p.do("GET", repoPath("git/ref/heads/main"), "").want(http.StatusUnauthorized, "") // the token ended with the hour
}

func TestSecondaryLimits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		limits  standin.Limits
		allowed int // writes before a refusal
		wait    time.Duration
		status  int
		after   string
	}{
		{"80 writes a minute", standin.Limits{ContentPerMinute: 3}, 3, 40 * time.Second, 403, "20"},
		{"500 writes an hour", standin.Limits{ContentPerHour: 2}, 2, 10 * time.Minute, 403, "3000"},
		{"900 points a minute", standin.Limits{PointsPerMinute: 14}, 2, 15 * time.Second, 403, "45"},
		{"as 429", standin.Limits{ContentPerMinute: 3, Status: 429}, 3, 40 * time.Second, 429, "20"},
		{"without headers", standin.Limits{ContentPerMinute: 3, Bare: true}, 3, 40 * time.Second, 403, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clock := time.Now()
			tc.limits.Enforce = true
			p, h := playHistory(t, func(c *standin.Config) { c.Now, c.Limits = func() time.Time { return clock }, tc.limits })
			write := func() answer {
				return p.do("POST", repoPath("statuses/%s", h.third), `{"state":"success"}`)
			}
			for range tc.allowed {
				write().want(http.StatusCreated, "")
			}
			clock = clock.Add(tc.wait)
			refused := write().want(tc.status, "secondary rate limit")
			if got := refused.header.Get("Retry-After"); got != tc.after || (tc.after == "") != (refused.header.Get("X-Ratelimit-Remaining") == "") {
				t.Errorf("Retry-After %q, want %q; %v", got, tc.after, refused.header)
			}
			if tc.after == "20" {
				clock = clock.Add(20 * time.Second)
				write().want(http.StatusCreated, "")
			}
			if got := len(p.Statuses(acme, h.third)); got > tc.allowed+1 {
				t.Errorf("%d statuses; a refused write was done", got)
			}
		})
	}
}

func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	p, _ := playHistory(t, func(c *standin.Config) { c.Limits = standin.Limits{Enforce: true, Concurrent: 2} })
	inside, release := make(chan struct{}, 2), make(chan struct{})
	p.Fault(func(r *http.Request) standin.Fault {
		if r.URL.RawQuery == "slow" {
			inside <- struct{}{}
			<-release
		}
		return standin.Fault{}
	})
	slow := make(chan int, 2)
	for range 2 {
		go func() { slow <- p.do("GET", repoPath("commits/main?slow"), "").status }()
		<-inside
	}
	p.do("GET", repoPath("commits/main"), "").want(http.StatusForbidden, "secondary rate limit")
	close(release)
	<-slow
	<-slow
	p.do("GET", repoPath("commits/main"), "").want(http.StatusOK, "")
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	var fault standin.Fault
	p.Fault(func(r *http.Request) standin.Fault {
		if r.Method == http.MethodPost {
			return fault
		}
		return standin.Fault{}
	})
	post := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+repoPath("statuses/%s", h.third), strings.NewReader(`{"state":"success"}`))
		must(t, err)
		req.Header.Set("Authorization", "token "+p.token)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			must(t, resp.Body.Close())
		}
		return err
	}
	fault = standin.Fault{Drop: true}
	if err := post(); !errors.Is(err, io.EOF) || len(p.Statuses(acme, h.third)) != 0 {
		t.Errorf("dropped: %v, %d statuses", err, len(p.Statuses(acme, h.third)))
	}
	fault = standin.Fault{LoseAnswer: true}
	if err := post(); !errors.Is(err, io.EOF) || len(p.Statuses(acme, h.third)) != 1 {
		t.Errorf("answer lost: %v, %d statuses", err, len(p.Statuses(acme, h.third)))
	}
	fault = standin.Fault{Status: http.StatusBadGateway, Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}}
	got := p.do("POST", repoPath("statuses/%s", h.third), `{"state":"success"}`).want(http.StatusBadGateway, "<html>")
	if got.header.Get("Content-Type") != "text/html" || len(p.Statuses(acme, h.third)) != 1 {
		t.Errorf("%v", got.header)
	}
	p.Fault(nil)
	p.do("POST", repoPath("statuses/%s", h.third), `{"state":"success"}`).want(http.StatusCreated, "")
}

func TestRecordsCalls(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	p.ResetCalls()
	p.do("GET", repoPath("git/trees/%s?recursive=1", h.first), "").want(http.StatusOK, "")
	p.do("GET", repoPath("topics"), "").want(http.StatusNotFound, "documentation_url")
	p.do("PUT", repoPath("git/trees/%s", h.first), "").want(http.StatusNotFound, `"status":"404"`)
	p.do("GET", repoPath("commits/main"), "", "User-Agent", "").want(http.StatusForbidden, "User-Agent")
	want := []standin.Call{
		{Method: "GET", Path: "/" + repoPath("git/trees/%s", h.first), Query: "recursive=1", Route: "GET /repos/{owner}/{repo}/git/trees/{tree...}", Status: 200},
		{Method: "GET", Path: "/" + repoPath("topics"), Status: 404},
		{Method: "PUT", Path: "/" + repoPath("git/trees/%s", h.first), Status: 404},
		{Method: "GET", Path: "/" + repoPath("commits/main"), Route: "user-agent", Status: 403},
	}
	if d := cmp.Diff(want, p.Calls()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[1:3], p.UnknownCalls()); d != "" {
		t.Error(d)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	for i := range 5 {
		p.do("POST", repoPath("statuses/%s", h.third), fmt.Sprintf(`{"state":"success","context":"c%d"}`, i)).want(http.StatusCreated, "")
	}
	var contexts []string
	options := &github.ListOptions{PerPage: 2}
	for {
		page, resp, err := p.client.Repositories.ListStatuses(t.Context(), "acme", "site", h.third, options)
		must(t, err)
		for _, s := range page {
			contexts = append(contexts, s.GetContext())
		}
		if resp.NextPage == 0 {
			break
		}
		options.Page = resp.NextPage
	}
	if got := strings.Join(contexts, " "); got != "c4 c3 c2 c1 c0" {
		t.Errorf("pages: %s", got)
	}
	p.do("GET", repoPath("commits/%s/statuses?per_page=2&page=9", h.third), "").want(http.StatusOK, "[]")
}
