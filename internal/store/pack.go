package store

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/purger"
)

// openPurge is a purge with targets that wait.
type openPurge struct {
	id      string
	network purger.Network
	lane    int
}

// purgesAtOnce bounds how many purges one request looks through.
const purgesAtOnce = 400

// line is the order of purges p: people's first, then small ones.
const line = `p.lane, (p.urls + p.tags + p.cpcodes), p.id`

// open lists the purges in line.
func (c *claim) open(ctx context.Context) (open []openPurge, err error) {
	err = c.t.each(ctx, func(r row) error {
		var p openPurge
		err := r.Scan(&p.id, &p.network, &p.lane)
		open = append(open, p)
		return err
	}, `SELECT id, network, lane FROM purge p WHERE `+sendable(3)+` AND EXISTS
			(SELECT 1 FROM target t WHERE t.purge_id = p.id AND t.kind = $1 AND t.state = 'waiting')
		ORDER BY `+line+` LIMIT $2`, string(c.kind), purgesAtOnce, c.account, c.pause)
	return open, err
}

// pack packs a new request. The first purge in line decides the network and
// the action; the others fill it up.
func (c *claim) pack(ctx context.Context, open []openPurge) (*Request, time.Duration, error) {
	b := c.budget
	avail := b.Available(c.kind, b.now)
	if avail == 0 {
		return nil, b.Wait(c.kind, 1, b.now), nil
	}
	g, err := c.gather(ctx, open)
	if err != nil {
		return nil, 0, err
	}
	// It waits until the first in line can go with all that it has for this
	// request: less would only make more requests of it.
	if fit, wait := b.Fit(c.kind, g.own, b.now); fit == 0 {
		return nil, wait, nil
	}
	most, _ := b.Fit(c.kind, len(g.r.Objects), b.now)
	if most == 0 { // the others would be waited for
		most = avail
	}
	if len(g.r.Objects) > most {
		g.r.Objects, g.more = g.r.Objects[:most], true
	}
	return c.start(ctx, g.r, g.more)
}

const (
	// pageRows is how many targets are read at once: about a full request.
	pageRows = 800

	// misfits is how many objects that are too long for the rest of a body
	// are passed over in search of shorter ones.
	misfits = 50
)

// gathering is a request in the making.
type gathering struct {
	*claim
	r      *Request
	packer *purger.Packer
	seen   map[string]bool

	own    int  // objects of the first purge in line
	misfit int  // objects that did not fit
	full   bool // nothing more fits
	more   bool // something waits that is not in it
}

// candidate is a target that waits.
type candidate struct {
	seq    int64
	object string
	action purger.Action
}

// gather fills a request: the first purge in line decides its network, the first
// target its action, and every purge behind may fill it up. So small purges ride
// along with a large one, and cost no request of their own.
func (c *claim) gather(ctx context.Context, open []openPurge) (*gathering, error) {
	g := &gathering{
		claim: c, seen: map[string]bool{},
		r:      &Request{Lane: open[0].lane},
		packer: purger.NewPacker(c.kind, max(1, int(c.budget.Objects(c.kind).Capacity))),
	}
	g.r.Kind, g.r.Network = c.kind, open[0].network
	g.more = len(open) == purgesAtOnce
	deletes, err := c.deletesWait(ctx, g.r.Network)
	if err != nil {
		return nil, err
	}
	for i, p := range open {
		if p.network != g.r.Network {
			g.more = true
			continue
		}
		if g.full {
			g.more = true
			break
		}
		if err := g.purge(ctx, p.id, deletes); err != nil {
			return nil, err
		}
		if i == 0 {
			g.own = len(g.r.Objects)
		}
	}
	return g, nil
}

// purge takes what one purge has for this request.
func (g *gathering) purge(ctx context.Context, id string, deletes bool) error {
	for after := int64(-1); !g.full; {
		page, err := g.page(ctx, id, after)
		if err != nil {
			return err
		}
		if deletes {
			if err := g.absorb(ctx, page); err != nil {
				return err
			}
		}
		for _, t := range page {
			g.add(t)
		}
		if len(page) < pageRows {
			return nil
		}
		after = page[len(page)-1].seq
	}
	return nil
}

// page reads the next targets of a purge: of the request's action, or where
// that is not decided yet of any, deletes first.
func (g *gathering) page(ctx context.Context, id string, after int64) (page []candidate, err error) {
	scan := func(r row) error {
		var t candidate
		err := r.Scan(&t.seq, &t.object, &t.action)
		page = append(page, t)
		return err
	}
	if g.r.Action == "" {
		err = g.t.each(ctx, scan, `SELECT seq, object, action FROM target
			WHERE purge_id = $1 AND kind = $2 AND state = 'waiting' ORDER BY action, seq LIMIT $3`,
			id, string(g.kind), pageRows)
		return page, err
	}
	err = g.t.each(ctx, scan, `SELECT seq, object, action FROM target
		WHERE purge_id = $1 AND kind = $2 AND action = $3 AND state = 'waiting' AND seq > $4 ORDER BY seq LIMIT $5`,
		id, string(g.kind), string(g.r.Action), after, pageRows)
	return page, err
}

// add takes a target, if it fits. What is longer than the rest of the body is
// passed over for shorter ones, a few times: to look through all that waits for
// the last half percent would cost more than it saves.
func (g *gathering) add(t candidate) {
	if g.r.Action == "" {
		g.r.Action = t.action
	}
	switch {
	case t.action != g.r.Action, g.full:
		g.more = true
	case g.seen[t.object]:
	case g.packer.Add(t.object):
		g.seen[t.object] = true
		g.r.Objects = append(g.r.Objects, t.object)
	default:
		g.more = true
		g.misfit++
		g.full = g.misfit >= misfits || g.packer.Bytes() >= purger.MaxBody*995/1000
	}
}

// deletesWait reports whether any delete waits at all, which is rare.
func (c *claim) deletesWait(ctx context.Context, network purger.Network) (bool, error) {
	return c.t.has(ctx, `SELECT 1 FROM target WHERE kind = $1 AND network = $2 AND state = 'waiting' AND action = 'delete'`,
		string(c.kind), string(network))
}

// absorb turns the invalidations of objects that an open purge wants deleted
// into deletes: a delete does all that an invalidation would, and whoever
// stands first in line does not wait for the other's turn.
func (g *gathering) absorb(ctx context.Context, page []candidate) error {
	deletes := map[string]bool{}
	for part := range chunks(page, rowsAtOnce) {
		args := []any{string(g.kind), string(g.r.Network), g.account, g.pause}
		for _, t := range part {
			args = append(args, t.object)
		}
		err := g.t.each(ctx, func(row row) error {
			var object string
			err := row.Scan(&object)
			deletes[object] = true
			return err
		}, `SELECT t.object FROM target t WHERE t.kind = $1 AND t.network = $2 AND t.state = 'waiting' AND t.action = 'delete'
			AND t.object IN `+list(5, len(part))+`
			AND EXISTS (SELECT 1 FROM purge p WHERE p.id = t.purge_id AND `+sendable(3)+`)`, args...)
		if err != nil {
			return err
		}
	}
	for i := range page {
		if deletes[page[i].object] {
			page[i].action = purger.Delete
		}
	}
	return nil
}
