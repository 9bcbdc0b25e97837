// Package connlimit keeps an HTTP server's connections few and short. Each part of a
// request and its answer has a deadline. Connections are bounded in total and per
// address. A client that finds no room is told so.
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
	headerTime = 10 * time.Second // for the head of a request
	readTime   = 30 * time.Second // for the whole request
	writeTime  = 60 * time.Second // for the client to read the answer, counted from the end of the head
	idleTime   = 2 * time.Minute  // between two requests of one connection
	maxHeader  = 64 << 10         // bytes of a request's head

	// grace is how long a connection may take to send its request when others need its
	// place. After that, a new connection may take the place.
	grace = 2 * time.Second

	// defaultTotal is the most connections where the process may open many files.
	defaultTotal = 4096
)

// Config says how many connections there may be. If all places are taken, the connection
// that has waited longest for its request is closed. If every connection has a request at
// work, the new one gets a 503.
type Config struct {
	Total      int              // 0: half the files that the process may open, at most 4096
	PerAddress int              // from one IPv4 address or IPv6 /64; 0: a quarter of Total
	Proxies    []netip.Prefix   // their connections carry others' requests: each forwarded address counts instead
	Log        *slog.Logger     // nil: no log
	Now        func() time.Time // nil: time.Now
}

// Guard sets a server's deadlines and bounds its connections. Call it before the server
// serves, with srv.Handler set, and serve the returned listener in place of the given
// one. A handler that answers for longer than a minute sets its own deadlines with
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

// limits is the listener that Guard returns. It counts connections and, for proxies,
// requests.
type limits struct {
	Config
	net.Listener
	refusing chan struct{} // a place for each refusal that may take its time

	// mu guards the fields below, and working and since of each conn.
	mu       sync.Mutex
	conns    map[*conn]bool       // that are open and counted
	requests map[netip.Prefix]int // at work, that proxies forwarded, by the address they name
	refused  int                  // since the log was last told
	saidAt   time.Time            // when that was
}

// connKey is the key of the connection in a request's context.
type connKey struct{}

// conn is a connection, and whether it has a request at work.
type conn struct {
	net.Conn
	limits *limits
	from   netip.Prefix // what counts as its address, see network
	proxy  bool         // it is from one of Config.Proxies

	// Guarded by limits.mu.
	working bool      // its request has arrived completely and is being answered
	since   time.Time // since when it waits for a request, while it is not working
}

// Close implements net.Conn. It gives the place back; net/http closes each connection.
func (c *conn) Close() error {
	c.limits.mu.Lock()
	delete(c.limits.conns, c)
	c.limits.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends the sending direction only. net/http looks for this method: a client
// that is still sending can then read its answer to the end.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// set notes whether the connection has a request at work. When it stops working, its
// waiting starts anew.
func (c *conn) set(working bool) {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.working, c.since = working, c.limits.Now()
}

// Accept implements net.Listener. It returns only connections that have a place; it
// refuses the others itself.
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
			_ = cut.Close() // outside admit, since Close takes mu
		}
		if ok {
			return c, nil
		}
		l.refuse(raw)
	}
}

// admit gives a connection a place, if necessary that of another one, which the caller
// must close. A client over its own bound can only replace one of its own connections. So
// one address can't push out others.
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
	// of has only connections of this address.
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

// slowest is the connection that has waited longest for its request, if it has waited
// since the given time or longer; nil if there is none. A connection at work is never
// chosen.
func slowest(of []*conn, before time.Time) *conn {
	of = slices.DeleteFunc(of, func(c *conn) bool { return c.working || c.since.After(before) })
	if len(of) == 0 {
		return nil
	}
	return slices.MinFunc(of, func(a, b *conn) int { return a.since.Compare(b.since) })
}

// proxy reports whether an address belongs to one of our proxies.
func (l *limits) proxy(a netip.Addr) bool {
	return slices.ContainsFunc(l.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// handler marks the connections that have a request at work, and bounds the requests that
// proxies forward for one address.
func (l *limits) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		// A proxy uses one connection for many clients, so its requests are counted
		// instead.
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
		// Without a body the request has arrived completely. With one, the connection
		// counts as waiting until the body is read to its end, so that a slow sender can
		// be cut.
		if r.ContentLength == 0 {
			c.set(true)
		} else {
			r.Body = &body{r.Body, c}
		}
		if r.ContentLength != 0 && r.Method != http.MethodPost {
			w.Header().Set("Connection", "close") // no handler reads this body; without it the answer would wait for the body's end
		}
		next.ServeHTTP(w, r)
	})
}

// body marks its connection as working once it was read to its end.
type body struct {
	io.ReadCloser
	conn *conn
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.conn.set(true)
	}
	return n, err
}

// enter counts a forwarded request in; false if its address has no room. Each true needs
// one leave.
func (l *limits) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests[from] >= l.PerAddress {
		return false
	}
	l.requests[from]++
	return true
}

// leave counts a forwarded request out. It removes a count of zero, so that the map does
// not grow with each address.
func (l *limits) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests[from]--; l.requests[from] == 0 {
		delete(l.requests, from)
	}
}

// forwarded is the address that a request comes from: the last one in X-Forwarded-For
// that is not one of our proxies. Anybody can write what stands before it. Without a
// usable header it is the proxy itself.
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

// address reads an IP address with or without a port. An IPv4 address within IPv6 becomes
// IPv4, so that it counts once. It is invalid for a text that is none.
func address(text string) netip.Addr {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(strings.Trim(text, "[]")) // the zero value is no client's address
	return a.Unmap().WithZone("")
}

// network is what counts as one address. A client with one IPv6 address usually has its
// whole /64, so that counts as one.
func network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}
