package purger

import (
	"math"
	"time"
)

// Bucket is a token bucket as Akamai keeps them. It holds at most Capacity tokens and
// gains PerSecond of them each second. It is a plain value without a lock or a clock:
// time passes only when a caller says so.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
type Bucket struct {
	Capacity  float64
	PerSecond float64
	Tokens    float64   // at At; never more than Capacity
	At        time.Time // when Tokens was right

	// Denied counts the requests in a row that Akamai denied although this model had
	// tokens for them. Other clients of the account take from the same bucket. Nothing is
	// taken until Until; after that, one request at a time.
	Denied int
	Until  time.Time
	// Share is the part of the refill that is counted on, so that other clients find some
	// too. 0 means all of it. A denial makes it leastShare, and it grows by moreShare with
	// each request that is accepted.
	Share float64
}

// How a bucket is shared with other clients of the account.
const (
	leastShare = 1.0 / 2
	moreShare  = 1.0 / 4 // added with each request that is accepted

	// probeFor says how large the first request after a denial is: it takes this much
	// refill. If other clients have stopped, that many tokens are there soon.
	probeFor = time.Second / 10

	// probeTime is how long a denied bucket waits for the answer of the one request that
	// tries it. It is longer than an attempt may take, so that a lost answer does not
	// block the bucket.
	probeTime = SendTime + 3*time.Second
)

// rate is the refill that is counted on, in tokens a second. A denied bucket counts on
// all of it, so that it is tried as soon as it may have filled. Its rest already holds
// back enough.
func (b *Bucket) rate() float64 {
	if b.Denied > 0 || b.Share <= 0 {
		return b.PerSecond
	}
	return b.Share * b.PerSecond
}

// rest is how much longer nothing may be taken, whatever tokens there are.
func (b *Bucket) rest(now time.Time) time.Duration { return max(0, b.Until.Sub(now)) }

// deny notes that Akamai denied a request for which this model had tokens. If the answer
// did not say what is left, the model assumes nothing.
func (b *Bucket) deny(l Level, hold time.Duration, now time.Time) {
	b.Denied++
	b.Until = now.Add(hold)
	b.Share = leastShare
	if l.Remaining == nil {
		b.Tokens = 0
	}
}

// answered ends the wait for a probe. Only an accepted request ends the denial.
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

// full is a bucket from which nothing was taken.
func full(capacity, perSecond float64, now time.Time) Bucket {
	return Bucket{Capacity: capacity, PerSecond: perSecond, Tokens: capacity, At: now}
}

// Refill lets time pass. If the clock went back, only At changes: tokens are never taken
// away.
func (b *Bucket) Refill(now time.Time) {
	if gone := now.Sub(b.At).Seconds(); gone > 0 {
		b.Tokens = min(b.Capacity, b.Tokens+gone*b.rate())
	}
	b.At = now
}

// Take removes n tokens if there are that many at now. Otherwise it changes nothing but
// the time and returns false.
func (b *Bucket) Take(n int, now time.Time) bool {
	b.Refill(now)
	if b.Available() < n || b.rest(now) > 0 {
		return false
	}
	b.Tokens -= float64(n)
	if b.Denied > 0 {
		b.Until = now.Add(probeTime) // only one request may try a denied bucket
	}
	return true
}

// GiveBack returns tokens for which Akamai did not charge: it denied the request or never
// saw it.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
func (b *Bucket) GiveBack(n int) {
	b.Tokens = min(b.Capacity, b.Tokens+float64(n))
}

// Available is the number of whole tokens. It tolerates the rounding errors of many
// refills: without that, a bucket that waited long enough could stay one token short.
func (b *Bucket) Available() int {
	const rounding = 1e-6
	return max(0, int(math.Floor(b.Tokens+rounding)))
}

// Wait is how long it takes until there are n tokens, if nothing else takes any. If n is
// more than the bucket holds, it is the time until the bucket is full.
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

// Correct lowers the model to what Akamai said at about now. It never raises it: an
// answer does not include the requests that are still under way.
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

// settle ends a request for which n tokens were taken. Giving back comes before
// correcting: the answer's number already includes what Akamai did not charge.
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

// unlimited says whether an accepted request left the bucket full. Akamai does not charge
// this account then, and the model must not hold it back.
func (l Level) unlimited() bool {
	return l.Limit != nil && l.Remaining != nil && *l.Limit > 0 && *l.Remaining >= *l.Limit
}

// Budget is Akamai's four buckets. They belong to the account: all of its API clients
// take from the same ones. So each answer corrects the model. A Budget has no lock: its
// owner must use it from one goroutine, or lock itself.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
type Budget struct {
	Requests Bucket // holds 100, gains 50 a second
	URLs     Bucket // holds 10,000, gains 200 a second; for ARLs too
	Tags     Bucket // holds 5,000, gains 500 a minute
	CPCodes  Bucket // holds 300, gains 30 a minute
}

// NewBudget is the budget that Akamai documents, with full buckets. If another client has
// taken from them, the first answer corrects it.
func NewBudget(now time.Time) *Budget {
	return &Budget{
		Requests: full(100, 50, now),
		URLs:     full(10_000, 200, now),
		Tags:     full(5_000, 500.0/60, now),
		CPCodes:  full(300, 30.0/60, now),
	}
}

// unlimited is for an API without buckets. It still learns from denials.
func unlimited(now time.Time) *Budget {
	const much = 1e9
	b := &Budget{}
	for _, bucket := range []*Bucket{&b.Requests, &b.URLs, &b.Tags, &b.CPCodes} {
		*bucket = full(much, much, now)
	}
	return b
}

// Objects is the bucket from which objects of the kind are taken. The caller may change
// it.
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

// Available is how many objects one request may hold at now. It is 0 as well if there is
// no token for the request itself, or if a bucket rests.
func (b *Budget) Available(k Kind, now time.Time) int {
	b.Requests.Refill(now)
	objects := b.Objects(k)
	objects.Refill(now)
	if b.Requests.Available() < 1 || b.rest(k, now) > 0 {
		return 0
	}
	return objects.Available()
}

// rest is how much longer one of the two buckets rests that a request of this kind needs.
func (b *Budget) rest(k Kind, now time.Time) time.Duration {
	return max(b.Requests.rest(now), b.Objects(k).rest(now))
}

// Fit is how many of n waiting objects a request may hold at now. It is all of them if
// there are tokens, or fewer if waiting for more would take longer than fillFor. A bucket
// that was just denied is tried with few. If fit is 0, wait says how long to wait; it is
// never 0 then, so that a caller's loop cannot spin.
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

// Wait is how long it takes from now until a request of n objects is within the budget.
func (b *Budget) Wait(k Kind, n int, now time.Time) time.Duration {
	b.Requests.Refill(now)
	objects := b.Objects(k)
	objects.Refill(now)
	return max(b.Requests.Wait(1), objects.Wait(n), b.rest(k, now))
}

// Take charges a request of n objects, or charges nothing and returns false. Each Take
// needs one [Budget.Settle].
func (b *Budget) Take(k Kind, n int, now time.Time) bool {
	if b.Available(k, now) < n {
		return false
	}
	return b.Requests.Take(1, now) && b.Objects(k).Take(n, now)
}

// Settle corrects the budget by the answer to a request of n objects that Take charged.
// Akamai charges only what it accepts. If nobody knows whether it did, the tokens are
// given back: the next answer lowers the model again if that was wrong, but nothing would
// ever raise it.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
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

// Aged gives the numbers of an answer as they are after a time d in which nothing was
// taken. It is for an answer that had to wait before it was settled.
func (b *Budget) Aged(k Kind, l Limits, d time.Duration) Limits {
	return Limits{Requests: l.Requests.aged(d, b.Requests.PerSecond), Objects: l.Objects.aged(d, b.Objects(k).PerSecond)}
}

// aged adds the refill of a time d to what was left. perSecond is used if the answer has
// none.
func (l Level) aged(d time.Duration, perSecond float64) Level {
	if d <= 0 || l.Remaining == nil || l.unlimited() {
		return l
	}
	if l.PerSecond != nil && *l.PerSecond > 0 {
		perSecond = *l.PerSecond
	}
	left := *l.Remaining + d.Seconds()*perSecond
	if l.Limit != nil && *l.Limit > 0 {
		left = min(left, *l.Limit-1) // a full bucket would read as "not charged": see unlimited
	}
	l.Remaining = &left
	return l
}

// Level holds an answer's numbers about one bucket. A nil field was not in the answer.
type Level struct {
	Limit     *float64 // the bucket's capacity
	Remaining *float64 // tokens left after this request; may have decimals
	PerSecond *float64 // refill, in tokens a second
}

// Limits are the numbers of one answer: its X-Ratelimit-* headers and the body of a 429.
// Objects is the bucket for the kind of objects in that request.
// https://techdocs.akamai.com/purge-cache/reference/rate-limit-response-examples
type Limits struct {
	Requests Level
	Objects  Level
}
