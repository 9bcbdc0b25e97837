package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
)

// logLines keeps what a server logs.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), part)
}

// ahead starts the server with a clock that the test can put forward.
func (w *world) ahead() *atomic.Int64 {
	w.t.Helper()
	w.started.Store(true)
	var forward atomic.Int64
	cfg := w.serverConfig()
	cfg.now = func() time.Time { return time.Now().Add(time.Duration(forward.Load())) }
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	srv, err := newServer(ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = srv
	ended := make(chan error, 1)
	go func() { ended <- srv.run(ctx) }()
	w.stopServer = func() error {
		cancel()
		return <-ended
	}
	w.github.SetWebhook("http://"+srv.addr()+"/webhook", w.secret)
	return &forward
}

func (w *world) metric(line string) bool {
	w.t.Helper()
	res, err := http.Get("http://" + w.server.addr() + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Contains(string(body), "\n"+line+"\n")
}

// Trouble that an operator mends pauses the account, says so, drops nothing,
// and ends without a restart.
func TestTroubleWithAkamai(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trouble func(*standin.Akamai)
		mend    func(*standin.Akamai)
		words   string
	}{
		"clock": {
			func(a *standin.Akamai) { a.SetClockSkew(time.Hour) },
			func(a *standin.Akamai) { a.SetClockSkew(0) },
			"0 of 2 purged, waiting: this server's clock differs from Akamai's",
		},
		"grant": {
			func(a *standin.Akamai) { a.SetGranted(false) },
			func(a *standin.Akamai) { a.SetGranted(true) },
			"0 of 2 purged, waiting: our Akamai API client may not purge",
		},
		"everything refused alike": {
			func(a *standin.Akamai) {
				a.Fault(func(*http.Request, []byte) standin.AkamaiFault {
					return standin.AkamaiFault{Status: http.StatusBadRequest, Body: "<html>Bad Request</html>"}
				})
			},
			func(a *standin.Akamai) { a.Fault(nil) },
			"0 of 2 purged, waiting: Akamai refuses everything alike",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log logLines
			w, first := newWorld(t, func(c *stageConfig) { c.log = slog.New(slog.NewTextHandler(&log, nil)) })
			w.deploy("production", first, "success")
			forward := w.ahead()
			test.trouble(w.akamai)
			second := w.commit("second", map[string]string{"content/index/home.md": "2"})
			w.deploy("production", second, "success")
			w.await(second, "production", "pending", test.words)
			if !w.metric("purgebot_akamai_paused 1") {
				t.Error("the metric does not say that it is paused")
			}
			requests := w.akamai.Counts().Requests
			forward.Add(int64(16 * time.Second)) // one more probe, in vain
			w.until(func() bool { return w.akamai.Counts().Requests > requests })
			if n := log.count("level=ERROR"); n != 1 {
				t.Errorf("%d error lines within a minute", n)
			}
			w.wantSent()

			test.mend(w.akamai)
			forward.Add(int64(20 * time.Second))
			w.await(second, "production", "success", "2 URLs purged")
			w.wantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
			if !w.metric("purgebot_akamai_paused 0") {
				t.Error("the metric says that it is still paused")
			}
		})
	}
}

// until polls for a condition.
func (w *world) until(ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			w.t.Fatal("it did not happen")
		case <-tick.C:
		}
	}
}

// A host that Akamai keeps refusing does not cost a request for each URL, and
// one object that it refuses without naming it is found by halves.
func TestRefusalsEndToEnd(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	const bad = "https://m.acme.com/bad/one/"
	w.akamai.Fault(func(_ *http.Request, body []byte) standin.AkamaiFault {
		if bytes.Contains(body, []byte(bad)) {
			return standin.AkamaiFault{Status: http.StatusBadRequest, Body: `{"httpStatus":400,"title":"Bad request","supportId":"17PY"}`}
		}
		return standin.AkamaiFault{}
	})
	w.begin()
	files := map[string]string{"content/bad/one.md": "x"}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		files["content/good/"+name+".md"] = name
	}
	second := w.commit("second", files)
	w.deploy("production", second, "success")
	w.await(second, "production", "failure", "15 purged, 1 refused: Bad request")
	if n := len(w.sent()); n != 15 {
		t.Errorf("%d objects reached Akamai", n)
	}
}
