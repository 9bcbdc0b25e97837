package akamai

import (
	"net/http"
	"strconv"
	"time"
)

// Limits are an account's token buckets. A zero bucket means Akamai's documented one: 100
// requests and 50 a second; 10,000 URLs and ARLs and 200 a second; 300 CP codes and 30 a
// minute; 5,000 tags and 500 a minute.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
type Limits struct {
	Requests, URLs, CPCodes, Tags Bucket
	// Unlimited turns all buckets off. The headers then show full ones.
	Unlimited bool
}

// Bucket is a token bucket. It is full at the start and is refilled steadily.
type Bucket struct {
	Burst     int     // most tokens that it holds
	PerSecond float64 // refill, in tokens a second
}

// withDefaults replaces each zero bucket by Akamai's documented one.
func (l Limits) withDefaults() Limits {
	for _, b := range []struct {
		of     *Bucket
		akamai Bucket
	}{
		{&l.Requests, Bucket{100, 50}},
		{&l.URLs, Bucket{10_000, 200}},
		{&l.CPCodes, Bucket{300, 30.0 / 60}},
		{&l.Tags, Bucket{5_000, 500.0 / 60}},
	} {
		if *b.of == (Bucket{}) {
			*b.of = b.akamai
		}
	}
	return l
}

// bucketState is a bucket in use.
type bucketState struct {
	Bucket
	tokens float64
	at     time.Time
}

func (t *bucketState) refill(now time.Time) {
	if passed := now.Sub(t.at); passed > 0 { // a clock that was set back refills nothing
		t.tokens = min(float64(t.Burst), t.tokens+passed.Seconds()*t.PerSecond)
	}
	t.at = now
}

// holds reports whether there are n tokens. The small tolerance is for the rounding
// errors of many refills.
func (t *bucketState) holds(n int) bool { return t.tokens+1e-9 >= float64(n) }

func (t *bucketState) remaining() int { return int(t.tokens + 1e-9) }

// toFull is the time until the bucket is full again, in seconds. That is what Akamai's
// Seconds-To-Refresh headers mean, not the wait until the next request fits.
func (t *bucketState) toFull() float64 {
	missing := float64(t.Burst) - t.tokens
	if missing <= 0 || t.PerSecond <= 0 {
		return 0
	}
	return missing / t.PerSecond
}

// accountBuckets are the buckets of one account.
type accountBuckets struct {
	unlimited bool
	requests  bucketState
	objects   map[string]*bucketState // by kind
}

// buckets are the buckets of an account, refilled up to now. The time is read under the
// lock, because the lock decides the order of requests. The caller holds a.mu.
func (a *Server) buckets(account string) *accountBuckets {
	now := a.cfg.Now()
	b := a.accounts[account]
	if b == nil {
		full := func(l Bucket) bucketState { return bucketState{l, float64(l.Burst), now} }
		urls, tags, cpcodes := full(a.cfg.Limits.URLs), full(a.cfg.Limits.Tags), full(a.cfg.Limits.CPCodes)
		b = &accountBuckets{
			unlimited: a.cfg.Limits.Unlimited,
			requests:  full(a.cfg.Limits.Requests),
			objects:   map[string]*bucketState{kindURL: &urls, kindTag: &tags, kindCPCode: &cpcodes},
		}
		a.accounts[account] = b
	}
	b.requests.refill(now)
	for _, t := range b.objects {
		t.refill(now)
	}
	return b
}

// limited answers 429 if the account lacks the tokens for one more request of n objects.
// It spends nothing in either case: Akamai charges only what it accepts.
func (b *accountBuckets) limited(kind string, n int) (refusal answer, limited bool) {
	switch objects := b.objects[kind]; {
	case b.unlimited:
		return answer{}, false
	case !b.requests.holds(1):
		return b.tooMany(kind, "Rate Limit exceeded", &b.requests, 1), true
	case !objects.holds(n):
		title := map[string]string{kindURL: "URL", kindTag: "TAG", kindCPCode: "CPCODE"}[kind] + " Rate Limit exceeded"
		return b.tooMany(kind, title, objects, n), true
	}
	return answer{}, false
}

// spend takes the tokens of an accepted request.
func (b *accountBuckets) spend(kind string, n int) {
	if !b.unlimited {
		b.requests.tokens--
		b.objects[kind].tokens -= float64(n)
	}
}

// tooMany is the 429 of the bucket that is short.
func (b *accountBuckets) tooMany(kind, title string, t *bucketState, size int) answer {
	ans := ccuProblem(http.StatusTooManyRequests, title, "")
	problem := ans.body.(ccuProblemBody)
	remaining := t.remaining()
	problem.RateLimit, problem.RateLimitCurrentRequestSize, problem.RateLimitRemaining = &t.Burst, &size, &remaining
	ans.body = problem
	ans.header = b.headers(kind)
	// Akamai's example of a 429 shows only the other six.
	delete(ans.header, "X-Ratelimit-Seconds-To-Refresh-Limit")
	delete(ans.header, "X-Ratelimit-Seconds-To-Refresh-Limit-Objects")
	return ans
}

// headers are the eight rate headers of an accepted request.
func (b *accountBuckets) headers(kind string) map[string]string {
	objects := b.objects[kind]
	return map[string]string{
		"X-Ratelimit-Limit":                            strconv.Itoa(b.requests.Burst),
		"X-Ratelimit-Remaining":                        strconv.Itoa(b.requests.remaining()),
		"X-Ratelimit-Limit-Per-Second":                 decimal(b.requests.PerSecond),
		"X-Ratelimit-Limit-Objects":                    strconv.Itoa(objects.Burst),
		"X-Ratelimit-Remaining-Objects":                strconv.Itoa(objects.remaining()),
		"X-Ratelimit-Limit-Per-Second-Objects":         decimal(objects.PerSecond),
		"X-Ratelimit-Seconds-To-Refresh-Limit":         decimal(b.requests.toFull()),
		"X-Ratelimit-Seconds-To-Refresh-Limit-Objects": decimal(objects.toFull()),
	}
}

// decimal writes a number as Akamai's headers do.
func decimal(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
