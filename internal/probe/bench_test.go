package probe

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/standin/edge"
	"github.com/purgebot/purgebot/verify"
)

// BenchmarkCheck looks at 20 of 1,000 purged pages, each at the edge and at the origin,
// as the server does. It uses real HTTP, and an answer takes 20 ms. x-naive compares its
// time with that of fetching the 20 pages only from the edge, one after the other on each
// of ten connections:
//
//	go test ./internal/probe -run '^$' -bench Check -benchtime 20x
func BenchmarkCheck(b *testing.B) {
	const pages, sample, atOnce = 1000, 20, 10
	origin := edge.NewOrigin()
	site := map[string]edge.Page{}
	for i := range pages {
		site[fmt.Sprintf("/%d/", i)] = edge.Page{Body: strings.Repeat(fmt.Sprint("page ", i), 5000), Modified: time.Unix(1_700_000_000, 0)}
	}
	origin.Deploy(site)
	slowly := func(h http.Handler) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-time.After(20 * time.Millisecond)
			h.ServeHTTP(w, r)
		}))
		b.Cleanup(s.Close)
		return s
	}
	front, direct := slowly(edge.New(edge.Config{Origin: origin})), slowly(origin)
	f := fetch.New(fetch.Config{Pace: 20 * time.Millisecond, Burst: 40})
	b.Cleanup(f.Close)
	each := func(n int, do func(at string)) time.Duration {
		began := time.Now()
		var all sync.WaitGroup
		for worker := range atOnce {
			all.Go(func() {
				for i := worker; i < n; i += atOnce {
					do(fmt.Sprintf("%s/%d/", front.URL, i*pages/n))
				}
			})
		}
		all.Wait()
		return time.Since(began)
	}
	var checked, naive time.Duration
	for b.Loop() {
		naive += each(sample, func(at string) { f.Get(b.Context(), fetch.Request{URL: at, Compressed: true}) })
		<-time.After(time.Second) // the host is left alone
		checked += each(sample, func(at string) {
			_, finding := Ask(b.Context(), f, Question{Known: verify.Evidence{URL: at}, Origin: direct.Listener.Addr().String()})
			if finding.Verdict != verify.Fresh {
				b.Errorf("%s: %s", at, finding.Cause())
			}
		})
		<-time.After(time.Second)
	}
	b.ReportMetric(float64(checked)/float64(naive), "x-naive")
	b.ReportMetric(float64(checked.Milliseconds())/float64(b.N), "ms/check")
}
