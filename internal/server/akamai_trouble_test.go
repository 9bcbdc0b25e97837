package server_test

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

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
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
	w.T.Helper()
	var forward atomic.Int64
	w.Begin(func(cfg *server.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(forward.Load())) }
	})
	return &forward
}

func (w *world) metric(line string) bool {
	w.T.Helper()
	res, err := http.Get("http://" + w.Server.Addr() + "/metrics")
	if err != nil {
		w.T.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.T.Fatal(err)
	}
	return strings.Contains(string(body), "\n"+line+"\n")
}

// Trouble that an operator must fix pauses the account, says so, drops nothing, and ends
// without a restart.
func TestTroubleWithAkamai(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trouble func(*akamai.Server)
		mend    func(*akamai.Server)
		words   string
	}{
		"clock": {
			func(a *akamai.Server) { a.SetClockSkew(time.Hour) },
			func(a *akamai.Server) { a.SetClockSkew(0) },
			"0 of 2 purged, waiting: this server's clock differs from Akamai's",
		},
		"grant": {
			func(a *akamai.Server) { a.SetGranted(false) },
			func(a *akamai.Server) { a.SetGranted(true) },
			"0 of 2 purged, waiting: purgebot's Akamai API client may not purge",
		},
		"everything refused alike": {
			func(a *akamai.Server) {
				a.Fault(func(*http.Request, []byte) akamai.Fault {
					return akamai.Fault{Status: http.StatusBadRequest, Body: "<html>Bad Request</html>"}
				})
			},
			func(a *akamai.Server) { a.Fault(nil) },
			"0 of 2 purged, waiting: Akamai refuses everything",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log logLines
			w, first := newWorld(t, func(c *stage.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			w.Deploy("production", first, "success")
			forward := w.ahead()
			test.trouble(w.Akamai)
			second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
			w.Deploy("production", second, "success")
			w.Await(second, "production", "pending", test.words)
			if !w.metric("purgebot_akamai_paused 1") {
				t.Error("the metric does not say that it is paused")
			}
			requests := w.Akamai.Counts().Requests
			forward.Add(int64(16 * time.Second)) // one more probe, in vain
			w.until(func() bool { return w.Akamai.Counts().Requests > requests })
			if n := log.count("level=ERROR"); n != 1 {
				t.Errorf("%d error lines within a minute", n)
			}
			w.WantSent()

			test.mend(w.Akamai)
			forward.Add(int64(20 * time.Second))
			w.Await(second, "production", "success", "2 URLs purged")
			w.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
			if !w.metric("purgebot_akamai_paused 0") {
				t.Error("the metric says that it is still paused")
			}
		})
	}
}

// until polls for a condition.
func (w *world) until(ok func() bool) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), servertest.Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			w.T.Fatal("it did not happen")
		case <-tick.C:
		}
	}
}

// A host that Akamai keeps refusing does not cost a request for each URL. An object that
// Akamai refuses without naming it is found by halving the request.
func TestRefusalsEndToEnd(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	const bad = "https://m.acme.com/bad/one/"
	w.Akamai.Fault(func(_ *http.Request, body []byte) akamai.Fault {
		if bytes.Contains(body, []byte(bad)) {
			return akamai.Fault{Status: http.StatusBadRequest, Body: `{"httpStatus":400,"title":"Bad request","supportId":"17PY"}`}
		}
		return akamai.Fault{}
	})
	w.Begin()
	files := map[string]string{"content/bad/one.md": "x"}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		files["content/good/"+name+".md"] = name
	}
	second := w.Commit("second", files)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "15 purged, 1 refused: Bad request")
	if n := len(w.Sent()); n != 15 {
		t.Errorf("%d objects reached Akamai", n)
	}
}
