package planner

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/servertest/peak"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// BenchmarkPlanMemory plans a million targets that a file of 3 KiB asks for,
// and writes them to SQLite; rss-MiB is the most memory that the process had,
// so run one at a time:
//
//	go test ./internal/planner -run '^$' -bench PlanMemory/1 -benchtime 1x
//	go test ./internal/planner -run '^$' -bench PlanMemory/2 -benchtime 1x
func BenchmarkPlanMemory(b *testing.B) {
	var rules strings.Builder
	rules.WriteString("version: 1\nenvironments: {production: {hosts: [")
	for i := range 40 {
		fmt.Fprintf(&rules, "h%d.acme.com, ", i)
	}
	rules.WriteString("]}}\nrules:\n- match: content/**\n  urls:\n")
	for i := range 125 {
		fmt.Fprintf(&rules, "  - https://{host}/a-page-in-one-of-many-forms/%03d/{1}\n", i)
	}
	file, faults := mapping.Parse([]byte(rules.String()))
	if faults.HasErrors() {
		b.Fatal(faults)
	}
	var changed []mapping.Change
	for i := range 200 {
		changed = append(changed, mapping.Change{Path: fmt.Sprintf("content/some-page-with-a-usual-name-%d.md", i), Op: mapping.Modified})
	}
	e := policy.NewEntry()
	e.Repositories, e.Hosts = []string{"acme/*"}, []string{"*.acme.com"}
	p := New(Config{Policy: func() policy.Policy { return policy.Policy{e} }})
	for _, plans := range []int{1, 2} {
		b.Run(strconv.Itoa(plans), func(b *testing.B) {
			s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + b.TempDir() + "/purgebot.db"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for b.Loop() {
				var all sync.WaitGroup
				for range plans {
					all.Go(func() { plan(b, p, s, file, changed) })
				}
				all.Wait()
			}
			b.ReportMetric(peak.MiB(), "rss-MiB")
		})
	}
}

// plan maps changed files and writes the targets to the store, as a deployment does.
func plan(b *testing.B, p *Planner, s *store.Store, file *mapping.File, changed []mapping.Change) {
	targets, err := p.Map(b.Context(), ledger.Repository{Owner: "acme", Name: "site"}, file,
		Change{Environment: "production", Files: changed, By: policy.Deployment()})
	if err != nil {
		b.Error(err)
		return
	}
	defer targets.Release()
	purge, err := s.Begin(b.Context(), ledger.Purge{Environment: "production", Network: mapping.Production})
	if err == nil {
		err = s.AddTargets(b.Context(), purge, targets.All(), targets.Verdict())
	}
	if err != nil || targets.Counts.URLs != 1_000_000 {
		b.Errorf("%d URLs, %v", targets.Counts.URLs, err)
	}
}
