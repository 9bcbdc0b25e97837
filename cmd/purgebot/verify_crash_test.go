package main

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/edge"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// The server is killed at random moments while purges wait for the origin, are sent, are
// looked at and go out once more. The status of every deployed commit becomes final, and
// readers get the last one's page. The real program does this over loopback, which only
// fetch.networks lets it reach.
func TestProofIsKilledAtRandom(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) string{
		"sqlite":   func(*testing.T) string { return "sqlite:./purgebot.db" },
		"postgres": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			random := servertest.Seed(t)
			origin := edge.NewOrigin()
			e := edge.New(edge.Config{Origin: origin})
			front, direct := httptest.NewServer(e), httptest.NewServer(origin)
			t.Cleanup(front.Close)
			t.Cleanup(direct.Close)
			w, _ := newWorld(t, func(c *stage.Config) { c.Akamai.Purged = e.Purged })
			at := front.URL + "/home/"
			publish := func(version int) { // now and then with a date that makes an invalidation do nothing
				date := time.Date(2026, 11, 1+version, 0, 0, 0, 0, time.UTC)
				if random.IntN(3) == 0 {
					date = date.AddDate(-1, 0, 0)
				}
				origin.Deploy(map[string]edge.Page{"/home/": {Body: fmt.Sprint("version ", version), Modified: date}})
			}
			publish(0)
			first := w.Commit("verify", map[string]string{"purge-rules.yaml": fmt.Sprintf(`version: 1
environments:
  production:
    network: production
    hosts: [www.acme.com]
    verify: {origin: %q, wait: 20s}
rules:
  - match: content/**
    urls: [%q]
`, direct.Listener.Addr(), at)})
			w.Deploy("production", first, "success")
			config := w.filesWith(database(t))
			edit(t, config, `hosts: ["*.acme.com"]`, `hosts: ["127.0.0.1"]`, "policy:\n", "fetch: {networks: [127.0.0.0/8]}\npolicy:\n")
			reader := fetch.New(fetch.Config{})
			t.Cleanup(reader.Close)
			var commits []string
			p := w.spawn(config)
			for version := 1; version <= 4; version++ {
				reader.Get(t.Context(), fetch.Request{URL: at, Compressed: true})
				sha := w.Home(fmt.Sprint(version))
				commits = append(commits, sha)
				w.Deploy("production", sha, "success")
				published := time.NewTimer(time.Duration(random.IntN(1500)) * time.Millisecond)
				killed := time.NewTimer(time.Duration(random.IntN(5000)) * time.Millisecond)
				for range 2 {
					select {
					case <-published.C:
						publish(version)
					case <-killed.C:
						p.kill()
					}
				}
				p = w.spawn(config)
			}
			// Without a look from before the page was published, nothing shows that it is
			// the deployed one. Then it is not called fresh.
			w.Await(commits[3], "production", "success", "1 purged, 1 c")
			end := reader.Get(t.Context(), fetch.Request{URL: at, Compressed: true, Contains: "version 4"}).End()
			if !end.Contains {
				t.Errorf("readers get %+v", end)
			}
			for _, sha := range commits[:3] {
				w.Await(sha, "production", "success", "")
			}
		})
	}
}
