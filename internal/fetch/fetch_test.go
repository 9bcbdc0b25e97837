package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andybalholm/brotli"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/purgebot/purgebot/verify"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func fetcher(t *testing.T, cfg Config) *Fetcher {
	t.Helper()
	f := New(cfg)
	t.Cleanup(f.Close)
	return f
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func compressed(t *testing.T, encoding, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if encoding == "br" {
		w = brotli.NewWriterLevel(&b, 2)
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The same page has the same hash, however it is encoded.
func TestBodyIsDecoded(t *testing.T) {
	t.Parallel()
	const body = "<p>9 EUR</p>"
	var mu sync.Mutex
	asked := map[string]http.Header{}
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path] = r.Header.Clone()
		mu.Unlock()
		w.Header().Set("Set-Cookie", "a=b")
		if encoding := strings.Trim(r.URL.Path, "/"); encoding != "identity" {
			w.Header().Set("Content-Encoding", encoding)
			_, _ = w.Write(compressed(t, encoding, body))
			return
		}
		_, _ = io.WriteString(w, body)
	})
	f := fetcher(t, Config{Agent: "purgebot/test"})
	for _, encoding := range []string{"identity", "gzip", "br"} {
		look := f.Get(t.Context(), Request{URL: at + "/" + encoding, Compressed: encoding != "identity", Contains: "9 EUR"})
		end := look.End()
		if end.Fault != "" || end.SHA256 != sum(body) || end.Length != int64(len(body)) || !end.Contains {
			t.Errorf("%s: %+v", encoding, end)
		}
		h := asked["/"+encoding]
		if h.Get("User-Agent") != "purgebot/test" || h.Get("Cookie") != "" || h.Get("Pragma") != "" || (h.Get("Accept-Encoding") == "identity") == (encoding != "identity") {
			t.Errorf("%s: asked with %v", encoding, h)
		}
	}
	if end := f.Get(t.Context(), Request{URL: at + "/zstd"}).End(); !strings.Contains(end.Fault, "zstd") {
		t.Errorf("an encoding that was not asked for: %+v", end)
	}
}

func TestContainsAcrossReads(t *testing.T) {
	t.Parallel()
	for chunk := 1; chunk < 12; chunk++ {
		s := search{want: []byte("abc1234")}
		text := []byte("..abc123abc1234..")
		for len(text) > 0 {
			n := min(chunk, len(text))
			s.look(text[:n])
			text = text[n:]
		}
		if !s.found {
			t.Errorf("not found in chunks of %d", chunk)
		}
		s = search{want: []byte("abc1234")}
		for _, part := range []string{"abc12", "abc", "1", "23"} {
			s.look([]byte(part))
		}
		if s.found {
			t.Error("found what is not there")
		}
	}
}

// endless writes until nobody reads any more. It returns how much it wrote.
func endless(w io.Writer, chunk []byte) (n int64) {
	for {
		m, err := w.Write(chunk)
		n += int64(m)
		if err != nil {
			return n
		}
	}
}

// A hostile server costs a bounded number of bytes, and a bounded amount of memory and
// time.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 1<<20)
	// Four GiB in gzip members of one MiB each, and 16 MiB in brotli.
	gzipBomb := bytes.Repeat(compressed(t, "gzip", string(zeros)), 4096)
	brotliBomb := compressed(t, "br", strings.Repeat(string(zeros), 16))
	silent := []byte{0, 0, 0, 0xff, 0xff} // a stored deflate block without bytes
	tests := map[string]struct {
		handler http.HandlerFunc
		want    func(verify.Answer) bool
	}{
		"an endless body": {
			func(w http.ResponseWriter, _ *http.Request) { endless(w, zeros) },
			func(a verify.Answer) bool { return a.Fault == "" && a.Cut && a.Length == MaxBody },
		},
		"a gzip bomb": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(gzipBomb)
			},
			func(a verify.Answer) bool { return a.Fault == "" && a.Cut && a.Length == MaxBody },
		},
		"a brotli bomb": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "br")
				_, _ = w.Write(brotliBomb)
			},
			func(a verify.Answer) bool { return a.Fault == "" && a.Cut && a.Length == MaxBody },
		},
		"gzip that says nothing for ever": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff})
				endless(w, bytes.Repeat(silent, 10_000))
			},
			func(a verify.Answer) bool { return a.Cut && a.Length == 0 },
		},
		"an endless header": {
			func(w http.ResponseWriter, _ *http.Request) {
				c, _, _ := w.(http.Hijacker).Hijack()
				defer c.Close()
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
				endless(c, bytes.Repeat([]byte("x"), 4096))
			},
			func(a verify.Answer) bool { return strings.Contains(a.Fault, "header") },
		},
		"endless early hints": {
			func(w http.ResponseWriter, _ *http.Request) {
				c, _, _ := w.(http.Hijacker).Hijack()
				defer c.Close()
				endless(c, []byte("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
			},
			func(a verify.Answer) bool { return a.Fault != "" },
		},
		"no gzip, though it says so": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = io.WriteString(w, "<html>")
			},
			func(a verify.Answer) bool { return a.Fault != "" },
		},
		"a body that breaks off": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, "<html>")
			},
			func(a verify.Answer) bool { return strings.Contains(a.Fault, "breaks off") },
		},
		"an exact fit": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxBody)) },
			func(a verify.Answer) bool { return a.Fault == "" && !a.Cut && a.Length == MaxBody },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := serve(t, tt.handler)
			f := fetcher(t, Config{Timeout: time.Minute})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			look := f.Get(t.Context(), Request{URL: at, Compressed: true})
			runtime.ReadMemStats(&after)
			if !tt.want(look.End()) {
				t.Errorf("%+v", look.End())
			}
			if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 200<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

// A server that sends a byte now and then holds nobody for longer than the limit.
func TestSlowDrip(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"body": "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "header": "HTTP/1.1 200 OK\r\nX: "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var began atomic.Bool
			ended := make(chan struct{}, 20)
			at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				c, _, _ := w.(http.Hijacker).Hijack()
				began.Store(true)
				defer func() { ended <- struct{}{} }()
				defer c.Close()
				_, _ = io.WriteString(c, first)
				for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
				}
			})
			for limit := 50 * time.Millisecond; !began.Load(); limit *= 2 { // a busy machine may take longer to connect
				look := fetcher(t, Config{Timeout: limit}).Get(t.Context(), Request{URL: at})
				if got := look.End().Fault; !strings.Contains(got, "in time") {
					t.Errorf("fault %q", got)
				}
			}
			<-ended // the connection was closed
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/a": "/b", "/b": "/end", "/loop": "/loop2", "/loop2": "/loop", "/1": "/2", "/2": "/3", "/3": "/4", "/4": "/5",
			"/out": elsewhere, "/file": "file:///etc/passwd", "/user": "http://u:p@" + r.Host + "/end",
		}[r.URL.Path]
		if to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "end")
	})
	own, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	allow := func(u *url.URL) error {
		if u.Host != own.Host {
			return fmt.Errorf("policy doesn't allow host %s", u.Host)
		}
		return nil
	}
	tests := map[string]struct {
		hops  int
		fault string
	}{
		"/a":    {3, ""},
		"/loop": {3, "leads back"},
		"/1":    {5, "more than 3"},
		"/out":  {2, "policy doesn't allow"},
		"/file": {2, "neither http nor https"},
		"/user": {2, "has a user"},
	}
	f := fetcher(t, Config{})
	for path, want := range tests {
		look := f.Get(t.Context(), Request{URL: at + path, Allow: allow})
		if len(look.Hops) != want.hops || !strings.Contains(look.End().Fault, want.fault) || (want.fault != "") != strings.HasPrefix(look.End().Fault, verify.CutFault) {
			t.Errorf("%s: %+v", path, look.Hops)
		}
	}
	// With Via, no redirect to another host is followed.
	look := f.Get(t.Context(), Request{URL: "http://www.acme.example/out", Via: own.Host})
	if len(look.Hops) != 1 || look.End().Location != elsewhere || look.End().Fault != "" {
		t.Errorf("%+v", look.Hops)
	}
	if reached.Load() != 0 {
		t.Error("a redirect led to where nothing allowed it")
	}
}

// Via connects to another server, but keeps the host that is asked for.
func TestVia(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	t.Cleanup(s.Close)
	f := fetcher(t, Config{})
	host := s.Listener.Addr().String()
	f.route(host).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	if end := f.Get(t.Context(), Request{URL: "https://example.com/a", Via: host}).End(); end.SHA256 != sum("example.com") || end.From != host {
		t.Errorf("%+v", end)
	}
	if end := f.Get(t.Context(), Request{URL: "https://www.acme.com/a", Via: host}).End(); !strings.Contains(end.Fault, "certificate") {
		t.Errorf("another host's certificate was taken: %+v", end)
	}
	for via, want := range map[string]string{"10.0.0.1": "10.0.0.1:443", "origin.acme.com": "origin.acme.com:443", "o:81": "o:81", "::1": "[::1]:443", "[::1]": "[::1]:443", "[::1]:8": "[::1]:8"} {
		if got := viaAddress(via, "www.acme.com:443"); got != want {
			t.Errorf("%s: %s", via, got)
		}
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	judge := Public([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")})
	for addr, allowed := range map[string]bool{
		"23.55.100.1": true, "2a02:26f0::1": true, "10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00:1::2": true, "8.8.8.8": true,
		"64:ff9b::808:808": true,
		"10.2.0.1":         false, "127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "127.8.8.8": false,
		"169.254.169.254": false, "::ffff:a9fe:a9fe": false, "64:ff9b::a9fe:a9fe": false, "2002:a9fe:a9fe::1": false, "fe80::1%eth0": false, "fd00:ec2::254": false,
		"172.16.0.1": false, "192.168.1.1": false, "100.100.100.200": false, "168.63.129.16": false, "0.0.0.0": false, "::": false, "0.1.2.3": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "192.0.0.192": false, "::7f00:1": false, "2001::1": false, "fec0::1": false,
	} {
		if err := judge(netip.MustParseAddr(addr)); (err == nil) != allowed {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// A name may resolve to a public address when it is checked, and to a private one when it
// is connected to. That must lead nowhere: the address that is connected to counts.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var reached, asked atomic.Int64
	at := serve(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	resolver := rebinding(t, func() [4]byte {
		if asked.Add(1) == 1 {
			return [4]byte{192, 0, 2, 7}
		}
		return [4]byte{127, 0, 0, 1}
	})
	seen := []string{}
	judge := func(a netip.Addr) error {
		seen = append(seen, a.String())
		if a.String() == "192.0.2.7" {
			return fmt.Errorf("stands for a public address that does not answer")
		}
		return Public(nil)(a)
	}
	f := fetcher(t, Config{Address: judge, Resolver: resolver})
	for range 3 {
		f.Get(t.Context(), Request{URL: "http://evil.example:" + u.Port() + "/"})
	}
	if end := f.Get(t.Context(), Request{URL: "http://evil.example:" + u.Port() + "/"}).End(); !strings.Contains(end.Fault, "this machine") {
		t.Errorf("%+v", end)
	}
	if reached.Load() != 0 || len(seen) < 4 {
		t.Errorf("reached %d times; judged %v", reached.Load(), seen)
	}
	for _, spelled := range []string{"127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "localhost", "127.0.0.1.", "0"} {
		f.Get(t.Context(), Request{URL: "http://" + spelled + ":" + u.Port() + "/"})
		New(Config{Address: Public(nil)}).Get(t.Context(), Request{URL: "http://" + spelled + ":" + u.Port() + "/"})
	}
	if reached.Load() != 0 {
		t.Error("a spelling of loopback was reached")
	}
	if end := fetcher(t, Config{Address: Public([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})}).Get(t.Context(), Request{URL: at}).End(); end.Fault != "" {
		t.Errorf("a network that is allowed: %+v", end)
	}
}

// A POST is judged like a GET: by the address that is connected to. It follows no
// redirect, and reads no more of an answer than it has to.
func TestPost(t *testing.T) {
	t.Parallel()
	var reached, asked, read atomic.Int64
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "body" || r.Method != http.MethodPost || r.Header.Get("X-A") != "b" || r.UserAgent() != "purgebot/test" {
			t.Errorf("%s %q %v %v", r.Method, body, r.Header, err)
		}
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusPermanentRedirect)
		case "/later":
			w.Header().Set("Retry-After", "9999999999999")
		case "/endless":
			for chunk := bytes.Repeat([]byte("x"), 1<<10); ; {
				n, err := w.Write(chunk)
				read.Add(int64(n))
				if err != nil {
					return
				}
			}
		}
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	header, body := http.Header{"X-A": {"b"}}, []byte("body")
	resolver := rebinding(t, func() [4]byte { asked.Add(1); return [4]byte{127, 0, 0, 1} })
	outside := fetcher(t, Config{Address: Public(nil), Resolver: resolver, Agent: "purgebot/test"})
	for _, address := range []string{"http://evil.example:" + u.Port(), at, "http://localhost:" + u.Port(), "http://0x7f.1:" + u.Port()} {
		if _, err := outside.Post(t.Context(), address, header, body); err == nil {
			t.Errorf("posted to %s", address)
		}
	}
	if reached.Load() != 0 || asked.Load() == 0 {
		t.Errorf("reached %d times, asked for a name %d times", reached.Load(), asked.Load())
	}
	inside := fetcher(t, Config{Address: Public([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}), Agent: "purgebot/test", Timeout: time.Minute})
	for path, want := range map[string]int{"/": http.StatusOK, "/moved": http.StatusPermanentRedirect, "/endless": http.StatusOK, "/later": http.StatusOK} {
		before := reached.Load()
		got, err := inside.Post(t.Context(), at+path, header, body)
		if path == "/later" && got.After != time.Hour {
			t.Errorf("to wait %v", got.After)
		}
		if err != nil || got.Status != want || reached.Load() != before+1 {
			t.Errorf("%s: %+v, %v, %d requests", path, got, err, reached.Load()-before)
		}
	}
	if n := read.Load(); n > 16<<20 {
		t.Errorf("%d bytes of an answer were taken", n)
	}
}

// rebinding returns a resolver whose server gives a new address for every name.
func rebinding(t *testing.T, next func() [4]byte) *net.Resolver {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for buf := make([]byte, 1500); ; {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response = true
			m.Additionals = nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: next()},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, peer)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// Requests to one host are paced, and few run at once. Another host does not wait.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lanes{pace: time.Second, width: 2, all: map[string]*lane{}}
		began := time.Now()
		var busy, most atomic.Int64
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				leave, err := l.enter(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), busy.Add(1)))
				<-time.After(5 * time.Second)
				busy.Add(-1)
				leave()
			})
		}
		synctest.Wait()
		leave, err := l.enter(t.Context(), "b")
		if err != nil || time.Since(began) != 0 {
			t.Errorf("another host waited %v: %v", time.Since(began), err)
		}
		leave()
		wg.Wait()
		if most.Load() > 2 || time.Since(began) < 15*time.Second {
			t.Errorf("%d at once, done after %v", most.Load(), time.Since(began))
		}
		l.burst, began = 3, time.Now()
		for range 5 {
			leave, err := l.enter(t.Context(), "d")
			if err != nil {
				t.Fatal(err)
			}
			leave()
		}
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("five requests with a burst of three took %v", got)
		}
		<-time.After(time.Minute)
		leave, err = l.enter(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		leave()
		if len(l.all) != 0 {
			t.Errorf("%d hosts remembered", len(l.all))
		}
	})
}
