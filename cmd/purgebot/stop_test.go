package main

import (
	"context"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
)

// holdAkamai keeps the answers of Akamai back until release is called; each
// request is told of by arrived. What is released was accepted.
func (w *world) holdAkamai() (arrived chan struct{}, release func()) {
	arrived, held := make(chan struct{}, 100), make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(held) }) }
	w.t.Cleanup(release)
	w.akamai.Fault(func(r *http.Request, _ []byte) standin.AkamaiFault {
		arrived <- struct{}{}
		select {
		case <-held:
		case <-r.Context().Done():
		}
		return standin.AkamaiFault{}
	})
	return arrived, release
}

// onItsWay is a process with a purge of commit second on its way to Akamai,
// which keeps its answer back until release is called.
func (w *world) onItsWay(first string) (p *process, config, second string, release func()) {
	w.t.Helper()
	w.deploy("production", first, "success")
	config = w.files()
	p = w.spawn(config)
	arrived, release := w.holdAkamai()
	second = w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	<-arrived
	return p, config, second, release
}

// drains waits until a process takes no webhook any more.
func (w *world) drains(p *process) {
	w.t.Helper()
	w.eventually("no webhook is taken", func() bool {
		code, _ := p.get("/healthz")
		return code == 0
	})
}

// SIGTERM: no webhook is taken any more, the request that is on its way to
// Akamai is waited for and written down, and the process ends well.
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
	if state := p.ended(waitTime); state.ExitCode() != 0 {
		t.Errorf("%v\n%s", state, &p.said)
	}
	w.akamai.Fault(nil)
	w.spawn(config)
	w.await(second, "production", "success", "2 URLs purged")
	w.atRest(beside(t, "sqlite:"+w.cfg.dir+"/purgebot.db"))
	w.wantSent(urls("production", "/index/home/")...) // once
}

// Whoever can't wait sends the signal again. What was on its way is sent once
// more by the next process.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	w, first := newWorld(t, nil)
	p, config, second, _ := w.onItsWay(first)
	p.signal(syscall.SIGTERM)
	w.drains(p)
	began := time.Now()
	w.eventually("it has ended", func() bool { // one that comes with the first is one with it
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // or it has ended
		select {
		case <-p.exited:
			return true
		default:
			return false
		}
	})
	state := p.ended(waitTime)
	if status, ok := state.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("%v", state)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	w.akamai.Fault(nil)
	w.spawn(config)
	w.await(second, "production", "success", "2 URLs purged")
	w.atRest(beside(t, "sqlite:"+w.cfg.dir+"/purgebot.db"))
}

// An Akamai that does not answer holds the end up until the deadline, no
// longer; nothing is lost.
func TestDrainHasADeadline(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	cfg := w.serverConfig()
	cfg.drain = 500 * time.Millisecond
	w.started.Store(true)
	s, err := newServer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.github.SetWebhook("http://"+s.addr()+"/webhook", w.secret)
	running, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(running) }()
	arrived, _ := w.holdAkamai()
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	<-arrived
	began := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("cut off, it ends with %v", err)
	}
	if took := time.Since(began); took < cfg.drain || took > 5*time.Second {
		t.Errorf("it ended after %v, with %v to drain", took, cfg.drain)
	}
	w.akamai.Fault(nil)
	w.begin()
	w.await(second, "production", "success", "2 URLs purged")
	w.settled()
}

// A database that hangs does not hold the end up beyond the deadlines.
func TestTermWhileTheDatabaseHangs(t *testing.T) {
	_, p, proxy, _ := newProxiedWorld(t)
	proxy.set(hang)
	p.awaitReady(http.StatusServiceUnavailable, "does not answer in time")
	p.signal(syscall.SIGTERM)
	p.ended(drainTime + cutTime + 5*time.Second)
}
