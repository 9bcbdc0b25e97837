package store

import (
	"context"
	"fmt"
	"time"
)

// SetAside is a delivery whose handling failed in a way that may come from the
// delivery itself, too often: nobody works on it until it is replayed.
type SetAside struct {
	GUID       string
	Event      string
	Repository string // OWNER/NAME; "": of none, or one that nothing else is known of
	ReceivedAt time.Time
	Reason     string
}

// OutcomeSetAside is the outcome of such a delivery, and of the command that
// it asked for.
const OutcomeSetAside = "set aside"

// Whose gives whom a delivery is from: the repository, and the person where it
// asks for something; 0 is nobody. lost is as in [Attempts]. One that is not
// there is nobody's.
func (s *Reader) Whose(ctx context.Context, guid string) (repo, person int64, lost int, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error { return r.Scan(&repo, &person, &lost) }, `SELECT repo_id, person, begun FROM delivery WHERE guid = $1`, guid)
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("read delivery %s: %w", guid, err)
	}
	return repo, person, lost, nil
}

// Attempts are the handlings of a delivery that may have gone wrong because of
// the delivery itself.
type Attempts struct {
	Failed int // ran out of time, or panicked
	Lost   int // began and did not come back: the process ended meanwhile
}

// TakeDelivery reads a delivery that is to be handled, and notes beforehand that a
// handling begins: what ends the process leaves no other trace. back is how many
// handlings came back that could not be put back. ErrNotFound: it is not there, or
// handled already.
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

// PutBack notes that a handling came back without an end, and gives how many
// went wrong by now.
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

// SetAside closes a delivery that can't be handled in any sane time.
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

// anew has a delivery that was set aside handled again, where $1 is now and $2
// what freshWake says.
const anew = `UPDATE delivery SET handled_at = 0, outcome = '', set_aside = '', timeouts = 0, begun = 0, tries = 0, next_at = $1, rung_at = $2
	WHERE set_aside <> '' AND guid `

// Replay has a delivery that was set aside handled anew; a command that it
// asked for may be answered once more. ErrNothing: it is not set aside.
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

// DeliveriesSetAside lists them, the newest first, at most so many, and gives
// how many there are.
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
