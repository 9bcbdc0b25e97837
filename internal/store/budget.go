package store

import (
	"cmp"
	"context"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// budget is the shared model of the account's buckets, and what stands in the
// way of everything. What Akamai says of a bucket's size and refill is kept
// with its tokens, for every replica and the next start: accounts differ.
type budget struct {
	*purger.Budget
	now time.Time // by the replica whose clock is ahead

	pausedUntil time.Time
	failures    int
	words       string // why nothing is sent; "" if there is no trouble
}

func (b *budget) pausedFor() time.Duration { return max(0, b.pausedUntil.Sub(b.now)) }

const requestsBucket = "requests"

// skew is how far the clocks of replicas may differ. Up to that, time does
// not go back: or each turn of the one ahead would refill the buckets again.
const skew = time.Minute

// loadBudget locks and reads the rows of the request bucket and of a kind's:
// the lock is what makes claims of several replicas take turns.
func (s *Store) loadBudget(ctx context.Context, t *tx, kind purger.Kind, now time.Time) (*budget, error) {
	now = when(ms(now)) // as it is stored: or each rounding would give tokens away
	b := &budget{Budget: purger.NewBudget(now), now: now}
	for _, name := range []string{requestsBucket, string(kind)} {
		bucket := b.bucket(name)
		var at, paused int64
		var failures int
		var words string
		var capacity, perSecond float64
		if err := t.row(ctx, `INSERT INTO budget (bucket, tokens, at, capacity, per_second) VALUES ($1,$2,$3,$4,$5)
			ON CONFLICT (bucket) DO UPDATE SET bucket = excluded.bucket
			RETURNING tokens, at, capacity, per_second, paused_until, failures, words`,
			name, bucket.Tokens, ms(now), bucket.Capacity, bucket.PerSecond).
			Scan(&bucket.Tokens, &at, &capacity, &perSecond, &paused, &failures, &words); err != nil {
			return nil, err
		}
		bucket.At, bucket.Capacity, bucket.PerSecond = when(at), capacity, perSecond
		if ahead := bucket.At.Sub(b.now); ahead > 0 && ahead <= skew {
			b.now = bucket.At
		}
		if name == requestsBucket {
			b.pausedUntil, b.failures, b.words = when(paused), failures, words
		}
	}
	return b, nil
}

func (b *budget) bucket(name string) *purger.Bucket {
	if name == requestsBucket {
		return &b.Requests
	}
	return b.Objects(purger.Kind(name))
}

func (s *Store) saveBudget(ctx context.Context, t *tx, kind purger.Kind, b *budget) error {
	for _, name := range []string{requestsBucket, string(kind)} {
		bucket := b.bucket(name)
		if _, err := t.exec(ctx, `UPDATE budget SET tokens = $2, at = $3, capacity = $4, per_second = $5 WHERE bucket = $1`,
			name, bucket.Tokens, ms(bucket.At), bucket.Capacity, bucket.PerSecond); err != nil {
			return err
		}
	}
	_, err := t.exec(ctx, `UPDATE budget SET paused_until = $2, failures = $3, words = $4 WHERE bucket = $1`,
		requestsBucket, ms(b.pausedUntil), b.failures, b.words)
	return err
}

// probe lets one request through while there is trouble: the others wait for
// its answer, or for the end of its lease.
func (b *budget) probe(lease time.Duration) {
	if b.words != "" {
		b.pausedUntil = b.now.Add(lease)
	}
}

// flight is what stands around an answer and its figures don't show.
type flight struct {
	alone bool          // no other request was under way between its claim and now
	later int           // objects of the requests under way that were claimed after it
	age   time.Duration // of the answer: settling waits its turn
}

// heard draws the conclusions from an answer that are about everything: the
// figures of the buckets, and whether Akamai takes requests at all. The model
// only falls with an answer's figures, which know nothing of the requests
// that are under way; where there were none it is what the answer says, so
// that tokens lost to a crash or to a late answer come back.
func (b *budget) heard(kind purger.Kind, objects int, v Settlement, f flight) {
	answer := v.Answer
	answer.Limits = b.Aged(kind, answer.Limits, f.age)
	b.Settle(kind, objects, answer, b.now)
	bucket, left := b.Objects(kind), answer.Limits.Objects.Remaining
	switch {
	case answer.Verdict == purger.Limited && left == nil && answer.Limits.Requests.Remaining == nil:
		bucket.Tokens = 0 // more of the same would be refused too
	case f.alone && left != nil:
		bucket.Tokens = min(bucket.Capacity, *left)
	case left != nil:
		bucket.Tokens = max(0, min(bucket.Tokens, *left-float64(f.later)))
	}
	b.trouble(v)
}

// trouble keeps the account's pause. An answer to what the request asks for
// ends it: whoever refuses an object has let the client in.
func (b *budget) trouble(v Settlement) {
	why := cmp.Or(v.Why, v.Words)
	switch {
	case !v.Pause.IsZero():
		b.failures, b.pausedUntil, b.words = 0, v.Pause, why
	case v.Away:
		b.failures++
		pause := ledger.Circuit(b.failures)
		if b.words != "" {
			pause = max(pause, time.Second) // a probe failed, or a straggler
		}
		if pause > 0 {
			b.pausedUntil, b.words = b.now.Add(pause), why
		}
	case v.Refusal != "" && b.words != "":
		b.failures, b.pausedUntil = 0, b.now // it may be too much traffic yet: the next one probes
	default:
		b.failures, b.pausedUntil, b.words = 0, time.Time{}, ""
	}
}
