package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/purgebot/purgebot/webhook"
)

// resident is the most memory, in bytes, that the process has had.
func (p *process) resident() int {
	p.w.T.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.w.T.Fatal(err)
	}
	kib := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text) // the most that it ever had
	n, err := strconv.Atoi(string(kib[1]))
	if err != nil {
		p.w.T.Fatal(err)
	}
	return n << 10
}

// A hundred of the largest bodies at once, from senders without the secret, take little
// memory. GitHub's own deliveries still come through.
func TestSecurityBodiesOfStrangersTakeNoMemory(t *testing.T) {
	if runtime.GOOS != "linux" || watched {
		t.Skip("reads /proc, and the race detector takes memory of its own")
	}
	w, _ := newWorld(t, nil)
	p := w.spawn(w.files())
	for name, signature := range map[string]string{
		"no signature":    "",
		"signed at guess": "sha256=" + hex.EncodeToString(make([]byte, sha256.Size)),
	} {
		t.Run(name, func(t *testing.T) {
			before := p.resident()
			var senders sync.WaitGroup
			for range 100 {
				senders.Go(func() { p.pour(signature, webhook.MaxBody-1) })
			}
			if code := p.post(t.Context(), "ping", fmt.Sprintf("d-%d", len(name)), `{"zen":"x"}`); code != http.StatusOK {
				t.Errorf("GitHub's ping meanwhile: %d", code)
			}
			senders.Wait()
			if grown := p.resident() - before; grown > 128<<20 {
				t.Errorf("it took %d MiB", grown>>20)
			} else {
				t.Logf("it took %d MiB", grown>>20)
			}
		})
	}
}

// pour sends a delivery of the given number of bytes as fast as the process takes them.
func (p *process) pour(signature string, size int64) {
	conn, err := new(net.Dialer).DialContext(p.w.T.Context(), "tcp", p.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n", signature, size)
	_, _ = io.CopyN(conn, zeros{}, size) // it may well be cut off
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		res.Body.Close()
	}
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Clients that begin a request and never end it don't block the server, however many they
// are. It answers other clients at once, and these at least with a 503.
func TestSecurityConnectionsHeldOpen(t *testing.T) {
	w, _ := newWorld(t, nil)
	p := w.spawnUnder(w.files(), "sh", "-c", `ulimit -n 1024; exec "$@"`, "sh")
	for _, request := range []string{
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
		"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
		"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\n",
	} {
		for range 300 {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, request)
		}
	}
	if code, _ := p.get("/healthz"); code != http.StatusOK && code != http.StatusServiceUnavailable {
		t.Errorf("from the same address: %d", code)
	}
	other := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	defer other.CloseIdleConnections()
	res, err := other.Get("http://" + p.addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("from another address: %s", res.Status)
	}
	w.Eventually("the same address is served again", func() bool {
		return p.post(t.Context(), "ping", "d-1", `{"zen":"x"}`) == http.StatusOK
	})
}

// The first lines that serve logs are what an operator should know.
func TestServeWarnsFirst(t *testing.T) {
	w, _ := newWorld(t, nil)
	p := w.spawn(w.files())
	first, _, _ := strings.Cut(p.said.String(), "\n")
	if !strings.Contains(first, `"level":"WARN"`) || !strings.Contains(first, `repositories: \"acme/*\" takes repositories that do not exist yet`) {
		t.Errorf("the first line is %s", first)
	}
}
