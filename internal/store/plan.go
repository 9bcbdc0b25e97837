package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// chunk is how many targets one transaction writes. It is small enough that nobody waits
// long for the write lock, and large enough that 100,000 targets are written quickly.
const chunk = 500

// Begin writes a purge in state planning and makes its ID and Key. Its targets may then
// be added. Nobody sees or sends them until Commit or OpenManual opens it.
//
// If the process dies before that, the purge stays in planning, and Prune deletes it
// after an hour; the plan is made anew. That is why losing this write with the machine's
// power does no harm, and writeSoon is enough.
func (s *Store) Begin(ctx context.Context, p ledger.Purge) (ledger.Purge, error) {
	p.ID, p.Key, p.State, p.CreatedAt = s.ids.new(s.now()), newKey(), ledger.Planning, s.now()
	unmatched, err := json.Marshal(p.Unmatched)
	if err != nil {
		return p, err
	}
	err = s.writeSoon(ctx, func(t *tx) error {
		// seq gives the order in which purges were begun. Ids do not: they come from a
		// replica's clock, which may be set back.
		var seq int64
		if err := t.row(ctx, `UPDATE counter SET n = n + 1 WHERE name = 'purge' RETURNING n`).Scan(&seq); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO purge (id, key, repo_id, env_id, environment, cause, caused_by,
				from_sha, to_sha, to_deploy, to_status, to_at, network, start, note, unmatched, lane, state, created_at, seq, account)
			VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21)`,
			p.ID, p.Key, p.RepoID, p.EnvID, p.Environment, string(p.Cause), p.By,
			p.From.SHA, p.To.SHA, p.To.Deploy, p.To.Status, ms(p.To.At), string(p.Network), p.Start, p.Note,
			string(unmatched), p.Lane, string(p.State), ms(p.CreatedAt), seq, accountColumn(p.Account))
		return err
	})
	if err != nil {
		return p, fmt.Errorf("begin purge of %s: %w", p.Environment, err)
	}
	return p, nil
}

// AddTargets writes the targets of a purge that is being planned, in chunks, and counts
// them. Call it once for a purge: it numbers the targets from 0. A target that the judge
// refuses is written as failed, with the judge's words.
func (s *Store) AddTargets(ctx context.Context, p ledger.Purge, targets iter.Seq[mapping.Target], judge Judge) error {
	seq := 0
	part := make([]mapping.Target, 0, chunk)
	write := func() error {
		err := s.writeSoon(ctx, func(t *tx) error {
			// Targets and counts change together: a chunk that is rolled back is counted
			// nowhere.
			if err := s.insertTargets(ctx, t, p, seq, part); err != nil {
				return err
			}
			return countTargets(ctx, t, p.ID, part)
		})
		seq, part = seq+len(part), part[:0]
		return err
	}
	for g := range targets {
		g.Reason = judge(g)
		if part = append(part, g); len(part) < chunk {
			continue
		}
		if err := write(); err != nil {
			return fmt.Errorf("write targets of purge %s: %w", p.ID, err)
		}
	}
	if err := write(); err != nil {
		return fmt.Errorf("write targets of purge %s: %w", p.ID, err)
	}
	return nil
}

// countTargets adds new targets to the counts of a purge that is being planned. It fails
// with ErrNotFound where the purge is not in planning any more.
func countTargets(ctx context.Context, t *tx, purge string, targets []mapping.Target) error {
	var c ledger.Counts
	reason := ""
	for _, g := range targets {
		if c.Add(g.Kind); g.Reason != "" {
			c.Failed++
			reason = cmp.Or(reason, g.Reason)
		}
	}
	return affected(t.exec(ctx, `UPDATE purge SET urls = urls + $2, tags = tags + $3, cpcodes = cpcodes + $4, failed = failed + $5,
			reason = CASE WHEN reason = '' THEN $6 ELSE reason END WHERE id = $1 AND state = 'planning'`,
		purge, c.URLs, c.Tags, c.CPCodes, c.Failed, reason))
}

// rowsAtOnce is how many values of one column a statement lists at most. SQLite's driver
// takes time that grows with the square of a statement's parameters.
const rowsAtOnce = 100

// insertAtOnce is how many whole rows one INSERT has at most. On SQLite a row costs a
// hundred times as much in a statement of 400 rows as in one of 16. On PostgreSQL each
// statement is a round trip, so there it is more.
func (s *Store) insertAtOnce() int {
	if s.name() == "sqlite" {
		return 16
	}
	return 400
}

// insertTargets writes targets with the sequence numbers from seq on. 10 is the number of
// columns.
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

// Move is what moves an environment: the plan with its purge, or a plan that needs no
// purge.
type Move struct {
	Env     ledger.Environment // as planning read it: Commit compares its Seq
	To      ledger.Point       // becomes live
	Purge   *ledger.Purge      // in planning, with its targets written; nil: live moves on without a purge
	Hold    bool               // the purge waits for a person
	Asks    ledger.Asks        // what to look at around the purge
	Words   string             // without a purge: the words of the commit's status; "": nothing is said
	Context string             // of the commit status; "": the environment has none
	Tree    []byte             // the listing of To, to remember; nil: none
	Rules   *Rules             // the rules file of To, to remember; nil: none
	Pulls   []int              // numbers of merged pull requests that To carried and that get a comment
	Carried []string           // SHAs of further commits that this move carried
	Served  []ledger.Point     // successes that To overtook and that no webhook told of

	// Overtaken is set where this move does not change the live commit, but purges what
	// an overtaken commit served. Then that commit's status speaks for the purge. Without
	// a purge its status says that it was carried.
	Overtaken ledger.Point

	// Carries is said of a commit, and of a held purge, that this move's purge covers.
	// Overtakes says why nobody waits any longer for a held purge that it does not cover.
	// Both are public words.
	Carries, Overtakes string
}

// Commit moves an environment's live commit by compare-and-set and opens the planned
// purge, in one transaction. It reports false where another worker or a newer fact moved
// the environment meanwhile. Then it has thrown the planned purge away, and the caller
// must reconcile the environment again.
//
// It is on disk when it returns: from then on live counts as purged, and only the purge's
// own rows can still send those targets.
func (s *Store) Commit(ctx context.Context, m Move) (ok bool, err error) {
	// Read before the transaction: the comparison may take long, and what it compares
	// does not change while both purges stay as they are.
	covered, err := s.covered(ctx, m)
	if err == nil {
		err = s.write(ctx, func(t *tx) (err error) {
			ok, err = s.commit(ctx, t, m, covered)
			return err
		})
	}
	if err == nil && !ok && m.Purge != nil {
		err = s.discard(ctx, m.Purge.ID)
	}
	if err != nil {
		return false, fmt.Errorf("move %s to %s: %w", m.Env.Name, m.To.SHA, err)
	}
	return ok, nil
}

// commit is Commit's transaction. Its first statement is the compare-and-set: the second
// worker changes no row and stops there. Everything else depends on it and is committed
// with it or not at all: what is remembered of the commit, its words, its purge, and the
// end of other commits' words.
func (s *Store) commit(ctx context.Context, t *tx, m Move, covered []held) (ok bool, err error) {
	e := m.Env
	before := e.Live
	e.Live, e.Fault, e.Seq = m.To, "", e.Seq+1
	n, err := t.exec(ctx, `UPDATE environment SET live_sha = $3, live_deploy = $4, live_status = $5, live_at = $6, live_began = $7,
			fault = '', seq = seq + 1, next_at = 0, rung_at = 0, tries = 0 WHERE id = $1 AND seq = $2`,
		e.ID, m.Env.Seq, m.To.SHA, m.To.Deploy, m.To.Status, ms(m.To.At), ms(m.To.Began))
	if err != nil || n == 0 {
		return false, err
	}
	// The last time counts, not the first: Prune forgets commits by it.
	if _, err := t.exec(ctx, `INSERT INTO lived (env_id, sha, at) VALUES ($1,$2,$3)
		ON CONFLICT (env_id, sha) DO UPDATE SET at = excluded.at`, e.ID, m.To.SHA, ms(s.now())); err != nil {
		return false, err
	}
	if m.Tree != nil {
		if _, err := t.exec(ctx, `INSERT INTO tree (env_id, listing) VALUES ($1,$2)
			ON CONFLICT (env_id) DO UPDATE SET listing = excluded.listing`, e.ID, m.Tree); err != nil {
			return false, err
		}
	}
	if err := s.rememberRules(ctx, t, e.ID, m.Rules); err != nil {
		return false, err
	}
	if err := s.openAndAnnounce(ctx, t, m, e); err != nil {
		return false, err
	}
	if err := s.overtake(ctx, t, m, covered); err != nil {
		return false, err
	}
	for _, p := range m.Served {
		if err := s.noteOvertaken(ctx, t, e.ID, p); err != nil {
			return false, err
		}
	}
	if err := s.forgetOvertaken(ctx, t, m); err != nil {
		return false, err
	}
	return true, s.closeCarried(ctx, t, m, before)
}

// discard deletes a purge that is still in planning. If it breaks off, Prune deletes the
// rest.
func (s *Store) discard(ctx context.Context, purge string) error {
	if err := s.giveUp(ctx, `state = 'planning' AND id = $1`, purge); err != nil {
		return err
	}
	return s.prunePurges(ctx, isPruned+` AND id = $1`, purge)
}

// openAndAnnounce opens a move's purge and gives the commit's status to it. Without a
// purge the status says why there is none.
func (s *Store) openAndAnnounce(ctx context.Context, t *tx, m Move, e ledger.Environment) error {
	switch {
	case m.Purge != nil:
		if err := s.openAsked(ctx, t, *m.Purge, m.Hold, m.Asks); err != nil {
			return err
		}
		if err := s.tellPurge(ctx, t, m.Purge.ID); err != nil {
			return err
		}
		if err := s.tellPulls(ctx, t, e, m.To.SHA, m.Pulls, m.Purge.ID); err != nil {
			return err
		}
		return s.bindStatus(ctx, t, e, cmp.Or(m.Overtaken.SHA, m.To.SHA), m.Context, m.Purge.ID)
	case m.Words != "":
		return s.announce(ctx, t, Announcement{
			RepoID: e.RepoID, EnvID: e.ID, SHA: m.To.SHA, Context: m.Context,
			State: "success", Words: m.Words, At: m.To.At,
		})
	default:
		return nil
	}
}

// openAsked opens a planned purge. Where its rules ask to look at the origin first, it
// holds the purge until a look lets it go. A purge that waits for a person does not wait
// for the origin as well.
func (s *Store) openAsked(ctx context.Context, t *tx, p ledger.Purge, hold bool, asks ledger.Asks) error {
	state := ledger.ProofPurged
	if asks.Verify != nil && !hold {
		state, hold = ledger.ProofOrigin, true
	}
	if err := s.open(ctx, t, p.ID, hold); err != nil {
		return err
	}
	return s.prove(ctx, t, p, asks, state)
}

// open takes a purge out of planning: it is open, held, or done at once where the judge
// refused every target. Only an open purge wakes the jobs that send it.
func (s *Store) open(ctx context.Context, t *tx, id string, hold bool) error {
	var left int
	if err := t.row(ctx, `SELECT urls + tags + cpcodes - failed FROM purge WHERE id = $1 AND state = 'planning'`, id).
		Scan(&left); err != nil {
		return missing(err)
	}
	now := ms(s.now())
	how, opened, done := ledger.Opened, now, int64(0)
	switch {
	case left == 0:
		how, done = ledger.Emptied, now
	case hold:
		how, opened = ledger.HeldBack, 0
	}
	if _, err := t.exec(ctx, purgeState().change(how, `opened_at = $2, done_at = $3, version = version + 1`, `id = $1`), id, opened, done); err != nil {
		return err
	}
	if how != ledger.Opened {
		return nil
	}
	return wakeKinds(ctx, t, id)
}

// wakeKinds enqueues the purge job of each kind of object that a purge has waiting.
func wakeKinds(ctx context.Context, t *tx, purge string) error {
	var account string
	if err := t.row(ctx, `SELECT account FROM purge WHERE id = $1`, purge).Scan(&account); err != nil {
		return missing(err)
	}
	for _, kind := range []mapping.Kind{mapping.URL, mapping.Tag, mapping.CPCode} {
		waits, err := t.has(ctx, `SELECT 1 FROM target WHERE purge_id = $1 AND kind = $2 AND state = 'waiting'`, purge, string(kind))
		if err != nil {
			return err
		}
		if waits {
			t.enqueue(PurgeJob{Objects: string(kind), Account: account})
		}
	}
	return nil
}

// closeCarried ends the words of every commit that this move is about: the deployments
// that GitHub recorded after the last live one and before this one, the pushes that led
// to the commit that is live now, and those that the move names.
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
	if m.Overtaken.SHA != "" {
		shas[m.Overtaken.SHA] = true
	}
	shas[m.To.SHA] = true
	for sha := range shas {
		if err := s.closeSpoken(ctx, t, m, sha); err != nil {
			return err
		}
	}
	return nil
}

// closeSpoken ends what was said of one commit that a move is about. It finds the
// contexts by what was said, not by today's rules: these may have renamed the
// environment, or may no longer name it. Of the commit that is live now it ends only what
// still waits, because the move's own words replace the rest.
func (s *Store) closeSpoken(ctx context.Context, t *tx, m Move, sha string) error {
	contexts, err := spoken(ctx, t, m.Env.ID, sha, sha == m.To.SHA)
	if err != nil {
		return err
	}
	if m.Context != "" && sha != m.To.SHA && !slices.Contains(contexts, m.Context) {
		contexts = append(contexts, m.Context) // nothing was said of this commit yet
	}
	for _, context := range contexts {
		if err := s.announce(ctx, t, Announcement{
			RepoID: m.Env.RepoID, EnvID: m.Env.ID, SHA: sha, Context: context,
			State: "success", Words: m.Carries, Ends: true,
			At: m.To.At.Add(time.Millisecond), // later than any fact that GitHub recorded within the same second
		}); err != nil {
			return err
		}
	}
	return nil
}

// pushesBefore lists the commits that have words of their own and were pushed before the
// commit that is live now. Commits whose words have ended are left out.
//
// GitHub records whole seconds. Of pushes within one second only the chain of "before"
// commits says which came first, so the loop follows that chain from push to push, and
// stops where the time, the branch or the chain ends.
func (s *Store) pushesBefore(ctx context.Context, t *tx, m Move, add func(row) error) error {
	const spoken = `SELECT p.after_sha FROM push p JOIN post o ON o.repo_id = p.repo_id AND o.sha = p.after_sha
		WHERE p.repo_id = $1 AND p.branch = $2 AND o.env_id = $3 AND o.purge_id = '' AND o.ended = 0 AND `
	pushes, err := pushesOf(ctx, t, m.Env.RepoID, m.To.SHA, "")
	for _, push := range pushes { // one for each branch that moved to the commit
		if err == nil {
			err = t.each(ctx, add, spoken+`p.at < $4`, m.Env.RepoID, push.Branch, m.Env.ID, ms(push.At))
		}
		seen := map[string]bool{push.After: true} // a branch may move back and forth: without this the loop would not end
		for earlier := push; err == nil; {
			earlier, err = pushOf(ctx, t, m.Env.RepoID, earlier.Before, push.Branch)
			if errors.Is(err, ErrNotFound) || err == nil && (seen[earlier.After] || !earlier.At.Equal(push.At) || earlier.Branch != push.Branch) {
				err = nil
				break
			}
			seen[earlier.After] = true
			if err == nil {
				err = t.each(ctx, add, spoken+`p.after_sha = $4`, m.Env.RepoID, push.Branch, m.Env.ID, earlier.After)
			}
		}
	}
	return err
}

// Last is what an environment's purges for one commit say of it.
type Last struct {
	Live      time.Time // when GitHub recorded that the commit went live
	Rollback  bool      // it went live by a rollback
	ID        string    // of the last purge of its own targets; "": there is none
	FirstSent time.Time // when the first of these targets was sent, by GitHub's clock at the earliest; zero: none was sent
}

// LastPurge reads what is known of a commit that is live in an environment. ErrNotFound:
// it had no purge.
//
// It goes from the newest purge back to the one that brought the commit live. Purges of
// causes rebuilt and "deployed again" lie between: they are of the same commit, but they
// did not bring it live. A rebuild's purge does not count for ID, because its targets are
// not those of the commit's own difference.
func (s *Reader) LastPurge(ctx context.Context, env, sha string) (l Last, err error) {
	err = s.read(ctx, func(t *tx) error {
		found := false
		if err := t.each(ctx, func(r row) error {
			var id string
			var cause ledger.Cause
			var at, first int64
			err := r.Scan(&id, &cause, &at, &first)
			found = true
			l.Live = when(at)
			if cause != ledger.CauseRebuild && l.ID == "" {
				l.ID, l.FirstSent = id, when(first)
			}
			if l.Rollback = cause == ledger.CauseRollback; cause != ledger.CauseRebuild && cause != ledger.CauseAgain {
				return cmp.Or(err, errEnough)
			}
			return err
		}, `SELECT id, cause, to_at, first_sent_at FROM purge WHERE env_id = $1 AND to_sha = $2
			AND `+isShown+` AND cause NOT IN ($3, $4) ORDER BY seq DESC, id DESC`,
			env, sha, string(ledger.CauseComment), string(ledger.CauseOvertaken)); err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if !found {
			return ErrNotFound
		}
		return nil
	})
	return l, err
}

// errEnough makes each stop before the last row. It never leaves this file.
var errEnough = errors.New("enough")

// Sent yields the targets of a purge that were sent or will be, without their reasons and
// without those that were dropped. It reads a chunk at a time, each in a read of its own.
// Call failure after the loop: it returns the error that ended the loop, if any. The
// sequence can be used more than once.
func (s *Reader) Sent(ctx context.Context, purge string) (targets iter.Seq[mapping.Target], failure func() error) {
	var failed error
	page := func(from int64) (all []mapping.Target, next int64) {
		failed = s.read(ctx, func(t *tx) error {
			return t.each(ctx, func(r row) error {
				var g mapping.Target
				var path []byte
				err := r.Scan(&next, &g.Kind, &g.Action, &g.Object, &g.Rule, &path)
				g.Path = string(path)
				all = append(all, g)
				return err
			}, `SELECT t.seq, t.kind, t.action, t.object, t.rule, t.path FROM target t JOIN purge p ON p.id = t.purge_id
				WHERE t.purge_id = $1 AND t.seq >= $2 AND `+fate+` <> 'dropped'
				AND (p.state <> 'cancelled' OR t.state <> 'claimed') ORDER BY t.seq LIMIT $3`, purge, from, chunk)
		})
		return all, next + 1
	}
	return func(yield func(mapping.Target) bool) {
		for from := int64(0); failed == nil; {
			all, next := page(from)
			for _, g := range all {
				if !yield(g) {
					return
				}
			}
			if from = next; len(all) < chunk {
				return
			}
		}
	}, func() error { return failed }
}

// openTold opens a purge and tells the receivers if that is an event.
func (s *Store) openTold(ctx context.Context, t *tx, id string, hold bool) error {
	if err := s.open(ctx, t, id, hold); err != nil {
		return err
	}
	return s.tellPurge(ctx, t, id)
}
