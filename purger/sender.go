package purger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Sender sends a list of objects, however long, until each is accepted or refused. It
// packs them into full requests, stays within the budget, retries through trouble, and
// sets apart what Akamai refuses. It sends each object once, unless an answer was lost.
// It keeps nothing between runs except the Budget, and nothing on disk.
type Sender struct {
	API API

	// Budget is charged before each request and corrected by each answer. nil is for an
	// API without token buckets. Budget has no lock, so only one run may use it at a
	// time.
	Budget *Budget

	// Connections is the most requests under way at a time. 0 means 10.
	Connections int

	// Patience is how long Akamai may be unavailable before the run ends with the rest
	// unsent. 0 means as long as the context lives. If Akamai never answered at all,
	// because its address is wrong or the network is down, the run ends after 30 s at
	// most.
	Patience time.Duration

	// Progress, if set, is called after each answer, from the goroutine of Run. It should
	// return quickly: nothing is sent while it runs.
	Progress func(Progress)
}

// Progress says how far a run is. The numbers count objects.
type Progress struct {
	Read     int  // taken from the list so far, without duplicates
	Complete bool // the list was read to its end, so Read is the total
	Accepted int
	Refused  int
	Trouble  string        // why nothing is sent at the moment; "": all is well
	Wait     time.Duration // until the next attempt; only with Trouble
}

// Result says what became of a run. Every object of the list is either in one of the
// accepted requests or in Refused. Only a cancelled run leaves out what it had not read.
type Result struct {
	Accepted   int // objects
	Duplicates int // objects that were in the list before, and were skipped
	Requests   []Receipt
	Refused    []Refusal

	Attempts int // requests sent, accepted or not
	Limited  int // requests answered with 429 or 507
	Lost     int // requests without an answer that Akamai may have accepted; their objects went out again
}

// Refusal is an object that was not accepted, and the reason: in Akamai's words if Akamai
// refused it, in ours if it was not sent at all.
type Refusal struct {
	Object string
	Title  string
	Detail string

	Status    int       // HTTP status of the refusal; 0: it was not sent
	SupportID string    // of that answer
	At        time.Time // when the answer came; zero: it was not sent
}

// ErrStopped is in the error chain of a run that ended before its whole list was sent.
var ErrStopped = errors.New("stopped before everything was sent")

// Run sends the objects. r says of what kind they are and what to do with them; its own
// Objects are ignored. The list is read while it is sent.
//
// The Result is complete even if there is an error. An error means that sending more was
// pointless or that ctx ended. Refused objects are no error.
func (s *Sender) Run(ctx context.Context, r Request, objects iter.Seq[string]) (Result, error) {
	most := s.API.MaxObjects(r.Kind)
	if most == 0 {
		return Result{}, fmt.Errorf("purge: this API has no objects of kind %q", string(r.Kind))
	}
	connections := s.Connections
	if connections <= 0 {
		connections = Connections
	}
	next, stop := iter.Pull(objects)
	defer stop()
	run := &run{
		sender:      s,
		request:     r,
		most:        most,
		connections: connections,
		list:        list{next: next, seen: map[[16]byte]struct{}{}},
		hosts:       map[string]*Host{},
		settled:     make(chan settled, connections),
		budget:      s.Budget,
	}
	if run.budget == nil {
		run.budget = unlimited(time.Now())
	}
	err := run.loop(ctx)
	run.setAside(ctx, err)
	return run.result, err
}

// run is the state of one call of Run. It belongs to one goroutine, so it needs no lock.
// The other goroutines only wait for an answer and pass it on through settled.
type run struct {
	sender      *Sender
	request     Request
	most        int
	connections int

	list   list
	queue  []*piece // what waits to be sent, in order
	flying int      // requests under way
	hosts  map[string]*Host
	budget *Budget
	result Result

	settled      chan settled // has room for every request under way, so no sender blocks on it
	circuit      Circuit
	trouble      trouble
	lastAccepted time.Time // zero: nothing was accepted yet
	refusals     bool      // Akamai has named at least one object
	words        string    // of the last answer that was not an acceptance
	err          error     // why the run ends; nothing is sent once it is set
}

// piece is a group of objects that go out as one request.
type piece struct {
	objects  []string
	due      time.Time // not to be sent before
	attempts int       // requests sent with it so far
	cut      bool      // made to fit the tokens that a 429 said are left

	// The following belong to the search for an object that Akamai refused without naming
	// it. See [Doubt].
	since   time.Time // when the whole was refused that this is a part of; zero: it was not
	sibling *piece    // the other part
	refusal string    // Akamai's words when it refused this piece and named nothing
	ended   bool      // nothing of it is left to send
}

// settled is the answer to one request.
type settled struct {
	piece  *piece
	answer Answer
}

// grace is how long requests under way may still take after the run is cancelled. Each
// answer that arrives means fewer objects of which nobody knows whether they were purged.
const grace = 5 * time.Second

// loop sends until the list has ended or something ends the run. All state belongs to its
// goroutine; requests under way answer through a channel. When ctx ends, loop sends
// nothing more, but waits up to grace for the answers to what it has sent.
func (r *run) loop(ctx context.Context) error {
	// Requests must outlive ctx by grace, so they do not inherit its end.
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := ctx.Done()
	for {
		wait := r.launch(sending)
		if r.flying == 0 && (r.err != nil || wait < 0) {
			return r.err
		}
		timer := time.NewTimer(max(wait, 0))
		// A stopped timer never fires, so the select waits for an answer or for ctx
		// alone.
		if wait < 0 || r.flying >= r.connections {
			timer.Stop()
		}
		select {
		case s := <-r.settled:
			r.settle(s, time.Now())
		case <-timer.C:
		case <-done:
			done = nil // a closed channel would win this select again and again
			r.stop(context.Cause(ctx))
			defer time.AfterFunc(grace, cancel).Stop()
		}
		timer.Stop()
	}
}

// launch sends whatever may be sent at the moment. It returns how long to wait until more
// may be sent; below 0 means that only an answer can change that.
func (r *run) launch(ctx context.Context) time.Duration {
	for {
		if r.err != nil || r.flying >= r.connections {
			return -1
		}
		p, wait := r.next(time.Now())
		if p == nil {
			return wait
		}
		r.flying++
		p.attempts++
		r.result.Attempts++
		request := r.request
		request.Objects = p.objects
		go func() { r.settled <- settled{p, r.sender.API.Send(ctx, request)} }()
	}
}

// stop makes the run end once the requests under way are answered. The first cause stays.
func (r *run) stop(cause error) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrStopped, cause)
	}
}

// setAside lists what was not sent as refused, and what was not read. It reads on only if
// the caller did not cancel: a cancelled caller may still be writing the list, and
// reading it could block.
func (r *run) setAside(ctx context.Context, err error) {
	if err == nil {
		return
	}
	const title = "not sent"
	detail := clean(r.words, maxWords)
	if ctx.Err() != nil {
		detail = "cancelled"
	}
	for _, p := range r.queue {
		for _, object := range p.objects {
			r.refuse(object, title, detail)
		}
	}
	r.queue = nil
	for ctx.Err() == nil {
		object, ok := r.read()
		if !ok {
			return
		}
		r.refuse(object, title, detail)
	}
	if r.list.held {
		r.refuse(r.list.object, title, detail)
	}
}

// refuse notes an object that was not sent.
func (r *run) refuse(object, title, detail string) {
	r.result.Refused = append(r.result.Refused, Refusal{Object: object, Title: title, Detail: detail})
}

// report calls Progress, if there is one. An empty reason means that all is well.
func (r *run) report(reason string, wait time.Duration) {
	r.words = cmp.Or(reason, r.words)
	if r.sender.Progress == nil {
		return
	}
	r.sender.Progress(Progress{
		Read: r.list.read, Complete: r.list.ended,
		Accepted: r.result.Accepted, Refused: len(r.result.Refused),
		Trouble: reason, Wait: wait,
	})
}

// list is the objects still to come.
type list struct {
	next   func() (string, bool)
	seen   map[[16]byte]struct{} // half of a SHA-256 each: a million objects in 30 MB
	object string                // was read but did not fit; only if held
	held   bool
	read   int // objects, without duplicates
	ended  bool
}

// read gives the next object that is worth sending: no duplicate, and none that [Check]
// refuses. ok is false at the end of the list.
func (r *run) read() (string, bool) {
	l := &r.list
	if l.held {
		l.held = false
		return l.object, true
	}
	for !l.ended {
		object, ok := l.next()
		if !ok {
			l.ended = true
			break
		}
		sum := sha256.Sum256([]byte(object))
		key := [16]byte(sum[:])
		if _, twice := l.seen[key]; twice {
			r.result.Duplicates++
			continue
		}
		l.seen[key] = struct{}{}
		l.read++
		if err := Check(r.request.Kind, object); err != nil {
			r.refuse(object, "not sent", unsent(err).Detail)
			continue
		}
		return object, true
	}
	return "", false
}

// pack fills one request from the list. nil means that the list has ended.
func (r *run) pack() *piece {
	packer := NewPacker(r.request.Kind, r.most)
	p := &piece{objects: make([]string, 0, 64)}
	for {
		object, ok := r.read()
		if !ok {
			break
		}
		if r.skip(object) {
			continue
		}
		if !packer.Add(object) {
			r.list.object, r.list.held = object, true
			break
		}
		p.objects = append(p.objects, object)
	}
	if len(p.objects) == 0 {
		return nil
	}
	return p
}
