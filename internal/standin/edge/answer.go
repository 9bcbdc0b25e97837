package edge

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// matcher tells which copies a purge applies to.
func (e *Edge) matcher(p pending) func(key string, s *stored) bool {
	switch p.purge.Kind {
	case "tag":
		return func(_ string, s *stored) bool {
			return slices.ContainsFunc(p.purge.Objects, func(tag string) bool {
				return !slices.Contains(p.purge.Ineffective, tag) && slices.Contains(s.tags, tag)
			})
		}
	case "cpcode":
		return func(_ string, s *stored) bool { return slices.Contains(p.purge.Objects, strconv.Itoa(s.cpcode)) }
	}
	keys := map[string]bool{}
	for _, object := range p.purge.Objects {
		if u, err := url.Parse(object); err == nil && u.Host != "" {
			keys[e.key(u.Host, u.EscapedPath(), u.RawQuery)] = true
		} else if parts := strings.SplitN(strings.TrimPrefix(object, "/S"), "/", 6); len(parts) == 6 {
			keys[parts[5]] = true // an ARL is a key that includes its host
		}
	}
	return func(key string, _ *stored) bool { return keys[key] }
}

// names gives the words of Return Cache Status for a value of X-Cache.
// https://techdocs.akamai.com/terraform/docs/return-cache-status
func names(x string) string {
	switch x {
	case "TCP_HIT":
		return "Hit"
	case "TCP_REFRESH_HIT":
		return "RefreshHit"
	case "TCP_REFRESH_FAIL_HIT":
		return "HitStale"
	case "TCP_NEGATIVE_HIT":
		return "Error"
	}
	return "Miss"
}

// answer writes a result in the form that the reader asked for.
func (e *Edge) answer(w http.ResponseWriter, q question, a result) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = slices.Clone(values)
	}
	h.Del("Content-Length")
	if !e.cfg.NoAge {
		h.Set("Age", strconv.Itoa(int(e.cfg.Now().Sub(a.from).Seconds())))
	}
	if e.cfg.CacheStatus {
		status := names(a.x) + " from child"
		if a.remote != "" {
			status += ", " + names(a.remote) + " from parent"
		}
		h.Set("Akamai-Cache-Status", status)
	}
	if !e.cfg.PragmaOff {
		e.debug(h, q, a)
	}
	body := a.body
	if e.faults.Rewrite != nil && a.status == http.StatusOK {
		body = e.faults.Rewrite(body)
		weaken(h)
	}
	if !q.compressed || a.status != http.StatusOK {
		w.WriteHeader(a.status)
		_, _ = w.Write(body) // an error means that the reader is gone
		return
	}
	// The body is compressed here, so the ETag would name other bytes.
	h.Del("ETag")
	h.Set("Content-Encoding", "gzip")
	h.Set("Vary", "Accept-Encoding")
	w.WriteHeader(a.status)
	e.zip.Reset(w)
	_, _ = e.zip.Write(body)
	_ = e.zip.Close()
}

func weaken(h http.Header) {
	if etag := h.Get("ETag"); etag != "" && !strings.HasPrefix(etag, "W/") {
		h.Set("ETag", "W/"+etag)
	}
}

// debug adds what Pragma asks for.
// https://techdocs.akamai.com/edge-diagnostics/docs/pragma-headers
func (e *Edge) debug(h http.Header, q question, a result) {
	const by = " from a192-0-2-1 (AkamaiGHost/22.3.1)"
	if strings.Contains(q.pragma, "akamai-x-cache-on") {
		h.Set("X-Cache", a.x+by)
	}
	if strings.Contains(q.pragma, "akamai-x-cache-remote-on") && a.remote != "" {
		h.Set("X-Cache-Remote", a.remote+by)
	}
	if strings.Contains(q.pragma, "akamai-x-check-cacheable") {
		cacheable := "YES"
		if control := a.header.Get("Cache-Control"); strings.Contains(control, "no-store") || strings.Contains(control, "private") {
			cacheable = "NO"
		}
		h.Set("X-Check-Cacheable", cacheable)
	}
	if strings.Contains(q.pragma, "akamai-x-get-cache-key") {
		h.Set("X-Cache-Key", fmt.Sprintf("/L/1168/%d/1d/%s", e.cpcode(q.r.URL.Path), q.key))
	}
}
