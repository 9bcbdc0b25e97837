package store

import (
	"context"
	"hash/maphash"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// noteOvertaken notes a success that another one overtook before its purge was planned.
// Of one commit's successes the latest counts.
func (s *Store) noteOvertaken(ctx context.Context, t *tx, env string, p ledger.Point) error {
	_, err := t.exec(ctx, `INSERT INTO served (env_id, sha, deploy_id, status_id, at) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (env_id, sha) DO UPDATE SET deploy_id = excluded.deploy_id, status_id = excluded.status_id, at = excluded.at
		WHERE served.at < excluded.at OR (served.at = excluded.at AND served.status_id < excluded.status_id)`,
		env, p.SHA, p.Deploy, p.Status, ms(p.At))
	return err
}

// Overtaken reads a commit that was deployed to an environment and overtaken before its
// purge was planned; of several, the oldest. Caches may hold what it served, even where
// the commits before and after it are the same. ErrNotFound: there is none.
func (s *Reader) Overtaken(ctx context.Context, env string) (p ledger.Point, err error) {
	err = s.read(ctx, func(t *tx) error {
		var at int64
		err := t.row(ctx, `SELECT sha, deploy_id, status_id, at FROM served WHERE env_id = $1 ORDER BY at, status_id LIMIT 1`, env).
			Scan(&p.SHA, &p.Deploy, &p.Status, &at)
		p.At = when(at)
		return missing(err)
	})
	return p, err
}

// forgetOvertaken forgets the overtaken commit that a move is about, unless it was noted
// meanwhile that the commit served once more. It also forgets the commit that is live
// now: its own difference is planned. If others are left, it wakes the next plan.
func (s *Store) forgetOvertaken(ctx context.Context, t *tx, m Move) error {
	_, err := t.exec(ctx, `DELETE FROM served WHERE env_id = $1 AND (sha = $5
		OR (sha = $2 AND (at < $3 OR (at = $3 AND status_id <= $4))))`,
		m.Env.ID, m.Overtaken.SHA, ms(m.Overtaken.At), m.Overtaken.Status, m.To.SHA)
	if err != nil {
		return err
	}
	left, err := t.has(ctx, `SELECT 1 FROM served WHERE env_id = $1`, m.Env.ID)
	if left {
		t.enqueue(ReconcileJob{EnvID: m.Env.ID})
	}
	return err
}

// Purged is a set of objects that were purged. It keeps two 64-bit hashes of each: a
// million objects take 24 MiB. To count an object as purged that was not, both hashes
// must agree with those of another.
type Purged struct {
	seeds [2]maphash.Seed
	set   map[[2]uint64]struct{}
}

// hash gives the two hashes of an object with an action. The seeds are random, so nobody
// can choose objects that collide.
func (p *Purged) hash(kind mapping.Kind, object string, action mapping.Action) (sum [2]uint64) {
	for i, seed := range p.seeds {
		sum[i] = maphash.String(seed, string(kind)+" "+string(action)+" "+object)
	}
	return sum
}

// Has reports whether an object was purged by an action, or by a delete, which does more.
func (p *Purged) Has(kind mapping.Kind, object string, action mapping.Action) bool {
	_, as := p.set[p.hash(kind, object, action)]
	_, deleted := p.set[p.hash(kind, object, mapping.Delete)]
	return as || deleted
}

// PurgedSince reads the objects of an environment's purges for what GitHub recorded after
// a point, whatever became of these purges. People's purges do not count.
func (s *Reader) PurgedSince(ctx context.Context, env string, since ledger.Point) (*Purged, error) {
	p := &Purged{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, set: map[[2]uint64]struct{}{}}
	err := s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var kind mapping.Kind
			var object string
			var action mapping.Action
			err := r.Scan(&kind, &object, &action)
			p.set[p.hash(kind, object, action)] = struct{}{}
			return err
		}, `SELECT kind, object, action FROM target WHERE purge_id IN (SELECT id FROM purge
			WHERE env_id = $1 AND `+isShown+` AND cause <> $2 AND (to_at > $3 OR (to_at = $3 AND to_status > $4)))`,
			env, string(ledger.CauseComment), ms(since.At), since.Status)
	})
	return p, err
}

// Len is how many objects are in the set.
func (p *Purged) Len() int { return len(p.set) }
