package connlimit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// clock is moved by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// served is a guarded server on loopback; GET /slow is at work until done.
type served struct {
	t        *testing.T
	clock    clock
	addr     string
	accepted chan struct{} // one for each connection
	slow     chan struct{} // one for each request that is at work
	done     chan struct{}
}

func serve(t *testing.T, cfg Config) *served {
	t.Helper()
	s := &served{t: t, accepted: make(chan struct{}, 100), slow: make(chan struct{}, 100), done: make(chan struct{})}
	cfg.Now = s.clock.Now
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.URL.Path == "/slow" {
			s.slow <- struct{}{}
			<-s.done
		}
		fmt.Fprint(w, "ok")
	}), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.accepted <- struct{}{}
		}
	}}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	guarded, ended := Guard(srv, l, cfg), make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(guarded) // it ends with the test
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-ended
	})
	return s
}

// client is one connection, from an address of loopback.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *served) dial(from string) client {
	s.t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Skip("loopback has one address here: ", err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return client{conn, s.t, bufio.NewReader(conn)}
}

// get sends a request; code reads the answer.
func (c client) get(path string, headers ...string) client {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, strings.Join(headers, "\r\n"))
	return c
}

// code is the status of the answer; 0: the connection was cut.
func (c client) code() int {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
		c.t.Error("503 without Retry-After")
	}
	return res.StatusCode
}

func (c client) want(code int) {
	c.t.Helper()
	if got := c.code(); got != code {
		c.t.Errorf("answered %d, want %d", got, code)
	}
}

// A client that holds connections open and sends no request makes room. The connection
// that began first goes first, and not before it had time to send a request.
func TestTheSlowestMakesRoom(t *testing.T) {
	s := serve(t, Config{Total: 3, PerAddress: 3})
	var idle []client
	for range 3 {
		idle = append(idle, s.dial("127.0.0.1"))
		<-s.accepted
		s.clock.pass(time.Second)
	}
	s.clock.pass(-1500 * time.Millisecond) // the first is 1.5 s old
	s.dial("127.0.0.2").get("/").want(http.StatusServiceUnavailable)
	s.clock.pass(time.Second)
	s.dial("127.0.0.2").get("/").want(http.StatusOK)
	idle[0].want(0)
	idle[1].get("/").want(http.StatusOK)
}

// A request that is at work is not cut, however long it takes.
func TestWorkIsNotCut(t *testing.T) {
	s := serve(t, Config{Total: 2, PerAddress: 2})
	busy := []client{s.dial("127.0.0.1").get("/slow"), s.dial("127.0.0.1")}
	fmt.Fprint(busy[1], "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
	<-s.slow
	<-s.slow
	s.clock.pass(time.Minute)
	s.dial("127.0.0.1").get("/").want(http.StatusServiceUnavailable)
	close(s.done)
	for _, c := range busy {
		c.want(http.StatusOK)
	}
}

// A request whose body does not arrive does not count as work.
func TestHalfARequestIsCut(t *testing.T) {
	s := serve(t, Config{Total: 1, PerAddress: 1})
	half := s.dial("127.0.0.1")
	<-s.accepted
	fmt.Fprint(half, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
	s.clock.pass(3 * time.Second)
	s.dial("127.0.0.1").get("/").want(http.StatusOK)
	half.want(0)
}

// One address has its share, and takes nothing from others.
func TestOneAddressHasItsShare(t *testing.T) {
	s := serve(t, Config{Total: 4, PerAddress: 2})
	defer close(s.done)
	for range 2 {
		s.dial("127.0.0.1").get("/slow")
		<-s.slow
	}
	s.dial("127.0.0.1").get("/").want(http.StatusServiceUnavailable)
	s.dial("127.0.0.2").get("/").want(http.StatusOK)
}

// Of a proxy's requests, those for one address count together.
func TestProxyForwardsForMany(t *testing.T) {
	s := serve(t, Config{Total: 10, PerAddress: 1, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}})
	defer close(s.done)
	s.dial("127.0.0.1").get("/slow", "X-Forwarded-For: 203.0.113.9, 198.51.100.1, 10.1.2.3", "")
	<-s.slow
	for from, want := range map[string]int{
		"198.51.100.1":                        http.StatusServiceUnavailable,
		"203.0.113.7, 198.51.100.1":           http.StatusServiceUnavailable, // what the client wrote itself
		"198.51.100.1, 10.9.9.9":              http.StatusServiceUnavailable,
		"[::ffff:198.51.100.1]:80":            http.StatusServiceUnavailable,
		"203.0.113.9":                         http.StatusOK,
		"198.51.100.1, 203.0.113.9":           http.StatusOK,
		"198.51.100.1, no address, 127.0.0.1": http.StatusOK,
		"":                                    http.StatusOK,
	} {
		t.Run(from, func(*testing.T) { s.dial("127.0.0.1").get("/", "X-Forwarded-For: "+from, "").want(want) })
	}
	s.dial("127.0.0.2").get("/", "X-Forwarded-For: 198.51.100.1", "").want(http.StatusOK) // no proxy: its word counts nothing
}

func TestNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:80":         "192.0.2.1/32",
		"[2001:db8::1]:443":    "2001:db8::/64",
		"2001:db8:0:0:9::2":    "2001:db8::/64",
		"::ffff:192.0.2.1":     "192.0.2.1/32",
		"[fe80::1%eth0]:80":    "fe80::/64",
		"":                     "invalid Prefix",
		"192.0.2.1, 192.0.2.2": "invalid Prefix",
	} {
		if got := network(address(text)).String(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Every way to be slow ends within its time.
func TestDeadlines(t *testing.T) {
	for name, test := range map[string]struct {
		send  string
		read  bool
		until time.Duration
	}{
		"nothing comes":                   {"", true, headerTime},
		"the head doesn't end":            {"GET / HTTP/1.1\r\nHost: x\r\n", true, headerTime},
		"the body doesn't come":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", true, readTime},
		"the body that nobody asked for":  {"GET /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", true, readTime},
		"the answer is not read":          {"GET /long HTTP/1.1\r\nHost: x\r\n\r\n", false, writeTime},
		"no other request comes after it": {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, idleTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ours, theirs := net.Pipe()
				one := &pipes{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
				one.conns <- theirs
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/long":
						_, _ = w.Write(make([]byte, 1<<20))
					case "/unread":
						fmt.Fprint(w, "ok")
					default:
						_, _ = io.Copy(io.Discard, r.Body)
					}
				})}
				gone := make(chan struct{})
				srv.ConnState = func(_ net.Conn, s http.ConnState) {
					if s == http.StateClosed {
						close(gone)
					}
				}
				guarded := Guard(srv, one, Config{Total: 9})
				go srv.Serve(guarded) //nolint:errcheck // it ends with the test
				fmt.Fprint(ours, test.send)
				if test.read {
					go io.Copy(io.Discard, ours) //nolint:errcheck // it is cut
				}
				<-gone
				if took := time.Since(began); took > test.until+time.Second {
					t.Errorf("held for %v, want %v", took, test.until)
				}
				_ = srv.Close()
				_ = ours.Close()
			})
		})
	}
}

// pipes is a listener of connections that are there already.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
