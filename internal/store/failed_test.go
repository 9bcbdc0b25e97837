package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// names gives, for each purge, what it was planned as, and its repository.
func names(failed []store.FailedPurge, as map[string]string) (got []string) {
	for _, p := range failed {
		got = append(got, as[p.ID]+" "+p.Repository)
	}
	return got
}

func TestFailedListsWhatWasRefusedSince(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		if _, err := s.SeeRepository(t.Context(), ledger.Repository{ID: repoID, Owner: "Acme", Name: "site", FirstSeen: c.Now()}); err != nil {
			t.Fatal(err)
		}
		as := map[string]string{}
		add := func(name string, hold bool, tags []mapping.Target) ledger.Purge {
			t.Helper()
			p := planned(t, s, tags)
			as[p.ID] = name
			if err := s.OpenPurge(t.Context(), p.ID, hold); err != nil {
				t.Fatal(err)
			}
			c.Advance(time.Millisecond)
			return p
		}
		open1 := add("open, begun long ago", false, tags("no", "bad", "slow"))
		add("done long ago", false, tags("no", "bad"))
		add("held", true, tags("no", "bad", "x"))
		cancelled := add("cancelled", true, tags("no", "bad", "y"))
		if err := s.Cancel(t.Context(), store.Act{Purge: cancelled.ID, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Hour)
		since := c.Now()
		add("done at that time", false, tags("no", "bad"))
		add("nothing refused", false, tags("no", "z"))
		planning := planned(t, s, tags("no", "bad"))
		c.Advance(time.Hour)

		failed, err := s.Failed(t.Context(), since, "", 9)
		if diff := cmp.Diff([]string{"open, begun long ago Acme/site", "done at that time Acme/site"}, names(failed, as)); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if planning.ID == "" || len(failed) < 2 {
			t.Fatal("nothing to go on with")
		}
		first, err := s.Failed(t.Context(), since, "", 1)
		if err != nil || len(first) != 1 || first[0].ID != open1.ID {
			t.Errorf("a page of one: %v, %v", names(first, as), err)
		}
		rest, err := s.Failed(t.Context(), since, open1.ID, 9)
		if diff := cmp.Diff([]string{"done at that time Acme/site"}, names(rest, as)); diff != "" || err != nil {
			t.Errorf("the next page: %v (-want +got):\n%s", err, diff)
		}
		if _, err := s.Retry(t.Context(), store.Act{Purge: open1.ID}, allow); err != nil {
			t.Fatal(err)
		}
		failed, err = s.Failed(t.Context(), since, "", 9)
		if diff := cmp.Diff([]string{"done at that time Acme/site"}, names(failed, as)); diff != "" || err != nil {
			t.Errorf("after a retry: %v (-want +got):\n%s", err, diff)
		}
	})
}

// A retry for a reason frees what was refused for that reason and nothing else, also when
// there are more targets than one transaction judges.
func TestRetryForAReason(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		var targets []mapping.Target
		for i := range 1100 {
			g := mapping.Target{Kind: mapping.Tag, Object: fmt.Sprintf("t-%d", i), Action: mapping.Invalidate, Reason: "no access"}
			if i%2 == 1 {
				g.Reason = fmt.Sprintf("of another kind %d", i%3)
			}
			targets = append(targets, g)
		}
		p := planned(t, s, targets)
		if err := s.OpenPurge(t.Context(), p.ID, false); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		if err := s.Refused(t.Context(), p.ID, func(reason string, n int) { got[reason] += n }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"no access": 550, "of another kind 0": 183, "of another kind 1": 184, "of another kind 2": 183}, got); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
		only := func(reason string) bool { return reason == "no access" }
		freed, err := s.Retry(t.Context(), store.Act{Purge: p.ID, Only: only}, allow)
		if err != nil || freed != 550 {
			t.Fatalf("freed %d, %v", freed, err)
		}
		if left := reread(t, s, p.ID); left.Counts.Failed != 550 || left.State != ledger.Open || left.Reason != "of another kind 1" {
			t.Errorf("left: %+v", left)
		}
		r := claimTags(t, s)
		if len(r.Objects) == 0 || slices.ContainsFunc(r.Objects, func(o string) bool { return (o[len(o)-1]-'0')%2 == 1 }) {
			t.Errorf("sent: %v", r.Objects)
		}
		settle(t, s, r, reply(purger.Answer{Verdict: purger.Accepted, PurgeID: "p-1"}))
		if freed, err := s.Retry(t.Context(), store.Act{Purge: p.ID, Only: only}, allow); err == nil || freed != 0 {
			t.Errorf("once more: %d, %v", freed, err)
		}
	})
}
