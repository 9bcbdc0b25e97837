package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// NotifyJob tells one receiver its next event.
type NotifyJob struct {
	Receiver string `json:"receiver"`
}

// Kind names the job in River.
func (NotifyJob) Kind() string { return "notify" }

const (
	// noticeKept is how long a receiver is tried, and noticesMost is how many events wait
	// for one. Beyond that the oldest are dropped and counted.
	noticeKept  = 24 * time.Hour
	noticesMost = 1000
)

// Notice is an event that one receiver is to be told, and that this process has claimed.
type Notice struct {
	ledger.Event
	Receiver string
	Attempt  int           // from 1; above 1 the receiver may know the event already
	Missed   int           // earlier events that this receiver was not told
	Failures int           // attempts in a row that failed to tell this receiver anything
	Wait     time.Duration // above 0: it is too early, and nothing is claimed

	fence int64
}

// tell writes an event down for each receiver that hears it, in the transaction that
// makes it true. If it were told after that, a process that dies between would lose it.
// Events of one subject are told in the order of place.
func (s *Store) tell(ctx context.Context, t *tx, e ledger.Event, subject string, place int64) error {
	var hear []string
	for _, r := range s.receivers() {
		if r.Hears(e) {
			hear = append(hear, r.ID)
		}
	}
	if len(hear) == 0 {
		return nil
	}
	// Every transaction locks receivers in one order.
	slices.Sort(hear)
	now := s.now()
	e.ID, e.At = s.ids.new(now), when(ms(now))
	text, err := json.Marshal(e) //nolint:musttag // read by this room alone
	if err != nil {
		return err
	}
	for _, receiver := range hear {
		if _, err := t.exec(ctx, `INSERT INTO receiver (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`, receiver); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO notice (receiver, id, subject, place, event, at) VALUES ($1,$2,$3,$4,$5,$6)`,
			receiver, e.ID, subject, place, string(text), ms(now)); err != nil {
			return err
		}
		if err := boundNotices(ctx, t, receiver); err != nil {
			return err
		}
		t.enqueue(NotifyJob{Receiver: receiver})
	}
	return nil
}

// boundNotices drops the oldest events that wait for a receiver if there are too many.
// The receiver's row is locked first, here by counting up "dropped", as ClaimNotice does.
func boundNotices(ctx context.Context, t *tx, receiver string) error {
	var waiting int
	if err := t.row(ctx, `SELECT COUNT(*) FROM notice WHERE receiver = $1`, receiver).Scan(&waiting); err != nil || waiting <= noticesMost {
		return err
	}
	if _, err := t.exec(ctx, `UPDATE receiver SET dropped = dropped + $2 WHERE id = $1`, receiver, waiting-noticesMost); err != nil {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM notice WHERE receiver = $1 AND id IN (SELECT id FROM notice WHERE receiver = $1 ORDER BY id LIMIT $2)`,
		receiver, waiting-noticesMost)
	return err
}

// tellPurge writes down the event that a purge calls for, if any. Callers may ask after
// any change: what was told is noted in the purge's own row, in the same transaction.
func (s *Store) tellPurge(ctx context.Context, t *tx, id string) error {
	if len(s.receivers()) == 0 {
		return nil
	}
	p, told, about, err := toldPurge(ctx, t, id)
	if err != nil {
		return err
	}
	if kind := p.Tells(told); kind != "" {
		if _, err := t.exec(ctx, `UPDATE purge SET told = $2 WHERE id = $1`, id, string(kind)); err != nil {
			return err
		}
		return s.tell(ctx, t, ledger.Event{Kind: kind, Repositories: about, Purge: &p}, id, p.Version)
	}
	if p.Proof.DoneAt.IsZero() || p.Proof.Fresh == 0 || p.Proof.Fresh < p.Proof.Checked {
		return nil
	}
	return s.tellFresh(ctx, t, p, about)
}

// toldPurge reads a purge, the last event that was told of it, and the name of its
// repository; about is nil if the repository is not known.
func toldPurge(ctx context.Context, t *tx, id string) (p ledger.Purge, told ledger.EventKind, about []string, err error) {
	var owner, name string
	p, err = scanPurge(withMore{t.row(ctx, `SELECT `+purgeColumns+`, told,
			COALESCE((SELECT owner FROM repo WHERE repo.id = repo_id), ''), COALESCE((SELECT name FROM repo WHERE repo.id = repo_id), '')
		FROM purge WHERE id = $1`, id), []any{&told, &owner, &name}})
	p.Unmatched = nil // there may be very many
	if owner != "" {
		about = []string{owner + "/" + name}
	}
	return p, told, about, err
}

// tellFresh tells that pages are fresh again, where an earlier purge of the environment
// left some stale. Several such purges are one event, of the last that the update
// returns.
func (s *Store) tellFresh(ctx context.Context, t *tx, p ledger.Purge, about []string) error {
	subject, place := "", int64(0)
	if err := t.each(ctx, func(r row) error { return r.Scan(&subject, &place) },
		`UPDATE purge SET told = 'mended' WHERE env_id = $1 AND env_id <> '' AND told = 'stale'
			AND seq < (SELECT o.seq FROM purge o WHERE o.id = $2) RETURNING id, version + 1`, p.EnvID, p.ID); err != nil || subject == "" {
		return err
	}
	return s.tell(ctx, t, ledger.Event{Kind: ledger.EventMended, Repositories: about, Purge: &p}, subject, place)
}

// tellPause tells that a pause began or ended. by is who resumed; "": its time was over.
// The event names the repositories that the pause's glob matches, and the glob itself: it
// may match a repository that is not known yet.
func (s *Store) tellPause(ctx context.Context, t *tx, kind ledger.EventKind, p Paused, by string) error {
	if len(s.receivers()) == 0 {
		return nil
	}
	var about []string
	if p.Repositories != "" {
		about = []string{p.Repositories} // as it is written, for a repository that is not known yet
		if err := t.each(ctx, func(r row) error {
			var owner, name string
			err := r.Scan(&owner, &name)
			if full := owner + "/" + name; p.In(full) {
				about = append(about, full)
			}
			return err
		}, `SELECT owner, name FROM repo ORDER BY id`); err != nil {
			return err
		}
	}
	// A pause ends after it began, so its two events have the places 0 and 1.
	place := int64(0)
	if kind == ledger.EventResumed {
		place = 1
	}
	return s.tell(ctx, t, ledger.Event{
		Kind: kind, Repositories: about, Pause: &p.Pause, Waiting: &ledger.PauseWaiting{Purges: p.Purges, Objects: p.Objects}, By: by,
	}, "pause/"+strconv.FormatInt(p.ID, 10), place)
}

// ClaimNotice takes what a receiver is to be told next, for the length of a lease. Only
// the first event of each subject can be told; of those it takes the one with the fewest
// tries, so that an event that the receiver does not take does not hold up the others.
// ErrNotFound: there is nothing to tell, or another process tells this receiver. Events
// that are too old are dropped and counted first.
func (s *Store) ClaimNotice(ctx context.Context, receiver string, lease time.Duration) (n Notice, err error) {
	none := false
	err = s.write(ctx, func(t *tx) error {
		// Set anew: the transaction may run more than once.
		n, none = Notice{Receiver: receiver}, false
		if err := s.lockRow(ctx, t, "receiver", "id", receiver); err != nil {
			return err
		}
		now := s.now()
		old, err := t.exec(ctx, `DELETE FROM notice WHERE receiver = $1 AND at <= $2`, receiver, ms(now.Add(-noticeKept)))
		if err != nil {
			return err
		}
		var next int64
		if err := t.row(ctx, `UPDATE receiver SET dropped = dropped + $4 WHERE id = $1 AND (lease_until <= $2 OR lease_until > $3)
			RETURNING next_at, tries, dropped, fence + 1`, receiver, ms(now), ms(now.Add(lease+skew)), old).
			Scan(&next, &n.Failures, &n.Missed, &n.fence); err != nil {
			return missing(err)
		}
		var text string
		var own int64
		err = t.row(ctx, `SELECT id, event, tries + 1, next_at FROM notice n WHERE receiver = $1 AND NOT EXISTS
				(SELECT 1 FROM notice e WHERE e.receiver = n.receiver AND e.subject = n.subject AND (e.place < n.place OR e.place = n.place AND e.id < n.id))
			ORDER BY CASE WHEN next_at <= $2 THEN 0 ELSE 1 END, tries, id LIMIT 1`, receiver, ms(now)).
			Scan(&n.ID, &text, &n.Attempt, &own)
		if none = errors.Is(missing(err), ErrNotFound); none {
			return nil // what is too old is gone, and counted
		}
		if err != nil {
			return err
		}
		// Too early: the receiver's row says until when, so that the sweep wakes it then
		// and not before.
		if next = max(next, own); next > ms(now) {
			n.Wait = time.Duration(next-ms(now)) * time.Millisecond
			_, err := t.exec(ctx, `UPDATE receiver SET next_at = $2 WHERE id = $1`, receiver, next)
			return err
		}
		if _, err := t.exec(ctx, `UPDATE receiver SET lease_until = $2, fence = $3 WHERE id = $1`, receiver, ms(now.Add(lease)), n.fence); err != nil {
			return err
		}
		// The try counts from the claim on: if the process dies after the POST, the next
		// attempt says that the receiver may know the event already.
		if _, err := t.exec(ctx, `UPDATE notice SET tries = $3 WHERE receiver = $1 AND id = $2`, receiver, n.ID, n.Attempt); err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &n.Event) //nolint:musttag // as tell wrote it
	})
	if err == nil && none {
		err = ErrNotFound
	}
	if err != nil {
		return n, fmt.Errorf("claim a notice: %w", err)
	}
	return n, nil
}

// Told settles a claimed notice that its receiver took. It subtracts what this notice
// told of missed events, not all: more may have been dropped since the claim.
func (s *Store) Told(ctx context.Context, n Notice) error {
	return s.settleNotice(ctx, n, `next_at = 0, tries = 0, dropped = dropped - $3`, int64(n.Missed), func(t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM notice WHERE receiver = $1 AND id = $2`, n.Receiver, n.ID)
		t.enqueue(NotifyJob{Receiver: n.Receiver}) // there may be more
		return err
	})
}

// NotTold gives a claimed notice back, to be tried again after a time. Until then the
// receiver is told nothing else.
func (s *Store) NotTold(ctx context.Context, n Notice, after time.Duration) error {
	next := s.later(after)
	return s.settleNotice(ctx, n, `tries = tries + 1, next_at = $3`, next, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE notice SET next_at = $3 WHERE receiver = $1 AND id = $2`, n.Receiver, n.ID, next)
		return err
	})
}

// settleNotice ends a claim if it is still ours, by the fence, and then does the rest.
// set may use $3, which is arg.
func (s *Store) settleNotice(ctx context.Context, n Notice, set string, arg int64, then func(*tx) error) error {
	err := s.writeSoon(ctx, func(t *tx) error {
		ours, err := t.exec(ctx, `UPDATE receiver SET lease_until = 0, rung_at = 0, `+set+` WHERE id = $1 AND fence = $2`, n.Receiver, n.fence, arg)
		if err != nil || ours == 0 {
			return err
		}
		return then(t)
	})
	if err != nil {
		return fmt.Errorf("settle notice %s: %w", n.ID, err)
	}
	return nil
}

// Hearings tells what is known of each installation's webhooks, by the deliveries that
// Prune has kept. LAG gives the gap to the delivery before, for the longest silence.
func (s *Reader) Hearings(ctx context.Context) (all []ledger.Hearing, err error) {
	err = s.read(ctx, func(t *tx) error {
		all = nil
		return t.each(ctx, func(r row) error {
			var h ledger.Hearing
			var first, last, longest int64
			err := r.Scan(&h.Installation, &h.Webhooks, &first, &last, &longest, &h.Told)
			h.First, h.Last, h.Longest = when(first), when(last), time.Duration(longest)*time.Millisecond
			all = append(all, h)
			return err
		}, `SELECT installation, COUNT(*), MIN(at), MAX(at), COALESCE(MAX(gap), 0),
				EXISTS (SELECT 1 FROM hearing h WHERE h.installation = g.installation AND h.silent > 0)
			FROM (SELECT r.installation, d.received_at AS at,
					d.received_at - LAG(d.received_at) OVER (PARTITION BY r.installation ORDER BY d.received_at) AS gap
				FROM delivery d JOIN repo r ON r.id = d.repo_id WHERE r.gone = '') g
			GROUP BY installation ORDER BY installation`)
	})
	if err != nil {
		return nil, fmt.Errorf("read how webhooks come: %w", err)
	}
	return all, nil
}

// Silent notes whether an installation's webhooks stay away, and tells it if that is new.
func (s *Store) Silent(ctx context.Context, silence ledger.Silence, silent bool) error {
	return s.write(ctx, func(t *tx) error { return s.tellHearing(ctx, t, "silent", silence, silent) })
}

// Failing notes for which installations GitHub's list shows webhooks that did not arrive,
// and how many, and tells it if that is new. It is over when the installation has no such
// webhook in the list and a webhook has arrived since.
func (s *Store) Failing(ctx context.Context, failing map[int64]int) error {
	if len(s.receivers()) == 0 {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		for installation, n := range failing {
			if err := s.tellHearing(ctx, t, "failing", ledger.Silence{Installation: installation, Failed: n}, true); err != nil {
				return err
			}
		}
		var over []int64
		if err := t.each(ctx, func(r row) error {
			var installation int64
			err := r.Scan(&installation)
			if failing[installation] == 0 {
				over = append(over, installation)
			}
			return err
		}, `SELECT installation FROM hearing h WHERE failing > 0 AND EXISTS (SELECT 1 FROM delivery d JOIN repo r ON r.id = d.repo_id
			WHERE r.installation = h.installation AND d.received_at > h.failing)`); err != nil {
			return err
		}
		for _, installation := range over {
			if err := s.tellHearing(ctx, t, "failing", ledger.Silence{Installation: installation}, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// tellHearing notes since when an installation's webhooks are silent or failing, in the
// column of that name. It tells it once when that begins and once when it ends: only the
// replica whose UPDATE changes the row tells it. CAST gives PostgreSQL the parameter's
// type.
func (s *Store) tellHearing(ctx context.Context, t *tx, column string, silence ledger.Silence, unheard bool) error {
	if len(s.receivers()) == 0 {
		return nil
	}
	now, e := ms(s.now()), ledger.Event{Kind: ledger.EventMended, Silence: &silence}
	since := int64(0)
	if unheard {
		since, e.Kind = now, ledger.EventUnheard
	}
	if _, err := t.exec(ctx, `INSERT INTO hearing (installation) VALUES ($1) ON CONFLICT (installation) DO NOTHING`, silence.Installation); err != nil {
		return err
	}
	n, err := t.exec(ctx, `UPDATE hearing SET `+column+` = $2 WHERE installation = $1 AND (`+column+` > 0) <> (CAST($2 AS BIGINT) > 0)`, silence.Installation, since)
	if err != nil || n == 0 {
		return err
	}
	if err := t.each(ctx, func(r row) error {
		var owner, name string
		err := r.Scan(&owner, &name)
		silence.Account = owner
		e.Repositories = append(e.Repositories, owner+"/"+name)
		return err
	}, `SELECT owner, name FROM repo WHERE installation = $1 AND gone = '' ORDER BY id`, silence.Installation); err != nil {
		return err
	}
	return s.tell(ctx, t, e, "installation/"+strconv.FormatInt(silence.Installation, 10), now)
}
