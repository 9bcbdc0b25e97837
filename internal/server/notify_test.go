package server_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
)

const notifySchema = "../../docs/notify.schema.json"

// withOther also purges a host that the policy does not allow: one object of each
// deployment is refused.
const withOther = servertest.Rules + "  - name: other\n    match: content/index/*\n    urls: [\"https://www.other.com/{1}\"]\n"

// toldWorld is a world on each engine, with receivers that the server may reach, and a
// clock that a test moves.
type toldWorld struct {
	*world
	said  servertest.Log
	ahead atomic.Int64
}

func toldWorlds(t *testing.T, test func(t *testing.T, w *toldWorld)) {
	t.Parallel()
	for engine, database := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(engine, func(t *testing.T) {
			w := &toldWorld{}
			var first string
			w.world, first = newWorld(t, func(c *stage.Config) {
				c.Database = database(t)
				c.ServerNow = func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
				servertest.WithLog(&w.said)(c)
			})
			w.Deploy("production", first, "success")
			test(t, w)
		})
	}
}

func (w *toldWorld) begin(receivers ...config.Receiver) {
	w.T.Helper()
	w.Begin(func(c *server.Config) {
		c.Notify, c.Fetch.Networks = receivers, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
}

// fails deploys a commit of which one object is refused.
func (w *toldWorld) fails(content string) (sha string) {
	w.T.Helper()
	sha = w.Commit(content, map[string]string{"purge-rules.yaml": withOther, "content/index/home.md": content})
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "failure", "2 purged, 1 refused")
	return sha
}

func (w *toldWorld) pause(resume bool) {
	w.T.Helper()
	var err error
	if resume {
		_, err = w.Server.Store().Resume(w.T.Context(), ledger.Scope{}, "bob")
	} else {
		_, err = w.Server.Store().Pause(w.T.Context(), ledger.Pause{By: "ann", Reason: "the origin is away"})
	}
	if err != nil {
		w.T.Fatal(err)
	}
}

func events(heard []servertest.Notified) (all []string) {
	for _, n := range heard {
		all = append(all, n.Event)
	}
	return all
}

// wantTold waits until a receiver has heard these events, and no other.
func (w *toldWorld) wantTold(r *servertest.Receiver, want ...string) []servertest.Notified {
	w.T.Helper()
	w.Eventually("the receiver hears "+strings.Join(want, ", "), func() bool { return len(r.Heard()) >= len(want) })
	once := r.Once(w.T)
	if diff := cmp.Diff(want, events(once)); diff != "" {
		w.T.Errorf("told (-want +got):\n%s", diff)
	}
	return once
}

// A receiver hears what fails, is held, is paused or resumed, and works again. A receiver
// for other events or repositories does not. No address and no secret is in the log or in
// the metrics.
func TestNotified(t *testing.T) {
	toldWorlds(t, func(t *testing.T, w *toldWorld) {
		all, other := servertest.NewReceiver(t, notifySchema), servertest.NewReceiver(t, notifySchema)
		elsewhere, few := other.Config(), servertest.NewReceiver(t, notifySchema)
		elsewhere.Repositories = []string{"globex/*"}
		held := few.Config()
		held.Events = []ledger.EventKind{ledger.EventHeld}
		w.begin(all.Config(), elsewhere, held)

		w.fails("second")
		got := w.wantTold(all, "failed")[0]
		if got.Repository != "acme/site" || got.Environment != "production" || got.Purge.Purged != 2 || got.Purge.Refused != 1 ||
			!strings.Contains(got.Text, "2 purged, 1 refused: policy doesn't allow host www.other.com for acme/site. Details: http://") || !strings.Contains(got.Text, got.URL) {
			t.Errorf("%s", got.Raw)
		}
		w.pause(false)
		w.pause(true)
		w.wantTold(all, "failed", "paused", "resumed")
		w.wantTold(other, "paused", "resumed") // of everything, so of globex too

		limited := w.Commit("limited", map[string]string{
			"purge-rules.yaml": servertest.Rules + "limits: [{over: 1, instead: hold}]\n", "content/index/home.md": "third",
		})
		w.Deploy("production", limited, "success")
		w.Await(limited, "production", "pending", "Needs approval")
		w.wantTold(all, "failed", "paused", "resumed", "held")
		w.wantTold(few, "held")

		// A receiver has heard before the server knows that it has.
		var metrics string
		w.Eventually("the metrics count what was told", func() bool {
			metrics = w.get("/metrics")
			return strings.Contains(metrics, "purgebot_notifications_sent_total 7") && strings.Contains(metrics, "purgebot_notifications_waiting 0")
		})
		said := w.said.String() + metrics
		for _, secret := range []string{"secret-path", all.Secret} {
			if strings.Contains(said, secret) {
				t.Errorf("%s is in the log or the metrics", secret)
			}
		}
	})
}

func (w *toldWorld) get(path string) string {
	w.T.Helper()
	resp, err := http.Get("http://" + w.Server.Addr() + path)
	if err != nil {
		w.T.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		w.T.Fatal(err)
	}
	return b.String()
}

// A receiver that is away for ten minutes then hears everything: each event once, and
// those of one purge in order. Purges continue in the meantime, and so does the other
// receiver.
func TestReceiverIsAwayForTenMinutes(t *testing.T) {
	toldWorlds(t, func(t *testing.T, w *toldWorld) {
		good, away := servertest.NewReceiver(t, notifySchema), servertest.NewReceiver(t, notifySchema)
		var back atomic.Bool
		var vain atomic.Int64
		away.Answer = func(context.Context, servertest.Notified) int {
			if back.Load() {
				return http.StatusOK
			}
			vain.Add(1)
			return http.StatusServiceUnavailable
		}
		w.begin(away.Config(), good.Config())
		w.fails("second")
		w.Eventually("the receiver is tried in vain", func() bool { return vain.Load() >= 2 })
		w.fails("third")
		purges, err := w.Server.Store().Recent(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			w.ahead.Add(int64(5 * time.Minute))
			before := vain.Load()
			w.Eventually("the receiver is tried again", func() bool { return vain.Load() > before })
		}
		for _, p := range purges {
			if p.Counts.Failed > 0 {
				w.retry(p)
			}
		}
		w.pause(false)
		w.pause(true)
		w.wantTold(good, "failed", "failed", "mended", "mended", "paused", "resumed")
		if got := len(away.Heard()); got != 0 {
			t.Fatalf("%d arrived while it was away", got)
		}
		back.Store(true)
		w.ahead.Add(int64(10 * time.Minute))
		w.Eventually("the receiver has all", func() bool { return len(away.Once(t)) == 6 })
		checkOrder(t, away.Once(t), good.Once(t))
		if n := away.Once(t)[0]; n.Missed != 0 {
			t.Errorf("%s", n.Raw)
		}
	})
}

// retry sends the refused objects of a purge, whatever the policy says.
func (w *toldWorld) retry(p ledger.Purge) {
	w.T.Helper()
	if _, err := w.Server.Store().Retry(w.T.Context(), store.Act{Purge: p.ID, By: "ann"}, func(mapping.Target) string { return "" }); err != nil {
		w.T.Fatal(err)
	}
	w.Eventually("the retry has ended", func() bool {
		now, err := w.Server.Store().Purge(w.T.Context(), p.ID)
		return err == nil && now.State == ledger.Done && now.Counts.Failed == 0
	})
}

// checkOrder wants the same events from both, in the same order for each subject.
func checkOrder(t *testing.T, got, want []servertest.Notified) {
	t.Helper()
	of := func(all []servertest.Notified) map[string][]string {
		by := map[string][]string{}
		for _, n := range all {
			key := n.Purge.ID
			if n.Pause.ID > 0 {
				key = "pause"
			}
			by[key] = append(by[key], n.ID)
		}
		return by
	}
	if diff := cmp.Diff(of(want), of(got)); diff != "" {
		t.Errorf("by subject (-want +got):\n%s", diff)
	}
}

// Receivers that hang, as many as there may be, delay neither another receiver nor a
// purge.
func TestHangingReceivers(t *testing.T) {
	toldWorlds(t, func(t *testing.T, w *toldWorld) {
		good := servertest.NewReceiver(t, notifySchema)
		var hanging atomic.Int64
		var receivers []config.Receiver
		for range config.MostReceivers - 1 {
			hangs := servertest.NewReceiver(t, notifySchema)
			hangs.Answer = func(ctx context.Context, _ servertest.Notified) int {
				hanging.Add(1)
				defer hanging.Add(-1)
				<-ctx.Done()
				return http.StatusTeapot
			}
			receivers = append(receivers, hangs.Config())
		}
		w.begin(append(receivers, good.Config())...)
		w.fails("second")
		w.Eventually("all others hang at once", func() bool { return hanging.Load() == config.MostReceivers-1 })
		w.wantTold(good, "failed")
		w.fails("third")
		w.wantTold(good, "failed", "failed")
	})
}

// Receivers are told that GitHub could not deliver webhooks, and that it delivers again.
func TestUnheardIsTold(t *testing.T) {
	toldWorlds(t, func(t *testing.T, w *toldWorld) {
		r := servertest.NewReceiver(t, notifySchema)
		w.begin(r.Config())
		w.Settled()
		w.GitHub.Route(func(github.Delivery) github.Route { return github.Lose })
		w.Pull("lost", map[string]string{"content/about/us.md": "new"}, nil)
		w.GitHub.Route(nil)
		heard := func(n int) {
			w.Eventually("a round finds what there is", func() bool { // one that is under way ends by this clock
				w.ahead.Add(int64(5 * time.Second))
				return len(r.Once(t)) >= n
			})
		}
		w.ahead.Add(int64(6 * time.Minute)) // GitHub's list is looked at every five
		heard(1)
		if got := w.wantTold(r, "unheard")[0]; got.Webhooks.Failed < 1 {
			t.Errorf("%s", got.Raw)
		}
		heard(2)
		// The first may come before anything is known of the installation.
		if got := w.wantTold(r, "unheard", "mended")[1]; got.Webhooks.Account != "acme" {
			t.Errorf("%s", got.Raw)
		}
	})
}
