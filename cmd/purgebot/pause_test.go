package main

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/internal/web"
)

func TestOperatorPausesAndResumes(t *testing.T) {
	o := newOperated(t, "")
	o.People()
	out, _ := o.ask(exitDone, "pauses")
	wantWords(t, out, "Nothing is paused.")
	out, _ = o.ask(exitDone, "pause", "--repo", "ACME/*", "--env", "Production", "--for", "2h", "--reason", "the origin is away", "--by", "ann")
	wantWords(t, out, "Paused by ann: the origin is away (ACME/*, Production, not people's purges; ends in 2h; 0 purges with 0 objects wait)")

	second := o.Commit("second", map[string]string{"content/index/home.md": "2", "layouts/base.html": "new"})
	o.Deploy("production", second, "success")
	o.Await(second, "production", "pending", "0 of 3 purged, paused by ann: the origin is away")
	third := o.Commit("third", map[string]string{"content/index/home.md": "3"})
	o.Deploy("production", third, "success")
	o.Await(third, "production", "pending", "0 of 2 purged, paused by ann: the origin is away")
	out, _ = o.ask(exitDone, "queue")
	if !strings.HasPrefix(out, "Paused by ann: the origin is away (") {
		t.Errorf("the queue begins otherwise:\n%s", out)
	}
	wantWords(t, out, "2 purges with 5 objects wait")
	out, _ = o.ask(exitDone, "status")
	wantWords(t, out, "Paused by ann: the origin is away (", "0 of 2 purged, paused by ann")
	out, _ = o.ask(exitDone, "pauses")
	wantWords(t, out, "ACME/*, Production", "ann", "purgebot resume --repo 'ACME/*' --env 'Production'")
	o.WantSent()

	number := o.Pull("topic", map[string]string{"content/about/us.md": "new"}, nil)
	o.Say(number, "walt", "/purge https://www.acme.com/about/us/")
	o.Replied(number, "1 URL purged", "Purges of deployments in `Production` are paused by `ann`: `the origin is away`.")
	o.WantSent("production invalidate url https://www.acme.com/about/us/")

	_, words := o.ask(exitFailed, "resume", "--by", "bob")
	wantWords(t, words, "nothing was done", "purgebot pauses")
	out, _ = o.ask(exitDone, "resume", "--repo", "acme/*", "--env", "production", "--by", "bob")
	wantWords(t, out, "Resumed ACME/*, Production", "2 purges with 5 objects are sent now")
	o.Await(second, "production", "success", "2 URLs, 1 tag purged")
	o.Await(third, "production", "success", "2 URLs purged")
	o.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/",
		"production invalidate tag acme-shell")

	o.ask(exitDone, "pause", "--for", "1h", "--reason", "for a while")
	fourth := o.Commit("fourth", map[string]string{"content/index/home.md": "4"})
	o.Deploy("production", fourth, "success")
	o.Await(fourth, "production", "pending", "0 of 2 purged, paused by ")
	o.ahead.Store(int64(time.Hour))
	o.Await(fourth, "production", "success", "2 URLs purged")
}

func TestPauseIsRefused(t *testing.T) {
	o := newOperated(t, "")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no reason":       {nil, "--reason"},
		"an empty reason": {[]string{"--reason", " "}, "reason must be"},
		"two lines":       {[]string{"--reason", "a\nb"}, "reason must be"},
		"no glob":         {[]string{"--reason", "x", "--repo", "acme/{a"}, `"acme/{a" is not a glob`},
		"another account": {[]string{"--reason", "x", "--account", "second"}, `there is no Akamai account "second"`},
		"no time":         {[]string{"--reason", "x", "--for", "-1h"}, "--for"},
		"a year":          {[]string{"--reason", "x", "--for", "9000h"}, "seconds must be at most"},
	} {
		_, words := o.ask(exitUsage, append([]string{"pause"}, test.args...)...)
		if !strings.Contains(words, test.want) {
			t.Errorf("%s: %s", name, words)
		}
	}
	var doc web.Pauses
	if o.asks(&doc, "pauses"); len(doc.Pauses) > 0 {
		t.Errorf("%+v", doc.Pauses)
	}
}

// The process is killed again and again around the beginning and the end of a pause.
// Nothing is sent during the pause, and everything after it.
func TestKilledWhilePaused(t *testing.T) {
	t.Parallel()
	eachKilling(t, func(t *testing.T, k *killing, random *rand.Rand) {
		k.begin()
		k.deployStep()
		k.lastIsPurged()
		for range 2 {
			k.deployStep()
			k.whileKilling(time.Duration(random.IntN(400))*time.Millisecond, "pause", "--reason", "a trial", "--by", "ann")
			k.Eventually("what was on its way has arrived", func() bool { return !k.sending() })
			sent := len(k.Akamai.Accepted())
			var sha string
			for i := range 3 {
				sha = k.deployStep()
				k.restart(i%len(k.replicas), time.Duration(random.IntN(300))*time.Millisecond)
			}
			k.patiently("the last status says who paused", func() bool {
				return slices.ContainsFunc(k.GitHub.Statuses(k.FullName(), sha), func(s github.Status) bool {
					// How much it is depends on which deployments were planned together.
					return s.State == "pending" && strings.HasPrefix(s.Description, "0 of ") && strings.HasSuffix(s.Description, " purged, paused by ann: a trial")
				})
			})
			if more := k.Akamai.Accepted()[sent:]; len(more) > 0 {
				t.Fatalf("sent while paused: %v", more)
			}
			k.whileKilling(time.Duration(random.IntN(400))*time.Millisecond, "resume")
			last := k.steps[len(k.steps)-1].page
			k.patiently("the last page is purged", func() bool { return len(k.accepted(last)) > 0 })
		}
		db := beside(t, k.url)
		k.atRest(db)
		k.check(db())
	})
}

// killing is a load whose replicas are killed one after the other.
type killing struct {
	*load
	url      string // the database's
	config   string
	replicas []*process
}

// eachKilling runs a test on each engine, in parallel, with as many replicas as the
// engine may have. The test starts them.
func eachKilling(t *testing.T, test func(*testing.T, *killing, *rand.Rand)) {
	t.Helper()
	for name, engine := range map[string]struct {
		database func(*testing.T, *world) string
		replicas int
	}{
		"sqlite":   {func(_ *testing.T, w *world) string { return "sqlite:" + filepath.Join(w.Config.Dir, "purgebot.db") }, 1},
		"postgres": {func(t *testing.T, _ *world) string { return storetest.Postgres(t) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			random := servertest.Seed(t)
			w, first := newWorld(t, nil)
			url := engine.database(t, w)
			w.Deploy("production", first, "success")
			test(t, &killing{load: newLoad(w), url: url, config: w.filesWith(url), replicas: make([]*process, engine.replicas)}, random)
		})
	}
}

func (k *killing) begin() {
	for i := range k.replicas {
		k.replicas[i] = k.spawn(k.config)
	}
}

// patiently waits longer than usual: a sweep wakes the same work again only after a
// minute, and its process may have been killed.
func (k *killing) patiently(what string, done func() bool) {
	k.T.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(3 * servertest.Patience); !done(); {
		select {
		case <-tick.C:
		case <-end:
			k.T.Fatalf("waited in vain until %s", what)
		}
	}
}

// restart kills a replica after a time, and starts it again.
func (k *killing) restart(i int, after time.Duration) {
	k.killAfter(after, k.replicas[i])
	k.replicas[i] = k.spawn(k.config)
}

// whileKilling runs a command until it succeeds, while every replica is killed.
func (k *killing) whileKilling(after time.Duration, args ...string) {
	k.T.Helper()
	var both sync.WaitGroup
	both.Go(func() { k.run(args...) })
	for i := range k.replicas {
		k.killAfter(after, k.replicas[i])
	}
	both.Wait()
	k.begin()
	k.Eventually(strings.Join(args, " "), func() bool { return k.run(args...) })
}

// run runs a command against the last replica. If it was done before but the answer was
// lost, there is nothing left to do.
func (k *killing) run(args ...string) bool {
	got := k.runs(args...)
	return got.code == exitDone || strings.Contains(got.err, "nothing was done")
}

func (k *killing) runs(args ...string) purgeEnded {
	last := k.replicas[len(k.replicas)-1]
	return runPurge(k.T, "", append(args, "--config", k.config, "--server", "http://"+last.addr)...)
}

// sending reports whether the ledger has requests that have no answer yet.
func (k *killing) sending() bool {
	var doc queueDoc
	got := k.runs("queue", "--json")
	if json.Unmarshal([]byte(got.out), &doc) != nil {
		return true
	}
	for _, r := range doc.Requests {
		if r.Sending > 0 {
			return true
		}
	}
	return false
}
