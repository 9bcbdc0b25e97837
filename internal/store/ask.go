package store

import (
	"context"
	"fmt"
	"time"
)

// Rate is how much one person may ask for in one repository: Most comments and presses of
// buttons within any time of length Within.
type Rate struct {
	Most   int
	Within time.Duration
}

// Press is a press of a button on a check run, or of "Re-run".
type Press struct {
	RepoID int64
	Person int64     // GitHub's id of the account
	GUID   string    // of the delivery that told of it
	At     time.Time // when its delivery was received
}

// MayPress notes a press and reports whether the person may ask for one more thing now. A
// press that was allowed once stays allowed when its delivery is handled again.
func (s *Store) MayPress(ctx context.Context, p Press, rate Rate) (may bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		may, err = mayAsk(ctx, t, p.RepoID, p.Person, "press/"+p.GUID, p.At, rate)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("note press %s: %w", p.GUID, err)
	}
	return may, nil
}

// mayAsk notes that a person asks for something and reports whether that is within the
// rate. It counts in both directions of time, so that the order in which facts are heard
// of does not matter. What is beyond the rate is not noted, and so does not count against
// the person.
func mayAsk(ctx context.Context, t *tx, repo, person int64, fact string, at time.Time, rate Rate) (bool, error) {
	var others int
	if err := t.row(ctx, `SELECT COUNT(*) FROM ask WHERE repo_id = $1 AND person = $2 AND at > $3 AND at < $4 AND fact <> $5`,
		repo, person, ms(at.Add(-rate.Within)), ms(at.Add(rate.Within)), fact).Scan(&others); err != nil {
		return false, err
	}
	if others >= rate.Most {
		return t.has(ctx, `SELECT 1 FROM ask WHERE repo_id = $1 AND fact = $2`, repo, fact)
	}
	_, err := t.exec(ctx, `INSERT INTO ask (repo_id, fact, person, at) VALUES ($1,$2,$3,$4) ON CONFLICT (repo_id, fact) DO NOTHING`,
		repo, fact, person, ms(at))
	return err == nil, err
}
