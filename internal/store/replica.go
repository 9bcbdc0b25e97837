package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// silence is how long a replica's heart may stand still before the others ring
// again for what it had been rung for: with the sweep's interval, shorter than
// a lease.
const silence = 9 * time.Second

// replicas is what this process knows of those beside it.
type replicas struct {
	id string // this one's

	mu   sync.Mutex
	seen map[string]heart
}

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
// died, the doorbells that it took with it are forgotten, so that the sweep
// rings for all that is due. A SQLite file has one process, see Takeover.
func (s *Store) sweepReplicas(ctx context.Context, now time.Time) error {
	if s.name() == "sqlite" {
		return nil
	}
	err := s.writeSoon(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `INSERT INTO replica (id, beat) VALUES ($1, 1)
			ON CONFLICT (id) DO UPDATE SET beat = replica.beat + 1`, s.replicas.id); err != nil {
			return err
		}
		beats := map[string]int64{}
		if err := t.each(ctx, func(r row) error {
			var id string
			var beat int64
			err := r.Scan(&id, &beat)
			beats[id] = beat
			return err
		}, `SELECT id, beat FROM replica`); err != nil {
			return err
		}
		var dead int64
		for _, id := range s.replicas.still(beats, now) {
			n, err := t.exec(ctx, `DELETE FROM replica WHERE id = $1 AND beat = $2`, id, beats[id])
			if err != nil {
				return err
			}
			dead += n // 0: somebody else saw it first
		}
		if dead == 0 {
			return nil
		}
		return t.execs(ctx,
			`UPDATE delivery SET rung_at = 0 WHERE handled_at = 0 AND rung_at > 0`,
			`UPDATE environment SET rung_at = 0 WHERE rung_at > 0`,
			`UPDATE post SET rung_at = 0 WHERE version > posted_version AND rung_at > 0`,
		)
	})
	if err != nil {
		return fmt.Errorf("sweep replicas: %w", err)
	}
	return nil
}
