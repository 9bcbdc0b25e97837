package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

const environmentColumns = `id, repo_id, name, live_sha, live_deploy, live_status, live_at,
	desired_sha, desired_deploy, desired_status, desired_at, due_at, fault, seq`

func scanEnvironment(r row) (e ledger.Environment, err error) {
	var liveAt, desiredAt, due int64
	err = r.Scan(&e.ID, &e.RepoID, &e.Name, &e.Live.SHA, &e.Live.Deploy, &e.Live.Status, &liveAt,
		&e.Desired.SHA, &e.Desired.Deploy, &e.Desired.Status, &desiredAt, &due, &e.Fault, &e.Seq)
	e.Live.At, e.Desired.At, e.DueAt = when(liveAt), when(desiredAt), when(due)
	return e, missing(err)
}

// Environment reads an environment by its id.
func (s *Store) Environment(ctx context.Context, id string) (e ledger.Environment, err error) {
	err = s.read(ctx, func(t *tx) error {
		e, err = scanEnvironment(t.row(ctx, `SELECT `+environmentColumns+` FROM environment WHERE id = $1`, id))
		return err
	})
	if err != nil {
		return e, fmt.Errorf("read environment %s: %w", id, err)
	}
	return e, nil
}

// FindEnvironment reads an environment by its name, which compares without
// case. ErrNotFound: nothing was ever heard of it.
func (s *Store) FindEnvironment(ctx context.Context, repo int64, name string) (e ledger.Environment, err error) {
	err = s.read(ctx, func(t *tx) error {
		e, err = findEnvironment(ctx, t, repo, name)
		return err
	})
	return e, err
}

func findEnvironment(ctx context.Context, t *tx, repo int64, name string) (ledger.Environment, error) {
	return scanEnvironment(t.row(ctx, `SELECT `+environmentColumns+` FROM environment
		WHERE repo_id = $1 AND name_folded = $2`, repo, fold(name)))
}

func fold(name string) string { return strings.ToLower(name) }

// ensureEnvironment finds or makes an environment and locks its row.
func (s *Store) ensureEnvironment(ctx context.Context, t *tx, repo int64, name string) (ledger.Environment, error) {
	_, err := t.exec(ctx, `INSERT INTO environment (id, repo_id, name, name_folded) VALUES ($1,$2,$3,$4)
		ON CONFLICT (repo_id, name_folded) DO UPDATE SET name = excluded.name`,
		s.ids.new(s.now()), repo, name, fold(name))
	if err != nil {
		return ledger.Environment{}, err
	}
	return findEnvironment(ctx, t, repo, name)
}

// Desire notes a deployment status and, if it is a success that GitHub
// recorded after the one desired so far, moves desired to it, not to be
// planned before due. It reports whether desired moved; a fact that is known
// already moves nothing. A success that another overtakes before it is planned
// is noted: see Served.
func (s *Store) Desire(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time) (e ledger.Environment, moved bool, err error) {
	return s.desire(ctx, repo, name, d, due, func(t *tx, env string) error {
		t.rings(ReconcileJob{EnvID: env})
		return nil
	})
}

// DesireHere is Desire where the caller reconciles what moved: nobody else is
// rung for. If the caller dies first, the sweep rings, 15 s later.
func (s *Store) DesireHere(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time) (e ledger.Environment, moved bool, err error) {
	return s.desire(ctx, repo, name, d, due, func(t *tx, env string) error {
		const mine = 15 * time.Second
		_, err := t.exec(ctx, `UPDATE environment SET rung_at = $2 WHERE id = $1`, env, ms(s.now().Add(mine-ringAgain)))
		return err
	})
}

func (s *Store) desire(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time, hear func(t *tx, env string) error) (e ledger.Environment, moved bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		moved = false
		if e, err = s.ensureEnvironment(ctx, t, repo, name); err != nil {
			return err
		}
		fresh := !d.Known
		if d.Status != 0 {
			n, err := t.exec(ctx, `INSERT INTO deploy (status_id, env_id, deploy_id, sha, state, creator, recorded_at)
				VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT (env_id, status_id) DO NOTHING`,
				d.Status, e.ID, d.Deploy, d.SHA, d.State, d.Creator, ms(d.At))
			if err != nil {
				return err
			}
			fresh = n == 1
		}
		if d.State != "success" {
			return nil
		}
		if !d.After(e.Desired) || !d.After(e.Live) {
			if !fresh || d.SHA == e.Desired.SHA {
				return nil
			}
			t.rings(ReconcileJob{EnvID: e.ID})
			late := d.Point
			if late.Status == 0 { // a push: of those within GitHub's second, any may have come before it
				late.Status = math.MaxInt64
			}
			return s.overtaken(ctx, t, e.ID, late)
		}
		if e.Desired != e.Live && !e.Desired.IsZero() && e.Desired.SHA != d.SHA {
			if err := s.overtaken(ctx, t, e.ID, e.Desired); err != nil {
				return err
			}
		}
		moved = true
		e.Desired, e.DueAt, e.Fault, e.Seq = d.Point, due, "", e.Seq+1
		if err := saveEnvironment(ctx, t, e); err != nil {
			return err
		}
		return hear(t, e.ID)
	})
	if err != nil {
		return e, false, fmt.Errorf("note deployment status %d of %s: %w", d.Status, name, err)
	}
	return e, moved, nil
}

// Creator is the login of whoever made a deployment status in an environment;
// "" if the ledger does not know the status.
func (s *Store) Creator(ctx context.Context, env string, status int64) (login string, err error) {
	err = s.read(ctx, func(t *tx) error {
		return missing(t.row(ctx, `SELECT creator FROM deploy WHERE env_id = $1 AND status_id = $2`, env, status).Scan(&login))
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return login, err
}

func saveEnvironment(ctx context.Context, t *tx, e ledger.Environment) error {
	return affected(t.exec(ctx, `UPDATE environment SET live_sha = $2, live_deploy = $3, live_status = $4, live_at = $5,
		desired_sha = $6, desired_deploy = $7, desired_status = $8, desired_at = $9, due_at = $10, fault = $11, seq = $12,
		next_at = 0, rung_at = 0, tries = 0 WHERE id = $1`,
		e.ID, e.Live.SHA, e.Live.Deploy, e.Live.Status, ms(e.Live.At),
		e.Desired.SHA, e.Desired.Deploy, e.Desired.Status, ms(e.Desired.At), ms(e.DueAt), e.Fault, e.Seq))
}

// Lived reports whether a commit was ever live in an environment.
func (s *Store) Lived(ctx context.Context, env, sha string) (lived bool, err error) {
	return s.has(ctx, `SELECT 1 FROM lived WHERE env_id = $1 AND sha = $2`, env, sha)
}

// Tree reads the listing that was remembered last for an environment, of its
// live commit or of one before: any is a shortcut to what changed since.
// ErrNotFound: none is remembered.
func (s *Store) Tree(ctx context.Context, env string) (listing []byte, err error) {
	err = s.read(ctx, func(t *tx) error {
		return missing(t.row(ctx, `SELECT listing FROM tree WHERE env_id = $1`, env).Scan(&listing))
	})
	return listing, err
}

// Rules is the rules file of one commit.
type Rules struct {
	SHA    string
	Path   string // "": the commit has none
	Source []byte
}

// LiveRules reads the rules file that was remembered of a live commit: that of
// an environment, or, if env is empty, of the one in the repository that moved
// last. ErrNotFound: none is remembered of what is live.
func (s *Store) LiveRules(ctx context.Context, repo int64, env string) (r Rules, err error) {
	err = s.read(ctx, func(t *tx) error {
		var packed []byte
		err := missing(t.row(ctx, `SELECT r.sha, r.path, r.source FROM environment e JOIN live_rules r ON r.env_id = e.id AND r.sha = e.live_sha
			WHERE e.repo_id = $1 AND (e.id = $2 OR $2 = '') ORDER BY e.live_at DESC, e.id LIMIT 1`, repo, env).Scan(&r.SHA, &r.Path, &packed))
		if err == nil {
			r.Source, err = s.zstd.unpack(packed)
		}
		return err
	})
	return r, err
}

func (s *Store) rememberRules(ctx context.Context, t *tx, env string, r *Rules) error {
	if r == nil {
		return nil
	}
	_, err := t.exec(ctx, `INSERT INTO live_rules (env_id, sha, path, source) VALUES ($1,$2,$3,$4)
		ON CONFLICT (env_id) DO UPDATE SET sha = excluded.sha, path = excluded.path, source = excluded.source`,
		env, r.SHA, r.Path, s.zstd.pack(r.Source))
	return err
}

// SeePush notes that a branch moved. It reports false for a push that another
// delivery told before: the same fact under another id changes nothing.
func (s *Store) SeePush(ctx context.Context, p ledger.Push) (fresh bool, err error) {
	err = s.writeSoon(ctx, func(t *tx) error {
		var first string
		err := t.row(ctx, `INSERT INTO push (repo_id, branch, before_sha, after_sha, at, guid) VALUES ($1,$2,$3,$4,$5,$6)
			ON CONFLICT (repo_id, branch, before_sha, after_sha, at) DO UPDATE SET guid = push.guid RETURNING guid`,
			p.RepoID, p.Branch, p.Before, p.After, ms(p.At), p.Delivery).Scan(&first)
		fresh = first == p.Delivery
		return err
	})
	return fresh, err
}

// PushOf reads the last push that brought a commit to a branch.
func (s *Store) PushOf(ctx context.Context, repo int64, sha string) (p ledger.Push, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err = pushOf(ctx, t, repo, sha)
		return err
	})
	return p, err
}

func pushOf(ctx context.Context, t *tx, repo int64, sha string) (ledger.Push, error) {
	p := ledger.Push{RepoID: repo, After: sha}
	var at int64
	err := t.row(ctx, `SELECT branch, before_sha, at FROM push WHERE repo_id = $1 AND after_sha = $2
		ORDER BY at DESC LIMIT 1`, repo, sha).Scan(&p.Branch, &p.Before, &at)
	p.At = when(at)
	return p, missing(err)
}

// SetFault makes an environment's planning wait: words says why, in public,
// and becomes the pending status of the desired commit. A newer desired
// commit, or the operator's mending, plans anew.
func (s *Store) SetFault(ctx context.Context, e ledger.Environment, context, words string) error {
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE environment SET fault = $3 WHERE id = $1 AND seq = $2`, e.ID, e.Seq, words)
		if err != nil || n == 0 { // moved on meanwhile: its own job speaks
			return err
		}
		return s.announce(ctx, t, Announcement{
			RepoID: e.RepoID, EnvID: e.ID, SHA: e.Desired.SHA, Context: context,
			State: "pending", Words: words, At: e.Desired.At,
		})
	})
	if err != nil {
		return fmt.Errorf("note the fault of %s: %w", e.Name, err)
	}
	return nil
}

// Faulty lists the environments of a repository whose planning waits.
func (s *Store) Faulty(ctx context.Context, repo int64) (envs []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		envs, err = t.texts(ctx, `SELECT id FROM environment WHERE repo_id = $1 AND fault <> ''`, repo)
		return err
	})
	return envs, err
}

// Ring rings for environments.
func (s *Store) Ring(ctx context.Context, envs ...string) error {
	return s.write(ctx, func(t *tx) error {
		for _, id := range envs {
			t.rings(ReconcileJob{EnvID: id})
		}
		return nil
	})
}

// EnsureEnvironment reads an environment, and makes it if nothing was ever
// heard of it.
func (s *Store) EnsureEnvironment(ctx context.Context, repo int64, name string) (e ledger.Environment, err error) {
	err = s.write(ctx, func(t *tx) error {
		e, err = s.ensureEnvironment(ctx, t, repo, name)
		return err
	})
	return e, err
}
