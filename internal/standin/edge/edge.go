// Package edge is a stand-in for Akamai's edge in front of a small origin. Purges act on
// it and readers see it. There are several servers of a child tier and one parent, each
// with a cache of its own. They have cache keys, a time to live, revalidation by
// If-Modified-Since, tags and CP codes, as far as purgebot meets them. The deliberate
// faults are those that keep a page stale after an accepted purge.
//
// There are no timers, and the clock is a function: everything is decided when somebody
// asks.
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

// Config is a property: how it caches, and what it reveals.
type Config struct {
	// Origin answers what is in no cache.
	Origin http.Handler
	// Servers is the number of servers in the child tier. 0 means 1.
	Servers int
	// TTL is how long a copy is valid. 0 means a day. Errors are kept for ten seconds, as
	// Akamai does by default.
	TTL time.Duration
	// IgnoreQuery leaves the query out of the cache key. IgnoreCase leaves out the case
	// of the path.
	IgnoreQuery, IgnoreCase bool
	// CPCodes are the CP codes of the paths with these beginnings; the longest match
	// counts. DefaultCPCode is for all other paths; 0 means 12345.
	CPCodes       map[string]int
	DefaultCPCode int
	// PragmaOff hides what the cache did, whatever Pragma asks for.
	PragmaOff bool
	// CacheStatus adds Akamai-Cache-Status to each answer, like the behaviour Return
	// Cache Status.
	CacheStatus bool
	// NoAge leaves out the Age header. Whether Akamai sends it by default is not
	// confirmed.
	NoAge bool
	// Network is the network whose purges count. "" means production.
	Network string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Faults are the deliberate faults.
type Faults struct {
	// DeafServers are the servers of the child tier that no purge reaches. DeafParent is
	// the same for the parent.
	DeafServers []int
	DeafParent  bool
	// DeafCompressed lets purges reach only the uncompressed copies.
	DeafCompressed bool
	// NoOrigin keeps the edge from reaching its origin.
	NoOrigin bool
	// Denying are the servers of the child tier that answer 403.
	Denying []int
	// Rewrite changes each page on its way to the reader.
	Rewrite func([]byte) []byte
}

// Edge is the stand-in. [Edge.Server] and [Edge.ServeHTTP] serve readers. It is safe for
// concurrent use.
type Edge struct {
	cfg Config

	mu       sync.Mutex
	faults   Faults
	children []*tier
	parent   *tier
	purges   []pending
	zip      *gzip.Writer // one is enough, because answers are written one after the other
}

// pending is a purge whose estimated time has not passed yet.
type pending struct {
	at    time.Time
	purge akamai.Purge
}

// New makes an edge. Pass its Purged as [akamai.Config.Purged].
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

// Purged notes a purge that Akamai accepted. The purge takes effect when its estimated
// time has passed.
func (e *Edge) Purged(p akamai.Purge) {
	if p.Network != e.cfg.Network {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.purges = append(e.purges, pending{e.cfg.Now().Add(p.Takes), p})
}

// SetFaults replaces the faults.
func (e *Edge) SetFaults(f Faults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = f
}

// ServeHTTP is the first server of the child tier.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.serve(w, r, 0) }

// Server is one server of the child tier, counted from 0.
func (e *Edge) Server(i int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serve(w, r, i) })
}

// serve answers for one server of the child tier, one request at a time.
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

// question is a request in the form that caches see.
type question struct {
	r          *http.Request
	key        string // host, path and query in the form that the property uses
	compressed bool
	pragma     string
}

// copyKey is the key of one stored copy. A page has one copy for readers who accept gzip
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

// key is a cache key without the part that ARLs put before it. Akamai turns several
// slashes into one, according to Let's Encrypt's boulder (akamai/cache-client.go).
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
