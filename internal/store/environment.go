package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// environmentColumns are the columns that scanEnvironment reads.
const environmentColumns = `id, repo_id, name, live_sha, live_deploy, live_status, live_began, live_at,
	desired_sha, desired_deploy, desired_status, desired_began, desired_at, due_at, fault, seq`

func scanEnvironment(r row) (e ledger.Environment, err error) {
	var liveBegan, liveAt, desiredBegan, desiredAt, due int64
	err = r.Scan(&e.ID, &e.RepoID, &e.Name, &e.Live.SHA, &e.Live.Deploy, &e.Live.Status, &liveBegan, &liveAt,
		&e.Desired.SHA, &e.Desired.Deploy, &e.Desired.Status, &desiredBegan, &desiredAt, &due, &e.Fault, &e.Seq)
	e.Live.Began, e.Live.At = when(liveBegan), when(liveAt)
	e.Desired.Began, e.Desired.At, e.DueAt = when(desiredBegan), when(desiredAt), when(due)
	return e, missing(err)
}

// Environment reads an environment by its id.
func (s *Reader) Environment(ctx context.Context, id string) (e ledger.Environment, err error) {
	err = s.read(ctx, func(t *tx) error {
		e, err = scanEnvironment(t.row(ctx, `SELECT `+environmentColumns+` FROM environment WHERE id = $1`, id))
		return err
	})
	if err != nil {
		return e, fmt.Errorf("read environment %s: %w", id, err)
	}
	return e, nil
}

// FindEnvironment reads an environment by its name, which compares without case.
// ErrNotFound: nothing was ever heard of it.
func (s *Reader) FindEnvironment(ctx context.Context, repo int64, name string) (e ledger.Environment, err error) {
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

// fold gives the spelling by which names without case are compared, as stored in
// name_folded.
func fold(name string) string { return strings.ToLower(name) }

// ensureEnvironment finds or makes an environment and locks its row until the transaction
// ends: DO UPDATE locks it even where the name is the same. So two facts about one
// environment are weighed one after the other.
func (s *Store) ensureEnvironment(ctx context.Context, t *tx, repo int64, name string) (ledger.Environment, error) {
	_, err := t.exec(ctx, `INSERT INTO environment (id, repo_id, name, name_folded) VALUES ($1,$2,$3,$4)
		ON CONFLICT (repo_id, name_folded) DO UPDATE SET name = excluded.name`,
		s.ids.new(s.now()), repo, name, fold(name))
	if err != nil {
		return ledger.Environment{}, err
	}
	return findEnvironment(ctx, t, repo, name)
}

// Desire notes a deployment status. If it is a success that GitHub recorded after the one
// desired so far, desired moves to it and is not planned before due. Desire reports
// whether desired moved. A fact that is known already moves nothing, so a webhook that
// comes twice is harmless. A success that another one overtakes before it is planned is
// noted: see Overtaken.
func (s *Store) Desire(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time) (e ledger.Environment, moved bool, err error) {
	return s.desire(ctx, repo, name, d, due, func(t *tx, env string) error {
		t.enqueue(ReconcileJob{EnvID: env})
		return nil
	})
}

// DesireHere is Desire for a caller that reconciles at once: no job is enqueued. If the
// caller dies first, the sweep wakes the environment 15 s later.
func (s *Store) DesireHere(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time) (e ledger.Environment, moved bool, err error) {
	return s.desire(ctx, repo, name, d, due, func(t *tx, env string) error {
		// The sweep wakes a row once rung_at lies wakeAgain in the past: here that is in
		// 15 s.
		const mine = 15 * time.Second
		_, err := t.exec(ctx, `UPDATE environment SET rung_at = $2 WHERE id = $1`, env, ms(s.now().Add(mine-wakeAgain)))
		return err
	})
}

// desire is Desire. hear wakes the job that reconciles. A status that is known already
// counts as new if GitHub recorded it later than the known one: a run can be run again
// under its id.
func (s *Store) desire(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time, hear func(t *tx, env string) error) (e ledger.Environment, moved bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		// Set anew: the transaction may run more than once.
		moved = false
		if e, err = s.ensureEnvironment(ctx, t, repo, name); err != nil {
			return err
		}
		fresh := !d.Known
		if d.Status != 0 {
			n, err := t.exec(ctx, `INSERT INTO deploy (status_id, env_id, deploy_id, sha, state, creator, recorded_at)
				VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT (env_id, status_id) DO UPDATE SET
					state = excluded.state, creator = excluded.creator, recorded_at = excluded.recorded_at
				WHERE deploy.recorded_at < excluded.recorded_at`, // a run may be run again
				d.Status, e.ID, d.Deploy, d.SHA, d.State, d.Creator, ms(d.At))
			if err != nil {
				return err
			}
			fresh = n == 1
		}
		// Other states are only noted: closeCarried reads them.
		if d.State != "success" {
			return nil
		}
		next, overtaken, moves := e.Deployed(d, due)
		if !moves && !fresh {
			return nil
		}
		if !overtaken.IsZero() {
			if err := s.noteOvertaken(ctx, t, e.ID, overtaken); err != nil {
				return err
			}
			if !moves {
				t.enqueue(ReconcileJob{EnvID: e.ID})
			}
		}
		if e, moved = next, moves; !moved {
			return nil
		}
		if err := saveEnvironment(ctx, t, e, freshWake(s.now())); err != nil {
			return err
		}
		return hear(t, e.ID)
	})
	if err != nil {
		return e, false, fmt.Errorf("note deployment status %d of %s: %w", d.Status, name, err)
	}
	return e, moved, nil
}

// Creator is the login of the author of a deployment status in an environment; "" if the
// ledger does not know the status.
func (s *Reader) Creator(ctx context.Context, env string, status int64) (login string, err error) {
	err = s.read(ctx, func(t *tx) error {
		return missing(t.row(ctx, `SELECT creator FROM deploy WHERE env_id = $1 AND status_id = $2`, env, status).Scan(&login))
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return login, err
}

// saveEnvironment writes an environment whose row the transaction has locked. It clears
// the backing off. woken becomes rung_at: freshWake where a job is enqueued with it.
func saveEnvironment(ctx context.Context, t *tx, e ledger.Environment, woken int64) error {
	return affected(t.exec(ctx, `UPDATE environment SET live_sha = $2, live_deploy = $3, live_status = $4, live_at = $5,
		desired_sha = $6, desired_deploy = $7, desired_status = $8, desired_at = $9, due_at = $10, fault = $11, seq = $12,
		next_at = 0, rung_at = $13, tries = 0, live_began = $14, desired_began = $15 WHERE id = $1`,
		e.ID, e.Live.SHA, e.Live.Deploy, e.Live.Status, ms(e.Live.At),
		e.Desired.SHA, e.Desired.Deploy, e.Desired.Status, ms(e.Desired.At), ms(e.DueAt), e.Fault, e.Seq, woken,
		ms(e.Live.Began), ms(e.Desired.Began)))
}

// Lived reports whether a commit was ever live in an environment.
func (s *Reader) Lived(ctx context.Context, env, sha string) (lived bool, err error) {
	return s.has(ctx, `SELECT 1 FROM lived WHERE env_id = $1 AND sha = $2`, env, sha)
}

// Tree reads the listing that was remembered last for an environment: of its live commit
// or of an earlier one. Either serves as a shortcut to what changed since. ErrNotFound:
// none is remembered.
func (s *Reader) Tree(ctx context.Context, env string) (listing []byte, err error) {
	err = s.read(ctx, func(t *tx) error {
		return missing(t.row(ctx, `SELECT listing FROM tree WHERE env_id = $1`, env).Scan(&listing))
	})
	return listing, err
}

// Rules is the rules file of one commit.
type Rules struct {
	SHA    string // the commit
	Path   string // "": the commit has none
	Source []byte // as it is in the repository
}

// LiveRules reads the rules file that was remembered of a live commit: that of an
// environment, or, if env is "", of the environment in the repository whose live commit
// is the newest. ErrNotFound: none is remembered of a commit that is live now.
func (s *Reader) LiveRules(ctx context.Context, repo int64, env string) (r Rules, err error) {
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

// Authority reads the last good rules file of a repository's default branch: while a
// broken one is there, who may deploy and what triggers stay as they were. ErrNotFound:
// no good one was seen.
func (s *Store) Authority(ctx context.Context, repo int64) (r Rules, err error) {
	err = s.read(ctx, func(t *tx) error {
		var packed []byte
		err := missing(t.row(ctx, `SELECT sha, path, source FROM authority WHERE repo_id = $1`, repo).Scan(&r.SHA, &r.Path, &packed))
		if err == nil {
			r.Source, err = s.zstd.unpack(packed)
		}
		return err
	})
	return r, err
}

// RememberAuthority notes a good rules file of a repository's default branch.
func (s *Store) RememberAuthority(ctx context.Context, repo int64, r Rules) error {
	return s.writeSoon(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO authority (repo_id, sha, path, source) VALUES ($1,$2,$3,$4)
			ON CONFLICT (repo_id) DO UPDATE SET sha = excluded.sha, path = excluded.path, source = excluded.source`,
			repo, r.SHA, r.Path, s.zstd.pack(r.Source))
		return err
	})
}

// rememberRules notes the rules file of a commit that goes live; nil changes nothing.
func (s *Store) rememberRules(ctx context.Context, t *tx, env string, r *Rules) error {
	if r == nil {
		return nil
	}
	_, err := t.exec(ctx, `INSERT INTO live_rules (env_id, sha, path, source) VALUES ($1,$2,$3,$4)
		ON CONFLICT (env_id) DO UPDATE SET sha = excluded.sha, path = excluded.path, source = excluded.source`,
		env, r.SHA, r.Path, s.zstd.pack(r.Source))
	return err
}

// SeePush notes that a branch moved. It reports false for a push that another delivery
// told before: the same fact under another delivery id changes nothing. For the same
// delivery, handled again, it reports true again.
func (s *Store) SeePush(ctx context.Context, p ledger.Push) (fresh bool, err error) {
	err = s.writeSoon(ctx, func(t *tx) error {
		var first string
		// The update sets guid to itself: RETURNING gives nothing for a row that DO
		// NOTHING skips.
		err := t.row(ctx, `INSERT INTO push (repo_id, branch, before_sha, after_sha, at, guid) VALUES ($1,$2,$3,$4,$5,$6)
			ON CONFLICT (repo_id, branch, before_sha, after_sha, at) DO UPDATE SET guid = push.guid RETURNING guid`,
			p.RepoID, p.Branch, p.Before, p.After, ms(p.At), p.Delivery).Scan(&first)
		fresh = first == p.Delivery
		return err
	})
	return fresh, err
}

// PushOf reads the push that brought a commit: the last one to the given branch, else the
// last one to any branch. A branch that was created from the commit brought nothing. It
// counts only if there is no other push.
func (s *Reader) PushOf(ctx context.Context, repo int64, sha, branch string) (p ledger.Push, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err = pushOf(ctx, t, repo, sha, branch)
		return err
	})
	return p, err
}

// pushOf is PushOf in a transaction.
func pushOf(ctx context.Context, t *tx, repo int64, sha, branch string) (ledger.Push, error) {
	all, err := pushesOf(ctx, t, repo, sha, branch)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return ledger.Push{}, err
	}
	return all[0], nil
}

// pushesOf lists the pushes that moved a branch to a commit, in the order of PushOf. A
// push that creates a branch has a "before" of zeros only, and comes last.
func pushesOf(ctx context.Context, t *tx, repo int64, sha, branch string) (all []ledger.Push, err error) {
	err = t.each(ctx, func(r row) error {
		p := ledger.Push{RepoID: repo, After: sha}
		var at int64
		err := r.Scan(&p.Branch, &p.Before, &at)
		p.At = when(at)
		all = append(all, p)
		return err
	}, `SELECT branch, before_sha, at FROM push WHERE repo_id = $1 AND after_sha = $2
		ORDER BY CASE WHEN REPLACE(before_sha, '0', '') = '' THEN 1 ELSE 0 END, CASE WHEN branch = $3 THEN 0 ELSE 1 END, at DESC`,
		repo, sha, branch)
	return all, err
}

// SetFault makes an environment's planning wait. words says why, in public words, and
// becomes the pending status of the desired commit. A newer desired commit plans again,
// and so does a fix of the operator's. If the environment moved since e was read,
// SetFault changes nothing.
//
// seq stays as it is: a fault does not make another plan invalid.
func (s *Store) SetFault(ctx context.Context, e ledger.Environment, context, words string) error {
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE environment SET fault = $3 WHERE id = $1 AND seq = $2`, e.ID, e.Seq, words)
		if err != nil || n == 0 { // it moved on meanwhile: the job of that move speaks
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

// AnyRepository stands for all repositories, in Faulty.
const AnyRepository = 0

// Faulty lists the ids of a repository's environments whose planning waits because of a
// fault.
func (s *Reader) Faulty(ctx context.Context, repo int64) (envs []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		envs, err = t.texts(ctx, `SELECT id FROM environment WHERE ($1 = 0 OR repo_id = $1) AND fault <> ''`, repo)
		return err
	})
	return envs, err
}

// Wake enqueues the reconcile jobs of environments.
func (s *Store) Wake(ctx context.Context, envs ...string) error {
	return s.write(ctx, func(t *tx) error {
		for _, id := range envs {
			t.enqueue(ReconcileJob{EnvID: id})
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

// RepositoryOf gives the id of an environment's repository; 0: there is no such
// environment.
func (s *Store) RepositoryOf(ctx context.Context, env string) (repo int64, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error { return r.Scan(&repo) }, `SELECT repo_id FROM environment WHERE id = $1`, env)
	})
	if err != nil {
		return 0, fmt.Errorf("read environment %s: %w", env, err)
	}
	return repo, nil
}
