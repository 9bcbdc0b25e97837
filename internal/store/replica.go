package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// silence is how long a replica's heart may stand still before the others wake
// again what it had taken: with the sweep's interval, shorter than
// a lease.
const silence = 9 * time.Second

// replicas is what this process knows of those beside it.
type replicas struct {
	id   string       // this one's
	lead atomic.Int64 // see follow

	mu   sync.Mutex
	seen map[string]heart
}

// follow notes how far the clocks of the replicas are ahead of the database's:
// all go by the one that is ahead, as far as clocks may differ. A lease that one
// of them took would be over at once by the clock of another.
func (r *replicas) follow(ahead map[string]int64) {
	lead := int64(0)
	for _, other := range ahead {
		if d := other - ahead[r.id]; d <= skew.Milliseconds() {
			lead = max(lead, d)
		}
	}
	r.lead.Store(lead)
}

// Now is the time by which all replicas go.
func (s *Store) Now() time.Time { return s.now() }

// heart is the beat of another replica, and since when it stands still by this
// one's clock: theirs may differ.
type heart struct {
	beat  int64
	since time.Time
}

// still notes the beats of this moment, and gives the replicas that fell silent.
func (r *replicas) still(beats map[string]int64, now time.Time) (silent []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]heart{}
	for id, beat := range beats {
		h, known := r.seen[id]
		if !known || h.beat != beat {
			h = heart{beat, now}
		}
		seen[id] = h
		if id != r.id && now.Sub(h.since) >= silence {
			silent = append(silent, id)
		}
	}
	r.seen = seen
	return silent
}

// sweepReplicas tells the other replicas that this one lives. Where one of them
// died, the jobs that it took with it are forgotten, so that the sweep
// wakes all that is due. It passes over rows that others hold, and so waits for
// nobody while it holds some: two replicas that took each other for dead would
// wait for each other. A row passed over is being changed, which wakes its job;
// if not, its job counts as lost after wakeAgain.
// A SQLite file has one process, see Takeover.
func (s *Store) sweepReplicas(ctx context.Context) error {
	if s.name() == "sqlite" {
		return nil
	}
	err := s.writeSoon(ctx, func(t *tx) error {
		now := s.own()
		if _, err := t.exec(ctx, `INSERT INTO replica (id, beat, ahead) VALUES ($1, 1, $2 - CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT))
			ON CONFLICT (id) DO UPDATE SET beat = replica.beat + 1, ahead = excluded.ahead`, s.replicas.id, ms(now)); err != nil {
			return err
		}
		beats, ahead := map[string]int64{}, map[string]int64{}
		if err := t.each(ctx, func(r row) error {
			var id string
			var beat, by int64
			err := r.Scan(&id, &beat, &by)
			beats[id], ahead[id] = beat, by
			return err
		}, `SELECT id, beat, ahead FROM replica`); err != nil {
			return err
		}
		s.replicas.follow(ahead)
		var dead int64
		for _, id := range s.replicas.still(beats, now) {
			n, err := t.exec(ctx, `DELETE FROM replica WHERE id IN (SELECT id FROM replica
				WHERE id = $1 AND beat = $2`+s.skipLocked()+`)`, id, beats[id])
			if err != nil {
				return err
			}
			dead += n // 0: somebody else saw it first
		}
		if dead == 0 {
			return nil
		}
		return t.execs(ctx,
			`UPDATE delivery SET rung_at = 0 WHERE guid IN (SELECT guid FROM delivery
				WHERE handled_at = 0 AND rung_at > 0`+s.skipLocked()+`)`,
			`UPDATE environment SET rung_at = 0 WHERE id IN (SELECT id FROM environment
				WHERE rung_at > 0`+s.skipLocked()+`)`,
			`UPDATE post SET rung_at = 0 WHERE surface IN (SELECT surface FROM post
				WHERE version > posted_version AND rung_at > 0`+s.skipLocked()+`)`,
		)
	})
	if err != nil {
		return fmt.Errorf("sweep replicas: %w", err)
	}
	return nil
}
