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
	// intakeAtOnce and intakeBytes bound the deliveries of one transaction;
	// one goes whatever its size.
	intakeAtOnce = 128
	intakeBytes  = 4 << 20

	// intakeWaits bounds the deliveries that wait for a transaction. More come
	// only where the database hardly answers; GitHub keeps them as failed.
	intakeWaits = 4096
)

var errIntakeFull = errors.New("too many deliveries wait for the database")

// intake lets deliveries that arrive at the same time share a transaction:
// most of what a small one costs is its way to the disk. Who has a turn
// stores all that wait by then, its own delivery among them. Nobody waits for
// company, and nobody works in the background.
type intake struct {
	turns chan struct{} // held by whoever stores

	mu      sync.Mutex
	waiting []*arrival
}

func newIntake(turns int) intake { return intake{turns: make(chan struct{}, turns)} }

// An arrival is a delivery on its way into the database.
type arrival struct {
	Delivery
	packed []byte
	stored chan stored   // holds one
	back   chan struct{} // holds one: it waits again
	left   bool          // nobody waits for it any more; guarded by the intake
}

// stored is what became of an arrival.
type stored struct {
	fresh bool
	err   error
}

// Receive makes a delivery durable and wakes its job, in one transaction, which
// it may share with others. It reports false for a delivery id that is there
// already, and then changes nothing, unless it was set aside: who delivers it
// again wants it handled anew. Where it fails for want of time the
// delivery may be there all the same.
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

// awaitStored waits until somebody has stored a, or until it is our turn to
// store what waits.
func (s *Store) awaitStored(ctx context.Context, a *arrival) (fresh bool, err error) {
	for ctx.Err() == nil {
		select {
		case r := <-a.stored:
			return r.fresh, r.err
		case s.intake.turns <- struct{}{}:
			mine := s.storeWaiting(ctx, a)
			<-s.intake.turns
			if mine {
				continue
			}
		case <-ctx.Done():
			continue
		}
		select { // somebody else stores it
		case r := <-a.stored:
			return r.fresh, r.err
		case <-a.back:
		case <-ctx.Done():
		}
	}
	s.intake.leave(a)
	select {
	case r := <-a.stored:
		return r.fresh, r.err
	default:
		return false, s.judge(ctx, ctx.Err())
	}
}

// storeWaiting stores arrivals, as many as go into one transaction. What one
// of them spoils, the others get without it, unless the database takes none
// at all. Where ctx ends, the next one's turn is theirs. It reports whether
// one's own was waiting still.
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

// insertDeliveries stores a batch in one transaction, and gives the ids that
// are new.
func (s *Store) insertDeliveries(ctx context.Context, batch []*arrival) (fresh map[string]bool, err error) {
	// In one order everywhere: two replicas that are sent the same must not
	// wait for each other.
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

func (q *intake) join(a *arrival) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= intakeWaits {
		return errIntakeFull
	}
	q.waiting = append(q.waiting, a)
	return nil
}

// leave forgets an arrival whose caller has no more time. What is being
// stored meanwhile is stored.
func (q *intake) leave(a *arrival) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a.left = true
	q.waiting = slices.DeleteFunc(q.waiting, func(other *arrival) bool { return other == a })
}

// take gives the arrivals of the next transaction, the oldest first, or none
// where one's own waits no more: somebody else has it.
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

// giveBack lets what take gave wait again, first of all.
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
