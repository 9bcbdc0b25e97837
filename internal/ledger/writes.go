package ledger

import (
	"slices"
	"time"
)

// Writes are the moments within the last hour at which one installation of the App wrote
// something to GitHub, the oldest first. GitHub allows 80 such requests a minute and 500
// an hour, and refuses an installation that asks for more:
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
type Writes []time.Time

// Urgency says how long a text for GitHub may be kept waiting. It is rendered only when
// it is written, so what waits is merged with what comes after it.
type Urgency int

// The urgencies, from the least urgent to the most urgent. Take orders by most, not by
// these numbers.
const (
	Refused   Urgency = iota // an answer to a person who may not ask: dropped where there is no room
	Preview                  // what a pull request would purge
	FirstWord                // what a deployment will purge
	Progress                 // words that others will replace
	Person                   // an answer to a person who may ask
	LastWord                 // how a purge ended
)

// most is how many writes there may have been in the last minute and in the last hour so
// that one of this urgency may follow. Each urgency leaves room for all above it. The
// last word of a purge waits for nothing but GitHub itself. GitHub's limits are 80 and
// 500; the rest is spare, because GitHub's clock is not ours.
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

// Take adds a write of an urgency if there is room for it now. Otherwise it adds nothing
// and returns how long it takes until there is room, provided that nobody else writes;
// never zero. It always returns the writes without those that do not count any more.
func (w Writes) Take(now time.Time, u Urgency) (Writes, time.Duration) {
	w = slices.DeleteFunc(slices.Clone(w), func(t time.Time) bool {
		return !t.After(now.Add(-time.Hour)) || t.After(now.Add(skew)) // over an hour ago, or written by a wrong clock
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
