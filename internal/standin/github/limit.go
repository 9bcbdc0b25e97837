package github

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Limits are GitHub's limits. A zero field takes GitHub's own number. The rates apply
// only if Enforce is set; all others always apply.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
type Limits struct {
	Enforce          bool
	Primary          int  // requests of an installation in an hour: 5,000
	PointsPerMinute  int  // a read costs 1, a write 5: 900
	ContentPerMinute int  // requests that create content, in a minute: 80
	ContentPerHour   int  // the same in an hour: 500
	Concurrent       int  // requests under way at the same time: 100
	Status           int  // of a refusal: 403, or 429
	Bare             bool // a secondary refusal has no header, only words

	TreeEntries        int // of a recursive tree: 100,000
	TreeBytes          int // of a recursive tree's JSON: 7 MB
	CompareFiles       int // of a whole comparison: 300
	CompareCommits     int // 250
	PullFiles          int // 3,000
	StatusesPerContext int // of one commit: 1,000
	PushCommits        int // in a push event: 2,048
}

// EnforceLimits applies the rates from now on. It forgets what was used before.
func (g *Server) EnforceLimits() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.enforce, g.meters = true, map[string]*meter{}
}

// withDefaults replaces each zero by GitHub's own number.
func (l Limits) withDefaults() Limits {
	for _, number := range []struct {
		field  *int
		github int
	}{
		{&l.Primary, 5000},
		{&l.PointsPerMinute, 900},
		{&l.ContentPerMinute, 80},
		{&l.ContentPerHour, 500},
		{&l.Concurrent, 100},
		{&l.Status, http.StatusForbidden},
		{&l.TreeEntries, 100_000},
		{&l.TreeBytes, 7_000_000},
		{&l.CompareFiles, 300},
		{&l.CompareCommits, 250},
		{&l.PullFiles, 3000},
		{&l.StatusesPerContext, 1000},
		{&l.PushCommits, 2048},
	} {
		if *number.field == 0 {
			*number.field = number.github
		}
	}
	return l
}

// meter counts what one installation, or the App, has used. Server.mu guards it.
type meter struct {
	reset   time.Time // when the primary limit's hour ends
	used    int
	points  []meterUse
	content []time.Time
}

type meterUse struct {
	at     time.Time
	points int
}

func (x *exchange) meterKey() string {
	if x.token == nil {
		return "app"
	}
	return strconv.FormatInt(x.token.installation.id, 10)
}

// currentMeter is the caller's meter for this hour. The caller holds g.mu.
func (g *Server) currentMeter(x *exchange) *meter {
	now := g.cfg.Now()
	m := g.meters[x.meterKey()]
	if m == nil {
		m = &meter{}
		g.meters[x.meterKey()] = m
	}
	if !now.Before(m.reset) {
		m.reset, m.used = now.Add(time.Hour), 0
	}
	return m
}

// meter refuses a request that is over a limit.
func (g *Server) meter(x *exchange) (response, bool) {
	limits := g.cfg.Limits
	g.mu.Lock()
	defer g.mu.Unlock()
	if !limits.Enforce && !g.enforce {
		return response{}, true
	}
	now, m := g.cfg.Now(), g.currentMeter(x)
	if g.underWay > limits.Concurrent {
		return g.secondary(time.Second), false
	}
	if m.used >= limits.Primary {
		return refuse(limits.Status, "API rate limit exceeded for installation ID "+x.meterKey()+"."), false
	}
	write := x.Method != http.MethodGet && x.Method != http.MethodHead
	m.points = slices.DeleteFunc(m.points, func(u meterUse) bool { return !u.at.After(now.Add(-time.Minute)) })
	m.content = slices.DeleteFunc(m.content, func(t time.Time) bool { return !t.After(now.Add(-time.Hour)) })
	points := meterUse{at: now, points: 1}
	if write {
		points.points = 5
	}
	sum := points.points
	for _, u := range m.points {
		sum += u.points
	}
	if sum > limits.PointsPerMinute {
		return g.secondary(m.points[0].at.Add(time.Minute).Sub(now)), false
	}
	if write && x.token != nil {
		if wait := contentWait(m.content, limits, now); wait > 0 {
			return g.secondary(wait), false
		}
		m.content = append(m.content, now)
	}
	m.points = append(m.points, points)
	return response{}, true
}

// contentWait says how long it takes until the next write is within both limits.
func contentWait(content []time.Time, limits Limits, now time.Time) time.Duration {
	if n := len(content) - limits.ContentPerHour; n >= 0 {
		return content[n].Add(time.Hour).Sub(now)
	}
	if n := len(content) - limits.ContentPerMinute; n >= 0 {
		return content[n].Add(time.Minute).Sub(now)
	}
	return 0
}

func (g *Server) secondary(wait time.Duration) response {
	reply := refuse(g.cfg.Limits.Status, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	if !g.cfg.Limits.Bare {
		seconds := int(max(wait, time.Second).Round(time.Second) / time.Second)
		reply.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
		reply.body.(jsonObject)["documentation_url"] = "https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	}
	return reply
}

// account counts an answer and tells the client what is left. A 304 does not count
// against the primary limit, nor does a request without a valid signature.
func (g *Server) account(x *exchange, reply *response) {
	if reply.status == http.StatusUnauthorized {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.currentMeter(x)
	refused := reply.status == http.StatusForbidden || reply.status == http.StatusTooManyRequests
	if refused && g.cfg.Limits.Bare && m.used < g.cfg.Limits.Primary {
		return
	}
	if reply.status != http.StatusNotModified && m.used < g.cfg.Limits.Primary {
		m.used++
	}
	set := func(key string, value int64) { reply.header.Set("X-Ratelimit-"+key, strconv.FormatInt(value, 10)) }
	set("Limit", int64(g.cfg.Limits.Primary))
	set("Remaining", int64(g.cfg.Limits.Primary-m.used))
	set("Used", int64(m.used))
	set("Reset", m.reset.Unix())
	reply.header.Set("X-Ratelimit-Resource", "core")
}
