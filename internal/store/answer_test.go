package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

// Each object shows the answer that decided its fate. A refused object shows its refusal,
// though the same request was accepted without it later.
func TestAnswersAreKept(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		p := asked(t, s, urls(2)...)
		r := claim(t, s)
		settle(t, s, r, reply(purger.Answer{Verdict: purger.Unavailable, Status: 503, Title: "away", SupportID: "s-1"}))
		c.Advance(time.Second)
		refusal := offends(r.Objects[0], "unauthorized arl")
		refusal.Status, refusal.SupportID = 403, "s-2"
		settle(t, s, claim(t, s), refusal)
		c.Advance(time.Second)
		settle(t, s, claim(t, s), reply(purger.Answer{Verdict: purger.Accepted, Status: 201, PurgeID: "p-3", SupportID: "s-3"}))

		start := newClock().Now()
		answers := []ledger.Answer{
			{At: start, Status: 503, Words: "away", SupportID: "s-1"},
			{At: start.Add(time.Second), Status: 403, Words: refusal.Words(), SupportID: "s-2"},
			{At: start.Add(2 * time.Second), Status: 201, PurgeID: "p-3", SupportID: "s-3"},
		}
		all, err := s.Answers(t.Context(), r.ID)
		if diff := cmp.Diff(answers, all); err != nil || diff != "" {
			t.Errorf("all of the request: %v\n%s", err, diff)
		}
		lines, err := s.Targets(t.Context(), p.ID, 0, 2)
		if err != nil || len(lines) != 2 {
			t.Fatal(lines, err)
		}
		if diff := cmp.Diff(answers[1:], []ledger.Answer{lines[0].Answer, lines[1].Answer}); diff != "" {
			t.Errorf("of the objects: %s", diff)
		}
		sum, err := s.Summary(t.Context(), p.ID, 2)
		if err != nil || sum.Failed[0].Answer != answers[1] || sum.Others[0].Answer != answers[2] {
			t.Errorf("in the summary: %+v, %v", sum, err)
		}

		c.Advance(time.Hour)
		if err := s.Prune(t.Context(), c.Now(), c.Now()); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Answers(t.Context(), r.ID); err != nil || len(all) != 0 {
			t.Errorf("pruned, and %d are left, %v", len(all), err)
		}
	})
}

// Of an outage of any length, the last answers are kept, and those that decided
// something.
func TestAnswersAreBounded(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		asked(t, s, urls(2)...)
		r := claim(t, s)
		settle(t, s, r, offends(r.Objects[0], "unauthorized arl"))
		for range 30 {
			settle(t, s, claim(t, s), unavailable)
			c.Advance(20 * time.Second)
		}
		all, err := s.Answers(t.Context(), r.ID)
		if err != nil || len(all) != 21 || all[0].Words != offends(r.Objects[0], "unauthorized arl").Words() {
			t.Errorf("%d answers are kept, %v", len(all), err)
		}
	})
}
