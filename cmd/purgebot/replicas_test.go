package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// Two replicas start at the same moment on an empty database. The one that
// has sent and not settled is killed: the other one takes over within 15 s.
func TestReplicaTakesOver(t *testing.T) {
	w, first := newWorld(t, nil)
	database := storetest.Postgres(t)
	w.deploy("production", first, "success")
	config := w.filesWith(database)
	var replicas [2]*process
	var both sync.WaitGroup
	for i := range replicas {
		both.Go(func() { replicas[i] = w.spawn(config) })
	}
	both.Wait()

	var once sync.Once
	killed := make(chan time.Time, 1)
	w.akamai.Fault(func(r *http.Request, _ []byte) (fault standin.AkamaiFault) {
		once.Do(func() {
			for _, p := range replicas { // whoever of them sent it is gone
				p.kill()
			}
			killed <- time.Now()
			fault = standin.AkamaiFault{Accept: true, Drop: true}
		})
		return fault
	})
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	at := <-killed
	w.spawn(config) // another replica
	w.await(second, "production", "success", "2 URLs purged")
	accepted := w.akamai.Accepted()
	if took := accepted[len(accepted)-1].At.Sub(at); took > 20*time.Second {
		t.Errorf("sent again only after %v", took)
	}
	home := []string{"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/"}
	w.wantSent(slices.Concat(home, home)...)
}

// The trunk on PostgreSQL with two replicas: webhooks go to both in turn, and
// everything is sent once.
func TestReplicasShareTheWork(t *testing.T) {
	w, first := newWorld(t, nil)
	config := w.filesWith(storetest.Postgres(t))
	w.deploy("production", first, "success")
	replicas := []*process{w.spawn(config), w.spawn(config)}
	var want []string
	for i := range 6 {
		w.github.SetWebhook("http://"+replicas[i%2].addr+"/webhook", w.secret)
		sha := w.commit(fmt.Sprint(i), map[string]string{fmt.Sprintf("content/step/p%d.md", i): "x"})
		w.push(sha)
		w.deploy("production", sha, "success")
		w.await(sha, "production", "success", "2 URLs purged")
		for _, host := range []string{"www", "m"} {
			want = append(want, fmt.Sprintf("production invalidate url https://%s.acme.com/step/p%d/", host, i))
		}
	}
	w.wantSent(want...)
}

// Of two replicas, one is killed or freezes at a random moment after it took
// a webhook. The other one goes on by itself, and within the time of a lease.
func TestReplicaGoesOn(t *testing.T) {
	const (
		takeover = 15 * time.Second // promised
		slack    = 5 * time.Second  // of a slow machine
	)
	random := newSeed(t)
	w, first := newWorld(t, nil)
	url := storetest.Postgres(t)
	w.deploy("production", first, "success")
	l := newLoad(w)
	config := w.filesWith(url)
	replicas := []*process{w.spawn(config), w.spawn(config)}
	l.deployStep()
	l.lastIsPurged()
	for i := range 4 {
		victim := random.IntN(2)
		after := time.Duration(random.IntN(250)) * time.Millisecond
		w.github.SetWebhook("http://"+replicas[random.IntN(2)].addr+"/webhook", w.secret)
		l.deployStep()
		w.github.SetWebhook("http://"+replicas[1-victim].addr+"/webhook", w.secret)
		frozen := i%2 == 1
		if frozen {
			<-time.After(after)
			l.stops = append(l.stops, time.Now())
			replicas[victim].signal(syscall.SIGSTOP)
		} else {
			l.killAfter(after, replicas[victim])
		}
		page := l.steps[len(l.steps)-1].page
		l.lastIsPurged()
		if took := l.accepted(page)[0].Sub(l.stops[i]); took > takeover+slack {
			t.Errorf("stop %d (frozen: %t, %v after the webhook): the other one went on after %v", i, frozen, after, took)
		}
		if frozen {
			replicas[victim].signal(syscall.SIGCONT)
		} else {
			replicas[victim] = w.spawn(config)
		}
	}
	db := beside(t, url)
	w.atRest(db)
	l.check(db())
}
