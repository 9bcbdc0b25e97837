package edge

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Page is what an origin serves at a path.
type Page struct {
	Body     string
	Modified time.Time // its date; a rollback brings an older one than before
	ETag     string
	Tags     []string // Edge-Cache-Tag
	Redirect string   // redirect to this with 301
	Gone     bool     // answer 404
}

// Origin is a small origin: pages by path, whatever the host and the query. Deploy
// changes what it serves.
type Origin struct {
	mu      sync.Mutex
	pages   map[string]Page
	servers []map[string]Page // behind a balancer, used in turn; nil: pages
	sick    int
	served  [2]int // requests by people, and by the edge
	fresh   func() string
}

// NewOrigin makes an origin without pages.
func NewOrigin() *Origin { return &Origin{pages: map[string]Page{}} }

// Deploy replaces the pages at these paths.
func (o *Origin) Deploy(pages map[string]Page) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pages = maps.Clone(o.pages) // a server that lags keeps the old map
	maps.Copy(o.pages, pages)
}

// Replace serves these pages and no others.
func (o *Origin) Replace(pages map[string]Page) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pages = maps.Clone(pages)
}

// Lag keeps one of two servers at the current pages, while Deploy changes the other one.
// Each answers two requests in turn. false makes both the same again.
func (o *Origin) Lag(one bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.servers = nil
	if one {
		o.servers = []map[string]Page{o.pages}
	}
}

// Sicken makes every n-th request fail with a 503, starting with the next one. 1 means
// all, 0 none. The edge's requests and those of other clients are counted separately.
func (o *Origin) Sicken(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sick, o.served = n, [2]int{-1, -1}
}

// Vary adds something new to the body of every answer. nil ends that.
func (o *Origin) Vary(more func() string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh = more
}

// ServeHTTP answers GETs, including conditional ones by date.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	count := &o.served[0]
	if r.Header.Get("Via") != "" {
		count = &o.served[1]
	}
	*count++
	pages, ill := o.pages, o.sick > 0 && *count%o.sick == 0
	if len(o.servers) > 0 && *count/2%2 == 0 {
		pages = o.servers[0]
	}
	more := ""
	if o.fresh != nil {
		more = o.fresh()
	}
	o.mu.Unlock()
	p, ok := pages[r.URL.Path]
	switch {
	case ill:
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
		return
	case !ok || p.Gone:
		http.NotFound(w, r)
		return
	case p.Redirect != "":
		w.Header().Set("Location", p.Redirect)
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	if p.ETag != "" {
		w.Header().Set("ETag", p.ETag)
	}
	if len(p.Tags) > 0 {
		w.Header().Set("Edge-Cache-Tag", strings.Join(p.Tags, ","))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// ServeContent answers If-Modified-Since by the date. The edge asks in that way.
	http.ServeContent(w, r, "", p.Modified, strings.NewReader(p.Body+more))
}

// CacheBehind is a second cache between an edge and its origin, which no Akamai purge
// reaches. It keeps what it has seen until Forget. If named is true, it adds a Via
// header, by which such a cache can be recognised.
func CacheBehind(origin http.Handler, named bool) *Behind {
	return &Behind{origin: origin, named: named, seen: map[string]*httptest.ResponseRecorder{}}
}

// Behind is the cache that [CacheBehind] makes.
type Behind struct {
	origin http.Handler
	named  bool

	mu   sync.Mutex
	seen map[string]*httptest.ResponseRecorder
}

// Forget empties it.
func (b *Behind) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.seen)
}

// ServeHTTP answers from the cache, whatever the query.
func (b *Behind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	have := b.seen[r.URL.Path]
	if have == nil || have.Code >= 500 {
		plain := r.Clone(r.Context())
		plain.Header = http.Header{}
		have = httptest.NewRecorder()
		b.origin.ServeHTTP(have, plain)
		b.seen[r.URL.Path] = have
	}
	h := w.Header()
	maps.Copy(h, have.Header())
	if b.named {
		h.Set("Via", "1.1 varnish (Varnish/7.4)")
	}
	if since := r.Header.Get("If-Modified-Since"); since != "" && have.Code == http.StatusOK && h.Get("Last-Modified") != "" && !later(h.Get("Last-Modified"), since) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(have.Code)
	_, _ = w.Write(have.Body.Bytes())
}
