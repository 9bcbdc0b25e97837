package edge

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

// errorTTL is how long errors are kept.
// https://techdocs.akamai.com/property-mgr/docs/cache-http-error-responses
const errorTTL = 10 * time.Second

// maxCopies bounds the copies in one tier. The sites of the demo and of the tests have
// fewer.
const maxCopies = 10_000

// tier is one cache.
type tier struct{ copies map[string]*stored }

// stored is a copy in a cache.
type stored struct {
	status int
	header http.Header
	body   []byte
	from   time.Time // when the origin sent it or confirmed it
	until  time.Time
	tags   []string
	cpcode int
	stale  bool // invalidated
}

func (s *stored) errs() bool { return s.status >= 400 }

// result is the answer of a tier, with its value of X-Cache.
type result struct {
	*stored
	x, remote string
}

// fromChild answers from the child's cache, or through the parent.
func (e *Edge) fromChild(t *tier, q question) result {
	return e.from(t, q, func(since string) result {
		up := e.from(e.parent, q, func(since string) result { return e.fromOrigin(q, since) })
		if since != "" && up.status == http.StatusOK && !later(up.header.Get("Last-Modified"), since) {
			return result{stored: &stored{status: http.StatusNotModified, from: up.from}, x: up.x}
		}
		return up
	})
}

// from is a cache. It serves a valid copy, asks about an invalidated or expired one, and
// fetches what it does not have. It asks by the copy's date. If the origin cannot be
// reached or answers 5xx, it serves the old copy.
// https://techdocs.akamai.com/purge-cache/docs/purge-methods
func (e *Edge) from(t *tier, q question, up func(since string) result) result {
	now := e.cfg.Now()
	have := t.copies[q.copyKey()]
	if have != nil && !have.stale && now.Before(have.until) {
		if have.errs() {
			return result{stored: have, x: "TCP_NEGATIVE_HIT"}
		}
		return result{stored: have, x: "TCP_HIT"}
	}
	since := ""
	if have != nil && !have.errs() {
		since = have.header.Get("Last-Modified")
	}
	got := up(since)
	switch {
	case got.status == http.StatusNotModified && have != nil:
		have.stale, have.from, have.until = false, got.from, now.Add(e.cfg.TTL)
		return result{stored: have, x: "TCP_REFRESH_HIT", remote: got.x}
	case got.status >= 500 && have != nil && !have.errs():
		return result{stored: have, x: "TCP_REFRESH_FAIL_HIT", remote: got.x}
	}
	x := "TCP_MISS"
	if have != nil {
		x = "TCP_REFRESH_MISS"
	}
	return result{stored: e.keep(t, q, got.stored, now), x: x, remote: got.x}
}

// keep stores a copy in a cache.
func (e *Edge) keep(t *tier, q question, got *stored, now time.Time) *stored {
	mine := *got
	mine.until, mine.cpcode, mine.stale = now.Add(e.cfg.TTL), e.cpcode(q.r.URL.Path), false
	if mine.errs() {
		mine.until = now.Add(errorTTL)
	}
	control := mine.header.Get("Cache-Control")
	if strings.Contains(control, "no-store") || strings.Contains(control, "private") {
		return &mine
	}
	if len(t.copies) >= maxCopies {
		clear(t.copies)
	}
	t.copies[q.copyKey()] = &mine
	return &mine
}

// fromOrigin asks the origin. The caller holds the edge's lock. So an origin that asked
// this edge would wait for ever.
func (e *Edge) fromOrigin(q question, since string) result {
	now := e.cfg.Now()
	if e.faults.NoOrigin || e.cfg.Origin == nil {
		return result{stored: &stored{
			status: http.StatusServiceUnavailable, from: now,
			header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html>Service Unavailable</html>"),
		}}
	}
	r := q.r.Clone(q.r.Context())
	r.Header = http.Header{"Via": {"1.1 akamai.net(ghost) (AkamaiGHost)"}}
	if q.compressed {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	if since != "" {
		r.Header.Set("If-Modified-Since", since)
	}
	w := httptest.NewRecorder()
	e.cfg.Origin.ServeHTTP(w, r)
	s := &stored{status: w.Code, header: w.Header().Clone(), body: bytes.Clone(w.Body.Bytes()), from: now}
	if tags := s.header.Values("Edge-Cache-Tag"); len(tags) > 0 && s.status == http.StatusOK { // only the first header counts, and only with a 200
		for tag := range strings.SplitSeq(tags[0], ",") {
			s.tags = append(s.tags, strings.TrimSpace(tag))
		}
	}
	s.header.Del("Edge-Cache-Tag")
	return result{stored: s}
}

func later(a, b string) bool {
	x, errX := http.ParseTime(a)
	y, errY := http.ParseTime(b)
	return errX != nil || errY != nil || x.After(y)
}

// settle applies the purges whose time has come.
func (e *Edge) settle() {
	now := e.cfg.Now()
	e.purges = slices.DeleteFunc(e.purges, func(p pending) bool {
		if now.Before(p.at) {
			return false
		}
		for i, child := range e.children {
			if !slices.Contains(e.faults.DeafServers, i) {
				e.purge(child, p)
			}
		}
		if !e.faults.DeafParent {
			e.purge(e.parent, p)
		}
		return true
	})
}

// purge applies a purge to one cache.
func (e *Edge) purge(t *tier, p pending) {
	fits := e.matcher(p)
	for key, s := range t.copies {
		if e.faults.DeafCompressed && key[0] == 'z' || !fits(key[2:], s) {
			continue
		}
		if p.purge.Action == "delete" {
			delete(t.copies, key)
		} else {
			s.stale = true
		}
	}
}
