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

// Sender gets a list of objects accepted, whatever its length: packed into
// full requests, within the budget, each object once, retried through trouble,
// with what Akamai refuses set apart. It keeps nothing between runs but the
// Budget, and nothing on disk.
type Sender struct {
	API API

	// Budget is charged before each request and corrected by each answer; nil
	// is for an API without token buckets. Only one run may use it at a time.
	Budget *Budget

	// Connections is how many requests are under way at most; 0 means 10.
	Connections int

	// Patience is how long Akamai may be unavailable until the run ends with
	// what is left unsent; 0 means for as long as the context lives. If it was
	// never reached at all, because its address is wrong or the network is
	// down, 30 s are enough.
	Patience time.Duration

	// Progress, if set, is called after each answer and before each wait that
	// is not for the budget, from one goroutine. It should return quickly.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Read     int  // objects taken from the list, without duplicates
	Complete bool // the list was read to its end
	Accepted int
	Refused  int
	Trouble  string        // why nothing is sent at the moment; empty if it goes well
	Wait     time.Duration // until the next attempt, where there is trouble
}

// Result is what became of a run. Every object of the list is either in one of
// the accepted requests or refused.
type Result struct {
	Accepted   int
	Duplicates int
	Requests   []Receipt
	Refused    []Refusal

	Attempts int // requests sent, accepted or not
	Limited  int // of these, answered with 429 or 507
	Lost     int // of these, without an answer though Akamai may have accepted them
}

// Refusal is an object that was not accepted, and why: in Akamai's words where
// Akamai refused it, in ours where it was not sent at all.
type Refusal struct {
	Object string
	Title  string
	Detail string

	Status    int       // of the answer that refused it; 0: it was not sent
	SupportID string    // of that answer
	At        time.Time // when it came
}

// ErrStopped is in the chain of the error of a run that ended before its list
// was sent.
var ErrStopped = errors.New("stopped before everything was sent")

// Run sends the objects; r says of what kind they are and what to do with
// them, and its own Objects are ignored. The list is read as it is sent.
// The Result is complete even with an error, which means that sending was
// pointless or cancelled; refused objects are no error.
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

// run is one Run. All of it belongs to one goroutine; the others do nothing
// but wait for an answer.
type run struct {
	sender      *Sender
	request     Request
	most        int
	connections int

	list   list
	queue  []*piece // what waits, in order
	flying int      // requests under way
	hosts  map[string]*Host
	budget *Budget
	result Result

	settled      chan settled
	circuit      Circuit
	trouble      trouble
	lastAccepted time.Time
	refusals     bool   // Akamai named any object
	words        string // of the last answer that was no good
	err          error  // why to stop
}

// piece is objects that go out together.
type piece struct {
	objects  []string
	due      time.Time // not before
	attempts int
	cut      bool // to what an answer said is left

	since   time.Time // when what it is a part of was refused, with nothing named
	sibling *piece    // the other part
	refusal string    // Akamai's words, when it refused this and named nothing
	ended   bool
}

type settled struct {
	piece  *piece
	answer Answer
}

// grace is how long requests under way may still take once the run is
// cancelled: an answer that is waited for is one object less in doubt.
const grace = 5 * time.Second

// loop sends until the list has ended or something ends the run. All state is its
// own goroutine's; requests under way answer by a channel. When it is cancelled it
// sends nothing more, and hears those answers for a little longer.
func (r *run) loop(ctx context.Context) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := ctx.Done()
	for {
		wait := r.launch(sending)
		if r.flying == 0 && (r.err != nil || wait < 0) {
			return r.err
		}
		timer := time.NewTimer(max(wait, 0))
		if wait < 0 || r.flying >= r.connections {
			timer.Stop()
		}
		select {
		case s := <-r.settled:
			r.settle(s, time.Now())
		case <-timer.C:
		case <-done:
			done = nil
			r.stop(context.Cause(ctx))
			defer time.AfterFunc(grace, cancel).Stop()
		}
		timer.Stop()
	}
}

// launch sends whatever may be sent now, and says how long until more may be;
// below 0: not before an answer.
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

// stop ends the run once the requests under way are answered.
func (r *run) stop(cause error) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrStopped, cause)
	}
}

// setAside lists what was not sent, and, unless the user cancelled and may
// still be writing the list, what was not read.
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

func (r *run) refuse(object, title, detail string) {
	r.result.Refused = append(r.result.Refused, Refusal{Object: object, Title: title, Detail: detail})
}

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
	seen   map[[16]byte]struct{} // half a SHA-256: a million objects in 30 MB
	object string                // read, but did not fit
	held   bool
	read   int
	ended  bool
}

// read is the next object that is worth sending.
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

// pack fills one request from the list; nil at its end.
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
