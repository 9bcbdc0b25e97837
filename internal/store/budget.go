package store

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/purger"
)

// budget is the shared model of one account's buckets, with the circuit that can stop all
// of the account's requests. What Akamai says of a bucket's size and refill is stored
// with its tokens, for every replica and for the next start: accounts differ.
type budget struct {
	*purger.Budget
	account string      // as stored
	kind    purger.Kind // whose bucket is loaded beside that of the requests; the others have their defaults
	circuit purger.Circuit
	now     time.Time // by the replica whose clock is ahead; no earlier than the loaded buckets' own time
}

// requestsBucket names the bucket of whole requests. Its row is also the account's lock
// and holds the account's circuit.
const requestsBucket = "requests"

// skew is how far the clocks of replicas may differ. Up to that the budget's time does
// not go back: else each turn of the replica that is ahead would refill the buckets
// again.
const skew = time.Minute

// leaseMargin is how much longer a claim holds than its attempt may take, so that no
// second process sends the request while the first one still may.
const leaseMargin = 3 * time.Second

// lease is how long a claim holds. If the replica dies, what it had claimed waits that
// long.
func (b *budget) lease() time.Duration { return b.circuit.Limit() + leaseMargin }

// budgetColumns are the columns that scanBudget reads.
const budgetColumns = `tokens, at, capacity, per_second, denied, rest_until, share, paused_until, failures, words, slow`

// scanBudget reads a row of budgetColumns, after "more" columns that stand before them.
// The circuit means something only in the requests' row.
func scanBudget(r row, bucket *purger.Bucket, more ...any) (c purger.Circuit, err error) {
	var at, rest, until, slow int64
	err = r.Scan(append(more, &bucket.Tokens, &at, &bucket.Capacity, &bucket.PerSecond, &bucket.Denied, &rest, &bucket.Share,
		&until, &c.Failures, &c.Words, &slow)...)
	bucket.At, bucket.Until = when(at), when(rest)
	c.Until, c.Slow = when(until), time.Duration(slow)*time.Millisecond
	return c, err
}

// loadBudget locks and reads two rows: the account's requests bucket, then the bucket of
// one kind. The lock makes the claims and settlings of several replicas take turns. It
// must be the first lock of a transaction, see the package comment.
//
// INSERT … ON CONFLICT DO UPDATE makes the row if it is missing and locks it in any case,
// on both engines. The time is read once the lock is held, however long that took.
func (s *Store) loadBudget(ctx context.Context, t *tx, account string, kind purger.Kind) (*budget, error) {
	b := &budget{Budget: purger.NewBudget(time.Time{}), account: account, kind: kind}
	for _, name := range []string{requestsBucket, string(kind)} {
		bucket := b.bucket(name)
		c, err := scanBudget(t.row(ctx, `INSERT INTO budget (bucket, tokens, at, capacity, per_second) VALUES ($1,$2,0,$3,$4)
			ON CONFLICT (bucket) DO UPDATE SET bucket = excluded.bucket RETURNING `+budgetColumns,
			ofAccount(name, account), bucket.Tokens, bucket.Capacity, bucket.PerSecond), bucket)
		if err != nil {
			return nil, err
		}
		if name == requestsBucket {
			b.now = when(ms(s.now())) // rounded as it is stored: else each rounding would give tokens away
			b.circuit = c
		}
		// Another replica's clock is a little ahead: go on from its time.
		if ahead := bucket.At.Sub(b.now); ahead > 0 && ahead <= skew {
			b.now = bucket.At
		}
	}
	if b.mendClock() {
		return b, s.saveBudget(ctx, t, b)
	}
	return b, nil
}

// mendClock resets what lies further ahead than it ever may: a wrong clock wrote it. It
// reports whether that was a bucket's own time. Then the bucket fills from now on, and
// the caller must save it, since a claim that takes nothing saves nothing.
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

// notBeyond gives a stored moment, or the zero time if it lies more than "most" ahead.
func notBeyond(at, now time.Time, most time.Duration) time.Time {
	if at.Sub(now) > most {
		return time.Time{}
	}
	return at
}

// bucket is the model's bucket by its bare name, without the account.
func (b *budget) bucket(name string) *purger.Bucket {
	if name == requestsBucket {
		return &b.Requests
	}
	return b.Objects(purger.Kind(name))
}

// saveBudget writes the two buckets and the circuit back. The caller holds their lock.
func (s *Store) saveBudget(ctx context.Context, t *tx, b *budget) error {
	for _, name := range []string{requestsBucket, string(b.kind)} {
		k := b.bucket(name)
		if _, err := t.exec(ctx, `UPDATE budget SET tokens = $2, at = $3, capacity = $4, per_second = $5,
				denied = $6, rest_until = $7, share = $8 WHERE bucket = $1`,
			ofAccount(name, b.account), k.Tokens, ms(k.At), k.Capacity, k.PerSecond, k.Denied, ms(k.Until), k.Share); err != nil {
			return err
		}
	}
	c := b.circuit
	_, err := t.exec(ctx, `UPDATE budget SET paused_until = $2, failures = $3, words = $4, slow = $5 WHERE bucket = $1`,
		ofAccount(requestsBucket, b.account), ms(c.Until), c.Failures, c.Words, c.Slow.Milliseconds())
	return err
}

// inFlight is what was under way beside an answer. The answer's figures do not show it.
type inFlight struct {
	alone bool          // no other request of the kind was under way between its claim and now
	later int           // objects of the requests under way that were claimed after it
	age   time.Duration // of the answer, which waited for its turn to settle
}

// correct corrects the model by an answer. While other requests are under way, the tokens
// only fall: the answer's figure, less what was claimed later, is an upper bound. If
// there was no other request, the tokens become what the answer says. So tokens that were
// lost to a crash or to a late answer come back.
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
