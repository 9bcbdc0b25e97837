package store

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// Takeover makes this process the one that works on a SQLite file, and frees
// what an earlier one left claimed. It fails if another process works on the
// file. On PostgreSQL it does nothing: there are replicas, and leases run out.
func (s *Store) Takeover(ctx context.Context) error {
	if s.name() != "sqlite" {
		return nil
	}
	if err := s.lock(); err != nil {
		return err
	}
	err := s.write(ctx, func(t *tx) error {
		return t.execs(ctx,
			`UPDATE request SET lease_until = 0 WHERE state = 'sending'`,
			`UPDATE post SET lease_until = 0`,
			`DELETE FROM target WHERE purge_id IN (SELECT id FROM purge WHERE state = 'planning')`,
			`DELETE FROM purge WHERE state = 'planning'`,
			`UPDATE delivery SET next_at = 0, rung_at = 0 WHERE handled_at = 0`,
			`UPDATE environment SET next_at = 0, rung_at = 0`,
			`UPDATE chore SET lease_until = 0`,
			// River would rescue them after a time; nobody works on them now.
			`UPDATE river_job SET state = 'available' WHERE state = 'running'`,
		)
	})
	if err != nil {
		return fmt.Errorf("take over the database: %w", err)
	}
	return nil
}

const (
	// sweepAtOnce bounds what one sweep rings for.
	sweepAtOnce = 500

	// unheard is how long a doorbell may stay unanswered before it is rung
	// again, and ringAgain how long after that once more: bells that wait in
	// a long line must not multiply.
	unheard   = 8 * time.Second
	ringAgain = time.Minute
)

// due is something that a doorbell should have rung for, as one query says
// it. In each, $1 is now, $2 now less unheard, $3 now less ringAgain.
type due struct {
	table, id, where string
	job              func(id string) river.JobArgs
}

// present leaves out what is about a repository that is gone: it is taken up
// again when that comes back.
const present = ` AND repo_id NOT IN (SELECT id FROM repo WHERE gone <> '')`

// owed is where an environment's purge is still to be planned, and may be:
// another commit or deployment is desired than is live, or an overtaken one
// served what is not purged yet.
const owed = `desired_sha <> '' AND fault = ''
	AND (desired_sha <> live_sha OR desired_deploy <> live_deploy OR desired_status <> live_status
		OR EXISTS (SELECT 1 FROM served WHERE served.env_id = environment.id))` + present

func dues() []due {
	return []due{
		{
			"delivery", "guid", `handled_at = 0 AND next_at <= $2 AND CAST($1 AS BIGINT) > 0`,
			func(id string) river.JobArgs { return HandleJob{GUID: id} },
		},
		{
			"environment", "id", `due_at <= $1 AND next_at <= $2 AND desired_at <= $2 AND ` + owed,
			func(id string) river.JobArgs { return ReconcileJob{EnvID: id} },
		},
		{
			"post", "surface", `version > posted_version AND next_at <= $1 AND lease_until <= $1 AND CAST($2 AS BIGINT) > 0` + present,
			func(id string) river.JobArgs { return ReportJob{Surface: id} },
		},
	}
}

// Sweep rings for whatever is due and whose doorbell was lost, or was told to
// come later. It costs a few indexed reads; where nothing is due it writes
// nothing.
func (s *Store) Sweep(ctx context.Context) error {
	now := s.now()
	if err := s.sweepReplicas(ctx, now); err != nil {
		return err
	}
	times := []any{ms(now), ms(now.Add(-unheard)), ms(now.Add(-ringAgain))}
	for _, d := range dues() {
		where := ` WHERE ` + d.where + ` AND rung_at <= $3`
		found, err := s.has(ctx, `SELECT 1 FROM `+d.table+where, times...)
		if err == nil && found {
			err = s.writeSoon(ctx, func(t *tx) error {
				return t.each(ctx, func(r row) error {
					var id string
					err := r.Scan(&id)
					t.rings(d.job(id))
					return err
				}, `UPDATE `+d.table+` SET rung_at = $1 WHERE `+d.id+` IN (SELECT `+d.id+` FROM `+d.table+where+` LIMIT $4) RETURNING `+d.id,
					append(times, sweepAtOnce)...)
			})
		}
		if err != nil {
			return fmt.Errorf("sweep %s: %w", d.table, err)
		}
	}
	if err := s.sweepQueue(ctx, now); err != nil {
		return err
	}
	return s.pruneJobs(ctx)
}

// sweepQueue rings for each kind of object that may be sent now.
func (s *Store) sweepQueue(ctx context.Context, now time.Time) error {
	var kinds []string
	err := s.read(ctx, func(t *tx) (err error) {
		kinds, err = t.texts(ctx, `SELECT k.kind FROM (SELECT 'url' AS kind UNION ALL SELECT 'tag' UNION ALL SELECT 'cpcode') k
			WHERE NOT EXISTS (SELECT 1 FROM budget WHERE bucket = 'requests' AND paused_until > $1)
			AND (EXISTS (SELECT 1 FROM request r WHERE r.kind = k.kind AND r.state IN ('ready', 'sending')
					AND ((r.state = 'ready' AND r.next_at <= $1) OR (r.state = 'sending' AND r.lease_until <= $1)))
				OR EXISTS (SELECT 1 FROM purge p WHERE p.state = 'open' AND EXISTS
					(SELECT 1 FROM target t WHERE t.purge_id = p.id AND t.kind = k.kind AND t.state = 'waiting')))`, ms(now))
		return err
	})
	if err == nil && len(kinds) > 0 {
		err = s.writeSoon(ctx, func(t *tx) error {
			for _, kind := range kinds {
				t.rings(PurgeJob{Objects: kind})
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("sweep queue: %w", err)
	}
	return nil
}

// Defer puts off a delivery or an environment that could not be worked on
// now, by a growing pause; the sweep rings for it then. It gives the pause.
func (s *Store) Defer(ctx context.Context, job river.JobArgs, pause func(tries int) time.Duration) (after time.Duration, err error) {
	table, column, id := "", "", ""
	switch job := job.(type) {
	case HandleJob:
		table, column, id = "delivery", "guid", job.GUID
	case ReconcileJob:
		table, column, id = "environment", "id", job.EnvID
	default:
		return 0, fmt.Errorf("can't defer a %s job", job.Kind())
	}
	err = s.writeSoon(ctx, func(t *tx) error {
		var tries int
		if err := t.row(ctx, `UPDATE `+table+` SET tries = tries + 1 WHERE `+column+` = $1 RETURNING tries`, id).Scan(&tries); err != nil {
			return missing(err)
		}
		after = pause(tries)
		_, err := t.exec(ctx, `UPDATE `+table+` SET next_at = $2, rung_at = 0 WHERE `+column+` = $1`, id, ms(s.now().Add(after-unheard)))
		return err
	})
	return after, err
}
