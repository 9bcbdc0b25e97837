package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
)

const (
	notifySchema = "../../docs/notify.schema.json"

	// withOther also purges a host that policy does not allow.
	withOther = servertest.Rules + "  - name: other\n    match: content/index/*\n    urls: [\"https://www.other.com/{1}\"]\n"
)

// notifying adds receivers to a configuration.
func (w *world) notifying(config string, receivers ...*servertest.Receiver) {
	w.T.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		w.T.Fatal(err)
	}
	text = append(text, "fetch: {networks: [127.0.0.0/8]}\nnotify:\n"...)
	for _, r := range receivers {
		text = fmt.Appendf(text, "  - {url: '%s', secret: %s}\n", r.URL, r.Secret)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		w.T.Fatal(err)
	}
}

// failsPartly deploys a commit of which one object is refused.
func (w *world) failsPartly(content string) (sha string) {
	w.T.Helper()
	sha = w.Commit(content, map[string]string{"purge-rules.yaml": withOther, "content/index/home.md": content})
	w.Deploy("production", sha, "success")
	return sha
}

// The process is killed after the receiver's answer and before it is written down. The
// event comes once more under the same id, and says so.
func TestKilledBetweenTheReceiversAnswerAndTheSettling(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	r := servertest.NewReceiver(t, notifySchema)
	config := w.files()
	w.notifying(config, r)
	p := w.spawn(config)
	var once sync.Once
	killed := make(chan struct{})
	r.Answer = func(context.Context, servertest.Notified) int {
		once.Do(func() { p.kill(); close(killed) })
		return http.StatusOK
	}
	w.failsPartly("second")
	<-killed
	w.spawn(config)
	w.Eventually("the event comes again", func() bool { return len(r.Heard()) == 2 })
	if heard := r.Heard(); len(r.Once(t)) != 1 || heard[0].Attempt != 1 || heard[1].Attempt != 2 {
		t.Errorf("%s\n%s", heard[0].Raw, heard[1].Raw)
	}
}

// The process is killed again and again at random moments, and one receiver often
// refuses. Each event arrives at both, once or marked as repeated, and those of one purge
// in order.
func TestKilledWhileNotifying(t *testing.T) {
	t.Parallel()
	eachKilling(t, func(t *testing.T, k *killing, random *rand.Rand) {
		steady, moody := servertest.NewReceiver(t, notifySchema), servertest.NewReceiver(t, notifySchema)
		var asked atomic.Int64
		moody.Answer = func(context.Context, servertest.Notified) int {
			if asked.Add(1)%3 == 0 { // never twice in a row, or the next attempt is put off for longer each time
				return http.StatusBadGateway
			}
			return http.StatusOK
		}
		k.notifying(k.config, steady, moody)
		k.begin()
		k.Await(k.failsPartly("begin"), "production", "failure", "")
		for i := range 4 {
			k.failsPartly(fmt.Sprint("step ", i))
			k.restart(i%len(k.replicas), time.Duration(random.IntN(1500))*time.Millisecond)
			k.whileKilling(time.Duration(random.IntN(400))*time.Millisecond, "pause", "--reason", "a trial")
			k.whileKilling(time.Duration(random.IntN(400))*time.Millisecond, "resume")
		}
		db := beside(t, k.url)
		k.atRest(db)
		want := told(t, db())
		if len(want) < 2 {
			t.Fatalf("too little to be told: %v", want)
		}
		for _, r := range []*servertest.Receiver{steady, moody} {
			var got []string
			k.patiently("every event has arrived", func() bool {
				got = events(t, r)
				return len(got) >= len(want)
			})
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			t.Logf("%d events, %d posts taken", len(got), len(r.Heard()))
		}
	})
}

// events lists what a receiver got about failed purges and pauses. It leaves out others,
// such as webhooks that failed while the program was down.
func events(t *testing.T, r *servertest.Receiver) (got []string) {
	t.Helper()
	paused := map[int64]bool{}
	for _, n := range r.Once(t) {
		switch n.Event {
		case "failed":
			got = append(got, n.Purge.ID)
		case "paused":
			paused[n.Pause.ID] = true
			got = append(got, fmt.Sprint("paused ", n.Pause.ID))
		case "resumed":
			if !paused[n.Pause.ID] {
				t.Errorf("pause %d was resumed before it was paused", n.Pause.ID)
			}
			got = append(got, fmt.Sprint("resumed ", n.Pause.ID))
		}
	}
	return got
}

// told is what the database says there was to tell.
func told(t *testing.T, db *sql.DB) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT id FROM purge WHERE state = 'done' AND failed > 0
		UNION ALL SELECT 'paused ' || id FROM pause UNION ALL SELECT 'resumed ' || id FROM pause WHERE ended_by <> ''`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// A running server takes over other receivers, all or none. What waits for a receiver
// that stays is kept.
func TestReloadReceivers(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	stays, comes := servertest.NewReceiver(t, notifySchema), servertest.NewReceiver(t, notifySchema)
	config := w.files()
	bare, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	w.notifying(config, stays)
	p := w.spawn(config)
	w.Await(w.failsPartly("second"), "production", "failure", "")
	w.Eventually("it is told", func() bool { return len(stays.Heard()) == 1 })
	if err := os.WriteFile(config, bare, 0o600); err != nil {
		t.Fatal(err)
	}
	w.notifying(config, comes, stays)
	p.signal(syscall.SIGHUP)
	w.Eventually("the change is taken", func() bool { return p.logLines(0)["INFO configuration taken anew"] == 1 })
	w.Await(w.failsPartly("third"), "production", "failure", "")
	w.Eventually("both are told", func() bool { return len(stays.Heard()) == 2 && len(comes.Heard()) == 1 })
}
