package store

import (
	"context"
	"fmt"
	"time"
)

// SetAside is a delivery that nobody handles until it is replayed: its handling failed
// too often, in a way that the delivery itself may cause.
type SetAside struct {
	GUID       string
	Event      string
	Repository string // OWNER/NAME; "": it is of no repository, or of an unknown one
	ReceivedAt time.Time
	Reason     string // why it was set aside
}

// OutcomeSetAside is the outcome of a delivery that was set aside, and of the command
// that it asked for.
const OutcomeSetAside = "set aside"

// Whose says whom a delivery is from: the repository, and the person if it asks for
// something; 0 is nobody. lost is as in [Attempts]. A delivery that is not there is
// nobody's, without an error.
func (s *Reader) Whose(ctx context.Context, guid string) (repo, person int64, lost int, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error { return r.Scan(&repo, &person, &lost) }, `SELECT repo_id, person, begun FROM delivery WHERE guid = $1`, guid)
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("read delivery %s: %w", guid, err)
	}
	return repo, person, lost, nil
}

// Attempts counts the handlings of a delivery that may have gone wrong because of the
// delivery itself.
type Attempts struct {
	Failed int // they ran out of time or panicked
	Lost   int // they began and did not come back, because the process ended
}

// TakeDelivery reads a delivery that is to be handled. It notes beforehand that a
// handling begins: a delivery that ends the process leaves no other trace. back is how
// many handlings came back but could not be put back, because the database was away; they
// are not lost. ErrNotFound: the delivery is not there, or is handled already.
func (s *Store) TakeDelivery(ctx context.Context, guid string, back int) (d Delivery, before Attempts, err error) {
	d.GUID = guid
	err = s.writeSoon(ctx, func(t *tx) error {
		var body []byte
		var received, at int64
		if err := t.row(ctx, `UPDATE delivery SET begun = begun + 1 - $2 WHERE guid = $1 AND handled_at = 0
			RETURNING event, repo_id, person, body, received_at, at, timeouts, begun - 1`, guid, back).
			Scan(&d.Event, &d.RepoID, &d.Person, &body, &received, &at, &before.Failed, &before.Lost); err != nil {
			return missing(err)
		}
		d.ReceivedAt, d.At = when(received), when(at)
		d.Body, err = s.zstd.unpack(body)
		return err
	})
	if err != nil {
		return Delivery{}, before, fmt.Errorf("take delivery %s: %w", guid, err)
	}
	return d, before, nil
}

// PutBack notes that a handling came back without an end, failed or not. It returns how
// many handlings went wrong by now.
func (s *Store) PutBack(ctx context.Context, guid string, failed bool) (a Attempts, err error) {
	err = s.writeSoon(ctx, func(t *tx) error {
		return missing(t.row(ctx, `UPDATE delivery SET begun = begun - 1, timeouts = timeouts + $2 WHERE guid = $1 AND begun > 0
			RETURNING timeouts, begun`, guid, number(failed)).Scan(&a.Failed, &a.Lost))
	})
	if err != nil {
		return a, fmt.Errorf("put delivery %s back: %w", guid, err)
	}
	return a, nil
}

// SetAside closes a delivery that can't be handled in reasonable time. A delivery that
// was handled meanwhile stays as it is.
func (s *Store) SetAside(ctx context.Context, guid, reason string) error {
	err := s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE delivery SET handled_at = $2, outcome = $3, set_aside = $4 WHERE guid = $1 AND handled_at = 0`,
			guid, ms(s.now()), OutcomeSetAside, reason)
		return err
	})
	if err != nil {
		return fmt.Errorf("set delivery %s aside: %w", guid, err)
	}
	return nil
}

// anew makes deliveries that were set aside unhandled again; what follows it chooses
// them. $1 is now, and $2 is freshWake.
const anew = `UPDATE delivery SET handled_at = 0, outcome = '', set_aside = '', timeouts = 0, begun = 0, tries = 0, next_at = $1, rung_at = $2
	WHERE set_aside <> '' AND guid `

// Replay has a delivery that was set aside handled again. A command that it asked for may
// be answered once more. ErrNothing: it is not set aside.
func (s *Store) Replay(ctx context.Context, guid string) error {
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, anew+`= $3`, ms(s.now()), freshWake(s.now()), guid)
		if err == nil && n == 0 {
			return ErrNothing
		}
		t.enqueue(HandleJob{GUID: guid})
		return err
	})
	if err != nil {
		return fmt.Errorf("replay delivery %s: %w", guid, err)
	}
	return nil
}

// DeliveriesSetAside lists the deliveries that are set aside, the newest first, at most
// "most" of them, and returns how many there are in all.
func (s *Reader) DeliveriesSetAside(ctx context.Context, most int) (all []SetAside, count int, err error) {
	err = s.read(ctx, func(t *tx) error {
		if err := t.row(ctx, `SELECT COUNT(*) FROM delivery WHERE set_aside <> ''`).Scan(&count); err != nil || count == 0 || most == 0 {
			return err
		}
		return t.each(ctx, func(r row) error {
			var d SetAside
			var owner, name string
			var received int64
			err := r.Scan(&d.GUID, &d.Event, &d.Reason, &received, &owner, &name)
			if d.ReceivedAt = when(received); name != "" {
				d.Repository = owner + "/" + name
			}
			all = append(all, d)
			return err
		}, `SELECT d.guid, d.event, d.set_aside, d.received_at, COALESCE(r.owner, ''), COALESCE(r.name, '')
			FROM delivery d LEFT JOIN repo r ON r.id = d.repo_id WHERE d.set_aside <> '' ORDER BY d.received_at DESC LIMIT $1`, most)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list deliveries that are set aside: %w", err)
	}
	return all, count, nil
}
