package store_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/servertest/peak"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// BenchmarkMillion claims and settles requests while a million targets wait: first in 10
// purges of 100,000 each, then with one purge of a comment at a time as well.
//
//	go test ./internal/store -run '^$' -bench Million -benchtime 200x -timeout 30m
//
// One operation is a claim and a settling of a full request. heap-MiB is the most that
// the heap held meanwhile, and rss-MiB is the process's peak.
func BenchmarkMillion(b *testing.B) {
	for _, waiting := range []int{10_000, 1_000_000} {
		b.Run(strconv.Itoa(waiting), func(b *testing.B) {
			c := newClock()
			s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + b.TempDir() + "/purgebot.db", Now: c.Now})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			fill(b, s, waiting)
			debug.FreeOSMemory()
			var heap uint64
			var slowest time.Duration
			for b.Loop() {
				c.Advance(10 * time.Second)
				start := time.Now()
				r, wait, err := s.Claim(b.Context(), "", purger.URL)
				if err != nil {
					b.Fatal(err)
				}
				slowest = max(slowest, time.Since(start))
				if r == nil {
					if waiting < 1_000_000 && wait == 0 { // all were sent: fill it once more
						b.StopTimer()
						fill(b, s, waiting)
						b.StartTimer()
						continue
					}
					b.Fatalf("nothing to claim, wait %v", wait)
				}
				if _, ok, err := s.Settle(b.Context(), r, accepted); err != nil || !ok {
					b.Fatal(ok, err)
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				heap = max(heap, m.HeapInuse)
			}
			b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
			b.ReportMetric(peak.MiB(), "rss-MiB")
			b.ReportMetric(float64(slowest.Milliseconds()), "slowest-claim-ms")
		})
	}
}

// fill makes n targets of about 80 bytes wait, in 10 purges.
func fill(tb testing.TB, s *store.Store, n int) {
	tb.Helper()
	for i := range 10 {
		p, err := s.Begin(tb.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Network: mapping.Production, Lane: ledger.LaneLarge})
		if err != nil {
			tb.Fatal(err)
		}
		targets := make([]mapping.Target, n/10)
		for k := range targets {
			targets[k] = mapping.Target{
				Kind: mapping.URL, Action: mapping.Invalidate, Rule: "pages", Path: fmt.Sprintf("content/%d.md", k),
				Object: fmt.Sprintf("https://www.example.com/section-%02d/a-page-of-about-eighty-bytes-%012d/", i, k),
			}
		}
		if err := s.AddTargets(tb.Context(), p, slices.Values(targets), asGiven); err != nil {
			tb.Fatal(err)
		}
		if err := s.OpenPurge(tb.Context(), p.ID, false); err != nil {
			tb.Fatal(err)
		}
	}
}
