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

// ErrUnknownEnvironment is Plan's error if no key of the file fits the environment.
var ErrUnknownEnvironment = errors.New("the rules name no such environment")

// ErrTooLarge is Plan's error if a change gives too much for one purge: more objects than
// MaxTargets, more than 1 GiB of them, or more than 100 million before doubles are
// removed. A file of 1 MiB can ask for that with a single path.
var ErrTooLarge = errors.New("the rules give too many objects for one purge: use tags or a CP code for files like these")

// ErrTooSlow is Plan's error if globs are written to be slow and meet paths written for
// them: matching would take minutes.
var ErrTooSlow = errors.New("the globs of the rules take too long to match: write shorter ones, with fewer braces and wildcards")

// maxPlanBytes bounds the length of all distinct objects of one plan together.
const maxPlanBytes = 1 << 30

// bounds are what a plan may still use. All tests of a file share one.
type bounds struct {
	objects int // objects still to be made, doubles counted
	work    *glob.Work
}

// Steps that one plan may take, and that all tests of a file may take together. A
// thousand globs that must each be compared with 50,000 paths stay within planSteps. It
// takes about ten seconds to find out that a plan exceeds them.
const (
	planSteps    = 2_000_000_000
	objectSteps  = 100 // that each object costs, doubles counted
	checkSteps   = 400_000_000
	checkObjects = 2_000_000
)

// planBounds returns the bounds of one plan; 0 steps stand for planSteps.
func planBounds(ctx context.Context, steps int) bounds {
	return bounds{objects: 100_000_000, work: glob.NewWork(ctx, cmp.Or(steps, planSteps))}
}

// Query says what changed in an environment, and which bounds its purge has.
type Query struct {
	Environment   string // as GitHub names it
	Owner, Repo   string
	DefaultBranch string
	Rollback      bool // URLs get rollback_action, and the purge is never held

	// Old is the file at the old commit. Removed paths use its rules and hosts. If it is
	// nil, or does not know the environment, all paths use the same file.
	Old *File

	Changes iter.Seq[Change] // ranged over once; nil: there are none

	// Steps bounds the work of the plan, for callers that allow less than a whole site
	// may take. A step is a few nanoseconds of matching. 0: planSteps.
	Steps int

	// Allows reports whether URLs of a host may be purged; nil: those of every host. It
	// is asked once for each host. Some URLs of a refused host are planned all the same,
	// so that the sender can say why they don't go. The others are only counted, in
	// Plan.Refused.
	Allows func(host string) bool

	// Done reports whether an object was purged already by this action. Such an object is
	// left out of the plan and of what limits count. nil: nothing was purged.
	Done func(kind Kind, object string, action Action) bool

	// Room is memory that this plan shares with others under way; nil: it has enough for
	// itself. Plan.Release gives back what the plan took.
	Room *Room

	// Named are URLs that the same purge has besides those of the changes. Limits count
	// them. They are not targets of the plan, and no limit replaces them.
	Named []string
}

// Plan is what a change purges, and why. Its targets are made when they are ranged over.
// If its Query had a Room, call Release once, on one copy, when the targets are no longer
// needed.
type Plan struct {
	Environment   Environment
	Action        Action   // of URLs; tags and CP codes use the file's action
	Unmatched     []string // changed paths that no rule's match takes, sorted, each once
	WarnUnmatched bool     // the file asks for a warning about them
	URLs          int      // distinct URLs that can be sent, with the named ones, before a limit replaces them; not counted beyond MaxTargets
	Limit         *Limit   // the limit that applies; nil: none
	Held          bool     // the whole purge waits until somebody releases it
	Refused       int      // URLs of hosts that Allows refuses, doubles counted, apart from those among the targets

	*origins
	list   []recipe // of the targets, in runs of runLength that are each sorted
	others Action   // of tags and CP codes
	room   *Room    // to give took back to; nil: none
	took   int64    // targets' worth of room
}

// Limit is the entry of limits that a purge exceeds.
type Limit struct {
	Over int  // the entry's bound, in URLs
	Hold bool // the purge is held; else the targets of the entry replace its URLs
	// Waived says that the entry holds, but that this is a rollback, which is never held.
	// It goes at once, with the file's action.
	Waived bool
}

// Plan maps changed paths to purge targets. The result depends on the set of changes, not
// on their order. The error is ErrUnknownEnvironment, ErrTooLarge, ErrTooSlow, ErrBusy
// or, if the context is done, context.Canceled. After an error there is nothing to
// release.
func (f *File) Plan(ctx context.Context, q Query) (Plan, error) {
	left := planBounds(ctx, q.Steps)
	return f.plan(q, &left, nil)
}

// plan is Plan with bounds that it uses up, and with objects that are purged whatever
// changed; nil: none.
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
	// Without an old file that knows the environment, removed paths use the new one.
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
		p.heed()
	}
	if q.Changes != nil && p.err == nil {
		for c := range q.Changes {
			p.change(c)
			if p.heed(); p.err != nil {
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

// heed ends the plan if the work has run out: from then on no glob's answer means
// anything, and targets are missing. An error that was found before is the better one,
// unless the context is done.
func (p *planner) heed() {
	if err := p.left.work.Err(); errors.Is(err, glob.ErrTooMuch) {
		p.err = cmp.Or(p.err, ErrTooSlow)
	} else if err != nil {
		p.err = err
	}
}

// side is the rules and hosts that a path uses: those of the new commit or, for a removed
// path, those of the old one.
type side struct {
	file    *File
	hosts   []string
	values  values
	applies []bool // of each rule, by its index: it counts in this environment
}

// newSide prepares a file for one environment. {env} is the key as the file spells it.
// Only for a glob it is the name that GitHub has.
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

// planner gathers the targets of one purge, in one goroutine. It keeps recipes, not
// objects: the objects of a million targets alone would take more than 100 MiB. Code that
// has to look at an object makes it again, and that is most of the work of a plan.
type planner struct {
	file        *File
	query       *Query
	now, before *side // of the new commit and of the old; the same where there is no old file
	plan        Plan
	targets     targetSet
	instead     []targetSet // of each limit; filled from the first path on, since only the end shows which limit applies
	matched     []int       // scratch: the globs that match the path
	left        *bounds
	bytes       int   // of the distinct objects in the sets
	err         error // why planning ends; after it, put adds nothing

	maker         // of the object that is being put
	other   maker // of objects in the sets, so that a comparison keeps the other object
	seed    maphash.Seed
	numbers map[sourceKey]uint32 // of each source, its number in origins
	current uint32               // the number of the path that is being mapped
	allowed map[string]bool      // what Allows said of each host
	refused int                  // targets of refused hosts that are kept, up to maxRefused
	dropped bool                 // a limit is sure to replace the URLs, and they are too many to keep
}

// sourceKey finds a source again: the side, and the number of the glob in its index.
// Numbers below 0 are the sources without a glob: what a rebuild purges, unmatched, and
// from there downwards the limits.
type sourceKey struct {
	side *side
	glob int
}

const (
	rebuildSource   = -1
	unmatchedSource = -2
)

// sourceOf returns the number of a source, and adds the source if it is new. It keeps the
// glob only if a template uses its wildcards; without one, nobody has to find captures.
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

// change maps one changed path. The rules file itself is never mapped: no site serves it,
// and every fix of a rule would purge what `unmatched` purges.
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
	// No recipe uses the path, so its number goes to the next one. Both makers remember
	// values by that number and have to forget them.
	if !kept {
		p.paths, p.ready, p.other.ready = p.paths[:p.current], false, false
	}
}

// addInstead adds what each limit would purge instead of the URLs of this path. It
// reports whether one of these targets keeps the path.
func (p *planner) addInstead(s *side) (kept bool) {
	for i := range p.file.limits {
		key := sourceKey{s, unmatchedSource - 1 - i}
		more, _ := p.add(&p.instead[i], p.sourceOf(key, &p.file.limits[i].instead, nil, "limits"))
		kept = kept || more
	}
	return kept
}

// rules adds what the matching rules give for a path. All rules count, not only the first
// one that matches: a page and the list that shows it often have a rule each. p.matched
// is ascending, and the globs of one rule have numbers in a row.
func (p *planner) rules(s *side, path string) (kept, gave bool) {
	last := -1
	for _, number := range p.matched {
		i := s.file.globRules[number]
		if i == last {
			continue // only the first glob of a rule that matches gives the captures
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

// excludes reports whether the rule's exclude takes the path out.
func (p *planner) excludes(r *rule, path string) bool {
	return slices.ContainsFunc(r.exclude, func(g *glob.Glob) bool { return g.Match(path, p.left.work) })
}

// add puts what a source gives for the current path into a set. kept reports whether the
// set keeps the path for that, and url whether the source gives a URL at all. r.template
// counts every template, also those that are skipped, since maker.make finds templates by
// that number.
func (p *planner) add(set *targetSet, number uint32) (kept, url bool) {
	s := &p.sources[number]
	r := recipe{path: p.current, source: number}
	before := p.left.work.Left
	p.prepare(r, p.left.work)
	// Finding the captures is paid for four times: here, and again for each time that the
	// target is made later: to sort, to compare and to hand out.
	again := 3 * (before - p.left.work.Left)
	put := func() bool { return p.left.work.Take(objectSteps+again) && p.put(set, r) }
	for i := range s.objects.urls {
		t := &s.objects.urls[i]
		for h, host := range s.side.hostsFor(t) {
			url, r.host = true, uint32(h)
			refused := p.refuses(t.url, host)
			switch {
			case set == &p.targets && p.dropped: // not counted any more, and never sent
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

// refuses reports whether Allows refuses the host that all URLs of a template have. A
// host that depends on the path is never refused here.
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

// put makes a target and adds it to a set. If the set has the object already, put keeps
// the recipe whose path is the first in byte order: the same changes in another order
// must give the same plan. It reports whether the set keeps this recipe.
func (p *planner) put(set *targetSet, r recipe) bool {
	if p.err != nil {
		return false
	}
	// Doubles count: they are not kept, but take as long to make.
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
	// grow may have dropped the URLs of this set, and this one is to go with them.
	if p.grow(set, r); p.err != nil || p.dropped && t.Kind == URL && set == &p.targets {
		return false
	}
	p.bytes += len(p.object)
	set.add(hash, r, t)
	return true
}

// done reports whether the object that p.maker made last was purged already, by the
// action that this plan has for it.
func (p *planner) done(kind Kind) bool {
	action := p.plan.others
	if kind == URL {
		action = p.plan.Action
	}
	return p.query.Done != nil && p.query.Done(kind, string(p.object), action)
}

// grow makes room for one more target in a set; r is its recipe. If the set is full, but
// the largest limit is sure to replace its URLs, they are dropped and the rest goes on:
// that limit is meant for a change of the whole site.
func (p *planner) grow(set *targetSet, r recipe) {
	if len(set.list) >= MaxTargets || p.bytes > maxPlanBytes {
		if set != &p.targets || p.dropped || !p.file.replaced(set.urls) {
			p.err = ErrTooLarge
			return
		}
		p.dropped, p.plan.URLs = true, set.urls
		// keepOthers makes other objects with p.maker, so that of r has to be made again.
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

// keepOthers drops the URLs of a set. It builds the set again from the rest, since places
// in its list change. The room of what it drops is given back.
func (p *planner) keepOthers(set *targetSet) {
	all := set.list
	*set, p.bytes = targetSet{}, 0
	p.plan.giveBack(int64(len(all)+roomStep-1) / roomStep * roomStep)
	for _, r := range all {
		if p.other.make(r).Kind != URL {
			p.put(set, r)
		}
	}
}

// hostsFor returns the hosts to expand a template with. A template without {host} gets a
// single one, which it does not use.
func (s *side) hostsFor(t *objectTemplate) []string {
	if t.hosted {
		return s.hosts
	}
	return []string{""}
}

// limit applies the largest limit that the URLs exceed. It counts only URLs, and replaces
// only URLs: a tag is one object, however many pages carry it. A rollback is never held,
// since somebody waits for it: see Limit.
func (p *planner) limit(q Query) {
	named := map[string]bool{}
	for _, u := range q.Named {
		named[u] = true
	}
	if !p.dropped {
		p.plan.URLs = p.targets.urls
		// A named URL that the changes give too counts once.
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
	// The plan had rollback_action so far. What goes without a hold goes by action.
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

// exceeded returns the largest limit that so many URLs exceed, and its index; below 0:
// none. The limits are sorted by rising over.
func (f *File) exceeded(urls int) (int, limit) {
	for i, l := range slices.Backward(f.limits) {
		if urls > l.over {
			return i, l
		}
	}
	return -1, limit{}
}

// Limit returns the entry of limits that so many URLs exceed; nil: none.
func (f *File) Limit(urls int) *Limit {
	i, l := f.exceeded(urls)
	if i < 0 {
		return nil
	}
	return &Limit{Over: l.over, Hold: l.hold}
}

// finish sorts the targets in runs and hands them to the plan. It first lets go of what
// only planning needs.
func (p *planner) finish() {
	p.targets.slots, p.instead = nil, nil // so that sorting can have their memory
	sortRuns(p.targets.list, &p.maker)
	p.plan.list = p.targets.list
	slices.Sort(p.plan.Unmatched)
	p.plan.Unmatched = slices.Compact(p.plan.Unmatched)
}
