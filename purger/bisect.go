package purger

import (
	"fmt"
	"time"
)

// chain is the pieces that one refused request was cut into, because Akamai
// named nothing. 400 is also its answer to too much traffic, and then cutting
// would end with every object alone and failed; so pieces of a chain count as
// refused for their objects only if something was accepted since.
type chain struct {
	words    string // of the first refusal
	accepted int    // requests accepted before it
	refused  int    // pieces refused, the first one included
}

// refused takes out what the answer names, or cuts the piece in two.
func (r *run) refused(p *piece, a Answer, now time.Time) {
	if a.Offender != "" {
		r.trouble.probing = false
		r.offends(a.Offender, a)
		r.putBack(p, without(p.objects, a.Offender))
		return
	}
	alone := p.chain == nil && len(p.objects) == 1
	if p.chain == nil {
		p.chain = &chain{words: a.Words(), accepted: r.trouble.accepted}
	}
	c := p.chain
	c.refused++
	meant := c.words == a.Words() && r.trouble.accepted > c.accepted || alone && a.ccu
	switch {
	case !meant && (c.refused >= 3 || len(p.objects) == 1):
		r.pause(p, a, now)
	case len(p.objects) == 1:
		r.offends(p.objects[0], a)
	default:
		r.split(p)
	}
}

// pause waits before it goes on to cut: a request and both its halves, or one
// object alone, were refused alike and nothing was accepted meanwhile.
func (r *run) pause(p *piece, a Answer, now time.Time) {
	if r.trouble.probing && r.trouble.until.After(now) { // others of the same moment have paused already
		r.split(p)
		return
	}
	if r.trouble.pauses >= maxPauses {
		r.front(p)
		r.trouble.words = a.Words()
		r.stop(fmt.Errorf("purge: Akamai refuses every request alike: %s", a.Words()))
		return
	}
	r.split(p)
	r.trouble.pauses++
	r.trouble.probing = true
	r.hold(now.Add(backoff(2*time.Second, r.trouble.pauses)), a.Words())
}

// offends sets one object aside for good.
func (r *run) offends(object string, a Answer) {
	r.refuse(object, a.Title, a.Detail)
	if host := hostOf(r.request.Kind, object); host != "" {
		r.hosts[host]++
	}
}

func (r *run) putBack(p *piece, objects []string) {
	if len(objects) == 0 {
		return
	}
	p.objects = objects
	r.front(p)
}

// split puts both halves back, or a single object as it is.
func (r *run) split(p *piece) {
	n := len(p.objects) / 2
	if n == 0 {
		r.front(p)
		return
	}
	r.front(
		&piece{objects: p.objects[:n:n], chain: p.chain},
		&piece{objects: p.objects[n:], chain: p.chain},
	)
}

func without(objects []string, one string) []string {
	kept := make([]string, 0, len(objects))
	for _, object := range objects {
		if object != one {
			kept = append(kept, object)
		}
	}
	return kept
}
