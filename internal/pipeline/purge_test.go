package pipeline

import (
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

// What becomes of a request after each kind of answer.
func TestSettle(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	four := purger.Request{Kind: purger.URL, Objects: []string{"a", "b", "c", "d"}}
	one := purger.Request{Kind: purger.URL, Objects: []string{"a"}}
	refusal := purger.Answer{Verdict: purger.Refused, Status: 400, Title: "bad request", SupportID: "17PY"}
	page := purger.Answer{Verdict: purger.Refused, Status: 400, Title: "400 Bad Request"}
	first := store.Refusal{Since: now.Add(-time.Second)}
	with := func(f store.Refusal, change func(*store.Refusal)) store.Refusal {
		change(&f)
		return f
	}
	limited := func(left *float64) purger.Answer {
		return purger.Answer{Verdict: purger.Limited, Limits: purger.Limits{Objects: purger.Level{Remaining: left}}}
	}
	for name, test := range map[string]struct {
		request purger.Request
		refused store.Refusal
		attempt int
		answer  purger.Answer

		want   store.Verdict
		at     int           // of a split
		paused bool          // the account
		after  time.Duration // at least, until it is sent again
		before time.Duration // at most
	}{
		"accepted": {request: four, answer: purger.Answer{Verdict: purger.Accepted}, want: store.Accept},

		"limited, nothing said":           {request: four, answer: limited(nil), want: store.Again, after: 5 * time.Second, before: 5 * time.Second},
		"limited, some left":              {request: four, answer: limited(new(3.0)), want: store.Split, at: 3},
		"limited, none left":              {request: four, answer: limited(new(0.0)), want: store.Again},
		"limited, enough left":            {request: four, answer: limited(new(9.0)), attempt: 1, want: store.Again},
		"limited again, enough left":      {request: four, answer: limited(new(9.0)), attempt: 3, want: store.Again, after: time.Second, before: 2 * time.Second},
		"limited, told when":              {request: four, answer: purger.Answer{Verdict: purger.Limited, RetryAfter: time.Minute}, want: store.Again, after: time.Minute, before: time.Minute},
		"too large":                       {request: four, answer: purger.Answer{Verdict: purger.TooLarge}, want: store.Split, at: 2},
		"one object is too large":         {request: one, answer: purger.Answer{Verdict: purger.TooLarge}, want: store.Fail},
		"no answer":                       {request: four, attempt: 1, answer: purger.Answer{Verdict: purger.Unavailable}, want: store.Again, after: 250 * time.Millisecond, before: 500 * time.Millisecond},
		"no answer for the tenth time":    {request: four, attempt: 10, answer: purger.Answer{Verdict: purger.Unavailable}, want: store.Again, after: 10 * time.Second, before: 20 * time.Second},
		"credentials":                     {request: four, answer: purger.Answer{Verdict: purger.BadCredentials}, want: store.Again, paused: true},
		"clock":                           {request: four, answer: purger.Answer{Verdict: purger.ClockSkew}, want: store.Again, paused: true},
		"grant":                           {request: four, answer: purger.Answer{Verdict: purger.NoGrant}, want: store.Again, paused: true},
		"something else answers":          {request: four, answer: purger.Answer{Verdict: purger.NotServed}, want: store.Again, paused: true},
		"an object is named":              {request: four, answer: purger.Answer{Verdict: purger.Refused, Offender: "b"}, want: store.Fail},
		"refused, nothing named":          {request: four, answer: refusal, want: store.Split, at: 2},
		"one refused in Akamai's words":   {request: one, answer: refusal, want: store.Fail},
		"one refused by a page":           {request: one, answer: page, want: store.Again, paused: true, after: pauseTime, before: 2 * pauseTime},
		"a half, the other not yet heard": {request: four, refused: with(first, func(f *store.Refusal) { f.SiblingWaits = true }), attempt: 1, answer: refusal, want: store.Again, after: 250 * time.Millisecond, before: 500 * time.Millisecond},
		"both halves alike":               {request: four, refused: with(first, func(f *store.Refusal) { f.Sibling = "bad request" }), answer: refusal, want: store.Again, paused: true, after: pauseTime, before: 2 * pauseTime},
		"both single halves alike":        {request: one, refused: with(first, func(f *store.Refusal) { f.Sibling = "bad request" }), answer: refusal, want: store.Again, paused: true, after: pauseTime, before: 2 * pauseTime},
		"both halves, each its own words": {request: four, refused: with(first, func(f *store.Refusal) { f.Sibling = "bad URL" }), answer: refusal, want: store.Split, at: 2},
		"a half, others are accepted":     {request: four, refused: with(first, func(f *store.Refusal) { f.Sibling, f.OthersAccepted = "bad request", true }), answer: refusal, want: store.Split, at: 2},
		"the last one, others accepted":   {request: one, refused: with(first, func(f *store.Refusal) { f.OthersAccepted = true }), answer: refusal, want: store.Fail},
		"alike for more than an hour":     {request: four, refused: store.Refusal{Since: now.Add(-doubtTime - 1), Sibling: "bad request"}, answer: refusal, want: store.Split, at: 2},
	} {
		t.Run(name, func(t *testing.T) {
			v := settle(&store.Request{Request: test.request, Refused: test.refused, Attempt: test.attempt}, test.answer, now)
			if v.Verdict != test.want || v.At != test.at || v.Pause.After(now) != test.paused {
				t.Errorf("%s at %d, paused until %v; want %s at %d, paused %v", v.Verdict, v.At, v.Pause, test.want, test.at, test.paused)
			}
			if after := v.Next.Sub(now); after < test.after || after > test.before {
				t.Errorf("again after %v, want %v to %v", after, test.after, test.before)
			}
			if test.paused && v.Why == "" {
				t.Error("paused without words")
			}
			if v.Verdict == store.Fail && (len(v.Objects) != 1 || test.answer.Offender != "" && v.Objects[0] != test.answer.Offender) {
				t.Errorf("failed: %v", v.Objects)
			}
			if unnamed := test.answer.Verdict == purger.Refused && test.answer.Offender == ""; unnamed != (v.Refusal != "") || unnamed == v.Since.IsZero() {
				t.Errorf("remembers %q since %v", v.Refusal, v.Since)
			}
		})
	}
}

func TestAlarmOnceAMinute(t *testing.T) {
	var a alarm
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	rung := 0
	for i := range 60 { // a probe every 5 s, for 5 minutes
		if a.due(now.Add(time.Duration(i) * 5 * time.Second)) {
			rung++
		}
	}
	if rung != 5 {
		t.Errorf("%d lines in 5 minutes", rung)
	}
}
