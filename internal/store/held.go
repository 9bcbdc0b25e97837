package store

import (
	"context"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// overtake closes the held purges of deployments that a move leaves behind.
// One whose every object goes out with the move's own purge is cancelled:
// nothing of it is left to do. Any other stays held, since what it holds is as
// stale as before, and is waited for no longer.
func (s *Store) overtake(ctx context.Context, t *tx, m Move) error {
	held, err := t.texts(ctx, `SELECT id FROM purge WHERE env_id = $1 AND state = 'held' AND cause <> $3 AND to_sha <> $2 ORDER BY id`,
		m.Env.ID, m.To.SHA, string(ledger.CauseComment))
	if err != nil {
		return err
	}
	for _, id := range held {
		covered := false
		if m.Purge != nil && !m.Hold {
			if covered, err = covers(ctx, t, m.Purge.ID, id); err != nil {
				return err
			}
		}
		if covered {
			err = s.cover(ctx, t, id, m.Carries)
		} else {
			err = s.closeHeld(ctx, t, id, m.Overtakes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether a purge that is open sends all that a held one would.
func covers(ctx context.Context, t *tx, open, held string) (bool, error) {
	left, err := t.has(ctx, `SELECT 1 FROM target h WHERE h.purge_id = $2 AND h.state = 'waiting'
		AND NOT EXISTS (SELECT 1 FROM target o WHERE o.kind = h.kind AND o.network = h.network AND o.object = h.object
			AND o.state = 'waiting' AND o.purge_id = $1 AND (o.action = h.action OR o.action = 'delete'))`, open, held)
	return !left, err
}

func (s *Store) cover(ctx context.Context, t *tx, id, words string) error {
	if _, err := t.exec(ctx, `UPDATE purge SET state = 'cancelled', closed = $2, done_at = $3 WHERE id = $1`, id, words, ms(s.now())); err != nil {
		return err
	}
	if _, err := t.exec(ctx, `UPDATE target SET state = 'dropped' WHERE purge_id = $1 AND state = 'waiting'`, id); err != nil {
		return err
	}
	return s.recount(ctx, t, id)
}

func (s *Store) closeHeld(ctx context.Context, t *tx, id, words string) error {
	if _, err := t.exec(ctx, `UPDATE purge SET closed = $2, version = version + 1 WHERE id = $1`, id, words); err != nil {
		return err
	}
	return s.changed(ctx, t, id)
}

// CloseHeld closes the held purges that were planned before a moment: they
// stay held, and their statuses wait no longer. words says why, in public.
func (s *Store) CloseHeld(ctx context.Context, before time.Time, words string) error {
	err := s.write(ctx, func(t *tx) error {
		held, err := t.texts(ctx, `SELECT id FROM purge WHERE state = 'held' AND closed = '' AND created_at < $1`, ms(before))
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
