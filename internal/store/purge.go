package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/purgebot/purgebot/internal/ledger"
)

const purgeColumns = `id, key, repo_id, env_id, environment, cause, caused_by, from_sha, to_sha, to_deploy, to_status, to_at,
	network, start, note, unmatched, lane, version, state, urls, tags, cpcodes, sent, accepted, failed, reason,
	created_at, opened_at, done_at, ended_by, closed, COALESCE((SELECT words FROM budget WHERE bucket = 'requests'), '')`

func scanPurge(r row) (p ledger.Purge, err error) {
	var unmatched string
	var toAt, created, opened, done int64
	err = r.Scan(&p.ID, &p.Key, &p.RepoID, &p.EnvID, &p.Environment, &p.Cause, &p.By, &p.From.SHA,
		&p.To.SHA, &p.To.Deploy, &p.To.Status, &toAt, &p.Network, &p.Start, &p.Note, &unmatched, &p.Lane, &p.Version,
		&p.State, &p.Counts.URLs, &p.Counts.Tags, &p.Counts.CPCodes, &p.Counts.Sent, &p.Counts.Accepted, &p.Counts.Failed,
		&p.Reason, &created, &opened, &done, &p.EndedBy, &p.Closed, &p.Paused)
	if err != nil {
		return p, missing(err)
	}
	if p.State != ledger.Open {
		p.Paused = ""
	}
	p.To.At, p.CreatedAt, p.OpenedAt, p.DoneAt = when(toAt), when(created), when(opened), when(done)
	return p, json.Unmarshal([]byte(unmatched), &p.Unmatched)
}

// Purge reads a purge by its id.
func (s *Store) Purge(ctx context.Context, id string) (p ledger.Purge, err error) {
	return s.findPurge(ctx, "id", id)
}

// PurgeByKey reads a purge by the unguessable part of its page's address.
func (s *Store) PurgeByKey(ctx context.Context, key string) (p ledger.Purge, err error) {
	return s.findPurge(ctx, "key", key)
}

func (s *Store) findPurge(ctx context.Context, column, value string) (p ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err = scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE `+column+` = $1 AND state <> 'planning'`, value))
		return err
	})
	if err != nil {
		return p, fmt.Errorf("read purge: %w", err)
	}
	return p, nil
}

// TargetLine is a target as its purge's page shows it.
type TargetLine struct {
	ledger.Target
	AkamaiID  string
	SupportID string
}

// Targets reads a purge's targets in order, from a sequence number on.
func (s *Store) Targets(ctx context.Context, purge string, from, limit int64) (lines []TargetLine, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var l TargetLine
			var path []byte
			err := r.Scan(&l.PurgeID, &l.Seq, &l.Kind, &l.Action, &l.Object, &l.Rule, &path, &l.Reason, &l.Fate,
				&l.RequestID, &l.AkamaiID, &l.SupportID)
			l.Path = string(path)
			lines = append(lines, l)
			return err
		}, `SELECT t.purge_id, t.seq, t.kind, t.action, t.object, t.rule, t.path, t.reason, t.state, t.request_id,
				COALESCE(r.akamai_id, ''), COALESCE(r.support_id, '')
			FROM target t LEFT JOIN request r ON r.id = t.request_id
			WHERE t.purge_id = $1 AND t.seq >= $2 ORDER BY t.seq LIMIT $3`, purge, from, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("read targets of purge %s: %w", purge, err)
	}
	return lines, nil
}

// Pause is the account's pause, if any: why nothing is sent.
type Pause struct {
	Paused bool
	Words  string
}

// Queue counts what waits.
type Queue struct {
	Deliveries   int // not handled yet
	Environments int // where another commit is desired than is live, and nothing is at fault; none of a repository that is gone
	Targets      int // of open purges, neither accepted nor failed
	Posts        int // words that GitHub does not show yet; none of a repository that is gone
	Pause        Pause
}

// Queue reads how much waits.
func (s *Store) Queue(ctx context.Context) (q Queue, err error) {
	now := ms(s.now())
	err = s.read(ctx, func(t *tx) error {
		var until int64
		var words string
		if err := t.row(ctx, `SELECT (SELECT COUNT(*) FROM delivery WHERE handled_at = 0),
			(SELECT COUNT(*) FROM environment WHERE `+owed+`),
			(SELECT COALESCE(SUM(urls + tags + cpcodes - accepted - failed), 0) FROM purge WHERE state = 'open'),
			(SELECT COUNT(*) FROM post WHERE version > posted_version`+present+`),
			(SELECT COALESCE(MAX(paused_until), 0) FROM budget WHERE bucket = 'requests'),
			(SELECT COALESCE(MAX(words), '') FROM budget WHERE bucket = 'requests')`).
			Scan(&q.Deliveries, &q.Environments, &q.Targets, &q.Posts, &until, &words); err != nil {
			return err
		}
		// While one request probes, or nobody has yet, it is still paused.
		q.Pause = Pause{Paused: words != "" && (until > now || q.Targets > 0), Words: words}
		return nil
	})
	return q, err
}

// Recent lists the last purges, newest first.
func (s *Store) Recent(ctx context.Context, limit int) (purges []ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			p, err := scanPurge(r)
			purges = append(purges, p)
			return err
		}, `SELECT `+purgeColumns+` FROM purge WHERE state <> 'planning' ORDER BY id DESC LIMIT $1`, limit)
	})
	return purges, err
}
