package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// Paused is an active pause with what it holds back.
type Paused struct {
	ledger.Pause
	Purges  int // open ones that it covers
	Objects int // targets of these that are neither accepted nor failed
}

// Pause begins a pause: from then on no claim of any replica takes what it covers. An
// active pause of the same scope ends, and this one takes its place.
//
// One write begins the pause. Its purges are marked after that, in chunks, and claims do
// not wait for the marking. If the marking breaks off, claims and the sweep do the rest.
func (s *Store) Pause(ctx context.Context, p ledger.Pause) (begun Paused, err error) {
	// For the event and the answer. It is read before the lock is taken: it looks at
	// every open purge.
	if begun, err = s.wouldHold(ctx, p); err != nil {
		return begun, fmt.Errorf("pause: %w", err)
	}
	err = s.whileNothingIsClaimed(ctx, func(t *tx) error {
		begun.Since = when(ms(s.now()))
		if err := t.row(ctx, `UPDATE counter SET n = n + 1 WHERE name = 'pause' RETURNING n`).Scan(&begun.ID); err != nil {
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
			VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)`,
			begun.ID, p.Repositories, p.Environment, p.Account, everyone, p.By, p.Reason, ms(begun.Since), ms(p.Until)); err != nil {
			return err
		}
		return s.tellPause(ctx, t, ledger.EventPaused, begun, "")
	})
	if err != nil {
		return begun, fmt.Errorf("pause: %w", err)
	}
	s.markSoon(ctx)
	return begun, nil
}

// wouldHold says what a pause would hold back if it began now. Purges that an older pause
// covers are not counted: the first pause that covers a purge holds it. It tells the new
// pause from the older ones by the id of p, which no active pause has.
func (s *Store) wouldHold(ctx context.Context, p ledger.Pause) (c Paused, err error) {
	c.Pause = p
	err = s.read(ctx, func(t *tx) error {
		all, err := pauses(ctx, t)
		if err != nil {
			return err
		}
		// A pause of the same scope will be replaced, so it holds nothing back in this
		// comparison.
		older := slices.DeleteFunc(all, func(old Paused) bool { return old.Same(p.Scope) })
		_, err = eachCovered(ctx, t, append(older, c), func(_ string, by *Paused, objects int) {
			if by != nil && by.ID == p.ID {
				c.Purges++
				c.Objects += objects
			}
		}, `p.state = 'open'`)
		return err
	})
	return c, err
}

// Resume ends the pauses of a scope and returns them with what they held back. That is
// sent from then on, chunk by chunk. ErrNothing: the scope has no pause.
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
	s.markSoon(ctx)
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

// pauses reads the active pauses in the order of their ids, with what each holds back.
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

// whileNothingIsClaimed changes pauses while nobody claims or settles. It locks the
// budget rows of all accounts, as a claim locks its own: the default account's first,
// then the others in the order of their names. A claim that comes after it sees the
// change, on any replica.
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

// endPauses ends the active pauses that fit, and returns them with what they held back
// until now. Their purges still carry the pause's id: markPaused lets them go.
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
	}
	return ended, nil
}

// tellResumed tells that pauses ended; by is "" where their time was over.
func (s *Store) tellResumed(ctx context.Context, t *tx, ended []Paused, by string) error {
	for _, p := range ended {
		if err := s.tellPause(ctx, t, ledger.EventResumed, p, by); err != nil {
			return err
		}
	}
	return nil
}

// everyAccount stands for all accounts in a query. No account has such a name.
const everyAccount = "*"

// markedAtOnce is how many purges one write marks at most, as paused or as not paused. It
// is more than purgesAtOnce: what a claim looks through is all judged by its own
// applyPauses.
const markedAtOnce = 500

// markSoon marks purges after their pause has begun or ended. Its failure is only logged:
// the pause itself stands, and the sweep marks the rest.
func (s *Store) markSoon(ctx context.Context) {
	if err := s.markPaused(ctx); err != nil {
		s.log.WarnContext(ctx, "purges don't say yet that they are paused, or no more: the sweep goes on with that", "error", err)
	}
}

// markPaused makes each open purge say which active pause covers it. A purge that an
// ended pause covered is first let go and then held against the other pauses, because one
// of them may cover it too.
func (s *Store) markPaused(ctx context.Context) error {
	for more := true; more; {
		err := s.whileNothingIsClaimed(ctx, func(t *tx) (err error) {
			if more, err = s.letGo(ctx, t); err != nil || more {
				return err
			}
			_, more, err = s.applyPauses(ctx, t, everyAccount)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ofEndedPause is the condition of a purge that an ended pause still covers.
const ofEndedPause = isPaused + ` AND pause_id NOT IN (SELECT id FROM pause WHERE ended_at = 0)`

// letGo lets some purges go that an ended pause covered, and reports whether there may be
// more. judged = 0 has them held against all active pauses again before a claim takes
// them.
func (s *Store) letGo(ctx context.Context, t *tx) (more bool, err error) {
	ids, err := t.texts(ctx, `UPDATE purge SET pause_id = 0, judged = 0
		WHERE id IN (SELECT id FROM purge WHERE `+ofEndedPause+` LIMIT $1) RETURNING id`, markedAtOnce)
	if err != nil || len(ids) == 0 {
		return false, err
	}
	for _, account := range s.allAccounts() {
		wakeAll(t, account)
	}
	return len(ids) == markedAtOnce, s.rewordPurges(ctx, t, ids)
}

// unjudged is the condition of an open purge p that was not held against all active
// pauses yet. latest is the id of the latest active pause, in SQL: ids rise, so one number
// says how far a purge was judged.
func unjudged(latest string) string {
	return `p.state = 'open' AND p.pause_id = 0 AND p.judged < ` + latest
}

// applyPauses notes for the first open purges of an account which active pause covers
// them, if any (see ledger.Pause). It returns the id of the latest active pause, and
// whether more purges may wait for this; those are further back in line.
//
// Each purge is held against a pause once, in Go, because SQL has no globs. Every claim
// does this first, under the budget's lock. So a purge that was opened while a pause
// began is never sent against it.
func (s *Store) applyPauses(ctx context.Context, t *tx, account string) (latest int64, more bool, err error) {
	all, err := pauses(ctx, t)
	if err != nil || len(all) == 0 {
		return 0, false, err
	}
	latest = all[len(all)-1].ID
	// By pause, so that one statement marks many purges; 0 is for those that no pause
	// covers, which are marked as judged all the same.
	covered := map[int64][]string{}
	n, err := eachCovered(ctx, t, all, func(id string, by *Paused, _ int) {
		pause := int64(0)
		if by != nil {
			pause = by.ID
		}
		covered[pause] = append(covered[pause], id)
	}, unjudged("$1")+` AND ($2 = '*' OR p.account = $2) ORDER BY `+line+` LIMIT $3`, latest, account, markedAtOnce)
	if err != nil {
		return 0, false, err
	}
	for by, ids := range covered {
		for part := range chunks(ids, rowsAtOnce) {
			if _, err := t.exec(ctx, `UPDATE purge SET judged = $1, pause_id = $2 WHERE id IN `+list(3, len(part)),
				append([]any{latest, by}, anys(part)...)...); err != nil {
				return 0, false, err
			}
		}
		if by == 0 {
			continue
		}
		if err := s.rewordPurges(ctx, t, ids); err != nil {
			return 0, false, err
		}
	}
	return latest, n == markedAtOnce, nil
}

// eachCovered calls give for each purge p of a condition, with the first of the pauses
// that covers it (nil: none does) and with how many of its targets are still to be sent.
func eachCovered(ctx context.Context, t *tx, pauses []Paused, give func(id string, by *Paused, objects int), where string, args ...any) (n int, err error) {
	err = t.each(ctx, func(r row) error {
		var id, owner, name, environment, account string
		var cause ledger.Cause
		var objects int
		if err := r.Scan(&id, &owner, &name, &environment, &cause, &account, &objects); err != nil {
			return err
		}
		n++
		for i := range pauses {
			if pauses[i].Covers(owner+"/"+name, environment, accountName(account), cause) {
				give(id, &pauses[i], objects)
				return nil
			}
		}
		give(id, nil, objects)
		return nil
	}, `SELECT p.id, COALESCE(r.owner, ''), COALESCE(r.name, ''), p.environment, p.cause, p.account,
			p.urls + p.tags + p.cpcodes - p.accepted - p.failed
		FROM purge p LEFT JOIN repo r ON r.id = p.repo_id WHERE `+where, args...)
	return n, err
}

// rewordPurges has the surfaces of purges written again. It wakes only some of them: a
// pause may cover thousands, and the sweep wakes the others, a few at a time.
func (s *Store) rewordPurges(ctx context.Context, t *tx, purges []string) error {
	for part := range chunks(purges, rowsAtOnce) {
		names, err := s.touch(ctx, t, `version = version + 1, rung_at = 0`, `purge_id IN `+list(1, len(part)), anys(part)...)
		if err != nil {
			return err
		}
		const wokenAtOnce = 20
		for _, name := range names[:min(len(names), wokenAtOnce)] {
			t.enqueue(ReportJob{Surface: name})
		}
	}
	return nil
}

// putBack takes targets out of a request that waits to be sent again: those that a pause
// covers by now, and those whose purge has another account. They wait for a new request.
func (c *claim) putBack(ctx context.Context, request string) error {
	_, err := c.t.exec(ctx, targetState().change(ledger.PutBack, `request_id = ''`, ofRequest+`
		AND EXISTS (SELECT 1 FROM purge p WHERE p.id = target.purge_id AND (p.pause_id > 0 OR p.account <> $2))`), request, c.account)
	return err
}

// sweepPauses ends the pauses whose time is over. It also marks purges if the process
// that paused or resumed did not get to it.
//
// The looks before the writes are reads: a sweep that has nothing to do locks nothing.
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
	left := false
	if err == nil {
		left, err = s.has(ctx, `SELECT 1 WHERE EXISTS (SELECT 1 FROM purge WHERE `+ofEndedPause+`)
			OR EXISTS (SELECT 1 FROM purge p WHERE `+unjudged(`(SELECT MAX(id) FROM pause WHERE ended_at = 0)`)+`)`)
	}
	if err == nil && left {
		err = s.markPaused(ctx)
	}
	if err != nil {
		return fmt.Errorf("sweep pauses: %w", err)
	}
	return nil
}
