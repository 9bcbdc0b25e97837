package store

import (
	"context"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// FailedPurge is a purge that has refused targets.
type FailedPurge struct {
	ledger.Purge
	Repository string // OWNER/NAME, as last heard of
}

// Failed lists purges that a retry may free targets of, in the order of their ids, those
// after an id, at most limit of them. They are still open, or ended at since or later. A
// target that was refused since then belongs to one of them.
func (s *Reader) Failed(ctx context.Context, since time.Time, after string, limit int) (purges []FailedPurge, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var owner, name string
			p, err := scanPurge(withMore{r, []any{&owner, &name}})
			purges = append(purges, FailedPurge{Purge: p, Repository: owner + "/" + name})
			return err
		}, `SELECT `+purgeColumns+`,
				COALESCE((SELECT owner FROM repo WHERE repo.id = repo_id), ''), COALESCE((SELECT name FROM repo WHERE repo.id = repo_id), '')
			FROM purge WHERE `+Retry.applies()+` AND id > $1 AND (state = 'open' OR done_at >= $2)
			ORDER BY id LIMIT $3`, after, ms(since), limit)
	})
	if err != nil {
		return nil, fmt.Errorf("list purges with refused objects: %w", err)
	}
	return purges, nil
}

// Refused calls tell with each reason for which targets of a purge were refused, as the
// targets keep it, and with how many they are. The order is undefined. Akamai's reasons
// name an object, so there may be as many reasons as targets: that is why it does not
// return them all.
func (s *Reader) Refused(ctx context.Context, purge string, tell func(reason string, n int)) error {
	err := s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var reason string
			var n int
			if err := r.Scan(&reason, &n); err != nil {
				return err
			}
			tell(reason, n)
			return nil
		}, `SELECT reason, COUNT(*) FROM target WHERE purge_id = $1 AND state = 'failed' GROUP BY reason`, purge)
	})
	if err != nil {
		return fmt.Errorf("count the refused objects of purge %s: %w", purge, err)
	}
	return nil
}
