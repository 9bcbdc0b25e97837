package pipeline

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

// BenchmarkProofMemory chooses 20 of a purge's URLs, and looks at them before and after,
// at the edge and at the origin, over real HTTP with pages of 200 KB. grows-MiB is how
// much the process's peak memory grew by that:
//
//	go test ./internal/pipeline -run '^$' -bench ProofMemory/1000$ -benchtime 1x
//	go test ./internal/pipeline -run '^$' -bench ProofMemory/100000$ -benchtime 1x
func BenchmarkProofMemory(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + filepath.Join(b.TempDir(), "purgebot.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			purge := planned(b, s, n)
			body := strings.Repeat("a page ", 30_000)
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path, body) }))
			defer site.Close()
			pages := fetch.New(fetch.Config{Transport: func(string) http.RoundTripper { return plainly{site.Listener.Addr().String()} }})
			defer pages.Close()
			e := policy.NewEntry()
			e.Repositories, e.Hosts = []string{"acme/site"}, []string{"www.example.com"}
			for b.Loop() {
				runtime.GC()
				debug.FreeOSMemory()
				if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil {
					b.Skip(err)
				}
				before := status(b, "VmRSS")
				l := &proving{
					Pipeline: New(Config{Store: s, Pages: pages, FetchOrigins: []string{"origin.example.com"}}), purge: purge, now: time.Now(),
					grant: policy.Policy{e}.For("acme/site"),
					proof: store.Proof{
						PurgeID: purge.ID, RepoID: 1, State: ledger.ProofPurged, Confirmed: true,
						Asks: ledger.Asks{Rules: []string{"pages"}, Verify: &mapping.Verify{Origin: "origin.example.com", Sample: 20}},
					},
				}
				if err := l.choose(b.Context()); err != nil {
					b.Fatal(err)
				}
				l.lookBefore(b.Context())
				if err := l.look(b.Context(), func(ledger.Page) bool { return true }); err != nil {
					b.Fatal(err)
				}
				for _, page := range l.proof.Pages {
					if len(l.proof.Pages) != 20 || page.Verdict != verify.Fresh {
						b.Fatalf("%d pages, one %s: %s", len(l.proof.Pages), page.Verdict, page.Cause)
					}
				}
				b.ReportMetric(status(b, "VmHWM")-before, "grows-MiB")
			}
		})
	}
}

// plainly reaches whatever is asked for at one address, without TLS.
type plainly struct{ address string }

func (p plainly) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.address)
	}}
	return tr.RoundTrip(r)
}

// status is a figure of this process's, in MiB.
func status(b *testing.B, name string) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatalf("no %s", name)
	return 0
}
