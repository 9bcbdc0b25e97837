package purger

import (
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/object"
)

// What ends a run, where a server would wait for its operator.
const (
	// unreached is the Patience for an address that never answered.
	unreached = 30 * time.Second
	// maxPauses is how often in a row a run pauses because Akamai refuses
	// everything alike.
	maxPauses = 5
	// strays is how often in a row something else than the purge API may answer.
	strays = 3
)

// trouble is what a run needs to know to end.
type trouble struct {
	reached bool      // Akamai answered at least once
	since   time.Time // when it was found to be away; zero: it is not
	strays  int       // in a row
	pauses  int       // in a row
}

// next is a piece to send now, charged to the budget; or how long until there
// may be one: below 0, not before an answer.
func (r *run) next(now time.Time) (*piece, time.Duration) {
	if wait := r.circuit.Wait(now); wait > 0 {
		return nil, wait
	}
	if r.circuit.Words != "" && r.flying > 0 {
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
			p.ended = true
			r.queue = append(r.queue[:i], r.queue[i+1:]...)
			continue
		}
		n, wait := r.budget.Fit(r.request.Kind, len(p.objects), now)
		if n == 0 || !r.budget.Take(r.request.Kind, n, now) {
			return nil, max(wait, time.Millisecond)
		}
		r.queue = append(r.queue[:i], r.queue[i+1:]...)
		if n < len(p.objects) {
			rest := *p
			rest.objects = p.objects[n:]
			r.front(&rest)
			p.objects = p.objects[:n:n]
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

// settle does what is decided about one answer.
func (r *run) settle(s settled, now time.Time) {
	p, a := s.piece, s.answer
	r.flying--
	var host Host
	if a.Offender != "" {
		host = *r.host(a.Offender)
	}
	d := Decide(r.attempt(p), a, host, now)
	paused := r.circuit.Wait(now) > 0
	r.budget.Settle(r.request.Kind, len(p.objects), a, d, now)
	r.circuit.Observe(d, 0, now)
	r.count(p, a, d, now)
	if err := r.unmendable(a, d, paused, now); err != nil {
		r.front(p)
		r.stop(err)
	} else {
		r.putBack(p, d, now)
	}
	wait := max(r.circuit.Wait(now), d.Hold)
	if d.Away && r.flying == 0 {
		wait = max(wait, d.Wait)
	}
	if wait > 0 && r.err == nil {
		r.report(a.Words(), wait)
		return
	}
	r.report("", 0)
}

func (r *run) attempt(p *piece) Attempt {
	t := Attempt{Request: r.request, Number: p.attempts, Cut: p.cut, Denied: r.budget.Objects(r.request.Kind).Denied > 0}
	t.Objects = p.objects
	t.Doubt = Doubt{Since: p.since, LastAccepted: r.lastAccepted}
	if s := p.sibling; s != nil {
		t.Doubt.Sibling, t.Doubt.SiblingWaits = s.refusal, s.refusal == "" && !s.ended
	}
	return t
}

// count notes what became of the objects.
func (r *run) count(p *piece, a Answer, d Decision, now time.Time) {
	if !d.Accepted {
		r.words = a.Words()
	}
	if a.Lost {
		r.result.Lost++
	}
	if a.Verdict == Limited {
		r.result.Limited++
	}
	if d.Accepted {
		r.lastAccepted = now
		r.result.Accepted += len(p.objects)
		r.result.Requests = append(r.result.Requests, a.Receipt(len(p.objects), now))
		r.welcome(p.objects)
	}
	for _, object := range d.Refused {
		r.result.Refused = append(r.result.Refused, Refusal{
			Object: object, Title: a.Title, Detail: a.Detail, Status: a.Status, SupportID: a.SupportID, At: now,
		})
		if h := r.host(object); a.Offender != "" {
			r.refusals = true
			h.Refused++
			if len(p.objects) == 1 {
				h.Alone++
			}
		}
	}
}

// welcome notes the hosts of which something was accepted.
func (r *run) welcome(objects []string) {
	last := ""
	for _, object := range objects {
		if host := hostOf(r.request.Kind, object); host != "" && host != last {
			last = host
			r.host(object).Accepted = true
		}
	}
}

// host is what is known of an object's host; what has none is told apart from
// everything.
func (r *run) host(object string) *Host {
	host := hostOf(r.request.Kind, object)
	h, ok := r.hosts[host]
	if !ok || host == "" {
		h = &Host{}
		r.hosts[host] = h
	}
	return h
}

// putBack queues what goes out again.
func (r *run) putBack(p *piece, d Decision, now time.Time) {
	p.refusal = d.Unnamed
	rest := d.Rest(p.objects)
	p.ended = len(rest) == 0 && len(d.Part) == 0
	switch {
	case len(rest) > 0 && len(d.Part) > 0:
		part := &piece{objects: d.Part, cut: p.cut || d.Cut, since: laterOf(p.since, d.Since)}
		other := *part
		other.objects = rest
		part.sibling, other.sibling = &other, part
		if len(part.objects) == 1 { // it tells of its host
			r.front(part)
			r.queue = append(r.queue, &other)
		} else {
			r.queue = append(r.queue, part, &other)
		}
	case !p.ended:
		p.objects = append(rest, d.Part...)
		p.since = laterOf(p.since, d.Since)
		p.due = now.Add(d.Wait)
		r.front(p)
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// unmendable says why the run ends: what is wrong is not mended by waiting.
func (r *run) unmendable(a Answer, d Decision, paused bool, now time.Time) error {
	t := &r.trouble
	t.reached = t.reached || a.Status != 0
	if a.Verdict != NotServed {
		t.strays = 0
	}
	if !d.Away {
		t.since = time.Time{}
	}
	switch {
	case a.Verdict == NotServed:
		if t.strays++; t.strays < strays {
			return nil
		}
		return fmt.Errorf("purge: %s", a.Explain())
	case a.Verdict.Paused():
		return fmt.Errorf("purge: %s", a.Explain())
	case d.Away:
		return r.away(a, now)
	case d.Pause > 0 && !paused:
		if t.pauses++; t.pauses > maxPauses {
			return fmt.Errorf("purge: Akamai refuses every request alike: %s", a.Words())
		}
	case d.Accepted:
		t.pauses = 0
	}
	return nil
}

func (r *run) away(a Answer, now time.Time) error {
	t := &r.trouble
	if t.since.IsZero() {
		t.since = now
	}
	patience := r.sender.Patience
	if !t.reached && (patience == 0 || patience > unreached) {
		patience = unreached
	}
	if patience > 0 && now.Sub(t.since) >= patience {
		return fmt.Errorf("reach Akamai: %s", a.Words())
	}
	return nil
}

func (r *run) front(p *piece) { r.queue = append([]*piece{p}, r.queue...) }

// skip says whether an object's host is over its limit, and sets it aside.
func (r *run) skip(object string) bool {
	if !r.refusals {
		return false
	}
	host := hostOf(r.request.Kind, object)
	h, known := r.hosts[host]
	if !known || !h.OverLimit() {
		return false
	}
	r.refuse(object, "not tried", fmt.Sprintf("Akamai refused %d URLs of %s before", h.Refused, host))
	return true
}

// dropSkipped leaves out of a piece what is not tried any more: it was cut before its
// host was found to be refused.
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

// hostOf is the host of a URL or an ARL; empty if there is none.
func hostOf(k Kind, named string) string {
	if k != URL {
		return ""
	}
	host, err := object.Host(named)
	if err != nil {
		return ""
	}
	return host
}
