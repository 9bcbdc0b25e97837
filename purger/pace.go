package purger

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	// fillFor is how long a request waits for tokens in order to go out full.
	// Requests are cheap where the objects' bucket is slow (a full body of
	// tags would take five minutes), and purging soon is worth more.
	fillFor = 20 * time.Second

	shortest = 200 * time.Millisecond // backoff after a first failure
	longest  = 30 * time.Second       // backoff at most

	// broken is after how many failures in a row one request at a time probes.
	broken = 5
	// unreached is the Patience for an address that never answered.
	unreached = 30 * time.Second
	// pushedBack is Akamai's advice for a 429: wait five seconds.
	pushedBack = 5 * time.Second
	// maxPauses is how often a run pauses because Akamai refuses everything
	// alike: after 1, 2, 4, 8 and 16 s it is not too much traffic.
	maxPauses = 5
	// strays is how often in a row something else than the purge API may answer.
	strays = 3
)

// trouble is what stands in the way of all requests alike.
type trouble struct {
	words   string
	until   time.Time // nothing is sent before
	probing bool      // one request at a time
	reached bool      // Akamai answered at least once

	failures int       // in a row
	since    time.Time // of the first of these
	strays   int       // in a row
	pauses   int       // in a row
	accepted int       // requests, ever
}

// next is a piece to send now, charged to the budget; or how long until there
// may be one: below 0, not before an answer.
func (r *run) next(now time.Time) (*piece, time.Duration) {
	if wait := r.trouble.until.Sub(now); wait > 0 {
		return nil, wait
	}
	if r.trouble.probing && r.flying > 0 {
		return nil, -1
	}
	for {
		i, wait := r.due(now)
		if i < 0 {
			return nil, wait
		}
		p := r.queue[i]
		r.dropSkipped(p)
		if len(p.objects) == 0 {
			r.queue = append(r.queue[:i], r.queue[i+1:]...)
			continue
		}
		n, wait := r.afford(p, now)
		if n == 0 {
			return nil, wait
		}
		if n < len(p.objects) {
			r.queue[i] = &piece{objects: p.objects[n:], chain: p.chain}
			p.objects = p.objects[:n:n]
		} else {
			r.queue = append(r.queue[:i], r.queue[i+1:]...)
		}
		return p, 0
	}
}

// due is the first piece in the queue whose time has come, a new one from the
// list if there is none, or else how long until there is.
func (r *run) due(now time.Time) (int, time.Duration) {
	soonest := time.Duration(-1)
	for i, p := range r.queue {
		wait := p.due.Sub(now)
		if wait <= 0 {
			return i, 0
		}
		if soonest < 0 || wait < soonest {
			soonest = wait
		}
	}
	if p := r.pack(); p != nil {
		r.queue = append(r.queue, p)
		return len(r.queue) - 1, 0
	}
	return -1, soonest
}

// afford charges the budget for as much of the piece as should go now: all of
// it, or what there are tokens for if more would take too long, or if Akamai
// just said how much it would take.
func (r *run) afford(p *piece, now time.Time) (int, time.Duration) {
	b := r.sender.Budget
	if b == nil {
		return len(p.objects), 0
	}
	kind := r.request.Kind
	have := b.Available(kind, now)
	objects := b.Objects(kind)
	n := min(len(p.objects), max(1, int(objects.Capacity)))
	if have < n {
		enough := min(n, max(1, int(objects.PerSecond*fillFor.Seconds())))
		switch {
		case have >= enough, have > 0 && p.limited > 0:
			n = have
		default:
			return 0, max(b.Wait(kind, enough, now), time.Millisecond)
		}
	}
	if !b.Take(kind, n, now) {
		return 0, time.Millisecond // unreachable: Available has just said so
	}
	return n, 0
}

// settle draws the conclusions from one answer.
func (r *run) settle(s settled, now time.Time) {
	p, a := s.piece, s.answer
	r.flying--
	if b := r.sender.Budget; b != nil {
		b.Settle(r.request.Kind, len(p.objects), a, now)
	}
	if a.Lost {
		r.result.Lost++
	}
	if a.Verdict != Unavailable && a.Verdict != NotServed {
		r.trouble.reached = true
		r.trouble.failures, r.trouble.strays = 0, 0
	}
	switch a.Verdict {
	case Accepted:
		r.accepted(p, a, now)
	case Limited:
		r.limited(p, a, now)
	case Refused:
		r.refused(p, a, now)
	case TooLarge:
		r.tooLarge(p, a)
	case Unavailable:
		r.unavailable(p, a, now)
	case NotServed:
		r.trouble.strays++
		if r.trouble.strays >= strays {
			r.hopeless(p, a)
			return
		}
		r.unavailable(p, a, now)
	case BadCredentials, ClockSkew, NoGrant:
		r.hopeless(p, a)
	}
	wait := r.trouble.until.Sub(now)
	if r.trouble.failures > 0 && r.flying == 0 {
		wait = max(wait, p.due.Sub(now))
	}
	if wait > 0 && r.err == nil {
		r.report(r.trouble.words, wait)
		return
	}
	r.report("", 0)
}

func (r *run) accepted(p *piece, a Answer, now time.Time) {
	r.trouble.accepted++
	r.trouble.probing, r.trouble.pauses, r.trouble.words = false, 0, ""
	r.result.Accepted += len(p.objects)
	r.result.Requests = append(r.result.Requests, a.Receipt(len(p.objects), now))
}

// limited puts the piece back. Where the answer says what is left the budget
// decides when to go on; where it does not, or is not to be believed since the
// same piece was limited again, time passes first.
func (r *run) limited(p *piece, a Answer, now time.Time) {
	r.result.Limited++
	r.trouble.probing = false
	p.limited++
	r.front(p)
	wait := a.RetryAfter
	told := r.sender.Budget != nil && (a.Limits.Objects.Remaining != nil || a.Limits.Requests.Remaining != nil)
	switch {
	case !told:
		wait = max(wait, backoff(pushedBack, p.limited))
	case p.limited > 1:
		wait = max(wait, backoff(shortest, p.limited))
	}
	r.hold(now.Add(wait), a.Words())
}

func (r *run) tooLarge(p *piece, a Answer) {
	if len(p.objects) == 1 {
		r.refuse(p.objects[0], a.Title, a.Detail)
		return
	}
	r.split(p)
}

// unavailable puts the piece back for later, and if it goes on holds
// everything but one probe.
func (r *run) unavailable(p *piece, a Answer, now time.Time) {
	t := &r.trouble
	if a.Status != 0 {
		t.reached = true
	}
	if t.failures == 0 {
		t.since = now
	}
	t.failures++
	p.failed++
	p.due = now.Add(max(a.RetryAfter, backoff(shortest, p.failed)))
	r.front(p)
	t.words = a.Words()
	patience := r.sender.Patience
	if !t.reached && (patience == 0 || patience > unreached) {
		patience = unreached
	}
	if patience > 0 && now.Sub(t.since) >= patience {
		r.stop(fmt.Errorf("reach Akamai: %s", a.Words()))
		return
	}
	if t.failures >= broken {
		t.probing = true
		r.hold(p.due, a.Words())
	}
}

// hopeless ends the run: what is wrong is not mended by waiting a little.
func (r *run) hopeless(p *piece, a Answer) {
	r.front(p)
	r.trouble.words = a.Words()
	r.stop(fmt.Errorf("purge: %s", a.Explain()))
}

// hold sends nothing before then.
func (r *run) hold(until time.Time, words string) {
	if until.After(r.trouble.until) {
		r.trouble.until = until
		r.trouble.words = words
	}
}

func (r *run) front(pieces ...*piece) { r.queue = append(pieces, r.queue...) }

// skip says whether an object's host has had its refusals, and sets it aside.
func (r *run) skip(object string) bool {
	if len(r.hosts) == 0 {
		return false
	}
	host := hostOf(r.request.Kind, object)
	if host == "" || r.hosts[host] < maxRefusals {
		return false
	}
	r.refuse(object, "not tried", fmt.Sprintf("Akamai refused %d URLs of %s before", r.hosts[host], host))
	return true
}

func (r *run) dropSkipped(p *piece) {
	var kept []string // nil: all of them
	for i, object := range p.objects {
		switch {
		case r.skip(object):
			if kept == nil {
				kept = append(make([]string, 0, len(p.objects)), p.objects[:i]...)
			}
		case kept != nil:
			kept = append(kept, object)
		}
	}
	if kept != nil {
		p.objects = kept
	}
}

// backoff doubles with each time, from the second on up to longest, and is
// spread over its upper half so that clients don't return together.
func backoff(first time.Duration, times int) time.Duration {
	d := first
	for range times - 1 {
		if d = 2 * d; d >= longest {
			d = longest
			break
		}
	}
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreads load, guards nothing
}

// hostOf is the host of a URL or an ARL, lower case; empty if there is none.
func hostOf(k Kind, object string) string {
	if k != URL {
		return ""
	}
	if _, rest, ok := strings.Cut(object, "://"); ok {
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			rest = rest[:end]
		}
		return strings.ToLower(rest)
	}
	// /L/512/6848/1h/www.example.com/…, also with /S before it.
	parts := strings.SplitN(strings.TrimPrefix(object, "/S"), "/", 7)
	if len(parts) < 7 || parts[0] != "" {
		return ""
	}
	return strings.ToLower(parts[5])
}
