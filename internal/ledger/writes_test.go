package ledger_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// A merge train: far more to say than GitHub takes. Whatever comes in whatever
// order, no minute has 80 writes and no hour 500, and a person's answer is
// never behind.
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
		u := []ledger.Urgency{ledger.Progress, ledger.LastWord}[random.IntN(2)]
		if random.IntN(300) == 0 { // about 24 an hour
			u = ledger.Person
		}
		var wait time.Duration
		if writes, wait = writes.Take(now, u); wait > 0 {
			if u == ledger.Person {
				t.Fatalf("a person waits %v", wait)
			}
			if _, again := writes.Take(now.Add(wait), u); again > 0 {
				t.Fatalf("after the wait of %v it is %v more", wait, again)
			}
			continue
		}
		done = append(done, now)
		switch u {
		case ledger.Person:
			people++
		case ledger.Progress:
			progress++
		case ledger.LastWord:
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
	if people == 0 || progress == 0 || len(done) < 1000 {
		t.Errorf("%d writes, %d of progress, %d for people", len(done), progress, people)
	}
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
	}{{ledger.Progress, 40}, {ledger.LastWord, 32}, {ledger.Progress, 0}, {ledger.Person, 6}, {ledger.Person, 0}} {
		if n := count(c.urgency); n != c.want {
			t.Errorf("urgency %d: %d writes, want %d", c.urgency, n, c.want)
		}
	}
}
