package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/purgebot/purgebot/purger"
)

// maxRefusals is how many objects of one host Akamai may refuse in a purge
// before the rest of that host is not tried any more.
const maxRefusals = 20

// setAside fails what a purge still has of the hosts of the objects that just
// failed, where Akamai has refused enough of that host. A retry frees them,
// and counts anew: it takes the request away from what it frees.
func (s *Store) setAside(ctx context.Context, t *tx, purge string, r *Request, v Settlement) error {
	if r.Kind != purger.URL {
		return nil
	}
	seen := map[string]bool{}
	for _, object := range v.Objects {
		host, starts := site(object)
		if host == "" || seen[host] {
			continue
		}
		seen[host] = true
		args := append([]any{purge}, anys(starts)...)
		var refused int
		if err := t.row(ctx, `SELECT COUNT(*) FROM target WHERE purge_id = $1 AND state = 'failed' AND request_id <> ''
			AND `+begins(2, len(starts)), args...).Scan(&refused); err != nil {
			return err
		}
		if refused < maxRefusals {
			continue
		}
		words := fmt.Sprintf("not tried, as Akamai refused %d URLs of %s before: %s", refused, host, v.Words)
		args = append([]any{purge, words, r.ID}, anys(starts)...)
		n, err := t.exec(ctx, `UPDATE target SET state = 'failed', reason = $2, request_id = ''
			WHERE purge_id = $1 AND kind = 'url' AND (state = 'waiting' OR (state = 'claimed' AND
				(request_id = $3 OR request_id IN (SELECT id FROM request
				WHERE kind = 'url' AND state IN ('ready', 'sending') AND state = 'ready'))))
			AND `+begins(4, len(starts)), args...)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := s.progress(ctx, t, purge, 0, int(n), v.Words, s.now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// site is the host of a URL or an ARL, and what every object of it begins
// with: of a URL under both schemes. No host: there is none to tell.
func site(object string) (host string, starts []string) {
	if scheme, rest, ok := strings.Cut(object, "://"); ok && !strings.Contains(scheme, "/") {
		host, _, ok = strings.Cut(rest, "/")
		if !ok {
			return "", nil
		}
		return host, []string{"https://" + host + "/", "http://" + host + "/"}
	}
	// /L/512/6848/1h/www.example.com/…, also with /S before it.
	arl := strings.TrimPrefix(object, "/S")
	parts := strings.SplitN(arl, "/", 7)
	if len(parts) < 7 || parts[0] != "" {
		return "", nil
	}
	return parts[5], []string{strings.TrimSuffix(object, parts[6])}
}

// begins is the condition that an object begins with one of n parameters.
func begins(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(" OR ")
		}
		fmt.Fprintf(&b, "substr(object, 1, length($%d)) = $%d", from+i, from+i)
	}
	return "(" + b.String() + ")"
}
