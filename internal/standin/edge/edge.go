// Package edge is a stand-in for Akamai's edge, in front of a small origin:
// what purges act on, and what readers see. Several servers of a child tier
// and one parent each have a cache of their own, with keys, a time to live,
// revalidation by If-Modified-Since, tags and CP codes, as far as purgebot
// meets them. Faults on purpose are those that make a page stay stale after a
// purge that was accepted.
//
// It decides everything when it is asked: there are no timers, and the clock
// is a function.
package edge

import (
	"cmp"
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// Config is a property: how it caches, and what it says.
type Config struct {
	// Origin is asked for what is in no cache.
	Origin http.Handler
	// Servers is how many of the child tier there are; 0 is 1.
	Servers int
	// TTL is how long a copy is good; 0 is a day. Errors are kept for ten
	// seconds, as Akamai does by default.
	TTL time.Duration
	// IgnoreQuery leaves the query out of the cache key, IgnoreCase the case
	// of the path.
	IgnoreQuery, IgnoreCase bool
	// CPCodes are those of the paths that begin so; the longest counts.
	// DefaultCPCode is that of all others; 0 is 12345.
	CPCodes       map[string]int
	DefaultCPCode int
	// PragmaOff: what the cache did is not told, whatever Pragma asks for.
	PragmaOff bool
	// CacheStatus adds Akamai-Cache-Status to each answer, as the behaviour
	// Return Cache Status does.
	CacheStatus bool
	// NoAge leaves the Age header out. Akamai's pages don't say whether it is
	// sent by default.
	NoAge bool
	// Network is that whose purges count; "" is production.
	Network string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Faults are what goes wrong on purpose.
type Faults struct {
	// DeafServers are those of the child tier, and DeafParent the parent, that
	// no purge reaches.
	DeafServers []int
	DeafParent  bool
	// DeafCompressed: purges reach the uncompressed copies alone.
	DeafCompressed bool
	// NoOrigin: the edge can't reach its origin.
	NoOrigin bool
	// Denying are the servers of the child tier that refuse with 403.
	Denying []int
	// Rewrite changes each page on its way to the reader.
	Rewrite func([]byte) []byte
}

// Edge is the stand-in; [Edge.Server] and [Edge.ServeHTTP] serve readers. Many
// goroutines may use it at once.
type Edge struct {
	cfg Config

	mu       sync.Mutex
	faults   Faults
	children []*tier
	parent   *tier
	purges   []pending
	zip      *gzip.Writer // one, since answers are written one after the other
}

// pending is a purge whose estimate has not passed.
type pending struct {
	at    time.Time
	purge akamai.Purge
}

// New makes an edge. Give its Purged to [akamai.Config.Purged].
func New(cfg Config) *Edge {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.TTL = cmp.Or(cfg.TTL, 24*time.Hour)
	cfg.Network = cmp.Or(cfg.Network, "production")
	cfg.DefaultCPCode = cmp.Or(cfg.DefaultCPCode, 12345)
	zip, _ := gzip.NewWriterLevel(io.Discard, gzip.HuffmanOnly) // a level that exists
	e := &Edge{cfg: cfg, zip: zip, parent: &tier{copies: map[string]*stored{}}}
	for range max(cfg.Servers, 1) {
		e.children = append(e.children, &tier{copies: map[string]*stored{}})
	}
	return e
}

// Purged takes note of a purge that Akamai accepted. It takes effect once its
// estimate has passed.
func (e *Edge) Purged(p akamai.Purge) {
	if p.Network != e.cfg.Network {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.purges = append(e.purges, pending{e.cfg.Now().Add(p.Takes), p})
}

// SetFaults replaces what goes wrong.
func (e *Edge) SetFaults(f Faults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = f
}

// ServeHTTP is the first server of the child tier.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.serve(w, r, 0) }

// Server is one of the child tier, from 0.
func (e *Edge) Server(i int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serve(w, r, i) })
}

func (e *Edge) serve(w http.ResponseWriter, r *http.Request, child int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	if slices.Contains(e.faults.Denying, child) {
		w.Header().Set("Server", "AkamaiGHost")
		http.Error(w, "Access Denied", http.StatusForbidden)
		return
	}
	q := e.question(r)
	a := e.fromChild(e.children[child], q)
	e.answer(w, q, a)
}

// question is a request as caches see it.
type question struct {
	r          *http.Request
	key        string // host, path and query, as the property keys them
	compressed bool
	pragma     string
}

// copyKey is that of one stored copy: a page has one for those who accept gzip
// and one for the others.
func (q question) copyKey() string {
	if q.compressed {
		return "z " + q.key
	}
	return "  " + q.key
}

func (e *Edge) question(r *http.Request) question {
	return question{
		r: r, key: e.key(r.Host, r.URL.EscapedPath(), r.URL.RawQuery),
		compressed: strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"),
		pragma:     strings.ToLower(strings.Join(r.Header.Values("Pragma"), ",")),
	}
}

// key is a cache key without what ARLs put before it. Akamai makes one slash of
// several (Let's Encrypt's boulder, akamai/cache-client.go).
func (e *Edge) key(host, path, query string) string {
	path = cmp.Or(path, "/")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if e.cfg.IgnoreCase {
		path = strings.ToLower(path)
	}
	key := strings.ToLower(host) + path
	if query != "" && !e.cfg.IgnoreQuery {
		key += "?" + query
	}
	return key
}

func (e *Edge) cpcode(path string) int {
	code, longest := e.cfg.DefaultCPCode, -1
	for prefix, c := range e.cfg.CPCodes {
		if strings.HasPrefix(path, prefix) && len(prefix) > longest {
			code, longest = c, len(prefix)
		}
	}
	return code
}
