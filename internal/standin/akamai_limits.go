package standin

import (
	"net/http"
	"strconv"
	"time"
)

// AkamaiLimits are an account's token buckets. A zero bucket means Akamai's
// documented one: requests 100 and 50 a second, URLs and ARLs 10,000 and 200
// a second, CP codes 300 and 30 a minute, tags 5,000 and 500 a minute
// (https://techdocs.akamai.com/purge-cache/reference/rate-limiting).
type AkamaiLimits struct {
	Requests, URLs, CPCodes, Tags AkamaiBucket
	// Unlimited turns all of them off; the headers then show full buckets.
	Unlimited bool
}

// AkamaiBucket is a token bucket: full at the start, and refilled steadily.
type AkamaiBucket struct {
	Burst     int     // tokens at most
	PerSecond float64 // refill
}

func (l AkamaiLimits) withDefaults() AkamaiLimits {
	for _, b := range []struct {
		of     *AkamaiBucket
		akamai AkamaiBucket
	}{
		{&l.Requests, AkamaiBucket{100, 50}},
		{&l.URLs, AkamaiBucket{10_000, 200}},
		{&l.CPCodes, AkamaiBucket{300, 30.0 / 60}},
		{&l.Tags, AkamaiBucket{5_000, 500.0 / 60}},
	} {
		if *b.of == (AkamaiBucket{}) {
			*b.of = b.akamai
		}
	}
	return l
}

// akamaiTokens is a bucket at work.
type akamaiTokens struct {
	AkamaiBucket
	tokens float64
	at     time.Time
}

func (t *akamaiTokens) refill(now time.Time) {
	if passed := now.Sub(t.at); passed > 0 { // a clock set back refills nothing
		t.tokens = min(float64(t.Burst), t.tokens+passed.Seconds()*t.PerSecond)
	}
	t.at = now
}

// holds reports whether n tokens are there. The sliver forgives the rounding
// of many small refills.
func (t *akamaiTokens) holds(n int) bool { return t.tokens+1e-9 >= float64(n) }

func (t *akamaiTokens) remaining() int { return int(t.tokens + 1e-9) }

// toFull is the time until the whole burst is there again, in seconds: what
// Akamai's Seconds-To-Refresh headers mean.
func (t *akamaiTokens) toFull() float64 {
	missing := float64(t.Burst) - t.tokens
	if missing <= 0 || t.PerSecond <= 0 {
		return 0
	}
	return missing / t.PerSecond
}

// akamaiBuckets are those of one account.
type akamaiBuckets struct {
	unlimited bool
	requests  akamaiTokens
	objects   map[string]*akamaiTokens // by kind
}

// buckets are those of an account, refilled up to now: by the clock as it is
// under the lock, since the order of requests is that of the lock. The caller
// has a.mu.
func (a *Akamai) buckets(account string) *akamaiBuckets {
	now := a.cfg.Now()
	b := a.accounts[account]
	if b == nil {
		full := func(l AkamaiBucket) akamaiTokens { return akamaiTokens{l, float64(l.Burst), now} }
		urls, tags, cpcodes := full(a.cfg.Limits.URLs), full(a.cfg.Limits.Tags), full(a.cfg.Limits.CPCodes)
		b = &akamaiBuckets{
			unlimited: a.cfg.Limits.Unlimited,
			requests:  full(a.cfg.Limits.Requests),
			objects:   map[string]*akamaiTokens{akamaiURL: &urls, akamaiTag: &tags, akamaiCPCode: &cpcodes},
		}
		a.accounts[account] = b
	}
	b.requests.refill(now)
	for _, t := range b.objects {
		t.refill(now)
	}
	return b
}

// limited answers 429 if the account lacks the tokens for one more request of
// n objects; nothing is spent either way.
func (b *akamaiBuckets) limited(kind string, n int) (refusal akamaiAnswer, limited bool) {
	switch objects := b.objects[kind]; {
	case b.unlimited:
		return akamaiAnswer{}, false
	case !b.requests.holds(1):
		return b.tooMany(kind, "Rate Limit exceeded", &b.requests, 1), true
	case !objects.holds(n):
		title := map[string]string{akamaiURL: "URL", akamaiTag: "TAG", akamaiCPCode: "CPCODE"}[kind] + " Rate Limit exceeded"
		return b.tooMany(kind, title, objects, n), true
	}
	return akamaiAnswer{}, false
}

// spend takes the tokens of an accepted request.
func (b *akamaiBuckets) spend(kind string, n int) {
	if !b.unlimited {
		b.requests.tokens--
		b.objects[kind].tokens -= float64(n)
	}
}

func (b *akamaiBuckets) tooMany(kind, title string, t *akamaiTokens, size int) akamaiAnswer {
	ans := akamaiProblem(http.StatusTooManyRequests, title, "")
	problem := ans.body.(akamaiCCUProblem)
	remaining := t.remaining()
	problem.RateLimit, problem.RateLimitCurrentRequestSize, problem.RateLimitRemaining = &t.Burst, &size, &remaining
	ans.body = problem
	ans.header = b.headers(kind)
	// Akamai's example of a 429 shows the other six alone.
	delete(ans.header, "X-Ratelimit-Seconds-To-Refresh-Limit")
	delete(ans.header, "X-Ratelimit-Seconds-To-Refresh-Limit-Objects")
	return ans
}

// headers are the eight of an accepted request.
func (b *akamaiBuckets) headers(kind string) map[string]string {
	objects := b.objects[kind]
	return map[string]string{
		"X-Ratelimit-Limit":                            strconv.Itoa(b.requests.Burst),
		"X-Ratelimit-Remaining":                        strconv.Itoa(b.requests.remaining()),
		"X-Ratelimit-Limit-Per-Second":                 akamaiDecimal(b.requests.PerSecond),
		"X-Ratelimit-Limit-Objects":                    strconv.Itoa(objects.Burst),
		"X-Ratelimit-Remaining-Objects":                strconv.Itoa(objects.remaining()),
		"X-Ratelimit-Limit-Per-Second-Objects":         akamaiDecimal(objects.PerSecond),
		"X-Ratelimit-Seconds-To-Refresh-Limit":         akamaiDecimal(b.requests.toFull()),
		"X-Ratelimit-Seconds-To-Refresh-Limit-Objects": akamaiDecimal(objects.toFull()),
	}
}

// akamaiDecimal writes a figure as Akamai's headers do.
func akamaiDecimal(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
