package purger_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/purger"
)

// BenchmarkSender sends lists to the stand-in over real connections:
//
//	go test ./purger -run '^$' -bench Sender -benchtime 1x
//
// fill-% is how full the bodies were (all but the last can be), x-bare the
// time as a multiple of ten connections that do nothing but post bodies that
// lie ready, x-bound that of what the token bucket allows, and limited/req the
// 429s for each accepted request.
func BenchmarkSender(b *testing.B) {
	const latency = 20 * time.Millisecond
	off := akamai.Limits{Unlimited: true}
	for _, bench := range []struct {
		name   string
		n      int
		config akamai.Config
	}{
		{"12000", 12_000, akamai.Config{Latency: latency, Limits: off}},
		{"100000", 100_000, akamai.Config{Latency: latency, Limits: off}},
		{"100000-faults", 100_000, akamai.Config{Latency: latency, Limits: off, FaultRate: 0.05, Seed: 1}},
		{"12000-limits", 12_000, akamai.Config{Latency: latency}},
		{"12000-limits-faults", 12_000, akamai.Config{Latency: latency, FaultRate: 0.05, Seed: 1}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			list := urls(bench.n)
			var took, bare time.Duration
			var sum akamai.Counts
			for round := uint64(0); b.Loop(); round++ {
				b.StopTimer()
				config := bench.config
				config.Seed += round
				config.Keep = -1
				a := akamai.New(config)
				sender := purger.Sender{API: served(b, a, credentialsOf(a)), Budget: purger.NewBudget(time.Now())}
				b.StartTimer()
				start := time.Now()
				result, err := sender.Run(b.Context(), invalidateURLs(), slices.Values(list))
				took += time.Since(start)
				b.StopTimer()
				if err != nil || result.Accepted != len(list) {
					b.Fatalf("%d accepted, %v", result.Accepted, err)
				}
				c := a.Counts()
				sum.Requests, sum.Purges, sum.Objects = sum.Requests+c.Requests, sum.Purges+c.Purges, sum.Objects+c.Objects
				sum.Bytes, sum.Limited, sum.Faults = sum.Bytes+c.Bytes, sum.Limited+c.Limited, sum.Faults+c.Faults
				if config.Limits.Unlimited {
					bare += bareConnections(b, list, latency)
				}
				b.StartTimer()
			}
			n := float64(b.N)
			b.ReportMetric(float64(sum.Requests)/n, "requests")
			b.ReportMetric(100*float64(sum.Bytes)/float64(sum.Purges)/purger.MaxBody, "fill-%")
			if bare > 0 {
				b.ReportMetric(float64(took)/float64(bare), "x-bare")
				return
			}
			b.ReportMetric(float64(sum.Limited)/float64(sum.Purges), "limited/req")
			b.ReportMetric(float64(sum.Faults)/n, "faults")
			b.ReportMetric(took.Seconds()/(float64(sum.Objects-10_000*b.N)/200), "x-bound")
		})
	}
}

// bareConnections is the least time that the list could take: ten workers post bodies
// that are prepared and signed, to a stand-in without faults.
func bareConnections(b *testing.B, list []string, latency time.Duration) time.Duration {
	b.Helper()
	a := akamai.New(akamai.Config{Latency: latency, Limits: akamai.Limits{Unlimited: true}, Keep: -1})
	server := httptest.NewServer(a)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	defer client.CloseIdleConnections()
	c := a.Credentials()
	signer := edgegrid.Config{ClientToken: c.ClientToken, ClientSecret: c.ClientSecret, AccessToken: c.AccessToken, MaxBody: edgegrid.MaxBodySize}
	const full = 580 // of these URLs
	bodies := make(chan []byte, len(list))
	for chunk := range slices.Chunk(list, full) {
		body, err := purger.Request{Kind: purger.URL, Objects: chunk}.Body()
		if err != nil {
			b.Fatal(err)
		}
		bodies <- body
	}
	close(bodies)
	start := time.Now()
	var workers sync.WaitGroup
	for range 10 {
		workers.Go(func() {
			for body := range bodies {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL+"/ccu/v3/invalidate/url/production", bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				signer.SignRequest(req)
				res, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusCreated {
					b.Error(fmt.Errorf("status %d", res.StatusCode))
				}
			}
		})
	}
	workers.Wait()
	return time.Since(start)
}
