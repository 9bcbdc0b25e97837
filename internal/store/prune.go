package store

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// pruneAtOnce is how many rows one transaction of Prune deletes. Deliveries that come in
// meanwhile wait for one such transaction at most.
const pruneAtOnce = 250

// Prune deletes what is done and older than it is kept: handled deliveries, ended purges
// with their targets, plans that were left unfinished, kept previews, requests with their
// answers, commands and statuses that nothing refers to any more, pushes, deployments,
// commits that were live, and environments to which nothing was deployed in all that
// time. Only mostTrees of a repository's environments keep the listing of their commit.
//
// Purges go first: their requests, proofs, commands and statuses can only go when they
// have gone. Every step may break off or run in two replicas at once; the next run
// deletes the rest. SQLite uses the freed room for new rows; its file does not shrink.
func (s *Store) Prune(ctx context.Context, deliveries, purges time.Time) error {
	if err := s.prunePurges(ctx, `'done', 'cancelled'`, purges); err != nil {
		return err
	}
	if err := s.prunePurges(ctx, `'planning'`, s.now().Add(-abandoned)); err != nil {
		return err
	}
	old := firstID(purges)
	for _, q := range []struct {
		query string // $1 is the bound of what is kept; the last parameter is how many rows to delete
		args  []any
	}{
		{`DELETE FROM delivery WHERE guid IN (SELECT guid FROM delivery
			WHERE handled_at > 0 AND received_at < $1 ORDER BY received_at LIMIT $2)`, []any{ms(deliveries)}},
		{`DELETE FROM ask WHERE (repo_id, fact) IN (SELECT repo_id, fact FROM ask WHERE at < $1 ORDER BY at LIMIT $2)`, []any{ms(deliveries)}},
		{`DELETE FROM merged WHERE (repo_id, number) IN (SELECT repo_id, number FROM merged WHERE at < $1 LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM preview WHERE surface IN (SELECT surface FROM preview WHERE at < $1 ORDER BY at LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM request WHERE id IN (SELECT id FROM request WHERE id < $1 AND state NOT IN ('ready', 'sending') AND settled_at < $2
			AND NOT EXISTS (SELECT 1 FROM target WHERE target.request_id = request.id AND target.request_id <> '')
			ORDER BY id LIMIT $3)`, []any{old, ms(purges)}},
		{`DELETE FROM answer WHERE (request_id, attempt) IN (SELECT request_id, attempt FROM answer a WHERE a.request_id < $1
			AND NOT EXISTS (SELECT 1 FROM request WHERE request.id = a.request_id) ORDER BY a.request_id LIMIT $2)`, []any{old}},
		{`DELETE FROM pause WHERE id IN (SELECT id FROM pause WHERE ended_at > 0 AND ended_at < $1 LIMIT $2)`, []any{ms(purges)}},
		{
			`DELETE FROM notice WHERE (receiver, id) IN (SELECT receiver, id FROM notice WHERE at < $1 LIMIT $2)`,
			[]any{ms(s.now().Add(-noticeKept - time.Hour))},
		}, // of receivers that nobody tells any more
		{`DELETE FROM host WHERE name IN (SELECT name FROM host WHERE accepted_at < $1 LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM command WHERE (repo_id, comment_id) IN (SELECT repo_id, comment_id FROM command WHERE at < $1 AND outcome <> ''
			AND NOT EXISTS (SELECT 1 FROM purge WHERE purge.id = command.purge_id) ORDER BY at LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM page WHERE (purge_id, seq) IN (SELECT purge_id, seq FROM page
			WHERE NOT EXISTS (SELECT 1 FROM purge WHERE purge.id = page.purge_id) AND purge_id < $1 LIMIT $2)`, []any{old}},
		{`DELETE FROM proof WHERE purge_id IN (SELECT purge_id FROM proof
			WHERE NOT EXISTS (SELECT 1 FROM purge WHERE purge.id = proof.purge_id) AND purge_id < $1 LIMIT $2)`, []any{old}},
		{`DELETE FROM push WHERE (repo_id, branch, before_sha, after_sha, at) IN
			(SELECT repo_id, branch, before_sha, after_sha, at FROM push WHERE at < $1 ORDER BY at LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM deploy WHERE (env_id, status_id) IN (SELECT env_id, status_id FROM deploy d WHERE recorded_at < $1
			AND NOT EXISTS (SELECT 1 FROM environment e WHERE e.id = d.env_id AND d.status_id IN (e.live_status, e.desired_status))
			ORDER BY recorded_at LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM lived WHERE (env_id, sha) IN (SELECT env_id, sha FROM lived l WHERE at > 0 AND at < $1
			AND NOT EXISTS (SELECT 1 FROM environment e WHERE e.id = l.env_id AND e.live_sha = l.sha) ORDER BY at LIMIT $2)`, []any{ms(purges)}},
		{`DELETE FROM post WHERE surface IN (SELECT surface FROM post WHERE version = posted_version AND next_at < $1
			AND (state <> 'pending' OR purge_id <> '')
			AND NOT EXISTS (SELECT 1 FROM purge WHERE purge.id = post.purge_id) ORDER BY next_at LIMIT $2)`, []any{ms(purges)}},
	} {
		if err := s.pruneAll(ctx, q.query, q.args...); err != nil {
			return err
		}
	}
	if err := s.pruneEnvironments(ctx, purges); err != nil {
		return err
	}
	return s.pruneTrees(ctx)
}

// pruneEnvironments forgets environments to which nothing was deployed for as long as
// purges are kept, such as a pull request's, and those of repositories that are gone. If
// there is a new deployment, the environment starts from what GitHub knows of it.
//
// The environment's row goes last, after its other rows: if this breaks off, the row is
// found again. It goes only if it is still old, since it may have been deployed to
// meanwhile.
func (s *Store) pruneEnvironments(ctx context.Context, before time.Time) error {
	for {
		var ids []string
		err := s.read(ctx, func(t *tx) (err error) {
			ids, err = t.texts(ctx, `SELECT id FROM environment e WHERE desired_at > 0 AND desired_at < $1 AND live_at < $1
				AND (desired_sha = live_sha OR repo_id IN (SELECT id FROM repo WHERE gone <> ''))
				AND NOT EXISTS (SELECT 1 FROM purge WHERE purge.env_id = e.id) ORDER BY id LIMIT $2`, ms(before), pruneAtOnce)
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			for table, column := range ofEnvironment() {
				if err := s.pruneAll(ctx, `DELETE FROM `+table+` WHERE (env_id, `+column+`) IN
					(SELECT env_id, `+column+` FROM `+table+` WHERE env_id = $1 LIMIT $2)`, id); err != nil {
					return err
				}
			}
		}
		err = s.writeSoon(ctx, func(t *tx) error {
			_, err := t.exec(ctx, `DELETE FROM environment WHERE desired_at < `+fmt.Sprint(ms(before))+` AND id IN `+list(1, len(ids)), anys(ids)...)
			return err
		})
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
}

// ofEnvironment lists the tables that keep something of an environment, with the column
// that tells its rows apart.
func ofEnvironment() map[string]string {
	return map[string]string{"deploy": "status_id", "lived": "sha", "served": "sha", "tree": "env_id", "live_rules": "env_id"}
}

// mostTrees is how many environments of one repository keep the listing of their live
// commit, first those that were deployed to most often. A listing is needed only if
// GitHub has forgotten that commit.
const mostTrees = 50

// pruneTrees deletes the listings beyond mostTrees. seq counts an environment's changes,
// so it stands for how often it was deployed to.
func (s *Store) pruneTrees(ctx context.Context) error {
	return s.pruneAll(ctx, `DELETE FROM tree WHERE env_id IN (SELECT id FROM
		(SELECT e.id, ROW_NUMBER() OVER (PARTITION BY e.repo_id ORDER BY e.seq DESC, e.live_at DESC, e.id) AS place
			FROM environment e JOIN tree ON tree.env_id = e.id) ranked WHERE place > $1 LIMIT $2)`, mostTrees)
}

// abandoned is the age at which nobody works on a plan any more: its process died, or the
// database was away when the plan came to nothing. It is planned anew.
const abandoned = time.Hour

// prunePurges deletes purges in some states that are older than before, some at a time:
// first their targets, because one purge may have very many, then the purges. The state
// is checked again in each deletion, since a purge may have been retried meanwhile.
func (s *Store) prunePurges(ctx context.Context, states string, before time.Time) error {
	for {
		var ids []string
		err := s.read(ctx, func(t *tx) (err error) {
			ids, err = t.texts(ctx, `SELECT id FROM purge WHERE id < $1 AND state IN (`+states+`) ORDER BY id LIMIT $2`,
				firstID(before), pruneAtOnce)
			return err
		})
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
		if len(ids) == 0 {
			return nil
		}
		old := fmt.Sprintf(`id IN %s AND state IN (%s)`, list(1, len(ids)), states)
		for _, query := range []string{
			fmt.Sprintf(`DELETE FROM target WHERE (purge_id, seq) IN (SELECT purge_id, seq FROM target
				WHERE purge_id IN (SELECT id FROM purge WHERE %s) LIMIT $%d)`, old, len(ids)+1),
			fmt.Sprintf(`DELETE FROM purge WHERE id IN (SELECT id FROM purge WHERE %s LIMIT $%d)`, old, len(ids)+1),
		} {
			if err := s.pruneAll(ctx, query, anys(ids)...); err != nil {
				return err
			}
		}
	}
}

// pruneJobs deletes the jobs that are done; nobody asks for them. Left to River, ten
// thousand would go at a time, and all other writes would wait.
func (s *Store) pruneJobs(ctx context.Context) error {
	done, err := s.has(ctx, `SELECT 1 FROM river_job WHERE state = 'completed'`)
	if err != nil || !done {
		return err
	}
	return s.pruneAll(ctx, `DELETE FROM river_job WHERE id IN (SELECT id FROM river_job WHERE state = 'completed' ORDER BY id LIMIT $1)`)
}

// pruneAll repeats a deletion, whose last parameter is how many rows it deletes, until it
// deletes fewer than that.
func (s *Store) pruneAll(ctx context.Context, query string, args ...any) error {
	for n := int64(pruneAtOnce); n == pruneAtOnce; {
		err := s.writeSoon(ctx, func(t *tx) (err error) {
			n, err = t.exec(ctx, query, append(args, pruneAtOnce)...)
			return err
		})
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
	return nil
}

// firstID is the least id that may have been made at that time or later. Ids sort by
// time, so the primary key serves as the index.
func firstID(at time.Time) string {
	var id ulid.ULID
	_ = id.SetTime(uint64(max(ms(at), 0)))
	return id.String()
}
