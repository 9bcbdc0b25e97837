package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// Request is one request to Akamai that this process has claimed. The claim
// holds until LeaseUntil; Attempt fences the settling, so that whoever lost
// the claim settles nothing.
type Request struct {
	ID         string
	Lane       int
	Attempt    int
	LeaseUntil time.Time

	// Where the request is half of one that was refused: Akamai's words on
	// the other half, and whether other requests of the kind were accepted
	// within the last minute.
	SiblingWords   string
	OthersAccepted bool

	purger.Request
}

// fullerFor is how long a deploy's request waits for tokens so that it can be
// fuller. A person's request takes what is there.
const fullerFor = 3 * time.Second

// Claim takes the next request of a kind that may be sent now: one that is
// ready or whose lease is over, else a new one packed from the waiting
// targets. People's purges come first, then small ones, and every waiting
// target of the same object joins. The tokens are taken from the shared
// budget in the same transaction.
//
// A nil request means that nothing may be sent now; wait says when to look
// again, 0 that nothing waits.
func (s *Store) Claim(ctx context.Context, kind purger.Kind, lease time.Duration) (r *Request, wait time.Duration, err error) {
	err = s.write(ctx, func(t *tx) error {
		c := claim{Store: s, t: t, kind: kind, now: s.now(), lease: lease}
		r, wait, err = c.take(ctx)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("claim %s request: %w", kind, err)
	}
	return r, wait, nil
}

// claim is the state of one Claim.
type claim struct {
	*Store
	t      *tx
	kind   purger.Kind
	now    time.Time
	lease  time.Duration
	budget *budget
}

func (c *claim) take(ctx context.Context) (*Request, time.Duration, error) {
	var err error
	if c.budget, err = c.loadBudget(ctx, c.t, c.kind, c.now); err != nil {
		return nil, 0, err
	}
	ready, err := c.ready(ctx)
	if err != nil {
		return nil, 0, err
	}
	open, err := c.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	if ready == nil && len(open) == 0 {
		return nil, c.nextReady(ctx), nil
	}
	if pause := c.budget.pausedFor(c.now); pause > 0 {
		return nil, pause, nil
	}
	if ready != nil && (len(open) == 0 || ready.Lane <= open[0].lane) {
		return c.resume(ctx, ready)
	}
	return c.pack(ctx, open)
}

// ready finds a request that waits to be sent again.
func (c *claim) ready(ctx context.Context) (*Request, error) {
	r := &Request{Request: purger.Request{Kind: c.kind}}
	err := missing(c.t.row(ctx, `SELECT id, network, action, lane, attempt FROM request
		WHERE kind = $1 AND ((state = 'ready' AND next_at <= $2) OR (state = 'sending' AND lease_until <= $2))
		ORDER BY lane, next_at, id LIMIT 1`, string(c.kind), ms(c.now)).
		Scan(&r.ID, &r.Network, &r.Action, &r.Lane, &r.Attempt))
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // no request is an answer
	}
	return r, err
}

// nextReady is how long it is until a request that backs off, or whose lease
// runs, may be looked at; 0 if there is none.
func (c *claim) nextReady(ctx context.Context) time.Duration {
	var at int64
	err := c.t.row(ctx, `SELECT COALESCE(MIN(CASE state WHEN 'ready' THEN next_at ELSE lease_until END), 0)
		FROM request WHERE kind = $1 AND state IN ('ready', 'sending')`, string(c.kind)).Scan(&at)
	if err != nil || at == 0 {
		return 0
	}
	return max(when(at).Sub(c.now), 10*time.Millisecond)
}

func (c *claim) resume(ctx context.Context, r *Request) (*Request, time.Duration, error) {
	if err := c.family(ctx, r); err != nil {
		return nil, 0, err
	}
	err := c.t.each(ctx, func(row row) error {
		var object string
		err := row.Scan(&object)
		r.Objects = append(r.Objects, object)
		return err
	}, `SELECT DISTINCT object FROM target WHERE request_id = $1 AND state = 'claimed' ORDER BY object`, r.ID)
	if err != nil {
		return nil, 0, err
	}
	if len(r.Objects) == 0 { // its purges were cancelled
		_, err := c.t.exec(ctx, `UPDATE request SET state = 'refused', words = 'cancelled', settled_at = $2 WHERE id = $1`, r.ID, ms(c.now))
		c.t.rings(PurgeJob{Objects: string(c.kind)})
		return nil, 0, err
	}
	if !c.budget.Take(c.kind, len(r.Objects), c.now) {
		return nil, c.budget.Wait(c.kind, len(r.Objects), c.now), nil
	}
	if err := c.saveBudget(ctx, c.t, c.kind, c.budget); err != nil {
		return nil, 0, err
	}
	r.Attempt++
	r.LeaseUntil = c.now.Add(c.lease)
	_, err = c.t.exec(ctx, `UPDATE request SET state = 'sending', attempt = $2, lease_until = $3, sent_at = $4 WHERE id = $1`,
		r.ID, r.Attempt, ms(r.LeaseUntil), ms(c.now))
	c.t.rings(PurgeJob{Objects: string(c.kind)})
	return r, 0, err
}

// family reads what is known of a request's other half.
func (c *claim) family(ctx context.Context, r *Request) error {
	var others int
	err := c.t.row(ctx, `SELECT COALESCE(MAX(s.words), ''), (SELECT COUNT(*) FROM request o
			WHERE o.kind = $2 AND o.state = 'accepted' AND o.settled_at > $3)
		FROM request r JOIN request s ON s.parent = r.parent AND s.id <> r.id AND s.state <> 'accepted'
		WHERE r.id = $1 AND r.parent <> ''`, r.ID, string(c.kind), ms(c.now.Add(-time.Minute))).
		Scan(&r.SiblingWords, &others)
	r.OthersAccepted = others > 0
	return err
}

// openPurge is a purge with targets that wait.
type openPurge struct {
	id      string
	network purger.Network
	lane    int
}

// purgesAtOnce bounds how many purges one request looks through.
const purgesAtOnce = 100

func (c *claim) open(ctx context.Context) (open []openPurge, err error) {
	err = c.t.each(ctx, func(r row) error {
		var p openPurge
		err := r.Scan(&p.id, &p.network, &p.lane)
		open = append(open, p)
		return err
	}, `SELECT id, network, lane FROM purge p WHERE state = 'open' AND EXISTS
			(SELECT 1 FROM target t WHERE t.purge_id = p.id AND t.kind = $1 AND t.state = 'waiting')
		ORDER BY lane, urls + tags + cpcodes, id LIMIT $2`, string(c.kind), purgesAtOnce)
	return open, err
}

// pack packs a new request. The first purge in line decides the network and
// the action; the others fill it up.
func (c *claim) pack(ctx context.Context, open []openPurge) (*Request, time.Duration, error) {
	avail := c.budget.Available(c.kind, c.now)
	if avail == 0 {
		return nil, c.budget.Wait(c.kind, 1, c.now), nil
	}
	for _, action := range []purger.Action{"", purger.Delete} {
		r, full, err := c.gather(ctx, open, action)
		if err != nil {
			return nil, 0, err
		}
		if len(r.Objects) == 0 {
			continue // all of it waits for a delete of the same objects
		}
		if wait := c.fuller(r, avail); wait > 0 {
			return nil, wait, nil
		}
		if len(r.Objects) > avail {
			r.Objects, full = r.Objects[:avail], true
		}
		return c.start(ctx, r, full)
	}
	return nil, 0, nil
}

// fuller is how long a request should wait for tokens rather than go out
// half empty.
func (c *claim) fuller(r *Request, avail int) time.Duration {
	if len(r.Objects) <= avail || r.Lane == ledger.LanePeople {
		return 0
	}
	b := c.budget.Objects(c.kind)
	want := min(len(r.Objects), max(1, int(b.PerSecond*fullerFor.Seconds())))
	return c.budget.Wait(c.kind, want, c.now)
}

// gather collects objects, in line, that fit one request. full says that
// more may wait.
func (c *claim) gather(ctx context.Context, open []openPurge, action purger.Action) (r *Request, full bool, err error) {
	r = &Request{Lane: open[0].lane, Request: purger.Request{Kind: c.kind, Network: open[0].network, Action: action}}
	packer := purger.NewPacker(c.kind, int(c.budget.Objects(c.kind).Capacity))
	seen := map[string]bool{}
	for _, p := range open {
		if p.network != r.Network {
			full = true
			continue
		}
		err := c.t.each(ctx, func(row row) error {
			var object string
			var action purger.Action
			if err := row.Scan(&object, &action); err != nil {
				return err
			}
			if r.Action == "" {
				r.Action = action
			}
			if action != r.Action {
				full = true
				return nil
			}
			if seen[object] {
				return nil
			}
			if !packer.Add(object) {
				full = true
				return errStop
			}
			seen[object] = true
			r.Objects = append(r.Objects, object)
			return nil
		}, `SELECT object, action FROM target WHERE purge_id = $1 AND kind = $2 AND state = 'waiting' ORDER BY seq`,
			p.id, string(c.kind))
		if err := stopped(err); err != nil {
			return nil, false, err
		}
		if packer.Bytes() > purger.MaxBody*99/100 {
			full = true
			break
		}
	}
	if r.Action == purger.Invalidate {
		err = c.leaveToDeletes(ctx, r)
	}
	return r, full, err
}

// leaveToDeletes takes out the objects that a waiting delete of an open purge
// will carry: it does all that an invalidation would.
func (c *claim) leaveToDeletes(ctx context.Context, r *Request) error {
	deletes := map[string]bool{}
	for part := range chunks(r.Objects, rowsAtOnce) {
		args := append([]any{string(c.kind), string(r.Network)}, anys(part)...)
		err := c.t.each(ctx, func(row row) error {
			var object string
			err := row.Scan(&object)
			deletes[object] = true
			return err
		}, `SELECT t.object FROM target t JOIN purge p ON p.id = t.purge_id
			WHERE t.kind = $1 AND t.network = $2 AND t.state = 'waiting' AND t.action = 'delete' AND p.state = 'open'
			AND t.object IN `+list(3, len(part)), args...)
		if err != nil {
			return err
		}
	}
	if len(deletes) == 0 {
		return nil
	}
	rest := r.Objects[:0]
	for _, o := range r.Objects {
		if !deletes[o] {
			rest = append(rest, o)
		}
	}
	r.Objects = rest
	return nil
}

// start writes a new request as one that is being sent, and lets every
// waiting target of its objects join.
func (c *claim) start(ctx context.Context, r *Request, more bool) (*Request, time.Duration, error) {
	if !c.budget.Take(c.kind, len(r.Objects), c.now) {
		return nil, c.budget.Wait(c.kind, len(r.Objects), c.now), nil
	}
	if err := c.saveBudget(ctx, c.t, c.kind, c.budget); err != nil {
		return nil, 0, err
	}
	r.ID, r.Attempt, r.LeaseUntil = c.ids.new(c.now), 1, c.now.Add(c.lease)
	if _, err := c.t.exec(ctx, `INSERT INTO request (id, kind, network, action, lane, state, attempt, lease_until, objects, sent_at)
		VALUES ($1,$2,$3,$4,$5,'sending',1,$6,$7,$8)`,
		r.ID, string(r.Kind), string(r.Network), string(r.Action), r.Lane, ms(r.LeaseUntil), len(r.Objects), ms(c.now)); err != nil {
		return nil, 0, err
	}
	joined := map[string]int{}
	for part := range chunks(r.Objects, rowsAtOnce) {
		args := append([]any{r.ID, string(r.Kind), string(r.Network), string(r.Action)}, anys(part)...)
		err := c.t.each(ctx, func(row row) error {
			var purge string
			err := row.Scan(&purge)
			joined[purge]++
			return err
		}, `UPDATE target SET state = 'claimed', request_id = $1
			WHERE kind = $2 AND network = $3 AND state = 'waiting' AND ($4 = 'delete' OR action = $4)
			AND object IN `+list(5, len(part))+`
			AND purge_id IN (SELECT id FROM purge WHERE state = 'open') RETURNING purge_id`, args...)
		if err != nil {
			return nil, 0, err
		}
	}
	for purge, n := range joined {
		if _, err := c.t.exec(ctx, `UPDATE purge SET sent = sent + $2,
			first_sent_at = CASE WHEN first_sent_at = 0 THEN $3 ELSE first_sent_at END WHERE id = $1`,
			purge, n, ms(c.now)); err != nil {
			return nil, 0, err
		}
	}
	if more {
		c.t.rings(PurgeJob{Objects: string(c.kind)})
	}
	return r, 0, nil
}

// budget is the shared model of the account's buckets, with its pause.
type budget struct {
	*purger.Budget
	pausedUntil time.Time
	failures    int
	words       string
}

func (b *budget) pausedFor(now time.Time) time.Duration { return max(0, b.pausedUntil.Sub(now)) }

const requestsBucket = "requests"

// loadBudget locks and reads the rows of the request bucket and of a kind's:
// the lock is what makes claims of several replicas take turns.
func (s *Store) loadBudget(ctx context.Context, t *tx, kind purger.Kind, now time.Time) (*budget, error) {
	b := &budget{Budget: purger.NewBudget(now)}
	for _, bucket := range []string{requestsBucket, string(kind)} {
		into := b.bucket(bucket)
		if _, err := t.exec(ctx, `INSERT INTO budget (bucket, tokens, at) VALUES ($1,$2,$3) ON CONFLICT (bucket) DO NOTHING`,
			bucket, into.Tokens, ms(now)); err != nil {
			return nil, err
		}
		var at, paused int64
		var failures int
		var words string
		if err := t.row(ctx, `UPDATE budget SET bucket = bucket WHERE bucket = $1 RETURNING tokens, at, paused_until, failures, words`, bucket).
			Scan(&into.Tokens, &at, &paused, &failures, &words); err != nil {
			return nil, err
		}
		into.At = when(at)
		if bucket == requestsBucket {
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
	for _, bucket := range []string{requestsBucket, string(kind)} {
		from := b.bucket(bucket)
		if _, err := t.exec(ctx, `UPDATE budget SET tokens = $2, at = $3 WHERE bucket = $1`,
			bucket, from.Tokens, ms(from.At)); err != nil {
			return err
		}
	}
	_, err := t.exec(ctx, `UPDATE budget SET paused_until = $2, failures = $3, words = $4 WHERE bucket = $1`,
		requestsBucket, ms(b.pausedUntil), b.failures, b.words)
	return err
}

func anys(ss []string) []any {
	out := make([]any, len(ss))
	for i, s := range ss {
		out[i] = s
	}
	return out
}
