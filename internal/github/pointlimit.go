package github

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// GitHub lets one identity spend 900 points a minute on the REST API. A read costs 1
// point, a write 5. GitHub refuses an identity that goes on beyond that for minutes.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
const (
	pointsAMinute = 880 // a little below 900, because GitHub's clock is not ours
	patientPoints = 800 // leaves 80 points a minute for what webhooks ask for

	readPoints, writePoints = 1, 5
)

type patientKey struct{}

// Patient marks work that nobody waits for at the moment, such as recovery. Its calls
// wait until the minute has room. Other calls are refused when there is none.
func Patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

// pointLimit counts the points that one identity spent within the last minute. Until a
// server tells of limits nothing is counted: GitHub Enterprise Server has none by
// default. It is safe for concurrent use.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
type pointLimit struct {
	mu    sync.Mutex
	paced bool    // an answer told of limits; never becomes false again
	spent []spent // the oldest first; only the last minute's
}

// spent is one call that left.
type spent struct {
	at     time.Time
	points int
}

// left is the time until a call of this cost may be made, so that no more than most
// points are spent within any minute. 0 means at once. It also forgets what is older than
// a minute. The caller holds mu.
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

// take spends the points of a call and gives 0, or spends nothing and gives the time
// until there is room. It checks and spends under one lock: of two concurrent calls only
// one gets the last room.
func (p *pointLimit) take(now time.Time, cost, most int) (left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left = p.left(now, cost, most); left == 0 && p.paced {
		p.spent = append(p.spent, spent{now, cost})
	}
	return left
}

// heed begins to count once the server tells of limits.
func (p *pointLimit) heed(header http.Header) {
	if header.Get("X-Ratelimit-Limit") == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paced = true
}

// await lets a [Patient] call wait until the minute has room. It spends nothing: the
// transport does, and only for calls that the cache did not answer. It checks the room
// for a read even if the call is a write; the gap between patientPoints and pointsAMinute
// covers the rest.
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

// pacedTransport counts the calls that leave. It sits below the cache, because an answer
// from the cache costs no points.
type pacedTransport struct {
	points *pointLimit
	next   http.RoundTripper
}

// RoundTrip refuses a call if the minute has no points left for it. GitHub would refuse
// it too, and would also count it: GitHub blocks an identity that goes on asking for
// longer.
func (p *pacedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	cost := readPoints
	if req.Method != http.MethodGet {
		cost = writePoints
	}
	if left := p.points.take(time.Now(), cost, pointsAMinute); left > 0 {
		if req.Body != nil {
			// A RoundTripper must close the body even if it sends nothing.
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
