package store

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// Takeover frees what an earlier process of this SQLite file left claimed: it
// is gone, since there is one process a file. On PostgreSQL it does nothing;
// there the leases run out.
func (s *Store) Takeover(ctx context.Context) error {
	if s.name() != "sqlite" {
		return nil
	}
	err := s.write(ctx, func(t *tx) error {
		for _, q := range []string{
			`UPDATE request SET lease_until = 0 WHERE state = 'sending'`,
			`UPDATE post SET lease_until = 0`,
			`DELETE FROM target WHERE purge_id IN (SELECT id FROM purge WHERE state = 'planning')`,
			`DELETE FROM purge WHERE state = 'planning'`,
			// River would rescue them after a time; nobody works on them now.
			`UPDATE river_job SET state = 'available' WHERE state = 'running'`,
		} {
			if _, err := t.exec(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take over the database: %w", err)
	}
	return nil
}

// sweepAtOnce bounds what one sweep rings for.
const sweepAtOnce = 500

// unheard is how long a doorbell may stay unanswered before it is rung again.
const unheard = 30 * time.Second

// Sweep rings for whatever is due and whose doorbell may have been lost. It
// costs a few indexed reads; where nothing is due it writes nothing.
func (s *Store) Sweep(ctx context.Context) error {
	now := s.now()
	late := ms(now.Add(-unheard))
	var found []river.JobArgs
	err := s.read(ctx, func(t *tx) error {
		for _, q := range []struct {
			query string
			args  []any
			job   func(string) river.JobArgs
		}{
			{`SELECT guid FROM delivery WHERE handled_at = 0 AND received_at < $1 ORDER BY received_at LIMIT $2`,
				[]any{late, sweepAtOnce}, func(id string) river.JobArgs { return HandleJob{GUID: id} }},
			{`SELECT id FROM environment WHERE (desired_sha <> live_sha OR desired_deploy <> live_deploy OR desired_status <> live_status)
				AND desired_sha <> '' AND fault = '' AND due_at <= $1 AND desired_at < $1 LIMIT $2`,
				[]any{late, sweepAtOnce}, func(id string) river.JobArgs { return ReconcileJob{EnvID: id} }},
			{`SELECT DISTINCT kind FROM request WHERE (state = 'ready' AND next_at <= $1) OR (state = 'sending' AND lease_until <= $1) LIMIT $2`,
				[]any{ms(now), sweepAtOnce}, func(id string) river.JobArgs { return PurgeJob{Objects: id} }},
			{`SELECT DISTINCT t.kind FROM target t JOIN purge p ON p.id = t.purge_id
				WHERE t.state = 'waiting' AND p.state = 'open' LIMIT $1`,
				[]any{sweepAtOnce}, func(id string) river.JobArgs { return PurgeJob{Objects: id} }},
			{`SELECT surface FROM post WHERE version > posted_version AND next_at <= $1 AND lease_until <= $1 LIMIT $2`,
				[]any{late, sweepAtOnce}, func(id string) river.JobArgs { return ReportJob{Surface: id} }},
		} {
			if err := t.each(ctx, func(r row) error {
				var id string
				err := r.Scan(&id)
				found = append(found, q.job(id))
				return err
			}, q.query, q.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		for _, job := range found {
			t.rings(job)
		}
		return nil
	})
}
