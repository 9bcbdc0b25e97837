package store

import (
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
)

// A Post is one surface on GitHub.
type Post struct {
	Surface string
	RepoID  int64
	EnvID   string
	SHA     string
	Context string
	PurgeID string // its words are rendered when they are posted; "": State and Words say it
	State   string
	Words   string
	Version int64
	Posted  string        // the words on GitHub now, as posted
	Wait    time.Duration // above 0: it is too early, and the surface is not claimed
	Tries   int

	Number   int   // of the pull request that a reply is on
	Comment  int64 // that is reacted or replied to
	RemoteID int64 // GitHub's id of what was written last; 0: none is known
	// Claims counts how often somebody set out to write this since it was last
	// settled, this time included: above 1, what is to be made may be there.
	Claims int
}

// Kind is what the surface is.
func (p Post) Kind() PostKind {
	kind, _, _ := strings.Cut(p.Surface, "/")
	return PostKind(kind)
}

// An Announcement is a commit status that no purge speaks for: what waits,
// what a push was carried by, why planning waits.
type Announcement struct {
	RepoID  int64
	EnvID   string
	SHA     string
	Context string
	State   string
	Words   string
	At      time.Time // of the fact behind it: an older fact never overwrites a newer one
	Ends    bool      // a later commit's purge carried this one: nothing waits for it any more
}

func surface(repo int64, sha, context string) string {
	return "status/" + strconv.FormatInt(repo, 10) + "/" + sha + "/" + context
}

// Announce wants a commit status. A purge's own words are never overwritten.
func (s *Store) Announce(ctx context.Context, a Announcement) error {
	err := s.write(ctx, func(t *tx) error { return s.announce(ctx, t, a) })
	if err != nil {
		return fmt.Errorf("want status %s of %s: %w", a.Context, a.SHA, err)
	}
	return nil
}

func (s *Store) announce(ctx context.Context, t *tx, a Announcement) error {
	name := surface(a.RepoID, a.SHA, a.Context)
	ended := 0
	if a.Ends {
		ended = 1
	}
	n, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, ended, version)
		VALUES ($1,$2,$3,$4,$5,'',$6,$7,$8,$9,1)
		ON CONFLICT (surface) DO UPDATE SET state = excluded.state, words = excluded.words, at = excluded.at,
			ended = excluded.ended, version = post.version + 1
		WHERE post.purge_id = '' AND post.at <= excluded.at
			AND (post.state <> excluded.state OR post.words <> excluded.words)`,
		name, a.RepoID, a.EnvID, a.SHA, a.Context, a.State, a.Words, ms(a.At), ended)
	if err != nil {
		return err
	}
	if n > 0 {
		t.rings(ReportJob{Surface: name})
	}
	return nil
}

// Announced lists the commits whose status in an environment still says that
// something waits, the newest facts first, at most limit of them.
func (s *Store) Announced(ctx context.Context, env string, limit int) (shas []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		shas, err = t.texts(ctx, `SELECT sha FROM post WHERE env_id = $1 AND purge_id = '' AND ended = 0
			ORDER BY at DESC, surface LIMIT $2`, env, limit)
		return err
	})
	return shas, err
}

// own gives a surface to a purge: from now on its words are the purge's.
func (s *Store) own(ctx context.Context, t *tx, e ledger.Environment, sha, context, purge string) error {
	name := surface(e.RepoID, sha, context)
	_, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version)
		VALUES ($1,$2,$3,$4,$5,$6,'','',0,1)
		ON CONFLICT (surface) DO UPDATE SET purge_id = excluded.purge_id, version = post.version + 1
		WHERE post.purge_id <= excluded.purge_id`,
		name, e.RepoID, e.ID, sha, context, purge)
	if err != nil {
		return err
	}
	t.rings(ReportJob{Surface: name})
	return s.ownCheck(ctx, t, e, sha, "Purge "+strings.TrimPrefix(context, "purge/"), purge)
}

// changed rings for every surface that speaks for a purge.
func (s *Store) changed(ctx context.Context, t *tx, purge string) error {
	return t.each(ctx, func(r row) error {
		var name string
		if err := r.Scan(&name); err != nil {
			return err
		}
		t.rings(ReportJob{Surface: name})
		return nil
	}, `UPDATE post SET version = version + 1 WHERE purge_id = $1 RETURNING surface`, purge)
}

// ClaimPost takes the surface to post for the length of a lease. It returns
// ErrNotFound when there is nothing to say or somebody else is saying it; with
// a Wait it is too early, and nothing was taken.
func (s *Store) ClaimPost(ctx context.Context, name string, lease time.Duration) (p Post, err error) {
	err = s.write(ctx, func(t *tx) error {
		now := s.now() // the lease begins when it is taken, however long that had to wait
		var next int64
		err := t.row(ctx, `UPDATE post SET lease_until = CASE WHEN next_at > $2 THEN lease_until ELSE $3 END,
				claims = CASE WHEN next_at > $2 THEN claims ELSE claims + 1 END
			WHERE surface = $1 AND version > posted_version AND lease_until <= $2
			RETURNING repo_id, env_id, sha, context, purge_id, state, words, version, posted, next_at, tries,
				number, comment_id, remote_id, claims`,
			name, ms(now), ms(now.Add(lease))).
			Scan(&p.RepoID, &p.EnvID, &p.SHA, &p.Context, &p.PurgeID, &p.State, &p.Words, &p.Version, &p.Posted, &next, &p.Tries,
				&p.Number, &p.Comment, &p.RemoteID, &p.Claims)
		p.Surface, p.Wait = name, max(0, when(next).Sub(when(ms(now))))
		return missing(err)
	})
	return p, err
}

// Posted settles a claimed surface: what GitHub shows now, its RemoteID, and
// from when on it may be written again. With final false the same version is
// posted again then, since its words change with the clock.
func (s *Store) Posted(ctx context.Context, p Post, shows string, final bool, next time.Time) error {
	return s.write(ctx, func(t *tx) error {
		version := p.Version
		if !final {
			version--
		}
		var now int64
		err := t.row(ctx, `UPDATE post SET posted_version = $2, posted = $3, next_at = $4, lease_until = 0, tries = 0, claims = 0, rung_at = 0,
			remote_id = $5 WHERE surface = $1 RETURNING version`, p.Surface, version, shows, ms(next), p.RemoteID).Scan(&now)
		if err != nil {
			return missing(err)
		}
		if now > version {
			t.rings(ReportJob{Surface: p.Surface})
		}
		return nil
	})
}

// NotPosted gives a claimed surface back, to be tried again at next. GitHub's
// trouble holds up nothing but its own words.
func (s *Store) NotPosted(ctx context.Context, p Post, next time.Time) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE post SET next_at = $2, lease_until = 0, tries = tries + 1, rung_at = 0 WHERE surface = $1`,
			p.Surface, ms(next))
		return err
	})
}

// GiveUpPost ends a surface that can never be written: the commit or the
// repository is gone.
func (s *Store) GiveUpPost(ctx context.Context, p Post) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE post SET posted_version = version, lease_until = 0 WHERE surface = $1`, p.Surface)
		return err
	})
}
