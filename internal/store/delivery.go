package store

import (
	"context"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Delivery is a webhook delivery as it was received.
type Delivery struct {
	GUID       string    // GitHub's id of the delivery
	Event      string    // GitHub's name of the event
	RepoID     int64     // GitHub's id of the repository that it is about; 0: of none
	Person     int64     // GitHub's id of the person who asks for something by it; 0: it asks for nothing
	Body       []byte    // JSON
	ReceivedAt time.Time // by this server's clock
	At         time.Time // the same moment by GitHub's clock; zero: not known
	HandledAt  time.Time // zero: not yet
	Outcome    string    // what became of it, for the operator; "": not handled yet
}

// Delivery reads a delivery back.
func (s *Reader) Delivery(ctx context.Context, guid string) (Delivery, error) {
	d := Delivery{GUID: guid}
	err := s.read(ctx, func(t *tx) error {
		var body []byte
		var received, at, handled int64
		err := t.row(ctx, `SELECT event, repo_id, person, body, received_at, at, handled_at, outcome FROM delivery WHERE guid = $1`, guid).
			Scan(&d.Event, &d.RepoID, &d.Person, &body, &received, &at, &handled, &d.Outcome)
		if err != nil {
			return missing(err)
		}
		d.ReceivedAt, d.At, d.HandledAt = when(received), when(at), when(handled)
		d.Body, err = s.zstd.unpack(body)
		return err
	})
	if err != nil {
		return Delivery{}, fmt.Errorf("read delivery %s: %w", guid, err)
	}
	return d, nil
}

// Handled closes a delivery. outcome says in a word or two what became of it. If a loss
// of power undoes this, the delivery is handled once more, which changes nothing.
func (s *Store) Handled(ctx context.Context, guid, outcome string) error {
	return s.writeSoon(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE delivery SET handled_at = $2, outcome = $3 WHERE guid = $1`,
			guid, ms(s.now()), outcome)
		return err
	})
}

// SeeRepository notes a repository as a delivery describes it, and returns what is known
// of it. A delivery may lack the installation or the default branch: then the known one
// stays. The earliest moment at which it was heard of stays too.
func (s *Store) SeeRepository(ctx context.Context, r ledger.Repository) (ledger.Repository, error) {
	known, err := s.Repository(ctx, r.ID)
	if err == nil && saysNothingNew(known, r) {
		return known, nil // as for nearly every delivery: no write for it
	}
	err = s.writeSoon(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO repo (id, owner, name, installation, default_branch, first_seen_at)
			VALUES ($1,$2,$3,$4,$5,$6)
			ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, name = excluded.name,
				installation = CASE WHEN excluded.installation = 0 THEN repo.installation ELSE excluded.installation END,
				default_branch = CASE WHEN excluded.default_branch = '' THEN repo.default_branch ELSE excluded.default_branch END,
				first_seen_at = CASE WHEN excluded.first_seen_at < repo.first_seen_at THEN excluded.first_seen_at ELSE repo.first_seen_at END`,
			r.ID, r.Owner, r.Name, r.Installation, r.DefaultBranch, ms(r.FirstSeen))
		if err != nil {
			return err
		}
		r, err = repository(ctx, t, r.ID)
		return err
	})
	if err != nil {
		return ledger.Repository{}, fmt.Errorf("note repository %s: %w", r.FullName(), err)
	}
	return r, nil
}

// saysNothingNew reports whether noting r would leave what is known as it is. It must
// agree with the UPDATE of SeeRepository.
func saysNothingNew(known, r ledger.Repository) bool {
	return known.Gone == "" && known.Owner == r.Owner && known.Name == r.Name &&
		(r.Installation == 0 || r.Installation == known.Installation) &&
		(r.DefaultBranch == "" || r.DefaultBranch == known.DefaultBranch) &&
		ms(r.FirstSeen) >= ms(known.FirstSeen)
}

// Repository reads a repository by GitHub's id.
func (s *Reader) Repository(ctx context.Context, id int64) (r ledger.Repository, err error) {
	err = s.read(ctx, func(t *tx) error {
		r, err = repository(ctx, t, id)
		return err
	})
	return r, err
}

// repository is Repository in a transaction.
func repository(ctx context.Context, t *tx, id int64) (ledger.Repository, error) {
	r := ledger.Repository{ID: id}
	var seen, compared int64
	err := t.row(ctx, `SELECT owner, name, installation, default_branch, first_seen_at, compared_at, gone FROM repo WHERE id = $1`, id).
		Scan(&r.Owner, &r.Name, &r.Installation, &r.DefaultBranch, &seen, &compared, &r.Gone)
	r.FirstSeen, r.Compared = when(seen), when(compared)
	if err != nil {
		return r, fmt.Errorf("read repository %d: %w", id, missing(err))
	}
	return r, nil
}
