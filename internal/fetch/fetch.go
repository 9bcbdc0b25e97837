// Package fetch GETs pages for [verify] and for warming caches. It is polite, and it
// can't be led astray: what a rules file names may point anywhere.
//
// It only GETs, without cookies, credentials or a proxy. What operators have posted to an
// address of their own goes the same way: see [Fetcher.Post]. Every address is judged
// when it is connected to. At most three redirects are followed, and only to where a
// first request could have gone. A body is read up to [MaxBody] decoded bytes and never
// kept. The requests to one host are paced.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/purgebot/purgebot/verify"
)

const (
	// MaxBody is how many bytes of a decoded body are read: 2 MiB.
	MaxBody = 2 << 20
	// MaxRedirects is how many redirects of one page are followed.
	MaxRedirects = 3

	maxHeaders = 64 << 10 // bytes of the header of an answer
	// defaultTimeout bounds a whole hop, with its body. A server that sends a byte now
	// and then does not hold a worker for longer.
	defaultTimeout = 20 * time.Second
	connectTimeout = 5 * time.Second // for TCP, and again for TLS
	maxRoutes      = 64              // transports that are kept, one for each via
)

// Config says who asks, what may be asked, and how often.
type Config struct {
	// Agent is the User-Agent header. It names purgebot, its version, and where to read
	// about it.
	Agent string
	// Address judges each address before it is connected to; its error says why not. See
	// [Public]. Nil allows all: a person who names an address may look at it.
	Address func(netip.Addr) error
	// Timeout bounds each hop, from the connection to the end of the body. 0 is 20 s.
	Timeout time.Duration
	// Pace is the time between two requests to one host, on average; 0 is none. Burst is
	// how many requests a host that was left alone gets at once.
	Pace  time.Duration
	Burst int
	// PerHost is how many requests to one host are under way at most. 0 is 10.
	PerHost int
	// Resolver resolves names; nil is that of the system.
	Resolver *net.Resolver
	// Transport returns what makes the round trips by way of via, in place of real
	// connections. Address then judges nothing. Nil connects for real.
	Transport func(via string) http.RoundTripper
}

// Fetcher GETs pages. Several goroutines may use it at once.
type Fetcher struct {
	cfg   Config
	lanes lanes

	mu     sync.Mutex                 // guards routes
	routes map[string]*http.Transport // by where they connect to; "": where the URL says
}

// New makes a Fetcher. The caller has to Close it.
func New(cfg Config) *Fetcher {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.PerHost <= 0 {
		cfg.PerHost = 10
	}
	return &Fetcher{cfg: cfg, lanes: lanes{pace: cfg.Pace, burst: cfg.Burst, width: cfg.PerHost, all: map[string]*lane{}}, routes: map[string]*http.Transport{}}
}

// Close drops idle connections. Requests under way go on.
func (f *Fetcher) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.routes {
		t.CloseIdleConnections()
	}
}

// Request is one GET.
type Request struct {
	// URL is an absolute http or https URL. A fragment is left out.
	URL string
	// Allow says why a URL may not be fetched; nil allows all. It is asked about the URL
	// itself and about every redirect.
	Allow func(*url.URL) error
	// Via is connected to in place of the URL's host: HOST, HOST:PORT or an IP address;
	// "" is the URL's host. TLS and the Host header stay those of the URL. Redirects are
	// followed only on the URL's own host, since another host is not behind Via.
	Via string
	// Compressed accepts gzip and brotli, as browsers do. Otherwise the request asks for
	// the plain body.
	Compressed bool
	// Pragma asks Akamai to say what its cache did.
	Pragma bool
	// Contains is searched for in the decoded body; "" searches for nothing.
	Contains string
}

// akamaiPragma asks for X-Cache, X-Cache-Remote, X-Check-Cacheable and
// X-Cache-Key (https://techdocs.akamai.com/edge-diagnostics/docs/pragma-headers).
const akamaiPragma = "akamai-x-cache-on, akamai-x-cache-remote-on, akamai-x-check-cacheable, akamai-x-get-cache-key"

// Get fetches a page and follows redirects. Whatever goes wrong is a fault in the look,
// not an error: it is evidence too. The look has at least one answer.
func (f *Fetcher) Get(ctx context.Context, r Request) verify.Look {
	look := verify.Look{Compressed: r.Compressed}
	seen := map[string]bool{}
	for at := r.URL; ; {
		lost := ""
		switch {
		case seen[at]:
			lost = "it leads back to " + at
		// The first hop is no redirect, so there may be one hop more than MaxRedirects.
		case len(look.Hops) > MaxRedirects:
			lost = fmt.Sprintf("more than %d redirects", MaxRedirects)
		}
		if lost != "" {
			look.Hops = append(look.Hops, verify.Answer{URL: at, Fault: verify.CutFault + ": " + lost})
			return look
		}
		seen[at] = true
		u, err := f.permit(at, r.Allow)
		if err != nil {
			// A redirect to where no first request could have gone is one that leads
			// nowhere.
			fault := err.Error()
			if len(look.Hops) > 0 {
				fault = verify.CutFault + ": " + fault
			}
			look.Hops = append(look.Hops, verify.Answer{URL: at, Fault: fault})
			return look
		}
		answer := f.hop(ctx, u, r)
		look.Hops = append(look.Hops, answer)
		if answer.Fault != "" || answer.Location == "" {
			return look
		}
		next, err := url.Parse(answer.Location)
		if r.Via != "" && (err != nil || !strings.EqualFold(next.Hostname(), u.Hostname())) {
			return look // another host is not behind this server
		}
		at = answer.Location
	}
}

// permit parses a URL and asks whether it may be fetched. The fragment is removed: it is
// no part of a request.
func (f *Fetcher) permit(raw string, allow func(*url.URL) error) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.User != nil:
		return nil, errors.New("the URL has a user")
	}
	u.Fragment, u.RawFragment = "", ""
	if allow != nil {
		return u, allow(u)
	}
	return u, nil
}

// hop makes one request, at the host's pace and within the time limit. The wait for a
// turn is not part of that limit.
func (f *Fetcher) hop(ctx context.Context, u *url.URL, r Request) verify.Answer {
	answer := verify.Answer{URL: u.String(), From: r.Via} // From becomes the server's address once there is a connection
	leave, err := f.lanes.enter(ctx, u.Host+" "+r.Via)
	if err != nil {
		answer.Fault = faultWords(err)
		return answer
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	ctx = traced(ctx, &answer)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		answer.Fault = "not a URL"
		return answer
	}
	req.Header.Set("User-Agent", f.cfg.Agent)
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	// Without this header a server may choose any encoding (RFC 9110, section 12.5.3).
	req.Header.Set("Accept-Encoding", "identity")
	if r.Compressed {
		req.Header.Set("Accept-Encoding", "gzip, br")
	}
	if r.Pragma {
		req.Header.Set("Pragma", akamaiPragma)
	}
	resp, err := f.transport(r.Via).RoundTrip(req)
	if err != nil {
		answer.Fault = faultWords(err)
		return answer
	}
	defer func() { _ = resp.Body.Close() }()
	describe(&answer, resp)
	if err := readBody(&answer, resp, r.Contains); err != nil {
		answer.Fault = faultWords(err)
	}
	return answer
}

// transport returns what makes the round trips by way of via.
func (f *Fetcher) transport(via string) http.RoundTripper {
	if f.cfg.Transport != nil {
		return f.cfg.Transport(via)
	}
	return f.route(via)
}

// route returns the transport that connects to via, and makes it if there is none. A
// transport has one via for all its connections: a shared one would use an idle
// connection to another server for the same host.
func (f *Fetcher) route(via string) *http.Transport {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t, ok := f.routes[via]; ok {
		return t
	}
	if len(f.routes) >= maxRoutes {
		for other, t := range f.routes { // any one; if it is used again, it is made again
			t.CloseIdleConnections()
			delete(f.routes, other)
			break
		}
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if via != "" {
				addr = viaAddress(via, addr)
			}
			return f.dialer().DialContext(ctx, network, addr)
		},
		TLSHandshakeTimeout:    connectTimeout,
		MaxResponseHeaderBytes: maxHeaders,
		MaxIdleConnsPerHost:    f.cfg.PerHost,
		MaxIdleConns:           4 * f.cfg.PerHost,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true, // decoded here, where it is bounded
		ForceAttemptHTTP2:      true,
	}
	f.routes[via] = t
	return t
}

// viaAddress returns via with a port: its own, or else that of addr.
func viaAddress(via, addr string) string {
	if ip, err := netip.ParseAddr(strings.Trim(via, "[]")); err == nil {
		via = ip.String()
	} else if _, _, err := net.SplitHostPort(via); err == nil {
		return via
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(via, port)
}

// dialer makes a dialer that asks Address about each address. It asks after DNS, when the
// socket exists but is not connected: a name that resolves to another address the second
// time gains nothing.
func (f *Fetcher) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: connectTimeout, KeepAlive: -1, Resolver: f.cfg.Resolver}
	if f.cfg.Address == nil {
		return d
	}
	d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address %s: %w", address, err)
		}
		if err := f.cfg.Address(ap.Addr()); err != nil {
			return &refused{err}
		}
		return nil
	}
	return d
}

// refused is the error of an address that may not be connected to. Its words reach people
// as they are.
type refused struct{ error }

// faultWords returns an error in words, without parts that only repeat the URL. The order
// matters, because an error may be several of these: a dial that times out is one.
func faultWords(err error) string {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "there is no host " + dns.Name
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no full answer in time"
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return "no full answer in time"
	}
	if errors.Is(err, context.Canceled) {
		return "stopped"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return "can't connect: " + op.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "net/http: ")
}
