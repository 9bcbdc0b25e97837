package store

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// PostKind says what a surface is.
type PostKind string

// The kinds of surface. The kind is the first word of the surface's name.
const (
	StatusPost   PostKind = "status"   // a commit status of one context
	ReplyPost    PostKind = "reply"    // a comment of ours on a pull request
	ReactionPost PostKind = "reaction" // our reaction to a comment
	CheckPost    PostKind = "check"    // a check run of one name on a commit
	LivePost     PostKind = "live"     // a comment of ours on a merged pull request that is live
)

// A Post is one surface on GitHub: one row that one job writes.
type Post struct {
	Surface string // its name, which begins with its kind
	RepoID  int64
	EnvID   string
	SHA     string
	Context string
	PurgeID string // the purge whose words it shows, rendered when they are posted; "": State and Words are shown
	State   string
	Words   string
	Version int64         // as claimed; it rises with each change of what is to be shown
	Posted  string        // the words that GitHub shows now
	Wait    time.Duration // above 0: it is too early, and the surface is not claimed
	Tries   int           // failed writes in a row

	Number   int    // of the pull request that a reply is on; 0: none
	Comment  int64  // id of the comment that is reacted or replied to
	RemoteID int64  // GitHub's id of what was written last; 0: none is known
	Pressed  string // of a check run: the delivery that told of the button that its words answer
	Trouble  string // why GitHub did not take the last write; "": it did, or may
	// Claims counts how often a worker set out to write this since it was last settled,
	// this time included. Above 1, what is to be created may exist on GitHub already.
	Claims int
}

// Kind is what the surface is.
func (p Post) Kind() PostKind {
	kind, _, _ := strings.Cut(p.Surface, "/")
	return PostKind(kind)
}

// Refuses reports whether this answers a person who may not ask: nobody waits for it.
func (p Post) Refuses() bool {
	return strings.HasPrefix(p.Surface[strings.LastIndexByte(p.Surface, '/')+1:], denied)
}

// denied begins the last part of the name of a surface that refuses.
const denied = "denied"

// An Announcement is a commit status that no purge speaks for: what waits, which later
// commit carried a push, why planning waits.
type Announcement struct {
	RepoID  int64
	EnvID   string
	SHA     string
	Context string
	State   string
	Words   string
	At      time.Time // of the fact behind it: an older fact never overwrites a newer one
	Ends    bool      // a later commit's purge carried this one: nothing waits for it any more
	Lapse   string    // the state that a pending status ends in if nothing comes of it; "": failure
}

// surface names the commit status of a context. GitHub compares contexts without case, so
// two spellings are one status.
func surface(repo int64, sha, context string) string {
	return "status/" + strconv.FormatInt(repo, 10) + "/" + sha + "/" + fold(context)
}

// Announce notes that a commit status is to be shown. It never overwrites a purge's
// words.
func (s *Store) Announce(ctx context.Context, a Announcement) error {
	err := s.write(ctx, func(t *tx) error { return s.announce(ctx, t, a) })
	if err != nil {
		return fmt.Errorf("want status %s of %s: %w", a.Context, a.SHA, err)
	}
	return nil
}

// announce notes a status that is to be shown, unless a purge speaks there or a later
// fact has spoken. A status that says the same already costs no write at GitHub: the
// WHERE leaves its row as it is. It also leaves a status that has lapsed with the same
// words.
func (s *Store) announce(ctx context.Context, t *tx, a Announcement) error {
	name := surface(a.RepoID, a.SHA, a.Context)
	ended := 0
	if a.Ends {
		ended = 1
	}
	n, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, ended, version, lapse)
		VALUES ($1,$2,$3,$4,$5,'',$6,$7,$8,$9,1,$10)
		ON CONFLICT (surface) DO UPDATE SET state = excluded.state, words = excluded.words, at = excluded.at, context = excluded.context,
			ended = excluded.ended, version = post.version + 1, lapse = excluded.lapse
		WHERE post.purge_id = '' AND post.at <= excluded.at
			AND (post.words <> excluded.words OR post.state NOT IN (excluded.state, excluded.lapse))`,
		name, a.RepoID, a.EnvID, a.SHA, a.Context, a.State, a.Words, ms(a.At), ended, cmp.Or(a.Lapse, "failure"))
	if err != nil {
		return err
	}
	if n > 0 {
		t.enqueue(ReportJob{Surface: name})
	}
	return nil
}

// Explain tells on a commit what a person has to fix before planning can go on. It writes
// it to every status that says that something waits there.
func (s *Store) Explain(ctx context.Context, repo int64, sha, words string) error {
	if sha == "" {
		return nil
	}
	// The name with an empty context is the prefix of all names, so the primary key finds
	// them.
	all := surface(repo, sha, "")
	err := s.write(ctx, func(t *tx) error {
		var told []Announcement
		if err := t.each(ctx, func(r row) error {
			a := Announcement{RepoID: repo, SHA: sha, State: "pending", Words: words}
			var at int64
			err := r.Scan(&a.EnvID, &a.Context, &at)
			a.At = when(at)
			told = append(told, a)
			return err
		}, `SELECT env_id, context, at FROM post WHERE surface >= $1 AND surface < $2 AND purge_id = '' AND ended = 0 ORDER BY surface`,
			all, all[:len(all)-1]+"0"); err != nil { // "0" comes after "/"
			return err
		}
		for _, a := range told {
			if err := s.announce(ctx, t, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("say on %s why it waits: %w", sha, err)
	}
	return nil
}

// Announced lists the commits whose status in an environment says that something waits,
// those of the newest facts first, at most limit of them.
func (s *Reader) Announced(ctx context.Context, env string, limit int) (shas []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		shas, err = t.texts(ctx, `SELECT sha FROM post WHERE env_id = $1 AND purge_id = '' AND ended = 0
			ORDER BY at DESC, surface LIMIT $2`, env, limit)
		return err
	})
	return shas, err
}

// Lapse ends the commit statuses that have been pending since before a moment, because
// what they wait for never came. Their words stay, and nobody waits for them any more.
func (s *Store) Lapse(ctx context.Context, before time.Time) error {
	err := s.write(ctx, func(t *tx) error {
		return s.wakePosts(ctx, t, `state = lapse, version = version + 1`,
			`purge_id = '' AND state = 'pending' AND at < $1 AND surface LIKE 'status/%'`, ms(before))
	})
	if err != nil {
		return fmt.Errorf("end statuses that wait for long: %w", err)
	}
	return nil
}

// wakePosts changes surfaces and enqueues the job of each.
func (s *Store) wakePosts(ctx context.Context, t *tx, set, where string, args ...any) error {
	names, err := s.touch(ctx, t, set, where, args...)
	for _, name := range names {
		t.enqueue(ReportJob{Surface: name})
	}
	return err
}

// spoken lists the contexts of the statuses that a commit has in an environment and in
// which no purge speaks: all of them, or, with waiting, those that are pending.
func spoken(ctx context.Context, t *tx, env, sha string, waiting bool) ([]string, error) {
	return t.texts(ctx, `SELECT context FROM post WHERE env_id = $1 AND sha = $2 AND purge_id = '' AND surface LIKE 'status/%'
		AND (state = 'pending' OR NOT $3)`, env, sha, waiting)
}

// bindStatus gives a surface to a purge: from now on it shows the purge's words. A purge
// that was begun earlier does not take it from a later one, whatever order they commit
// in.
func (s *Store) bindStatus(ctx context.Context, t *tx, e ledger.Environment, sha, context, purge string) error {
	name := surface(e.RepoID, sha, context)
	_, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version)
		VALUES ($1,$2,$3,$4,$5,$6,'','',0,1)
		ON CONFLICT (surface) DO UPDATE SET purge_id = excluded.purge_id, context = excluded.context, version = post.version + 1
		WHERE `+begunBefore("post.purge_id", "excluded.purge_id"),
		name, e.RepoID, e.ID, sha, context, purge)
	if err != nil {
		return err
	}
	t.enqueue(ReportJob{Surface: name})
	return s.bindCheck(ctx, t, e, sha, checkName(context), purge)
}

// checkName names the check run of a purge by the context of its status.
func checkName(context string) string { return "Purge " + strings.TrimPrefix(context, "purge/") }

// checkOf names the surface of the check run that goes with the status of a context.
func checkOf(repo int64, sha, context string) string {
	return CheckSurface(repo, sha, checkName(context))
}

// begunBefore is the condition that one purge was not begun after another, by the store's
// own count (seq). A purge that was pruned, or none at all, counts as begun before any
// other.
func begunBefore(id, other string) string {
	return `COALESCE((SELECT p.seq FROM purge p WHERE p.id = ` + id + `), -1) <= COALESCE((SELECT p.seq FROM purge p WHERE p.id = ` + other + `), 0)`
}

// changed wakes every surface that speaks for a purge.
func (s *Store) changed(ctx context.Context, t *tx, purge string) error {
	return s.wakePosts(ctx, t, `version = version + 1`, `purge_id = $1`, purge)
}

// touch changes surfaces and returns their names. It locks them in the order of their
// names: two transactions that change several would otherwise wait for each other. Where
// PostgreSQL must look again at rows that changed meanwhile, that order is lost and it
// may break one of them off; transact then begins it anew.
func (s *Store) touch(ctx context.Context, t *tx, set, where string, args ...any) ([]string, error) {
	return t.texts(ctx, `UPDATE post SET `+set+` WHERE surface IN
		(SELECT surface FROM post WHERE `+where+` ORDER BY surface`+s.forUpdate()+`) RETURNING surface`, args...)
}

// ClaimPost takes the surface to post, for the length of a lease. It returns ErrNotFound
// when there is nothing to say or another process is saying it. With a Wait it is too
// early, and nothing was taken.
//
// The row is locked before the clock is read. The claim has no fence, unlike a request's:
// see Posted.
func (s *Store) ClaimPost(ctx context.Context, name string, lease time.Duration) (p Post, err error) {
	err = s.write(ctx, func(t *tx) error {
		if err := s.lockRow(ctx, t, "post", "surface", name); err != nil {
			return err
		}
		now := s.now() // the lease begins when it is taken, however long the lock took
		var next int64
		err := t.row(ctx, `UPDATE post SET lease_until = CASE WHEN next_at > $2 THEN lease_until ELSE $3 END,
				claims = CASE WHEN next_at > $2 THEN claims ELSE claims + 1 END
			WHERE surface = $1 AND version > posted_version AND (lease_until <= $2 OR lease_until > $4)
			RETURNING repo_id, env_id, sha, context, purge_id, state, words, version, posted, next_at, tries,
				number, comment_id, remote_id, claims, trouble`,
			name, ms(now), ms(now.Add(lease)), ms(now.Add(lease+skew))).
			Scan(&p.RepoID, &p.EnvID, &p.SHA, &p.Context, &p.PurgeID, &p.State, &p.Words, &p.Version, &p.Posted, &next, &p.Tries,
				&p.Number, &p.Comment, &p.RemoteID, &p.Claims, &p.Trouble)
		p.Surface, p.Wait = name, max(0, when(next).Sub(when(ms(now))))
		return missing(err)
	})
	return p, err
}

// Posted settles a claimed surface: what GitHub shows now, its RemoteID, and after which
// time it may be written again. With final false the same version is posted again then,
// because its words change with the clock.
//
// A worker whose lease is over settles all the same. If another one has posted a later
// version meanwhile, posted_version falls back, so the surface is due again and its
// latest words are posted once more.
func (s *Store) Posted(ctx context.Context, p Post, shows string, final bool, after time.Duration) error {
	return s.write(ctx, func(t *tx) error {
		version := p.Version
		if !final {
			version--
		}
		var now int64
		err := t.row(ctx, `UPDATE post SET posted_version = $2, posted = $3, next_at = $4, lease_until = 0, tries = 0, claims = 0, rung_at = 0,
			trouble = '', remote_id = $5 WHERE surface = $1 RETURNING version`, p.Surface, version, shows, s.later(after), p.RemoteID).Scan(&now)
		if err != nil {
			return missing(err)
		}
		// The words changed while they were being posted, or are not final.
		if now > version {
			t.enqueue(ReportJob{Surface: p.Surface})
		}
		return nil
	})
}

// NotPosted gives a claimed surface back, to be tried again after a time. GitHub's
// trouble holds up nothing but these words. trouble says in public words what a person
// has to fix before they can be shown; "": only time is needed. The check run of the
// purge says what its status can't show, so it is reworded when trouble changes.
func (s *Store) NotPosted(ctx context.Context, p Post, after time.Duration, trouble string) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE post SET next_at = $2, lease_until = 0, tries = tries + 1, rung_at = 0, trouble = $3 WHERE surface = $1`,
			p.Surface, s.later(after), trouble)
		if err != nil || trouble == p.Trouble || p.Kind() != StatusPost || p.PurgeID == "" {
			return err
		}
		return s.wakePosts(ctx, t, `version = version + 1`, `surface = $1 AND purge_id = $2`,
			checkOf(p.RepoID, p.SHA, p.Context), p.PurgeID)
	})
}

// GiveUpPost ends a surface that can never be written, and notes why. It is due again
// when its version rises.
func (s *Store) GiveUpPost(ctx context.Context, p Post, trouble string) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE post SET posted_version = version, lease_until = 0, trouble = $2 WHERE surface = $1`, p.Surface, trouble)
		return err
	})
}

// Untold says why GitHub does not show the status of the commit whose check run p is; "":
// it does, or will.
func (s *Store) Untold(ctx context.Context, p Post) (trouble string, err error) {
	err = s.read(ctx, func(t *tx) error {
		all, err := t.texts(ctx, `SELECT trouble FROM post WHERE purge_id = $1 AND trouble <> '' AND surface LIKE 'status/%' LIMIT 1`, p.PurgeID)
		trouble = strings.Join(all, "")
		return err
	})
	return trouble, err
}
