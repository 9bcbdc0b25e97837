package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Merged is a pull request that was merged.
type Merged struct {
	RepoID int64
	Number int
	Branch string    // the branch that it was merged into
	SHA    string    // the commit as which it was merged
	At     time.Time // when the merge was noted
}

// SeeMerged notes a merged pull request. Told again, it keeps the first time.
func (s *Store) SeeMerged(ctx context.Context, m Merged) error {
	err := s.writeSoon(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO merged (repo_id, number, branch, sha, at) VALUES ($1,$2,$3,$4,$5)
			ON CONFLICT (repo_id, number) DO UPDATE SET branch = excluded.branch, sha = excluded.sha`,
			m.RepoID, m.Number, m.Branch, m.SHA, ms(m.At))
		return err
	})
	if err != nil {
		return fmt.Errorf("note that pull request %d was merged: %w", m.Number, err)
	}
	return nil
}

// NotLive lists the pull requests that were merged into a branch at or after a moment and
// were not announced in an environment, the newest first, at most limit of them.
func (s *Reader) NotLive(ctx context.Context, e ledger.Environment, branch string, since time.Time, limit int) (all []Merged, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			m := Merged{RepoID: e.RepoID, Branch: branch}
			var at int64
			err := r.Scan(&m.Number, &m.SHA, &at)
			m.At = when(at)
			all = append(all, m)
			return err
		}, `SELECT number, sha, at FROM merged m WHERE repo_id = $1 AND branch = $2 AND at >= $3
			AND NOT EXISTS (SELECT 1 FROM post WHERE surface = $4 || CAST(m.number AS TEXT) || '/' || $5)
			ORDER BY at DESC, number DESC LIMIT $6`,
			e.RepoID, branch, ms(since), livePrefix(e.RepoID), e.ID, limit)
	})
	return all, err
}

// livePrefix begins the names of the comments that say that a pull request is live. The
// number and the environment's id follow.
func livePrefix(repo int64) string { return fmt.Sprintf("%s/%d/", LivePost, repo) }

// tellPulls gives comments on merged pull requests to a purge, which they say is live:
// those of the pull requests that it carries, and those that went live earlier with the
// same commit. One that is new has version 0, so that the update below makes it due once.
func (s *Store) tellPulls(ctx context.Context, t *tx, e ledger.Environment, sha string, numbers []int, purge string) error {
	for _, number := range numbers {
		name := livePrefix(e.RepoID) + strconv.Itoa(number) + "/" + e.ID
		if _, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version, number)
			VALUES ($1,$2,$3,$4,'',$5,'','',0,0,$6) ON CONFLICT (surface) DO UPDATE SET sha = excluded.sha`,
			name, e.RepoID, e.ID, sha, purge, number); err != nil {
			return err
		}
	}
	return t.each(ctx, func(r row) error {
		var name string
		err := r.Scan(&name)
		t.enqueue(ReportJob{Surface: name})
		return err
	}, `UPDATE post SET purge_id = $3, version = version + 1 WHERE env_id = $1 AND sha = $2 AND number > 0 AND env_id <> ''
		RETURNING surface`, e.ID, sha, purge)
}
