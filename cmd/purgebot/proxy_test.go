package main

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/store/storetest"
)

// way is what a proxy does with the data that it forwards.
type way int

const (
	pass   way = iota
	refuse     // cut every connection, and each new one at once
	hang       // keep connections and forward nothing, as a firewall that forgot them
	crawl      // forward everything, each piece late
)

const crawlTime = 40 * time.Millisecond

// proxy is between a server and its PostgreSQL, and makes trouble on demand.
type proxy struct {
	to       string
	listener net.Listener
	mu       sync.Mutex
	way      way
	changed  chan struct{} // closed when the way changes
	conns    map[net.Conn]bool
	served   sync.WaitGroup
}

// newProxy makes a proxy in front of a database. address is the database's address
// through the proxy.
func newProxy(t *testing.T, database string) (p *proxy, address string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{to: u.Host, listener: l, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.served.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.set(refuse)
		p.served.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

// set changes the way of all connections.
func (p *proxy) set(to way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.way = to
	close(p.changed)
	p.changed = make(chan struct{})
	if to == refuse {
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *proxy) now() (way, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.way, p.changed
}

// keep remembers a connection, so that it can be cut; false: it is cut already.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.way == refuse {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) serve() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.keep(from) {
			continue
		}
		p.served.Go(func() {
			defer from.Close()
			to, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.to)
			if err != nil || !p.keep(to) {
				return
			}
			defer to.Close()
			var both sync.WaitGroup
			both.Go(func() { p.copy(to, from) })
			both.Go(func() { p.copy(from, to) })
			both.Wait()
		})
	}
}

// copy forwards one direction until either end closes.
func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !p.delay() {
			return
		}
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

// delay waits as long as the way demands; false: the connection is cut.
func (p *proxy) delay() bool {
	for {
		switch way, changed := p.now(); way {
		case pass:
			return true
		case refuse:
			return false
		case hang:
			<-changed
		case crawl:
			select {
			case <-changed:
			case <-time.After(crawlTime):
				return true
			}
		}
	}
}

// newProxiedWorld is a world with a server that reaches its PostgreSQL through
// a proxy.
func newProxiedWorld(t *testing.T) (w *world, server *process, p *proxy, database string) {
	t.Helper()
	database = storetest.Postgres(t)
	w, first := newWorld(t, nil)
	p, address := newProxy(t, database)
	w.Deploy("production", first, "success")
	return w, w.spawn(w.filesWith(address)), p, database
}
