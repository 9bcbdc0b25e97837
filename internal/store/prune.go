package store

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/purgebot/purgebot/internal/ledger"
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
	if err := s.giveUp(ctx, `state IN ('done', 'cancelled') AND id < $1`, firstID(purges)); err != nil {
		return err
	}
	if err := s.giveUp(ctx, `state = 'planning' AND id < $1`, firstID(s.now().Add(-abandoned))); err != nil {
		return err
	}
	if err := s.prunePurges(ctx, isPruned); err != nil {
		return err
	}
	old := firstID(purges)
	orphan := func(column string) string { return `NOT EXISTS (SELECT 1 FROM purge WHERE purge.id = ` + column + `)` }
	for _, d := range []struct {
		table, key string
		where      string // $1 is the bound of what is kept
		args       []any
	}{
		{"delivery", "guid", `handled_at > 0 AND received_at < $1 ORDER BY received_at`, []any{ms(deliveries)}},
		{"ask", "repo_id, fact", `at < $1 ORDER BY at`, []any{ms(deliveries)}},
		{"merged", "repo_id, number", `at < $1`, []any{ms(purges)}},
		{"preview", "surface", `at < $1 ORDER BY at`, []any{ms(purges)}},
		{"request", "id", `id < $1 AND state NOT IN ('ready', 'sending') AND settled_at < $2
			AND NOT EXISTS (SELECT 1 FROM target WHERE target.request_id = request.id AND target.request_id <> '') ORDER BY id`, []any{old, ms(purges)}},
		{"answer", "request_id, attempt", `request_id < $1
			AND NOT EXISTS (SELECT 1 FROM request WHERE request.id = answer.request_id) ORDER BY request_id`, []any{old}},
		{"pause", "id", `ended_at > 0 AND ended_at < $1`, []any{ms(purges)}},
		{"notice", "receiver, id", `at < $1`, []any{ms(s.now().Add(-noticeKept - time.Hour))}}, // of receivers that nobody tells any more
		{"host", "name", `accepted_at < $1`, []any{ms(purges)}},
		{"command", "repo_id, comment_id", `at < $1 AND outcome <> '' AND ` + orphan(`command.purge_id`) + ` ORDER BY at`, []any{ms(purges)}},
		{"page", "purge_id, seq", `purge_id < $1 AND ` + orphan(`page.purge_id`), []any{old}},
		{"proof", "purge_id", `purge_id < $1 AND ` + orphan(`proof.purge_id`), []any{old}},
		{"push", "repo_id, branch, before_sha, after_sha, at", `at < $1 ORDER BY at`, []any{ms(purges)}},
		{"deploy", "env_id, status_id", `recorded_at < $1 AND NOT EXISTS (SELECT 1 FROM environment e
			WHERE e.id = deploy.env_id AND deploy.status_id IN (e.live_status, e.desired_status)) ORDER BY recorded_at`, []any{ms(purges)}},
		{"lived", "env_id, sha", `at > 0 AND at < $1 AND NOT EXISTS (SELECT 1 FROM environment e
			WHERE e.id = lived.env_id AND e.live_sha = lived.sha) ORDER BY at`, []any{ms(purges)}},
		{"post", "surface", `version = posted_version AND next_at < $1 AND (state <> 'pending' OR purge_id <> '')
			AND ` + orphan(`post.purge_id`) + ` ORDER BY next_at`, []any{ms(purges)}},
		{"post", "surface", `version > posted_version AND purge_id <> '' AND ` + orphan(`post.purge_id`), nil}, // GitHub was never reached meanwhile
	} {
		if err := s.pruneRows(ctx, d.table, d.key, d.where, d.args...); err != nil {
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
// An environment goes with its other rows in one transaction, since it may be deployed to
// meanwhile. Only its failed deployments may be many: the first of them go before.
func (s *Store) pruneEnvironments(ctx context.Context, before time.Time) error {
	for more := true; more; {
		err := s.writeSoon(ctx, func(t *tx) error {
			ids, err := t.texts(ctx, `SELECT id FROM environment WHERE desired_at > 0 AND desired_at < $1 AND live_at < $1
				AND (desired_sha = live_sha OR repo_id IN (SELECT id FROM repo WHERE gone <> ''))
				AND NOT EXISTS (SELECT 1 FROM purge WHERE purge.env_id = environment.id) ORDER BY id LIMIT 1`+s.skipLocked(), ms(before))
			if more = len(ids) > 0; err != nil || !more {
				return err
			}
			n, err := t.exec(ctx, `DELETE FROM deploy WHERE (env_id, status_id) IN
				(SELECT env_id, status_id FROM deploy WHERE env_id = $1 LIMIT $2)`, ids[0], pruneAtOnce)
			if err != nil || n == pruneAtOnce {
				return err
			}
			for _, row := range []string{"lived WHERE env_id", "served WHERE env_id", "tree WHERE env_id", "live_rules WHERE env_id", "environment WHERE id"} {
				if _, err := t.exec(ctx, `DELETE FROM `+row+` = $1`, ids[0]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
	return nil
}

// mostTrees is how many environments of one repository keep the listing of their live
// commit, first those that were deployed to most often. A listing is needed only if
// GitHub has forgotten that commit.
const mostTrees = 50

// pruneTrees deletes the listings beyond mostTrees. seq counts an environment's changes,
// so it stands for how often it was deployed to.
func (s *Store) pruneTrees(ctx context.Context) error {
	return s.someAtATime(ctx, `DELETE FROM tree WHERE env_id IN (SELECT id FROM
		(SELECT e.id, ROW_NUMBER() OVER (PARTITION BY e.repo_id ORDER BY e.seq DESC, e.live_at DESC, e.id) AS place
			FROM environment e JOIN tree ON tree.env_id = e.id) ranked WHERE place > $1 LIMIT $2)`, mostTrees)
}

// abandoned is the age at which nobody works on a plan any more: its process died, or the
// database was away when the plan came to nothing. It is planned anew.
const abandoned = time.Hour

// giveUp marks the purges of a condition as pruned. From then on nobody finds, opens or
// retries them. This comes before the first of their rows is deleted: a purge may be
// opened or retried meanwhile, and must then have all its targets.
func (s *Store) giveUp(ctx context.Context, where string, args ...any) error {
	return s.someAtATime(ctx, purgeState().change(ledger.Prune, "", `id IN (SELECT id FROM purge WHERE `+where+` `+s.limit(args)+`)`), args...)
}

// isPruned is the condition of a purge that giveUp marked.
const isPruned = `state = 'pruned'`

// prunePurges deletes the purges of a condition, which must include isPruned: first their
// targets, because one purge may have very many, then the purges.
func (s *Store) prunePurges(ctx context.Context, where string, args ...any) error {
	if err := s.pruneRows(ctx, "target", "purge_id, seq", `purge_id IN (SELECT id FROM purge WHERE `+where+`)`, args...); err != nil {
		return err
	}
	return s.pruneRows(ctx, "purge", "id", where+` AND NOT EXISTS (SELECT 1 FROM target WHERE target.purge_id = purge.id)`, args...)
}

// pruneJobs deletes the jobs that are done; nobody asks for them. Left to River, ten
// thousand would go at a time, and all other writes would wait.
func (s *Store) pruneJobs(ctx context.Context) error {
	done, err := s.has(ctx, `SELECT 1 FROM river_job WHERE state = 'completed'`)
	if err != nil || !done {
		return err
	}
	return s.pruneRows(ctx, "river_job", "id", `state = 'completed' ORDER BY id`)
}

// pruneRows deletes the rows of a condition, some at a time. key is the table's primary
// key.
func (s *Store) pruneRows(ctx context.Context, table, key, where string, args ...any) error {
	return s.someAtATime(ctx, `DELETE FROM `+table+` WHERE (`+key+`) IN (SELECT `+key+` FROM `+table+` WHERE `+where+` `+s.limit(args)+`)`, args...)
}

// limit ends a SELECT that chooses the rows for someAtATime, after its arguments. It locks
// them, so that the condition still holds when they are changed: PostgreSQL looks at a row
// again that someone else has just changed, but not at what chose it. Rows that others
// lock are left for the next time.
func (s *Store) limit(args []any) string {
	return fmt.Sprintf(`LIMIT $%d`, len(args)+1) + s.skipLocked()
}

// someAtATime repeats a change, whose last parameter is how many rows it touches at most,
// until it touches fewer than that.
func (s *Store) someAtATime(ctx context.Context, query string, args ...any) error {
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
