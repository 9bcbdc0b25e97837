package probe

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/edge"
	"github.com/purgebot/purgebot/verify"
)

var seed = flag.Uint("seed", 0, "number of the first random world")

const (
	site   = "https://www.acme.example"
	marker = "version 2"
)

// plan describes a world: a page, how it is cached, and what goes wrong. The zero plan is
// a page that is purged correctly.
type plan struct {
	servers                                                 int
	del                                                     bool
	ignoreQuery, status, noAge, equalDates                  bool
	etag                                                    string // "", "content", or "size": the same for both versions
	unpurged, wrongTag, lag, uneven, older, query, redirect bool
	sick                                                    int
	behind, named, originCached                             bool
	pragmaOff, deafServer, deafParent, deafCompressed       bool
	errorCached, noOrigin, denied, vary, rewrite            bool
	contains, before, deployed, origin, pragma              bool // what purgebot is asked and knows
}

// world is a plan that has been played.
type world struct {
	plan
	now     time.Time
	direct  *edge.Origin
	front   http.Handler // of the origin, as readers reach it
	edge    *edge.Edge
	fetcher *fetch.Fetcher
	url     string
	before  verify.Answer
	purge   verify.Purge
	counter int
}

// way is a transport. RoundTrip reaches an edge server or the origin by its name.
type way struct {
	w   *world
	via string
}

func (x way) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.Host = r.URL.Host
	if x.via == "origin" {
		x.w.front.ServeHTTP(rec, r)
	} else {
		n, err := strconv.Atoi(x.via)
		if err != nil {
			n = 0
		}
		x.w.edge.Server(n).ServeHTTP(rec, r)
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// serial fetches one page after the other, with its redirects. So the order of events in
// a world does not depend on how goroutines run.
type serial struct {
	Getter
	sync.Mutex
}

func (s *serial) Get(ctx context.Context, r fetch.Request) verify.Look {
	s.Lock()
	defer s.Unlock()
	return s.Getter.Get(ctx, r)
}

func build(p plan) *world {
	w := &world{plan: p, now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC), direct: edge.NewOrigin()}
	w.servers = max(w.servers, 1)
	w.url = site + "/prices/"
	switch {
	case p.redirect:
		w.url = site + "/old/"
	case p.query:
		w.url += "?utm=1"
	}
	var back http.Handler = w.direct
	w.front = w.direct
	if p.behind {
		back = edge.CacheBehind(w.direct, p.named)
	}
	if p.originCached {
		w.front = edge.CacheBehind(w.direct, true)
	}
	w.edge = edge.New(edge.Config{
		Origin: back, Servers: w.servers, IgnoreQuery: p.ignoreQuery, PragmaOff: p.pragmaOff, CacheStatus: p.status, NoAge: p.noAge,
		CPCodes: map[string]int{"/prices/": 42}, Now: func() time.Time { return w.now },
	})
	w.fetcher = fetch.New(fetch.Config{Transport: func(via string) http.RoundTripper { return way{w, via} }})
	return w
}

func (w *world) page(version int) edge.Page {
	body := fmt.Sprintf("<p>version %d</p>", version)
	modified := w.now.Add(-time.Hour)
	if version == 2 {
		switch {
		case w.older:
			modified = modified.Add(-24 * time.Hour)
		case !w.equalDates:
			modified = w.now
		}
	}
	p := edge.Page{Body: body, Modified: modified, Tags: []string{"news"}}
	switch w.etag {
	case "content":
		p.ETag = `"` + strconv.Itoa(version) + `"`
	case "size":
		p.ETag = `"` + strconv.Itoa(len(body)) + `"`
	}
	return p
}

// read fetches the page as a reader of one server does.
func (w *world) read(t *testing.T, server int, compressed bool) verify.Look {
	t.Helper()
	return w.fetcher.Get(t.Context(), fetch.Request{URL: w.url, Via: strconv.Itoa(server), Compressed: compressed, Contains: marker})
}

// happen plays the plan: readers, a deployment, a purge, and the passing of time.
func (w *world) happen(t *testing.T, read func(server int, compressed bool) bool) {
	t.Helper()
	if w.vary {
		w.direct.Vary(func() string { w.counter++; return strconv.Itoa(w.counter) })
	}
	if w.rewrite {
		w.edge.SetFaults(edge.Faults{Rewrite: rewritten})
	}
	w.direct.Deploy(map[string]edge.Page{"/prices/": w.page(1), "/old/": {Redirect: "/prices/"}})
	for s := range w.servers {
		for _, compressed := range []bool{true, false} {
			if read(s, compressed) {
				w.read(t, s, compressed)
			}
		}
	}
	w.before = w.read(t, 0, true).End()
	w.now = w.now.Add(time.Hour)
	if w.uneven {
		w.direct.Lag(true)
	}
	if !w.lag {
		w.direct.Deploy(map[string]edge.Page{"/prices/": w.page(2)})
	}
	w.breakIt()
	w.now = w.now.Add(time.Minute)
	w.edge.Purged(w.purged())
	w.now = w.now.Add(7 * time.Second)
	if w.errorCached {
		w.direct.Deploy(map[string]edge.Page{"/prices/": {Gone: true}})
		w.read(t, 0, true)
		v := 2
		if w.lag {
			v = 1
		}
		w.direct.Deploy(map[string]edge.Page{"/prices/": w.page(v)})
	}
	w.direct.Sicken(w.sick)
}

func rewritten(body []byte) []byte {
	return slices.Concat([]byte("<script></script>"), body)
}

func (w *world) breakIt() {
	f := edge.Faults{DeafParent: w.deafParent, DeafCompressed: w.deafCompressed, NoOrigin: w.noOrigin}
	if w.deafServer {
		f.DeafServers = []int{w.servers - 1}
	}
	if w.denied {
		f.Denying = []int{w.servers / 2}
	}
	if w.rewrite {
		f.Rewrite = rewritten
	}
	w.edge.SetFaults(f)
}

func (w *world) purged() akamai.Purge {
	p := akamai.Purge{Kind: "url", Network: "production", Action: "invalidate", Objects: []string{site + "/prices/"}, Takes: 5 * time.Second}
	if w.redirect {
		p.Objects = []string{site + "/old/"}
	}
	if w.del {
		p.Action, w.purge.Delete = "delete", true
	}
	switch {
	case w.wrongTag:
		p.Kind, p.Objects, w.purge.Tags = "tag", []string{"shop"}, []string{"shop"}
	case w.unpurged:
		p.Objects = []string{site + "/elsewhere/"}
	}
	w.purge.Ago = 2 * time.Second
	return p
}

// ask returns what purgebot finds out about the world.
func (w *world) ask(t *testing.T) verify.Finding {
	t.Helper()
	q := Question{Known: verify.Evidence{URL: w.url, Pragma: w.pragma, Purge: &w.purge, Deployed: w.deployed}, Variants: true}
	for s := range w.servers {
		q.Edges = append(q.Edges, strconv.Itoa(s))
	}
	if w.contains {
		q.Known.Contains = marker
	}
	if w.plan.before {
		q.Known.Before = &w.before
	}
	if w.origin {
		q.Origin = "origin"
	}
	_, finding := Ask(t.Context(), &serial{Getter: w.fetcher}, q)
	return finding
}

// stale reports whether any reader gets the page that should be gone. If purgebot is not
// asked about a deployment and knows only the origin, a page that the origin still serves
// is not stale: nothing could show it.
func (w *world) stale(t *testing.T) bool {
	t.Helper()
	if (w.lag || w.uneven) && !w.contains && !w.plan.before && !w.deployed {
		return false
	}
	for s := range w.servers {
		for _, compressed := range []bool{true, false} {
			end := w.read(t, s, compressed).End()
			if end.Status == http.StatusOK && !end.Contains || end.Status == http.StatusNotFound {
				return true
			}
		}
	}
	return false
}

// faults are those that a test can plant, each with the cause that must be found.
var faults = []struct {
	name  string
	plant func(*plan)
	cause verify.Kind
}{
	{"not purged", func(p *plan) { p.unpurged = true }, verify.NotPurged},
	{"origin lags", func(p *plan) { p.lag = true }, verify.OriginLags},
	{"origin sick", func(p *plan) { p.sick = 3 }, verify.OriginSick},
	{"origin uneven", func(p *plan) { p.uneven = true }, verify.OriginUneven},
	{"older date", func(p *plan) { p.older = true }, verify.NotModified},
	{"wrong key", func(p *plan) { p.query = true }, verify.WrongKey},
	{"cache behind", func(p *plan) { p.behind = true }, verify.CacheBehind},
	{"origin cached", func(p *plan) { p.originCached = true }, verify.OriginCached},
	{"redirect target", func(p *plan) { p.redirect = true }, verify.RedirectTarget},
	{"pragma off", func(p *plan) { p.pragmaOff = true }, verify.PragmaOff},
	{"one server deaf", func(p *plan) { p.deafServer = true }, verify.OneOfSeveral},
	{"parent deaf", func(p *plan) { p.deafParent = true }, verify.ParentStale},
	{"compressed deaf", func(p *plan) { p.deafCompressed = true }, verify.VariantStale},
	{"error cached", func(p *plan) { p.errorCached = true }, verify.ErrorCached},
	{"edge cut off", func(p *plan) { p.noOrigin = true }, verify.ServedStale},
	{"edge denies", func(p *plan) { p.denied = true }, verify.EdgeRefuses},
	{"dynamic", func(p *plan) { p.vary = true }, verify.Dynamic},
	{"rewritten", func(p *plan) { p.rewrite = true }, verify.Rewritten},
	{"wrong tag", func(p *plan) { p.wrongTag = true }, verify.NotTagged},
}

// No stale page is called fresh, whatever is wrong and whatever purgebot may look at. If
// nothing is wrong and the origin can be asked, the page is called fresh.
func TestNoStalePageIsCalledFresh(t *testing.T) {
	t.Parallel()
	worlds, first := 10_000, uint64(*seed)
	if testing.Short() {
		worlds = 1000
	}
	var verdicts [8]map[verify.Verdict]int
	var all sync.WaitGroup
	for part := range verdicts {
		verdicts[part] = map[verify.Verdict]int{}
		all.Go(func() {
			for n := part; n < worlds; n += len(verdicts) {
				got := oneWorld(t, first+uint64(n))
				verdicts[part][got]++
			}
		})
	}
	all.Wait()
	sum := map[verify.Verdict]int{}
	for _, v := range verdicts {
		for verdict, n := range v {
			sum[verdict] += n
		}
	}
	t.Log(sum)
	for _, v := range []verify.Verdict{verify.Fresh, verify.Stale, verify.Unknown, verify.Broken} {
		if sum[v] < worlds/100 {
			t.Errorf("%d of %d worlds are %s: they say nothing", sum[v], worlds, v)
		}
	}
}

// The same over real connections. There are only a few worlds, since each has several
// servers.
func TestNoStalePageIsCalledFreshOverHTTP(t *testing.T) {
	t.Parallel()
	verdicts := map[verify.Verdict]int{}
	for n := range uint64(100) {
		verdicts[oneWorld(t, 1_000_000+n, (*world).overHTTP)]++
	}
	t.Log(verdicts)
	if verdicts[verify.Fresh] == 0 || verdicts[verify.Stale] == 0 {
		t.Errorf("%v", verdicts)
	}
}

// overHTTP serves the edge and the origin of the world on loopback, each server under its
// name.
func (w *world) overHTTP(t *testing.T) {
	t.Helper()
	ways := map[string]*http.Transport{}
	serve := func(via string, h http.Handler) {
		s := httptest.NewServer(h)
		addr := s.Listener.Addr().String()
		ways[via] = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}, DisableCompression: true}
		t.Cleanup(func() { ways[via].CloseIdleConnections(); s.Close() })
	}
	for i := range w.servers {
		serve(strconv.Itoa(i), w.edge.Server(i))
	}
	serve("origin", w.front)
	w.fetcher = fetch.New(fetch.Config{Transport: func(via string) http.RoundTripper { return ways[via] }})
	w.url = strings.Replace(w.url, "https:", "http:", 1)
}

// oneWorld makes the world with this number, asks about it, and compares the answer with
// what readers get.
func oneWorld(t *testing.T, number uint64, changes ...func(*world, *testing.T)) verify.Verdict {
	t.Helper()
	random := rand.New(rand.NewPCG(number, 17))
	often := func() bool { return random.IntN(2) == 0 }
	seldom := func() bool { return random.IntN(8) == 0 }
	p := plan{
		servers: 1 + random.IntN(3), del: seldom(), ignoreQuery: seldom(), status: often(), noAge: seldom(), equalDates: often(),
		etag: []string{"", "content", "size"}[random.IntN(3)], contains: often(), before: often(), origin: !seldom(), pragma: often(), deployed: often(),
	}
	for range random.IntN(4) {
		faults[random.IntN(len(faults))].plant(&p)
	}
	if p.sick > 0 {
		p.sick = 1 + random.IntN(3)
	}
	w := build(p)
	for _, change := range changes {
		change(w, t)
	}
	w.happen(t, func(int, bool) bool { return often() })
	got := w.ask(t)
	stale := w.stale(t)
	switch {
	case got.Verdict == verify.Fresh && stale:
		t.Errorf("world %d %+v: called fresh: %s", number, p, got.Cause())
	case got.Verdict == verify.Stale && !stale && p == (plan{servers: p.servers, del: p.del, status: p.status, noAge: p.noAge, contains: p.contains, before: p.before, deployed: p.deployed, origin: p.origin, pragma: p.pragma, etag: p.etag, ignoreQuery: p.ignoreQuery}):
		t.Errorf("world %d %+v: called stale: %s", number, p, got.Cause())
	}
	return got.Verdict
}

func (w *world) all() func(int, bool) bool { return func(int, bool) bool { return true } }

func TestEachFaultIsNamed(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := plan{servers: 3, origin: true, contains: true, pragma: true, etag: "content"}
			f.plant(&p)
			w := build(p)
			w.happen(t, w.all())
			got := w.ask(t)
			if !got.Has(f.cause) {
				t.Errorf("%s: %s", got.Verdict, got.Cause())
			}
		})
	}
}

// hidden returns why one of two faults can't be seen beside the other; "" if both can.
func hidden(a, b string) string {
	missed := []string{"not purged", "wrong tag", "wrong key", "redirect target"}
	done := []string{"one server deaf", "parent deaf", "compressed deaf", "edge cut off", "error cached"}
	for _, h := range []struct {
		a, b []string
		why  string
	}{
		{missed, done, "a purge that misses the page does nothing to it on any server"},
		{[]string{"error cached"}, []string{"parent deaf", "compressed deaf", "edge cut off", "cache behind"}, "a copy that was kept is served, so no error comes into the cache"},
		{[]string{"edge cut off"}, []string{"cache behind", "rewritten"}, "nothing comes from behind"},
		{[]string{"edge cut off"}, []string{"parent deaf"}, "the parent has a copy, and does not ask"},
		{[]string{"rewritten"}, []string{"cache behind", "origin uneven"}, "what comes from behind is another version, which is reason enough to differ"},
		{[]string{"pragma off"}, []string{"edge cut off", "parent deaf"}, "only what the cache says of itself tells this"},
		{[]string{"wrong key"}, []string{"origin sick"}, "the other spelling meets the sick origin, and its error is kept"},
		{[]string{"wrong key"}, []string{"redirect target"}, "the world has one address"},
		{[]string{"wrong key"}, []string{"cache behind", "origin uneven", "origin lags"}, "the page is old under every spelling"},
		{[]string{"origin lags"}, []string{"origin uneven", "older date"}, "nothing new is deployed"},
		{[]string{"origin lags"}, []string{"cache behind"}, "the cache behind has what the origin serves"},
		{[]string{"origin cached"}, []string{"dynamic", "origin uneven"}, "the cache makes all answers the same"},
		{[]string{"dynamic"}, []string{"rewritten"}, "no two answers are the same with or without"},
	} {
		if slices.Contains(h.a, a) && slices.Contains(h.b, b) || slices.Contains(h.a, b) && slices.Contains(h.b, a) {
			return h.why
		}
	}
	return ""
}

func TestPairsOfFaultsAreNamed(t *testing.T) {
	t.Parallel()
	for i, a := range faults {
		for _, b := range faults[i+1:] {
			if hidden(a.name, b.name) != "" {
				continue
			}
			t.Run(a.name+" and "+b.name, func(t *testing.T) {
				t.Parallel()
				p := plan{servers: 3, origin: true, contains: true, pragma: true, etag: "content"}
				a.plant(&p)
				b.plant(&p)
				w := build(p)
				w.happen(t, w.all())
				got := w.ask(t)
				var missing []string
				for _, k := range []verify.Kind{a.cause, b.cause} {
					if !got.Has(k) {
						missing = append(missing, string(k))
					}
				}
				if len(missing) > 0 {
					t.Errorf("%s not named; %s: %s", strings.Join(missing, ", "), got.Verdict, got.Cause())
				}
			})
		}
	}
}
