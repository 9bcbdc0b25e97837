package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// purgeColumns are the columns that scanPurge reads, of a table that is called purge. The
// subqueries read what the purge's words need from the account's circuit, the pause that
// covers it and its proof. COALESCE gives the empty text where there is none, since the
// Go side scans no NULL.
const purgeColumns = `id, key, repo_id, env_id, environment, cause, caused_by, from_sha, to_sha, to_deploy, to_status, to_at,
	network, start, note, unmatched, lane, version, state, urls, tags, cpcodes, accepted, failed, untried, reason,
	created_at, opened_at, done_at, ended_by, closed, account,
	COALESCE((SELECT words FROM budget WHERE bucket = CASE purge.account WHEN '' THEN 'requests' ELSE 'requests@' || purge.account END), ''),
	COALESCE((SELECT paused_by || ': ' || pause.reason FROM pause WHERE pause.id = purge.pause_id AND purge.pause_id > 0), ''),
	COALESCE((SELECT ` + proofColumn + ` FROM proof WHERE proof.purge_id = purge.id), '')`

// scanPurge reads a row of purgeColumns; ErrNotFound if there is none. Only an open purge
// says that it is paused: nothing of the others would be sent anyway.
func scanPurge(r row) (p ledger.Purge, err error) {
	var unmatched, proof string
	var toAt, created, opened, done int64
	err = r.Scan(&p.ID, &p.Key, &p.RepoID, &p.EnvID, &p.Environment, &p.Cause, &p.By, &p.From.SHA,
		&p.To.SHA, &p.To.Deploy, &p.To.Status, &toAt, &p.Network, &p.Start, &p.Note, &unmatched, &p.Lane, &p.Version,
		&p.State, &p.Counts.URLs, &p.Counts.Tags, &p.Counts.CPCodes, &p.Counts.Accepted, &p.Counts.Failed, &p.Counts.Untried,
		&p.Reason, &created, &opened, &done, &p.EndedBy, &p.Closed, &p.Account, &p.Paused, &p.PausedBy, &proof)
	if err != nil {
		return p, missing(err)
	}
	if p.State != ledger.Open {
		p.Paused, p.PausedBy = "", ""
	}
	if p.Proof, err = scanProof(proof); err != nil {
		return p, err
	}
	p.Account = accountName(p.Account)
	p.To.At, p.CreatedAt, p.OpenedAt, p.DoneAt = when(toAt), when(created), when(opened), when(done)
	return p, json.Unmarshal([]byte(unmatched), &p.Unmatched)
}

// Purge reads a purge by its id. A purge in state planning is not found.
func (s *Reader) Purge(ctx context.Context, id string) (p ledger.Purge, err error) {
	return s.findPurge(ctx, "id", id)
}

// PurgeByKey reads a purge by the unguessable part of its page's address. A purge in
// state planning is not found.
func (s *Reader) PurgeByKey(ctx context.Context, key string) (p ledger.Purge, err error) {
	return s.findPurge(ctx, "key", key)
}

// findPurge reads the purge with a value in a unique column.
func (s *Reader) findPurge(ctx context.Context, column, value string) (p ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err = scanPurge(t.row(ctx, `SELECT `+purgeColumns+` FROM purge WHERE `+column+` = $1 AND `+isShown, value))
		return err
	})
	if err != nil {
		return p, fmt.Errorf("read purge: %w", err)
	}
	return p, nil
}

// fate is the SQL for the fate of a target t of a purge p. What was waiting when its
// purge was cancelled is dropped, though its row may still say "waiting".
const fate = `CASE WHEN t.state = 'waiting' AND p.state = 'cancelled' THEN 'dropped' ELSE t.state END`

// Targets reads a purge's targets in order, from a sequence number on, at most limit of
// them.
func (s *Reader) Targets(ctx context.Context, purge string, from, limit int64) (lines []ledger.Target, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var l ledger.Target
			var path []byte
			var at int64
			err := r.Scan(append([]any{
				&l.PurgeID, &l.Seq, &l.Kind, &l.Action, &l.Object, &l.Rule, &path, &l.Reason, &l.Fate,
				&l.RequestID,
			}, answerInto(&at, &l.Answer)...)...)
			l.Path, l.Answer.At = string(path), when(at)
			lines = append(lines, l)
			return err
		}, `SELECT t.purge_id, t.seq, t.kind, t.action, t.object, t.rule, t.path, t.reason, `+fate+`, t.request_id, `+answerColumns+`
			FROM target t JOIN purge p ON p.id = t.purge_id`+answerJoin+`
			WHERE t.purge_id = $1 AND t.seq >= $2 ORDER BY t.seq LIMIT $3`, purge, from, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("read targets of purge %s: %w", purge, err)
	}
	return lines, nil
}

// Account is one Akamai account with what waits for it.
type Account struct {
	Name    string
	Targets int       // of open purges, neither accepted nor failed
	Paused  bool      // nothing is sent, except one request that probes
	Until   time.Time // the pause lasts until then, or until the answer of the request that probes
	Words   string    // why it is paused, or why it last was
}

// Queue counts what waits.
type Queue struct {
	Deliveries   int           // not handled yet
	Environments int           // with another commit desired than live, and without a fault; none of a repository that is gone
	Targets      int           // of open purges, neither accepted nor failed
	Held         int           // targets of purges that need approval
	Posts        int           // surfaces whose words GitHub does not show yet; none of a repository that is gone
	Notices      int           // events that a receiver is still to be told
	Refused      int           // surfaces that GitHub does not take, for ever or until a person fixes something
	Accounts     []Account     // the default one first
	PausedFor    time.Duration // since the oldest active pause of the operators; 0: there is none
}

// Queue reads how much waits.
func (s *Reader) Queue(ctx context.Context) (q Queue, err error) {
	now := ms(s.now())
	err = s.read(ctx, func(t *tx) error {
		var oldest int64
		// One statement sees one moment: in several, work that moves from one table to
		// the next would be counted nowhere.
		if err := t.row(ctx, `SELECT (SELECT COUNT(*) FROM delivery WHERE handled_at = 0),
			(SELECT COUNT(*) FROM environment WHERE `+owed+`),
			(SELECT CAST(COALESCE(SUM(urls + tags + cpcodes - accepted - failed), 0) AS BIGINT) FROM purge WHERE state = 'open'),
			(SELECT COALESCE(SUM(urls + tags + cpcodes - failed), 0) FROM purge WHERE `+heldForApproval+`),
			(SELECT COUNT(*) FROM post WHERE version > posted_version`+present+`),
			(SELECT COUNT(*) FROM post WHERE trouble <> ''`+present+`),
			(SELECT COUNT(*) FROM notice),
			(SELECT COALESCE(MIN(began_at), CAST($1 AS BIGINT)) FROM pause WHERE ended_at = 0)`, now).
			Scan(&q.Deliveries, &q.Environments, &q.Targets, &q.Held, &q.Posts, &q.Refused, &q.Notices, &oldest); err != nil {
			return err
		}
		q.PausedFor = time.Duration(max(0, now-oldest)) * time.Millisecond
		for _, account := range s.allAccounts() {
			a := Account{Name: accountName(account)}
			var until int64
			if err := t.row(ctx, `SELECT (SELECT CAST(COALESCE(SUM(urls + tags + cpcodes - accepted - failed), 0) AS BIGINT) FROM purge WHERE state = 'open' AND account = $1),
				(SELECT COALESCE(MAX(paused_until), 0) FROM budget WHERE bucket = $2),
				(SELECT COALESCE(MAX(words), '') FROM budget WHERE bucket = $2)`, account, ofAccount(requestsBucket, account)).
				Scan(&a.Targets, &until, &a.Words); err != nil {
				return err
			}
			// The circuit's words go away only with an answer. Until then the account
			// counts as paused, even after paused_until: one request probes, or none has
			// yet.
			a.Paused, a.Until = a.Words != "" && (until > now || a.Targets > 0), when(until)
			q.Accounts = append(q.Accounts, a)
		}
		return nil
	})
	return q, err
}

// Account gives the account of a name; one without anything if the name is not known.
func (q Queue) Account(name string) Account {
	for _, a := range q.Accounts {
		if a.Name == name {
			return a
		}
	}
	return Account{Name: name}
}

// Recent lists the last purges that were planned, the newest first, at most limit of
// them.
func (s *Reader) Recent(ctx context.Context, limit int) (purges []ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			p, err := scanPurge(r)
			purges = append(purges, p)
			return err
		}, `SELECT `+purgeColumns+` FROM purge WHERE `+isShown+` ORDER BY seq DESC, id DESC LIMIT $1`, limit)
	})
	return purges, err
}
