package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/riverqueue/river"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// Takeover makes this process the one that works on a SQLite file, and frees what an
// earlier process left claimed. It fails if another process works on the file. On
// PostgreSQL it does nothing: there are other replicas, whose claims must stand, and
// leases run out.
//
// Call it before jobs are worked: it frees this process's own claims as well.
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
			`UPDATE proof SET lease_until = 0 WHERE state <> 'done'`,
			`UPDATE delivery SET next_at = 0, rung_at = 0 WHERE handled_at = 0`,
			`UPDATE environment SET next_at = 0, rung_at = 0`,
			`UPDATE chore SET lease_until = 0`,
			`UPDATE receiver SET lease_until = 0`,
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
	// sweepAtOnce is how many rows of one table a sweep wakes at most.
	sweepAtOnce = 500

	// unheard is how long a job may stay untaken before it is enqueued again. wakeAgain
	// is how long after that it is enqueued once more: jobs that wait in a long line must
	// not multiply.
	unheard   = 8 * time.Second
	wakeAgain = time.Minute
)

// freshWake is the rung_at of a row whose job was enqueued just now: if nobody takes the
// job, the sweep wakes it again after unheard.
func freshWake(now time.Time) int64 { return ms(now.Add(unheard - wakeAgain)) }

// due is one kind of work that a job should have taken. where is its condition: $1 is
// now, $2 is now less unheard, $3 (which Sweep adds) is now less wakeAgain. Every
// condition names $1 and $2, if only in a term that is always true: PostgreSQL must be
// able to give each parameter a type.
type due struct {
	table, id, where string
	job              func(id string) river.JobArgs
}

// present leaves out rows of repositories that are gone. Their work goes on when they
// come back.
const present = ` AND repo_id NOT IN (SELECT id FROM repo WHERE gone <> '')`

// owed is the condition of an environment whose purge is still to be planned and may be:
// the desired commit or deployment is not the live one, or an overtaken commit served
// something that is not purged yet.
const owed = `desired_sha <> '' AND fault = ''
	AND (desired_sha <> live_sha OR desired_deploy <> live_deploy OR desired_status <> live_status OR desired_at <> live_at
		OR EXISTS (SELECT 1 FROM served WHERE served.env_id = environment.id))` + present

// dues lists them. ahead is how far GitHub's clock, by which environments fall due, is
// ahead of ours.
//
// Deliveries and environments have no lease that would show a job at work, so they are
// due only unheard after next_at. The others have a lease, and are due at next_at.
func dues(ahead time.Duration) []due {
	return []due{
		{
			"delivery", "guid", `handled_at = 0 AND next_at <= $2 AND CAST($1 AS BIGINT) > 0`,
			func(id string) river.JobArgs { return HandleJob{GUID: id} },
		},
		{
			"environment", "id", `due_at - (` + strconv.FormatInt(ahead.Milliseconds(), 10) + `) <= $1 AND next_at <= $2 AND ` + owed,
			func(id string) river.JobArgs { return ReconcileJob{EnvID: id} },
		},
		{
			"post", "surface", `version > posted_version AND next_at <= $1 AND lease_until <= $1 AND CAST($2 AS BIGINT) > 0` + present,
			func(id string) river.JobArgs { return ReportJob{Surface: id} },
		},
		{
			"proof", "purge_id", `state <> 'done' AND next_at <= $1 AND lease_until <= $1 AND CAST($2 AS BIGINT) > 0` + present,
			func(id string) river.JobArgs { return ProveJob{PurgeID: id} },
		},
		{
			"receiver", "id", `next_at <= $1 AND lease_until <= $1 AND CAST($2 AS BIGINT) > 0 AND EXISTS (SELECT 1 FROM notice WHERE notice.receiver = receiver.id)`,
			func(id string) river.JobArgs { return NotifyJob{Receiver: id} },
		},
	}
}

// Sweep wakes whatever is due and whose job was lost, or was told to come later. Every
// replica runs it. It costs a few indexed reads; where nothing is due, it writes nothing.
//
// The replicas come first, because a dead one frees what the rest then finds due. The
// clock comes second, because a clock that was set back makes everything due.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.sweepReplicas(ctx); err != nil {
		return err
	}
	now, err := s.sweepClock(ctx)
	if err != nil {
		return err
	}
	times := []any{ms(now), ms(now.Add(-unheard)), ms(now.Add(-wakeAgain))}
	for _, d := range dues(s.ahead(now)) {
		where := ` WHERE ` + d.where + ` AND rung_at <= $3`
		// A read first: most sweeps find nothing and must not take the write lock.
		found, err := s.has(ctx, `SELECT 1 FROM `+d.table+where, times...)
		if err == nil && found {
			err = s.writeSoon(ctx, func(t *tx) error {
				return t.each(ctx, func(r row) error {
					var id string
					err := r.Scan(&id)
					t.enqueue(d.job(id))
					return err
				}, `UPDATE `+d.table+` SET rung_at = $1 WHERE `+d.id+` IN (SELECT `+d.id+` FROM `+d.table+where+` LIMIT $4`+s.skipLocked()+`) RETURNING `+d.id,
					append(times, sweepAtOnce)...)
			})
		}
		if err != nil {
			return fmt.Errorf("sweep %s: %w", d.table, err)
		}
	}
	if err := s.sweepPauses(ctx, now); err != nil {
		return err
	}
	if err := s.sweepQueue(ctx, now); err != nil {
		return err
	}
	if err := s.sweepStrays(ctx); err != nil {
		return err
	}
	if err := s.sweepCancelled(ctx); err != nil {
		return fmt.Errorf("sweep cancelled purges: %w", err)
	}
	return s.pruneJobs(ctx)
}

// sweepCancelled drops, a chunk at a time, the targets of cancelled purges that still
// wait. They count as dropped already (see fate). But as long as they wait, every query
// for waiting targets has to pass them over.
func (s *Store) sweepCancelled(ctx context.Context) error {
	var ids []string
	err := s.read(ctx, func(t *tx) (err error) {
		ids, err = t.texts(ctx, `SELECT id FROM purge p WHERE p.state = 'cancelled' AND EXISTS
			(SELECT 1 FROM target t WHERE t.purge_id = p.id AND t.state = 'waiting') LIMIT 1`)
		return err
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	return s.writeSoon(ctx, func(t *tx) error {
		_, err := t.exec(ctx, targetState().change(ledger.Drop, "", `(purge_id, seq) IN
			(SELECT purge_id, seq FROM target WHERE purge_id = $1 AND state = 'waiting' LIMIT $2)`), ids[0], chunk)
		return err
	})
}

// sweepQueue wakes, for each account, the job of each kind of object that may be sent
// now. A paused account is left alone, unless its pause lies further ahead than one ever
// may.
func (s *Store) sweepQueue(ctx context.Context, now time.Time) error {
	var jobs []PurgeJob
	most := ms(now.Add(max(purger.MaxWait, purger.MaxSendTime+leaseMargin)))
	err := s.read(ctx, func(t *tx) error {
		for _, account := range s.allAccounts() {
			kinds, err := t.texts(ctx, `SELECT k.kind FROM (SELECT 'url' AS kind UNION ALL SELECT 'tag' UNION ALL SELECT 'cpcode') k
				WHERE NOT EXISTS (SELECT 1 FROM budget WHERE bucket = $5 AND paused_until > $2 AND paused_until <= $1)
				AND (EXISTS (SELECT 1 FROM request WHERE request.kind = k.kind AND `+unsettled+` AND `+requestDue+` AND account = $6)
					OR EXISTS (SELECT 1 FROM purge p WHERE p.state = 'open' AND p.account = $6 AND EXISTS
						(SELECT 1 FROM target t WHERE t.purge_id = p.id AND t.kind = k.kind AND t.state = 'waiting')))`,
				append(append([]any{most}, dueTimes(now)...), ofAccount(requestsBucket, account), account)...)
			if err != nil {
				return err
			}
			for _, kind := range kinds {
				jobs = append(jobs, PurgeJob{Objects: kind, Account: account})
			}
		}
		return nil
	})
	if err == nil && len(jobs) > 0 {
		err = s.writeSoon(ctx, func(t *tx) error {
			for _, job := range jobs {
				t.enqueue(job)
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("sweep queue: %w", err)
	}
	return nil
}

// Defer puts off a delivery, an environment or a proof that could not be worked on now.
// The pause grows with the row's number of tries; the sweep wakes the job then. Defer
// returns the pause.
func (s *Store) Defer(ctx context.Context, job river.JobArgs, pause func(tries int) time.Duration) (after time.Duration, err error) {
	table, column, id := "", "", ""
	early := unheard // the sweep wakes deliveries and environments that long after next_at
	switch job := job.(type) {
	case HandleJob:
		table, column, id = "delivery", "guid", job.GUID
	case ReconcileJob:
		table, column, id = "environment", "id", job.EnvID
	case ProveJob:
		table, column, id, early = "proof", "purge_id", job.PurgeID, 0
	default:
		return 0, fmt.Errorf("can't defer a %s job", job.Kind())
	}
	err = s.writeSoon(ctx, func(t *tx) error {
		var tries int
		if err := t.row(ctx, `UPDATE `+table+` SET tries = tries + 1 WHERE `+column+` = $1 RETURNING tries`, id).Scan(&tries); err != nil {
			return missing(err)
		}
		after = pause(tries)
		_, err := t.exec(ctx, `UPDATE `+table+` SET next_at = $2, rung_at = 0 WHERE `+column+` = $1`, id, s.later(after-early))
		return err
	})
	return after, err
}
