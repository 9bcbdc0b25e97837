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

// MaxTargets is how many objects one purge can have. If a change gives more, the largest
// of the rules' limits says what is purged instead; else Plan returns ErrTooLarge.
const MaxTargets = 1 << 20

// maxRefused is how many objects of hosts that Query.Allows refuses are kept, for people
// to read and to retry. The others are only counted.
const maxRefused = 10_000

// ErrBusy is Plan's error if other plans have the room for now. The same query may
// succeed later.
var ErrBusy = errors.New("other plans under way take up the memory")

// Room is the memory that plans under way share, counted in targets. Several goroutines
// may use it at once.
//
// It must be more than MaxTargets: what a limit says instead of a plan's URLs takes room
// beside them. A plan that finds no room ends with ErrBusy and gives back its own. So one
// of many that grow at the same time gets through.
type Room struct{ left atomic.Int64 }

// NewRoom returns room for that many targets.
func NewRoom(targets int) *Room {
	r := new(Room)
	r.left.Store(int64(targets))
	return r
}

// roomStep is how many targets a plan takes room for at a time.
const roomStep = 4096

// take reports whether there was room for n targets. If not, it takes none. For a moment
// left may be too low; another plan that asks just then may be told that it is busy.
func (r *Room) take(n int64) bool {
	if r.left.Add(-n) >= 0 {
		return true
	}
	r.left.Add(n)
	return false
}

// recipe says how to make a target: the number of its path, the number of its source,
// which template of that (URLs, then tags, then CP codes), and which host. It stands for
// the target while a plan is made, in a tenth of the memory.
type recipe struct{ path, source, template, host uint32 }

// source is a list of templates, and what decides the values of their placeholders.
type source struct {
	side    *side
	objects *objects
	glob    *glob.Glob // whose wildcards the numbers mean; nil: no template uses one
	rule    string     // as Target.Rule has it
}

// origins are the paths and sources that recipes number. A plan shares them with its
// makers.
type origins struct {
	paths   []string
	sources []source
}

// maker makes targets from recipes. It is cheapest for recipes in a row that have the
// same path and source. It is not safe for concurrent use. Each object overwrites the one
// before, so code that compares two objects needs two makers.
type maker struct {
	*origins
	path, source uint32
	ready        bool // values belong to path and source
	values       values
	object       []byte // of the last target; overwritten by the next
}

// prepare finds what the placeholders of a recipe stand for. work is nil, which is no
// bound, if the work was paid for when the target was made the first time: see
// planner.add.
func (m *maker) prepare(r recipe, work *glob.Work) {
	// The recipes of one path and source are put in a row, so this is the usual case.
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

// make returns a target without its action and object. The object is m.object, until the
// next one is made.
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

// whole makes a target with its object. Git allows any bytes in a name, but PostgreSQL
// takes neither invalid UTF-8 nor NUL. They become U+FFFD in an object that can't be sent
// anyway and is only kept for people to read.
func (m *maker) whole(r recipe) Target {
	t := m.make(r)
	if t.Object = string(m.object); t.Reason != "" {
		t.Object = strings.ToValidUTF8(strings.ReplaceAll(t.Object, "\x00", "\ufffd"), "\ufffd")
	}
	return t
}

// appendKey appends the key that orders the target made last: by kind, then by object. CP
// codes are ordered as numbers: fewer digits come first.
func (m *maker) appendKey(dst []byte, kind Kind) []byte {
	dst = append(dst, kindOrder(kind))
	if kind == CPCode {
		dst = append(dst, byte(len(m.object))) //nolint:gosec // 19 digits at most
	}
	return append(dst, m.object...)
}

// kindOrder is the order of the kinds in a plan.
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

// targetSet is a set of distinct targets.
type targetSet struct {
	list []recipe
	// slots is a hash table with open addressing, which finds targets by half a hash of
	// kind and object. The upper half of a slot is that half; the lower is the place in
	// list, counted from 1. 0 is an empty slot. At least half of the slots are empty, so
	// a search ends. Two objects may share a hash: find compares them. The seed is
	// random, so nobody can write paths that all share one.
	slots []uint64
	urls  int // URLs that can be sent
}

// hashOf returns the half of a hash by which slots are found.
func hashOf(seed maphash.Seed, kind Kind, object []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_ = h.WriteByte(kindOrder(kind))
	_, _ = h.Write(object)
	return h.Sum64() >> 32
}

// find returns an object's place in the list. It makes the objects that it compares with
// other, which must not be the maker that holds object.
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

// add adds a target that is not in the set, as find has shown. It doubles the slots when
// more than half would be full.
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

// set stores a slot at the first empty place after its hash.
func (s *targetSet) set(slot uint64) {
	i := slot >> 32
	for s.slots[i%uint64(len(s.slots))] != 0 {
		i++
	}
	s.slots[i%uint64(len(s.slots))] = slot
}

// runLength is how many targets are sorted at once, with their objects in memory: about 6
// MiB. A million targets are 16 such runs. Targets merges them while it hands them out,
// so that never all objects are in memory together.
const runLength = 1 << 16

// sortRuns sorts each run of a list in place. The keys of a run lie in one block of
// bytes, which the next run uses again.
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

// Len returns how many targets the plan has.
func (p *Plan) Len() int { return len(p.list) }

// Targets makes the plan's targets one by one, as often as it is ranged over. They are
// distinct, and ordered by kind (URLs, tags, CP codes) and then by object. A target that
// can't be sent has a Reason.
//
// It merges the sorted runs: it always yields the first of their heads.
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
			// There are at most 16 heads, so a search through all of them is cheap.
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

// Release gives back the room that the plan took. The plan has no targets afterwards. To
// call it again does nothing, but not so on a copy of the plan, which would give the room
// back twice.
func (p *Plan) Release() {
	p.giveBack(p.took)
	p.list = nil
}

// giveBack gives back a part of the room that the plan took.
func (p *Plan) giveBack(n int64) {
	if p.room != nil {
		p.room.left.Add(n)
		p.took -= n
	}
}

// fixedHost returns the host of all URLs that the template has for this {host}. It
// returns false if the host is put together from several pieces or depends on a path.
func (t *urlTemplate) fixedHost(host string) (string, bool) {
	if len(t.host) == 1 && t.host[0].name == phHost {
		return host, true
	}
	return t.literalHost()
}

// replaced reports whether this many URLs are sure to be replaced by what the largest
// limit says, however many more follow. A limit that holds replaces nothing.
func (f *File) replaced(urls int) bool {
	i, l := f.exceeded(urls)
	return i >= 0 && i == len(f.limits)-1 && !l.hold
}
