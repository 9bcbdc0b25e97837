package purger

import (
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/object"
)

// When a run ends. A server would instead wait for its operator.
const (
	// unreached replaces a longer [Sender.Patience] while the address has never answered.
	unreached = 30 * time.Second
	// maxPauses is how often in a row a run pauses because Akamai refuses everything
	// alike.
	maxPauses = 5
	// strays is how many answers in a row may come from something other than the purge
	// API. One may be a proxy's.
	strays = 3
)

// trouble counts the reasons for which a run must end.
type trouble struct {
	reached bool      // Akamai answered at least once
	since   time.Time // when Akamai was found to be unavailable; zero: it is not
	strays  int       // NotServed answers in a row
	pauses  int       // pauses since the last accepted request
}

// next gives a piece to send at once, already charged to the budget. If there is none, it
// gives the time until there may be one; below 0 means that only an answer can change
// that.
func (r *run) next(now time.Time) (*piece, time.Duration) {
	if wait := r.circuit.Wait(now); wait > 0 {
		return nil, wait
	}
	// During trouble one request probes, and the others wait for its answer.
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
		// The rest keeps its place at the front of the queue. The full slice expression
		// keeps an append to p.objects from overwriting it.
		if n < len(p.objects) {
			rest := *p
			rest.objects = p.objects[n:]
			r.front(&rest)
			p.objects = p.objects[:n:n]
		}
		return p, 0
	}
}

// due gives the index of the first piece in the queue whose time has come. If there is
// none, it packs a new one from the list. If the list has ended too, it returns -1 and
// the time until the next piece is due.
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

// settle applies one answer to the budget, to the circuit and to the queue. The host is
// copied first: Decide needs what was known before this answer.
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

// attempt describes a piece for Decide.
func (r *run) attempt(p *piece) Attempt {
	t := Attempt{Request: r.request, Number: p.attempts, Cut: p.cut, Denied: r.budget.Objects(r.request.Kind).Denied > 0}
	t.Objects = p.objects
	t.Doubt = Doubt{Since: p.since, LastAccepted: r.lastAccepted}
	if s := p.sibling; s != nil {
		t.Doubt.Sibling, t.Doubt.SiblingWaits = s.refusal, s.refusal == "" && !s.ended
	}
	return t
}

// count adds an answer to the result and to what is known of the hosts.
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

// welcome notes the hosts of accepted objects. Objects of one host usually stand
// together, so comparing with the last one saves most of the look-ups.
func (r *run) welcome(objects []string) {
	last := ""
	for _, object := range objects {
		if host := hostOf(r.request.Kind, object); host != "" && host != last {
			last = host
			r.host(object).Accepted = true
		}
	}
}

// host gives what is known of an object's host. Objects without a host share nothing:
// each gets a new Host, so that one of them never counts against another.
func (r *run) host(object string) *Host {
	host := hostOf(r.request.Kind, object)
	h, ok := r.hosts[host]
	if !ok || host == "" {
		h = &Host{}
		r.hosts[host] = h
	}
	return h
}

// putBack queues what must go out again, as one piece or as two siblings.
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
		if len(part.objects) == 1 { // its answer tells about its whole host, so it goes first
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

// laterOf gives the later time. The zero time is earlier than any other.
func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// unmendable returns the reason why the run must end, or nil. It is an error if waiting
// will not fix what is wrong. paused says whether the run was already pausing when the
// answer came: answers to requests sent before the pause must not count as further
// pauses.
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

// away returns an error once Akamai has been unavailable for longer than the run's
// patience.
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

// front puts a piece at the head of the queue.
func (r *run) front(p *piece) { r.queue = append([]*piece{p}, r.queue...) }

// skip says whether an object is not worth trying because its host is over its limit. It
// then also notes the object as refused.
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

// dropSkipped removes from a piece the objects that are not tried any more. The piece was
// packed before Akamai was found to refuse their host.
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

// hostOf is the host of a URL or an ARL. It is "" for other kinds, and if there is no
// host.
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
