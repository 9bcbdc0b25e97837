package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// holdAkamai keeps Akamai's answers back until release is called. arrived receives a
// value for each request. A released request was accepted.
func (w *world) holdAkamai() (arrived chan struct{}, release func()) {
	arrived, held := make(chan struct{}, 100), make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(held) }) }
	w.T.Cleanup(release)
	w.Akamai.Fault(func(r *http.Request, _ []byte) akamai.Fault {
		arrived <- struct{}{}
		select {
		case <-held:
		case <-r.Context().Done():
		}
		return akamai.Fault{}
	})
	return arrived, release
}

// onItsWay is a process whose purge of the commit second is on its way to Akamai. Akamai
// keeps its answer back until release is called.
func (w *world) onItsWay(first string) (p *process, config, second string, release func()) {
	w.T.Helper()
	w.Deploy("production", first, "success")
	config = w.files()
	p = w.spawn(config)
	arrived, release := w.holdAkamai()
	second = w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	<-arrived
	return p, config, second, release
}

// drains waits until a process accepts no webhooks.
func (w *world) drains(p *process) {
	w.T.Helper()
	w.Eventually("no webhook is taken", func() bool {
		code, _ := p.get("/healthz")
		return code == 0
	})
}

// After SIGTERM no webhook is accepted. The process waits for the request that is on its
// way to Akamai, writes the answer down, and exits with 0.
func TestTermDrains(t *testing.T) {
	w, first := newWorld(t, nil)
	p, config, second, release := w.onItsWay(first)
	p.signal(syscall.SIGTERM)
	w.drains(p)
	select {
	case <-p.exited:
		t.Fatalf("it did not wait for Akamai's answer:\n%s", &p.said)
	default:
	}
	release()
	if state := p.ended(servertest.Patience); state.ExitCode() != 0 {
		t.Errorf("%v\n%s", state, &p.said)
	}
	w.Akamai.Fault(nil)
	w.spawn(config)
	w.Await(second, "production", "success", "2 URLs purged")
	w.atRest(beside(t, "sqlite:"+w.Config.Dir+"/purgebot.db"))
	w.WantSent(servertest.URLs("production", "/index/home/")...) // once
}

// An operator who can't wait sends the signal again. The next process sends once more
// what was on its way.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	w, first := newWorld(t, nil)
	p, config, second, _ := w.onItsWay(first)
	p.signal(syscall.SIGTERM)
	w.drains(p)
	w.Eventually("it has ended", func() bool { // one that comes with the first is one with it
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // or it has ended
		select {
		case <-p.exited:
			return true
		default:
			return false
		}
	})
	state := p.ended(servertest.Patience)
	if status, ok := state.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("%v", state)
	}
	w.Akamai.Fault(nil)
	w.spawn(config)
	w.Await(second, "production", "success", "2 URLs purged")
	w.atRest(beside(t, "sqlite:"+w.Config.Dir+"/purgebot.db"))
}

// An Akamai that never answers does not keep the program from ending, and nothing is
// lost.
func TestDrainHasADeadline(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin(func(cfg *server.Config) { cfg.Drain = 500 * time.Millisecond })
	arrived, _ := w.holdAkamai()
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- w.Stop() }()
	select {
	case err := <-ended: // and Akamai has not answered
		if err != nil {
			t.Errorf("cut off, it ends with %v", err)
		}
	case <-time.After(servertest.Patience):
		t.Fatal("it waits for Akamai as long as Akamai likes")
	}
	w.Akamai.Fault(nil)
	w.Begin()
	w.Await(second, "production", "success", "2 URLs purged")
	w.Settled()
}

// A client that never ends its request does not keep the program from ending either. That
// is no failure of purgebot.
func TestDrainWaitsForNoCaller(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin(func(cfg *server.Config) { cfg.Drain = time.Millisecond })
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.Server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /webhook HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"+
		"X-GitHub-Event: ping\r\nX-GitHub-Delivery: 1\r\nX-Hub-Signature-256: sha256="+strings.Repeat("0", 64)+"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the body is not read: %q, %v", line, err)
	}
	if err := w.Stop(); err != nil {
		t.Errorf("cut off, it ends with %v", err)
	}
}

// A database that hangs does not delay the end beyond the deadlines.
func TestTermWhileTheDatabaseHangs(t *testing.T) {
	_, p, proxy, _ := newProxiedWorld(t)
	proxy.set(hang)
	p.awaitReady(http.StatusServiceUnavailable, "does not answer in time")
	p.signal(syscall.SIGTERM)
	p.ended(server.DrainTime + server.CutTime + 5*time.Second)
}
