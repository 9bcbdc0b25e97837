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

// Failed lists purges that a retry may free targets of, by their ids, those
// after one: such as are still open, or ended at a time or later. A target that
// was refused since that time is of one of them.
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

// Refused tells for what reasons targets of a purge were refused, each as the
// target keeps it, and how many for each, in no order. Akamai's reasons name an
// object, so that there may be as many as targets.
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
