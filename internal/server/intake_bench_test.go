package server_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "modernc.org/sqlite"

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// The intake benchmarks send signed pushes of 30 KB over real connections to
// the real server on either engine. PostgreSQL is measured where
// PURGEBOT_TEST_POSTGRES names a server, which should have fsync on:
//
//	go test ./cmd/purgebot -run '^$' -bench Intake -benchtime 1x -timeout 60m

const intakeClients = 64

// BenchmarkIntakeRate is how many deliveries a second are accepted from 64 clients. In
// the same run, as many clients make bare inserts of the same bodies, one transaction
// each, for comparison. "taken" is the handler and the store, the job row included;
// "worked" also has the jobs run in the meantime.
func BenchmarkIntakeRate(b *testing.B) {
	const rounds, n = 3, 12_000
	bodies := pushes(2_000)
	engines(b, func(b *testing.B, database func() string) {
		for b.Loop() {
			var bareRate, taken, worked float64
			for range rounds { // in turns: the machine's other work meets all alike
				insert, closeBare := bare(b, database, bodies)
				spread(intakeClients, 1_000, func(i int) { insert(n + i) })
				bareRate += n / spread(intakeClients, n, insert).Seconds()
				closeBare()
				taken += takenRate(b, database, bodies, n, false)
				worked += takenRate(b, database, bodies, n, true)
			}
			b.ReportMetric(bareRate/rounds, "bare/s")
			b.ReportMetric(taken/rounds, "taken/s")
			b.ReportMetric(taken/bareRate, "taken/bare")
			b.ReportMetric(worked/rounds, "worked/s")
			b.ReportMetric(worked/bareRate, "worked/bare")
		}
	})
}

// BenchmarkIntakeLatency is how long an answer takes when 500 deliveries come in a
// second, whether the ones before are answered or not. "bare" is a bare insert at that
// pace, which shows what the disk and other work on the machine do to all. "taken" and
// "worked" are as above. They take turns. The figures are the medians of the rounds' own
// figures, and the worst: where others use the disk too, one round may have met a disk
// that stood still.
func BenchmarkIntakeLatency(b *testing.B) {
	const rounds = 7
	bodies := pushes(2_000)
	engines(b, func(b *testing.B, database func() string) {
		for b.Loop() {
			took := map[string][][]time.Duration{}
			for range rounds {
				insert, closeBare := bare(b, database, bodies)
				took["bare"] = append(took["bare"], openLoop(insert))
				closeBare()
				for _, what := range []string{"taken", "worked"} {
					in := newIntake(b, database)
					in.start(what == "worked")
					took[what] = append(took[what], openLoop(func(i int) { in.send(bodies[i%len(bodies)]) }))
					in.close()
				}
			}
			for what, rounds := range took {
				percentiles(b, what, rounds)
			}
		}
	})
}

// openLoop starts 500 pieces of work a second for ten seconds. It returns how long after
// its planned start each was done, the shortest first.
func openLoop(work func(i int)) []time.Duration {
	const rate, n = 500, 10 * 500
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for i := range n {
		due := time.Duration(i) * time.Second / rate
		for time.Since(start) < due {
			<-tick.C
		}
		wg.Go(func() {
			work(i)
			took[i] = time.Since(start) - due
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

func percentiles(b *testing.B, what string, rounds [][]time.Duration) {
	b.Helper()
	for _, p := range []struct {
		part float64
		name string
	}{{0.5, "p50"}, {0.99, "p99"}} {
		var all []float64
		for _, took := range rounds {
			all = append(all, float64(took[int(p.part*float64(len(took)-1))].Microseconds())/1000)
		}
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], what+"-"+p.name+"-ms")
		b.ReportMetric(all[len(all)-1], what+"-"+p.name+"-worst-ms")
	}
}

// BenchmarkIntakeMemory is the heap after a collection and the memory of the process,
// after 10,000 and after 100,000 deliveries that were all handled.
func BenchmarkIntakeMemory(b *testing.B) {
	engines(b, func(b *testing.B, database func() string) {
		for b.Loop() {
			in := newIntake(b, database)
			in.start(true)
			var heap, rss [2]float64
			sent := 0
			for i, upTo := range []int{10_000, 100_000} {
				in.sendAll(8, upTo-sent, func(k int) []byte { return push(uint64(sent + k)) })
				sent = upTo
				if err := in.server.Idle(b.Context()); err != nil {
					b.Fatal(err)
				}
				in.stage.GitHub.ResetCalls() // the stand-in remembers each call, in the server's own process
				heap[i], rss[i] = memory(b)
			}
			in.close()
			b.ReportMetric(heap[0], "heap-MiB-10k")
			b.ReportMetric(heap[1], "heap-MiB-100k")
			b.ReportMetric(rss[0], "rss-MiB-10k")
			b.ReportMetric(rss[1], "rss-MiB-100k")
		}
	})
}

// onSQLite stands for a new file on this disk.
const onSQLite = "sqlite:"

// engines runs a benchmark on SQLite, and on PostgreSQL where there is a server.
func engines(b *testing.B, bench func(b *testing.B, database func() string)) {
	b.Run("sqlite", func(b *testing.B) { bench(b, func() string { return onSQLite }) })
	b.Run("postgres", func(b *testing.B) { bench(b, func() string { return storetest.Postgres(b) }) })
}

// intake is a server that takes deliveries, and its clients.
type intake struct {
	b      *testing.B
	stage  *stage.Stage
	server *server.Server
	client *http.Client
	url    string
	sent   atomic.Int64
	stop   func()
}

func newIntake(b *testing.B, database func() string) *intake {
	b.Helper()
	dir := b.TempDir()
	site, err := stage.NewSite(b.Context(), filepath.Join(dir, "site"))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := site.Commit(b.Context(), "first", map[string]string{"purge-rules.yaml": servertest.Rules}); err != nil {
		b.Fatal(err)
	}
	in := &intake{b: b}
	in.stage, err = stage.Open(b.Context(), stage.Config{
		Dir: dir, Repositories: []github.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: site.Dir}}, Policy: servertest.Policy(),
	})
	if err != nil {
		b.Fatal(err)
	}
	in.stage.EndPast()
	cfg := in.stage.ServerConfig()
	if url := database(); url != onSQLite {
		cfg.Database = url
	}
	if in.server, err = server.New(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	in.url = "http://" + in.server.Addr() + "/webhook"
	in.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * intakeClients}}
	return in
}

// start starts the whole server or, without worked, only its intake: what it accepts
// waits.
func (in *intake) start(worked bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(in.b.Context()))
	var running sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			in.b.Error(err)
		}
	}
	run := in.server.RunWithoutJobs
	if worked {
		run = in.server.Run
	}
	running.Go(func() { fail(run(ctx)) })
	in.stop = func() {
		cancel()
		running.Wait()
	}
}

func (in *intake) close() {
	in.client.CloseIdleConnections()
	in.stop()
	if err := in.stage.Close(context.WithoutCancel(in.b.Context())); err != nil {
		in.b.Error(err)
	}
}

// send signs and sends a push, and wants 202 as the answer.
func (in *intake) send(body []byte) {
	mac := hmac.New(sha256.New, []byte(in.stage.Secret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(in.b.Context(), http.MethodPost, in.url, bytes.NewReader(body))
	if err != nil {
		in.b.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", "push")
	req.Header.Set("X-GitHub-Delivery", guid(uint64(in.sent.Add(1))))
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	res, err := in.client.Do(req)
	if err != nil {
		in.b.Error(err)
		return
	}
	answer, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		in.b.Errorf("answer %d: %s", res.StatusCode, answer)
	}
}

func (in *intake) sendAll(clients, n int, body func(int) []byte) time.Duration {
	return spread(clients, n, func(i int) { in.send(body(i)) })
}

// spread lets clients do n pieces of work, and returns the time that it took.
func spread(clients, n int, work func(int)) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				work(i)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func takenRate(b *testing.B, database func() string, bodies [][]byte, n int, worked bool) float64 {
	b.Helper()
	in := newIntake(b, database)
	defer in.close()
	in.start(worked)
	body := func(i int) []byte { return bodies[i%len(bodies)] }
	in.sendAll(intakeClients, 1_000, body) // connections and statements are there
	return float64(n) / in.sendAll(intakeClients, n, body).Seconds()
}

// bare inserts the same bodies as they are, one transaction each, as fast as the driver
// can.
func bare(b *testing.B, database func() string, bodies [][]byte) (insert func(i int), stop func()) {
	b.Helper()
	const create, query = `CREATE TABLE bare (guid TEXT PRIMARY KEY, body BYTEA NOT NULL)`, `INSERT INTO bare VALUES ($1, $2)`
	ctx := b.Context()
	var exec func(query string, args ...any) error
	if url := database(); url == onSQLite {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+
			"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
		if err != nil {
			b.Fatal(err)
		}
		db.SetMaxOpenConns(1) // the fastest number of all
		exec = func(query string, args ...any) error {
			_, err := db.ExecContext(ctx, query, args...)
			return err
		}
		stop = func() { db.Close() }
	} else {
		cfg, err := pgxpool.ParseConfig(url)
		if err != nil {
			b.Fatal(err)
		}
		cfg.MaxConns = intakeClients
		pool, err := pgxpool.NewWithConfig(ctx, cfg)
		if err != nil {
			b.Fatal(err)
		}
		exec = func(query string, args ...any) error {
			_, err := pool.Exec(ctx, query, args...)
			return err
		}
		stop = pool.Close
	}
	if err := exec(create); err != nil {
		b.Fatal(err)
	}
	return func(i int) {
		if err := exec(query, guid(uint64(i)), bodies[i%len(bodies)]); err != nil {
			b.Error(err)
		}
	}, stop
}

// memory is the heap after a collection, and the process's resident memory,
// in MiB.
func memory(b *testing.B) (heap, rss float64) {
	b.Helper()
	for range 2 { // what a pool keeps outlives one collection
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("only Linux tells a process's memory")
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(kb)[0])
			rss = float64(n) / 1024
		}
	}
	return float64(m.HeapAlloc) / (1 << 20), rss
}

// guid is a delivery id as GitHub makes them, without any order.
func guid(n uint64) string {
	r := rand.New(rand.NewPCG(n, 1))
	return fmt.Sprintf("%08x-%04x-11f0-%04x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xffff, r.Uint64()&0xffffffffffff)
}

func pushes(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = push(uint64(i))
	}
	return all
}

// push is the body of a push of about 30 KB in GitHub's form: commits with their
// messages, people and files, and the repository with its many addresses. It compresses
// as a real one does: ids are random, words are not.
func push(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	sha := func() string {
		return fmt.Sprintf("%016x%016x%08x", r.Uint64(), r.Uint64(), r.Uint32())
	}
	words := strings.Fields("page deploy cache header image layout release fix add remove update style the of for with and " +
		"footer navigation product campaign press article author translation broken link build site index search table")
	text := func(n int) string {
		out := make([]string, n)
		for i := range out {
			out[i] = words[r.IntN(len(words))]
		}
		return strings.Join(out, " ")
	}
	paths := func(n int) []string {
		out := []string{}
		for range n {
			out = append(out, fmt.Sprintf("content/%s/%s/%s-%d.md", words[r.IntN(len(words))], words[r.IntN(len(words))],
				strings.ReplaceAll(text(3), " ", "-"), r.IntN(10_000)))
		}
		return out
	}
	person := func(n int) map[string]any {
		login := words[n%len(words)] + strconv.Itoa(n)
		return map[string]any{"name": text(2), "email": login + "@users.noreply.github.com", "username": login}
	}
	commit := func() map[string]any {
		id := sha()
		return map[string]any{
			"id": id, "tree_id": sha(), "distinct": true, "message": text(8) + "\n\n" + text(20+r.IntN(40)),
			"timestamp": "2026-11-22T10:11:12+01:00", "url": "https://github.com/acme/site/commit/" + id,
			"author": person(r.IntN(60)), "committer": person(r.IntN(60)),
			"added": paths(r.IntN(5)), "removed": paths(r.IntN(2)), "modified": paths(r.IntN(12)),
		}
	}
	repository := map[string]any{
		"id": 1, "node_id": "R_kgDOABCDEF", "name": "site", "full_name": "acme/site", "private": true,
		"owner":          map[string]any{"login": "acme", "id": 3, "type": "Organization"},
		"default_branch": "main", "pushed_at": 1_790_000_000 + seed, "created_at": 1_600_000_000, "stargazers_count": r.IntN(100),
	}
	for name := range strings.FieldsSeq("archive assignees blobs branches collaborators comments commits compare contents contributors deployments " +
		"downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels languages merges milestones " +
		"notifications pulls releases stargazers statuses subscribers subscription tags teams trees") {
		repository[name+"_url"] = "https://api.github.com/repos/acme/site/" + name + "{/sha}"
	}
	after, before := sha(), sha()
	body := map[string]any{
		"ref": "refs/heads/feature/" + strings.ReplaceAll(text(3), " ", "-"), "before": before, "after": after,
		"created": false, "deleted": false, "forced": false, "base_ref": nil,
		"compare":    "https://github.com/acme/site/compare/" + before[:12] + "..." + after[:12],
		"repository": repository, "pusher": person(7), "sender": map[string]any{"login": "ann", "id": 7, "type": "User"},
		"installation": map[string]any{"id": 1, "node_id": "MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9uMQ=="},
	}
	var commits []any
	for size := 0; size < 25_000; {
		c := commit()
		encoded, _ := json.Marshal(c)
		size += len(encoded)
		commits = append(commits, c)
	}
	body["commits"], body["head_commit"] = commits, commits[len(commits)-1]
	out, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return out
}
