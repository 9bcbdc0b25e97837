package pipeline

import (
	"context"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// BenchmarkPurge sends a planned purge of about 80 bytes an URL with the
// server's queue and jobs, on SQLite, to the stand-in over real connections:
//
//	go test ./internal/pipeline -run '^$' -bench Purge -benchtime 1x -timeout 20m
//
// fill-% is how full the bodies were, limited/req the 429s for each accepted
// request, twice the objects accepted more than once where no answer was
// lost, x-bound the time as a multiple of what the token bucket allows.
func BenchmarkPurge(b *testing.B) {
	off := standin.AkamaiLimits{Unlimited: true}
	tenfold := standin.AkamaiLimits{
		Requests: standin.AkamaiBucket{Burst: 1000, PerSecond: 500}, URLs: standin.AkamaiBucket{Burst: 100_000 / 10, PerSecond: 2000},
	}
	for _, bench := range []struct {
		name   string
		n      int
		limits standin.AkamaiLimits
		faults float64
	}{
		{"12000", 12_000, off, 0},
		{"12000-faults", 12_000, off, 0.05},
		{"100000", 100_000, off, 0},
		{"100000-faults", 100_000, off, 0.05},
		{"12000-limits", 12_000, standin.AkamaiLimits{}, 0},
		{"12000-limits-faults", 12_000, standin.AkamaiLimits{}, 0.05},
		{"100000-tenfold", 100_000, tenfold, 0},
		{"100000-tenfold-faults", 100_000, tenfold, 0.05},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				a := standin.NewAkamai(standin.AkamaiConfig{Latency: 20 * time.Millisecond, Limits: bench.limits, FaultRate: bench.faults, Seed: 1})
				s, run := serve(b, a)
				p := planned(b, s, bench.n)
				if bench.limits.URLs.PerSecond > 0 { // what an account's answers would have taught
					teach(b, s, bench.limits)
				}
				b.StartTimer()
				start := time.Now()
				if err := s.OpenPurge(b.Context(), p.ID, false); err != nil {
					b.Fatal(err)
				}
				done := sentWhole(b, s, p.ID)
				took := time.Since(start)
				b.StopTimer()
				run()
				measure(b, a, done, took)
				if !bench.limits.Unlimited {
					rate := max(bench.limits.URLs.PerSecond, 200)
					b.ReportMetric(took.Seconds()/(float64(bench.n-10_000)/rate), "x-bound")
				}
				b.StartTimer()
			}
		})
	}
}

// serve runs the queue against a stand-in; what it returns stops it.
func serve(b *testing.B, a *standin.Akamai) (*store.Store, func()) {
	b.Helper()
	server := httptest.NewServer(a)
	c := a.Credentials()
	client, err := purger.New(purger.Config{BaseURL: server.URL, Credentials: purger.NewCredentials(edgegrid.Config{
		Host: "akab-standin.luna.akamaiapis.net", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret, AccessToken: c.AccessToken, MaxBody: edgegrid.MaxBodySize,
	})})
	if err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + filepath.Join(b.TempDir(), "purgebot.db")})
	if err != nil {
		b.Fatal(err)
	}
	p := New(Config{Store: s, Akamai: client})
	runner, err := p.Runner()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	if err := runner.Start(ctx); err != nil {
		b.Fatal(err)
	}
	swept := make(chan struct{})
	go func() { p.Sweep(ctx); close(swept) }()
	return s, func() {
		if err := runner.Stop(ctx); err != nil {
			b.Error(err)
		}
		cancel()
		<-swept
		s.Close()
		server.Close()
	}
}

func planned(b *testing.B, s *store.Store, n int) ledger.Purge {
	b.Helper()
	p, err := s.Begin(b.Context(), ledger.Purge{RepoID: 1, Environment: "production", Network: mapping.Production, Lane: ledger.LaneLarge})
	if err != nil {
		b.Fatal(err)
	}
	targets := make([]mapping.Target, n)
	for i := range targets {
		targets[i] = mapping.Target{
			Kind: mapping.URL, Action: mapping.Invalidate, Rule: "pages", Path: "content/page.md",
			Object: fmt.Sprintf("https://www.example.com/section-%02d/a-page-whose-url-has-eighty-bytes-%08d/", i%50, i),
		}
	}
	if err := s.AddTargets(b.Context(), p, targets); err != nil {
		b.Fatal(err)
	}
	return p
}

// teach lets the store learn an account's limits from an answer, as the first
// answer of a real one would.
func teach(b *testing.B, s *store.Store, l standin.AkamaiLimits) {
	b.Helper()
	p, err := s.Begin(b.Context(), ledger.Purge{RepoID: 1, Environment: "other", Network: mapping.Production})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.AddTargets(b.Context(), p, []mapping.Target{{Kind: mapping.URL, Action: mapping.Invalidate, Object: "https://www.example.com/"}}); err != nil {
		b.Fatal(err)
	}
	if err := s.OpenPurge(b.Context(), p.ID, false); err != nil {
		b.Fatal(err)
	}
	sentWhole(b, s, p.ID)
}

func sentWhole(b *testing.B, s *store.Store, id string) ledger.Purge {
	b.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		p, err := s.Purge(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if p.State == ledger.Done {
			return p
		}
	}
	return ledger.Purge{}
}

func measure(b *testing.B, a *standin.Akamai, p ledger.Purge, took time.Duration) {
	b.Helper()
	if p.Counts.Accepted != p.Counts.Total() {
		b.Errorf("%d of %d accepted: %s", p.Counts.Accepted, p.Counts.Total(), p.Reason)
	}
	lost := map[string]bool{} // purges whose answer was lost
	for _, r := range a.Requests() {
		if r.Fault && r.PurgeID != "" {
			lost[r.PurgeID] = true
		}
	}
	seen := map[string]int{}
	for _, accepted := range a.Accepted() {
		for _, object := range accepted.Objects {
			if !lost[accepted.PurgeID] {
				seen[object]++
			}
		}
	}
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if len(seen) < p.Counts.Total() {
		b.Errorf("%d objects of %d reached Akamai", len(seen), p.Counts.Total())
	}
	c := a.Counts()
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(100*float64(c.Bytes)/float64(c.Purges)/purger.MaxBody, "fill-%")
	b.ReportMetric(float64(c.Limited)/float64(c.Purges), "limited/req")
	b.ReportMetric(float64(c.Purges), "requests")
	b.ReportMetric(float64(twice), "twice")
}
