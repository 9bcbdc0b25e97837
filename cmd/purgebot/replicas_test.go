package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/store/storetest"
)

// Two replicas start at the same moment on an empty database. One of them sends a request
// and is killed before it settles. The other one takes over within 15 s.
func TestReplicaTakesOver(t *testing.T) {
	w, first := newWorld(t, nil)
	database := storetest.Postgres(t)
	w.Deploy("production", first, "success")
	config := w.filesWith(database)
	replicas := []*process{w.start(config), w.start(config)}
	for _, p := range replicas {
		p.serves()
	}

	var once sync.Once
	killed := make(chan struct{})
	w.Akamai.Fault(func(r *http.Request, _ []byte) (fault akamai.Fault) {
		once.Do(func() {
			for _, p := range replicas { // the one that sent it is gone
				p.kill()
			}
			close(killed)
			fault = akamai.Fault{Accept: true, Drop: true}
		})
		return fault
	})
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	select {
	case <-killed:
	case <-time.After(servertest.Patience):
		t.Fatal("nothing was sent")
	}
	w.spawn(config) // another replica
	w.Await(second, "production", "success", "2 URLs purged")
	home := []string{"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/"}
	w.WantSent(slices.Concat(home, home)...)
}

// The main story on PostgreSQL with two replicas: webhooks go to both in turn, and
// everything is sent once.
func TestReplicasShareTheWork(t *testing.T) {
	w, first := newWorld(t, nil)
	config := w.filesWith(storetest.Postgres(t))
	w.Deploy("production", first, "success")
	replicas := []*process{w.spawn(config), w.spawn(config)}
	var want []string
	for i := range 6 {
		w.GitHub.SetWebhook("http://"+replicas[i%2].addr+"/webhook", w.Secret)
		sha := w.Commit(fmt.Sprint(i), map[string]string{fmt.Sprintf("content/step/p%d.md", i): "x"})
		w.Push(sha)
		w.Deploy("production", sha, "success")
		w.Await(sha, "production", "success", "2 URLs purged")
		for _, host := range []string{"www", "m"} {
			want = append(want, fmt.Sprintf("production invalidate url https://%s.acme.com/step/p%d/", host, i))
		}
	}
	w.WantSent(want...)
}

// One of two replicas is killed or freezes at a random moment after it accepted a
// webhook. The other one continues by itself as soon as the lease has ended.
func TestReplicaGoesOn(t *testing.T) {
	random := servertest.Seed(t)
	w, first := newWorld(t, nil)
	url := storetest.Postgres(t)
	w.Deploy("production", first, "success")
	l := newLoad(w)
	config := w.filesWith(url)
	replicas := []*process{w.spawn(config), w.spawn(config)}
	l.deployStep()
	l.lastIsPurged()
	for i := range 4 {
		victim := random.IntN(2)
		after := time.Duration(random.IntN(250)) * time.Millisecond
		w.GitHub.SetWebhook("http://"+replicas[random.IntN(2)].addr+"/webhook", w.Secret)
		l.deployStep()
		w.GitHub.SetWebhook("http://"+replicas[1-victim].addr+"/webhook", w.Secret)
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
		t.Logf("stop %d (frozen: %t, %v after the webhook): the other one went on after %v", i, frozen, after, l.accepted(page)[0].Sub(l.stops[i]))
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
