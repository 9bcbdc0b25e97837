package ledger_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// A merge train has far more to say than GitHub takes. Whatever comes in whatever order,
// no minute has 80 writes and no hour 500, and the last word of a purge is never late.
func TestWritesStayUnderGitHubsLimits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	now := time.Unix(1_700_000_000, 0)
	end := now.Add(3 * time.Hour)
	var writes ledger.Writes
	var done []time.Time
	people, progress := 0, 0
	for now.Before(end) {
		now = now.Add(time.Duration(random.IntN(900)) * time.Millisecond)
		u := []ledger.Urgency{ledger.Refused, ledger.Preview, ledger.FirstWord, ledger.Progress, ledger.Person}[random.IntN(5)]
		last := random.IntN(150) == 0 // about 48 an hour
		if last {
			u = ledger.LastWord
		}
		var wait time.Duration
		if writes, wait = writes.Take(now, u); wait > 0 {
			if last {
				t.Fatalf("the last word of a purge waits %v", wait)
			}
			if _, again := writes.Take(now.Add(wait), u); again > 0 {
				t.Fatalf("after the wait of %v it is %v more", wait, again)
			}
			continue
		}
		done = append(done, now)
		if u == ledger.Person {
			people++
		}
		if u == ledger.Progress {
			progress++
		}
	}
	for i, first := range done {
		minute, hour := 0, 0
		for _, t := range done[i:] {
			if d := t.Sub(first); d < time.Minute {
				minute++
			} else if d >= time.Hour {
				break
			}
			hour++
		}
		if minute >= 80 || hour >= 500 {
			t.Fatalf("%d writes in a minute and %d in an hour from %v on", minute, hour, first)
		}
	}
	if people == 0 || progress == 0 || len(done) < 500 {
		t.Errorf("%d writes, %d of progress, %d for people", len(done), progress, people)
	}
}

// A stranger comments forty times a minute and pushes to pull requests as often, for
// hours. A person who may ask is answered within two seconds of the test's clock, and how
// a purge ended is told within five.
func TestAStrangersFloodDelaysNobody(t *testing.T) {
	type write struct {
		due time.Time
		at  time.Time // when it is asked for, or asked for again
		u   ledger.Urgency
	}
	begin := time.Unix(1_700_000_000, 0)
	var queue []write
	every := func(d time.Duration, after time.Duration, u ledger.Urgency) {
		for at := after; at < 3*time.Hour; at += d {
			queue = append(queue, write{begin.Add(at), begin.Add(at), u})
		}
	}
	every(1500*time.Millisecond, 0, ledger.Refused)
	every(1500*time.Millisecond, 700*time.Millisecond, ledger.Preview)
	for _, after := range []time.Duration{0, time.Second} { // the deployed commit and the pushed one
		every(2*time.Minute, 50*time.Second+after, ledger.FirstWord)
		for step := range 5 {
			every(2*time.Minute, time.Minute+time.Duration(step)*3*time.Second+after, ledger.Progress)
		}
		every(2*time.Minute, 76*time.Second+after, ledger.LastWord)
	}
	for _, after := range []time.Duration{0, 100 * time.Millisecond, 6 * time.Second, 7 * time.Second} { // eyes, a reply, its edit, rocket
		every(3*time.Minute, 80*time.Second+after, ledger.Person)
	}
	var writes ledger.Writes
	latest, done := map[ledger.Urgency]time.Duration{}, map[ledger.Urgency]int{}
	for len(queue) > 0 {
		next := slices.MinFunc(queue, func(a, b write) int { return a.at.Compare(b.at) })
		queue = slices.DeleteFunc(queue, func(w write) bool { return w == next })
		var wait time.Duration
		if writes, wait = writes.Take(next.at, next.u); wait == 0 {
			latest[next.u] = max(latest[next.u], next.at.Sub(next.due))
			done[next.u]++
		} else if next.u > ledger.Preview && next.u != ledger.Progress { // a refusal is dropped; a preview or progress is replaced by what comes next
			next.at = next.at.Add(wait + min(wait, 10*time.Second)) // the longest that the pipeline puts it off
			queue = append(queue, next)
		}
	}
	if latest[ledger.LastWord] > 5*time.Second || latest[ledger.Person] > 2*time.Second {
		t.Errorf("the last word comes %v late, an answer %v", latest[ledger.LastWord], latest[ledger.Person])
	}
	if done[ledger.LastWord] != 180 || done[ledger.Person] != 240 || done[ledger.Refused] == 0 || done[ledger.Refused] > 180 {
		t.Errorf("written: %v", done)
	}
	t.Logf("written: %v, late: %v", done, latest)
}

func TestWritesByUrgency(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var writes ledger.Writes
	count := func(u ledger.Urgency) (n int) {
		for {
			var wait time.Duration
			if writes, wait = writes.Take(now, u); wait > 0 {
				if wait != time.Minute {
					t.Errorf("wait is %v, want a minute", wait)
				}
				return n
			}
			n++
		}
	}
	for _, c := range []struct {
		urgency ledger.Urgency
		want    int
	}{
		{ledger.Refused, 10},
		{ledger.Preview, 18},
		{ledger.FirstWord, 6},
		{ledger.Progress, 6},
		{ledger.Refused, 0},
		{ledger.Person, 26},
		{ledger.Progress, 0},
		{ledger.LastWord, 12},
		{ledger.LastWord, 0},
	} {
		if n := count(c.urgency); n != c.want {
			t.Errorf("urgency %d: %d writes, want %d", c.urgency, n, c.want)
		}
	}
}

// Writes that were dated by a clock an hour ahead hold up nothing once the clock is
// right.
func TestWritesOfAClockThatWasWrong(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var w ledger.Writes
	for range 78 {
		w = append(w, now.Add(time.Hour))
	}
	if _, wait := w.Take(now, ledger.LastWord); wait > 0 {
		t.Errorf("the next one waits %v", wait)
	}
	if _, wait := w.Take(now.Add(time.Hour-time.Minute), ledger.LastWord); wait == 0 {
		t.Error("writes of a replica whose clock is ahead by what is allowed don't count")
	}
}
