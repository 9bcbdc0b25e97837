package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/object"
	"github.com/purgebot/purgebot/purger"
)

// untried begins the reason of a target that was not tried. act.go finds these targets by
// it.
const untried = "not tried"

// host is what is known of the host of an object that Akamai named, in one of the purges
// that want the object: the first by id.
func (x *settling) host(ctx context.Context, named string) (purger.Host, error) {
	var purge string
	err := missing(x.t.row(ctx, `SELECT purge_id FROM target WHERE `+ofRequest+` AND state = 'claimed' AND object = $2
		ORDER BY purge_id LIMIT 1`, x.r.ID, named).Scan(&purge))
	if err != nil {
		return purger.Host{}, ignoreMissing(err)
	}
	return x.hostOf(ctx, purge, named)
}

// hostOf counts what became of one purge's objects of one host. A retry begins the count
// anew: it clears request_id of the targets that it frees, and only targets with a
// request are counted. Refusals of another account do not count, since each account may
// purge other hosts.
func (x *settling) hostOf(ctx context.Context, purge, named string) (h purger.Host, err error) {
	if x.r.Kind != purger.URL {
		return h, nil
	}
	host, err := object.Host(named)
	if err != nil { // it has none
		return h, nil //nolint:nilerr // nothing is known of it
	}
	if its, err := x.t.has(ctx, `SELECT 1 FROM purge WHERE id = $1 AND account = $2`, purge, x.r.Account); err != nil || !its {
		return h, err // the purge moved: the other account may be allowed to purge this host
	}
	starts := object.Beginnings(named)
	args := append([]any{purge, x.r.Account}, anys(starts)...)
	refused := `FROM target WHERE purge_id = $1 AND state = 'failed' AND request_id <> ''
		AND EXISTS (SELECT 1 FROM request r WHERE r.id = request_id AND r.account = $2) AND ` + begins(3, len(starts))
	if err := x.t.row(ctx, `SELECT COUNT(*) `+refused, args...).Scan(&h.Refused); err != nil {
		return h, err
	}
	if err := x.t.row(ctx, `SELECT COUNT(*) FROM request WHERE state = 'refused' AND objects = 1 AND id IN (SELECT request_id `+refused+`)`,
		args...).Scan(&h.Alone); err != nil {
		return h, err
	}
	// An acceptance since the purge was opened counts, in any purge of the account. skew
	// allows for another replica's clock.
	h.Accepted, err = x.t.has(ctx, `SELECT 1 FROM host WHERE name = $2
		AND accepted_at >= (SELECT opened_at FROM purge WHERE id = $1) - $3`, purge, ofAccount(host, x.r.Account), skew.Milliseconds())
	return h, err
}

// welcome notes when the hosts of accepted objects were last accepted, in sorted order so
// that two settlings can't deadlock.
func (x *settling) welcome(ctx context.Context) error {
	if x.r.Kind != purger.URL {
		return nil
	}
	hosts := map[string]int{}
	for _, accepted := range x.r.Objects {
		if host, err := object.Host(accepted); err == nil {
			hosts[host]++
		}
	}
	for _, host := range inOrder(hosts) {
		if _, err := x.t.exec(ctx, `INSERT INTO host (name, accepted_at) VALUES ($1,$2)
			ON CONFLICT (name) DO UPDATE SET accepted_at = excluded.accepted_at`, ofAccount(host, x.r.Account), ms(x.b.now)); err != nil {
			return err
		}
	}
	return nil
}

// limitHost fails what a purge still has of a host that is over its limit. It works in
// chunks: it looks for targets in a read, outside the lock, and fails them in a
// transaction, which checks the limit again. If it breaks off, the next refusal of the
// host goes on.
func (s *Store) limitHost(ctx context.Context, r *Request, purge, named, reason string) error {
	x := settling{Store: s, r: r}
	starts := object.Beginnings(named)
	for from := int64(0); ; {
		var seqs []any
		err := s.read(ctx, func(t *tx) error {
			return t.each(ctx, func(r row) error {
				err := r.Scan(&from)
				seqs = append(seqs, from)
				return err
			}, `SELECT seq FROM target WHERE purge_id = $1 AND seq >= $2 AND kind = 'url' AND state IN ('waiting', 'claimed')
				AND `+begins(4, len(starts))+` ORDER BY seq LIMIT $3`, append([]any{purge, from, chunk}, anys(starts)...)...)
		})
		if err != nil || len(seqs) == 0 {
			return err
		}
		// The next look starts behind this chunk: a target that is being sent stays as it
		// is, and would be found for ever.
		from++
		overLimit := false
		err = s.writeSoon(ctx, func(t *tx) (err error) {
			if x.b, err = s.loadBudget(ctx, t, r.Account, r.Kind); err != nil {
				return err
			}
			x.t = t
			overLimit, err = x.setAside(ctx, purge, named, reason, seqs)
			return err
		})
		if err != nil || !overLimit {
			return err
		}
	}
}

// setAside fails those of the given targets that are not being sent, if the host is over
// its limit, and reports whether it is. A target in a request that is being sent is left
// to Akamai's answer.
func (x *settling) setAside(ctx context.Context, purge, named, reason string, seqs []any) (overLimit bool, err error) {
	h, err := x.hostOf(ctx, purge, named)
	if err != nil || !h.OverLimit() {
		return false, err
	}
	host, err := object.Host(named)
	if err != nil {
		return false, err
	}
	words := fmt.Sprintf("%s, as Akamai refused %d URLs of %s before: %s", untried, h.Refused, host, reason)
	failed := 0
	for part := range chunks(seqs, rowsAtOnce) {
		n, err := x.t.exec(ctx, targetState().change(ledger.HostLimit, `reason = $2, request_id = ''`, `purge_id = $1
			AND (state = 'waiting' OR request_id IN (SELECT id FROM request WHERE kind = 'url' AND `+unsettled+` AND state = 'ready'))
			AND seq IN `+list(3, len(part))), append([]any{purge, words}, part...)...)
		if err != nil {
			return false, err
		}
		failed += int(n)
	}
	if failed == 0 {
		return true, nil
	}
	return true, x.progress(ctx, x.t, purge, ended{failed: failed, untried: failed, reason: reason, done: x.b.now})
}

// begins is the condition that an object, in lower case, begins with one of n parameters.
// A "/" is added to the object, because a host may stand alone.
func begins(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(" OR ")
		}
		fmt.Fprintf(&b, "substr(lower(object) || '/', 1, length($%d)) = $%d", from+i, from+i)
	}
	return "(" + b.String() + ")"
}
