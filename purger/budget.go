package purger

import (
	"math"
	"time"
)

// Bucket is a token bucket as Akamai keeps them: it holds at most Capacity
// tokens and gains PerSecond of them a second. It is a plain value; time
// passes only where a caller says so.
type Bucket struct {
	Capacity  float64
	PerSecond float64
	Tokens    float64
	At        time.Time // when Tokens was true

	// Denied counts the requests in a row that Akamai denied though there were
	// tokens by this model: other clients of the account take from the bucket
	// too. Until then nothing is taken, and then by one request at a time.
	Denied int
	Until  time.Time
	// Share is the part of the refill that is counted on, so that others find
	// some too; 0 is all of it. It halves with each denial, and grows again
	// with what is accepted.
	Share float64
}

const (
	leastShare = 1.0 / 2
	moreShare  = 1.0 / 4 // with each request that is accepted

	// probeFor is the refill that the first request takes after a denial: where
	// others have left off, so much is there soon.
	probeFor = time.Second / 10

	// probeTime is how long a denied bucket waits for the answer of the one
	// request that tries it.
	probeTime = SendTime + 3*time.Second
)

// rate is the refill that is counted on. A denied bucket is tried as soon as
// it may have filled: then its rest holds back enough.
func (b *Bucket) rate() float64 {
	if b.Denied > 0 || b.Share <= 0 {
		return b.PerSecond
	}
	return b.Share * b.PerSecond
}

// rest is how much longer nothing may be taken.
func (b *Bucket) rest(now time.Time) time.Duration { return max(0, b.Until.Sub(now)) }

func (b *Bucket) deny(l Level, hold time.Duration, now time.Time) {
	b.Denied++
	b.Until = now.Add(hold)
	if b.Share <= 0 {
		b.Share = 1
	}
	b.Share = max(leastShare, b.Share/2)
	if l.Remaining == nil {
		b.Tokens = 0
	}
}

// answered ends a probe.
func (b *Bucket) answered(accepted bool) {
	b.Until = time.Time{}
	if !accepted {
		return
	}
	b.Denied = 0
	if b.Share > 0 {
		b.Share += moreShare
	}
	if b.Share >= 1 {
		b.Share = 0
	}
}

// full is a bucket that nobody has taken from.
func full(capacity, perSecond float64, now time.Time) Bucket {
	return Bucket{Capacity: capacity, PerSecond: perSecond, Tokens: capacity, At: now}
}

// Refill lets time pass. A clock that went back changes nothing but At.
func (b *Bucket) Refill(now time.Time) {
	if gone := now.Sub(b.At).Seconds(); gone > 0 {
		b.Tokens = min(b.Capacity, b.Tokens+gone*b.rate())
	}
	b.At = now
}

// Take removes n tokens if that many are there at now.
func (b *Bucket) Take(n int, now time.Time) bool {
	b.Refill(now)
	if b.Available() < n || b.rest(now) > 0 {
		return false
	}
	b.Tokens -= float64(n)
	if b.Denied > 0 {
		b.Until = now.Add(probeTime)
	}
	return true
}

// GiveBack returns tokens that Akamai did not charge for, since it refused
// the request or never saw it.
func (b *Bucket) GiveBack(n int) {
	b.Tokens = min(b.Capacity, b.Tokens+float64(n))
}

// Available is how many whole tokens there are.
func (b *Bucket) Available() int {
	const rounding = 1e-6 // of repeated refills
	return max(0, int(math.Floor(b.Tokens+rounding)))
}

// Wait is how long it takes until n tokens are there; more than the bucket
// holds is as long as it takes to fill.
func (b *Bucket) Wait(n int) time.Duration {
	missing := min(float64(n), b.Capacity) - b.Tokens
	if missing <= 0 {
		return 0
	}
	if b.PerSecond <= 0 {
		return time.Hour
	}
	return time.Duration(math.Ceil(missing / b.rate() * float64(time.Second)))
}

// Correct lowers the model to what Akamai said at about now. It does not raise
// it: an answer does not know of the requests that are still under way.
func (b *Bucket) Correct(l Level, now time.Time) {
	b.Refill(now)
	if l.Limit != nil && *l.Limit > 0 {
		b.Capacity = *l.Limit
	}
	if l.PerSecond != nil && *l.PerSecond > 0 {
		b.PerSecond = *l.PerSecond
	}
	b.Tokens = min(b.Tokens, b.Capacity)
	if l.Remaining != nil {
		b.Tokens = min(b.Tokens, *l.Remaining)
	}
}

// settle ends a request that n tokens were taken for.
func (b *Bucket) settle(n int, accepted bool, l Level, now time.Time) {
	b.Refill(now)
	if !accepted {
		b.GiveBack(n)
	}
	b.Correct(l, now)
	if accepted && l.unlimited() {
		b.Tokens = b.Capacity
	}
}

// unlimited says whether an accepted request left the bucket full: then Akamai
// does not charge this account, and the model should not hold it back.
func (l Level) unlimited() bool {
	return l.Limit != nil && l.Remaining != nil && *l.Limit > 0 && *l.Remaining >= *l.Limit
}

// Budget is Akamai's four buckets. They belong to the account: every API
// client of it takes from the same ones, so the model is corrected by every
// answer.
type Budget struct {
	Requests Bucket // 100, 50 a second
	URLs     Bucket // 10,000, 200 a second; ARLs too
	Tags     Bucket // 5,000, 500 a minute
	CPCodes  Bucket // 300, 30 a minute
}

// NewBudget is the budget that Akamai documents, full.
func NewBudget(now time.Time) *Budget {
	return &Budget{
		Requests: full(100, 50, now),
		URLs:     full(10_000, 200, now),
		Tags:     full(5_000, 500.0/60, now),
		CPCodes:  full(300, 30.0/60, now),
	}
}

// unlimited is for an API without buckets: it only knows denials.
func unlimited(now time.Time) *Budget {
	const much = 1e9
	b := &Budget{}
	for _, bucket := range []*Bucket{&b.Requests, &b.URLs, &b.Tags, &b.CPCodes} {
		*bucket = full(much, much, now)
	}
	return b
}

// Objects is the bucket that objects of the kind are taken from.
func (b *Budget) Objects(k Kind) *Bucket {
	switch k {
	case Tag:
		return &b.Tags
	case CPCode:
		return &b.CPCodes
	case URL:
	}
	return &b.URLs
}

// Available is how many objects one request may hold at now: 0 also if there
// is no token for the request itself.
func (b *Budget) Available(k Kind, now time.Time) int {
	b.Requests.Refill(now)
	objects := b.Objects(k)
	objects.Refill(now)
	if b.Requests.Available() < 1 || b.rest(k, now) > 0 {
		return 0
	}
	return objects.Available()
}

func (b *Budget) rest(k Kind, now time.Time) time.Duration {
	return max(b.Requests.rest(now), b.Objects(k).rest(now))
}

// Fit is how many of n objects that wait a request may hold at now: all of
// them, or as many as there are tokens for where more would take too long. A
// bucket that was just denied is tried with few. 0: none, and how long to wait.
func (b *Budget) Fit(k Kind, n int, now time.Time) (fit int, wait time.Duration) {
	objects := b.Objects(k)
	n = min(n, max(1, int(objects.Capacity)))
	if objects.Denied > 0 {
		n = min(n, max(1, int(objects.PerSecond*probeFor.Seconds())))
	}
	have := b.Available(k, now)
	enough := min(n, max(1, int(objects.PerSecond*fillFor.Seconds())))
	switch {
	case have >= n:
		return n, 0
	case have >= enough:
		return have, 0
	}
	return 0, max(b.Wait(k, enough, now), time.Millisecond)
}

// Wait is how long it takes from now until a request of n objects is within
// the budget.
func (b *Budget) Wait(k Kind, n int, now time.Time) time.Duration {
	b.Requests.Refill(now)
	objects := b.Objects(k)
	objects.Refill(now)
	return max(b.Requests.Wait(1), objects.Wait(n), b.rest(k, now))
}

// Take charges a request of n objects, or says false and charges nothing.
func (b *Budget) Take(k Kind, n int, now time.Time) bool {
	if b.Available(k, now) < n {
		return false
	}
	return b.Requests.Take(1, now) && b.Objects(k).Take(n, now)
}

// Settle corrects the budget by the answer to a request of n objects that
// Take charged. Akamai charges what it accepts; where that is not known the
// tokens are given back, since the next answer's figures lower the model
// again and none would raise it.
func (b *Budget) Settle(k Kind, n int, a Answer, d Decision, now time.Time) {
	objects := b.Objects(k)
	b.Requests.settle(1, a.Verdict == Accepted, a.Limits.Requests, now)
	objects.settle(n, a.Verdict == Accepted, a.Limits.Objects, now)
	b.Requests.answered(d.Accepted)
	objects.answered(d.Accepted)
	switch {
	case d.Hold == 0:
	case a.shortOfRequests():
		b.Requests.deny(a.Limits.Requests, d.Hold, now)
	default:
		objects.deny(a.Limits.Objects, d.Hold, now)
	}
}

// Aged is what the figures of an answer have become after a while in which
// nothing was taken: an answer may have to wait before it can be settled.
func (b *Budget) Aged(k Kind, l Limits, d time.Duration) Limits {
	return Limits{Requests: l.Requests.aged(d, b.Requests.PerSecond), Objects: l.Objects.aged(d, b.Objects(k).PerSecond)}
}

func (l Level) aged(d time.Duration, perSecond float64) Level {
	if d <= 0 || l.Remaining == nil || l.unlimited() {
		return l
	}
	if l.PerSecond != nil && *l.PerSecond > 0 {
		perSecond = *l.PerSecond
	}
	left := *l.Remaining + d.Seconds()*perSecond
	if l.Limit != nil && *l.Limit > 0 {
		left = min(left, *l.Limit-1) // full would read as: not charged at all
	}
	l.Remaining = &left
	return l
}

// Level is what an answer says of one bucket; nil where it says nothing.
type Level struct {
	Limit     *float64 // the bucket's capacity
	Remaining *float64 // tokens left after this request
	PerSecond *float64 // refill
}

// Limits are the figures of an answer: X-Ratelimit-* headers, and the body of
// a 429. Objects is for the kind of the request.
type Limits struct {
	Requests Level
	Objects  Level
}
