package ledger

import (
	"slices"
	"time"
)

// Writes are the moments within the last hour at which one installation of
// the App wrote something to GitHub, the oldest first. GitHub allows 80 such
// requests a minute and 500 an hour, and refuses an installation that asks for
// more: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
type Writes []time.Time

// Urgency says how long something to be written may be kept waiting. What
// waits is rendered when it is written, so it is merged with what comes next.
type Urgency int

// The urgencies, the least first: whoever waits longest waits for the least.
const (
	Refused   Urgency = iota // an answer to who may not: dropped where there is no room
	Preview                  // what a pull request would purge
	FirstWord                // what a deployment will purge
	Progress                 // words that others will replace
	Person                   // an answer to somebody who may ask for it
	LastWord                 // how a purge ended
)

// most is how many writes there may be in a minute and in an hour so that one
// of an urgency may follow. Each leaves room for all above it, and the last word
// of a purge waits for nothing but GitHub itself. GitHub's clock is not ours: a
// little is spare.
func (u Urgency) most() (minute, hour int) {
	switch u {
	case Refused:
		return 10, 60
	case Preview:
		return 28, 190
	case FirstWord:
		return 34, 220
	case Progress:
		return 40, 250
	case Person:
		return 66, 420
	case LastWord:
	}
	return 78, 495
}

// skew is how far the clocks of replicas may differ.
const skew = time.Minute

// Take adds a write of an urgency, if there is room for it now. Else it gives
// the time until there is, provided that nobody else writes; never zero.
func (w Writes) Take(now time.Time, u Urgency) (Writes, time.Duration) {
	w = slices.DeleteFunc(slices.Clone(w), func(t time.Time) bool {
		return !t.After(now.Add(-time.Hour)) || t.After(now.Add(skew)) // or it was written by a clock that was wrong
	})
	minute, hour := u.most()
	var wait time.Duration
	for window, most := range map[time.Duration]int{time.Minute: minute, time.Hour: hour} {
		if n := len(w) - most; n >= 0 {
			wait = max(wait, w[n].Add(window).Sub(now))
		}
	}
	if wait > 0 {
		return w, wait
	}
	return append(w, now), 0
}
