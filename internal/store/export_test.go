package store

import "context"

// Trouble is trouble, for the tests outside.
func Trouble(err error) string { return trouble(err) }

// Jobs counts the bells of a kind that ever rang.
func (s *Store) Jobs(ctx context.Context, kind string) (n int, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.row(ctx, `SELECT COUNT(*) FROM river_job WHERE kind = $1`, kind).Scan(&n)
	})
	return n, err
}
