package store

import (
	"context"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// overtaken notes a success that another one overtook before its purge was
// planned.
func (s *Store) overtaken(ctx context.Context, t *tx, env string, p ledger.Point) error {
	_, err := t.exec(ctx, `INSERT INTO served (env_id, sha, deploy_id, status_id, at) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (env_id, sha) DO UPDATE SET deploy_id = excluded.deploy_id, status_id = excluded.status_id, at = excluded.at
		WHERE served.at < excluded.at OR (served.at = excluded.at AND served.status_id < excluded.status_id)`,
		env, p.SHA, p.Deploy, p.Status, ms(p.At))
	return err
}

// Served reads a commit that was deployed to an environment and overtaken
// before its purge was planned, the oldest first. Caches may hold what it
// served even where the commits before and after it are the same. ErrNotFound:
// there is none.
func (s *Store) Served(ctx context.Context, env string) (p ledger.Point, err error) {
	err = s.read(ctx, func(t *tx) error {
		var at int64
		err := t.row(ctx, `SELECT sha, deploy_id, status_id, at FROM served WHERE env_id = $1 ORDER BY at, status_id LIMIT 1`, env).
			Scan(&p.SHA, &p.Deploy, &p.Status, &at)
		p.At = when(at)
		return missing(err)
	})
	return p, err
}

// forgetServed forgets the commit that a move is about, unless it was noted
// meanwhile that the commit served once more, and rings for what is left.
func (s *Store) forgetServed(ctx context.Context, t *tx, m Move) error {
	_, err := t.exec(ctx, `DELETE FROM served WHERE env_id = $1 AND (sha = $5
		OR (sha = $2 AND (at < $3 OR (at = $3 AND status_id <= $4))))`,
		m.Env.ID, m.Served.SHA, ms(m.Served.At), m.Served.Status, m.To.SHA)
	if err != nil {
		return err
	}
	left, err := t.has(ctx, `SELECT 1 FROM served WHERE env_id = $1`, m.Env.ID)
	if left {
		t.rings(ReconcileJob{EnvID: m.Env.ID})
	}
	return err
}

// An Object is what a target purges, and how.
type Object struct {
	Kind   mapping.Kind
	Name   string
	Action mapping.Action
}

// PurgedSince reads the objects of an environment's purges for what GitHub
// recorded after a point, whatever became of them.
func (s *Store) PurgedSince(ctx context.Context, env string, since ledger.Point) (objects map[Object]bool, err error) {
	objects = map[Object]bool{}
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var o Object
			err := r.Scan(&o.Kind, &o.Name, &o.Action)
			objects[o] = true
			return err
		}, `SELECT kind, object, action FROM target WHERE purge_id IN (SELECT id FROM purge
			WHERE env_id = $1 AND state <> 'planning' AND cause <> $2 AND (to_at > $3 OR (to_at = $3 AND to_status > $4)))`,
			env, string(ledger.CauseComment), ms(since.At), since.Status)
	})
	return objects, err
}
