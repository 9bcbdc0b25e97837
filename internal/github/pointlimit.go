package github

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// GitHub lets one identity spend 900 points a minute on the REST API: a read
// costs 1, a write 5. Whoever goes on beyond that is refused for minutes.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
const (
	pointsAMinute = 880 // GitHub's clock is not ours: a little is spare
	patientPoints = 800 // leaves room for what webhooks bring meanwhile

	readPoints, writePoints = 1, 5
)

type patientKey struct{}

// Patient marks work that nobody waits for at this moment, as recovery's: its
// calls wait for room, where others' are refused when there is none.
func Patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

// pointLimit counts what one identity spent within the last minute. Servers that
// tell of no limits (GitHub Enterprise Server has none by default) are not
// paced.
type pointLimit struct {
	mu    sync.Mutex
	paced bool
	spent []spent // the oldest first
}

type spent struct {
	at     time.Time
	points int
}

// left is the time until a call may be made so that no more than most were
// spent within a minute. It is called with the lock held.
func (p *pointLimit) left(now time.Time, cost, most int) time.Duration {
	if !p.paced {
		return 0
	}
	old := 0
	for old < len(p.spent) && !p.spent[old].at.After(now.Add(-time.Minute)) {
		old++
	}
	p.spent = p.spent[old:]
	sum := cost
	for _, s := range p.spent {
		sum += s.points
	}
	var left time.Duration
	for _, s := range p.spent {
		if sum <= most {
			break
		}
		sum -= s.points
		left = max(s.at.Add(time.Minute).Sub(now), time.Millisecond)
	}
	return left
}

// take spends what a call costs if there is room for it, and else gives the
// time until there is: of two calls at once only one gets the last room.
func (p *pointLimit) take(now time.Time, cost, most int) (left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left = p.left(now, cost, most); left == 0 && p.paced {
		p.spent = append(p.spent, spent{now, cost})
	}
	return left
}

// heed begins to pace once the server tells of limits.
func (p *pointLimit) heed(header http.Header) {
	if header.Get("X-Ratelimit-Limit") == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paced = true
}

// await lets a patient call wait for its room.
func (p *pointLimit) await(ctx context.Context) error {
	if patient, _ := ctx.Value(patientKey{}).(bool); !patient {
		return nil
	}
	for {
		p.mu.Lock()
		left := p.left(time.Now(), readPoints, patientPoints)
		p.mu.Unlock()
		if left == 0 {
			return nil
		}
		if !wait(ctx, left) {
			return ctx.Err()
		}
	}
}

// pacedTransport counts the calls that leave, below the cache, and refuses what GitHub
// would refuse.
type pacedTransport struct {
	points *pointLimit
	next   http.RoundTripper
}

// RoundTrip refuses a call for which the minute has no points left, as GitHub would,
// but without being counted for it: whoever goes on asking is blocked for longer.
func (p *pacedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	cost := readPoints
	if req.Method != http.MethodGet {
		cost = writePoints
	}
	if left := p.points.take(time.Now(), cost, pointsAMinute); left > 0 {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, &Error{
			Op: "call GitHub", Message: "as many calls were made as GitHub allows in a minute",
			RetryAfter: max(left, time.Second), kind: kindLimited,
		}
	}
	resp, err := p.next.RoundTrip(req)
	if err == nil {
		p.points.heed(resp.Header)
	}
	return resp, err
}
