package store

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/purger"
)

// budget is the shared model of an account's buckets, and what stands in the
// way of everything. What Akamai says of a bucket's size and refill is kept
// with its tokens, for every replica and the next start: accounts differ.
type budget struct {
	*purger.Budget
	account string // as stored
	kind    purger.Kind
	circuit purger.Circuit
	now     time.Time // by the replica whose clock is ahead
}

const requestsBucket = "requests"

// skew is how far the clocks of replicas may differ. Up to that, time does
// not go back: or each turn of the one ahead would refill the buckets again.
const skew = time.Minute

// leaseMargin is how much longer than the attempt itself a claim holds, so
// that it is never sent by two at once.
const leaseMargin = 3 * time.Second

// lease is how long a claim holds: for so long a replica's death holds up what
// it had claimed.
func (b *budget) lease() time.Duration { return b.circuit.Limit() + leaseMargin }

const budgetColumns = `tokens, at, capacity, per_second, denied, rest_until, share, paused_until, failures, words, slow`

// scanBudget reads a row of budgetColumns: the bucket, and of the requests'
// row what stands in the way of everything.
func scanBudget(r row, bucket *purger.Bucket, more ...any) (c purger.Circuit, err error) {
	var at, rest, until, slow int64
	err = r.Scan(append(more, &bucket.Tokens, &at, &bucket.Capacity, &bucket.PerSecond, &bucket.Denied, &rest, &bucket.Share,
		&until, &c.Failures, &c.Words, &slow)...)
	bucket.At, bucket.Until = when(at), when(rest)
	c.Until, c.Slow = when(until), time.Duration(slow)*time.Millisecond
	return c, err
}

// loadBudget locks and reads the rows of an account's request bucket and of a
// kind's: the lock is what makes its claims of several replicas take turns. Its time is
// read once the lock is there, however long that took.
func (s *Store) loadBudget(ctx context.Context, t *tx, account string, kind purger.Kind) (*budget, error) {
	b := &budget{Budget: purger.NewBudget(time.Time{}), account: account, kind: kind}
	for _, name := range []string{requestsBucket, string(kind)} {
		bucket := b.bucket(name)
		c, err := scanBudget(t.row(ctx, `INSERT INTO budget (bucket, tokens, at, capacity, per_second) VALUES ($1,$2,0,$3,$4)
			ON CONFLICT (bucket) DO UPDATE SET bucket = excluded.bucket RETURNING `+budgetColumns,
			own(name, account), bucket.Tokens, bucket.Capacity, bucket.PerSecond), bucket)
		if err != nil {
			return nil, err
		}
		if name == requestsBucket {
			b.now = when(ms(s.now())) // as it is stored: or each rounding would give tokens away
			b.circuit = c
		}
		if ahead := bucket.At.Sub(b.now); ahead > 0 && ahead <= skew {
			b.now = bucket.At
		}
	}
	if b.mendClock() {
		return b, s.saveBudget(ctx, t, b)
	}
	return b, nil
}

// mendClock ends what lies further ahead than it ever may: it was written by
// a clock that was wrong. It reports whether that was a bucket's own time: what
// fills it counts from then on.
func (b *budget) mendClock() (mended bool) {
	b.circuit.Until = notBeyond(b.circuit.Until, b.now, max(purger.MaxWait, b.lease()))
	for _, bucket := range []*purger.Bucket{&b.Requests, &b.URLs, &b.Tags, &b.CPCodes} {
		bucket.Until = notBeyond(bucket.Until, b.now, purger.MaxWait)
		if bucket.At.Sub(b.now) > skew {
			bucket.At, mended = b.now, true
		}
	}
	return mended
}

// notBeyond is a stored moment, or none where it lies further ahead than it
// ever may.
func notBeyond(at, now time.Time, most time.Duration) time.Time {
	if at.Sub(now) > most {
		return time.Time{}
	}
	return at
}

func (b *budget) bucket(name string) *purger.Bucket {
	if name == requestsBucket {
		return &b.Requests
	}
	return b.Objects(purger.Kind(name))
}

func (s *Store) saveBudget(ctx context.Context, t *tx, b *budget) error {
	for _, name := range []string{requestsBucket, string(b.kind)} {
		k := b.bucket(name)
		if _, err := t.exec(ctx, `UPDATE budget SET tokens = $2, at = $3, capacity = $4, per_second = $5,
				denied = $6, rest_until = $7, share = $8 WHERE bucket = $1`,
			own(name, b.account), k.Tokens, ms(k.At), k.Capacity, k.PerSecond, k.Denied, ms(k.Until), k.Share); err != nil {
			return err
		}
	}
	c := b.circuit
	_, err := t.exec(ctx, `UPDATE budget SET paused_until = $2, failures = $3, words = $4, slow = $5 WHERE bucket = $1`,
		own(requestsBucket, b.account), ms(c.Until), c.Failures, c.Words, c.Slow.Milliseconds())
	return err
}

// inFlight is what was under way beside an answer, and its figures don't show.
type inFlight struct {
	alone bool          // no other request was under way between its claim and now
	later int           // objects of the requests under way that were claimed after it
	age   time.Duration // of the answer: settling waits its turn
}

// correct corrects the model by an answer. It only falls with an answer's
// figures, which know nothing of the requests that are under way; where there
// were none it is what the answer says, so that tokens lost to a crash or to a
// late answer come back.
func (b *budget) correct(r *Request, a purger.Answer, d purger.Decision, f inFlight) {
	a.Limits = b.Aged(r.Kind, a.Limits, f.age)
	b.Settle(r.Kind, len(r.Objects), a, d, b.now)
	bucket, left := b.Objects(r.Kind), a.Limits.Objects.Remaining
	switch {
	case left == nil:
	case f.alone:
		bucket.Tokens = min(bucket.Capacity, *left)
	default:
		bucket.Tokens = max(0, min(bucket.Tokens, *left-float64(f.later)))
	}
}
