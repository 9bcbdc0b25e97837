package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/edge"
)

// edgeWorld is an edge of two servers, 127.0.0.1 and 127.0.0.2, and an origin, for
// scripts. Its clock moves only when a script says so.
type edgeWorld struct {
	edge   *edge.Edge
	origin *edge.Origin
	port   string
	faults edge.Faults
	clock  atomic.Int64 // seconds
	site   string
}

func (w *edgeWorld) now() time.Time {
	return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC).Add(time.Duration(w.clock.Load()) * time.Second)
}

// edgeCommand is a script command: "edge start [word…]", then "edge read", "edge deploy
// old|new|older [PATH]", "edge fault word…" and "edge purge invalidate|delete PATH…".
// start sets $SITE and $ORIGIN; purge waits for its own estimate.
func edgeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: edge start|read|deploy|fault|purge …")
	}
	if args[0] == "start" {
		startEdge(ts, args[1:])
		return
	}
	w := ts.Value(edgeKey{}).(*atomic.Pointer[edgeWorld]).Load()
	switch args[0] {
	case "read":
		for _, path := range args[1:] {
			for _, server := range []string{"127.0.0.1", "127.0.0.2"} {
				req, err := http.NewRequest(http.MethodGet, "http://"+server+":"+w.port+path, nil)
				ts.Check(err)
				req.Host = strings.TrimPrefix(w.site, "http://")
				resp, err := http.DefaultClient.Do(req) // accepts gzip, as browsers do
				ts.Check(err)
				ts.Check(resp.Body.Close())
			}
		}
	case "deploy":
		modified := w.now()
		if args[1] == "older" {
			modified = modified.Add(-48 * time.Hour)
		}
		page := edge.Page{Body: "<p>" + args[1] + "</p>", Modified: modified, Tags: []string{"news"}, Gone: args[1] == "gone"}
		pages := map[string]edge.Page{"/old-address/": {Redirect: "/prices/"}}
		for _, path := range args[2:] {
			pages[path] = page
		}
		w.origin.Deploy(pages)
		w.clock.Add(60)
	case "fault":
		w.fault(args[1:])
	case "purge":
		p := akamai.Purge{Kind: "url", Network: "production", Action: args[1], Takes: 5 * time.Second}
		for _, path := range args[2:] {
			p.Objects = append(p.Objects, w.site+path)
		}
		w.edge.Purged(p)
		w.clock.Add(6)
	default:
		ts.Fatalf("edge %s: unknown", args[0])
	}
}

func (w *edgeWorld) fault(words []string) {
	w.faults = edge.Faults{NoOrigin: slices.Contains(words, "cut-off"), DeafParent: slices.Contains(words, "deaf-parent")}
	if slices.Contains(words, "deaf-server") {
		w.faults.DeafServers = []int{1}
	}
	if slices.Contains(words, "denied") {
		w.faults.Denying = []int{0, 1}
	}
	w.edge.SetFaults(w.faults)
	sick := 0
	if slices.Contains(words, "sick") {
		sick = 1
	}
	w.origin.Sicken(sick)
}

type edgeKey struct{}

// startEdge serves the two servers on one port, and the origin on another.
func startEdge(ts *testscript.TestScript, words []string) {
	w := &edgeWorld{origin: edge.NewOrigin()}
	var back http.Handler = w.origin
	if slices.Contains(words, "cache-behind") {
		back = edge.CacheBehind(w.origin, true)
	}
	w.edge = edge.New(edge.Config{Origin: back, Servers: 2, PragmaOff: slices.Contains(words, "pragma-off"), Now: w.now})
	origin := httptest.NewServer(w.origin)
	ts.Defer(origin.Close)
	first := httptest.NewServer(w.edge.Server(0))
	ts.Defer(first.Close)
	_, port, err := net.SplitHostPort(first.Listener.Addr().String())
	ts.Check(err)
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	ts.Check(err)
	second := &httptest.Server{Listener: l, Config: &http.Server{Handler: w.edge.Server(1), ReadHeaderTimeout: time.Minute}}
	second.Start()
	ts.Defer(second.Close)
	w.port, w.site = port, "http://www.acme.example:"+port
	ts.Setenv("SITE", w.site)
	ts.Setenv("ORIGIN", origin.Listener.Addr().String())
	ts.Value(edgeKey{}).(*atomic.Pointer[edgeWorld]).Store(w)
}

// A long list is printed in its order, as JSON that parses.
func TestCheckManyInOrder(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	t.Cleanup(server.Close)
	var list, want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&list, "%s/%d\n", server.URL, i)
		fmt.Fprintf(&want, "fresh %s/%d\n", server.URL, i)
	}
	fmt.Fprintf(&list, "%s/0\n", server.URL) // once
	code, out, errs := runCheck(t, list.String(), "--origin", server.Listener.Addr().String(), "--json")
	if got := verdictsOf(t, out); code != exitDone || got != want.String() {
		t.Errorf("exit %d, %s\n%s", code, errs, got)
	}
}

func runCheck(t *testing.T, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"check"}, args...), streams{strings.NewReader(stdin), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

func verdictsOf(t *testing.T, out string) string {
	t.Helper()
	var doc struct {
		Results []struct{ URL, Verdict, Cause string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var b strings.Builder
	for _, r := range doc.Results {
		fmt.Fprintf(&b, "%s %s\n", r.Verdict, r.URL)
	}
	return b.String()
}
