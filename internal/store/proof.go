package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// ProveJob looks at pages to see whether a purge took effect.
type ProveJob struct {
	PurgeID string `json:"purge_id"`
}

// Kind names the job in River.
func (ProveJob) Kind() string { return "prove" }

// Proof is a proof that this process has claimed, with its pages.
type Proof struct {
	PurgeID   string
	RepoID    int64
	State     ledger.ProofState
	Asks      ledger.Asks
	Words     string
	Confirmed bool      // the origin was seen to serve what was deployed
	Again     string    // id of the purge that sends stale pages once more; "": there is none
	Warmed    int       // pages warmed so far
	WarmRule  int       // warming goes on with this rule of Asks, as an index among those with URLs in the purge
	WarmSeq   int64     // the sequence number of the target to go on from; 0: the rule's first
	Began     time.Time // when the purge was opened or held
	Done      time.Time // when the pages' verdicts were told; zero: not yet
	Tries     int       // as the caller counts them
	Pages     []ledger.Page

	fence int64 // of this claim: SettleProof changes nothing if another claim was made since
}

// prove keeps what a purge asks for, in the transaction that opens or holds the purge. It
// keeps nothing if nothing is asked for, or if the purge is done already because nothing
// of it may be sent.
func (s *Store) prove(ctx context.Context, t *tx, p ledger.Purge, asks ledger.Asks, state ledger.ProofState) error {
	ended, err := t.has(ctx, `SELECT 1 FROM purge WHERE id = $1 AND state = 'done'`, p.ID)
	if err != nil || ended || !asks.Any() {
		return err
	}
	text, err := json.Marshal(asks)
	if err != nil {
		return err
	}
	now := ms(s.now())
	if _, err := t.exec(ctx, `INSERT INTO proof (purge_id, repo_id, state, asks, began_at, rung_at) VALUES ($1,$2,$3,$4,$5,$6)`,
		p.ID, p.RepoID, string(state), string(text), now, freshWake(s.now())); err != nil {
		return err
	}
	t.enqueue(ProveJob{PurgeID: p.ID})
	return nil
}

// proofColumn is what a purge's words need of its proof, as one text. A purge without a
// proof has an empty text, where separate columns would be NULL. The words come last,
// since they hold blanks.
const proofColumn = `state || ' ' || checked || ' ' || fresh || ' ' || stale || ' ' || warmed || ' ' || done_at || ' ' || words`

// scanProof reads the text of proofColumn; "" is the zero Proof.
func scanProof(text string) (p ledger.Proof, err error) {
	parts := strings.SplitN(text, " ", 7)
	if len(parts) < 7 {
		return p, nil
	}
	var done int64
	if _, err := fmt.Sscan(strings.Join(parts[1:6], " "), &p.Checked, &p.Fresh, &p.Stale, &p.Warmed, &done); err != nil {
		return p, fmt.Errorf("read proof: %w", err)
	}
	p.State, p.Words, p.DoneAt = ledger.ProofState(parts[0]), parts[6], when(done)
	return p, nil
}

// rouse lets the proof of a purge go on that a person released: its next look is due now.
func (s *Store) rouse(ctx context.Context, t *tx, purge string) error {
	n, err := t.exec(ctx, `UPDATE proof SET next_at = 0, rung_at = $2 WHERE purge_id = $1 AND state <> 'done'`, purge, freshWake(s.now()))
	if n > 0 {
		t.enqueue(ProveJob{PurgeID: purge})
	}
	return err
}

// proveAgain has the pages of a purge looked at once more, because some targets are sent
// again. It moves the fence, so that a look that is under way settles nothing.
func (s *Store) proveAgain(ctx context.Context, t *tx, purge string) error {
	n, err := t.exec(ctx, proofState().change(ledger.Retry, `words = '', checked = 0, fresh = 0, stale = 0, again_id = '', done_at = 0, tries = 0,
		next_at = 0, rung_at = $2, lease_until = 0, fence = fence + 1`, `purge_id = $1`), purge, freshWake(s.now()))
	if n > 0 {
		t.enqueue(ProveJob{PurgeID: purge})
	}
	return err
}

// ClaimProof takes a proof for the length of a lease: waiting where the purge waits for
// its origin, else lease. ErrNotFound: there is nothing to do, it is too early, or
// another process does it. The lock comes first, so that the lease is counted from when
// it is taken.
func (s *Store) ClaimProof(ctx context.Context, purge string, waiting, lease time.Duration) (p Proof, err error) {
	err = s.writeSoon(ctx, func(t *tx) error {
		if err := s.lockRow(ctx, t, "proof", "purge_id", purge); err != nil {
			return err
		}
		now := s.now()
		var asks string
		var began, done int64
		p.PurgeID = purge
		if err := t.row(ctx, `UPDATE proof SET lease_until = CASE WHEN state = 'origin' THEN CAST($4 AS BIGINT) ELSE CAST($3 AS BIGINT) END, fence = fence + 1
			WHERE purge_id = $1 AND state <> 'done' AND lease_until <= $2 AND next_at <= $2
			RETURNING repo_id, state, asks, words, confirmed = 1, again_id, warmed, warm_rule, warm_seq, began_at, done_at, tries, fence`,
			purge, ms(now), ms(now.Add(lease)), ms(now.Add(waiting))).
			Scan(&p.RepoID, &p.State, &asks, &p.Words, &p.Confirmed, &p.Again, &p.Warmed, &p.WarmRule, &p.WarmSeq, &began, &done, &p.Tries, &p.fence); err != nil {
			return missing(err)
		}
		p.Began, p.Done = when(began), when(done)
		if err := json.Unmarshal([]byte(asks), &p.Asks); err != nil {
			return err
		}
		p.Pages, err = pagesOf(ctx, t, purge)
		return err
	})
	return p, err
}

// Pages reads the pages that stand for a purge.
func (s *Reader) Pages(ctx context.Context, purge string) (pages []ledger.Page, err error) {
	err = s.read(ctx, func(t *tx) error {
		pages, err = pagesOf(ctx, t, purge)
		return err
	})
	return pages, err
}

// pagesOf reads the pages in the order of their numbers; keepPages numbers them by it.
func pagesOf(ctx context.Context, t *tx, purge string) (pages []ledger.Page, err error) {
	err = t.each(ctx, func(r row) error {
		var p ledger.Page
		var before string
		if err := r.Scan(&p.URL, &p.Delete, &p.Named, &before, &p.Verdict, &p.Cause, &p.Again); err != nil {
			return err
		}
		if before != "" {
			if err := json.Unmarshal([]byte(before), &p.Before); err != nil {
				return err
			}
		}
		pages = append(pages, p)
		return nil
	}, `SELECT url, deleted = 1, named = 1, before, verdict, cause, again FROM page WHERE purge_id = $1 ORDER BY seq`, purge)
	return pages, err
}

// ProofStep is the result of one look.
type ProofStep struct {
	Proof
	After time.Duration // when the next look is due, from now
	Open  bool          // the purge that waits for its origin may go out
	Close string        // it does not go out: why, in public words; "": not so
	Begun string        // id of a planned purge that sends stale pages once more; "": none
}

// SettleProof settles a claimed proof in one transaction. It reports false when the claim
// was lost: then nothing is changed.
//
// Where the step opens a purge, the proof and the purge change together. If they did not,
// a process that dies between the two would leave a held purge that nobody opens.
func (s *Store) SettleProof(ctx context.Context, step ProofStep) (ok bool, err error) {
	p := step.Proof
	err = s.write(ctx, func(t *tx) error {
		// Opening a purge takes turns with claims and acts: the budget's lock comes
		// first.
		purge, err := s.lockPurge(ctx, t, p.PurgeID)
		if err != nil {
			return err
		}
		sum := ledger.Count(p.Pages)
		// Read before the update, to see whether this step changes what the purge's words
		// say.
		same, err := t.has(ctx, `SELECT 1 FROM proof WHERE purge_id = $1 AND state = $2 AND words = $3 AND checked = $4 AND warmed = $5`,
			p.PurgeID, string(p.State), p.Words, sum.Checked, p.Warmed)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, proofState().reach(p.State, `words = $3, confirmed = $4, again_id = $5, checked = $6, fresh = $7, stale = $8,
				warmed = $9, warm_rule = $10, warm_seq = $11, done_at = $12, next_at = $13, tries = $14, lease_until = 0, rung_at = 0`,
			`purge_id = $1 AND fence = $2`),
			p.PurgeID, p.fence, p.Words, number(p.Confirmed), p.Again, sum.Checked, sum.Fresh, sum.Stale,
			p.Warmed, p.WarmRule, p.WarmSeq, ms(p.Done), s.later(step.After), p.Tries)
		if ok = n == 1; err != nil || !ok {
			return err
		}
		if err := keepPages(ctx, t, p); err != nil {
			return err
		}
		switch {
		case step.Open && purge.State == ledger.Held:
			if _, err := t.exec(ctx, purgeState().change(ledger.OriginHas, `closed = '', opened_at = $2`, `id = $1`), p.PurgeID, ms(s.now())); err != nil {
				return err
			}
			if err := wakeKinds(ctx, t, p.PurgeID); err != nil {
				return err
			}
		case step.Close != "" && purge.State == ledger.Held:
			if _, err := t.exec(ctx, `UPDATE purge SET closed = $2 WHERE id = $1`, p.PurgeID, step.Close); err != nil {
				return err
			}
		case step.Begun != "":
			if err := s.open(ctx, t, step.Begun, false); err != nil {
				return err
			}
		case same: // nothing new to tell; a release at the same moment might say it in other words each time
			return nil
		}
		if err := s.turned(ctx, t, p.PurgeID); err != nil {
			return err
		}
		return s.tellPurge(ctx, t, p.PurgeID)
	})
	if err != nil {
		return false, fmt.Errorf("settle proof of purge %s: %w", p.PurgeID, err)
	}
	return ok, nil
}

// number is a truth value as a column has it.
func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// keepPages writes the pages with what was seen of them. The pages are chosen once: the
// address and how it was purged never change, so that all looks are at the same pages.
func keepPages(ctx context.Context, t *tx, p Proof) error {
	for i, page := range p.Pages {
		before := ""
		if page.Before != nil {
			text, err := json.Marshal(page.Before)
			if err != nil {
				return err
			}
			before = string(text)
		}
		if _, err := t.exec(ctx, `INSERT INTO page (purge_id, seq, url, deleted, named, before, verdict, cause, again) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)
			ON CONFLICT (purge_id, seq) DO UPDATE SET before = excluded.before, verdict = excluded.verdict, cause = excluded.cause,
				again = excluded.again`,
			p.PurgeID, i, page.URL, number(page.Delete), number(page.Named), before, string(page.Verdict), page.Cause, page.Again); err != nil {
			return err
		}
	}
	return nil
}

// URLSpan is where the URLs of one rule are in a purge.
type URLSpan struct {
	Rule     string
	URLs     int   // how many; the span may hold targets of other rules too
	From, To int64 // sequence numbers of the first and the last
}

// URLSpans tells for each rule of a purge how many URLs it has and where they are,
// without those that were refused.
func (s *Reader) URLSpans(ctx context.Context, purge string) (spans []URLSpan, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var span URLSpan
			err := r.Scan(&span.Rule, &span.URLs, &span.From, &span.To)
			spans = append(spans, span)
			return err
		}, `SELECT rule, COUNT(*), MIN(seq), MAX(seq) FROM target WHERE purge_id = $1 AND kind = 'url' AND state <> 'failed'
			GROUP BY rule ORDER BY MIN(seq)`, purge)
	})
	return spans, err
}

// URLsFrom lists URLs of one rule in a purge, from a sequence number on, at most limit of
// them and without those that were refused.
func (s *Reader) URLsFrom(ctx context.Context, purge, rule string, seq int64, limit int) (targets []ledger.Target, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			g := ledger.Target{PurgeID: purge}
			g.Kind = mapping.URL
			err := r.Scan(&g.Seq, &g.Object, &g.Action)
			targets = append(targets, g)
			return err
		}, `SELECT seq, object, action FROM target WHERE purge_id = $1 AND seq >= $3 AND kind = 'url' AND rule = $2
			AND state <> 'failed' ORDER BY seq LIMIT $4`, purge, rule, seq, limit)
	})
	return targets, err
}

// RefusedURLs tells which of the given URLs a purge did not send because policy or Akamai
// refused them.
func (s *Reader) RefusedURLs(ctx context.Context, purge string, urls []string) (refused []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		refused = nil
		for part := range chunks(urls, rowsAtOnce) {
			some, err := t.texts(ctx, `SELECT object FROM target WHERE purge_id = $1 AND kind = 'url' AND state = 'failed' AND object IN `+list(2, len(part)),
				append([]any{purge}, anys(part)...)...)
			if err != nil {
				return err
			}
			refused = append(refused, some...)
		}
		return nil
	})
	return refused, err
}

// Tags lists tags that a purge sent, at most limit of them. It gives none if the purge
// sent CP codes too: these reach pages whatever their tags are.
func (s *Reader) Tags(ctx context.Context, purge string, limit int) (tags []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		tags, err = t.texts(ctx, `SELECT object FROM target WHERE purge_id = $1 AND kind = 'tag' AND state <> 'failed'
			AND EXISTS (SELECT 1 FROM purge WHERE id = $1 AND tags > 0 AND cpcodes = 0) ORDER BY seq LIMIT $2`, purge, limit)
		return err
	})
	return tags, err
}

// Deletes reports whether a purge has a delete that was not refused.
func (s *Reader) Deletes(ctx context.Context, purge string) (deletes bool, err error) {
	err = s.read(ctx, func(t *tx) error {
		deletes, err = t.has(ctx, `SELECT 1 FROM target WHERE purge_id = $1 AND action = 'delete' AND state <> 'failed'`, purge)
		return err
	})
	return deletes, err
}

// LaterShas lists the commits of the purges of p's environment that were begun after p,
// the newest first, at most limit of them. underWay reports whether such a purge has not
// ended, has ended by a moment that still lies ahead, or may purge stale pages once more
// because it is still being checked.
func (s *Reader) LaterShas(ctx context.Context, p ledger.Purge, limit int) (shas []string, underWay bool, err error) {
	err = s.read(ctx, func(t *tx) error {
		if shas, err = t.texts(ctx, `SELECT to_sha FROM purge WHERE env_id = $1 AND to_sha <> '' AND seq > (SELECT seq FROM purge WHERE id = $2)
			AND `+isShown+` ORDER BY seq DESC LIMIT $3`, p.EnvID, p.ID, limit); err != nil {
			return err
		}
		underWay, err = t.has(ctx, `SELECT 1 FROM purge WHERE env_id = $1 AND seq > (SELECT seq FROM purge WHERE id = $2)
			AND (state IN ('open', 'held') OR state = 'done' AND (done_at > $3
				OR EXISTS (SELECT 1 FROM proof WHERE proof.purge_id = purge.id AND proof.state IN ('purged', 'again'))))`, p.EnvID, p.ID, ms(s.now()))
		return err
	})
	return shas, underWay, err
}
