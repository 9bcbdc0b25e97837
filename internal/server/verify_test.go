package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/probe"
	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/edge"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

// published is a world whose site has readers: an edge, and an origin that serves what
// publish put there.
type published struct {
	*world
	edge    *edge.Edge
	origin  *edge.Origin
	fetcher *fetch.Fetcher
	behind  *edge.Behind
	first   string
	pages   map[string]string
	days    int
}

const verifyRules = `version: 1
environments:
  production:
    network: production
    hosts: [www.acme.com]
%s
rules:
  - name: pages
    match: content/**/*.md
    urls: ["http://{host}/{2}/"]
  - name: shell
    match: layouts/**
    tags: [acme-shell]
`

// newPublished is a world with these keys in its environment.
func newPublished(t *testing.T, keys string, behind bool, changes ...func(*stage.Config)) *published {
	t.Helper()
	p := &published{origin: edge.NewOrigin(), pages: map[string]string{}}
	var back http.Handler = p.origin
	if behind {
		p.behind = edge.CacheBehind(p.origin, true)
		back = p.behind
	}
	p.edge = edge.New(edge.Config{Origin: back, CacheStatus: true})
	var first string
	p.world, first = newWorld(t, func(c *stage.Config) {
		c.Akamai.Purged = p.edge.Purged
		for _, change := range changes {
			change(c)
		}
	})
	p.first = p.Commit("verify", map[string]string{"purge-rules.yaml": fmt.Sprintf(verifyRules, keys)})
	_ = first
	front, direct := httptest.NewServer(p.edge), httptest.NewServer(p.origin)
	t.Cleanup(front.Close)
	t.Cleanup(direct.Close)
	// Names lead to loopback; everything else is as in reality.
	ways := map[string]*http.Transport{}
	for via, addr := range map[string]string{"": front.Listener.Addr().String(), "origin.acme.com": direct.Listener.Addr().String()} {
		ways[via] = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}, DisableCompression: true}
		t.Cleanup(ways[via].CloseIdleConnections)
	}
	p.fetcher = fetch.New(fetch.Config{Transport: func(via string) http.RoundTripper { return ways[via] }})
	p.publish(p.first, "home", "one", "us", "one")
	p.Deploy("production", p.first, "success")
	p.serve()
	p.read("home", "us")
	return p
}

func (p *published) serve() {
	p.Begin(func(c *server.Config) { c.Pages = p.fetcher })
}

// publish does to the origin what a deployment does: pages with their bodies, newer than
// before, and the marker.
func (p *published) publish(sha string, pages ...string) {
	p.days++
	p.publishAt(sha, time.Date(2026, 11, p.days, 0, 0, 0, 0, time.UTC), pages...)
}

func (p *published) publishAt(sha string, date time.Time, pages ...string) {
	site := map[string]edge.Page{"/version.txt": {Body: "commit " + sha, Modified: date}}
	for i := 0; i+1 < len(pages); i += 2 {
		site["/"+pages[i]+"/"] = edge.Page{Body: pages[i+1], Modified: date}
	}
	p.origin.Deploy(site)
}

func (p *published) see(page string) verify.Answer {
	return p.fetcher.Get(p.T.Context(), fetch.Request{URL: "http://www.acme.com/" + page + "/", Compressed: true, Contains: "two"}).End()
}

func (p *published) read(pages ...string) {
	for _, page := range pages {
		p.see(page)
	}
}

// showsTwo waits until readers see a page's second version. Nobody reads the uncached
// page in the meantime.
func (p *published) showsTwo(page string) {
	p.T.Helper()
	if end := p.see(page); !end.Contains {
		p.T.Errorf("readers of %s see another page: %+v", page, end)
	}
}

func home(word string) map[string]string { return map[string]string{"content/index/home.md": word} }

const withOrigin = `    verify: {origin: origin.acme.com, wait: 30s%s}`

func TestPurgeIsCheckedFresh(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/us.md": "two"})
	p.publish(second, "home", "two", "us", "two")
	p.Deploy("production", second, "success")
	s := p.Await(second, "production", "success", "2 purged, 2 checked fresh")
	p.WantSent("production invalidate url http://www.acme.com/home/", "production invalidate url http://www.acme.com/us/")
	p.showsTwo("home")
	for _, want := range []string{`purgebot_accepted_seconds_count{environment="production"} 1`, `purgebot_proved_seconds_count{environment="production"} 1`} {
		p.Eventually("the metrics have "+want, func() bool { return strings.Contains(p.page("http://"+p.Server.Addr()+"/metrics"), want) })
	}
	page := p.page(s.TargetURL)
	for _, want := range []string{"From deployment to checked", "<td><code>http://www.acme.com/us/</code></td><td>fresh</td><td>Akamai serves what the origin serves.</td>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
}

func (p *published) page(url string) string {
	p.T.Helper()
	resp, err := http.Get(url)
	if err != nil {
		p.T.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.T.Fatal(err)
	}
	return string(text)
}

func TestPurgeWaitsForTheOrigin(t *testing.T) {
	for name, keys := range map[string]string{
		"sample": "",
		"marker": `, marker: "http://{host}/version.txt"`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublished(t, fmt.Sprintf(withOrigin, keys), false)
			second := p.Commit("second", home("two"))
			p.Deploy("production", second, "success")
			p.Await(second, "production", "pending", "1 URL will be purged: waiting for the origin to serve "+second[:7])
			if p.MoreSent() {
				t.Errorf("sent before the origin had it: %v", p.Sent())
			}
			p.publish(second, "home", "two")
			p.Await(second, "production", "success", "1 purged, 1 checked fresh")
			p.showsTwo("home")
		})
	}
}

func TestOriginIsLate(t *testing.T) {
	t.Run("purge", func(t *testing.T) {
		p := newPublished(t, `    verify: {origin: origin.acme.com, wait: 2s}`, false)
		second := p.Commit("second", home("two"))
		p.Deploy("production", second, "success")
		p.Await(second, "production", "success", "1 purged, 1 can't tell: The origin still serves the old page")
		p.WantSent("production invalidate url http://www.acme.com/home/")
	})
	t.Run("fail", func(t *testing.T) {
		p := newPublished(t, `    verify: {origin: origin.acme.com, wait: 2s, late: fail}`, false)
		second := p.Commit("second", home("two"))
		p.Deploy("production", second, "success")
		p.Await(second, "production", "failure", "Not purged: 1 URL still needs approval (the origin did not serve "+second[:7]+" within 2s)")
		p.WantSent()
		// A person may release it even so.
		p.publish(second, "home", "two")
		p.People()
		p.Say(p.Pull("other", map[string]string{"README.md": "x"}, nil), "walt", "/purge release")
		p.Await(second, "production", "success", "1 purged, 1 checked fresh (released by walt)")
		p.WantSent("production invalidate url http://www.acme.com/home/")
	})
}

func TestSickOriginHoldsADelete(t *testing.T) {
	p := newPublished(t, `    verify: {origin: origin.acme.com, wait: 1s}`, false)
	second := p.Commit("second", home("two"))
	p.publish(second, "home", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
	p.Sent()
	p.origin.Sicken(1)
	p.Deploy("production", p.first, "success") // a rollback, by delete
	p.Await(p.first, "production", "pending", "1 URL will be purged: the origin serves no page (503 Service Unavailable)")
	p.WantSent()
	p.showsTwo("home") // readers still have the page
	p.origin.Sicken(0)
	p.publish(p.first, "home", "one")
	p.Await(p.first, "production", "success", "1 purged, 1 checked fresh")
	p.WantSent("production delete url http://www.acme.com/home/")
}

// Pages that a person purges are checked too, but the purge does not wait for the origin.
func TestCommentsPurgeIsChecked(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	p.People()
	p.Push(p.first)
	p.publish(p.first, "home", "two", "us", "one")
	number := p.Pull("other", map[string]string{"README.md": "x"}, nil)
	comment := p.Say(number, "walt", "/purge http://www.acme.com/home/")
	p.Replied(number, "1 purged, 1 checked fresh")
	p.Reacted(comment, "eyes", "rocket")
	p.showsTwo("home")
	p.WantSent("production invalidate url http://www.acme.com/home/")

	// A page that stays stale is reported. Nothing is deleted for a person who may not
	// delete.
	p.publishAt(p.first, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "home", "three")
	comment = p.Say(number, "walt", "/purge http://www.acme.com/home/")
	p.Replied(number, "1 purged, 1 still stale", "`The origin answers \"not modified\", because its file is not dated later")
	p.Reacted(comment, "eyes", "confused")
	p.WantSent("production invalidate url http://www.acme.com/home/")
}

// Another deployment of the live commit waits for nothing, and its pages are checked all
// the same. If a deployment changed nothing, its pages can't be called fresh.
func TestRedeployAndRebuildAreChecked(t *testing.T) {
	for name, keys := range map[string]string{
		"redeploy": `    verify: {origin: origin.acme.com, wait: 30m, late: fail}`,
		"rebuild": `    redeploy: {within: 0s, purge: {urls: ["http://{host}/home/", "http://{host}/us/"]}}
    verify: {origin: origin.acme.com, wait: 30m, late: fail, marker: "http://{host}/version.txt"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublished(t, keys, false)
			second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/us.md": "two"})
			p.publish(second, "home", "two", "us", "two")
			p.Deploy("production", second, "success")
			p.Await(second, "production", "success", "2 purged, 2 checked fresh")
			p.publish(second, "home", "two, and more", "us", "two")
			p.Deploy("production", second, "success")
			words := "2 purged, 1 checked fresh, 1 can't tell: The origin still serves the old page"
			if name == "rebuild" {
				words = "rebuilt: " + words
			}
			p.Await(second, "production", "success", words)
			p.showsTwo("home")
		})
	}
}

// A deployment should have changed some pages, and the origin serves a part of them as
// before. Those can't be called fresh, though others have changed there. A marker can
// prove them.
func TestHalfAnOriginIsNotFresh(t *testing.T) {
	for name, test := range map[string]struct{ keys, words string }{
		"sample": {"", "2 purged, 1 checked fresh, 1 can't tell: The origin still serves the old page"},
		"marker": {`, marker: "http://{host}/version.txt"`, "2 purged, 2 checked fresh"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublished(t, fmt.Sprintf(withOrigin, test.keys), false)
			second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/us.md": "two"})
			p.publish(second, "home", "two", "us", "one")
			p.Deploy("production", second, "success")
			p.Await(second, "production", "success", test.words)
		})
	}
}

// A purge that needed approval is checked once a person gave it.
func TestReleasedPurgeIsChecked(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, `, marker: "http://{host}/version.txt"`)+"\nlimits: [{over: 1, instead: hold}]", false)
	second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/us.md": "two"})
	p.publish(second, "home", "two", "us", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "pending", "Needs approval: 2 URLs")
	p.People()
	p.Say(p.Pull("other", map[string]string{"README.md": "x"}, nil), "walt", "/purge release")
	p.Await(second, "production", "success", "2 purged, 2 checked fresh (released by walt)")
}

// The page that the rules name for a tag does not carry it.
func TestPageThatLacksTheTagIsNamed(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, `, late: purge, urls: ["http://{host}/home/"]`), true)
	second := p.Commit("second", map[string]string{"layouts/base.html": "two"})
	p.origin.Deploy(map[string]edge.Page{"/home/": {Body: "two", Modified: time.Now(), Tags: []string{"another"}}})
	p.Deploy("production", second, "success")
	s := p.Await(second, "production", "failure", "1 purged, 1 still stale: ")
	if page := p.page(s.TargetURL); !strings.Contains(page, "carry the cache tag acme-shell") {
		t.Errorf("the page does not name the cause:\n%s", page)
	}
}

// Pages are checked only after Akamai's own estimate has passed: before, every page would
// be stale.
func TestPagesAreLookedAtAfterTheEstimate(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false, func(c *stage.Config) { c.Akamai.Estimate = 6 * time.Second })
	second := p.Commit("second", home("two"))
	p.publish(second, "home", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
	p.WantSent("production invalidate url http://www.acme.com/home/")
}

// If a purge was cancelled while it waited, nothing is checked.
func TestCancelledPurgeIsNotChecked(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	second := p.Commit("second", home("two"))
	p.Deploy("production", second, "success")
	p.Await(second, "production", "pending", "1 URL will be purged: waiting")
	all, err := p.Server.Store().Recent(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Server.Store().Cancel(t.Context(), store.Act{Purge: all[0].ID, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	p.Await(second, "production", "failure", "cancelled by ann, 1 not purged")
	p.Eventually("its proof ends", func() bool {
		all, err := p.Server.Store().Recent(t.Context(), 1)
		return err == nil && all[0].Proof.State == ledger.ProofDone
	})
	if all, err = p.Server.Store().Recent(t.Context(), 1); err != nil || all[0].Proof.Checked != 0 {
		t.Errorf("looked at: %+v, %v", all[0].Proof, err)
	}
	p.WantSent()
}

// An older date at the origin leaves an invalidated page stale. The page is purged once
// more, by delete. It is looked at again when Akamai has taken the delete, however long
// that takes.
func TestStalePageIsPurgedOnceMore(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	var deletes atomic.Int64
	p.Akamai.Fault(func(r *http.Request, _ []byte) (f akamai.Fault) {
		if strings.Contains(r.URL.Path, "/delete/") && deletes.Add(1) <= 3 {
			f.Status = http.StatusServiceUnavailable
		}
		return f
	})
	second := p.Commit("second", home("two"))
	p.publishAt(second, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "home", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
	p.WantSent("production invalidate url http://www.acme.com/home/", "production delete url http://www.acme.com/home/")
	p.showsTwo("home")
}

// If the policy lets deployments delete nothing, a stale page is only reported.
func TestStalePageThatMayNotBeDeleted(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false, func(c *stage.Config) {
		c.Policy = servertest.Policy()
		c.Policy[0].Deploys.Delete = false
	})
	second := p.Commit("second", home("two"))
	p.publishAt(second, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "home", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "failure", "1 purged, 1 still stale: The origin answers \"not modified\"")
	p.Settled()
	p.WantSent("production invalidate url http://www.acme.com/home/")
}

// A page that Akamai refused to purge is not called stale and not purged once more. After
// a retry it is checked.
func TestRefusedPageIsCheckedOnceItIsPurged(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	p.Akamai.Refuse("http://www.acme.com/home/", 0, "")
	second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/us.md": "two"})
	p.publish(second, "home", "two", "us", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "failure", "1 purged, 1 refused")
	p.Eventually("the other page is checked", func() bool {
		all, err := p.Server.Store().Recent(t.Context(), 1)
		return err == nil && all[0].Proof.State == ledger.ProofDone
	})
	all, err := p.Server.Store().Recent(t.Context(), 1)
	if err != nil || all[0].Proof.Checked != 1 || all[0].Proof.Fresh != 1 {
		t.Fatalf("checked: %+v, %v", all[0].Proof, err)
	}
	p.WantSent("production invalidate url http://www.acme.com/us/")
	p.Akamai.Allow("http://www.acme.com/home/")
	if _, err := p.Server.Store().Retry(t.Context(), store.Act{Purge: all[0].ID, By: "ann"}, func(mapping.Target) string { return "" }); err != nil {
		t.Fatal(err)
	}
	p.Await(second, "production", "success", "2 purged, 2 checked fresh")
	p.WantSent("production invalidate url http://www.acme.com/home/")
	p.showsTwo("home")
}

// An earlier purge checks its stale pages for the second time. What a later purge is
// about to send does not count against it.
func TestStalePageIsLeftToALaterPurge(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	var behind atomic.Int64
	p.Begin(func(c *server.Config) {
		c.Pages, c.Now = p.fetcher, func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) }
	})
	second := p.Commit("second", home("two"))
	p.publishAt(second, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "home", "two")
	p.Deploy("production", second, "success")
	p.Eventually("it goes out once more", func() bool {
		all := p.Akamai.Accepted()
		return len(all) > 0 && all[len(all)-1].Action == "delete"
	})
	behind.Store(int64(5 * time.Second)) // the second look comes so much later
	p.Eventually("readers have the second version", func() bool { return p.see("home").Contains })
	p.Akamai.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Status: http.StatusServiceUnavailable} })
	third := p.Commit("third", home("three"))
	p.publish(third, "home", "three")
	p.Deploy("production", third, "success")
	p.Eventually("the second look was due", func() bool {
		all, err := p.Server.Store().Recent(t.Context(), 3)
		return err == nil && len(all) == 3 && slices.ContainsFunc(all, func(one ledger.Purge) bool {
			return one.Cause == ledger.CauseStale && time.Now().Add(-8*time.Second).After(one.DoneAt)
		})
	})
	p.Akamai.Fault(nil)
	p.Await(third, "production", "success", "1 purged, 1 checked fresh")
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
}

func TestStillStaleIsSaidWithItsCause(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), true)
	second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/new.md": "two"})
	p.publish(second, "home", "two", "new", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "failure", "2 purged, 1 still stale: Akamai asked again and got the old page: another cache")
	p.WantSent("production invalidate url http://www.acme.com/home/", "production invalidate url http://www.acme.com/new/")
}

// A purge that waits is in no other purge's difference. A newer deployment that the
// origin shows releases it too.
func TestNewerDeploymentOvertakesAWaitingOne(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, `, marker: "http://{host}/version.txt"`), false)
	second := p.Commit("second", home("two"))
	p.Deploy("production", second, "success")
	p.Await(second, "production", "pending", "1 URL will be purged: waiting")
	third := p.Commit("third", map[string]string{"content/about/us.md": "two"})
	p.Deploy("production", third, "success")
	p.Await(third, "production", "pending", "1 URL will be purged: waiting")
	p.WantSent()
	p.publish(third, "home", "two", "us", "two")
	p.Await(third, "production", "success", "1 purged, 1 checked fresh")
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
	p.WantSent("production invalidate url http://www.acme.com/home/", "production invalidate url http://www.acme.com/us/")
	p.showsTwo("home")
}

// Without an origin, what the edge had before is the evidence. A page that nobody can
// judge fails nothing.
func TestWithoutAnOrigin(t *testing.T) {
	p := newPublished(t, `    verify: {sample: 5}`, false)
	second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/us.md": "one!"})
	p.publish(second, "home", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "2 purged, 1 checked fresh, 1 can't tell: The page is the same as before the purge")

	// Before a person's purge no page is looked at: there is no evidence, and no word of it.
	p.People()
	p.Push(second)
	number := p.Pull("other", map[string]string{"README.md": "x"}, nil)
	p.Reacted(p.Say(number, "walt", "/purge http://www.acme.com/home/"), "eyes", "rocket")
	p.Settled()
	if all, err := p.Server.Store().Recent(t.Context(), 1); err != nil || all[0].Cause != ledger.CauseComment || all[0].Proof.Checked != 0 {
		t.Errorf("a person's purge: %+v, %v", all, err)
	}
}

func TestOriginThatNobodyAllowed(t *testing.T) {
	p := newPublished(t, `    verify: {origin: origin.elsewhere.com}`, false)
	second := p.Commit("second", home("one"))
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "1 purged, 1 can't tell: the origin is not looked at: neither policy nor fetch.origins allows host origin.elsewhere.com")
}

// A tag is proved by the pages that the rules name for it.
func TestTagIsProvedByPages(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, `, urls: ["http://{host}/home/"]`), false)
	p.origin.Deploy(map[string]edge.Page{"/home/": {Body: "one", Modified: time.Now(), Tags: []string{"acme-shell"}}})
	second := p.Commit("second", map[string]string{"layouts/base.html": "two"})
	p.origin.Deploy(map[string]edge.Page{"/home/": {Body: "two", Modified: time.Now(), Tags: []string{"acme-shell"}}})
	p.Deploy("production", second, "success")
	// The copy is older than its tag, so a purge of the tag can't reach it. The page is
	// purged by itself.
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
	p.WantSent("production invalidate tag acme-shell", "production delete url http://www.acme.com/home/")
}

func TestWarm(t *testing.T) {
	p := newPublished(t, `    warm: {limit: 10}`, false)
	second := p.Commit("second", map[string]string{"content/index/home.md": "two", "content/about/fresh.md": "two"})
	p.publish(second, "home", "two", "fresh", "two")
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "2 URLs purged in ")
	p.Eventually("both pages are in the cache", func() bool {
		all, err := p.Server.Store().Recent(t.Context(), 1)
		return err == nil && len(all) == 1 && all[0].Proof.Warmed == 2
	})
	for _, page := range []string{"home", "fresh"} {
		if end := p.see(page); end.CacheStatus != "Hit from child" || !end.Contains {
			t.Errorf("%s: %+v", page, end)
		}
	}
}

// counted counts what is fetched.
type counted struct {
	probe.Getter
	n atomic.Int64
}

func (c *counted) Get(ctx context.Context, r fetch.Request) verify.Look {
	c.n.Add(1)
	return c.Getter.Get(ctx, r)
}

// An origin with errors must not get more load. Of 30 pages, only those are fetched that
// were under way when the errors were noticed.
func TestWarmingStopsWhereTheOriginErrs(t *testing.T) {
	p := newPublished(t, `    warm: {limit: 30, concurrency: 1}`, false)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	pages := &counted{Getter: p.fetcher}
	p.Begin(func(c *server.Config) { c.Pages = pages })
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprintf("content/new/page-%02d.md", i)] = "new"
	}
	second := p.Commit("second", files)
	p.origin.Sicken(1)
	p.Deploy("production", second, "success")
	p.Await(second, "production", "success", "30 URLs purged in ")
	p.Eventually("warming has ended", func() bool {
		all, err := p.Server.Store().Recent(t.Context(), 1)
		return err == nil && len(all) == 1 && all[0].Proof.State == ledger.ProofDone
	})
	if n := pages.n.Load(); n < 3 || n > 4 {
		t.Errorf("%d pages were asked for", n)
	}
}

// A server that is stopped while a purge waits, and while pages are checked, continues
// where it was.
func TestProofSurvivesARestart(t *testing.T) {
	p := newPublished(t, fmt.Sprintf(withOrigin, ""), false)
	second := p.Commit("second", home("two"))
	p.Deploy("production", second, "success")
	p.Await(second, "production", "pending", "1 URL will be purged: waiting")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p.publish(second, "home", "two")
	p.serve()
	p.Eventually("the purge is sent", p.MoreSent)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p.serve()
	p.Await(second, "production", "success", "1 purged, 1 checked fresh")
}
