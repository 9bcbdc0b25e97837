package mapping

import (
	"bytes"
	"errors"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/purgebot/purgebot/internal/glob"
)

// MaxTargets is how many objects one purge can have. What gives more becomes
// what the largest of the rules' limits says instead, or is ErrTooLarge.
const MaxTargets = 1 << 20

// maxRefused is how many objects of hosts that Query.Allows refuses are kept,
// for people to read and to retry; the rest is only counted.
const maxRefused = 10_000

// ErrBusy is Plan's answer where other plans have the room for now.
var ErrBusy = errors.New("other plans under way take up the memory")

// Room is the memory that plans under way share, counted in targets. It has
// to be MaxTargets at least: the plan that finds no room gives back its own
// with ErrBusy, so that of many which grow at the same time one gets through.
type Room struct{ left atomic.Int64 }

// NewRoom makes room for so many targets.
func NewRoom(targets int) *Room {
	r := new(Room)
	r.left.Store(int64(targets))
	return r
}

// roomStep is how many targets a plan takes room for at once.
const roomStep = 4096

func (r *Room) take(n int64) bool {
	if r.left.Add(-n) >= 0 {
		return true
	}
	r.left.Add(n)
	return false
}

// recipe says how to make a target: its path, and which template of which
// source with which host. It stands for the target while a plan is made, in a
// tenth of the memory.
type recipe struct{ path, source, template, host uint32 }

// source is a list of templates and what their placeholders go by.
type source struct {
	side    *side
	objects *objects
	glob    *glob.Glob // whose wildcards the numbers mean; nil: no template has one
	rule    string
}

// origins are what recipes refer to.
type origins struct {
	paths   []string
	sources []source
}

// maker makes targets of recipes. Those of one path and source in a row cost
// it the least. It is not safe for concurrent use, and what it made last is
// overwritten by the next: who compares two objects has two makers.
type maker struct {
	*origins
	path, source uint32
	ready        bool // values are those of path and source
	values       values
	object       []byte // of the last target
}

// prepare finds what the placeholders stand for. The work is nil where that of
// making the target for the first time has paid for it.
func (m *maker) prepare(r recipe, work *glob.Work) {
	if m.ready && m.path == r.path && m.source == r.source {
		return
	}
	s := &m.sources[r.source]
	m.ready, m.path, m.source = true, r.path, r.source
	m.values = s.side.values
	m.values.setPath(m.paths[r.path])
	if s.glob != nil {
		m.values.captures = s.glob.Captures(m.values.path, work)
	}
}

// make gives a target without its action and object, which is m.object until
// the next one is made.
func (m *maker) make(r recipe) Target {
	m.prepare(r, nil)
	s := &m.sources[r.source]
	t := Target{Kind: URL, Rule: s.rule, Path: m.values.path}
	urls, tags := uint32(len(s.objects.urls)), uint32(len(s.objects.tags)) //nolint:gosec // a file has 1 MiB
	switch n := r.template; {
	case n < urls:
		u := &s.objects.urls[n]
		m.object, t.Reason = u.url.appendURL(m.object[:0], &m.values, s.side.hostsFor(u)[r.host])
	case n < urls+tags:
		g := &s.objects.tags[n-urls]
		m.object = g.appendText(m.object[:0], &m.values, s.side.hostsFor(g)[r.host])
		t.Kind, t.Reason = Tag, tagFault(string(m.object))
	default:
		t.Kind, m.object = CPCode, append(m.object[:0], s.objects.cpcodes[n-urls-tags]...)
	}
	return t
}

// whole makes a target with its object. Git allows any bytes in a name, and
// PostgreSQL neither what is no UTF-8 nor NUL: in what can't be sent anyway, and is
// kept for people to read, they become U+FFFD.
func (m *maker) whole(r recipe) Target {
	t := m.make(r)
	if t.Object = string(m.object); t.Reason != "" {
		t.Object = strings.ToValidUTF8(strings.ReplaceAll(t.Object, "\x00", "\ufffd"), "\ufffd")
	}
	return t
}

// appendKey appends what orders the target that was made last: by kind, then
// by object, CP codes as numbers.
func (m *maker) appendKey(dst []byte, kind Kind) []byte {
	dst = append(dst, kindOrder(kind))
	if kind == CPCode {
		dst = append(dst, byte(len(m.object))) //nolint:gosec // 19 digits at most
	}
	return append(dst, m.object...)
}

func kindOrder(k Kind) byte {
	switch k {
	case URL:
		return 0
	case Tag:
		return 1
	case CPCode:
		return 2
	}
	return 3
}

// targetSet holds distinct targets.
type targetSet struct {
	list []recipe
	// slots finds them by half a hash of kind and object, which is in the upper
	// half of a slot; in the lower is the place in list, counted from 1. At
	// least half of them are empty. Two objects may share a hash: find compares
	// them. The seed is random, so nobody can write paths that all share one.
	slots []uint64
	urls  int // that can be sent
}

// hashOf is what slots are found by.
func hashOf(seed maphash.Seed, kind Kind, object []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_ = h.WriteByte(kindOrder(kind))
	_, _ = h.Write(object)
	return h.Sum64() >> 32
}

// find gives an object's place in the list.
func (s *targetSet) find(hash uint64, kind Kind, object []byte, other *maker) (place int, found bool) {
	for i := hash; len(s.slots) > 0; i++ {
		slot := s.slots[i%uint64(len(s.slots))]
		if slot == 0 {
			break
		}
		place = int(slot&0xffffffff) - 1
		if slot>>32 == hash && other.make(s.list[place]).Kind == kind && bytes.Equal(other.object, object) {
			return place, true
		}
	}
	return 0, false
}

// add adds a target that is not in the set.
func (s *targetSet) add(hash uint64, r recipe, t Target) {
	if len(s.slots) < 2*len(s.list)+2 {
		old := s.slots
		s.slots = make([]uint64, max(16, 2*len(old)))
		for _, slot := range old {
			if slot != 0 {
				s.set(slot)
			}
		}
	}
	s.list = append(s.list, r)
	s.set(hash<<32 | uint64(len(s.list)))
	if t.Kind == URL && t.Reason == "" {
		s.urls++
	}
}

func (s *targetSet) set(slot uint64) {
	i := slot >> 32
	for s.slots[i%uint64(len(s.slots))] != 0 {
		i++
	}
	s.slots[i%uint64(len(s.slots))] = slot
}

// runLength is how many targets are sorted at once, with their objects in
// memory: some 6 MiB. A million targets are 16 such runs, and Targets merges those
// while it hands them out, so that all objects are never there together.
const runLength = 1 << 16

// sortRuns sorts each run of a list.
func sortRuns(list []recipe, m *maker) {
	type keyed struct {
		from, to int
		recipe
	}
	var keys []byte
	var run []keyed
	for part := range slices.Chunk(list, runLength) {
		keys, run = keys[:0], run[:0]
		for _, r := range part {
			from := len(keys)
			keys = m.appendKey(keys, m.make(r).Kind)
			run = append(run, keyed{from, len(keys), r})
		}
		slices.SortFunc(run, func(a, b keyed) int { return bytes.Compare(keys[a.from:a.to], keys[b.from:b.to]) })
		for i := range run {
			part[i] = run[i].recipe
		}
	}
}

// Len counts the plan's targets.
func (p *Plan) Len() int { return len(p.list) }

// Targets makes the plan's targets one by one, as often as it is ranged over:
// distinct; by kind (URLs, tags, CP codes), then by object; failed ones carry
// a Reason.
func (p *Plan) Targets() iter.Seq[Target] {
	type head struct {
		next Target
		key  []byte
		rest []recipe
	}
	return func(yield func(Target) bool) {
		m := maker{origins: p.origins}
		advance := func(h *head) {
			h.next = m.whole(h.rest[0])
			h.key, h.rest = m.appendKey(h.key[:0], h.next.Kind), h.rest[1:]
		}
		var heads []*head
		for run := range slices.Chunk(p.list, runLength) {
			heads = append(heads, &head{rest: run})
			advance(heads[len(heads)-1])
		}
		for len(heads) > 0 {
			h := slices.MinFunc(heads, func(a, b *head) int { return bytes.Compare(a.key, b.key) })
			if h.next.Action = p.others; h.next.Kind == URL {
				h.next.Action = p.Action
			}
			if !yield(h.next) {
				return
			}
			if len(h.rest) > 0 {
				advance(h)
				continue
			}
			heads = slices.DeleteFunc(heads, func(other *head) bool { return other == h })
		}
	}
}

// Release gives back the room that the plan took. Its targets are gone then.
func (p *Plan) Release() {
	if p.room != nil {
		p.room.left.Add(p.took)
	}
	p.list, p.took = nil, 0
}

// fixedHost gives the host that the template's URLs have, where no path
// decides it.
func (t *urlTemplate) fixedHost(host string) (string, bool) {
	if len(t.host) == 1 && t.host[0].name == phHost {
		return host, true
	}
	return t.literalHost()
}

// replaced reports whether so many URLs are sure to be replaced by what the
// largest limit says, however many more there will be. A hold replaces nothing.
func (f *File) replaced(urls int) bool {
	i, l := f.exceeded(urls)
	return i >= 0 && i == len(f.limits)-1 && !l.hold
}
