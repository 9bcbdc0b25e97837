package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/purgebot/purgebot/purger"
)

// Verdict is what becomes of a request after an answer.
type Verdict string

// The verdicts.
const (
	Accept Verdict = "accept" // every target of it is accepted
	Again  Verdict = "again"  // ready again at Next
	Fail   Verdict = "fail"   // Objects failed with Words; the rest is ready again at once
	Split  Verdict = "split"  // two requests: the first At objects, and the rest
)

// Settlement settles a claimed request.
type Settlement struct {
	Verdict Verdict
	Answer  purger.Answer // corrects the shared budget
	Heard   time.Time     // when the answer came: its figures are of then
	Objects []string      // for Fail; all of the request's objects end it
	Words   string        // why, in public words
	Next    time.Time     // for Again
	At      int           // for Split

	Pause time.Time // the account pauses until then; zero: it doesn't
	Away  bool      // Akamai gave no answer, or one that says that it is away
	Why   string    // with Pause and Away: why nothing is sent, in public words; "": Words say it

	Refusal string    // Akamai's words, where it refused and named nothing
	Since   time.Time // with Refusal: when it first refused the whole
}

// Settle settles a request in one transaction. It reports false when the
// claim was lost: somebody else has the request, and nothing is changed.
func (s *Store) Settle(ctx context.Context, r *Request, v Settlement) (ok bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		now := s.now()
		b, err := s.loadBudget(ctx, t, r.Kind, now) // its lock comes first here as in Claim
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, `UPDATE request SET settled_at = $3, support_id = $4, refusal = $5, refused_at = $6
			WHERE id = $1 AND attempt = $2 AND state = 'sending'`,
			r.ID, r.Attempt, ms(now), v.Answer.SupportID, v.Refusal, max(ms(v.Since), ms(r.Refused.Since)))
		if err != nil {
			return err
		}
		if ok = n == 1; !ok {
			return nil
		}
		if err := s.heard(ctx, t, r, v, b, now); err != nil {
			return err
		}
		switch v.Verdict {
		case Accept:
			return s.accept(ctx, t, r, v.Answer, now)
		case Again:
			_, err = t.exec(ctx, `UPDATE request SET state = 'ready', next_at = $2 WHERE id = $1`, r.ID, ms(v.Next))
			t.rings(PurgeJob{Objects: string(r.Kind)})
			return err
		case Fail:
			return s.fail(ctx, t, r, v)
		case Split:
			return s.split(ctx, t, r, v)
		}
		return fmt.Errorf("unknown verdict %q", v.Verdict)
	})
	if err != nil {
		return false, fmt.Errorf("settle request %s: %w", r.ID, err)
	}
	return ok, nil
}

// heard corrects the shared budget. Where that begins or ends a pause, the
// words of every open purge change; the sweep rings for them, a few at a time.
func (s *Store) heard(ctx context.Context, t *tx, r *Request, v Settlement, b *budget, now time.Time) error {
	var f flight
	var sending int
	if err := t.row(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN lease_until > $3 OR (lease_until = $3 AND id > $2) THEN objects ELSE 0 END), 0) AS BIGINT)
		FROM request WHERE state IN ('ready', 'sending') AND state = 'sending' AND kind = $1 AND id <> $2`,
		string(r.Kind), r.ID, ms(r.LeaseUntil)).Scan(&sending, &f.later); err != nil {
		return err
	}
	since, err := t.has(ctx, `SELECT 1 FROM request WHERE kind = $1 AND state = 'accepted'
		AND settled_at >= (SELECT sent_at FROM request WHERE id = $2)`, string(r.Kind), r.ID)
	if err != nil {
		return err
	}
	f.alone = sending == 0 && !since
	if !v.Heard.IsZero() {
		f.age = now.Sub(v.Heard) // by one clock: the model's may be another replica's
	}
	before := b.words
	b.heard(r.Kind, len(r.Objects), v, f)
	if err := s.saveBudget(ctx, t, r.Kind, b); err != nil || b.words == before {
		return err
	}
	_, err = t.exec(ctx, `UPDATE post SET version = version + 1, rung_at = 0 WHERE purge_id IN (SELECT id FROM purge WHERE state = 'open')`)
	return err
}

func (s *Store) accept(ctx context.Context, t *tx, r *Request, a purger.Answer, now time.Time) error {
	if _, err := t.exec(ctx, `UPDATE request SET state = 'accepted', akamai_id = $2 WHERE id = $1`, r.ID, a.PurgeID); err != nil {
		return err
	}
	counts := map[string]int{}
	if err := t.each(ctx, countPurges(counts), `UPDATE target SET state = 'accepted'
		WHERE request_id = $1 AND request_id <> '' AND state = 'claimed' RETURNING purge_id`, r.ID); err != nil {
		return err
	}
	for purge, n := range counts {
		if err := s.progress(ctx, t, purge, n, 0, "", now.Add(a.Estimated)); err != nil {
			return err
		}
	}
	return nil
}

func countPurges(counts map[string]int) func(row) error {
	return func(r row) error {
		var purge string
		err := r.Scan(&purge)
		counts[purge]++
		return err
	}
}

// progress counts ended targets of a purge, and ends it with the last one.
// done is when the edge will have done what was accepted, by Akamai's own
// estimate; the purge is done when the latest of them has passed.
func (s *Store) progress(ctx context.Context, t *tx, purge string, accepted, failed int, reason string, done time.Time) error {
	_, err := t.exec(ctx, `UPDATE purge SET accepted = accepted + $2, failed = failed + $3,
			reason = CASE WHEN reason = '' THEN $4 ELSE reason END,
			done_at = CASE WHEN done_at > $5 THEN done_at ELSE $5 END,
			state = CASE WHEN state = 'open' AND accepted + failed + $2 + $3 >= urls + tags + cpcodes THEN 'done' ELSE state END,
			version = version + 1
		WHERE id = $1`, purge, accepted, failed, reason, ms(done))
	if err != nil {
		return err
	}
	return s.changed(ctx, t, purge)
}

func (s *Store) fail(ctx context.Context, t *tx, r *Request, v Settlement) error {
	counts := map[string]int{}
	for part := range chunks(v.Objects, rowsAtOnce) {
		args := append([]any{r.ID, v.Words}, anys(part)...)
		if err := t.each(ctx, countPurges(counts), `UPDATE target SET state = 'failed', reason = $2
			WHERE request_id = $1 AND request_id <> '' AND state = 'claimed' AND object IN `+list(3, len(part))+` RETURNING purge_id`, args...); err != nil {
			return err
		}
	}
	for purge, n := range counts {
		if err := s.progress(ctx, t, purge, 0, n, v.Words, s.now()); err != nil {
			return err
		}
		if err := s.setAside(ctx, t, purge, r, v); err != nil {
			return err
		}
	}
	if len(v.Objects) >= len(r.Objects) {
		_, err := t.exec(ctx, `UPDATE request SET state = 'refused' WHERE id = $1`, r.ID)
		return err
	}
	t.rings(PurgeJob{Objects: string(r.Kind)})
	_, err := t.exec(ctx, `UPDATE request SET state = 'ready', next_at = 0, objects = $2 WHERE id = $1`,
		r.ID, len(r.Objects)-len(v.Objects))
	return err
}

// split makes two requests of one. Halves of a refused one remember that.
func (s *Store) split(ctx context.Context, t *tx, r *Request, v Settlement) error {
	if v.At <= 0 || v.At >= len(r.Objects) {
		return fmt.Errorf("can't split %d objects at %d", len(r.Objects), v.At)
	}
	if _, err := t.exec(ctx, `UPDATE request SET state = 'split' WHERE id = $1`, r.ID); err != nil {
		return err
	}
	for _, half := range [][]string{r.Objects[:v.At], r.Objects[v.At:]} {
		id := s.ids.new(s.now())
		if _, err := t.exec(ctx, `INSERT INTO request (id, kind, network, action, lane, state, objects, parent, refused_at)
			VALUES ($1,$2,$3,$4,$5,'ready',$6,$7,$8)`,
			id, string(r.Kind), string(r.Network), string(r.Action), r.Lane, len(half), r.ID, max(ms(v.Since), ms(r.Refused.Since))); err != nil {
			return err
		}
		for part := range chunks(half, rowsAtOnce) {
			args := append([]any{r.ID, id}, anys(part)...)
			if _, err := t.exec(ctx, `UPDATE target SET request_id = $2
				WHERE request_id = $1 AND request_id <> '' AND state = 'claimed' AND object IN `+list(3, len(part)), args...); err != nil {
				return err
			}
		}
	}
	t.rings(PurgeJob{Objects: string(r.Kind)})
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
