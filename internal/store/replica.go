package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// silence is how long a replica's beat may stand still before the others wake again what
// it had taken. With the sweep's interval added it is shorter than a lease.
const silence = 9 * time.Second

// replicas is what this process knows of the processes beside it.
type replicas struct {
	id   string       // this process's own
	lead atomic.Int64 // milliseconds that the time of all replicas is ahead of this process's clock, see follow

	mu   sync.Mutex
	seen map[string]heart // by id; guarded by mu
}

// follow takes how far the replicas' clocks are ahead of the database's, in milliseconds.
// All replicas go by the clock that is furthest ahead, within skew. Otherwise a lease
// that one of them took could be over at once by another's clock.
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

// heart is the beat of another replica, and since when it has stood still by this
// process's own clock: the other's clock may differ.
type heart struct {
	beat  int64
	since time.Time
}

// still notes the current beats and returns the replicas that fell silent. It needs two
// calls at least to find one: the first only begins to count.
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

// sweepReplicas tells the other replicas that this one lives. When one of them has died,
// it forgets the jobs that it took along (rung_at = 0), so that the sweep wakes all that
// is due.
//
// It passes over rows that others have locked, and so waits for nobody while it holds
// locks: two replicas that took each other for dead would otherwise wait for each other.
// A row that is passed over is being changed, which wakes its job; if not, its job counts
// as lost after wakeAgain. A SQLite file has one process, see Takeover.
func (s *Store) sweepReplicas(ctx context.Context) error {
	if s.name() == "sqlite" {
		return nil
	}
	err := s.writeSoon(ctx, func(t *tx) error {
		now := s.ownClock()
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
			dead += n // 0: another replica saw it first, or its beat moved
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
			`UPDATE proof SET rung_at = 0 WHERE purge_id IN (SELECT purge_id FROM proof
				WHERE state <> 'done' AND rung_at > 0`+s.skipLocked()+`)`,
			`UPDATE receiver SET rung_at = 0 WHERE id IN (SELECT id FROM receiver
				WHERE rung_at > 0`+s.skipLocked()+`)`,
		)
	})
	if err != nil {
		return fmt.Errorf("sweep replicas: %w", err)
	}
	return nil
}
