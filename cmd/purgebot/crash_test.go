package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

func TestKilledBetweenAkamaisAnswerAndTheSettling(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	config := w.files()
	p := w.spawn(config)
	killed := make(chan struct{})
	w.Akamai.Fault(func(*http.Request, []byte) akamai.Fault {
		select {
		case <-killed:
			return akamai.Fault{}
		default:
		}
		p.kill() // it has sent, and will never read the answer
		close(killed)
		return akamai.Fault{Accept: true, Drop: true}
	})
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	<-killed

	w.spawn(config)
	w.Await(second, "production", "success", "2 URLs purged")
	home := []string{"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/"}
	w.WantSent(slices.Concat(home, home)...) // once lost, once settled
}

// The process is killed again and again at random moments, while deployments succeed and
// Akamai takes its time. What was not written down is done again. Only what was on its
// way is sent twice.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T, *world) string{
		"sqlite":   func(_ *testing.T, w *world) string { return "sqlite:" + filepath.Join(w.Config.Dir, "purgebot.db") },
		"postgres": func(t *testing.T, _ *world) string { return storetest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			random := servertest.Seed(t)
			w, first := newWorld(t, nil)
			url := database(t, w)
			w.Deploy("production", first, "success")
			l := newLoad(w)
			config := w.filesWith(url)
			p := w.spawn(config)
			l.deployStep() // what came before the repository was ever heard of is history
			l.lastIsPurged()
			for range 5 {
				end := time.Duration(random.IntN(3000)) * time.Millisecond
				var both sync.WaitGroup
				both.Go(func() { l.killAfter(end, p) })
				for range 2 + random.IntN(5) {
					l.deployStep()
				}
				both.Wait()
				p = w.spawn(config)
			}
			l.deployStep()
			l.lastIsPurged()
			db := beside(t, url)
			w.atRest(db)
			l.check(db())
		})
	}
}

// load is deployments one after the other, each with a page of its own, and the moments
// at which a process was stopped.
type load struct {
	*world
	steps []loadStep
	stops []time.Time
}

type loadStep struct {
	page string // its object
	at   time.Time
}

// lastIsPurged waits until Akamai has the last step's page.
func (l *load) lastIsPurged() {
	l.T.Helper()
	page := l.steps[len(l.steps)-1].page
	l.Eventually(page+" is purged", func() bool { return len(l.accepted(page)) > 0 })
}

// newLoad makes Akamai take a moment for each request.
func newLoad(w *world) *load {
	w.Akamai.Fault(func(*http.Request, []byte) akamai.Fault {
		return akamai.Fault{Delay: 100 * time.Millisecond}
	})
	return &load{world: w}
}

// deployStep deploys one more page. The server may be down when its webhook comes.
func (l *load) deployStep() (sha string) {
	l.T.Helper()
	i := len(l.steps)
	sha = l.Commit(fmt.Sprint(i), map[string]string{fmt.Sprintf("content/step/p%d.md", i): "x", "content/index/home.md": fmt.Sprint(i)})
	l.Push(sha)
	l.steps = append(l.steps, loadStep{fmt.Sprintf("https://www.acme.com/step/p%d/", i), time.Now()})
	l.Deploy("production", sha, "success")
	return sha
}

func (l *load) killAfter(d time.Duration, p *process) {
	select {
	case <-time.After(d):
	case <-l.T.Context().Done():
	}
	l.stops = append(l.stops, time.Now())
	p.kill()
}

// accepted returns the times at which Akamai accepted an object.
func (l *load) accepted(object string) (at []time.Time) {
	for _, a := range l.Akamai.Accepted() {
		if slices.Contains(a.Objects, object) {
			at = append(at, a.At)
		}
	}
	return at
}

// check wants every page accepted after its deployment. The ledger must know everything
// that Akamai accepted, except what was on its way when a process was stopped: only that
// is sent twice.
func (l *load) check(db *sql.DB) {
	l.T.Helper()
	for i, step := range l.steps {
		if at := l.accepted(step.page); len(at) == 0 || at[len(at)-1].Before(step.at) {
			l.T.Errorf("step %d: %s was accepted at %v, deployed at %v", i, step.page, at, step.at)
		}
	}
	if home := l.accepted("https://www.acme.com/index/home/"); len(home) == 0 || home[len(home)-1].Before(l.steps[len(l.steps)-1].at) {
		l.T.Errorf("the page that changed last was accepted at %v", home)
	}
	const way = 2 * time.Second // most time from Akamai's acceptance until it is written down
	all, lost := l.Akamai.Accepted(), 0
	for _, a := range all {
		var known int
		if err := db.QueryRowContext(l.T.Context(), `SELECT COUNT(*) FROM request WHERE akamai_id = $1 AND state = 'accepted'`, a.PurgeID).Scan(&known); err != nil {
			l.T.Fatal(err)
		}
		if known == 1 {
			continue
		}
		lost++
		if !slices.ContainsFunc(l.stops, func(stop time.Time) bool { return stop.Sub(a.At).Abs() < way }) {
			l.T.Errorf("the ledger knows nothing of %v, accepted at %v; stops: %v", a.Objects, a.At, l.stops)
		}
	}
	l.T.Logf("%d deployments, %d stops, %d requests, of which %d were on their way then", len(l.steps), len(l.stops), len(all), lost)
}

// Credentials that Akamai refuses pause the account and lose nothing. The corrected
// .edgerc is read without a restart.
func TestMendedCredentialsNeedNoRestart(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	config := w.files()
	edgerc := filepath.Join(w.Config.Dir, "edgerc")
	good, err := os.ReadFile(edgerc)
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(good), "client_secret = ", "client_secret = x", 1)
	if bad == string(good) {
		t.Fatalf("no client_secret in\n%s", good)
	}
	if err := os.WriteFile(edgerc, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.spawn(config)
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	w.Eventually("Akamai is paused", func() bool {
		_, metrics := p.get("/metrics")
		return strings.Contains(metrics, "purgebot_akamai_paused 1")
	})
	if err := os.WriteFile(edgerc, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Await(second, "production", "success", "2 URLs purged")
}
