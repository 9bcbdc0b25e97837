package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// ErrNothing says that an act found nothing that it could change: no target
// that a retry frees, no purge that is held, or none that is still open.
var ErrNothing = errors.New("nothing to do")

// Judge says why a target may not be sent now, in public words; "" if it may.
// It is called inside a transaction: it must be quick and ask nobody.
type Judge func(mapping.Target) string

// Act is something that a person does with a purge: Retry, Release, Cancel.
// Its answer is stored in the transaction that ends it; nil where no comment
// waits for one. ErrNotFound: there is no such purge. ErrNothing, ErrAnswered:
// nothing was changed but, of targets that stay failed, the reason.
//
// What takes many targets is done in chunks, each a transaction. Where that
// breaks off, the same act goes on with what is left.
type Act struct {
	Purge  string
	By     string // login, for the words of a release and a cancel
	Answer *Answer
	Note   *Note // of a button: nil where none was pressed

	// Only narrows a retry to targets that were refused for some reasons, each
	// as the target keeps it; nil: it is about all. It is called as a Judge is.
	Only func(reason string) bool

	// Account is with which account a retry or a release sends from now on; "":
	// as before.
	Account string
}

// Retry lets the failed targets of a purge wait again, those that judge lets
// pass; the others stay failed with its words, and targets that the act is not
// about stay as they are. A purge that was done is open again, and its time
// counts from now. It gives how many targets wait again.
func (s *Store) Retry(ctx context.Context, a Act, judge Judge) (freed int, err error) {
	err = s.rejudge(ctx, a, ledger.Retry, []ledger.Fate{ledger.Failed}, judge, func(t *tx, n int) error {
		if freed += n; n == 0 {
			return nil
		}
		now := ms(s.now())
		if _, err := t.exec(ctx, purgeState().change(ledger.Retry, `opened_at = CASE WHEN state = 'done' THEN $2 ELSE opened_at END,
				done_at = CASE WHEN done_at > $2 THEN done_at ELSE 0 END,
				told = CASE WHEN told = $3 THEN $4 ELSE told END`, `id = $1`),
			a.Purge, now, string(ledger.EventFailed), string(ledger.Retried)); err != nil {
			return err
		}
		if err := s.proveAgain(ctx, t, a.Purge); err != nil {
			return err
		}
		return wakeKinds(ctx, t, a.Purge)
	})
	if err == nil {
		err = s.act(ctx, a, func(*tx, ledger.Purge) error {
			if freed == 0 {
				return ErrNothing
			}
			return nil
		})
	}
	if err != nil {
		return 0, fmt.Errorf("retry purge %s: %w", a.Purge, err)
	}
	return freed, nil
}

// Release lets a held purge go. Its targets, those that policy refused
// before among them, are judged anew; where none may be sent it is done.
func (s *Store) Release(ctx context.Context, a Act, judge Judge) error {
	fates := []ledger.Fate{ledger.Failed, ledger.Waiting}
	err := s.rejudge(ctx, a, ledger.Released, fates, judge, func(*tx, int) error { return nil })
	if err == nil {
		err = s.act(ctx, a, func(t *tx, p ledger.Purge) error {
			how, done, now := ledger.Released, int64(0), ms(s.now())
			if p.Counts.Left() == 0 {
				how, done = ledger.Emptied, now
			}
			n, err := t.exec(ctx, purgeState().change(how, `opened_at = $2, done_at = $3, note = $4`, `id = $1`), p.ID, now, done, "released by "+a.By)
			if err != nil || n == 0 {
				return cmp.Or(err, ErrNothing)
			}
			if err := s.turned(ctx, t, p.ID); err != nil {
				return err
			}
			if err := s.tellPurge(ctx, t, p.ID); err != nil {
				return err
			}
			if err := s.rouse(ctx, t, p.ID); err != nil {
				return err
			}
			return wakeKinds(ctx, t, p.ID)
		})
	}
	if err != nil {
		return fmt.Errorf("release purge %s: %w", a.Purge, err)
	}
	return nil
}

// Cancel ends a purge that is open or held. What was not sent is dropped:
// targets that wait, which count as dropped from now on, and those of requests
// that wait to be sent again. What is being sent ends as Akamai answers.
func (s *Store) Cancel(ctx context.Context, a Act) error {
	err := s.act(ctx, a, func(t *tx, p ledger.Purge) error {
		n, err := t.exec(ctx, purgeState().change(ledger.Abandoned, `ended_by = $2, done_at = $3`, `id = $1`), p.ID, a.By, ms(s.now()))
		if err != nil || n == 0 {
			return cmp.Or(err, ErrNothing)
		}
		ready, err := t.texts(ctx, `SELECT id FROM request WHERE `+unsettled+` AND state = 'ready'`)
		if err != nil {
			return err
		}
		for _, id := range ready {
			if _, err := t.exec(ctx, targetState().change(ledger.Drop, "", ofRequest+` AND purge_id = $2`), id, p.ID); err != nil {
				return err
			}
		}
		return s.turned(ctx, t, p.ID)
	})
	if err != nil {
		return fmt.Errorf("cancel purge %s: %w", a.Purge, err)
	}
	return nil
}

// act does something with a purge while nobody claims or settles: the budget
// rows, locked first as the claim and the settling do, take turns. The answer
// goes with it.
func (s *Store) act(ctx context.Context, a Act, do func(*tx, ledger.Purge) error) error {
	return s.write(ctx, func(t *tx) error {
		p, err := s.lockPurge(ctx, t, a.Purge)
		if err != nil {
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
		if err := do(t, p); err != nil || a.Note == nil {
			return err
		}
		return note(ctx, t, *a.Note)
	})
}

// lockPurge locks a purge, after the budget of the account that it is sent with.
// Which one that is may change until the lock is held: then it begins anew.
func (s *Store) lockPurge(ctx context.Context, t *tx, id string) (ledger.Purge, error) {
	var account string
	if err := missing(t.row(ctx, `SELECT account FROM purge WHERE id = $1`, id).Scan(&account)); err != nil {
		return ledger.Purge{}, err
	}
	for {
		if _, err := s.loadBudget(ctx, t, account, purger.URL); err != nil {
			return ledger.Purge{}, err
		}
		// A deployment may overtake a held purge at this moment: the lock comes
		// before its state is read.
		if err := s.lockRow(ctx, t, "purge", "id", id); err != nil {
			return ledger.Purge{}, err
		}
		p, err := scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE id = $1 AND state <> 'planning'`, id))
		if err != nil || accountColumn(p.Account) == account {
			return p, err
		}
		account = accountColumn(p.Account) // it moved meanwhile
	}
}

// turned says that a purge's targets changed for another reason than an
// answer of Akamai's, and wakes whatever speaks for it.
func (s *Store) turned(ctx context.Context, t *tx, purge string) error {
	if _, err := t.exec(ctx, `UPDATE purge SET version = version + 1 WHERE id = $1`, purge); err != nil {
		return err
	}
	return s.changed(ctx, t, purge)
}

// rejudgeAtOnce bounds one transaction that judges targets anew.
const rejudgeAtOnce = 500

// rejudge judges targets of a purge anew that have one of some fates, in
// chunks, while a change can come to the purge; else it is ErrNothing.
// after ends each transaction, with how many targets it freed.
func (s *Store) rejudge(ctx context.Context, a Act, on ledger.Change, fates []ledger.Fate, judge Judge, after func(t *tx, freed int) error) error {
	for next := int64(0); next >= 0; {
		err := s.write(ctx, func(t *tx) error {
			p, err := s.lockPurge(ctx, t, a.Purge)
			if err != nil {
				return err
			}
			if _, can := ledger.Purges().Next(p.State, on); !can {
				return ErrNothing
			}
			if a.Answer != nil {
				if answered, err := t.has(ctx, `SELECT 1 FROM command WHERE repo_id = $1 AND comment_id = $2 AND outcome <> ''`,
					a.Answer.RepoID, a.Answer.Comment); err != nil || answered {
					return cmp.Or(err, ErrAnswered)
				}
			}
			if a.Account != "" && a.Account != p.Account {
				if err := s.move(ctx, t, accountColumn(a.Account), p.ID); err != nil {
					return err
				}
			}
			v := verdicts{only: a.Only, refused: map[string][]any{}}
			if next, err = v.judge(ctx, t, a.Purge, next, fates, judge); err != nil {
				return err
			}
			if err := v.store(ctx, t, a.Purge); err != nil {
				return err
			}
			if err := after(t, len(v.free)); err != nil || len(v.free)+len(v.refused) == 0 {
				return err
			}
			return s.turned(ctx, t, a.Purge)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verdicts is what judging some of a purge's targets anew came to.
type verdicts struct {
	only    func(reason string) bool // see Act
	free    []any                    // failed before, waiting now
	refused map[string][]any         // by the reason, where that is new
	failed  int                      // of the refused, those that waited
	untried int                      // of all, those that were not tried before
}

// judge judges the next targets from a sequence number on and gives the
// number to go on from; below 0: that was all.
func (v *verdicts) judge(ctx context.Context, t *tx, purge string, from int64, fates []ledger.Fate, judge Judge) (next int64, err error) {
	next = -1
	args := []any{purge, from, rejudgeAtOnce}
	for _, fate := range fates {
		args = append(args, string(fate))
	}
	rows := 0
	err = t.each(ctx, func(r row) error {
		g := ledger.Target{PurgeID: purge}
		var path []byte
		if err := r.Scan(&g.Seq, &g.Kind, &g.Action, &g.Object, &g.Rule, &path, &g.Reason, &g.Fate, &g.RequestID); err != nil {
			return err
		}
		g.Path = string(path)
		if rows++; rows == rejudgeAtOnce {
			next = g.Seq + 1
		}
		if v.only != nil && !v.only(g.Reason) {
			return nil
		}
		reason := judge(g.Target)
		if reason != g.Reason && g.Fate == ledger.Failed && g.RequestID == "" && strings.HasPrefix(g.Reason, untried) {
			v.untried++
		}
		switch {
		case reason != "" && reason != g.Reason:
			v.refused[reason] = append(v.refused[reason], g.Seq)
			if g.Fate == ledger.Waiting {
				v.failed++
			}
		case reason == "" && g.Fate == ledger.Failed:
			v.free = append(v.free, g.Seq)
		}
		return nil
	}, `SELECT seq, kind, action, object, rule, path, reason, state, request_id FROM target
		WHERE purge_id = $1 AND seq >= $2 AND state IN `+list(4, len(fates))+` ORDER BY seq LIMIT $3`, args...)
	return next, err
}

func (v *verdicts) store(ctx context.Context, t *tx, purge string) error {
	if err := changeTargets(ctx, t, purge, ledger.Allowed, `reason = $2, request_id = ''`, "", v.free); err != nil {
		return err
	}
	for reason, seqs := range v.refused {
		if err := changeTargets(ctx, t, purge, ledger.Disallowed, `reason = $2`, reason, seqs); err != nil {
			return err
		}
	}
	_, err := t.exec(ctx, `UPDATE purge SET failed = failed + $2, untried = untried - $3,
		reason = COALESCE((SELECT reason FROM target WHERE purge_id = $1 AND state = 'failed' ORDER BY seq LIMIT 1), '')
		WHERE id = $1`, purge, v.failed-len(v.free), v.untried)
	return err
}

func changeTargets(ctx context.Context, t *tx, purge string, on ledger.Change, set, reason string, seqs []any) error {
	for part := range chunks(seqs, rowsAtOnce) {
		if _, err := t.exec(ctx, targetState().change(on, set, `purge_id = $1 AND seq IN `+list(3, len(part))),
			append([]any{purge, reason}, part...)...); err != nil {
			return err
		}
	}
	return nil
}

// Verb is what a person, or the operator, can do with a purge.
type Verb string

// The verbs.
const (
	Retry   Verb = "retry"
	Release Verb = "release"
	Cancel  Verb = "cancel"
)

// applies is the condition of the purges that a verb can change.
func (d Verb) applies() string {
	switch d {
	case Retry:
		return purgeState().open(ledger.Retry) + ` AND failed > 0`
	case Release:
		return purgeState().open(ledger.Released)
	case Cancel:
		return purgeState().open(ledger.Abandoned)
	}
	return `1 = 0`
}

// FindPurge finds the purge that a person on a pull request means: the last
// one that a comment there asked for or acted on and that fits, else the last
// one of the environment that fits. Without an environment only the former.
func (s *Reader) FindPurge(ctx context.Context, repo int64, number int, env string, verb Verb) (p ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err = scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE repo_id = $1 AND `+verb.applies()+`
			AND ($2 = '' OR env_id = $2)
			AND id IN (SELECT purge_id FROM command WHERE repo_id = $1 AND number = $3 AND purge_id <> '')
			ORDER BY seq DESC, id DESC LIMIT 1`, repo, env, number))
		if !errors.Is(err, ErrNotFound) || env == "" {
			return err
		}
		p, err = scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE env_id = $1 AND `+verb.applies()+`
			ORDER BY seq DESC, id DESC LIMIT 1`, env))
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
func (s *Reader) Tallies(ctx context.Context, purge string) (all []Tally, err error) {
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

// PurgeSummary is what a reply tells of a purge.
type PurgeSummary struct {
	Failed []ledger.Target // the first ones
	Others []ledger.Target // the first ones that did not fail
	Akamai []string        // the ids that Akamai gave its requests, the first ones
}

// Summary reads what a reply tells of a purge, at most so many of each.
func (s *Reader) Summary(ctx context.Context, purge string, most int) (a PurgeSummary, err error) {
	err = s.read(ctx, func(t *tx) error {
		for _, part := range []struct {
			where string
			into  *[]ledger.Target
		}{{`state = 'failed'`, &a.Failed}, {`state <> 'failed'`, &a.Others}} {
			if err := t.each(ctx, func(r row) error {
				g := ledger.Target{PurgeID: purge}
				var at int64
				err := r.Scan(append([]any{&g.Seq, &g.Kind, &g.Action, &g.Object, &g.Reason, &g.Fate}, answerInto(&at, &g.Answer)...)...)
				g.Answer.At = when(at)
				*part.into = append(*part.into, g)
				return err
			}, `SELECT t.seq, t.kind, t.action, t.object, t.reason, `+fate+`, `+answerColumns+`
				FROM target t JOIN purge p ON p.id = t.purge_id`+answerJoin+`
				WHERE t.purge_id = $1 AND t.`+part.where+` ORDER BY t.seq LIMIT $2`, purge, most); err != nil {
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
func (s *Reader) Unfinished(ctx context.Context, repo int64, limit int) (purges []ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			p, err := scanPurge(r)
			purges = append(purges, p)
			return err
		}, `SELECT `+purgeColumns+` FROM purge WHERE state IN ('open', 'held') AND repo_id = $1 ORDER BY seq DESC, id DESC LIMIT $2`, repo, limit)
	})
	return purges, err
}
