package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// connect is another connection to a PostgreSQL database.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// waitsForLock returns once a connection of the database waits for a row, or something
// else is over.
func waitsForLock(t *testing.T, url string, or <-chan struct{}) {
	t.Helper()
	watcher := connect(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for waits := false; !waits; {
		// The server waits a little between two looks: others need it meanwhile.
		if err := watcher.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database()) FROM pg_sleep(0.02)`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		select {
		case <-or:
			return
		default:
		}
	}
}

// locked runs something that has to wait for a row, and lets time pass while it waits.
func locked(t *testing.T, url, row string, c *clock, do func()) {
	t.Helper()
	holder := connect(t, url)
	for _, q := range []string{"BEGIN", row + " FOR UPDATE"} {
		if _, err := holder.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	waitsForLock(t, url, nil)
	c.Advance(30 * time.Second)
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	<-done
}

// A process that had to wait for its turn holds what it then takes for as long as any
// other.
func TestLeasesBeginWhenTheyAreTaken(t *testing.T) {
	t.Run("a request", func(t *testing.T) {
		t.Parallel()
		url, c := storetest.Postgres(t), newClock()
		s := open(t, url, c.Now)
		opened(t, s, ledger.LaneDeploy, urls(2))
		nothingOfTags(t, s) // makes the row
		locked(t, url, `SELECT 1 FROM budget WHERE bucket = 'requests'`, c, func() {
			r := claim(t, s)
			if left := r.LeaseUntil.Sub(c.Now()); left < purger.SendTime {
				t.Errorf("the lease has %v left, and the attempt takes up to %v", left, r.Limit)
			}
		})
	})
	for name, hold := range map[string]func(t *testing.T, s *store.Store, c *clock) (table, row string, take func(lease time.Duration) error){
		"a surface": func(t *testing.T, s *store.Store, c *clock) (string, string, func(time.Duration) error) {
			deploy(t, s, environment(t, s, c.Now(), "a", 1, 1), urls(1))
			return "post", `surface = '` + surfaces()[0] + `'`, func(lease time.Duration) error {
				_, err := s.ClaimPost(t.Context(), surfaces()[0], lease)
				return err
			}
		},
		"a chore": func(t *testing.T, s *store.Store, _ *clock) (string, string, func(time.Duration) error) {
			if err := s.Hasten(t.Context(), "chore"); err != nil {
				t.Fatal(err)
			}
			return "chore", `name = 'chore'`, func(lease time.Duration) error {
				_, ok, err := s.ClaimChore(t.Context(), "chore", lease)
				if err == nil && !ok {
					err = store.ErrNotFound
				}
				return err
			}
		},
		"a chore that goes on": func(t *testing.T, s *store.Store, _ *clock) (string, string, func(time.Duration) error) {
			if err := s.Hasten(t.Context(), "chore"); err != nil {
				t.Fatal(err)
			}
			chore, ok, err := s.ClaimChore(t.Context(), "chore", time.Hour)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			return "chore", `name = 'chore'`, func(lease time.Duration) error { return s.RenewChore(t.Context(), chore, lease) }
		},
		"a proof": func(t *testing.T, s *store.Store, c *clock) (string, string, func(time.Duration) error) {
			p := proving(t, s, "production", c.Now())
			return "proof", `purge_id = '` + p.ID + `'`, func(lease time.Duration) error {
				_, err := s.ClaimProof(t.Context(), p.ID, lease, lease)
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, c := storetest.Postgres(t), newClock()
			s := open(t, url, c.Now)
			table, row, take := hold(t, s, c)
			locked(t, url, `SELECT 1 FROM `+table+` WHERE `+row, c, func() {
				if err := take(time.Minute); err != nil {
					t.Error(err)
				}
			})
			var until int64
			if err := connect(t, url).QueryRow(t.Context(), `SELECT lease_until FROM `+table+` WHERE `+row).Scan(&until); err != nil {
				t.Fatal(err)
			}
			if left := time.UnixMilli(until).Sub(c.Now()); left != time.Minute {
				t.Errorf("the lease has %v left", left)
			}
		})
	}
}

func nothingOfTags(t *testing.T, s *store.Store) {
	t.Helper()
	if r, _, err := s.Claim(t.Context(), "", purger.Tag); err != nil || r != nil {
		t.Fatal(r, err)
	}
}

// A server that isolates more by default is asked for the isolation that the turns need.
func TestSessionSetsItsIsolation(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	conn := connect(t, url)
	name := url[strings.LastIndex(url, "/")+1:]
	if _, err := conn.Exec(t.Context(), `ALTER DATABASE `+name+` SET default_transaction_isolation = 'serializable'`); err != nil {
		t.Fatal(err)
	}
	c := newClock()
	s := open(t, url, c.Now)
	opened(t, s, ledger.LaneDeploy, urls(5000))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			claimed(t, s)
		})
	}
	wg.Wait()
}

// A person releases a held purge at the moment at which a deployment covers it. Either it
// goes out or it is cancelled. It is never open with nothing left in it.
func TestReleaseBesideAnOvertakingDeployment(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for i := range 20 {
			status := int64(2*i + 1)
			at := c.Now().Add(time.Duration(i) * time.Minute)
			e := environment(t, s, at, fmt.Sprintf("held-%d", i), status, status)
			held := begun(t, s, e, ledger.CauseDeploy)
			if ok, err := s.Commit(t.Context(), store.Move{Env: e, To: e.Desired, Purge: &held, Hold: true, Context: "purge/production"}); err != nil || !ok {
				t.Fatal(ok, err)
			}
			e = environment(t, s, at.Add(time.Second), fmt.Sprintf("next-%d", i), status+1, status+1)
			next := begun(t, s, e, ledger.CauseDeploy)
			var wg sync.WaitGroup
			wg.Go(func() {
				err := s.Release(t.Context(), store.Act{Purge: held.ID, By: "ann"}, allow)
				if err != nil && !errors.Is(err, store.ErrNothing) {
					t.Error(err)
				}
			})
			wg.Go(func() { committed(t, s, e, next) })
			wg.Wait()
			lines, err := s.Targets(t.Context(), held.ID, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			p := reread(t, s, held.ID)
			switch got := string(p.State) + " " + string(lines[0].Fate); got {
			case "open waiting", "cancelled dropped":
			default:
				t.Fatalf("the held purge is %s", got)
			}
			if p.State == ledger.Open { // so that it does not get in the way of the next one
				if err := s.Cancel(t.Context(), store.Act{Purge: held.ID, By: "ann"}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// PostgreSQL breaks off one of two transactions that wait for each other. That one begins
// anew, and returns what its second run did.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	url, c := storetest.Postgres(t), newClock()
	s, ctx := open(t, url, c.Now), t.Context()
	for _, id := range []int64{1, 2} {
		if _, err := s.SeeRepository(ctx, ledger.Repository{ID: id, Owner: "acme", Name: fmt.Sprint(id), DefaultBranch: "main"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Gone(ctx, "suspended", 1, 2); err != nil {
		t.Fatal(err)
	}
	holder := connect(t, url)
	do := func(q string) {
		if _, err := holder.Exec(ctx, q); err != nil {
			t.Error(err)
		}
	}
	do(`SET deadlock_timeout TO '1h'`) // so that the other one is broken off
	do(`BEGIN`)
	do(`SELECT 1 FROM repo WHERE id = 2 FOR UPDATE`)
	var wg sync.WaitGroup
	wg.Go(func() {
		back, err := s.Back(ctx, 1, 2)
		if err != nil || !slices.Equal(back, []int64{1, 2}) {
			t.Error(back, err)
		}
	})
	waitsForLock(t, url, nil)
	do(`SELECT 1 FROM repo WHERE id = 1 FOR UPDATE`)
	do(`COMMIT`)
	wg.Wait()
}

// Everything that changes what GitHub shows runs at the same time, and no two
// transactions wait for each other.
func TestSurfacesAreLockedInOneOrder(t *testing.T) {
	t.Parallel()
	url, c := storetest.Postgres(t), newClock()
	stores := []*store.Store{open(t, url, c.Now), open(t, url, c.Now)}
	s := stores[0]
	var purges []ledger.Purge
	for i := range 100 {
		e := environmentNamed(t, s, fmt.Sprintf("env-%d", i), c.Now())
		p := begunWith(t, s, e, urls(3))
		committed(t, s, e, p)
		purges = append(purges, p)
	}
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() { // pauses and resumes: every open purge says so
			for n := range 100 {
				r := claimed(t, s)
				if r == nil {
					c.Advance(time.Second)
					continue
				}
				a := []store.Reply{badCredentials, reply(purger.Answer{Verdict: purger.Limited})}[n%2]
				if _, _, err := s.Settle(t.Context(), r, a); err != nil {
					t.Error(err)
				}
				c.Advance(16 * time.Second)
			}
		})
		wg.Go(func() {
			for range 100 {
				if err := s.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
				c.Advance(20 * time.Second)
			}
		})
		wg.Go(func() {
			for _, p := range purges {
				if _, err := s.Retry(t.Context(), store.Act{Purge: p.ID, By: "ann"}, allow); err != nil && !errors.Is(err, store.ErrNothing) {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for n := range 15 {
				e := environmentNamed(t, s, fmt.Sprintf("env-%d", (n+7*i)%100), c.Now().Add(time.Duration(n+1)*time.Hour))
				p := begunWith(t, s, e, urls(1))
				if _, err := s.Commit(t.Context(), store.Move{Env: e, To: e.Desired, Purge: &p, Context: "purge/" + e.Name}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func environmentNamed(t *testing.T, s *store.Store, name string, at time.Time) ledger.Environment {
	t.Helper()
	e, _, err := s.Desire(t.Context(), repoID, name, ledger.Deploy{
		Point: ledger.Point{SHA: name + at.Format("150405"), Deploy: at.Unix(), Status: at.Unix(), At: at}, State: "success",
	}, time.Time{})
	if err != nil {
		t.Error(err)
	}
	return e
}

// begunWith begins a purge of an environment's desired commit and writes its targets.
func begunWith(t *testing.T, s *store.Store, e ledger.Environment, targets []mapping.Target) ledger.Purge {
	t.Helper()
	p, err := s.Begin(t.Context(), ledger.Purge{
		RepoID: repoID, EnvID: e.ID, Environment: e.Name, Cause: ledger.CauseDeploy, To: e.Desired, Network: mapping.Production,
	})
	if err == nil {
		err = s.AddTargets(t.Context(), p, slices.Values(targets), asGiven)
	}
	if err != nil {
		t.Error(err)
	}
	return p
}

// A purge is done when the latest of Akamai's estimates has passed, whichever answer came
// last.
func TestDoneWithTheLatestEstimate(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := asked(t, s, urls(4)...)
		settle(t, s, claim(t, s), tooLarge)
		slow, quick := accepted, accepted
		slow.Estimated = time.Minute
		want := c.Now().Add(time.Minute)
		settle(t, s, claim(t, s), slow)
		c.Advance(time.Second)
		settle(t, s, claim(t, s), quick)
		if p = reread(t, s, p.ID); p.State != ledger.Done || !p.DoneAt.Equal(want) {
			t.Errorf("%s at %v, want done at %v", p.State, p.DoneAt, want)
		}
	})
}

// A request that waits to be sent again, or is being sent, is not pruned, however old it
// is.
func TestPruneLeavesRequestsThatAreNotDone(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		asked(t, s, urls(4)...)
		settle(t, s, claim(t, s), tooLarge)
		sending := claim(t, s)
		gone := asked(t, s, target("https://www.example.com/other", mapping.Invalidate))
		settle(t, s, sending, unavailable)
		ready := claim(t, s)
		settle(t, s, ready, unavailable)
		cancelled := claim(t, s) // its purge is cancelled, and pruned with its targets
		if err := s.Cancel(t.Context(), store.Act{Purge: gone.ID, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
		if err := s.Prune(t.Context(), c.Now().Add(time.Hour), c.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if !settle(t, s, cancelled, accepted) {
			t.Error("the request that was being sent is gone")
		}
		for range 2 {
			if r := claim(t, s); len(r.Objects) != 2 {
				t.Errorf("%d objects are left of one that was ready", len(r.Objects))
			}
		}
	})
}

// A purge that wants an object deleted opens at the moment at which an invalidation of
// the object is claimed. The invalidation does not count as the delete.
func TestInvalidationTakesNoDeleteAlong(t *testing.T) {
	t.Parallel()
	url, c := storetest.Postgres(t), newClock()
	s, other := open(t, url, c.Now), open(t, url, c.Now)
	const object = "https://www.example.com/"
	asked(t, s, target(object, mapping.Invalidate))
	s.Between("SET state = 'claimed'", func() { asked(t, other, target(object, mapping.Delete)) })
	for _, want := range []purger.Action{purger.Invalidate, purger.Delete} {
		if r := claim(t, s); r.Action != want {
			t.Fatalf("claimed one to %s, want one to %s", r.Action, want)
		}
	}
}

// What changes while Prune looks at it is not what Prune was to delete any more. Someone
// else's transaction changes a row here, and commits when Prune is done or waits for it.
func TestPruneBesideAChange(t *testing.T) {
	const opened = `UPDATE purge SET state = 'open'`
	const inFull = `SELECT COUNT(*) FROM purge JOIN target ON purge_id = id WHERE purge.state = 'open'`
	for name, test := range map[string]struct {
		planned int // how many targets a plan has that nobody works on any more
		before  string
		change  string
		kept    string // what must be there after it
		n       int
	}{
		"a plan is opened":   {600, `SELECT 1`, opened, inFull, 600},
		"a purge is retried": {600, `UPDATE purge SET state = 'done'`, opened, inFull, 600},
		"a delivery is replayed": {
			0, `INSERT INTO delivery (guid, event, body, received_at, handled_at, next_at) VALUES ('g', 'push', '', 0, 1, 0)`,
			`UPDATE delivery SET handled_at = 0`, `SELECT COUNT(*) FROM delivery`, 1,
		},
		"a status has new words": {
			0, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version, posted_version)
				VALUES ('s', 77, 'e', 'a', 'c', '', 'success', 'w', 0, 1, 1)`,
			`UPDATE post SET version = 2`, `SELECT COUNT(*) FROM post`, 1,
		},
		"a commit is live again": {
			0, `INSERT INTO lived (env_id, sha, at) VALUES ('e', 'a', 1)`,
			`UPDATE lived SET at = 9000000000000`, `SELECT COUNT(*) FROM lived`, 1,
		},
		"an environment is deployed to": {
			0, `WITH e AS (INSERT INTO environment (id, repo_id, name, name_folded, live_sha, desired_sha, live_at, desired_at)
					VALUES ('e', 77, 'p', 'p', 'a', 'a', 1, 1)),
				t AS (INSERT INTO tree (env_id, listing) VALUES ('e', ''))
				INSERT INTO served (env_id, sha, deploy_id, status_id, at) VALUES ('e', 'b', 1, 1, 1)`,
			`UPDATE environment SET desired_sha = 'b', desired_at = 9000000000000`,
			`SELECT COUNT(*) FROM environment e JOIN tree t ON t.env_id = e.id JOIN served s ON s.env_id = e.id`, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, c := storetest.Postgres(t), newClock()
			s := open(t, url, c.Now)
			other := connect(t, url)
			run := func(query string) {
				t.Helper()
				if _, err := other.Exec(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
			if test.planned > 0 {
				p, err := s.Begin(t.Context(), ledger.Purge{RepoID: repoID, Environment: "production", Network: mapping.Production})
				if err == nil {
					err = s.AddTargets(t.Context(), p, slices.Values(urls(test.planned)), asGiven)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			c.Advance(2 * time.Hour)
			for _, query := range []string{test.before, `BEGIN`, test.change} {
				run(query)
			}
			pruned := make(chan struct{})
			go func() {
				defer close(pruned)
				if err := s.Prune(t.Context(), c.Now(), c.Now()); err != nil {
					t.Error(err)
				}
			}()
			waitsForLock(t, url, pruned)
			run(`COMMIT`)
			<-pruned
			var n int
			if err := other.QueryRow(t.Context(), test.kept).Scan(&n); err != nil || n != test.n {
				t.Errorf("%d rows are left, not %d: %v", n, test.n, err)
			}
		})
	}
}
