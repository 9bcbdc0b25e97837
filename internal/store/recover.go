package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Chore is something that one process does for all from time to time, and that this
// process has claimed.
type Chore struct {
	Name  string
	Last  time.Time // when the last one that finished began; zero: never
	fence int
}

// Hasten makes chores due now. One that is under way is due again as soon as it ends.
func (s *Store) Hasten(ctx context.Context, names ...string) error {
	return s.hasten(ctx, math.MaxInt64, names)
}

// HastenIdle makes chores due now, except those that a process is doing at this moment.
func (s *Store) HastenIdle(ctx context.Context, names ...string) error {
	return s.hasten(ctx, ms(s.now()), names)
}

// hasten makes those chores due whose claim, if any, ends no later than until
// (milliseconds).
func (s *Store) hasten(ctx context.Context, until int64, names []string) error {
	err := s.write(ctx, func(t *tx) error {
		for _, name := range names {
			if _, err := t.exec(ctx, `INSERT INTO chore (name) VALUES ($1)
				ON CONFLICT (name) DO UPDATE SET next_at = 0 WHERE chore.lease_until <= $2`, name, until); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make chores due: %w", err)
	}
	return nil
}

// ClaimChore takes a chore that is due and that nobody is doing, for the length of a
// lease. ok is false if there is nothing to do. Most calls find nothing, so it looks with
// a read first.
func (s *Store) ClaimChore(ctx context.Context, name string, lease time.Duration) (c Chore, ok bool, err error) {
	c.Name = name
	ok, err = s.has(ctx, `SELECT 1 FROM chore WHERE name = $1 AND next_at <= $2 AND lease_until <= $2`, name, ms(s.now()))
	if err == nil && ok {
		err = s.write(ctx, func(t *tx) error {
			ok = false
			if err := s.lockRow(ctx, t, "chore", "name", name); err != nil {
				return err
			}
			now := s.now()
			return t.each(ctx, func(r row) error {
				var last int64
				err := r.Scan(&last, &c.fence)
				c.Last, ok = when(last), true
				return err
			}, `UPDATE chore SET lease_until = $3, next_at = $2, fence = fence + 1 WHERE name = $1 AND next_at <= $2 AND lease_until <= $2
				RETURNING last_at, fence`, name, ms(now), ms(now.Add(lease)))
		})
	}
	if err != nil {
		return c, false, fmt.Errorf("claim %s: %w", name, err)
	}
	return c, ok, nil
}

// RenewChore lengthens a claim. ErrNotFound: another process has the chore now, and the
// caller must stop.
func (s *Store) RenewChore(ctx context.Context, c Chore, lease time.Duration) error {
	err := s.write(ctx, func(t *tx) error {
		if err := s.lockRow(ctx, t, "chore", "name", c.Name); err != nil {
			return err
		}
		return affected(t.exec(ctx, `UPDATE chore SET lease_until = $3 WHERE name = $1 AND fence = $2`,
			c.Name, c.fence, ms(s.now().Add(lease))))
	})
	if err != nil {
		return fmt.Errorf("renew %s: %w", c.Name, err)
	}
	return nil
}

// ChoreDone ends a claim; the chore may be claimed again after a time. began becomes
// Last; zero leaves Last as it was, because there is more to do. If the claim was lost,
// nothing changes. If the chore was hastened meanwhile (next_at is 0), it stays due.
func (s *Store) ChoreDone(ctx context.Context, c Chore, began time.Time, after time.Duration) error {
	if began.IsZero() {
		began = c.Last
	}
	err := s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE chore SET lease_until = 0, last_at = $3,
			next_at = CASE WHEN next_at = 0 THEN next_at ELSE CAST($4 AS BIGINT) END WHERE name = $1 AND fence = $2`,
			c.Name, c.fence, ms(began), s.later(after))
		return err
	})
	if err != nil {
		return fmt.Errorf("end %s: %w", c.Name, err)
	}
	return nil
}

// Repositories lists the repositories that are not gone: first those with an environment,
// among them first the one that was compared with GitHub longest ago.
func (s *Reader) Repositories(ctx context.Context) (repos []ledger.Repository, err error) {
	return s.repositories(ctx, `WHERE gone = ''
		ORDER BY CASE WHEN EXISTS (SELECT 1 FROM environment e WHERE e.repo_id = repo.id) THEN 0 ELSE 1 END, compared_at, id`)
}

// AllRepositories lists every repository that was ever heard of.
func (s *Reader) AllRepositories(ctx context.Context) (repos []ledger.Repository, err error) {
	return s.repositories(ctx, `ORDER BY id`)
}

// repositories lists the repositories that where, with its ORDER BY, chooses.
func (s *Reader) repositories(ctx context.Context, where string) (repos []ledger.Repository, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var one ledger.Repository
			var seen, compared int64
			err := r.Scan(&one.ID, &one.Owner, &one.Name, &one.Installation, &one.DefaultBranch, &seen, &compared, &one.Gone)
			one.FirstSeen, one.Compared = when(seen), when(compared)
			repos = append(repos, one)
			return err
		}, `SELECT id, owner, name, installation, default_branch, first_seen_at, compared_at, gone FROM repo `+where)
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	return repos, nil
}

// Gone notes that repositories can't be read or written any more, and why, in public
// words. Their work waits until they come back. It returns those that were not gone
// before.
func (s *Store) Gone(ctx context.Context, why string, ids ...int64) (gone []int64, err error) {
	err = s.write(ctx, func(t *tx) error {
		gone = nil
		for _, id := range ids {
			n, err := t.exec(ctx, `UPDATE repo SET gone = $2 WHERE id = $1 AND gone = ''`, id, why)
			if err != nil {
				return err
			}
			if n > 0 {
				gone = append(gone, id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("note that repositories are gone: %w", err)
	}
	return gone, nil
}

// Back notes that repositories are there again, and makes the work due that waited for
// them. It returns those that were gone.
func (s *Store) Back(ctx context.Context, ids ...int64) (back []int64, err error) {
	err = s.write(ctx, func(t *tx) error {
		back = nil
		for _, id := range ids {
			n, err := t.exec(ctx, `UPDATE repo SET gone = '' WHERE id = $1 AND gone <> ''`, id)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			back = append(back, id)
			for _, query := range []string{
				`UPDATE environment SET next_at = 0, rung_at = 0, tries = 0 WHERE repo_id = $1`,
				// Of words that stand, next_at is since when: Prune goes by it.
				`UPDATE post SET next_at = 0, rung_at = 0, tries = 0 WHERE repo_id = $1 AND version > posted_version`,
			} {
				if _, err := t.exec(ctx, query, id); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("note that repositories are back: %w", err)
	}
	return back, nil
}

// RepositoriesOf lists the ids of an installation's repositories.
func (s *Reader) RepositoriesOf(ctx context.Context, installation int64) (ids []int64, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var id int64
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		}, `SELECT id FROM repo WHERE installation = $1`, installation)
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories of installation %d: %w", installation, err)
	}
	return ids, nil
}

// Compared notes up to when a repository's deployments were compared with GitHub's. It
// never moves that moment back.
func (s *Store) Compared(ctx context.Context, repo int64, began time.Time) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE repo SET compared_at = $2 WHERE id = $1 AND compared_at < $2`, repo, ms(began))
		return err
	})
}

// KnownStatus reports whether the ledger has a deployment status of a repository. Ids of
// other triggers are numbers of their own, so deploy_id tells them apart.
func (s *Reader) KnownStatus(ctx context.Context, repo, id int64) (known bool, err error) {
	return s.has(ctx, `SELECT 1 FROM environment e JOIN deploy d ON d.env_id = e.id
		WHERE e.repo_id = $1 AND d.status_id = $2 AND d.deploy_id <> 0`, repo, id)
}

// SeenDeployments gives, for each deployment of a repository whose success GitHub
// recorded at or after a moment and the ledger has, when GitHub recorded it last. The key
// is GitHub's deployment id.
func (s *Reader) SeenDeployments(ctx context.Context, repo int64, since time.Time) (seen map[int64]time.Time, err error) {
	seen = map[int64]time.Time{}
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var id, at int64
			err := r.Scan(&id, &at)
			seen[id] = when(at)
			return err
		}, `SELECT d.deploy_id, MAX(d.recorded_at) FROM environment e JOIN deploy d ON d.env_id = e.id
			WHERE e.repo_id = $1 AND d.recorded_at >= $2 AND d.state = 'success' AND d.deploy_id <> 0 GROUP BY d.deploy_id`, repo, ms(since))
	})
	return seen, err
}

// Environments lists the environments of a repository that the ledger knows.
func (s *Reader) Environments(ctx context.Context, repo int64) (envs []ledger.Environment, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			e, err := scanEnvironment(r)
			envs = append(envs, e)
			return err
		}, `SELECT `+environmentColumns+` FROM environment WHERE repo_id = $1 ORDER BY id`, repo)
	})
	return envs, err
}

// Spoken reports whether a commit has a status of a context, or will have one.
func (s *Reader) Spoken(ctx context.Context, repo int64, sha, context string) (spoken bool, err error) {
	return s.has(ctx, `SELECT 1 FROM post WHERE surface = $1`, surface(repo, sha, context))
}

// Covered reports whether a repository was compared with GitHub up to later than a
// moment, or is gone and can't be compared.
func (s *Reader) Covered(ctx context.Context, repo int64, at time.Time) (covered bool, err error) {
	return s.has(ctx, `SELECT 1 FROM repo WHERE id = $1 AND (compared_at > $2 OR gone <> '')`, repo, ms(at))
}

// Arrived reports whether the ledger has a delivery.
func (s *Reader) Arrived(ctx context.Context, guid string) (arrived bool, err error) {
	return s.has(ctx, `SELECT 1 FROM delivery WHERE guid = $1`, guid)
}

// Asked gives the attempt of a delivery that GitHub was asked last to repeat, and how
// often it was asked; zeros: never.
func (s *Reader) Asked(ctx context.Context, guid string) (attempt int64, times int, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error { return r.Scan(&attempt, &times) },
			`SELECT attempt, times FROM redelivery WHERE guid = $1`, guid)
	})
	return attempt, times, err
}

// Ask notes that GitHub is asked to repeat an attempt of a delivery, and forgets what was
// asked before a moment.
func (s *Store) Ask(ctx context.Context, guid string, attempt int64, forget time.Time) error {
	err := s.write(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `DELETE FROM redelivery WHERE asked_at < $1`, ms(forget)); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO redelivery (guid, attempt, times, asked_at) VALUES ($1,$2,1,$3)
			ON CONFLICT (guid) DO UPDATE SET attempt = excluded.attempt, times = redelivery.times + 1, asked_at = excluded.asked_at`,
			guid, attempt, ms(s.now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("note the redelivery of %s: %w", guid, err)
	}
	return nil
}
