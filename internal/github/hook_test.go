package github_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// hook is a receiver of webhooks. It counts them, and fails while it is not healthy.
type hook struct {
	url     string
	healthy atomic.Bool

	mu   sync.Mutex
	seen map[string]int
}

func newHook(t testing.TB) *hook {
	t.Helper()
	h := &hook{seen: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.seen[r.Header.Get("X-GitHub-Delivery")]++
		h.mu.Unlock()
		if !h.healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *hook) count(guid string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen[guid]
}
