// Package connlimit keeps an HTTP server's connections few and short: every
// part of a request and its answer has a deadline, connections are bounded in
// total and from one address, and whoever finds no room is told so.
package connlimit

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	headerTime = 10 * time.Second // for a request's head
	readTime   = 30 * time.Second // for the whole of it
	writeTime  = 60 * time.Second // for the answer to be read, from the end of the head on
	idleTime   = 2 * time.Minute  // between two requests
	maxHeader  = 64 << 10         // bytes

	// grace is how long a connection may take over a request before it has to
	// make room for others, where there is none.
	grace = 2 * time.Second

	// defaultTotal bounds the connections where the process may open many
	// files.
	defaultTotal = 4096
)

// Config says how many connections there may be. Where all are taken, the one
// that has waited longest for its request to arrive is cut, and if each has
// one at work, the new one gets a 503.
type Config struct {
	Total      int            // 0: as many as half the files that the process may open, 4096 at most
	PerAddress int            // from one IPv4 address or IPv6 /64; 0: a quarter of Total
	Proxies    []netip.Prefix // whose connections are others': what they forward for one address counts instead
	Log        *slog.Logger   // default: none
	Now        func() time.Time
}

// Guard gives a server its deadlines and puts the limits on its handler. What
// it returns is to be served in the place of listener. A handler that answers
// for longer than a minute sets its own deadlines, with
// http.ResponseController.
func Guard(srv *http.Server, listener net.Listener, cfg Config) net.Listener {
	srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout, srv.IdleTimeout = headerTime, readTime, writeTime, idleTime
	srv.MaxHeaderBytes = maxHeader
	if cfg.Total == 0 {
		cfg.Total = min(defaultTotal, max(openFiles()/2, 1))
	}
	if cfg.PerAddress == 0 {
		cfg.PerAddress = max(cfg.Total/4, 1)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &limits{Config: cfg, Listener: listener, conns: map[*conn]bool{}, requests: map[netip.Prefix]int{}, refusing: make(chan struct{}, cfg.PerAddress)}
	srv.Handler = l.handler(srv.Handler)
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	return l
}

type limits struct {
	Config
	net.Listener
	refusing chan struct{} // those whose refusal may take its time

	mu       sync.Mutex
	conns    map[*conn]bool
	requests map[netip.Prefix]int // at work, that a proxy forwarded, by whom it says they are from
	refused  int                  // since it was last said in the log
	saidAt   time.Time
}

type connKey struct{}

// conn is a connection and what it is doing.
type conn struct {
	net.Conn
	limits *limits
	from   netip.Prefix
	proxy  bool

	// Guarded by limits.mu.
	working bool      // its request is all here, and being answered
	since   time.Time // when it began to wait for a request, where it is not working
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limits.mu.Lock()
	delete(c.limits.conns, c)
	c.limits.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets a client read its answer to the end, though it is still
// sending: net/http asks for it.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// set notes whether the connection has a request at work.
func (c *conn) set(working bool) {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.working, c.since = working, c.limits.Now()
}

// Accept implements net.Listener.
func (l *limits) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := address(raw.RemoteAddr().String())
		c := &conn{Conn: raw, limits: l, from: network(from), proxy: l.proxy(from), since: l.Now()}
		cut, ok := l.admit(c)
		if cut != nil {
			_ = cut.Close() // it is of no use to anybody
		}
		if ok {
			return c, nil
		}
		l.refuse(raw)
	}
}

// admit takes a connection in, in the place of another one where it must.
func (l *limits) admit(c *conn) (cut *conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var of []*conn
	for other := range l.conns {
		if !c.proxy && other.from == c.from {
			of = append(of, other)
		}
	}
	switch {
	case !c.proxy && len(of) >= l.PerAddress:
	case len(l.conns) >= l.Total:
		for other := range l.conns {
			of = append(of, other)
		}
	default:
		l.conns[c] = true
		return nil, true
	}
	cut = slowest(of, l.Now().Add(-grace))
	if cut != nil {
		delete(l.conns, cut)
		l.conns[c] = true
	}
	return cut, cut != nil
}

// slowest is the connection that has waited longest for its request, since
// before some time; nil if there is none.
func slowest(of []*conn, before time.Time) *conn {
	of = slices.DeleteFunc(of, func(c *conn) bool { return c.working || c.since.After(before) })
	if len(of) == 0 {
		return nil
	}
	return slices.MinFunc(of, func(a, b *conn) int { return a.since.Compare(b.since) })
}

func (l *limits) proxy(a netip.Addr) bool {
	return slices.ContainsFunc(l.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// handler marks the connections that have a request at work, and bounds those
// that a proxy forwards.
func (l *limits) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		if c.proxy {
			from := l.forwarded(r.Header.Values("X-Forwarded-For"), c.from)
			if !l.enter(from) {
				l.say(r.Context())
				w.Header().Set("Retry-After", retryAfter)
				http.Error(w, refusal, http.StatusServiceUnavailable)
				return
			}
			defer l.leave(from)
		}
		defer c.set(false)
		if r.ContentLength == 0 {
			c.set(true)
		} else {
			r.Body = &body{r.Body, c}
		}
		if r.ContentLength != 0 && r.Method != http.MethodPost {
			w.Header().Set("Connection", "close") // nobody reads it: the answer must not wait for it
		}
		next.ServeHTTP(w, r)
	})
}

// body notes that a request is all here.
type body struct {
	io.ReadCloser
	conn *conn
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.conn.set(true)
	}
	return n, err
}

func (l *limits) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests[from] >= l.PerAddress {
		return false
	}
	l.requests[from]++
	return true
}

func (l *limits) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests[from]--; l.requests[from] == 0 {
		delete(l.requests, from)
	}
}

// forwarded is whom a request is from: the last address of X-Forwarded-For
// that is no proxy of ours. What stands before it anybody may have written.
func (l *limits) forwarded(headers []string, peer netip.Prefix) netip.Prefix {
	for _, text := range slices.Backward(strings.Split(strings.Join(headers, ","), ",")) {
		a := address(strings.TrimSpace(text))
		if !a.IsValid() {
			break
		}
		if peer = network(a); !l.proxy(a) {
			break
		}
	}
	return peer
}

// address reads an address with or without a port.
func address(text string) netip.Addr {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(strings.Trim(text, "[]")) // the zero address is nobody's
	return a.Unmap().WithZone("")
}

// network is what counts as one address: somebody who has one IPv6 address
// has as many as there are in its /64.
func network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}
