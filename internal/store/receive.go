package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

const (
	// intakeAtOnce (deliveries) and intakeBytes (compressed) bound one transaction. A
	// single delivery goes whatever its size.
	intakeAtOnce = 128
	intakeBytes  = 4 << 20

	// intakeWaits is how many deliveries may wait for a transaction. More wait only if
	// the database hardly answers. Then the others fail, and GitHub keeps them as failed.
	intakeWaits = 4096
)

var errIntakeFull = errors.New("too many deliveries wait for the database")

// intake lets deliveries that arrive at the same time share a transaction: most of what a
// small delivery costs is the way to the disk. The caller that gets a turn stores all
// that wait at that moment, its own delivery among them. Nobody waits for company, and no
// goroutine works in the background.
//
// A delivery is in one place only: in waiting, or in the batch of the caller that took
// it. So it has exactly one outcome, which goes into its channel "stored".
type intake struct {
	turns chan struct{} // a slot is held by each caller that is storing

	mu      sync.Mutex
	waiting []*arrival // the oldest first; guarded by mu
}

func newIntake(turns int) intake { return intake{turns: make(chan struct{}, turns)} }

// An arrival is a delivery on its way into the database.
type arrival struct {
	Delivery
	packed []byte        // the compressed body
	stored chan stored   // holds one, so that nobody waits for a caller that has left
	back   chan struct{} // holds one: the arrival waits again, so its caller may take a turn
	left   bool          // its caller has gone; guarded by the intake's mu
}

// stored is what became of an arrival.
type stored struct {
	fresh bool
	err   error
}

// Receive makes a delivery durable and wakes its job, in one transaction that it may
// share with others. When it returns without an error, the delivery is on disk, and
// GitHub may be told so.
//
// It reports false for a delivery id that is there already, and then changes nothing. The
// exception is a delivery that was set aside: to deliver it again means to handle it
// again. If Receive fails because ctx ended, the delivery may be stored all the same.
func (s *Store) Receive(ctx context.Context, d Delivery) (fresh bool, err error) {
	a := &arrival{Delivery: d, packed: s.zstd.pack(d.Body), stored: make(chan stored, 1), back: make(chan struct{}, 1)}
	if err = s.intake.join(a); err == nil {
		fresh, err = s.awaitStored(ctx, a)
	}
	if err != nil {
		return false, fmt.Errorf("store delivery %s: %w", d.GUID, err)
	}
	return fresh, nil
}

// awaitStored waits until another caller has stored a, or until it is this caller's turn
// to store what waits.
func (s *Store) awaitStored(ctx context.Context, a *arrival) (fresh bool, err error) {
	for ctx.Err() == nil {
		select {
		case r := <-a.stored:
			return r.fresh, r.err
		case s.intake.turns <- struct{}{}:
			mine := s.storeWaiting(ctx, a)
			<-s.intake.turns
			if mine { // its result is there, or it waits again
				continue
			}
		case <-ctx.Done():
			continue
		}
		// Another caller has taken a. Only when that one gives it back may this caller
		// try for a turn again; else it would take turns for nothing.
		select {
		case r := <-a.stored:
			return r.fresh, r.err
		case <-a.back:
		case <-ctx.Done():
		}
	}
	// The result may have come at the same moment as the end of ctx: look once more.
	s.intake.leave(a)
	select {
	case r := <-a.stored:
		return r.fresh, r.err
	default:
		return false, s.judge(ctx, ctx.Err())
	}
}

// storeWaiting stores arrivals, as many as go into one transaction. If the transaction
// fails because of one of them, each is stored alone, so that the others succeed; but not
// if the database takes none at all. If ctx ends, it gives the batch back: the next
// caller's turn stores it. It reports whether own was still waiting when it took the
// batch.
func (s *Store) storeWaiting(ctx context.Context, own *arrival) (mine bool) {
	batch, mine := s.intake.take(own)
	for together := len(batch); len(batch) > 0; together = 1 {
		part := batch[:together]
		fresh, err := s.insertDeliveries(ctx, part)
		if err != nil && ctx.Err() != nil {
			s.intake.giveBack(batch)
			return mine
		}
		if _, away := errors.AsType[*UnavailableError](err); err != nil && !away && together > 1 {
			continue // one by one
		}
		for _, a := range part {
			a.stored <- stored{fresh: fresh[a.GUID], err: err}
			delete(fresh, a.GUID) // one of two with the same id is new
		}
		batch = batch[together:]
	}
	return mine
}

// insertDeliveries stores a batch in one transaction and returns the ids that are new or
// are handled anew.
func (s *Store) insertDeliveries(ctx context.Context, batch []*arrival) (fresh map[string]bool, err error) {
	// In one order everywhere: two replicas that are sent the same deliveries would
	// otherwise wait for each other's rows.
	batch = slices.SortedFunc(slices.Values(batch), func(a, b *arrival) int { return strings.Compare(a.GUID, b.GUID) })
	var rows strings.Builder
	const columns = 8
	args := make([]any, 0, columns*len(batch))
	for i, a := range batch {
		if i > 0 {
			rows.WriteByte(',')
		}
		rows.WriteString(list(len(args)+1, columns))
		args = append(args, a.GUID, a.Event, a.packed, ms(a.ReceivedAt), ms(a.At), ms(a.ReceivedAt), a.RepoID, a.Person)
	}
	err = s.writeFirst(ctx, func(t *tx) error {
		// Made anew: the transaction may run more than once.
		fresh = make(map[string]bool, len(batch))
		take := func(r row) error {
			var guid string
			err := r.Scan(&guid)
			fresh[guid] = true
			t.enqueue(HandleJob{GUID: guid})
			return err
		}
		if err := t.each(ctx, take, `INSERT INTO delivery (guid, event, body, received_at, at, next_at, repo_id, person) VALUES `+rows.String()+`
			ON CONFLICT (guid) DO NOTHING RETURNING guid`, args...); err != nil {
			return err
		}
		// Ids that were there already: those that were set aside are handled anew.
		known := []any{ms(s.now()), freshWake(s.now())}
		for _, a := range batch {
			if !fresh[a.GUID] {
				known = append(known, a.GUID)
			}
		}
		if len(known) == 2 {
			return nil
		}
		return t.each(ctx, take, anew+`IN `+list(3, len(known)-2)+` RETURNING guid`, known...)
	})
	return fresh, err
}

// join adds an arrival to the line.
func (q *intake) join(a *arrival) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= intakeWaits {
		return errIntakeFull
	}
	q.waiting = append(q.waiting, a)
	return nil
}

// leave forgets an arrival whose caller has no more time. If it is being stored
// meanwhile, it is stored.
func (q *intake) leave(a *arrival) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a.left = true
	q.waiting = slices.DeleteFunc(q.waiting, func(other *arrival) bool { return other == a })
}

// take gives the arrivals of the next transaction, the oldest first. It gives none if own
// does not wait any more: then another caller has it, and this one has nothing to do.
func (q *intake) take(own *arrival) (batch []*arrival, mine bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.waiting, own) {
		return nil, false
	}
	n, bytes := 0, 0
	for n < min(len(q.waiting), intakeAtOnce) && (n == 0 || bytes+len(q.waiting[n].packed) <= intakeBytes) {
		bytes += len(q.waiting[n].packed)
		n++
	}
	batch = slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return batch, true
}

// giveBack puts what take gave back in front of the line, and tells each caller that is
// still there.
func (q *intake) giveBack(batch []*arrival) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch = slices.DeleteFunc(batch, func(a *arrival) bool { return a.left })
	q.waiting = append(batch, q.waiting...)
	for _, a := range batch {
		select {
		case a.back <- struct{}{}:
		default: // it was told before, and has not looked yet
		}
	}
}
