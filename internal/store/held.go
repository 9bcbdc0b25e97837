package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// overtake closes the held purges of deployments that a move leaves behind. A purge whose
// every object goes out with the move's own purge is cancelled: nothing of it is left to
// do. Any other one stays held, because what it holds is as stale as before; only its
// status waits no longer.
func (s *Store) overtake(ctx context.Context, t *tx, m Move, covered []held) error {
	all, err := heldBefore(ctx, t, m)
	if err != nil {
		return err
	}
	for _, h := range all {
		if slices.Contains(covered, h) {
			err = s.cover(ctx, t, h.id, m.Carries)
		} else {
			err = s.closeHeld(ctx, t, h.id, m.Overtakes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// held is a held purge at one moment. Its version moves with its targets.
type held struct {
	id      string
	version int64
}

// heldBefore lists the held purges of an environment that deployments of other commits
// made, in the order in which they are locked. A person's purge is not overtaken.
func heldBefore(ctx context.Context, t *tx, m Move) (all []held, err error) {
	err = t.each(ctx, func(r row) error {
		var h held
		err := r.Scan(&h.id, &h.version)
		all = append(all, h)
		return err
	}, `SELECT id, version FROM purge WHERE env_id = $1 AND state = 'held' AND cause <> $3 AND to_sha <> $2 ORDER BY id`,
		m.Env.ID, m.To.SHA, string(ledger.CauseComment))
	return all, err
}

// covered lists the held purges that a move's purge covers: it sends all that they would
// send. It runs before the move's transaction, a part at a time, because it may compare
// very many targets. A held purge whose version has moved by then is not covered any
// more: a release may have begun, and made targets wait that policy had refused. A move's
// purge that is itself held sends nothing yet and covers none.
func (s *Store) covered(ctx context.Context, m Move) (covered []held, err error) {
	if m.Purge == nil || m.Hold {
		return nil, nil
	}
	var all []held
	err = s.read(ctx, func(t *tx) error {
		all, err = heldBefore(ctx, t, m)
		return err
	})
	for _, h := range all {
		covers := false
		if err == nil {
			covers, err = s.covers(ctx, m.Purge.ID, h.id)
		}
		if covers {
			covered = append(covered, h)
		}
	}
	return covered, err
}

// comparedAtOnce is how many targets one query of covers compares.
const comparedAtOnce = 5000

// covers reports whether a purge sends all that a held one would. A delete covers an
// invalidation of the same object; only a delete covers a delete.
func (s *Store) covers(ctx context.Context, planned, other string) (covers bool, err error) {
	for next := int64(0); next >= 0 && err == nil; {
		err = s.read(ctx, func(t *tx) error {
			rows, missed := 0, 0
			from := next
			if err := t.row(ctx, `SELECT COUNT(*), COALESCE(MAX(seq) + 1, 0), COALESCE(SUM(missed), 0) FROM (SELECT h.seq,
					CASE WHEN EXISTS (SELECT 1 FROM target o WHERE o.kind = h.kind AND o.network = h.network AND o.object = h.object
						AND o.state = 'waiting' AND o.purge_id = $1 AND (o.action = h.action OR o.action = 'delete')) THEN 0 ELSE 1 END AS missed
				FROM target h WHERE h.purge_id = $2 AND h.seq >= $3 AND h.state = 'waiting' ORDER BY h.seq LIMIT $4) page`,
				planned, other, from, comparedAtOnce).Scan(&rows, &next, &missed); err != nil {
				return err
			}
			// One object that is not covered settles it; so does the last page.
			if covers = missed == 0; !covers || rows < comparedAtOnce {
				next = -1
			}
			return nil
		})
	}
	return covers, err
}

// cover cancels a held purge that another one covers. If it was released meanwhile, it
// stays as it is.
func (s *Store) cover(ctx context.Context, t *tx, id, words string) error {
	n, err := t.exec(ctx, purgeState().change(ledger.Covered, `closed = $2, done_at = $3`, `id = $1`), id, words, ms(s.now()))
	if err != nil || n == 0 { // released meanwhile
		return err
	}
	return s.turned(ctx, t, id)
}

// closeHeld ends the waiting of a held purge's status; the purge stays held. A purge that
// waits for its origin is left alone: it goes out by itself, whatever is deployed
// meanwhile, because what it purges is in no other purge's difference.
func (s *Store) closeHeld(ctx context.Context, t *tx, id, words string) error {
	n, err := t.exec(ctx, `UPDATE purge SET closed = $2, version = version + 1 WHERE id = $1 AND state = 'held'
		AND NOT EXISTS (SELECT 1 FROM proof WHERE purge_id = $1 AND state = 'origin')`, id, words)
	if err != nil || n == 0 { // released meanwhile
		return err
	}
	return s.changed(ctx, t, id)
}

// CloseHeld ends the waiting of the statuses of held purges that were planned before a
// moment. The purges stay held. words says why, in public words.
func (s *Store) CloseHeld(ctx context.Context, before time.Time, words string) error {
	err := s.write(ctx, func(t *tx) error {
		held, err := t.texts(ctx, `SELECT id FROM purge WHERE state = 'held' AND closed = '' AND created_at < $1 ORDER BY id`, ms(before))
		if err != nil {
			return err
		}
		for _, id := range held {
			if err := s.closeHeld(ctx, t, id, words); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("close purges that are held for long: %w", err)
	}
	return nil
}
