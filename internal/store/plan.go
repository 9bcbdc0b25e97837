package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// chunk is how many targets one transaction writes: small enough that nobody
// waits long for the write lock, large enough that 100,000 are quick.
const chunk = 4000

// Begin writes a purge in state planning: its targets may now be added, and
// nobody sees or sends them until Commit or Open. Its ID and Key are made here.
func (s *Store) Begin(ctx context.Context, p ledger.Purge) (ledger.Purge, error) {
	p.ID, p.Key, p.State, p.CreatedAt = s.ids.new(s.now()), newKey(), ledger.Planning, s.now()
	unmatched, err := json.Marshal(p.Unmatched)
	if err != nil {
		return p, err
	}
	err = s.writeSoon(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO purge (id, key, repo_id, env_id, environment, cause, caused_by,
				from_sha, to_sha, to_deploy, to_status, to_at, network, start, note, unmatched, lane, state, created_at)
			VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19)`,
			p.ID, p.Key, p.RepoID, p.EnvID, p.Environment, string(p.Cause), p.By,
			p.From.SHA, p.To.SHA, p.To.Deploy, p.To.Status, ms(p.To.At), string(p.Network), p.Start, p.Note,
			string(unmatched), p.Lane, string(p.State), ms(p.CreatedAt))
		return err
	})
	if err != nil {
		return p, fmt.Errorf("begin purge of %s: %w", p.Environment, err)
	}
	return p, nil
}

// AddTargets writes the targets of a purge that is being planned, in chunks.
// A target with a reason is a failed one.
func (s *Store) AddTargets(ctx context.Context, p ledger.Purge, targets []mapping.Target) error {
	seq := 0
	for len(targets) > 0 {
		n := min(chunk, len(targets))
		err := s.writeSoon(ctx, func(t *tx) error { return s.insertTargets(ctx, t, p, seq, targets[:n]) })
		if err != nil {
			return fmt.Errorf("write targets of purge %s: %w", p.ID, err)
		}
		seq += n
		targets = targets[n:]
	}
	return nil
}

// rowsAtOnce bounds a statement that lists the values of one column.
// SQLite's driver takes time for a statement that grows with the square of
// its parameters.
const rowsAtOnce = 100

// insertAtOnce bounds a statement that has whole rows. On SQLite 400 cost a
// hundred times as much for each row as 16; on PostgreSQL each statement is a
// round trip.
func (s *Store) insertAtOnce() int {
	if s.name() == "sqlite" {
		return 16
	}
	return 400
}

func (s *Store) insertTargets(ctx context.Context, t *tx, p ledger.Purge, seq int, targets []mapping.Target) error {
	for len(targets) > 0 {
		n := min(s.insertAtOnce(), len(targets))
		var q strings.Builder
		q.WriteString(`INSERT INTO target (purge_id, seq, kind, network, action, object, rule, path, reason, state) VALUES `)
		args := make([]any, 0, n*10)
		for i, g := range targets[:n] {
			if i > 0 {
				q.WriteByte(',')
			}
			q.WriteString(list(len(args)+1, 10))
			fate := ledger.Waiting
			if g.Reason != "" {
				fate = ledger.Failed
			}
			args = append(args, p.ID, seq+i, string(g.Kind), string(p.Network), string(g.Action), g.Object,
				g.Rule, []byte(g.Path), g.Reason, string(fate))
		}
		if _, err := t.exec(ctx, q.String(), args...); err != nil {
			return err
		}
		seq += n
		targets = targets[n:]
	}
	return nil
}

// CopyTargets writes the targets of another purge into one that is being
// planned: those that policy refused stay refused, the others wait.
func (s *Store) CopyTargets(ctx context.Context, to, from string) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO target (purge_id, seq, kind, network, action, object, rule, path, reason, state)
			SELECT $1, seq, kind, network, action, object, rule, path,
				CASE WHEN state = 'failed' AND request_id = '' THEN reason ELSE '' END,
				CASE WHEN state = 'failed' AND request_id = '' THEN 'failed' ELSE 'waiting' END
			FROM target WHERE purge_id = $2`, to, from)
		return err
	})
}

// Move is what moves an environment: the plan of a purge, or of none.
type Move struct {
	Env     ledger.Environment // as it was read when planning began
	To      ledger.Point
	Purge   *ledger.Purge // planned, its targets written; nil: live moves on without one
	Hold    bool          // the purge waits for a person
	Words   string        // without a purge: the status of the commit; "" says nothing
	Context string        // of the commit status
	Tree    []byte        // the listing of To, to be remembered; nil: none
	Rules   *Rules        // of To, to be remembered; nil: none
	Carried []string      // further commits that this move carried

	// Served is a commit that was overtaken, where this move is not of the live
	// commit but of the purge of what that one served: its status speaks. Without
	// a purge it was carried.
	Served ledger.Point

	// Carries is what is said of a commit, and of a held purge, that this
	// move's purge covers; Overtakes why a held one that it does not cover is
	// waited for no longer. Both in public words.
	Carries, Overtakes string
}

// Commit moves an environment's live commit by compare-and-set and opens the
// purge that it planned, in one transaction. It reports false where another
// worker or a newer fact moved the environment meanwhile: then the planned
// purge is thrown away and the environment must be reconciled again.
func (s *Store) Commit(ctx context.Context, m Move) (ok bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		e := m.Env
		before := e.Live
		e.Live, e.Fault, e.Seq = m.To, "", e.Seq+1
		n, err := t.exec(ctx, `UPDATE environment SET live_sha = $3, live_deploy = $4, live_status = $5, live_at = $6,
				fault = '', seq = seq + 1, next_at = 0, rung_at = 0, tries = 0 WHERE id = $1 AND seq = $2`,
			e.ID, m.Env.Seq, m.To.SHA, m.To.Deploy, m.To.Status, ms(m.To.At))
		if err != nil {
			return err
		}
		if ok = n == 1; !ok {
			return s.discard(ctx, t, m.Purge)
		}
		if _, err := t.exec(ctx, `INSERT INTO lived (env_id, sha) VALUES ($1,$2)
			ON CONFLICT (env_id, sha) DO NOTHING`, e.ID, m.To.SHA); err != nil {
			return err
		}
		if m.Tree != nil {
			if _, err := t.exec(ctx, `INSERT INTO tree (env_id, listing) VALUES ($1,$2)
				ON CONFLICT (env_id) DO UPDATE SET listing = excluded.listing`, e.ID, m.Tree); err != nil {
				return err
			}
		}
		if err := s.rememberRules(ctx, t, e.ID, m.Rules); err != nil {
			return err
		}
		if err := s.speak(ctx, t, m, e); err != nil {
			return err
		}
		if err := s.overtake(ctx, t, m); err != nil {
			return err
		}
		if err := s.forgetServed(ctx, t, m); err != nil {
			return err
		}
		if m.Context == "" { // nobody was told of this environment
			return nil
		}
		return s.closeCarried(ctx, t, m, before)
	})
	if err != nil {
		return false, fmt.Errorf("move %s to %s: %w", m.Env.Name, m.To.SHA, err)
	}
	return ok, nil
}

func (s *Store) discard(ctx context.Context, t *tx, p *ledger.Purge) error {
	if p == nil {
		return nil
	}
	if _, err := t.exec(ctx, `DELETE FROM target WHERE purge_id = $1`, p.ID); err != nil {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM purge WHERE id = $1 AND state = 'planning'`, p.ID)
	return err
}

func (s *Store) speak(ctx context.Context, t *tx, m Move, e ledger.Environment) error {
	switch {
	case m.Purge != nil:
		if err := s.open(ctx, t, m.Purge.ID, m.Hold); err != nil {
			return err
		}
		return s.own(ctx, t, e, cmp.Or(m.Served.SHA, m.To.SHA), m.Context, m.Purge.ID)
	case m.Words != "":
		return s.announce(ctx, t, Announcement{
			RepoID: e.RepoID, EnvID: e.ID, SHA: m.To.SHA, Context: m.Context,
			State: "success", Words: m.Words, At: m.To.At,
		})
	default:
		return nil
	}
}

// open counts a planned purge's targets and lets it go, or holds it.
func (s *Store) open(ctx context.Context, t *tx, id string, hold bool) error {
	var c ledger.Counts
	var reason string
	waiting := map[mapping.Kind]bool{}
	err := t.each(ctx, func(r row) error {
		var kind mapping.Kind
		var state ledger.Fate
		var n int
		if err := r.Scan(&kind, &state, &n); err != nil {
			return err
		}
		switch kind {
		case mapping.URL:
			c.URLs += n
		case mapping.Tag:
			c.Tags += n
		case mapping.CPCode:
			c.CPCodes += n
		}
		if state == ledger.Failed {
			c.Failed += n
		} else {
			waiting[kind] = true
		}
		return nil
	}, `SELECT kind, state, COUNT(*) FROM target WHERE purge_id = $1 GROUP BY kind, state`, id)
	if err != nil {
		return err
	}
	if c.Failed > 0 {
		if err := t.row(ctx, `SELECT reason FROM target WHERE purge_id = $1 AND state = 'failed' ORDER BY seq LIMIT 1`, id).
			Scan(&reason); err != nil {
			return err
		}
	}
	now := ms(s.now())
	state, opened, done := ledger.Open, now, int64(0)
	switch {
	case c.Left() == 0:
		state, done = ledger.Done, now
	case hold:
		state, opened = ledger.Held, 0
	}
	err = affected(t.exec(ctx, `UPDATE purge SET state = $2, urls = $3, tags = $4, cpcodes = $5, failed = $6, reason = $7,
			opened_at = $8, done_at = $9, version = version + 1 WHERE id = $1 AND state = 'planning'`,
		id, string(state), c.URLs, c.Tags, c.CPCodes, c.Failed, reason, opened, done))
	if err != nil {
		return err
	}
	if state == ledger.Open {
		for kind := range waiting {
			t.rings(PurgeJob{Objects: string(kind)})
		}
	}
	return nil
}

// closeCarried ends the words of every commit that this move overtook: the
// deployments recorded since the last live one, and the pushes that led to
// the commit that is live now.
func (s *Store) closeCarried(ctx context.Context, t *tx, m Move, before ledger.Point) error {
	shas := map[string]bool{}
	add := func(r row) error {
		var sha string
		if err := r.Scan(&sha); err != nil {
			return err
		}
		shas[sha] = true
		return nil
	}
	if err := t.each(ctx, add, `SELECT sha FROM deploy WHERE env_id = $1 AND state IN ('success','failure','error')
			AND (recorded_at > $2 OR (recorded_at = $2 AND status_id > $3))
			AND (recorded_at < $4 OR (recorded_at = $4 AND status_id < $5))`,
		m.Env.ID, ms(before.At), before.Status, ms(m.To.At), m.To.Status); err != nil {
		return err
	}
	if err := s.pushesBefore(ctx, t, m, add); err != nil {
		return err
	}
	for _, sha := range m.Carried {
		shas[sha] = true
	}
	if m.Served.SHA != "" {
		shas[m.Served.SHA] = true
	}
	delete(shas, m.To.SHA)
	for sha := range shas {
		if err := s.announce(ctx, t, Announcement{
			RepoID: m.Env.RepoID, EnvID: m.Env.ID, SHA: sha, Context: m.Context,
			State: "success", Words: m.Carries, Ends: true,
			At: m.To.At.Add(time.Millisecond), // after all that happened within GitHub's second
		}); err != nil {
			return err
		}
	}
	return nil
}

// pushesBefore lists the commits with words of their own that were pushed
// before the one that is live now. GitHub tells whole seconds: of those within
// one, only what a push says that it moved from came before it.
func (s *Store) pushesBefore(ctx context.Context, t *tx, m Move, add func(row) error) error {
	push, err := pushOf(ctx, t, m.Env.RepoID, m.To.SHA)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	const spoken = `SELECT p.after_sha FROM push p JOIN post o ON o.repo_id = p.repo_id AND o.sha = p.after_sha
		WHERE p.repo_id = $1 AND p.branch = $2 AND o.env_id = $3 AND o.purge_id = '' AND `
	if err == nil {
		err = t.each(ctx, add, spoken+`p.at < $4`, m.Env.RepoID, push.Branch, m.Env.ID, ms(push.At))
	}
	seen := map[string]bool{push.After: true} // a branch may move to and fro
	for earlier := push; err == nil; {
		earlier, err = pushOf(ctx, t, m.Env.RepoID, earlier.Before)
		if errors.Is(err, ErrNotFound) || seen[earlier.After] || !earlier.At.Equal(push.At) || earlier.Branch != push.Branch {
			return nil
		}
		seen[earlier.After] = true
		if err == nil {
			err = t.each(ctx, add, spoken+`p.after_sha = $4`, m.Env.RepoID, push.Branch, m.Env.ID, earlier.After)
		}
	}
	return err
}

// LastPurge reads the last purge of an environment for a commit: its id, and
// when its first target left; the zero time when none has.
func (s *Store) LastPurge(ctx context.Context, env, sha string) (id string, firstSent time.Time, err error) {
	err = s.read(ctx, func(t *tx) error {
		var first int64
		err := t.row(ctx, `SELECT id, first_sent_at FROM purge WHERE env_id = $1 AND to_sha = $2
			AND state <> 'planning' AND cause NOT IN ($3, $4) ORDER BY id DESC LIMIT 1`,
			env, sha, string(ledger.CauseComment), string(ledger.CauseServed)).
			Scan(&id, &first)
		firstSent = when(first)
		return missing(err)
	})
	return id, firstSent, err
}

// OpenPurge opens a planned purge that moves no environment: one that a
// person asked for.
func (s *Store) OpenPurge(ctx context.Context, id string, hold bool) error {
	return s.write(ctx, func(t *tx) error { return s.open(ctx, t, id, hold) })
}
