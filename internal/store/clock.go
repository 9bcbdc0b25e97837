package store

import (
	"context"
	"fmt"
	"time"
)

// sweepClock notes the time, returns it, and finds out whether the clock went back by
// more than clocks may differ. Then earlier clocks ran ahead, and whatever was put off
// until a moment of theirs would wait for it. So all of it is due now. To look once too
// often costs little, and a claim is fenced by a number, not by its time.
func (s *Store) sweepClock(ctx context.Context) (now time.Time, err error) {
	var latest int64
	err = s.read(ctx, func(t *tx) error {
		return t.row(ctx, `SELECT n FROM counter WHERE name = 'clock'`).Scan(&latest)
	})
	if err != nil {
		return now, fmt.Errorf("read the latest time: %w", err)
	}
	now = s.now() // read after the noted time: what another replica notes in between must not look like a clock that went back
	gone := now.Sub(when(latest))
	switch {
	case latest == 0, gone > skew:
		err = s.writeSoon(ctx, func(*tx) error { return nil }) // every write notes the time
	case gone < -skew:
		s.log.WarnContext(ctx, "the clock went back", "by", -gone)
		err = s.write(ctx, func(t *tx) error {
			// Several replicas may see the old time. Only the one that changes this row
			// makes things due.
			n, err := t.exec(ctx, `UPDATE counter SET n = $1 WHERE name = 'clock' AND n = $2`, ms(now), latest)
			if err != nil || n == 0 { // another replica saw it
				return err
			}
			return s.mendClocks(ctx, t, now)
		})
	}
	if err != nil {
		return now, fmt.Errorf("note the time: %w", err)
	}
	return now, nil
}

// mendClocks makes due whatever lies ahead of now. A moment that is a bound and not a
// wait, such as when the edge will be done, becomes now.
func (s *Store) mendClocks(ctx context.Context, t *tx, now time.Time) error {
	for _, query := range []string{
		`UPDATE budget SET at = $1 WHERE at > $1`,
		`UPDATE budget SET paused_until = 0, rest_until = 0 WHERE paused_until > $1 OR rest_until > $1`,
		`UPDATE request SET next_at = 0 WHERE ` + unsettled + ` AND state = 'ready' AND next_at > $1`,
		`UPDATE request SET lease_until = $1 WHERE ` + unsettled + ` AND state = 'sending' AND lease_until > $1`,
		`UPDATE delivery SET next_at = 0, rung_at = 0 WHERE handled_at = 0 AND (next_at > $1 OR rung_at > $1)`,
		`UPDATE environment SET next_at = 0, rung_at = 0 WHERE next_at > $1 OR rung_at > $1`,
		`UPDATE proof SET next_at = 0, rung_at = 0, lease_until = 0 WHERE state <> 'done' AND (next_at > $1 OR rung_at > $1 OR lease_until > $1)`,
		`UPDATE receiver SET next_at = 0, rung_at = 0, lease_until = 0 WHERE next_at > $1 OR rung_at > $1 OR lease_until > $1`,
		`UPDATE chore SET next_at = 0 WHERE next_at > $1`,
		`UPDATE chore SET lease_until = 0 WHERE lease_until > $1`,
		`UPDATE purge SET done_at = $1 WHERE state IN ('open', 'done') AND done_at - 600000 > $1`, // far beyond Akamai's estimates
	} {
		if _, err := t.exec(ctx, query, ms(now)); err != nil {
			return err
		}
	}
	// Of words that stand, next_at says since when. Words that follow would wait for it.
	if _, err := s.touch(ctx, t, `next_at = $1`, `version = posted_version AND next_at > $1`, ms(now)); err != nil {
		return err
	}
	_, err := s.touch(ctx, t, `next_at = 0, rung_at = 0, lease_until = 0`,
		`version > posted_version AND (next_at > $1 OR rung_at > $1 OR lease_until > $1)`, ms(now))
	return err
}

// noteTime notes now in the database if that is ahead of what is noted. Every write does
// it, in its own transaction. A wrong clock may have set what the write puts off. If the
// process then died before a sweep, and the time was not noted with the write, nobody
// would know that the clock was ahead. Once a second is often enough, and the row changes
// only when the noted time is more than skew behind.
func (s *Store) noteTime(ctx context.Context, t *tx) (noted int64, err error) {
	now := ms(s.now())
	if last := s.noted.Load(); last <= now && now < last+1000 {
		return last, nil
	}
	_, err = t.exec(ctx, `UPDATE counter SET n = $1 WHERE name = 'clock' AND n < $2`, now, now-skew.Milliseconds())
	return now, err
}

// later is the moment that lies "after" from now, in milliseconds, for what is put off.
// Callers give a duration and not a moment, because the clock may have been set since
// they looked.
func (s *Store) later(after time.Duration) int64 { return ms(s.now().Add(after)) }
