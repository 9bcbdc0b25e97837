package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purgebot/purgebot/internal/standin"
)

// postgres makes a database of its own on the server that
// PURGEBOT_TEST_POSTGRES names, and drops it after the test.
func postgres(t *testing.T) string {
	t.Helper()
	server := os.Getenv("PURGEBOT_TEST_POSTGRES")
	if server == "" {
		t.Skip("PURGEBOT_TEST_POSTGRES is not set: not tried on PostgreSQL")
	}
	conn, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("purgebot_cmd_%d", rand.Uint64())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		if err := conn.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Two replicas start at the same moment on an empty database. The one that
// has sent and not settled is killed: the other one takes over within 15 s.
func TestReplicaTakesOver(t *testing.T) {
	w, first := newWorld(t, nil)
	database := postgres(t)
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
	config := w.filesWith(postgres(t))
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
