package store

import (
	"context"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// Paused is an active pause with what it holds back.
type Paused struct {
	ledger.Pause
	Purges  int // open ones
	Objects int // of those, neither accepted nor failed
}

// Pause begins a pause: no claim of any replica takes what it covers from then
// on. An active one of the same scope ends, and this one takes its place.
func (s *Store) Pause(ctx context.Context, p ledger.Pause) (begun Paused, err error) {
	err = s.whileNothingIsClaimed(ctx, func(t *tx) error {
		p.Since = when(ms(s.now()))
		if err := t.row(ctx, `UPDATE counter SET n = n + 1 WHERE name = 'pause' RETURNING n`).Scan(&p.ID); err != nil {
			return err
		}
		if _, err := s.endPauses(ctx, t, "", func(old ledger.Pause) bool { return old.Same(p.Scope) }); err != nil {
			return err
		}
		everyone := 0
		if p.All {
			everyone = 1
		}
		if _, err := t.exec(ctx, `INSERT INTO pause (id, repositories, environment, account, everyone, paused_by, reason, began_at, until)
			VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)`, p.ID, p.Repositories, p.Environment, p.Account, everyone, p.By, p.Reason, ms(p.Since), ms(p.Until)); err != nil {
			return err
		}
		if _, err := s.applyPauses(ctx, t, everyAccount); err != nil {
			return err
		}
		all, err := pauses(ctx, t)
		if err != nil || len(all) == 0 {
			return err
		}
		begun = all[len(all)-1]
		return s.tellPause(ctx, t, ledger.EventPaused, begun, "")
	})
	if err != nil {
		return begun, fmt.Errorf("pause: %w", err)
	}
	return begun, nil
}

// Resume ends the pauses of a scope, and gives them with what they held back:
// it goes out from then on. ErrNothing: there is none.
func (s *Store) Resume(ctx context.Context, scope ledger.Scope, by string) (ended []Paused, err error) {
	err = s.whileNothingIsClaimed(ctx, func(t *tx) (err error) {
		ended, err = s.endPauses(ctx, t, by, func(p ledger.Pause) bool { return p.Same(scope) })
		if err == nil && len(ended) == 0 {
			err = ErrNothing
		}
		if err != nil {
			return err
		}
		return s.tellResumed(ctx, t, ended, by)
	})
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	return ended, nil
}

// Pauses lists the active pauses, the oldest first.
func (s *Reader) Pauses(ctx context.Context) (all []Paused, err error) {
	err = s.read(ctx, func(t *tx) error {
		all, err = pauses(ctx, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read pauses: %w", err)
	}
	return all, nil
}

func pauses(ctx context.Context, t *tx) (all []Paused, err error) {
	err = t.each(ctx, func(r row) error {
		var p Paused
		var since, until int64
		err := r.Scan(&p.ID, &p.Repositories, &p.Environment, &p.Account, &p.All, &p.By, &p.Reason, &since, &until, &p.Purges, &p.Objects)
		p.Since, p.Until = when(since), when(until)
		all = append(all, p)
		return err
	}, `SELECT id, repositories, environment, account, everyone > 0, paused_by, reason, began_at, until,
			(SELECT COUNT(*) FROM purge WHERE pause_id = pause.id AND `+isPaused+` AND state = 'open'),
			(SELECT CAST(COALESCE(SUM(urls + tags + cpcodes - accepted - failed), 0) AS BIGINT) FROM purge WHERE pause_id = pause.id AND `+isPaused+` AND state = 'open')
		FROM pause WHERE ended_at = 0 ORDER BY id`)
	return all, err
}

// whileNothingIsClaimed changes pauses while nobody claims or settles: the
// budget rows of all accounts, locked first as the claim does, take turns. A claim that comes
// after sees the change, on any replica.
func (s *Store) whileNothingIsClaimed(ctx context.Context, change func(*tx) error) error {
	return s.write(ctx, func(t *tx) error {
		if _, err := s.loadBudget(ctx, t, "", purger.URL); err != nil {
			return err
		}
		if _, err := t.texts(ctx, `SELECT bucket FROM budget WHERE bucket LIKE 'requests@%' ORDER BY bucket`+s.forUpdate()); err != nil {
			return err
		}
		return change(t)
	})
}

// endPauses ends the active pauses that fit. What they covered is judged anew,
// since another may cover it too.
func (s *Store) endPauses(ctx context.Context, t *tx, by string, fit func(ledger.Pause) bool) (ended []Paused, err error) {
	all, err := pauses(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if !fit(p.Pause) {
			continue
		}
		ended = append(ended, p)
		if _, err := t.exec(ctx, `UPDATE pause SET ended_at = $2, ended_by = $3 WHERE id = $1`, p.ID, ms(s.now()), by); err != nil {
			return nil, err
		}
		if err := s.rewordPurges(ctx, t, `(SELECT id FROM purge WHERE pause_id = $1 AND `+isPaused+` AND state = 'open')`, p.ID); err != nil {
			return nil, err
		}
		if _, err := t.exec(ctx, `UPDATE purge SET pause_id = 0, judged = 0 WHERE pause_id = $1 AND `+isPaused, p.ID); err != nil {
			return nil, err
		}
	}
	if len(ended) == 0 {
		return nil, nil
	}
	for _, account := range s.allAccounts() {
		wakeAll(t, account)
	}
	_, err = s.applyPauses(ctx, t, everyAccount)
	return ended, err
}

func (s *Store) tellResumed(ctx context.Context, t *tx, ended []Paused, by string) error {
	for _, p := range ended {
		if err := s.tellPause(ctx, t, ledger.EventResumed, p, by); err != nil {
			return err
		}
	}
	return nil
}

// everyAccount stands for all: no account has such a name.
const everyAccount = "*"

// applyPauses notes of each open purge of an account which active pause covers
// it, if any, as ledger.Pause says, and gives the latest of them. Each purge is
// held against a pause once: SQL knows no globs. Every claim does this first, so
// that a purge which was opened while a pause began is never taken.
func (s *Store) applyPauses(ctx context.Context, t *tx, account string) (latest int64, err error) {
	all, err := pauses(ctx, t)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	latest = all[len(all)-1].ID
	covered := map[int64][]string{}
	err = t.each(ctx, func(r row) error {
		var id, owner, name, environment, account string
		var cause ledger.Cause
		err := r.Scan(&id, &owner, &name, &environment, &cause, &account)
		by := int64(0)
		for _, p := range all {
			if by == 0 && p.Covers(owner+"/"+name, environment, accountName(account), cause) {
				by = p.ID
			}
		}
		covered[by] = append(covered[by], id)
		return err
	}, `SELECT p.id, COALESCE(r.owner, ''), COALESCE(r.name, ''), p.environment, p.cause, p.account
		FROM purge p LEFT JOIN repo r ON r.id = p.repo_id WHERE p.state = 'open' AND p.pause_id = 0 AND p.judged < $1 AND ($2 = '*' OR p.account = $2)`, latest, account)
	if err != nil {
		return 0, err
	}
	for by, ids := range covered {
		for part := range chunks(ids, rowsAtOnce) {
			if _, err := t.exec(ctx, `UPDATE purge SET judged = $1, pause_id = $2 WHERE id IN `+list(3, len(part)),
				append([]any{latest, by}, anys(part)...)...); err != nil {
				return 0, err
			}
			if by == 0 {
				continue
			}
			if err := s.rewordPurges(ctx, t, list(1, len(part)), anys(part)...); err != nil {
				return 0, err
			}
		}
	}
	return latest, nil
}

// rewordPurges has the surfaces of purges written anew. It wakes the first of
// them; the sweep wakes the others, a few at a time.
func (s *Store) rewordPurges(ctx context.Context, t *tx, purges string, args ...any) error {
	const wokenAtOnce = 100
	names, err := s.touch(ctx, t, `version = version + 1, rung_at = 0`, `purge_id IN `+purges, args...)
	for _, name := range names[:min(len(names), wokenAtOnce)] {
		t.enqueue(ReportJob{Surface: name})
	}
	return err
}

// putBack takes out of a request that waits to be sent again what a pause
// covers meanwhile, or what has another account: it waits for another.
func (c *claim) putBack(ctx context.Context, request string) error {
	_, err := c.t.exec(ctx, targetState().change(ledger.PutBack, `request_id = ''`, ofRequest+`
		AND EXISTS (SELECT 1 FROM purge p WHERE p.id = target.purge_id AND (p.pause_id > 0 OR p.account <> $2))`), request, c.account)
	return err
}

// sweepPauses ends the pauses whose time is over.
func (s *Store) sweepPauses(ctx context.Context, now time.Time) error {
	over, err := s.has(ctx, `SELECT 1 FROM pause WHERE ended_at = 0 AND until > 0 AND until <= $1`, ms(now))
	if err == nil && over {
		err = s.whileNothingIsClaimed(ctx, func(t *tx) error {
			ended, err := s.endPauses(ctx, t, "", func(p ledger.Pause) bool { return !p.Until.IsZero() && !p.Until.After(now) })
			if err != nil {
				return err
			}
			return s.tellResumed(ctx, t, ended, "")
		})
	}
	if err != nil {
		return fmt.Errorf("sweep pauses: %w", err)
	}
	return nil
}
