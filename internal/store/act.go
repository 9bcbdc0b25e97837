package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// ErrNothing says that an act found nothing that it could change: no target
// that a retry frees, no purge that is held, or none that is still open.
var ErrNothing = errors.New("nothing to do")

// Judge says why a target may not be sent now, in public words; "" if it may.
// It is called inside a transaction: it must be quick and ask nobody.
type Judge func(ledger.Target) string

// Act is something that a person does with a purge: Retry, Release, Cancel.
// Its answer is stored in the same transaction; nil where no comment waits
// for one. ErrNotFound: there is no such purge. ErrNothing, ErrAnswered:
// nothing was changed.
type Act struct {
	Purge  string
	By     string // login, for the words of a release and a cancel
	Answer *Answer
}

// Retry lets the failed targets of a purge wait again, those that judge lets
// pass; the others stay failed with its words. A purge that was done is open
// again, and its time counts from now. It gives how many targets wait again.
func (s *Store) Retry(ctx context.Context, a Act, judge Judge) (freed int, err error) {
	err = s.act(ctx, a, func(t *tx, p ledger.Purge) error {
		if p.State != ledger.Done && p.State != ledger.Open {
			return ErrNothing
		}
		v, err := s.rejudge(ctx, t, p.ID, judge, false)
		if err != nil {
			return err
		}
		if freed = v.freed; freed == 0 {
			return ErrNothing
		}
		now := ms(s.now())
		_, err = t.exec(ctx, `UPDATE purge SET state = 'open',
				opened_at = CASE WHEN state = 'done' THEN $2 ELSE opened_at END,
				done_at = CASE WHEN done_at > $2 THEN done_at ELSE 0 END WHERE id = $1`, p.ID, now)
		if err != nil {
			return err
		}
		return s.reopened(ctx, t, p.ID, v)
	})
	if err != nil {
		return 0, fmt.Errorf("retry purge %s: %w", a.Purge, err)
	}
	return freed, nil
}

// Release lets a held purge go. Its targets, those that policy refused
// before among them, are judged anew; where none may be sent it is done.
func (s *Store) Release(ctx context.Context, a Act, judge Judge) error {
	err := s.act(ctx, a, func(t *tx, p ledger.Purge) error {
		if p.State != ledger.Held {
			return ErrNothing
		}
		v, err := s.rejudge(ctx, t, p.ID, judge, true)
		if err != nil {
			return err
		}
		state, done, now := ledger.Open, int64(0), ms(s.now())
		if len(v.waiting) == 0 {
			state, done = ledger.Done, now
		}
		if _, err := t.exec(ctx, `UPDATE purge SET state = $2, opened_at = $3, done_at = $4, note = $5 WHERE id = $1`,
			p.ID, string(state), now, done, "released by "+a.By); err != nil {
			return err
		}
		return s.reopened(ctx, t, p.ID, v)
	})
	if err != nil {
		return fmt.Errorf("release purge %s: %w", a.Purge, err)
	}
	return nil
}

// Cancel ends a purge that is open or held. What was not sent is dropped:
// targets that wait, and those of requests that wait to be sent again. What
// is being sent ends as Akamai answers.
func (s *Store) Cancel(ctx context.Context, a Act) error {
	err := s.act(ctx, a, func(t *tx, p ledger.Purge) error {
		if p.State != ledger.Open && p.State != ledger.Held {
			return ErrNothing
		}
		if _, err := t.exec(ctx, `UPDATE purge SET state = 'cancelled', ended_by = $2, done_at = $3 WHERE id = $1`,
			p.ID, a.By, ms(s.now())); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE target SET state = 'dropped' WHERE purge_id = $1 AND (state = 'waiting'
			OR (state = 'claimed' AND request_id IN (SELECT id FROM request WHERE state = 'ready')))`, p.ID); err != nil {
			return err
		}
		return s.recount(ctx, t, p.ID)
	})
	if err != nil {
		return fmt.Errorf("cancel purge %s: %w", a.Purge, err)
	}
	return nil
}

// act does something with a purge while nobody claims or settles: the budget
// rows, locked first as the claim and the settling do, take turns.
func (s *Store) act(ctx context.Context, a Act, do func(*tx, ledger.Purge) error) error {
	return s.write(ctx, func(t *tx) error {
		if _, err := s.loadBudget(ctx, t, "url", s.now()); err != nil {
			return err
		}
		if a.Answer != nil {
			answer := *a.Answer
			answer.PurgeID = a.Purge
			fresh, err := s.answer(ctx, t, answer)
			if err != nil {
				return err
			}
			if !fresh {
				return ErrAnswered
			}
		}
		p, err := scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE id = $1 AND state <> 'planning'`, a.Purge))
		if err != nil {
			return err
		}
		return do(t, p)
	})
}

// reopened counts a purge anew and rings for whatever of it waits.
func (s *Store) reopened(ctx context.Context, t *tx, purge string, v verdicts) error {
	for kind := range v.waiting {
		t.rings(PurgeJob{Objects: string(kind)})
	}
	return s.recount(ctx, t, purge)
}

// recount counts what became of a purge's targets from the targets
// themselves, and rings for whoever speaks for it.
func (s *Store) recount(ctx context.Context, t *tx, purge string) error {
	if _, err := t.exec(ctx, `UPDATE purge SET version = version + 1,
			failed = (SELECT COUNT(*) FROM target WHERE purge_id = $1 AND state = 'failed'),
			sent = (SELECT COUNT(*) FROM target WHERE purge_id = $1 AND request_id <> '' AND state <> 'dropped'),
			reason = COALESCE((SELECT reason FROM target WHERE purge_id = $1 AND state = 'failed' ORDER BY seq LIMIT 1), '')
		WHERE id = $1`, purge); err != nil {
		return err
	}
	return s.changed(ctx, t, purge)
}

// verdicts is what judging a purge's targets anew came to.
type verdicts struct {
	freed   int // failed before, waiting now
	waiting map[mapping.Kind]bool
}

// rejudge judges the failed targets of a purge anew and, if it never went
// out, those that wait.
func (s *Store) rejudge(ctx context.Context, t *tx, purge string, judge Judge, waiting bool) (verdicts, error) {
	v := verdicts{waiting: map[mapping.Kind]bool{}}
	var free []any
	refused := map[string][]any{}
	states := `('failed')`
	if waiting {
		states = `('failed', 'waiting')`
	}
	err := t.each(ctx, func(r row) error {
		g := ledger.Target{PurgeID: purge}
		var path []byte
		if err := r.Scan(&g.Seq, &g.Kind, &g.Action, &g.Object, &g.Rule, &path, &g.Reason, &g.Fate, &g.RequestID); err != nil {
			return err
		}
		g.Path = string(path)
		switch reason := judge(g); {
		case reason != "" && reason != g.Reason:
			refused[reason] = append(refused[reason], g.Seq)
		case reason == "" && g.Fate == ledger.Failed:
			free = append(free, g.Seq)
			v.waiting[g.Kind] = true
		case reason == "":
			v.waiting[g.Kind] = true
		}
		return nil
	}, `SELECT seq, kind, action, object, rule, path, reason, state, request_id FROM target
		WHERE purge_id = $1 AND state IN `+states+` ORDER BY seq`, purge)
	if err != nil {
		return v, err
	}
	v.freed = len(free)
	if err := setTargets(ctx, t, purge, `state = 'waiting', reason = $2, request_id = ''`, "", free); err != nil {
		return v, err
	}
	for reason, seqs := range refused {
		if err := setTargets(ctx, t, purge, `state = 'failed', reason = $2`, reason, seqs); err != nil {
			return v, err
		}
	}
	return v, nil
}

func setTargets(ctx context.Context, t *tx, purge, set, reason string, seqs []any) error {
	for part := range chunks(seqs, rowsAtOnce) {
		if _, err := t.exec(ctx, `UPDATE target SET `+set+` WHERE purge_id = $1 AND seq IN `+list(3, len(part)),
			append([]any{purge, reason}, part...)...); err != nil {
			return err
		}
	}
	return nil
}

// Deed is what an act does.
type Deed string

// The deeds.
const (
	Retry   Deed = "retry"
	Release Deed = "release"
	Cancel  Deed = "cancel"
)

// fits is the condition of the purges that a deed can change.
func (d Deed) fits() string {
	switch d {
	case Retry:
		return `state IN ('open', 'done') AND failed > 0`
	case Release:
		return `state = 'held'`
	case Cancel:
		return `state IN ('open', 'held')`
	}
	return `1 = 0`
}

// MeantPurge finds the purge that a person on a pull request means: the last
// one that a comment there asked for or acted on and that fits, else the last
// one of the environment that fits. Without an environment only the former.
func (s *Store) MeantPurge(ctx context.Context, repo int64, number int, env string, deed Deed) (p ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err = scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE repo_id = $1 AND `+deed.fits()+`
			AND ($2 = '' OR env_id = $2)
			AND id IN (SELECT purge_id FROM command WHERE repo_id = $1 AND number = $3 AND purge_id <> '')
			ORDER BY id DESC LIMIT 1`, repo, env, number))
		if !errors.Is(err, ErrNotFound) || env == "" {
			return err
		}
		p, err = scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE env_id = $1 AND `+deed.fits()+`
			ORDER BY id DESC LIMIT 1`, env))
		return err
	})
	return p, err
}

// Tally counts a purge's targets of one kind and action.
type Tally struct {
	Kind   mapping.Kind
	Action mapping.Action
	N      int
}

// Tallies counts what a purge would send, or send again: its targets that
// wait or failed.
func (s *Store) Tallies(ctx context.Context, purge string) (all []Tally, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var y Tally
			err := r.Scan(&y.Kind, &y.Action, &y.N)
			all = append(all, y)
			return err
		}, `SELECT kind, action, COUNT(*) FROM target WHERE purge_id = $1 AND state IN ('waiting', 'failed')
			GROUP BY kind, action ORDER BY kind, action`, purge)
	})
	return all, err
}

// Account is what a reply tells of a purge.
type Account struct {
	Failed []ledger.Target // the first ones
	Others []ledger.Target // the first ones that did not fail
	Akamai []string        // the ids that Akamai gave its requests, the first ones
}

// Account reads what a reply tells of a purge, at most so many of each.
func (s *Store) Account(ctx context.Context, purge string, most int) (a Account, err error) {
	err = s.read(ctx, func(t *tx) error {
		for _, part := range []struct {
			where string
			into  *[]ledger.Target
		}{{`state = 'failed'`, &a.Failed}, {`state <> 'failed'`, &a.Others}} {
			if err := t.each(ctx, func(r row) error {
				g := ledger.Target{PurgeID: purge}
				err := r.Scan(&g.Seq, &g.Kind, &g.Action, &g.Object, &g.Reason, &g.Fate)
				*part.into = append(*part.into, g)
				return err
			}, `SELECT seq, kind, action, object, reason, state FROM target WHERE purge_id = $1 AND `+part.where+`
				ORDER BY seq LIMIT $2`, purge, most); err != nil {
				return err
			}
		}
		a.Akamai, err = t.texts(ctx, `SELECT DISTINCT r.akamai_id FROM target t JOIN request r ON r.id = t.request_id
			WHERE t.purge_id = $1 AND r.akamai_id <> '' ORDER BY r.akamai_id LIMIT $2`, purge, most)
		return err
	})
	if err != nil {
		return a, fmt.Errorf("read what became of purge %s: %w", purge, err)
	}
	return a, nil
}

// Unfinished lists the purges of a repository that are held or open, the
// newest first.
func (s *Store) Unfinished(ctx context.Context, repo int64, limit int) (purges []ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			p, err := scanPurge(r)
			purges = append(purges, p)
			return err
		}, `SELECT `+purgeColumns+` FROM purge WHERE state IN ('open', 'held') AND repo_id = $1 ORDER BY id DESC LIMIT $2`, repo, limit)
	})
	return purges, err
}
