package store

import (
	"context"
	"fmt"
)

// KeepPreview keeps the whole listing of a preview whose check run can't hold
// it, and gives the unguessable part of its page's address: the same for each
// listing of one check run.
func (s *Store) KeepPreview(ctx context.Context, repo int64, sha string, listing []byte) (key string, err error) {
	err = s.write(ctx, func(t *tx) error {
		return t.row(ctx, `INSERT INTO preview (surface, key, listing, at) VALUES ($1,$2,$3,$4)
			ON CONFLICT (surface) DO UPDATE SET listing = excluded.listing, at = excluded.at RETURNING key`,
			PreviewSurface(repo, sha), newKey(), s.zstd.pack(listing), ms(s.now())).Scan(&key)
	})
	if err != nil {
		return "", fmt.Errorf("keep preview of %s: %w", sha, err)
	}
	return key, nil
}

// Preview reads a kept listing by the unguessable part of its page's address.
// ErrNotFound: there is none, or none any more.
func (s *Store) Preview(ctx context.Context, key string) (listing []byte, err error) {
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
