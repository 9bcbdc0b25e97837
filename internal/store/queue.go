package store

import (
	"context"
	"errors"
	"fmt"
	"time"

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

	// Refused is set where the request, or the one that it is a part of, was
	// refused and nothing was named.
	Refused Refusal

	purger.Request
}

// Refusal is what is known about a refusal that named nothing, while it is
// not clear whether it was for the objects: Akamai answers 400 to too much
// traffic too.
type Refusal struct {
	Since          time.Time // when the whole was refused; zero: it was not
	Sibling        string    // Akamai's words when it refused the other half; "": it did not
	SiblingWaits   bool      // for its first answer
	OthersAccepted bool      // requests of the kind were accepted since, and within the last minute
}

// fillFor is how long a request may wait for tokens so that it can be fuller.
// The objects' bucket decides how fast a long list goes, whatever the size of
// the requests; of tags, a full one would take minutes.
const fillFor = 20 * time.Second

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
	if pause := c.budget.pausedFor(); pause > 0 {
		return nil, pause, nil
	}
	if ready != nil && (len(open) == 0 || ready.Lane <= open[0].lane) {
		return c.resume(ctx, ready)
	}
	return c.pack(ctx, open)
}

// ready finds a request that waits to be sent again.
func (c *claim) ready(ctx context.Context) (*readyRequest, error) {
	r := &readyRequest{Request: Request{Request: purger.Request{Kind: c.kind}}}
	var refused int64
	err := missing(c.t.row(ctx, `SELECT id, network, action, lane, attempt, parent, refused_at FROM request
		WHERE kind = $1 AND state IN ('ready', 'sending')
			AND ((state = 'ready' AND next_at <= $2) OR (state = 'sending' AND lease_until <= $2))
		ORDER BY lane, next_at, id LIMIT 1`, string(c.kind), ms(c.now)).
		Scan(&r.ID, &r.Network, &r.Action, &r.Lane, &r.Attempt, &r.parent, &refused))
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // no request is an answer
	}
	r.Refused.Since = when(refused)
	return r, err
}

// readyRequest is a request that waits to be sent again.
type readyRequest struct {
	Request
	parent string // the request that it is a half of
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

func (c *claim) resume(ctx context.Context, r *readyRequest) (*Request, time.Duration, error) {
	if err := c.family(ctx, r); err != nil {
		return nil, 0, err
	}
	if err := c.dropCancelled(ctx, r.ID); err != nil {
		return nil, 0, err
	}
	err := c.t.each(ctx, func(row row) error {
		var object string
		err := row.Scan(&object)
		r.Objects = append(r.Objects, object)
		return err
	}, `SELECT DISTINCT object FROM target WHERE request_id = $1 AND request_id <> '' AND state = 'claimed' ORDER BY object`, r.ID)
	if err != nil {
		return nil, 0, err
	}
	n, most := len(r.Objects), int(c.budget.Objects(c.kind).Capacity)
	switch {
	case n == 0: // nothing of it is wanted any more
		_, err := c.t.exec(ctx, `UPDATE request SET state = 'refused', settled_at = $2 WHERE id = $1`, r.ID, ms(c.now))
		c.t.rings(PurgeJob{Objects: string(c.kind)})
		return nil, 0, err
	case n > most && most > 0: // the account's bucket became smaller: it would never fit
		return nil, 0, c.split(ctx, c.t, &r.Request, Settlement{At: most})
	case !c.budget.Take(c.kind, n, c.budget.now):
		return nil, c.budget.Wait(c.kind, n, c.budget.now), nil
	}
	c.budget.probe(c.lease)
	if err := c.saveBudget(ctx, c.t, c.kind, c.budget); err != nil {
		return nil, 0, err
	}
	r.Attempt++
	r.LeaseUntil = c.now.Add(c.lease)
	_, err = c.t.exec(ctx, `UPDATE request SET state = 'sending', attempt = $2, lease_until = $3, sent_at = $4, objects = $5 WHERE id = $1`,
		r.ID, r.Attempt, ms(r.LeaseUntil), ms(c.now), n)
	c.t.rings(PurgeJob{Objects: string(c.kind)})
	return &r.Request, 0, err
}

// dropCancelled takes out of a request what belongs to purges that were
// cancelled while it was under way.
func (c *claim) dropCancelled(ctx context.Context, request string) error {
	dropped := map[string]int{}
	err := c.t.each(ctx, countPurges(dropped), `UPDATE target SET state = 'dropped'
		WHERE request_id = $1 AND request_id <> '' AND state = 'claimed'
		AND purge_id IN (SELECT id FROM purge WHERE state = 'cancelled') RETURNING purge_id`, request)
	if err != nil {
		return err
	}
	for purge := range dropped {
		if err := c.recount(ctx, c.t, purge); err != nil {
			return err
		}
	}
	return nil
}

// family reads what is known of the refusal that a request was part of.
func (c *claim) family(ctx context.Context, r *readyRequest) error {
	f := &r.Refused
	if f.Since.IsZero() {
		return nil
	}
	var err error
	f.OthersAccepted, err = c.t.has(ctx, `SELECT 1 FROM request WHERE kind = $1 AND state = 'accepted' AND settled_at >= $2`,
		string(c.kind), max(ms(f.Since), ms(c.now.Add(-time.Minute))))
	if err != nil {
		return err
	}
	if r.parent == "" {
		return nil
	}
	var state string
	err = missing(c.t.row(ctx, `SELECT state, refusal FROM request WHERE parent = $1 AND parent <> '' AND id <> $2`, r.parent, r.ID).
		Scan(&state, &f.Sibling))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	f.SiblingWaits = f.Sibling == "" && (state == "ready" || state == "sending")
	return err
}

// start writes a new request as one that is being sent, and lets every
// waiting target of its objects join.
func (c *claim) start(ctx context.Context, r *Request, more bool) (*Request, time.Duration, error) {
	if !c.budget.Take(c.kind, len(r.Objects), c.budget.now) {
		return nil, c.budget.Wait(c.kind, len(r.Objects), c.budget.now), nil
	}
	c.budget.probe(c.lease)
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
			AND EXISTS (SELECT 1 FROM purge p WHERE p.id = target.purge_id AND p.state = 'open') RETURNING purge_id`, args...)
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

func anys(ss []string) []any {
	out := make([]any, len(ss))
	for i, s := range ss {
		out[i] = s
	}
	return out
}
