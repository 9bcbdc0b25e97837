package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

func TestPlaces(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		for id, name := range map[int64]string{1: "zoo", 2: "Site"} {
			if _, err := s.SeeRepository(t.Context(), ledger.Repository{ID: id, Owner: "Acme", Name: name, FirstSeen: c.Now()}); err != nil {
				t.Fatal(err)
			}
			for _, env := range []string{"Staging", "production"} {
				if _, err := s.EnsureEnvironment(t.Context(), id, env); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, test := range map[string]struct {
			repository, environment string
			limit                   int
			want                    []string
		}{
			"all":            {"", "", 9, []string{"Acme/Site production", "Acme/Site Staging", "Acme/zoo production", "Acme/zoo Staging"}},
			"the first":      {"", "", 1, []string{"Acme/Site production"}},
			"a repository":   {"aCME/sITE", "", 9, []string{"Acme/Site production", "Acme/Site Staging"}},
			"an environment": {"", "STAGING", 9, []string{"Acme/Site Staging", "Acme/zoo Staging"}},
			"both":           {"acme/zoo", "staging", 9, []string{"Acme/zoo Staging"}},
			"none":           {"acme/z", "", 9, nil},
			"no pattern":     {"acme/%", "", 9, nil},
		} {
			places, err := s.Places(t.Context(), test.repository, test.environment, test.limit)
			var got []string
			for _, p := range places {
				got = append(got, p.Repository+" "+p.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
		}
	})
}

func TestBacklog(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		start := c.Now()
		read := func() store.Backlog {
			t.Helper()
			b, err := s.Backlog(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if b := read(); len(b.Waiting)+len(b.Requests)+b.Held != 0 || len(b.Budget) != 4 || b.Budget[1].Available() != 10_000 {
			t.Errorf("of an empty queue: %+v", b)
		}
		deployed := deploy(t, s, environment(t, s, c.Now(), "aaa", 1, 1), urls(30))
		c.Advance(time.Second)
		asked, held := planned(t, s, tags("", "a", "b")), planned(t, s, tags("not allowed", "c", "d"))
		for purge, hold := range map[string]bool{asked.ID: false, held.ID: true} {
			if err := s.OpenPurge(t.Context(), purge, hold); err != nil {
				t.Fatal(err)
			}
		}
		b := read()
		if diff := cmp.Diff([]store.Waiting{
			{Account: "default", Kind: mapping.Tag, Lane: ledger.LanePeople, Targets: 2, Since: start.Add(time.Second)},
			{Account: "default", Kind: mapping.URL, Lane: ledger.LaneDeploy, Targets: 30, Since: start},
		}, b.Waiting); diff != "" {
			t.Errorf("waiting (-want +got):\n%s", diff)
		}
		if b.Held != 1 || b.HeldTargets != 2 {
			t.Errorf("held %d with %d targets", b.Held, b.HeldTargets)
		}
		unended, err := s.Unended(t.Context(), 2)
		if err != nil || len(unended) != 2 || unended[0].ID != asked.ID || unended[1].ID != held.ID {
			t.Errorf("people come first: %+v, %v", unended, err)
		}

		r := claim(t, s)
		b = read()
		if len(b.Waiting) != 1 || b.Waiting[0].Kind != mapping.Tag {
			t.Errorf("what a request took waits no longer: %+v", b.Waiting)
		}
		if diff := cmp.Diff([]store.Flying{{Account: "default", Kind: mapping.URL, State: "sending", Requests: 1, Objects: 30}}, b.Requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if b.Budget[0].Available() != 99 || b.Budget[1].Available() != 9970 || b.Budget[2].Available() != 5000 {
			t.Errorf("budget: %+v", b.Budget)
		}
		until := c.Now().Add(15 * time.Second)
		settle(t, s, r, reply(purger.Answer{Verdict: purger.NoGrant}))
		c.Advance(time.Hour) // time refills what Akamai did not charge
		b = read()
		q, err := s.Queue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a := q.Account("default"); a.Words != "purgebot's Akamai API client may not purge" || !a.Paused || !a.Until.Equal(until) || a.Targets != q.Targets {
			t.Errorf("the account is %+v", a)
		}
		if len(b.Requests) != 1 || b.Requests[0].State != "ready" ||
			b.Budget[0].Available() != 100 || b.Budget[1].Available() != 10_000 {
			t.Errorf("paused: %+v", b)
		}
		last, err := s.PurgesOf(t.Context(), deployed.EnvID, 3)
		if err != nil || len(last) != 1 || last[0].ID != deployed.ID {
			t.Errorf("purges of the environment: %+v, %v", last, err)
		}
	})
}

func TestMigrateTellsTheVersions(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "purgebot.db")
	from, to, err := store.Migrate(t.Context(), store.Config{URL: database})
	if err != nil || from != (store.Schema{}) || to.Tables < 1 || to.Jobs < 1 {
		t.Fatalf("a new database: from %+v to %+v, %v", from, to, err)
	}
	again, now, err := store.Migrate(t.Context(), store.Config{URL: database})
	if err != nil || again != to || now != to {
		t.Errorf("once more: from %+v to %+v, %v; want %+v", again, now, err, to)
	}
	if _, _, err := store.Migrate(t.Context(), store.Config{URL: "mysql://x"}); err == nil {
		t.Error("another kind of database is migrated")
	}
}
