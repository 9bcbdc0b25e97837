package mapping

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"
)

// ErrUnknownEnvironment is Plan's answer to an environment that no key of the
// file fits.
var ErrUnknownEnvironment = errors.New("the rules name no such environment")

// ErrTooLarge is Plan's answer to a change that gives more objects than one
// purge can have: more than 1 GiB of them, or 100 million before doubles go.
// A file of 1 MiB can ask for that with a single path.
var ErrTooLarge = errors.New("the rules give too many objects for one purge: use tags or a CP code for files like these")

// ErrTooSlow is Plan's answer to globs that are made to be slow, and that meet
// paths made for them: matching would take minutes.
var ErrTooSlow = errors.New("the globs of the rules take too long to match: write shorter ones, with fewer braces and wildcards")

// Bounds on one plan, and on all tests of a file together.
const (
	maxPlanBytes = 1 << 30
	targetBytes  = 200 // that a target takes beside its object
)

// bounds are how much a plan may still take.
type bounds struct {
	objects int // doubles counted
	work    int // steps of matching; see glob.cost
}

// A thousand globs that must each be compared with 50,000 paths are within
// bounds; what is beyond them takes about ten seconds to find out.
func planBounds() bounds  { return bounds{objects: 100_000_000, work: 10e9} }
func checkBounds() bounds { return bounds{objects: 2_000_000, work: 2e9} }

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

	// Named are URLs that the same purge has beside those of the changes:
	// limits count them. They are no targets of the plan, and no limit
	// replaces them.
	Named []string
}

// Plan is what a change purges, and why.
type Plan struct {
	Environment   Environment
	Action        Action   // of the URLs; tags and CP codes go by the file's action
	Targets       []Target // distinct; by kind (URLs, tags, CP codes), then by object; failed ones carry a Reason
	Unmatched     []string // changed paths that no rule matches, sorted
	WarnUnmatched bool     // the file asks to be warned of them
	URLs          int      // distinct URLs that can be sent, the named ones too, before a limit replaced them
	Limit         *Limit   // the limit that applied; nil: none
	Held          bool     // the whole purge waits until someone releases it
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
// ErrTooLarge and ErrTooSlow.
func (f *File) Plan(q Query) (Plan, error) {
	left := planBounds()
	return f.plan(q, &left)
}

// plan is Plan within bounds, of which it takes its own.
func (f *File) plan(q Query, left *bounds) (Plan, error) {
	env, ok := f.Environment(q.Environment)
	if !ok {
		return Plan{}, ErrUnknownEnvironment
	}
	p := &planner{
		file:    f,
		now:     newSide(f, env, q),
		instead: make([]targetSet, len(f.limits)),
		plan:    Plan{Environment: env, Action: f.action, WarnUnmatched: f.warnUnmatched},
		left:    left,
	}
	if q.Rollback {
		p.plan.Action = f.rollbackAction
	}
	p.before = p.now
	if q.Old != nil {
		if old, ok := q.Old.Environment(q.Environment); ok {
			p.before = newSide(q.Old, old, q)
		}
	}
	if q.Changes != nil {
		for c := range q.Changes {
			switch p.change(c); {
			case p.left.work < 0:
				return Plan{}, ErrTooSlow
			case p.tooLarge():
				return Plan{}, ErrTooLarge
			}
		}
	}
	p.limit(q)
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

// planner gathers the targets of one purge.
type planner struct {
	file        *File
	now, before *side
	plan        Plan
	targets     targetSet
	instead     []targetSet // of each limit
	matched     []int       // scratch: the globs that match
	scratch     []byte
	left        *bounds
	bytes       int // of all distinct targets
}

func (p *planner) tooLarge() bool { return p.left.objects < 0 || p.bytes > maxPlanBytes }

// change maps one changed path.
func (p *planner) change(c Change) {
	if c.Path == RootPlace || c.Path == GitHubPlace {
		return
	}
	s := p.now
	if c.Op == Removed {
		s = p.before
	}
	p.matched = s.file.index.matchWithin(c.Path, p.matched[:0], &p.left.work)
	if len(p.matched) == 0 {
		p.unmatched(s, c.Path)
		return
	}
	s.values.setPath(c.Path)
	gave := false
	last := -1
	for _, number := range p.matched {
		i := s.file.globRules[number]
		if i == last {
			continue // the first glob that matches gives the numbers
		}
		last = i
		r := &s.file.rules[i]
		if !s.applies[i] || p.excludes(r, c.Path) {
			continue
		}
		s.values.captures = nil
		if g := r.match[number-s.file.firstGlob[i]]; r.objects.numbered {
			if p.left.work -= g.cost(c.Path); p.left.work < 0 {
				return
			}
			s.values.captures = g.captures(c.Path)
		}
		gave = p.add(&p.targets, s, &r.objects, r.name) || gave
	}
	if gave {
		p.addInstead(s)
	}
}

func (p *planner) excludes(r *rule, path string) bool {
	return slices.ContainsFunc(r.exclude, func(g *glob) bool {
		p.left.work -= g.cost(path)
		return p.left.work >= 0 && g.match(path)
	})
}

func (p *planner) unmatched(s *side, path string) {
	p.plan.Unmatched = append(p.plan.Unmatched, path)
	if p.file.unmatched.empty() {
		return
	}
	s.values.setPath(path)
	if p.add(&p.targets, s, &p.file.unmatched, "unmatched") {
		p.addInstead(s)
	}
}

// addInstead adds what each limit would purge instead of this path's URLs.
func (p *planner) addInstead(s *side) {
	for i := range p.file.limits {
		p.add(&p.instead[i], s, &p.file.limits[i].instead, "limits")
	}
}

// add expands objects for the side's path and reports whether there was a
// URL among them.
func (p *planner) add(set *targetSet, s *side, o *objects, rule string) (url bool) {
	for i := range o.urls {
		if p.tooLarge() {
			break
		}
		t := &o.urls[i]
		for _, host := range s.hostsFor(t) {
			object, reason := t.url.appendURL(p.scratch[:0], &s.values, host)
			p.put(set, Target{Kind: URL, Rule: rule, Path: s.values.path, Reason: reason}, object)
			url = true
		}
	}
	for i := range o.tags {
		t := &o.tags[i]
		for _, host := range s.hostsFor(t) {
			object := t.appendText(p.scratch[:0], &s.values, host)
			p.put(set, Target{Kind: Tag, Rule: rule, Path: s.values.path, Reason: tagFault(string(object))}, object)
		}
	}
	for _, code := range o.cpcodes {
		p.put(set, Target{Kind: CPCode, Rule: rule, Path: s.values.path}, append(p.scratch[:0], code...))
	}
	return url
}

// put adds a target whose object was made in the scratch space.
func (p *planner) put(set *targetSet, t Target, object []byte) {
	p.scratch = object
	p.left.objects--
	if !p.tooLarge() && set.add(t, object) {
		p.bytes += len(object) + targetBytes
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

// limit applies the largest limit that the URLs exceed.
func (p *planner) limit(q Query) {
	named := map[string]bool{}
	for _, u := range q.Named {
		named[u] = true
	}
	urls := len(named)
	for _, t := range p.targets.list {
		if t.Kind == URL && t.Reason == "" && !named[t.Object] {
			urls++
		}
	}
	p.plan.URLs = urls
	for i := len(p.file.limits) - 1; i >= 0; i-- {
		l := &p.file.limits[i]
		if urls <= l.over {
			continue
		}
		p.plan.Limit = &Limit{Over: l.over, Hold: l.hold, Waived: l.hold && q.Rollback}
		switch {
		case p.plan.Limit.Waived:
			p.plan.Action = p.file.action
		case l.hold:
			p.plan.Held = true
		default:
			p.targets.replaceURLs(&p.instead[i])
		}
		return
	}
}

func (p *planner) finish() {
	p.plan.Targets = p.targets.list
	for i := range p.plan.Targets {
		t := &p.plan.Targets[i]
		t.Action = p.file.action
		if t.Kind == URL {
			t.Action = p.plan.Action
		}
	}
	slices.SortFunc(p.plan.Targets, compareTargets)
	slices.Sort(p.plan.Unmatched)
	p.plan.Unmatched = slices.Compact(p.plan.Unmatched)
}

func compareTargets(a, b Target) int {
	byLength := 0
	if a.Kind == CPCode && b.Kind == CPCode { // decimal numbers
		byLength = cmp.Compare(len(a.Object), len(b.Object))
	}
	return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), byLength, strings.Compare(a.Object, b.Object))
}

func kindOrder(k Kind) int {
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
	list []Target
	at   map[Kind]map[string]int
}

// add adds a target and reports whether it is new. One that is there already
// keeps the first path, in byte order, that led to it.
func (s *targetSet) add(t Target, object []byte) bool {
	if s.at == nil {
		s.at = map[Kind]map[string]int{URL: {}, Tag: {}, CPCode: {}}
	}
	if i, ok := s.at[t.Kind][string(object)]; ok {
		if there := &s.list[i]; t.Path < there.Path {
			there.Rule, there.Path = t.Rule, t.Path
		}
		return false
	}
	t.Object = string(object)
	s.at[t.Kind][t.Object] = len(s.list)
	if t.Reason != "" {
		t.Object = strings.ToValidUTF8(strings.ReplaceAll(t.Object, "\x00", "\ufffd"), "\ufffd")
	}
	s.list = append(s.list, t)
	return true
}

// replaceURLs puts the targets of other in the place of the URLs.
func (s *targetSet) replaceURLs(other *targetSet) {
	var kept targetSet
	for _, list := range [][]Target{s.list, other.list} {
		for _, t := range list {
			if t.Kind != URL {
				kept.add(t, []byte(t.Object))
			}
		}
	}
	*s = kept
}
