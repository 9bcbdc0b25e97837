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

// ErrNothing says that an act found nothing to change: no target that a retry frees, no
// purge that is held, or no purge that is still open. The transaction is rolled back.
var ErrNothing = errors.New("nothing to do")

// Judge says in public words why a target may not be sent now; "" if it may. The store
// calls it inside a transaction that holds the account's budget row. So it must be quick,
// and it must not use the network or the store.
type Judge func(mapping.Target) string

// Act is something that a person does with a purge: Retry, Release or Cancel.
//
// Act.Answer is stored in the transaction that ends the act; nil where no comment waits
// for an answer. ErrNotFound: there is no such purge, or it is still being planned.
// ErrNothing and ErrAnswered: the act changed nothing, except the reason of targets that
// stay failed.
//
// An act on many targets runs in chunks, one transaction each. If the process dies
// between two chunks, the same act does the rest when it is repeated: a target that was
// freed already is no longer failed, so it is not counted twice.
type Act struct {
	Purge  string // id
	By     string // login, for the words of a release and a cancel
	Answer *Answer
	Note   *Note // the words for the check run whose button was pressed; nil: no button was pressed

	// Only narrows a retry to the targets whose stored reason it accepts; nil: all failed
	// targets. The same promises hold for it as for a Judge.
	Only func(reason string) bool

	// Account is the name of the Akamai account that a retry or a release sends with from
	// now on; "": the account stays as it is.
	Account string
}

// Retry makes the failed targets of a purge wait again if judge lets them pass. The
// others stay failed with the judge's words. Targets that the act is not about stay as
// they are. A purge that was done is open again, and its time counts from now. Retry
// returns how many targets wait again.
//
// Each chunk opens the purge and wakes the jobs of its own freed targets. So a retry that
// breaks off leaves an open purge that is sent, not a done purge with waiting targets.
func (s *Store) Retry(ctx context.Context, a Act, judge Judge) (freed int, err error) {
	freed, err = s.rejudge(ctx, a, ledger.Retry, []ledger.Fate{ledger.Failed}, judge, func(t *tx) error {
		now := ms(s.now())
		// opened_at moves only for a purge that had ended: its time counts anew. done_at
		// may lie ahead, when Akamai's estimate has not passed; then it stays, because
		// what was accepted before is not done earlier. "told" becomes Retried only if
		// the failure was told, so that only then a success is told as its end.
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

// Release opens a held purge. It judges the targets anew, including those that policy
// refused before. If none may be sent, the purge is done at once.
//
// The judging runs first, in chunks, while the purge is still held: no claim can take a
// target that is not judged yet. Only the last transaction opens the purge.
func (s *Store) Release(ctx context.Context, a Act, judge Judge) error {
	fates := []ledger.Fate{ledger.Failed, ledger.Waiting}
	_, err := s.rejudge(ctx, a, ledger.Released, fates, judge, func(*tx) error { return nil })
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

// Cancel ends a purge that is open or held. What was not sent is dropped: the targets
// that wait, and the targets of requests that wait to be sent again. A request that is
// being sent ends as Akamai answers it.
//
// Waiting targets count as dropped through their purge's state (see fate). sweepCancelled
// changes their rows later, in chunks, because a purge may have very many.
func (s *Store) Cancel(ctx context.Context, a Act) error {
	err := s.act(ctx, a, func(t *tx, p ledger.Purge) error {
		n, err := t.exec(ctx, purgeState().change(ledger.Abandoned, `ended_by = $2, done_at = $3`, `id = $1`), p.ID, a.By, ms(s.now()))
		if err != nil || n == 0 {
			return cmp.Or(err, ErrNothing)
		}
		// The request may hold targets of other purges too: only this purge's are
		// dropped. A request that becomes empty ends when it is claimed next, see
		// claim.left.
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

// act does something with a purge while nobody claims or settles for its account: it
// locks the budget's row first, as claims and settlings do, so they take turns. The
// answer and the note are part of the same transaction. The answer is written before the
// act: a comment that was answered already changes nothing, so that a job that runs twice
// acts once.
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

// lockPurge locks the budget of the purge's account, then the purge, and reads it. The
// account may change before the lock is held. Then lockPurge locks the new account's
// budget too and checks again. A purge in state planning is ErrNotFound.
func (s *Store) lockPurge(ctx context.Context, t *tx, id string) (ledger.Purge, error) {
	var account string
	if err := missing(t.row(ctx, `SELECT account FROM purge WHERE id = $1`, id).Scan(&account)); err != nil {
		return ledger.Purge{}, err
	}
	for {
		if _, err := s.loadBudget(ctx, t, account, purger.URL); err != nil {
			return ledger.Purge{}, err
		}
		// A deployment may overtake a held purge at this moment, without the budget's
		// lock. So the purge's own lock comes before its state is read.
		if err := s.lockRow(ctx, t, "purge", "id", id); err != nil {
			return ledger.Purge{}, err
		}
		p, err := scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE id = $1 AND `+isShown, id))
		if err != nil || accountColumn(p.Account) == account {
			return p, err
		}
		account = accountColumn(p.Account) // it moved to another account meanwhile
	}
}

// turned says that a purge's targets changed for a reason other than an answer of
// Akamai's. It raises the purge's version and wakes every surface that speaks for it.
func (s *Store) turned(ctx context.Context, t *tx, purge string) error {
	if _, err := t.exec(ctx, `UPDATE purge SET version = version + 1 WHERE id = $1`, purge); err != nil {
		return err
	}
	return s.changed(ctx, t, purge)
}

// rejudgeAtOnce is how many targets one transaction judges anew: the account's claims
// wait for that transaction.
const rejudgeAtOnce = 500

// rejudge judges anew the targets of a purge that have one of the given fates, in chunks.
// The purge must be in a state in which the change "on" can come, else rejudge returns
// ErrNothing. It checks that in every chunk, because the purge may end between two of
// them. then runs at the end of each transaction that frees targets. rejudge returns how
// many were freed.
//
// After a deadlock PostgreSQL has a transaction run again from its beginning. So nothing
// outside it may count what it does until it has ended.
func (s *Store) rejudge(ctx context.Context, a Act, on ledger.Change, fates []ledger.Fate, judge Judge, then func(*tx) error) (freed int, err error) {
	for next := int64(0); next >= 0; {
		goOn, free := int64(0), 0
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
			if goOn, err = v.judge(ctx, t, a.Purge, next, fates, judge); err != nil {
				return err
			}
			if err := v.store(ctx, t, a.Purge); err != nil {
				return err
			}
			if free = len(v.free); free > 0 {
				if err := then(t); err != nil {
					return err
				}
			}
			if free+len(v.refused) == 0 {
				return nil
			}
			return s.turned(ctx, t, a.Purge)
		})
		if err != nil {
			return freed, err
		}
		next, freed = goOn, freed+free
	}
	return freed, nil
}

// verdicts is the result of judging some of a purge's targets anew.
type verdicts struct {
	only    func(reason string) bool // see Act
	free    []any                    // sequence numbers of targets that were failed and wait now
	refused map[string][]any         // sequence numbers by the reason, for targets whose reason is new
	failed  int                      // how many of the refused ones waited before
	untried int                      // how many targets of either kind lose the reason "not tried"
}

// judge judges the next targets, from a sequence number on. It returns the number to go
// on from; below 0: there are no more.
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
		// A target that was not tried has a reason with that prefix and no request. As
		// soon as its reason changes it leaves the purge's count of untried ones.
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

// store writes the verdicts and corrects the purge's counts. The purge's reason is that
// of its first target that is still failed: target_failed, the partial index, finds it.
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

// changeTargets makes one change to the targets with the given sequence numbers. In set,
// $2 is the reason.
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

// applies is the SQL condition of the purges that a verb can change.
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

// FindPurge finds the purge that a person on a pull request means: the last one that fits
// and that a comment on this pull request asked for or acted on, else the last one of the
// environment that fits. Without an environment it looks only for the former.
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

// Tallies counts what a purge would send, or would send again: its targets that wait or
// have failed.
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

// PurgeSummary is what a reply says of a purge.
type PurgeSummary struct {
	Failed []ledger.Target // the first ones that failed
	Others []ledger.Target // the first ones that did not fail
	Akamai []string        // ids that Akamai gave to its requests, the first ones
}

// Summary reads what a reply says of a purge, at most "most" entries of each list. The
// two conditions are separate queries so that the failed ones come from target_failed,
// the partial index, however large the purge is.
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

// Unfinished lists the purges of a repository that are held or open, the newest first, at
// most limit of them.
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
