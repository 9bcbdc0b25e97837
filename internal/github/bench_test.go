package github_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/mapping"
)

// meter counts requests and round trips. A round trip is a request that had to wait for
// an earlier answer: a request's depth is one more than the deepest request answered
// before it was sent.
type meter struct {
	next http.RoundTripper

	mu           sync.Mutex
	calls, trips int
}

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/access_tokens") {
		return m.next.RoundTrip(r) // once an hour
	}
	m.mu.Lock()
	m.calls++
	depth := m.trips + 1
	m.mu.Unlock()
	resp, err := m.next.RoundTrip(r)
	m.mu.Lock()
	m.trips = max(m.trips, depth)
	m.mu.Unlock()
	return resp, err
}

// take returns the counts since the last take.
func (m *meter) take() (calls, trips int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls, trips = m.calls, m.trips
	m.calls, m.trips = 0, 0
	return calls, trips
}

func TestMain(m *testing.M) {
	flag.String("repo", "", "a clone whose history BenchmarkChanges plays as well")
	m.Run()
}

// BenchmarkChanges counts the cost of finding the difference, deploy by deploy, over the
// history of two repositories: the one that -repo names, along its first parents, and a
// made-up site.
func BenchmarkChanges(b *testing.B) {
	histories := map[string]history{"site": siteHistory(b, 3000, 120)}
	if dir := flag.Lookup("repo").Value.String(); dir != "" {
		commits := strings.Fields(git(b, dir, nil, "rev-list", "--first-parent", "--max-count=200", "HEAD"))
		slices.Reverse(commits)
		histories["repo"] = history{dir: dir, commits: commits}
	}
	for _, name := range slices.Sorted(maps.Keys(histories)) {
		h := histories[name]
		files := strings.Count(git(b, h.dir, nil, "ls-tree", "-r", "-z", h.commits[len(h.commits)-1]), "\x00")
		for _, deploys := range []struct {
			name  string
			steps []string
		}{
			{"every commit", h.commits},
			{"every fifth", everyNth(h.commits, 5)},
			{"every third rolled back", rolledBack(h.commits)},
		} {
			for _, truncated := range []bool{false, true} {
				limits := ghstandin.Limits{}
				listing := "listed whole"
				if truncated {
					limits.TreeEntries, listing = files/2, "truncated"
				}
				b.Run(fmt.Sprintf("%s of %d files/%s/%s", name, files, listing, deploys.name), func(b *testing.B) {
					measureChanges(b, h, limits, deploys.steps)
				})
			}
		}
	}
}

func everyNth(commits []string, n int) []string {
	var some []string
	for i := 0; i < len(commits); i += n {
		some = append(some, commits[i])
	}
	return some
}

// rolledBack goes two commits forward and one back, again and again.
func rolledBack(commits []string) []string {
	var steps []string
	for i := 2; i < len(commits); i += 2 {
		steps = append(steps, commits[i-1], commits[i], commits[i-1])
	}
	return steps
}

func measureChanges(b *testing.B, h history, limits ghstandin.Limits, steps []string) {
	b.Helper()
	_, cfg := serveHTTP(b, ghstandin.Config{
		Limits: limits, Latency: 2 * time.Millisecond,
		Repositories: []ghstandin.Repository{{Owner: "acme", Name: "site", Dir: h.dir}},
	})
	var allCalls, allTrips []int
	for b.Loop() {
		count := &meter{next: http.DefaultTransport}
		cfg.Transport = count
		app, err := github.New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		repository := app.Repository(1, "acme", "site")
		remembered, err := repository.Tree(b.Context(), steps[0])
		if err != nil {
			b.Fatal(err)
		}
		count.take()
		for i, to := range steps[1:] {
			c, err := repository.Changes(b.Context(), steps[i], to, remembered)
			if err != nil {
				b.Fatal(err)
			}
			if c.Tree != nil {
				remembered = c.Tree
			}
			calls, trips := count.take()
			allCalls, allTrips = append(allCalls, calls), append(allTrips, trips)
		}
	}
	slices.Sort(allCalls)
	slices.Sort(allTrips)
	b.ReportMetric(mean(allCalls), "calls/deploy")
	b.ReportMetric(float64(allCalls[len(allCalls)-1]), "calls-max")
	b.ReportMetric(mean(allTrips), "trips/deploy")
	b.ReportMetric(float64(allTrips[len(allTrips)-1]), "trips-max")
}

func mean(all []int) float64 {
	sum := 0
	for _, n := range all {
		sum += n
	}
	return float64(sum) / float64(len(all))
}

// siteHistory is the history of a content site. Most commits touch a few pages, some move
// a section, and from time to time a commit reformats everything.
func siteHistory(t testing.TB, files, commits int) history {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	tree := make(map[string]content, files)
	paths := make([]string, files)
	for i := range files {
		paths[i] = fmt.Sprintf("content/%s/section-%02d/topic-%02d/page-%04d.md", []string{"en", "de", "ja"}[i%3], i/300, i/30%10, i)
		tree[paths[i]] = content{"100644", fmt.Sprint(i)}
	}
	var w writer
	last := w.commit("main", tree)
	for n := range commits {
		touched := 1 + random.IntN(6)
		if n%40 == 39 {
			touched = files / 3
		}
		start := random.IntN(files)
		for i := range touched {
			tree[paths[(start+i*7)%files]] = content{"100644", fmt.Sprint(n, " ", i)}
		}
		last = w.commit("main", tree, last)
	}
	return w.finish(t)
}

// A deploy of 100,000 changed files stays far below 200 MiB, including the reading of
// both trees at the same time.
func TestMemoryOfALargeChange(t *testing.T) {
	const files = 99_000 // and the folders: GitHub lists 100,000 entries whole
	repository, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		commit := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if strings.Contains(r.URL.Path, "/compare/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"sha": "`, commit, `", "tree": [`)
		for i := range files {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, `{"path":"content/en/docs/section-%03d/page-%06d/index.md","mode":"100644","type":"blob","sha":"%s%06d","size":1234,`+
				`"url":"https://api.github.com/repos/acme/site/git/blobs/%s%06d"}`, i/500, i, commit[:34], i, commit[:34], i)
		}
		fmt.Fprint(w, `], "truncated": false}`)
	})
	peak := watchHeap(t)
	c, err := repository.Changes(t.Context(), anySHA, strings.Repeat("a", 40), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Files) != files || c.Files[0].Op != mapping.Modified {
		t.Fatalf("%d changes", len(c.Files))
	}
	if mib := peak() >> 20; mib > 120 {
		t.Errorf("the heap grew by %d MiB", mib)
	} else {
		t.Logf("the heap grew by %d MiB", mib)
	}
}
