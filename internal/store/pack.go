package store

import (
	"context"
	"time"

	"github.com/purgebot/purgebot/purger"
)

// openPurge is a purge with waiting targets of the claim's kind.
type openPurge struct {
	id      string
	network purger.Network
	lane    int
}

// purgesAtOnce is how many purges one request looks through at most. It is below
// markedAtOnce, so that all of them have been held against the pauses.
const purgesAtOnce = 400

// line is the ORDER BY of purges p: people's first, then small ones, then the oldest. It
// is the order of the index purge_line_of, so that no sort is needed.
const line = `p.lane, (p.urls + p.tags + p.cpcodes), p.id`

// open lists the purges in line that have targets of the claim's kind.
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

// pack packs a new request. The first purge in line decides the network and the action.
// The others fill the request up.
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
	// It waits until the first purge in line can go with all that it has for this
	// request: to send less would only make more requests.
	if fit, wait := b.Fit(c.kind, g.own, b.now); fit == 0 {
		return nil, wait, nil
	}
	most, _ := b.Fit(c.kind, len(g.r.Objects), b.now)
	if most == 0 { // with the others it would have to wait
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

	// misfits is how many objects that are too long for the rest of the body are passed
	// over in search of shorter ones.
	misfits = 50
)

// gathering is a request that is being put together.
type gathering struct {
	*claim
	r      *Request
	packer *purger.Packer
	seen   map[string]bool // objects that are in the request

	own    int  // objects of the first purge in line
	misfit int  // objects that did not fit so far
	full   bool // nothing more is tried
	more   bool // something waits that is not in the request: another claim must follow
}

// candidate is a target that waits.
type candidate struct {
	seq    int64
	object string
	action purger.Action
}

// gather fills a request. The first purge in line decides its network, and the first
// target decides its action. Every purge behind may fill it up, so that small purges ride
// along with a large one and need no request of their own.
func (c *claim) gather(ctx context.Context, open []openPurge) (*gathering, error) {
	g := &gathering{
		claim: c, seen: map[string]bool{},
		r:      &Request{Lane: open[0].lane},
		packer: purger.NewPacker(c.kind, max(1, int(c.budget.Objects(c.kind).Capacity))), // a smaller capacity would never let anything go
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

// purge adds what one purge has for this request. While the request has no action yet,
// page reads without regard to "after", and the first target then fixes the action.
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

// page reads the next waiting targets of a purge. Once the request has an action, it
// reads only targets of that action, from the sequence number "after" on. Before that it
// reads any, deletes first ("delete" sorts before "invalidate"). Both follow the index
// target_queue.
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

// add takes a target if it fits. A target that is longer than the rest of the body is
// passed over for shorter ones, a few times only: to read all that waits in order to fill
// the last half percent costs more than it saves.
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

// deletesWait reports whether any delete of the claim's kind waits on a network. That is
// rare, and the index target_delete answers it; only then is absorb worth its queries.
func (c *claim) deletesWait(ctx context.Context, network purger.Network) (bool, error) {
	return c.t.has(ctx, `SELECT 1 FROM target WHERE kind = $1 AND network = $2 AND state = 'waiting' AND action = 'delete'`,
		string(c.kind), string(network))
}

// absorb turns an invalidation into a delete where an open purge wants the same object
// deleted. A delete does all that an invalidation does. So the purge that is first in
// line need not wait until the other purge's turn comes.
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
