package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// Request is one request to Akamai that this process has claimed. The claim holds until
// LeaseUntil. The attempt's Number is the fence: a process that lost the claim has an
// older number, and its settling changes nothing.
type Request struct {
	ID         string
	Account    string // as stored: "" is the default one
	Lane       int
	LeaseUntil time.Time     // from then on another process may claim the request and send it again
	Limit      time.Duration // how long the attempt may take; the caller must end the call by then

	purger.Attempt
}

// AccountName is the account's name as people know it.
func (r *Request) AccountName() string { return accountName(r.Account) }

// Claim takes the next request of one account and one kind that may be sent now: one that
// is ready or whose lease is over, else a new one that it packs from the waiting targets.
// People's purges come first, then small ones. Every waiting target of the same object
// joins the request, whichever purge it belongs to. What an operator paused is left out.
//
// The same transaction takes the tokens from the account's shared budget and is on disk
// before anything is sent. If the process dies after that, the lease runs out and the
// request is sent again; no target is lost. Accounts share no rows and no locks here, so
// one account's trouble does not hold up another.
//
// A nil request means that nothing may be sent now. Then wait says when to look again; 0:
// nothing waits, or the next job is enqueued already. An account that this process has no
// credentials for has nothing to claim.
func (s *Store) Claim(ctx context.Context, account string, kind purger.Kind) (r *Request, wait time.Duration, err error) {
	if account = accountColumn(account); !slices.Contains(s.allAccounts(), account) {
		return nil, 0, nil
	}
	err = s.write(ctx, func(t *tx) error {
		c := claim{Store: s, t: t, account: account, kind: kind}
		r, wait, err = c.take(ctx)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("claim %s request: %w", kind, err)
	}
	return r, wait, nil
}

// claim is the state of one Claim, within its transaction.
type claim struct {
	*Store
	t       *tx
	account string // as stored
	kind    purger.Kind
	now     time.Time // read once the budget's lock is held
	budget  *budget   // locked for the whole transaction
	pause   int64     // id of the latest active pause; 0: there is none
}

// sendable is the SQL condition of a purge p that may be sent now. Parameter "from" is
// the claim's account, and the next one is the claim's pause. A purge that was opened
// after this claim applied the pauses has a smaller "judged" than the pause: it waits for
// the next claim, because nobody knows yet whether the pause covers it.
func sendable(from int) string {
	return fmt.Sprintf(`p.state = 'open' AND p.account = $%d AND p.pause_id = 0 AND p.judged >= $%d`, from, from+1)
}

// take claims what is next. The order of its steps matters:
//
//   - The budget's row is locked first. By it the claims of all replicas for one account take
//     turns, so that no two count on the same token.
//   - The clock is read after that: a lease that began while waiting for the lock would be
//     too short.
//   - The pauses are applied before anything is chosen.
//   - Of one lane, a request that waits to be sent again goes before a new one: it was in
//     line earlier.
//
// A paused account (its circuit) is looked at only when there is something to send, so
// that wait is 0 when nothing waits.
func (c *claim) take(ctx context.Context) (*Request, time.Duration, error) {
	var err error
	if c.budget, err = c.loadBudget(ctx, c.t, c.account, c.kind); err != nil {
		return nil, 0, err
	}
	c.now = c.Store.now()
	var more bool
	if c.pause, more, err = c.applyPauses(ctx, c.t, c.account); err != nil {
		return nil, 0, err
	}
	// There may be purges behind those that were judged now. If all that were judged are
	// covered, this claim finds nothing, and the next one must look further.
	if more {
		c.again()
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
	if pause := c.budget.circuit.Wait(c.budget.now); pause > 0 {
		return nil, pause, nil
	}
	if ready != nil && (len(open) == 0 || ready.Lane <= open[0].lane) {
		return c.resume(ctx, ready)
	}
	return c.pack(ctx, open)
}

// ready finds the first request that waits to be sent again, or whose lease is over; nil
// if there is none.
func (c *claim) ready(ctx context.Context) (*Request, error) {
	r := &Request{Account: c.account}
	r.Kind = c.kind
	args := append(append([]any{string(c.kind)}, dueTimes(c.now)...), c.account)
	err := missing(c.t.row(ctx, `SELECT id, network, action, lane, attempt, cut > 0 FROM request
		WHERE kind = $1 AND `+unsettled+` AND `+requestDue+` AND account = $5
		ORDER BY lane, next_at, id LIMIT 1`, args...).
		Scan(&r.ID, &r.Network, &r.Action, &r.Lane, &r.Number, &r.Cut))
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // no request is an answer
	}
	return r, err
}

// requestDue is the condition of a request that may be sent again. $2 is now. $3 and $4
// are the latest moments that next_at and a lease can hold: a later one was written by a
// wrong clock, and counts as over.
const requestDue = `((state = 'ready' AND (next_at <= $2 OR next_at > $3)) OR (state = 'sending' AND (lease_until <= $2 OR lease_until > $4)))`

// dueTimes gives the arguments $2 to $4 of requestDue.
func dueTimes(now time.Time) []any {
	return []any{ms(now), ms(now.Add(purger.MaxWait + skew)), ms(now.Add(purger.MaxSendTime + leaseMargin + skew))}
}

// nextReady is how long it takes until the first request that backs off, or whose lease
// runs, may be looked at; 0 if there is none. It is at least 10 ms, so that a job that
// comes a little early does not spin. An error counts as "none": the sweep wakes the job
// later.
func (c *claim) nextReady(ctx context.Context) time.Duration {
	var at int64
	err := c.t.row(ctx, `SELECT COALESCE(MIN(CASE state WHEN 'ready' THEN next_at ELSE lease_until END), 0)
		FROM request WHERE kind = $1 AND `+unsettled+` AND account = $2`, string(c.kind), c.account).Scan(&at)
	if err != nil || at == 0 {
		return 0
	}
	return max(when(at).Sub(c.now), 10*time.Millisecond)
}

// resume sends a request again with what is left of it. It does not fill the request up:
// Akamai's earlier answer is about these objects and is remembered with them.
//
// There may be tokens for a part only, while to wait for the rest would take long, or for
// ever because the account's bucket is smaller. Then the request is split and nothing is
// sent: the next claim takes the part that fits.
func (c *claim) resume(ctx context.Context, r *Request) (*Request, time.Duration, error) {
	objects, err := c.left(ctx, r.ID)
	if err != nil {
		return nil, 0, err
	}
	r.Objects = objects
	n := len(r.Objects)
	if n == 0 {
		c.again()
		return nil, 0, nil
	}
	fit, wait := c.budget.Fit(c.kind, n, c.budget.now)
	if fit == 0 {
		return nil, wait, nil
	}
	if fit < n {
		c.again()
		if _, err := c.t.exec(ctx, requestState().change(ledger.Split, `next_at = 0`, `id = $1`), r.ID); err != nil {
			return nil, 0, err
		}
		return nil, 0, c.split(ctx, c.t, r.ID, r.Objects[:fit], r.Objects[fit:], false)
	}
	if err := c.charge(ctx, r); err != nil {
		return nil, 0, err
	}
	r.Number++
	_, err = c.t.exec(ctx, requestState().change(ledger.Send, `attempt = $2, lease_until = $3, sent_at = $4, objects = $5`, `id = $1`),
		r.ID, r.Number, ms(r.LeaseUntil), ms(c.now), n)
	c.again()
	return r, 0, err
}

// charge takes a request's tokens and begins its lease. The caller has checked that the
// tokens are there, under the same lock. When the circuit was open, this request is the
// one that probes Akamai.
func (c *claim) charge(ctx context.Context, r *Request) error {
	b := c.budget
	if !b.Take(c.kind, len(r.Objects), b.now) {
		return fmt.Errorf("%d objects fit, and there are no tokens", len(r.Objects))
	}
	b.circuit.Probe(b.now, b.lease())
	r.Limit, r.LeaseUntil = b.circuit.Limit(), c.now.Add(b.lease())
	return c.saveBudget(ctx, c.t, b)
}

// again wakes the next claim of the same account and kind, at the commit.
func (c *claim) again() { c.t.enqueue(PurgeJob{Objects: string(c.kind), Account: c.account}) }

// left gives the objects of a request that is to be sent again, without what was
// cancelled, paused or moved to another account since. If none are left, the request
// ends.
func (c *claim) left(ctx context.Context, request string) (objects []string, err error) {
	if err := c.dropCancelled(ctx, c.t, request); err != nil {
		return nil, err
	}
	if err := c.putBack(ctx, request); err != nil {
		return nil, err
	}
	objects, err = c.t.texts(ctx, `SELECT DISTINCT object FROM target WHERE `+ofRequest+` AND state = 'claimed' ORDER BY object`, request)
	if err == nil && len(objects) == 0 {
		_, err = c.t.exec(ctx, requestState().change(ledger.Emptied, `settled_at = $2`, `id = $1`), request, ms(c.now))
	}
	return objects, err
}

// dropCancelled takes out of a request the targets of purges that were cancelled while
// the request was under way.
func (s *Store) dropCancelled(ctx context.Context, t *tx, request string) error {
	dropped := map[string]int{}
	err := t.each(ctx, countPurges(dropped), targetState().change(ledger.Drop, "", ofRequest+`
		AND purge_id IN (SELECT id FROM purge WHERE state = 'cancelled') RETURNING purge_id`), request)
	if err != nil {
		return err
	}
	for _, purge := range inOrder(dropped) {
		if err := s.turned(ctx, t, purge); err != nil {
			return err
		}
	}
	return nil
}

// start writes a new request as one that is being sent, and lets every waiting target of
// its objects join, in any purge that may be sent. So an object that several purges want
// is sent once. A request that deletes takes invalidations of the same object along,
// since a delete does all that an invalidation does.
func (c *claim) start(ctx context.Context, r *Request, more bool) (*Request, time.Duration, error) {
	if err := c.charge(ctx, r); err != nil {
		return nil, 0, err
	}
	r.ID, r.Account, r.Number = c.ids.new(c.now), c.account, 1
	if _, err := c.t.exec(ctx, `INSERT INTO request (id, kind, network, action, lane, state, attempt, lease_until, objects, sent_at, account)
		VALUES ($1,$2,$3,$4,$5,`+requestState().to(ledger.Send)+`,1,$6,$7,$8,$9)`,
		r.ID, string(r.Kind), string(r.Network), string(r.Action), r.Lane, ms(r.LeaseUntil), len(r.Objects), ms(c.now), c.account); err != nil {
		return nil, 0, err
	}
	joined := map[string]int{}
	for part := range chunks(r.Objects, rowsAtOnce) {
		args := append([]any{r.ID, string(r.Kind), string(r.Network), string(r.Action), c.account, c.pause}, anys(part)...)
		err := c.t.each(ctx, countPurges(joined), targetState().change(ledger.Claim, `request_id = $1`, `kind = $2 AND network = $3 AND ($4 = 'delete' OR action = $4)
			AND object IN `+list(7, len(part))+`
			AND EXISTS (SELECT 1 FROM purge p WHERE p.id = target.purge_id AND `+sendable(5)+`) RETURNING purge_id`), args...)
		if err != nil {
			return nil, 0, err
		}
	}
	for _, purge := range inOrder(joined) {
		// In GitHub's time: it is compared with when GitHub recorded a deployment, see
		// ledger.Resend.
		if _, err := c.t.exec(ctx, `UPDATE purge SET first_sent_at = $2 WHERE id = $1 AND first_sent_at = 0`,
			purge, ms(c.now.Add(c.ahead(c.now)))); err != nil {
			return nil, 0, err
		}
	}
	if more {
		c.again()
	}
	return r, 0, nil
}

// anys turns texts into arguments of a query.
func anys(ss []string) []any {
	out := make([]any, len(ss))
	for i, s := range ss {
		out[i] = s
	}
	return out
}
