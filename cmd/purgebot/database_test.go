package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// answerTime is how long the answer to a webhook may take, whatever the database does.
// GitHub gives up after ten seconds.
const answerTime = 7 * time.Second

// outage is one kind of trouble with a database.
type outage struct {
	words      string // what /readyz says
	begin, end func()
}

// outageTest is a server whose database gets into trouble while a purge waits for Akamai.
type outageTest struct {
	*world
	p       *process
	db      func() *sql.DB // reaches the database past the trouble
	waiting string         // the commit whose purge waits
	calm    int            // goroutines before
	logged  int            // bytes of the log before
}

// newOutageTest starts everything, with one purge waiting: Akamai is away.
func newOutageTest(w *world, first string, start func() *process, database func(*process) func() *sql.DB) *outageTest {
	w.T.Helper()
	w.Deploy("production", first, "success")
	o := &outageTest{world: w, p: start()}
	o.db = database(o.p)
	o.p.awaitReady(http.StatusOK, "ready")
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent(servertest.URLs("production", "/index/home/")...)

	tried := make(chan struct{}, 1)
	w.Akamai.Fault(func(*http.Request, []byte) akamai.Fault {
		select {
		case tried <- struct{}{}:
		default:
		}
		return akamai.Fault{Status: http.StatusServiceUnavailable}
	})
	o.waiting = w.Commit("third", map[string]string{"content/about/us.md": "3"})
	w.Deploy("production", o.waiting, "success")
	<-tried
	w.Await(o.waiting, "production", "pending", "")
	o.calm, o.logged = goroutines(w.T, o.metrics()), len(o.p.said.String())
	return o
}

// metrics reads /metrics, which must answer without the database.
func (o *outageTest) metrics() string {
	o.T.Helper()
	code, metrics := o.p.get("/metrics")
	if code != http.StatusOK {
		o.T.Errorf("/metrics: %d\n%s", code, metrics)
	}
	return metrics
}

func goroutines(t *testing.T, metrics string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(metrics)
	if found == nil {
		t.Fatalf("no go_goroutines in\n%s", metrics)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// play makes the trouble come and go. What GitHub sends in the meantime is refused in
// time, and comes again without anybody's help.
func (o *outageTest) play(trouble outage) {
	o.T.Helper()
	trouble.begin()
	o.p.awaitReady(http.StatusServiceUnavailable, trouble.words)
	o.Akamai.Fault(nil)
	fourth := o.Commit("fourth", map[string]string{"content/step/4.md": "4"})
	o.Deploy("production", fourth, "success")
	o.refused()
	o.storm()
	o.p.awaitReady(http.StatusServiceUnavailable, trouble.words)
	if code, body := o.p.get("/healthz"); code != http.StatusOK {
		o.T.Errorf("/healthz: %d %s", code, body)
	}
	metrics := o.metrics()
	if !strings.Contains(metrics, "\npurgebot_database_up 0\n") {
		o.T.Errorf("the metrics don't tell of the trouble:\n%s", metrics)
	}
	if n := goroutines(o.T, metrics); n > o.calm+100 {
		o.T.Errorf("%d goroutines, %d before", n, o.calm)
	}
	o.WantSent() // nothing is sent that can't be written down

	trouble.end()
	o.p.awaitReady(http.StatusOK, "ready")
	fifth := o.Commit("fifth", map[string]string{"content/step/5.md": "5"})
	o.Deploy("production", fifth, "success")
	o.Await(fifth, "production", "success", "")
	o.Await(fourth, "production", "success", "")
	o.Await(o.waiting, "production", "success", "")
	o.atRest(o.db)
	o.WantSent(servertest.URLs("production", "/about/us/", "/step/4/", "/step/5/")...)
	o.nothingLost()
	o.quiet()
}

// refused wants the last event of use answered with 503, in time.
func (o *outageTest) refused() {
	o.T.Helper()
	d := o.lastDelivery()
	if d.StatusCode != http.StatusServiceUnavailable || d.Duration > answerTime {
		o.T.Errorf("%s was answered %d (%s) after %v", d.Event, d.StatusCode, d.Status, d.Duration)
	}
}

func (o *outageTest) lastDelivery() (last github.Delivery) {
	for _, d := range o.GitHub.Deliveries() {
		if d.Event == "deployment_status" {
			last = d
		}
	}
	return last
}

// storm sends one event many times at once.
func (o *outageTest) storm() {
	o.T.Helper()
	event := o.lastDelivery()
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			d, err := o.GitHub.Redeliver(o.T.Context(), event.GUID)
			if err != nil || d.StatusCode != http.StatusServiceUnavailable || d.Duration > answerTime {
				o.T.Errorf("one of many was answered %d (%s) after %v (%v)", d.StatusCode, d.Status, d.Duration, err)
			}
		})
	}
	all.Wait()
}

// nothingLost waits until every event of use was taken.
func (o *outageTest) nothingLost() {
	o.T.Helper()
	o.Eventually("every event came in", func() bool {
		taken := map[string]bool{}
		for _, d := range o.GitHub.Deliveries() {
			taken[d.GUID] = taken[d.GUID] || d.StatusCode/100 == 2
		}
		return !slices.Contains(slices.Collect(maps.Values(taken)), false)
	})
}

// quiet wants few lines about the trouble in the log: as many as a minute allows.
func (o *outageTest) quiet() {
	o.T.Helper()
	for line, n := range o.p.logLines(o.logged) {
		level, message, _ := strings.Cut(line, " ")
		switch {
		case level == "INFO", message == "webhook delivery", message == "akamai answered": // one for each of them
		case n > 3:
			o.T.Errorf("%d times %s", n, line)
		}
	}
	log := o.p.said.String()[o.logged:]
	for _, want := range []string{`"the database can't be used"`, `"the database takes writes again"`} {
		if !strings.Contains(log, want) {
			o.T.Errorf("the log does not say %s:\n%s", want, log)
		}
	}
}

// limitFiles bounds the size of every file that a process writes; no privilege gets
// around that. "" means no bound.
func limitFiles(t *testing.T, pid int, bytes string) {
	t.Helper()
	limit := "--fsize=" + bytes + ":" // the hard limit stays
	if bytes == "" {
		limit = "--fsize=unlimited:"
	}
	out, err := exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(pid), limit).CombinedOutput()
	if err != nil {
		t.Fatalf("prlimit: %v\n%s", err, out)
	}
}

// smallDisk is a command that execs its arguments with a file system of 16 MB at dir.
// Only that process sees the file system. nil where that is not allowed.
func smallDisk(t *testing.T, dir string) []string {
	t.Helper()
	for _, who := range [][]string{{"unshare", "--mount"}, {"unshare", "--user", "--map-root-user", "--mount"}} {
		by := append(who, "sh", "-c", `mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"`, dir) //nolint:gocritic // who is this call's own
		if exec.CommandContext(t.Context(), by[0], append(by[1:], "true")...).Run() == nil {
			return by
		}
	}
	return nil
}

// inFolder returns a function that opens the database in a folder.
func inFolder(t *testing.T, dir string) func(*process) func() *sql.DB {
	return func(*process) func() *sql.DB { return beside(t, "sqlite:"+filepath.Join(dir, "purgebot.db")) }
}

// copied opens a copy of the database of a folder that SQLite can't reach.
func copied(t *testing.T, dir string) func() *sql.DB {
	return func() *sql.DB {
		to := t.TempDir()
		for _, name := range []string{"purgebot.db", "purgebot.db-wal"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(to, name), content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return openDatabase(t, "sqlite:"+filepath.Join(to, "purgebot.db"))
	}
}

// The disk is full: a real one of 16 MB where the process may have a namespace of its
// own, else a limit on the size of files.
func TestFullDisk(t *testing.T) {
	w, first := newWorld(t, nil)
	dir := filepath.Join(w.Config.Dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := w.filesWith("sqlite:./data/purgebot.db")
	by := smallDisk(t, dir)
	if by == nil {
		t.Log("no file system of its own may be mounted here: files are limited instead")
		o := newOutageTest(w, first, func() *process { return w.spawn(config) }, inFolder(t, dir))
		file, err := os.Stat(filepath.Join(dir, "purgebot.db"))
		if err != nil {
			t.Fatal(err)
		}
		o.play(outage{
			words: "the database's disk fails",
			begin: func() {
				limitFiles(t, o.p.cmd.Process.Pid, strconv.FormatInt(file.Size(), 10))
				o.fill()
			},
			end: func() { limitFiles(t, o.p.cmd.Process.Pid, "") },
		})
		return
	}
	var inside string // the folder as the process sees it
	o := newOutageTest(w, first, func() *process { return w.spawnUnder(config, by...) }, func(p *process) func() *sql.DB {
		inside = fmt.Sprintf("/proc/%d/root%s", p.cmd.Process.Pid, dir)
		return copied(t, inside)
	})
	filler := filepath.Join(inside, "filler")
	o.play(outage{
		words: "the database's disk is full",
		begin: func() {
			if err := os.WriteFile(filler, make([]byte, 32<<20), 0o600); err == nil {
				t.Fatal("32 MB went into 16")
			}
			o.fill()
		},
		end: func() {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		},
	})
}

// fill sends large webhooks until none is accepted. SQLite's log has room for some even
// on a full disk.
func (o *outageTest) fill() {
	o.T.Helper()
	sent := 0
	// A small webhook may still fit where a large one does not. From time to time the log
	// is moved into the file, which makes room again.
	for _, size := range []int{100 << 10, 4 << 10, 1} {
		noise := make([]byte, size)
		for taken := time.Now(); time.Since(taken) < 3*100*time.Millisecond; sent++ {
			rand.Read(noise)
			body := fmt.Sprintf(`{"ref":"refs/tags/%d","before":"%040d","after":"%040d","repository":{"id":1,"name":"site","owner":{"login":"acme"}},"noise":"%x"}`,
				sent, 0, sent+1, noise)
			switch code := o.p.post(o.T.Context(), "push", fmt.Sprintf("filler-%d", sent), body); code {
			case http.StatusAccepted:
				taken = time.Now()
			case http.StatusServiceUnavailable:
			default:
				o.T.Fatalf("a webhook was answered %d", code)
			}
			if sent > 10_000 {
				o.T.Fatal("the disk does not fill up")
			}
		}
	}
}

// The disk takes no more writes, as one that the kernel made read-only after errors.
func TestDiskTakesNoWrites(t *testing.T) {
	w, first := newWorld(t, nil)
	config := w.files()
	o := newOutageTest(w, first, func() *process { return w.spawn(config) }, inFolder(t, w.Config.Dir))
	o.play(outage{
		words: "the database's disk fails",
		begin: func() { limitFiles(t, o.p.cmd.Process.Pid, "0") },
		end:   func() { limitFiles(t, o.p.cmd.Process.Pid, "") },
	})
}

// Somebody moved the database file. What is written to it would be lost, so nothing is
// accepted until it is back.
func TestMovedDatabase(t *testing.T) {
	w, first := newWorld(t, nil)
	config := w.files()
	o := newOutageTest(w, first, func() *process { return w.spawn(config) }, inFolder(t, w.Config.Dir))
	here, away := filepath.Join(w.Config.Dir, "purgebot.db"), filepath.Join(w.Config.Dir, "backup.db")
	move := func(from, to string) func() {
		return func() {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.play(outage{words: "the database's file was moved", begin: move(here, away), end: move(away, here)})
}

// Another program, such as a backup, holds SQLite's write lock for a long time.
func TestLockedDatabase(t *testing.T) {
	w, first := newWorld(t, nil)
	config := w.files()
	o := newOutageTest(w, first, func() *process { return w.spawn(config) }, inFolder(t, w.Config.Dir))
	conn, err := o.db().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	does := func(statement string) func() {
		return func() {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.play(outage{words: "the database does not answer in time", begin: does("BEGIN IMMEDIATE"), end: does("COMMIT")})
}

// PostgreSQL is in every kind of trouble, behind a proxy of the test.
func TestPostgresInTrouble(t *testing.T) {
	t.Parallel()
	const refused = `CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = '53100'; END $$`
	for name, trouble := range map[string]func(*proxy, func(string)) outage{
		"away": func(p *proxy, _ func(string)) outage {
			return outage{"the database does not answer", func() { p.set(refuse) }, func() { p.set(pass) }}
		},
		"hanging": func(p *proxy, _ func(string)) outage {
			return outage{"the database does not answer in time", func() { p.set(hang) }, func() { p.set(pass) }}
		},
		"read-only": func(_ *proxy, does func(string)) outage {
			const others = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
			return outage{"the database is read-only", func() {
				does(`DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$`)
				does(others)
			}, func() { // open connections keep the setting
				does(`SET default_transaction_read_only = off`)
				does(`DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' RESET default_transaction_read_only'; END $$`)
			}}
		},
		"full": func(_ *proxy, does func(string)) outage {
			tables := []string{"delivery", "probe", "request", "environment", "target"}
			return outage{"the database's disk is full", func() {
				does(refused)
				for _, table := range tables {
					does("CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION no_room()")
				}
			}, func() { does("DROP FUNCTION no_room CASCADE") }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			database := storetest.Postgres(t)
			w, first := newWorld(t, nil)
			p, address := newProxy(t, database)
			config := w.filesWith(address)
			o := newOutageTest(w, first, func() *process { return w.spawn(config) }, func(*process) func() *sql.DB { return beside(t, database) })
			conn, err := pgx.Connect(t.Context(), database)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			o.play(trouble(p, func(statement string) {
				t.Helper()
				if _, err := conn.Exec(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}))
		})
	}
}

// PostgreSQL is slow: each message is late in both directions. Webhooks are accepted, or
// refused in time, and everything is purged in the end.
func TestSlowPostgres(t *testing.T) {
	w, server, p, database := newProxiedWorld(t)
	p.set(crawl)
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	server.awaitReady(http.StatusOK, "ready")
	for _, d := range w.GitHub.Deliveries() {
		if d.Duration > answerTime {
			t.Errorf("%s was answered %d after %v", d.Event, d.StatusCode, d.Duration)
		}
	}
	p.set(pass)
	w.atRest(beside(t, database))
	w.WantSent(servertest.URLs("production", "/index/home/")...)
}
