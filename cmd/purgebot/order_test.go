package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
)

// newSeed gives a test's seed and says how to replay it.
func newSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PURGEBOT_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("replay with PURGEBOT_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// hold keeps every event back until it is released.
func (w *world) hold() {
	w.github.Route(func(standin.GitHubDelivery) standin.GitHubRoute { return standin.GitHubHold })
}

// liveIs fails unless a commit is live in an environment.
func (w *world) liveIs(environment, sha string) {
	w.t.Helper()
	env, err := w.server.store.FindEnvironment(w.t.Context(), 1, environment)
	if err != nil || env.Live.SHA != sha {
		w.t.Errorf("live in %s is %.7s, want %.7s (%v)", environment, env.Live.SHA, sha, err)
	}
}

// begun is a world whose first commit is live in both environments.
func begun(t *testing.T) (w *world, first string) {
	t.Helper()
	w, first = newWorld(t, nil)
	w.begin()
	for _, env := range []string{"production", "staging"} {
		w.deploy(env, first, "success")
		w.await(first, env, "success", "")
	}
	w.settled()
	w.sent()
	return w, first
}

// The ledger follows what GitHub recorded, whatever comes in whichever order.
func TestOrder(t *testing.T) {
	t.Run("two environments", func(t *testing.T) {
		w, first := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.deploy("staging", second, "success")
		w.await(second, "staging", "success", "1 URL purged")
		w.liveIs("production", first)
		w.wantSent(urls("staging", "/index/home/")...)
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		w.deploy("production", third, "success")
		w.await(third, "production", "success", "4 URLs purged")
		w.liveIs("staging", second)
		w.wantSent(urls("production", "/index/home/", "/about/us/")...)
	})
	t.Run("two deployments crossing", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		older, newer := w.deploy("production", second, "in_progress"), w.deploy("production", third, "in_progress")
		w.state(newer, "success")
		w.await(third, "production", "success", "4 URLs purged")
		w.sent()
		w.state(older, "success") // live all the same: by `action`, as it is no rollback
		w.await(second, "production", "success", "2 URLs purged")
		w.liveIs("production", second)
		w.wantSent(urls("production", "/about/us/")...)
	})
	t.Run("an older deployment arrives late", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.hold()
		w.deploy("production", second, "success")
		w.github.Route(nil)
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		w.deploy("production", third, "success")
		w.await(third, "production", "success", "4 URLs purged")
		w.sent()
		w.github.Release(t.Context())
		w.await(second, "production", "success", "purged with "+third[:7])
		w.settled()
		w.liveIs("production", third)
		w.wantSent()
	})
	t.Run("a true rollback", func(t *testing.T) {
		w, first := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.deploy("production", second, "success")
		w.await(second, "production", "success", "2 URLs purged")
		w.sent()
		w.deploy("production", first, "success")
		w.eventually("it is rolled back", func() bool { return len(w.akamai.Accepted()) > w.seen })
		w.settled()
		w.liveIs("production", first)
		var want []string
		for _, line := range urls("production", "/index/home/") {
			want = append(want, strings.Replace(line, "invalidate", "delete", 1))
		}
		w.wantSent(want...)
	})
	t.Run("success after failure", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		id := w.deploy("production", second, "failure")
		w.await(second, "production", "success", "deploy failed, 2 URLs wait")
		w.wantSent()
		w.state(id, "success") // a job that was run again
		w.await(second, "production", "success", "2 URLs purged")
		w.wantSent(urls("production", "/index/home/")...)
	})
	t.Run("a failure that arrives after its success", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.hold()
		id := w.deploy("production", second, "failure")
		w.github.Route(nil)
		w.state(id, "success")
		w.await(second, "production", "success", "2 URLs purged")
		w.github.Release(t.Context())
		w.settled()
		w.await(second, "production", "success", "2 URLs purged")
		w.wantSent(urls("production", "/index/home/")...)
	})
	t.Run("a push during a purge", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		third := w.commit("third", map[string]string{"content/about/us.md": "3"})
		w.deploy("production", second, "in_progress")
		w.push(second)
		w.deploy("production", second, "success")
		w.eventually("it is sent", func() bool { return len(w.akamai.Accepted()) > w.seen })
		w.push(third) // before Akamai is done
		w.await(second, "production", "success", "2 URLs purged")
		w.await(third, "production", "success", "2 URLs wait for production to deploy")
		w.settled()
		w.wantSent(urls("production", "/index/home/")...)
		w.await(third, "production", "success", "2 URLs wait for production to deploy")
	})
	t.Run("renamed by its status", func(t *testing.T) {
		w, first := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		id := w.deploy("staging", second, "in_progress")
		if _, err := w.github.DeployStatus(t.Context(), w.fullName(), id, standin.GitHubDeploymentStatus{State: "success", Environment: "production"}); err != nil {
			t.Fatal(err)
		}
		w.await(second, "production", "success", "2 URLs purged")
		w.liveIs("staging", first)
		w.wantSent(urls("production", "/index/home/")...)
	})
	t.Run("another case", func(t *testing.T) {
		w, _ := begun(t)
		second := w.commit("second", map[string]string{"content/index/home.md": "2"})
		w.deploy("PRODUCTION", second, "success")
		w.await(second, "production", "success", "2 URLs purged")
		w.liveIs("production", second)
		w.wantSent(urls("production", "/index/home/")...)
	})
}

// A random life of two environments: deployments that cross, fail, succeed
// late and go back, their events lost, repeated and out of order. In the end
// each has live what GitHub recorded last, and nothing that Akamai holds is
// older.
func TestOrderAtRandom(t *testing.T) {
	random := newSeed(t)
	w, first := begun(t)
	l := newLife(w, random, first)
	for range 40 {
		l.step()
	}
	w.github.Route(nil)
	for guids := l.shuffled(); len(guids) > 0; guids = l.shuffled() {
		w.github.Release(t.Context(), guids...)
	}
	if err := w.server.store.Hasten(t.Context(), "deployments"); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"production", "staging"} {
		last := l.successes[env][len(l.successes[env])-1]
		w.eventually(env+" has live what was recorded last", func() bool {
			e, err := w.server.store.FindEnvironment(t.Context(), 1, env)
			return err == nil && (last.id == 0 || e.Live.Status == last.id) && e.Live.SHA == last.sha
		})
	}
	w.settled()
	l.check()
}

// life is what a test does to a site and its deployments.
type life struct {
	*world
	random      *rand.Rand
	commits     []string
	pages       map[string]map[string]string // by commit: every page's content
	deployments []int64
	of          map[int64]deployed // by deployment
	successes   map[string][]success
	route       atomic.Int32
}

type deployed struct{ env, sha string }

type success struct {
	id  int64
	sha string
	at  time.Time // before GitHub recorded it, by the test's own clock
}

func newLife(w *world, random *rand.Rand, first string) *life {
	l := &life{
		world: w, random: random, commits: []string{first},
		pages:     map[string]map[string]string{first: {}},
		of:        map[int64]deployed{},
		successes: map[string][]success{},
	}
	for _, env := range []string{"production", "staging"} {
		l.successes[env] = []success{{sha: first}}
	}
	w.github.Route(func(d standin.GitHubDelivery) standin.GitHubRoute {
		if d.Event != "push" && !strings.HasPrefix(d.Event, "deployment") {
			return standin.GitHubSend // what purgebot itself brought about; when is not the seed's to say
		}
		return standin.GitHubRoute(l.route.Load())
	})
	return l
}

func (l *life) step() {
	l.route.Store(int32([]standin.GitHubRoute{
		standin.GitHubSend, standin.GitHubSend, standin.GitHubSend, standin.GitHubHold, standin.GitHubHold, standin.GitHubDrop,
	}[l.random.IntN(6)]))
	switch n := l.random.IntN(10); {
	case n < 3:
		l.publish()
	case n < 6 || len(l.deployments) == 0:
		l.start()
	case n < 9:
		l.end()
	default:
		if guids := l.shuffled(); len(guids) > 0 {
			l.github.Release(l.t.Context(), guids[0])
			if l.random.IntN(2) == 0 {
				if _, err := l.github.Redeliver(l.t.Context(), guids[0]); err != nil {
					l.t.Fatal(err)
				}
			}
		}
	}
}

// publish commits a change of a few pages and pushes it.
func (l *life) publish() {
	n := len(l.commits)
	files, pages := map[string]string{}, map[string]string{}
	maps.Copy(pages, l.pages[l.commits[n-1]])
	for range 1 + l.random.IntN(3) {
		page := fmt.Sprintf("content/life/p%d.md", l.random.IntN(8))
		files[page] = fmt.Sprintf("%d %d", n, l.random.IntN(1000))
		pages[page] = files[page]
	}
	sha := l.commit(fmt.Sprint(n), files)
	l.commits, l.pages[sha] = append(l.commits, sha), pages
	l.push(sha)
}

// start begins a deployment, mostly of a new commit.
func (l *life) start() {
	n := len(l.commits)
	sha := l.commits[n-1-l.random.IntN(min(n, 3))]
	env := []string{"production", "staging"}[l.random.IntN(2)]
	spelled := env
	if l.random.IntN(3) == 0 {
		spelled = strings.ToUpper(env[:1]) + env[1:]
	}
	id, err := l.github.Deploy(l.t.Context(), l.fullName(), standin.GitHubDeployment{SHA: sha, Environment: spelled, RequiredContexts: []string{}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.deployments, l.of[id] = append(l.deployments, id), deployed{env, sha}
}

// end gives a deployment a state; at times the state renames its environment.
func (l *life) end() {
	id := l.deployments[l.random.IntN(len(l.deployments))]
	d := l.of[id]
	s := standin.GitHubDeploymentStatus{State: []string{"success", "success", "success", "failure", "in_progress"}[l.random.IntN(5)]}
	if l.random.IntN(6) == 0 {
		d.env = []string{"production", "staging"}[l.random.IntN(2)]
		s.Environment, l.of[id] = d.env, d
	}
	at := time.Now()
	status, err := l.github.DeployStatus(l.t.Context(), l.fullName(), id, s)
	if err != nil {
		l.t.Fatal(err)
	}
	if s.State == "success" {
		l.successes[d.env] = append(l.successes[d.env], success{status, d.sha, at})
	}
}

func (l *life) shuffled() (guids []string) {
	for _, d := range l.github.Held() {
		guids = append(guids, d.GUID)
	}
	l.random.Shuffle(len(guids), func(i, j int) { guids[i], guids[j] = guids[j], guids[i] })
	return guids
}

// check holds Akamai against what was deployed: a page that got its present
// content by a deployment, and never had it before, was purged after that.
func (l *life) check() {
	purged := map[string]time.Time{} // by network and object, the last time
	for _, p := range l.akamai.Accepted() {
		for _, o := range p.Objects {
			purged[p.Network+" "+o] = p.At
		}
	}
	host := map[string]string{"production": "www.acme.com", "staging": "staging.acme.com"}
	checked := 0
	for env, all := range l.successes {
		for page, content := range l.pages[all[len(all)-1].sha] {
			came := len(all) - 1
			for came > 0 && l.pages[all[came-1].sha][page] == content {
				came--
			}
			before := func(s success) bool { return l.pages[s.sha][page] == content }
			if came == 0 || slices.ContainsFunc(all[:came], before) {
				continue
			}
			url := env + " https://" + host[env] + "/life/" + strings.TrimSuffix(path.Base(page), ".md") + "/"
			if at, ok := purged[url]; !ok || at.Before(all[came].at) {
				l.t.Errorf("%s holds an old %s: purged %v, deployed at %v", env, page, at, all[came].at)
			}
			checked++
		}
	}
	l.t.Logf("%d deployments, %d successes, %d pages checked", len(l.deployments), len(l.successes["production"])+len(l.successes["staging"])-2, checked)
}
