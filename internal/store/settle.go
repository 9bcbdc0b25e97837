package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// Reply is Akamai's answer to a claimed request.
type Reply struct {
	purger.Answer
	At   time.Time     // when it came, by this process's clock: Akamai's figures are of that moment; zero: now
	Took time.Duration // since the request was sent
}

// Settle does what purger.Decide says about the answer to a request, in one transaction.
// It does so even if ctx has ended: the answer is known, and if it were lost, the request
// would be sent a second time. It reports false when the claim was lost: another process
// has the request, and nothing is changed.
//
// After the transaction it sets aside the targets that are not tried any more because
// their host is over its limit. That may break off: the next refusal of the host does it
// again.
func (s *Store) Settle(ctx context.Context, r *Request, a Reply) (d purger.Decision, ok bool, err error) {
	var overLimit []string
	stopping := ctx
	ctx = context.WithoutCancel(ctx)
	err = s.write(ctx, func(t *tx) error {
		// The budget's lock comes first here, as in Claim.
		b, err := s.loadBudget(ctx, t, r.Account, r.Kind)
		if err != nil {
			return err
		}
		// The fence: only the last claim has this attempt number, and only while nobody
		// settled it.
		n, err := t.exec(ctx, `UPDATE request SET settled_at = $3, support_id = $4 WHERE id = $1 AND attempt = $2 AND state = 'sending'`,
			r.ID, r.Number, ms(b.now), a.SupportID)
		if err != nil {
			return err
		}
		if ok = n == 1; !ok {
			return nil
		}
		x := settling{Store: s, t: t, r: r, b: b, a: a}
		if err := x.decide(ctx); err != nil {
			return err
		}
		d = x.d
		overLimit, err = x.settle(ctx)
		return err
	})
	if err != nil {
		return d, false, fmt.Errorf("settle request %s: %w", r.ID, err)
	}
	for _, purge := range overLimit {
		if err := s.limitHost(stopping, r, purge, a.Offender, d.Words); err != nil && stopping.Err() == nil {
			s.log.WarnContext(ctx, "the next refusal sets the host aside", "purge", purge, "err", err)
		}
	}
	return d, ok, nil
}

// settling is the state of one Settle, within its transaction.
type settling struct {
	*Store
	t *tx
	r *Request
	b *budget
	a Reply
	d purger.Decision
}

// decide reads what the decision needs, and decides. The decision itself is pure, in
// package purger.
func (x *settling) decide(ctx context.Context) (err error) {
	attempt := x.r.Attempt
	attempt.Denied = x.b.Objects(x.r.Kind).Denied > 0
	var host purger.Host
	// Only these decisions need the extra reads.
	if x.a.Verdict == purger.Refused {
		if attempt.Doubt, err = x.doubt(ctx); err != nil {
			return err
		}
	}
	if x.a.Offender != "" {
		if host, err = x.host(ctx, x.a.Offender); err != nil {
			return err
		}
	}
	x.d = purger.Decide(attempt, x.a.Answer, host, x.b.now)
	return nil
}

// doubt reads what is known of a refusal that names no object. Akamai refused a request
// as a whole, so it was split; the other half of the split tells more.
func (x *settling) doubt(ctx context.Context) (d purger.Doubt, err error) {
	var since, last int64
	var parent string
	if err := x.t.row(ctx, `SELECT refused_at, parent FROM request WHERE id = $1`, x.r.ID).Scan(&since, &parent); err != nil {
		return d, err
	}
	if err := x.t.row(ctx, `SELECT COALESCE(MAX(settled_at), 0) FROM request WHERE account = $2 AND kind = $1 AND state = 'accepted'`,
		string(x.r.Kind), x.r.Account).Scan(&last); err != nil {
		return d, err
	}
	d.Since, d.LastAccepted = when(since), when(last)
	// Without a split there is no other half to ask about.
	if since == 0 || parent == "" {
		return d, nil
	}
	var state ledger.RequestState
	err = missing(x.t.row(ctx, `SELECT state, refusal FROM request WHERE `+ofParent+` AND id <> $2`, parent, x.r.ID).
		Scan(&state, &d.Sibling))
	if errors.Is(err, ErrNotFound) {
		return d, nil
	}
	d.SiblingWaits = d.Sibling == "" && (state == ledger.RequestReady || state == ledger.RequestSending)
	return d, err
}

// settle does what was decided. It returns the purges in which the host of the refused
// object is over its limit.
func (x *settling) settle(ctx context.Context) (overLimit []string, err error) {
	if err := x.keep(ctx); err != nil {
		return nil, err
	}
	if err := x.correctBudget(ctx); err != nil {
		return nil, err
	}
	if x.d.Accepted {
		return nil, x.accept(ctx)
	}
	failed, err := x.fail(ctx)
	if err != nil {
		return nil, err
	}
	if err := x.goOn(ctx); err != nil || x.a.Offender == "" {
		return nil, err
	}
	for _, purge := range failed {
		h, err := x.hostOf(ctx, purge, x.a.Offender)
		if err != nil {
			return nil, err
		}
		if h.OverLimit() {
			overLimit = append(overLimit, purge)
		}
	}
	return overLimit, nil
}

// correctBudget corrects the account's budget by the answer. If that begins or ends a
// pause, the words of every open purge of the account change. The sweep wakes them, a few
// at a time: to wake all of them here would flood the queue.
func (x *settling) correctBudget(ctx context.Context) error {
	r, t, b := x.r, x.t, x.b
	var f inFlight
	var sending int
	// Requests that were claimed later have a later lease, or the same and a later id.
	// Their tokens are taken from the model, but the answer's figures do not show them
	// yet.
	if err := t.row(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN lease_until > $3 OR (lease_until = $3 AND id > $2) THEN objects ELSE 0 END), 0) AS BIGINT)
		FROM request WHERE `+unsettled+` AND state = 'sending' AND kind = $1 AND id <> $2 AND account = $4`,
		string(r.Kind), r.ID, ms(r.LeaseUntil), r.Account).Scan(&sending, &f.later); err != nil {
		return err
	}
	since, err := t.has(ctx, `SELECT 1 FROM request WHERE account = $3 AND kind = $1 AND state = 'accepted'
		AND settled_at >= (SELECT sent_at FROM request WHERE id = $2)`, string(r.Kind), r.ID, r.Account)
	if err != nil {
		return err
	}
	f.alone = sending == 0 && !since
	if !x.a.At.IsZero() {
		f.age = x.now().Sub(x.a.At) // from one clock: the budget's time may come from another replica
	}
	before := b.circuit.Words
	b.correct(r, x.a.Answer, x.d, f)
	b.circuit.Observe(x.d, x.a.Took, b.now)
	if err := x.saveBudget(ctx, t, b); err != nil || b.circuit.Words == before {
		return err
	}
	_, err = x.touch(ctx, t, `version = version + 1, rung_at = 0`, `purge_id IN (SELECT id FROM purge WHERE state = 'open' AND account = $1)`, r.Account)
	return err
}

// accept ends the targets of an accepted request. Several purges may want one object;
// each counts its own targets.
func (x *settling) accept(ctx context.Context) error {
	if _, err := x.t.exec(ctx, requestState().change(ledger.Accept, `akamai_id = $2`, `id = $1`), x.r.ID, x.a.PurgeID); err != nil {
		return err
	}
	if err := x.welcome(ctx); err != nil {
		return err
	}
	counts := map[string]int{}
	if err := x.t.each(ctx, countPurges(counts), targetState().change(ledger.Accept, `attempt = $2`, ofRequest+` RETURNING purge_id`), x.r.ID, x.r.Number); err != nil {
		return err
	}
	for _, purge := range inOrder(counts) {
		if err := x.progress(ctx, x.t, purge, ended{accepted: counts[purge], done: x.b.now.Add(x.a.Estimated)}); err != nil {
			return err
		}
	}
	return nil
}

// countPurges counts the rows of a RETURNING purge_id by purge.
func countPurges(counts map[string]int) func(row) error {
	return func(r row) error {
		var purge string
		err := r.Scan(&purge)
		counts[purge]++
		return err
	}
}

// inOrder sorts purges by id. Every transaction changes purges in that order: PostgreSQL
// locks rows one by one, and two orders would deadlock.
func inOrder(counts map[string]int) []string { return slices.Sorted(maps.Keys(counts)) }

// ended counts targets of one purge that ended.
type ended struct {
	accepted, failed int
	untried          int       // how many of the failed ones were not tried
	reason           string    // of the failed ones, in public words
	done             time.Time // when the edge will have done what was accepted, by Akamai's own estimate; a refusal: now
}

// progress adds ended targets to a purge's counts, and ends the purge with its last one.
// The purge is done when the latest of Akamai's estimates has passed: done_at only grows.
// The first reason stays.
//
// Counts and state change in one statement, so that of two requests that settle one after
// the other exactly the last ends the purge.
func (s *Store) progress(ctx context.Context, t *tx, purge string, e ended) error {
	states, err := t.texts(ctx, `UPDATE purge SET accepted = accepted + $2, failed = failed + $3, untried = untried + $6,
			reason = CASE WHEN reason = '' THEN $4 ELSE reason END,
			done_at = CASE WHEN done_at > $5 THEN done_at ELSE $5 END,
			state = CASE WHEN `+purgeState().open(ledger.Ended)+` AND accepted + failed + $2 + $3 >= urls + tags + cpcodes
				THEN `+purgeState().to(ledger.Ended)+` ELSE state END,
			version = version + 1
		WHERE id = $1 RETURNING state`, purge, e.accepted, e.failed, e.reason, ms(e.done), e.untried)
	if err != nil {
		return err
	}
	if slices.Contains(states, string(ledger.Done)) {
		if err := s.tellPurge(ctx, t, purge); err != nil {
			return err
		}
	}
	return s.changed(ctx, t, purge)
}

// fail ends the targets of the refused objects, and gives their purges.
func (x *settling) fail(ctx context.Context) ([]string, error) {
	counts := map[string]int{}
	for part := range chunks(x.d.Refused, rowsAtOnce) {
		args := append([]any{x.r.ID, x.d.Words, x.r.Number}, anys(part)...)
		if err := x.t.each(ctx, countPurges(counts), targetState().change(ledger.Refuse, `reason = $2, attempt = $3`,
			ofRequest+` AND object IN `+list(4, len(part))+` RETURNING purge_id`), args...); err != nil {
			return nil, err
		}
	}
	purges := inOrder(counts)
	for _, purge := range purges {
		if err := x.progress(ctx, x.t, purge, ended{failed: counts[purge], reason: x.d.Words, done: x.b.now}); err != nil {
			return nil, err
		}
	}
	return purges, nil
}

// goOn leaves what is neither accepted nor refused to be sent again, in two parts if that
// was decided. Cancelled targets are dropped first: they must not be sent again. If
// nothing is left, the request is refused.
func (x *settling) goOn(ctx context.Context) error {
	r, d := x.r, x.d
	if err := x.dropCancelled(ctx, x.t, r.ID); err != nil {
		return err
	}
	rest := d.Rest(r.Objects)
	left := len(rest) + len(d.Part)
	how := ledger.Wait
	switch {
	case left == 0:
		how, left = ledger.Refuse, len(r.Objects)
	case len(rest) > 0 && len(d.Part) > 0:
		how = ledger.Split
	}
	// refused_at keeps the latest "since": the halves of a split inherit it.
	if _, err := x.t.exec(ctx, requestState().change(how, `next_at = $2, objects = $3, refusal = $4,
			refused_at = CASE WHEN refused_at > $5 THEN refused_at ELSE $5 END`, `id = $1`),
		r.ID, ms(x.b.now.Add(d.Wait)), left, d.Unnamed, ms(d.Since)); err != nil {
		return err
	}
	if how == ledger.Refuse {
		return nil
	}
	x.t.enqueue(PurgeJob{Objects: string(r.Kind), Account: r.Account})
	if how == ledger.Split {
		return x.split(ctx, x.t, r.ID, d.Part, rest, d.Cut)
	}
	return nil
}

// split makes two requests of one and moves the claimed targets to them. Each half
// inherits what is known of the whole: the parent, since when it is refused, and when it
// may be sent.
func (s *Store) split(ctx context.Context, t *tx, id string, part, rest []string, cut bool) error {
	isCut := 0
	if cut {
		isCut = 1
	}
	for _, objects := range [][]string{part, rest} {
		half := s.ids.new(s.now())
		if _, err := t.exec(ctx, `INSERT INTO request (id, account, kind, network, action, lane, state, objects, parent, refused_at, next_at, cut)
			SELECT $2, account, kind, network, action, lane, `+requestState().to(ledger.SplitOf)+`, $3, id, refused_at, next_at, CASE WHEN cut > $4 THEN cut ELSE $4 END FROM request WHERE id = $1`,
			id, half, len(objects), isCut); err != nil {
			return err
		}
		for part := range chunks(objects, rowsAtOnce) {
			args := append([]any{id, half}, anys(part)...)
			if _, err := t.exec(ctx, `UPDATE target SET request_id = $2
				WHERE `+ofRequest+` AND state = 'claimed' AND object IN `+list(3, len(part)), args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunks yields a slice in pieces of at most n.
func chunks[T any](all []T, n int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(all) > 0 {
			k := min(n, len(all))
			if !yield(all[:k]) {
				return
			}
			all = all[k:]
		}
	}
}
