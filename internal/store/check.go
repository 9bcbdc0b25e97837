package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/purgebot/purgebot/internal/ledger"
)

// A Check is a check run that no purge speaks for: a preview.
type Check struct {
	RepoID int64
	SHA    string
	Name   string
	Number int    // of the pull request; 0: of none, or of several
	Words  string // what it shows, in the pipeline's own form
}

// PreviewSurface names the surface of a commit's check run for which no purge speaks. Its
// last part is empty, so that it never has the name of a purge's: an environment may be
// called "preview".
func PreviewSurface(repo int64, sha string) string { return CheckSurface(repo, sha, "") }

// CheckSurface names the surface of the check run of a purge.
func CheckSurface(repo int64, sha, name string) string {
	return string(CheckPost) + "/" + strconv.FormatInt(repo, 10) + "/" + sha + "/" + name
}

// WantCheck wants a preview's check run. One that says the same stays as it is, unless it
// is wanted afresh because a person asked for a new one. "posted" is cleared then, so
// that the same words are written again. The previews of the pull request's earlier
// commits are forgotten.
func (s *Store) WantCheck(ctx context.Context, c Check, afresh bool) error {
	name := PreviewSurface(c.RepoID, c.SHA)
	again := 0
	if afresh {
		again = 1
	}
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version, number)
			VALUES ($1,$2,'',$3,$4,'','',$5,0,1,$6)
			ON CONFLICT (surface) DO UPDATE SET words = excluded.words, version = post.version + 1,
				posted = CASE WHEN $7 = 1 THEN '' ELSE post.posted END
			WHERE post.purge_id = '' AND (post.words <> excluded.words OR $7 = 1)`,
			name, c.RepoID, c.SHA, c.Name, c.Words, c.Number, again)
		if err != nil || n == 0 {
			return err
		}
		t.enqueue(ReportJob{Surface: name})
		return dropPreviewPosts(ctx, t, c.RepoID, c.Number, name)
	})
	if err != nil {
		return fmt.Errorf("want check run %s of %s: %w", c.Name, c.SHA, err)
	}
	return nil
}

// bindCheck gives the check run of a deployed commit to a purge, by the rule of
// bindStatus. Whether there is anything to show is decided when it is posted.
func (s *Store) bindCheck(ctx context.Context, t *tx, e ledger.Environment, sha, check, purge string) error {
	name := CheckSurface(e.RepoID, sha, check)
	_, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version)
		VALUES ($1,$2,$3,$4,$5,$6,'','',0,1)
		ON CONFLICT (surface) DO UPDATE SET purge_id = excluded.purge_id, words = '', version = post.version + 1
		WHERE `+begunBefore("post.purge_id", "excluded.purge_id"),
		name, e.RepoID, e.ID, sha, check, purge)
	if err == nil {
		t.enqueue(ReportJob{Surface: name})
	}
	return err
}

// Note is the answer, on the check run of a purge, to a person who pressed a button
// there.
type Note struct {
	Surface string
	Words   string // in Markdown
	GUID    string // of the delivery that told of the button
}

// NoteCheck adds an answer to the check run of a purge.
func (s *Store) NoteCheck(ctx context.Context, n Note) error {
	err := s.write(ctx, func(t *tx) error { return note(ctx, t, n) })
	if err != nil {
		return fmt.Errorf("note on %s: %w", n.Surface, err)
	}
	return nil
}

// note adds an answer. The same delivery changes nothing the second time.
func note(ctx context.Context, t *tx, n Note) error {
	changed, err := t.exec(ctx, `UPDATE post SET words = $2, pressed = $3, version = version + 1
		WHERE surface = $1 AND purge_id <> '' AND pressed <> $3`, n.Surface, n.Words, n.GUID)
	if err == nil && changed > 0 {
		t.enqueue(ReportJob{Surface: n.Surface})
	}
	return err
}

// Checks lists the check runs of a commit: of one name, or, with "", all. It includes
// those that GitHub does not show or that it is not known to show.
func (s *Reader) Checks(ctx context.Context, repo int64, sha, name string) (posts []Post, err error) {
	where, args := `surface IN ($1, $2) AND context = $3`, []any{CheckSurface(repo, sha, name), PreviewSurface(repo, sha), name}
	if name == "" { // a scan of the table, for a button that is hardly ever pressed
		where, args = `repo_id = $1 AND sha = $2 AND surface LIKE 'check/%'`, []any{repo, sha}
	}
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			p := Post{RepoID: repo, SHA: sha}
			err := r.Scan(&p.Surface, &p.Context, &p.PurgeID, &p.Words, &p.Number, &p.RemoteID, &p.Pressed)
			posts = append(posts, p)
			return err
		}, `SELECT surface, context, purge_id, words, number, remote_id, pressed FROM post WHERE `+where+` ORDER BY surface`, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list check runs of %s: %w", sha, err)
	}
	return posts, nil
}
