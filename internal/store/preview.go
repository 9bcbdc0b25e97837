package store

import (
	"context"
	"fmt"
)

// The room for kept listings of previews in one repository. Beyond it the oldest go:
// people who open pull requests decide how much there is, so it must be bounded.
const (
	mostPreviews = 50
	previewBytes = 16 << 20 // compressed
)

// KeepPreview keeps the whole listing of a preview whose check run can't hold it, and
// returns the unguessable part of its page's address. One pull request has one listing,
// the last, and one address. A commit of a merge queue, whose number is 0, has its own.
func (s *Store) KeepPreview(ctx context.Context, repo int64, number int, sha string, listing []byte) (key string, err error) {
	name := PreviewSurface(repo, sha)
	if number > 0 {
		name = fmt.Sprintf("pull/%d/%d", repo, number)
	}
	err = s.write(ctx, func(t *tx) error {
		err := t.row(ctx, `INSERT INTO preview (surface, key, listing, at, repo_id, number) VALUES ($1,$2,$3,$4,$5,$6)
			ON CONFLICT (surface) DO UPDATE SET listing = excluded.listing, at = excluded.at RETURNING key`,
			name, newKey(), s.zstd.pack(listing), ms(s.now()), repo, number).Scan(&key)
		if err != nil {
			return err
		}
		return boundPreviews(ctx, t, repo)
	})
	if err != nil {
		return "", fmt.Errorf("keep preview of %s: %w", sha, err)
	}
	return key, nil
}

// boundPreviews drops the oldest listings beyond a repository's room. The newest stays,
// whatever its size.
func boundPreviews(ctx context.Context, t *tx, repo int64) error {
	kept, size := 0, int64(0)
	var over []string
	err := t.each(ctx, func(r row) error {
		var name string
		var bytes int64
		err := r.Scan(&name, &bytes)
		kept++
		if size += bytes; kept > 1 && (kept > mostPreviews || size > previewBytes) {
			over = append(over, name)
		}
		return err
	}, `SELECT surface, LENGTH(listing) FROM preview WHERE repo_id = $1 ORDER BY at DESC, surface`, repo)
	if err != nil || len(over) == 0 {
		return err
	}
	_, err = t.exec(ctx, `DELETE FROM preview WHERE surface IN `+list(1, len(over)), anys(over)...)
	return err
}

// ClosePreview forgets what was kept of a pull request that is closed.
func (s *Store) ClosePreview(ctx context.Context, repo int64, number int) error {
	err := s.writeSoon(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `DELETE FROM preview WHERE repo_id = $1 AND number = $2`, repo, number); err != nil {
			return err
		}
		return dropPreviewPosts(ctx, t, repo, number, "")
	})
	if err != nil {
		return fmt.Errorf("close preview of #%d: %w", number, err)
	}
	return nil
}

// dropPreviewPosts forgets the preview posts of a pull request's commits, except one
// surface. It keeps those that GitHub does not show yet in their latest version.
func dropPreviewPosts(ctx context.Context, t *tx, repo int64, number int, but string) error {
	_, err := t.exec(ctx, `DELETE FROM post WHERE repo_id = $1 AND number = $2 AND number > 0 AND purge_id = '' AND surface LIKE $3
		AND surface <> $4 AND version = posted_version`, repo, number, string(CheckPost)+"/%", but)
	return err
}

// Preview reads a kept listing by the unguessable part of its page's address.
// ErrNotFound: there is none, or none any more.
func (s *Reader) Preview(ctx context.Context, key string) (listing []byte, err error) {
	err = s.read(ctx, func(t *tx) error {
		var packed []byte
		err := missing(t.row(ctx, `SELECT listing FROM preview WHERE key = $1`, key).Scan(&packed))
		if err == nil {
			listing, err = s.zstd.unpack(packed)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read preview: %w", err)
	}
	return listing, nil
}
