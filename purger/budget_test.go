package purger

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	start := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	b := full(10_000, 200, start)
	if !b.Take(10_000, start) || b.Take(1, start) {
		t.Fatal("a full bucket gives all it has and no more")
	}
	if wait := b.Wait(600); wait != 3*time.Second {
		t.Errorf("wait %v for 600", wait)
	}
	if b.Take(600, start.Add(3*time.Second-time.Millisecond)) || !b.Take(600, start.Add(3*time.Second)) {
		t.Error("600 are there after 3 s, not before")
	}
	if wait := b.Wait(20_000); wait != 50*time.Second {
		t.Errorf("wait %v for more than it holds", wait)
	}
	b.Refill(start)
	if b.Available() != 0 {
		t.Error("a clock that goes back refills nothing")
	}
	b.Refill(start.Add(time.Hour))
	if b.Available() != 10_000 {
		t.Errorf("%d after an hour", b.Available())
	}
	b.GiveBack(5)
	if b.Available() != 10_000 {
		t.Error("more than it holds")
	}
}

// TestBucketManyRefills: a thousand small refills equal one large one.
func TestBucketManyRefills(t *testing.T) {
	start := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	b := full(5_000, 500.0/60, start)
	b.Take(5_000, start)
	for i := range 6000 {
		b.Refill(start.Add(time.Duration(i+1) * 10 * time.Millisecond))
	}
	if b.Available() != 500 {
		t.Errorf("%d after a minute", b.Available())
	}
}

func TestBucketCorrect(t *testing.T) {
	now := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		level Level
		want  Bucket
	}{
		"silent":           {Level{}, Bucket{Capacity: 100, PerSecond: 50, Tokens: 80, At: now}},
		"others took":      {Level{Remaining: new(30.0)}, Bucket{Capacity: 100, PerSecond: 50, Tokens: 30, At: now}},
		"does not know us": {Level{Remaining: new(90.0)}, Bucket{Capacity: 100, PerSecond: 50, Tokens: 80, At: now}},
		"other limits":     {Level{Limit: new(60.0), PerSecond: new(10.0), Remaining: new(70.0)}, Bucket{Capacity: 60, PerSecond: 10, Tokens: 60, At: now}},
		"senseless limits": {Level{Limit: new(0.0), PerSecond: new(0.0)}, Bucket{Capacity: 100, PerSecond: 50, Tokens: 80, At: now}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := Bucket{Capacity: 100, PerSecond: 50, Tokens: 80, At: now}
			b.Correct(test.level, now)
			if b != test.want {
				t.Errorf("got %+v, want %+v", b, test.want)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	now := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	b := NewBudget(now)
	for kind, want := range map[Kind]int{URL: 10_000, Tag: 5_000, CPCode: 300} {
		if got := b.Available(kind, now); got != want {
			t.Errorf("%d %ss, want %d", got, kind, want)
		}
	}
	if !b.Take(CPCode, 300, now) || b.Take(CPCode, 1, now) || b.Requests.Available() != 99 {
		t.Errorf("300 CP codes cost one request and all CP codes: %+v", b)
	}
	if wait := b.Wait(CPCode, 1, now); wait != 2*time.Second {
		t.Errorf("wait %v for a CP code", wait)
	}
	b.Requests.Tokens = 0
	if b.Available(URL, now) != 0 || b.Wait(URL, 1, now) != 20*time.Millisecond {
		t.Errorf("without a request, %d URLs, wait %v", b.Available(URL, now), b.Wait(URL, 1, now))
	}
}

func TestBudgetSettle(t *testing.T) {
	now := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		answer Answer
		want   float64 // URLs, of 10,000 less 600 that were sent
	}{
		"accepted":               {Answer{Verdict: Accepted}, 9_400},
		"accepted, others too":   {Answer{Verdict: Accepted, Limits: Limits{Objects: Level{Remaining: new(50.0)}}}, 50},
		"accepted, not charged":  {Answer{Verdict: Accepted, Limits: Limits{Objects: Level{Limit: new(10_000.0), Remaining: new(10_000.0)}}}, 10_000},
		"refused costs nothing":  {Answer{Verdict: Refused}, 10_000},
		"lost, perhaps nothing":  {Answer{Verdict: Unavailable, Lost: true}, 10_000},
		"limited says what left": {Answer{Verdict: Limited, Limits: Limits{Objects: Level{Remaining: new(17.0)}}}, 17},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := NewBudget(now)
			b.Take(URL, 600, now)
			b.Settle(URL, 600, test.answer, Decide(Attempt{Request: Request{Kind: URL}}, test.answer, Host{}, now), now)
			if b.URLs.Tokens != test.want {
				t.Errorf("%v URLs left, want %v", b.URLs.Tokens, test.want)
			}
		})
	}
}

// Numbers that grew to the bucket's size over time do not mean that Akamai charges
// nothing. A full bucket right after an accepted request would mean that.
func TestAgedFiguresSayNothingOfCharges(t *testing.T) {
	b := NewBudget(time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC))
	told := Limits{Objects: Level{Limit: new(100.0), Remaining: new(50.0), PerSecond: new(200.0)}}
	if aged := b.Aged(URL, told, time.Minute).Objects; aged.unlimited() || *aged.Remaining != 99 {
		t.Errorf("after a minute %v are left", *aged.Remaining)
	}
}
