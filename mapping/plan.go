package mapping

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"slices"

	"github.com/purgebot/purgebot/internal/glob"
)

// ErrUnknownEnvironment is Plan's answer to an environment that no key of the
// file fits.
var ErrUnknownEnvironment = errors.New("the rules name no such environment")

// ErrTooLarge is Plan's answer to a change that gives more objects than one
// purge can have, see MaxTargets, or more than 1 GiB of them, or 100 million
// before doubles go. A file of 1 MiB can ask for that with a single path.
var ErrTooLarge = errors.New("the rules give too many objects for one purge: use tags or a CP code for files like these")

// ErrTooSlow is Plan's answer to globs that are made to be slow, and that meet
// paths made for them: matching would take minutes.
var ErrTooSlow = errors.New("the globs of the rules take too long to match: write shorter ones, with fewer braces and wildcards")

// maxPlanBytes bounds the distinct objects of one plan.
const maxPlanBytes = 1 << 30

// bounds are how much a plan may still take.
type bounds struct {
	objects int // doubles counted
	work    *glob.Work
}

// Steps that a plan may take, and all tests of a file. A thousand globs that
// must each be compared with 50,000 paths are within bounds; what is beyond
// them takes about ten seconds to find out.
const (
	planSteps    = 2_000_000_000
	objectSteps  = 100 // that each object takes, doubles counted
	checkSteps   = 400_000_000
	checkObjects = 2_000_000
)

func planBounds(ctx context.Context, steps int) bounds {
	return bounds{objects: 100_000_000, work: glob.NewWork(ctx, cmp.Or(steps, planSteps))}
}

// Query asks what a change of an environment's content purges.
type Query struct {
	Environment   string // as GitHub names it
	Owner, Repo   string
	DefaultBranch string
	Rollback      bool // URLs go by rollback_action, and the purge is never held

	// Old is the file at the old commit: removed paths go by its rules and
	// its hosts. Nil, or a file that does not know the environment, means the
	// same file for all.
	Old *File

	Changes iter.Seq[Change] // ranged over once; nil: none

	// Steps bound the work of the plan, where it is not to be as much as a
	// whole site may take: one is a few nanoseconds of matching.
	Steps int

	// Allows says of a host whether its URLs may be purged; nil: any host's. Of
	// those that may not be, some are planned all the same, for whoever sends
	// them to say why not; the rest is counted and not made.
	Allows func(host string) bool

	// Done reports whether an object was purged that way already: it is left
	// out, of the plan and of what limits count; nil: nothing was.
	Done func(kind Kind, object string, action Action) bool

	// Room is what this plan shares with others under way; nil: it has enough
	// for itself. Plan.Release gives back what it took.
	Room *Room

	// Named are URLs that the same purge has beside those of the changes:
	// limits count them. They are no targets of the plan, and no limit
	// replaces them.
	Named []string
}

// Plan is what a change purges, and why.
type Plan struct {
	Environment   Environment
	Action        Action   // of the URLs; tags and CP codes go by the file's action
	Unmatched     []string // changed paths that no rule matches, sorted
	WarnUnmatched bool     // the file asks to be warned of them
	URLs          int      // distinct URLs that can be sent, the named ones too, before a limit replaced them; at most MaxTargets are counted
	Limit         *Limit   // the limit that applied; nil: none
	Held          bool     // the whole purge waits until someone releases it
	Refused       int      // URLs, doubles too, of hosts that Allows refuses, beside those among the targets

	*origins
	list   []recipe // in sorted runs
	others Action   // of tags and CP codes
	room   *Room
	took   int64
}

// Limit is the entry of limits that a purge exceeded.
type Limit struct {
	Over int  // the entry's bound, in URLs
	Hold bool // the entry says hold; else its targets stand in for the URLs
	// Waived: the entry says hold, but a rollback is never held: it goes at
	// once, by the file's action.
	Waived bool
}

// Plan maps changed paths to purge targets. The answer depends on the set of
// changes, not on their order. The errors are ErrUnknownEnvironment,
// ErrTooLarge, ErrTooSlow and ErrBusy, and that of a context that is done.
func (f *File) Plan(ctx context.Context, q Query) (Plan, error) {
	left := planBounds(ctx, q.Steps)
	return f.plan(q, &left, nil)
}

// plan is Plan within bounds, of which it takes its own, and with what is
// purged whatever changed.
func (f *File) plan(q Query, left *bounds, rebuild *objects) (Plan, error) {
	env, ok := f.Environment(q.Environment)
	if !ok {
		return Plan{}, ErrUnknownEnvironment
	}
	p := &planner{
		file:    f,
		query:   &q,
		now:     newSide(f, env, q),
		instead: make([]targetSet, len(f.limits)),
		plan: Plan{
			Environment: env, Action: f.action, WarnUnmatched: f.warnUnmatched,
			origins: new(origins), others: f.action, room: q.Room,
		},
		left:    left,
		seed:    maphash.MakeSeed(),
		numbers: map[sourceKey]uint32{},
		allowed: map[string]bool{},
	}
	p.maker, p.other = maker{origins: p.plan.origins}, maker{origins: p.plan.origins}
	if q.Rollback {
		p.plan.Action = f.rollbackAction
	}
	p.before = p.now
	if q.Old != nil {
		if old, ok := q.Old.Environment(q.Environment); ok {
			p.before = newSide(q.Old, old, q)
		}
	}
	if rebuild != nil {
		p.paths = append(p.paths, "")
		if _, gave := p.add(&p.targets, p.sourceOf(sourceKey{p.now, rebuildSource}, rebuild, nil, "redeploy")); gave {
			p.addInstead(p.now)
		}
	}
	if q.Changes != nil {
		for c := range q.Changes {
			p.change(c)
			if err := left.work.Err(); errors.Is(err, glob.ErrTooMuch) {
				p.err = cmp.Or(p.err, ErrTooSlow)
			} else if err != nil {
				p.err = err
			}
			if p.err != nil {
				break
			}
		}
	}
	p.limit(q)
	if p.err != nil {
		p.plan.Release()
		return Plan{}, p.err
	}
	p.finish()
	return p.plan, nil
}

// side is the rules and hosts that a path goes by: those of the new commit,
// or, for removed paths, of the old one.
type side struct {
	file    *File
	hosts   []string
	values  values
	applies []bool // of each rule: it counts in this environment
}

func newSide(f *File, env Environment, q Query) *side {
	s := &side{file: f, hosts: env.Hosts, applies: make([]bool, len(f.rules))}
	s.values = values{env: env.Key, owner: q.Owner, repo: q.Repo, branch: cmp.Or(env.Branch, q.DefaultBranch)}
	if env.Glob {
		s.values.env = q.Environment
	}
	for i := range f.rules {
		s.applies[i] = f.rules[i].appliesTo(q.Environment)
	}
	return s
}

// planner gathers the targets of one purge. It keeps recipes, not objects: of a
// million targets the objects alone would take more than 100 MiB. Whatever has to
// look at an object makes it again, which is what the work of a plan is spent on.
type planner struct {
	file        *File
	query       *Query
	now, before *side
	plan        Plan
	targets     targetSet
	instead     []targetSet // of each limit: gathered from the first path on, since which one applies is known last
	matched     []int       // scratch: the globs that match
	left        *bounds
	bytes       int   // of all distinct objects
	err         error // why it goes no further

	maker         // of what is put
	other   maker // of what is there already
	seed    maphash.Seed
	numbers map[sourceKey]uint32
	current uint32 // the path that is mapped
	allowed map[string]bool
	refused int  // targets of hosts that are refused
	dropped bool // the URLs are sure to be replaced, and too many to keep
}

// sourceKey finds a source again: the side, and the glob of its rule; below
// 0: unmatched, and the limits.
type sourceKey struct {
	side *side
	glob int
}

const (
	rebuildSource   = -1
	unmatchedSource = -2
)

// sourceOf gives the number of a source.
func (p *planner) sourceOf(key sourceKey, o *objects, g *glob.Glob, rule string) uint32 {
	n, ok := p.numbers[key]
	if !ok {
		if !o.numbered {
			g = nil
		}
		n = uint32(len(p.sources)) //nolint:gosec // a few for each glob
		p.numbers[key] = n
		p.sources = append(p.sources, source{key.side, o, g, rule})
	}
	return n
}

// change maps one changed path. The rules file itself is never mapped: no site
// serves it, and what is purged for `unmatched` would go with each mend of a rule.
func (p *planner) change(c Change) {
	if c.Path == RootPlace || c.Path == GitHubPlace {
		return
	}
	s := p.now
	if c.Op == Removed {
		s = p.before
	}
	p.matched = s.file.index.Match(c.Path, p.matched[:0], p.left.work)
	p.current = uint32(len(p.paths)) //nolint:gosec // of those, one for each target at most
	p.paths = append(p.paths, c.Path)
	kept, gave := false, false
	if len(p.matched) == 0 {
		p.plan.Unmatched = append(p.plan.Unmatched, c.Path)
		if o := &p.file.unmatched; !o.empty() {
			kept, gave = p.add(&p.targets, p.sourceOf(sourceKey{s, unmatchedSource}, o, nil, "unmatched"))
		}
	} else {
		kept, gave = p.rules(s, c.Path)
	}
	if gave {
		kept = p.addInstead(s) || kept
	}
	if !kept {
		p.paths, p.ready, p.other.ready = p.paths[:p.current], false, false
	}
}

// addInstead adds what each limit would purge instead of this path's URLs. It
// reports whether one keeps the path for that.
func (p *planner) addInstead(s *side) (kept bool) {
	for i := range p.file.limits {
		key := sourceKey{s, unmatchedSource - 1 - i}
		more, _ := p.add(&p.instead[i], p.sourceOf(key, &p.file.limits[i].instead, nil, "limits"))
		kept = kept || more
	}
	return kept
}

// rules adds what the rules give whose globs match a path. All rules count, not
// the first that fits: a page and its listing are often named by two.
func (p *planner) rules(s *side, path string) (kept, gave bool) {
	last := -1
	for _, number := range p.matched {
		i := s.file.globRules[number]
		if i == last {
			continue // the first glob that matches gives the numbers
		}
		last = i
		r := &s.file.rules[i]
		if !s.applies[i] || p.excludes(r, path) {
			continue
		}
		more, url := p.add(&p.targets, p.sourceOf(sourceKey{s, number}, &r.objects, r.match[number-s.file.firstGlob[i]], r.name))
		kept, gave = kept || more, gave || url
	}
	return kept, gave
}

func (p *planner) excludes(r *rule, path string) bool {
	return slices.ContainsFunc(r.exclude, func(g *glob.Glob) bool { return g.Match(path, p.left.work) })
}

// add puts what a source gives for the path into a set. It reports whether
// the set keeps the path for that, and whether there was a URL.
func (p *planner) add(set *targetSet, number uint32) (kept, url bool) {
	s := &p.sources[number]
	r := recipe{path: p.current, source: number}
	before := p.left.work.Left
	p.prepare(r, p.left.work)
	// What it costs to find the captures is paid for four times: here, and when
	// the target is made again to sort, to compare, and to hand out.
	again := 3 * (before - p.left.work.Left)
	put := func() bool { return p.left.work.Take(objectSteps+again) && p.put(set, r) }
	for i := range s.objects.urls {
		t := &s.objects.urls[i]
		for h, host := range s.side.hostsFor(t) {
			url, r.host = true, uint32(h)
			refused := p.refuses(t.url, host)
			switch {
			case set == &p.targets && p.dropped: // counted no more, and never sent
			case refused && p.refused >= maxRefused:
				p.plan.Refused++
			case put():
				if kept = true; refused {
					p.refused++
				}
			}
		}
		r.template++
	}
	for i := range s.objects.tags {
		for h := range s.side.hostsFor(&s.objects.tags[i]) {
			r.host = uint32(h)
			kept = put() || kept
		}
		r.template++
	}
	r.host = 0
	for range s.objects.cpcodes {
		kept = put() || kept
		r.template++
	}
	return kept, url
}

// refuses reports whether the host that all URLs of a template have is one
// that Allows refuses.
func (p *planner) refuses(t *urlTemplate, host string) bool {
	if p.query.Allows == nil {
		return false
	}
	name, fixed := t.fixedHost(host)
	if !fixed {
		return false
	}
	ok, known := p.allowed[name]
	if !known {
		ok = p.query.Allows(name)
		p.allowed[name] = ok
	}
	return !ok
}

// put makes a target and adds it to a set, or, where the object is there
// already, lets it keep the first path, in byte order, that led to it: the same
// changes in another order must give the same plan. It reports whether the set
// keeps this recipe.
func (p *planner) put(set *targetSet, r recipe) bool {
	if p.err != nil {
		return false
	}
	if p.left.objects--; p.left.objects < 0 {
		p.err = ErrTooLarge
		return false
	}
	t := p.make(r)
	hash := hashOf(p.seed, t.Kind, p.object)
	if i, found := set.find(hash, t.Kind, p.object, &p.other); found {
		earlier := t.Path < p.paths[set.list[i].path]
		if earlier {
			set.list[i] = r
		}
		return earlier
	}
	if set == &p.targets && p.done(t.Kind) {
		return false
	}
	if p.grow(set, r); p.err != nil || p.dropped && t.Kind == URL && set == &p.targets {
		return false
	}
	p.bytes += len(p.object)
	set.add(hash, r, t)
	return true
}

// done reports whether the object that was just made was purged already.
func (p *planner) done(kind Kind) bool {
	action := p.plan.others
	if kind == URL {
		action = p.plan.Action
	}
	return p.query.Done != nil && p.query.Done(kind, string(p.object), action)
}

// grow makes room for one more target in a set, that of a recipe. Where a set is
// full whose URLs the largest limit replaces anyway, they are dropped, and what is
// not a URL goes on: a change of the whole site is what that limit is for.
func (p *planner) grow(set *targetSet, r recipe) {
	if len(set.list) >= MaxTargets || p.bytes > maxPlanBytes {
		if set != &p.targets || p.dropped || !p.file.replaced(set.urls) {
			p.err = ErrTooLarge
			return
		}
		p.dropped, p.plan.URLs = true, set.urls
		p.keepOthers(set)
		p.make(r)
	}
	if len(set.list)%roomStep == 0 && p.plan.room != nil {
		if !p.plan.room.take(roomStep) {
			p.err = ErrBusy
			return
		}
		p.plan.took += roomStep
	}
}

// keepOthers drops a set's URLs.
func (p *planner) keepOthers(set *targetSet) {
	all := set.list
	*set, p.bytes = targetSet{}, 0
	for _, r := range all {
		if p.other.make(r).Kind != URL {
			p.put(set, r)
		}
	}
}

// hostsFor gives the hosts to expand a template with: one that is not used,
// where the template has none.
func (s *side) hostsFor(t *objectTemplate) []string {
	if t.hosted {
		return s.hosts
	}
	return []string{""}
}

// limit applies the largest limit that the URLs exceed. Only URLs are counted,
// and only they are replaced: a tag is one object however many pages have it. A
// rollback is never held, since somebody waits for it: see Limit.
func (p *planner) limit(q Query) {
	named := map[string]bool{}
	for _, u := range q.Named {
		named[u] = true
	}
	if !p.dropped {
		p.plan.URLs = p.targets.urls
		for u := range named {
			if _, found := p.targets.find(hashOf(p.seed, URL, []byte(u)), URL, []byte(u), &p.other); !found {
				p.plan.URLs++
			}
		}
	}
	i, l := p.file.exceeded(p.plan.URLs)
	if i < 0 {
		return
	}
	p.plan.Limit = &Limit{Over: l.over, Hold: l.hold, Waived: l.hold && q.Rollback}
	switch {
	case p.plan.Limit.Waived:
		p.plan.Action = p.file.action
	case l.hold:
		p.plan.Held = true
	default:
		p.keepOthers(&p.targets)
		for _, r := range p.instead[i].list {
			if p.other.make(r).Kind != URL {
				p.put(&p.targets, r)
			}
		}
	}
}

// exceeded finds the largest limit that so many URLs exceed; below 0: none.
func (f *File) exceeded(urls int) (int, limit) {
	for i, l := range slices.Backward(f.limits) {
		if urls > l.over {
			return i, l
		}
	}
	return -1, limit{}
}

// Limit is the entry of limits that so many URLs exceed; nil: none.
func (f *File) Limit(urls int) *Limit {
	i, l := f.exceeded(urls)
	if i < 0 {
		return nil
	}
	return &Limit{Over: l.over, Hold: l.hold}
}

func (p *planner) finish() {
	p.targets.slots, p.instead = nil, nil // the sorting may have their room
	sortRuns(p.targets.list, &p.maker)
	p.plan.list = p.targets.list
	slices.Sort(p.plan.Unmatched)
	p.plan.Unmatched = slices.Compact(p.plan.Unmatched)
}
