package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// BenchmarkPurge sends a planned purge of URLs of about 80 bytes each, with the server's
// queue and jobs, on SQLite, to the stand-in over real connections:
//
//	go test ./internal/pipeline -run '^$' -bench Purge -benchtime 1x -timeout 20m
//
// fill-% is how full the bodies were. limited/req is the number of 429s for each accepted
// request. twice is the number of objects that were accepted more than once although no
// answer was lost. x-bound is the time as a multiple of what the token bucket allows for
// all that it charged; a request that was accepted and whose answer was lost is charged
// twice. Faults differ from one iteration to the next: use -benchtime 5x for those, and
// read the mean.
func BenchmarkPurge(b *testing.B) {
	off := akamai.Limits{Unlimited: true}
	tenfold := akamai.Limits{
		Requests: akamai.Bucket{Burst: 1000, PerSecond: 500}, URLs: akamai.Bucket{Burst: 100_000 / 10, PerSecond: 2000},
	}
	for _, bench := range []struct {
		name   string
		n      int
		limits akamai.Limits
		faults float64
	}{
		{"12000", 12_000, off, 0},
		{"12000-faults", 12_000, off, 0.05},
		{"100000", 100_000, off, 0},
		{"100000-faults", 100_000, off, 0.05},
		{"12000-limits", 12_000, akamai.Limits{}, 0},
		{"12000-limits-faults", 12_000, akamai.Limits{}, 0.05},
		{"100000-tenfold", 100_000, tenfold, 0},
		{"100000-tenfold-faults", 100_000, tenfold, 0.05},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var sum figures
			for seed := uint64(1); b.Loop(); seed++ {
				b.StopTimer()
				a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond, Limits: bench.limits, FaultRate: bench.faults, Seed: seed})
				s, run := serve(b, a)
				p := planned(b, s, bench.n)
				if bench.limits.URLs.PerSecond > 0 { // what the answers of a real account would have taught the store
					teach(b, s, bench.limits)
				}
				before := a.Counts()
				b.StartTimer()
				start := time.Now()
				opened(b, s, p)
				done := sentWhole(b, s, p.ID)
				sum.took += time.Since(start)
				b.StopTimer()
				run()
				sum.add(b, a, before, done)
				b.StartTimer()
			}
			sum.report(b)
			if !bench.limits.Unlimited {
				rate := max(bench.limits.URLs.PerSecond, 200)
				b.ReportMetric(sum.took.Seconds()/(float64(sum.Objects-10_000*b.N)/rate), "x-bound")
			}
		})
	}
}

// serve runs the queue against a stand-in; what it returns stops it.
func serve(b *testing.B, a *akamai.Server) (*store.Store, func()) {
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
	p := New(Config{Store: s, Akamai: oneAccount{client}})
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

// planned stores a purge of n URLs, which is still in state planning.
func planned(b *testing.B, s *store.Store, n int) ledger.Purge {
	b.Helper()
	p, err := s.Begin(b.Context(), ledger.Purge{RepoID: 1, Environment: "production", Cause: ledger.CauseDeploy, Network: mapping.Production, Lane: ledger.LaneLarge})
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
	if err := s.AddTargets(b.Context(), p, slices.Values(targets), func(g mapping.Target) string { return g.Reason }); err != nil {
		b.Fatal(err)
	}
	return p
}

// opened moves the purge's environment. The repository is gone, so nothing is written at
// GitHub, of which there is none here.
func opened(b *testing.B, s *store.Store, p ledger.Purge) {
	b.Helper()
	_, err := s.SeeRepository(b.Context(), ledger.Repository{ID: 1, Owner: "acme", Name: "site", FirstSeen: time.Now()})
	if err == nil {
		_, err = s.Gone(b.Context(), "there is no GitHub", 1)
	}
	env, envErr := s.EnsureEnvironment(b.Context(), 1, p.Environment)
	if err = errors.Join(err, envErr); err != nil {
		b.Fatal(err)
	}
	if ok, err := s.Commit(b.Context(), store.Move{Env: env, To: ledger.Point{SHA: p.ID}, Purge: &p, Context: "purge/" + p.Environment}); err != nil || !ok {
		b.Fatal(ok, err)
	}
}

// teach lets the store learn an account's limits from an answer, as the first
// answer of a real one would.
func teach(b *testing.B, s *store.Store, l akamai.Limits) {
	b.Helper()
	p, err := s.Begin(b.Context(), ledger.Purge{RepoID: 1, Environment: "other", Network: mapping.Production})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.AddTargets(b.Context(), p, slices.Values([]mapping.Target{{Kind: mapping.URL, Action: mapping.Invalidate, Object: "https://www.example.com/"}}), func(g mapping.Target) string { return g.Reason }); err != nil {
		b.Fatal(err)
	}
	opened(b, s, p)
	sentWhole(b, s, p.ID)
}

// sentWhole waits until a purge is done.
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

// figures are sums over the iterations of a benchmark.
type figures struct {
	took  time.Duration
	twice int
	akamai.Counts
}

// add checks that every object reached Akamai, and counts.
func (f *figures) add(b *testing.B, a *akamai.Server, before akamai.Counts, p ledger.Purge) {
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
	for _, n := range seen {
		if n > 1 {
			f.twice++
		}
	}
	if len(seen) < p.Counts.Total() {
		b.Errorf("%d objects of %d reached Akamai", len(seen), p.Counts.Total())
	}
	c := a.Counts()
	f.Purges += c.Purges - before.Purges
	f.Objects += c.Objects - before.Objects
	f.Bytes += c.Bytes - before.Bytes
	f.Limited += c.Limited - before.Limited
	f.Faults += c.Faults - before.Faults
}

func (f *figures) report(b *testing.B) {
	b.Helper()
	n, purges := float64(b.N), float64(f.Purges)
	b.ReportMetric(f.took.Seconds()/n, "s")
	b.ReportMetric(100*float64(f.Bytes)/purges/purger.MaxBody, "fill-%")
	b.ReportMetric(float64(f.Limited)/purges, "limited/req")
	b.ReportMetric(float64(f.Faults)/n, "faults")
	b.ReportMetric(purges/n, "requests")
	b.ReportMetric(float64(f.twice)/n, "twice")
}

type oneAccount struct{ *purger.Client }

func (o oneAccount) Send(ctx context.Context, _ string, r purger.Request) purger.Answer {
	return o.Client.Send(ctx, r)
}
