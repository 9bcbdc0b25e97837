package verify

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Judge decides. The causes of the finding stand in the order of how much
// they explain.
func Judge(e Evidence) Finding {
	j := &judge{Evidence: e}
	j.lookAtOrigin()
	for i := range e.Edge {
		j.lookAtEdge(e.Edge[i])
	}
	if j.reference == nil && j.Contains == "" && len(distinct(j.fresh)) > 1 {
		j.note(Dynamic, Unknown) // another page than before, but which?
	}
	j.compareServers()
	j.compareTags()
	if j.unexplained && !slices.ContainsFunc(j.causes, func(c Cause) bool { return c.Kind.explains() }) {
		j.note(NotPurged, Stale)
	}
	if e.Pragma && !slices.ContainsFunc(e.Edge, func(l Look) bool { return l.End().XCache != "" }) && len(j.answered()) > 0 {
		j.note(PragmaOff, "")
	}
	return j.conclude()
}

// judge gathers what the evidence says.
type judge struct {
	Evidence
	usable    []Look // the origin's answers that tell what it serves
	reference *Look  // one of them, if they agree

	fresh, stale []Look // of the edge
	causes       []Cause
	worst        Verdict // what the causes alone say
	unsure       bool    // something could not be compared
	unexplained  bool    // a stale copy of which nothing says why
}

// note adds a cause once. weight is what the cause means for the verdict if no
// look says worse.
func (j *judge) note(k Kind, weight Verdict, about ...string) {
	if !slices.ContainsFunc(j.causes, func(c Cause) bool { return c.Kind == k }) {
		j.causes = append(j.causes, Cause{Kind: k, About: strings.Join(about, " ")})
	}
	if rank(weight) > rank(j.worst) {
		j.worst = weight
	}
}

// rank orders verdicts by how much they matter to readers; the zero one is
// that of a cause which only explains.
func rank(v Verdict) int { return slices.Index([]Verdict{"", Fresh, Unknown, Broken, Stale}, v) }

func (j *judge) answered() (all []Look) {
	for _, l := range j.Edge {
		if l.End().answered() {
			all = append(all, l)
		}
	}
	return all
}

// lookAtOrigin finds what the origin serves, if its answers agree.
func (j *judge) lookAtOrigin() {
	for _, l := range j.Origin {
		switch end := l.End(); {
		case !end.answered():
			j.note(OriginSick, "", end.Fault)
		case end.Status >= 500:
			j.note(OriginSick, "", statusWords(end.Status))
		case end.refuses():
			j.note(OriginRefuses, "", statusWords(end.Status))
		default:
			j.usable = append(j.usable, l)
			if end.Via != "" || end.Age != nil && *end.Age > 0 {
				j.note(OriginCached, "", end.Via)
			}
		}
	}
	switch kinds := distinct(j.usable); len(kinds) {
	case 0:
		return
	case 1:
		j.reference = &kinds[0]
	default:
		j.manyOrigins(kinds)
	}
	switch {
	case j.Contains != "" && !j.originContains() && j.usable[0].End().Status < 300:
		j.note(OriginLags, Stale)
	case j.reference != nil && j.Before != nil && !j.Confirmed && j.Contains == "" && compare(*j.Before, j.reference.End()) == alike:
		j.note(OriginLags, Unknown)
	case j.reference != nil && j.Deployed && j.Before == nil && !j.Confirmed && j.Contains == "":
		j.note(Unconfirmed, Unknown)
	}
	if j.reference != nil && j.uncached() && j.sameValidators() && compare(j.Uncached.End(), j.reference.End()) == unlike {
		j.note(Rewritten, "")
	}
}

func (j *judge) originContains() bool {
	return slices.ContainsFunc(j.usable, func(l Look) bool { return l.End().Contains })
}

// originStatus is that of all of the origin's answers; 0 if they differ.
func (j *judge) originStatus() (status int) {
	for i, l := range j.usable {
		if i > 0 && l.End().Status != status {
			return 0
		}
		status = l.End().Status
	}
	return status
}

// manyOrigins: the origin's answers differ. Where some come twice, or some
// contain what they should, it has several servers that don't hold the same;
// where all differ the page is made anew for each request.
func (j *judge) manyOrigins(kinds []Look) {
	contains := slices.IndexFunc(kinds, func(l Look) bool { return l.End().Contains })
	mixed := contains >= 0 && slices.ContainsFunc(kinds, func(l Look) bool { return !l.End().Contains })
	if len(kinds) == len(j.usable) && j.originStatus() != 0 && (len(kinds) > 2 || !mixed) {
		weight := Unknown
		if j.Contains != "" {
			weight = ""
		}
		j.note(Dynamic, weight)
		if !mixed {
			return
		}
	} else if contains >= 0 {
		j.reference = &kinds[contains]
	}
	j.note(OriginUneven, Unknown)
}

// distinct are the looks that differ, as far as they can be compared.
func distinct(looks []Look) (kinds []Look) {
	for _, l := range looks {
		if !slices.ContainsFunc(kinds, func(k Look) bool { got, _ := compareLooks(k, l); return got != unlike }) {
			kinds = append(kinds, l)
		}
	}
	return kinds
}

// lookAtEdge says of one look whether it is fresh, and if not, why.
func (j *judge) lookAtEdge(l Look) {
	end := l.End()
	switch {
	case strings.HasPrefix(end.Fault, CutFault):
		j.note(RedirectLost, Broken, end.Fault)
		return
	case !end.answered():
		j.note(EdgeUnreachable, Broken, end.Fault)
		return
	case end.refuses() && end.Status != j.originStatus():
		j.note(EdgeRefuses, Broken, statusWords(end.Status))
		return
	case end.Status >= 500 && fromCache(end):
		j.note(ErrorCached, Broken, statusWords(end.Status))
		return
	case end.Status >= 500:
		j.note(EdgeError, Broken, statusWords(end.Status))
		return
	}
	got, hop := j.isFresh(l)
	switch got {
	case alike:
		j.fresh = append(j.fresh, l)
	case unclear:
		j.unsure = true
		if end.Cut && j.reference != nil {
			j.note(TooLong, "")
		}
	case unlike:
		j.stale = append(j.stale, l)
		j.explain(l, hop)
	}
}

// isFresh holds one look against the best that is known; the hop is the first
// that is not fresh.
func (j *judge) isFresh(l Look) (likeness, int) {
	end := l.End()
	last := len(l.Hops) - 1
	if j.Contains != "" && !end.Contains && !end.redirects() && (!end.gone() || j.originStatus() != end.Status) {
		return unlike, last
	}
	switch {
	case j.reference != nil:
		got, hop := compareLooks(l, *j.reference)
		if got == unlike && j.rewritten(l) {
			if j.Contains != "" {
				return alike, 0 // and it contains it
			}
			return unclear, 0
		}
		return got, hop
	case j.Contains != "" && end.Contains:
		return alike, 0
	case end.gone() && j.originStatus() == http.StatusOK:
		return unlike, last
	case saysStale(end):
		return unlike, last
	case j.Before != nil && compare(*j.Before, end) == alike:
		j.note(Unchanged, "")
	case j.Before != nil && len(j.Origin) == 0 && end.Status < 300 && j.recent(end):
		return alike, 0
	case j.Before != nil && len(j.Origin) == 0:
		j.note(Undated, "")
	}
	return unclear, 0
}

// rewritten tells that Akamai changes this page on its way: what it has just
// got from behind it has the origin's validators, is not the origin's, and is
// what it also has in its cache.
func (j *judge) rewritten(l Look) bool {
	return j.uncached() && j.sameValidators() && compare(j.Uncached.End(), l.End()) == alike
}

// sameValidators: what came from behind the edge is, by what it says of
// itself, the version that the origin serves. An edge that compresses takes
// the ETag off.
func (j *judge) sameValidators() bool {
	a, b := j.Uncached.End(), j.reference.End()
	if a.Status != b.Status || a.Status >= 300 || a.Via != "" && a.Via != b.Via {
		return false
	}
	x, y := strings.TrimPrefix(a.ETag, "W/"), strings.TrimPrefix(b.ETag, "W/")
	etags, dates := x != "" && y != "", a.LastModified != "" && b.LastModified != ""
	return (etags || dates) && (!etags || x == y) && (!dates || a.LastModified == b.LastModified)
}

// uncached: the look under an address of its own did come from behind the
// edge. Where the cache's key ignores queries it comes from the cache.
func (j *judge) uncached() bool {
	if j.Uncached == nil {
		return false
	}
	end := j.Uncached.End()
	return end.answered() && end.Status < 500 && !end.refuses() && (fetched(end) || end.XCache == "" && end.Age != nil && *end.Age == 0)
}

// explain names the causes of a stale look. hop is the answer that is old.
func (j *judge) explain(l Look, hop int) {
	a := l.Hops[hop]
	if hop > 0 {
		j.note(RedirectTarget, Stale, a.URL)
	}
	if a.gone() && j.originStatus() == http.StatusOK && !fetched(a) {
		j.note(ErrorCached, Stale, statusWords(a.Status))
		return
	}
	if j.reference != nil && slices.ContainsFunc(j.causes, func(c Cause) bool { return c.Kind == OriginLags }) {
		if got, _ := compareLooks(l, *j.reference); got == alike && !j.older(a) {
			return // the edge has what the origin has
		}
	}
	switch {
	case saysStale(a):
		j.note(ServedStale, Stale)
		return
	case parentHit(a):
		j.note(ParentStale, Stale)
		return
	case fetched(a) && !revalidated(a):
		j.note(CacheBehind, Stale, a.Via)
		return
	}
	j.explainCopy(a)
}

// explainCopy names why a cache still has an old copy. Several may be true.
func (j *judge) explainCopy(a Answer) {
	known := j.cacheBehind()
	if known {
		j.note(CacheBehind, Stale, j.Uncached.End().Via)
	}
	if revalidated(a) || j.notNewer(a) {
		j.note(NotModified, Stale)
		known = true
	}
	if j.keyed(a) {
		j.note(WrongKey, Stale, a.CacheKey)
		known = true
	}
	if j.older(a) {
		j.note(NotPurged, Stale)
	} else if !known {
		j.unexplained = true
	}
}

// cacheBehind: what comes from behind the edge is not what the origin serves.
func (j *judge) cacheBehind() bool {
	switch {
	case !j.uncached():
		return false
	case j.reference != nil:
		return compare(j.Uncached.End(), j.reference.End()) == unlike && !j.sameValidators()
	}
	return j.Contains != "" && j.originContains() && !j.Uncached.End().Contains
}

// keyed tells that Akamai keeps the page under another name than the URL, so
// that a purge of the URL as it is may miss it.
func (j *judge) keyed(a Answer) bool {
	u, err := url.Parse(a.URL)
	if err != nil {
		return false
	}
	if name, ok := keyPath(a.CacheKey); ok && name != u.RequestURI() {
		return true
	}
	return slices.ContainsFunc(j.Spellings, func(l Look) bool {
		if j.reference != nil {
			return compare(l.End(), j.reference.End()) == alike || j.rewritten(l)
		}
		return j.Contains != "" && l.End().Contains
	})
}

// keyPath is the path and query in a cache key, such as
// /L/512/6848/1h/www.example.com/index.html?a=b, which /S may precede.
func keyPath(key string) (string, bool) {
	parts := strings.SplitN(strings.TrimPrefix(strings.TrimPrefix(key, "S/"), "/S/"), "/", 7)
	if strings.HasPrefix(key, "/") && !strings.HasPrefix(key, "/S/") && len(parts) == 7 {
		return "/" + parts[6], true
	}
	if len(parts) >= 6 {
		return "/" + strings.Join(parts[5:], "/"), true
	}
	return "", false
}

// older: the copy was in the cache before the purge took effect.
func (j *judge) older(a Answer) bool {
	return j.Purge != nil && a.Age != nil && time.Duration(*a.Age)*time.Second > j.Purge.Ago+time.Second
}

// recent: the copy came into the cache after the purge.
func (j *judge) recent(a Answer) bool {
	return fetched(a) || j.Purge != nil && a.Age != nil && !j.older(a)
}

// notNewer: an invalidation asks "modified since?", and the origin, whose file
// has a date that is not later, says no.
func (j *judge) notNewer(a Answer) bool {
	if j.reference == nil || j.Purge != nil && j.Purge.Delete {
		return false
	}
	b := j.reference.End()
	mine, err1 := http.ParseTime(a.LastModified)
	its, err2 := http.ParseTime(b.LastModified)
	return err1 == nil && err2 == nil && a.Status == b.Status && !its.After(mine)
}

// compareServers looks for what the looks that no purge has touched have in
// common, beside those that one has: fresh ones, or such as are old for
// another reason. Only the first look of each kind tells: it changes the
// cache.
func (j *judge) compareServers() {
	type kind struct {
		from       string
		compressed bool
	}
	seen := map[kind]bool{}
	touched := slices.Clone(j.fresh)
	var untouched []Look
	for _, l := range j.stale {
		k := kind{l.Hops[0].From, l.Compressed}
		switch {
		case seen[k]:
		case j.touched(l.End()):
			touched = append(touched, l)
		default:
			untouched = append(untouched, l)
		}
		seen[k] = true
	}
	for _, s := range untouched {
		for _, f := range touched {
			switch same := s.Hops[0].From == f.Hops[0].From; {
			case same && s.Compressed != f.Compressed:
				j.note(VariantStale, Stale, variantName(s.Compressed))
			case !same && s.Compressed == f.Compressed:
				j.note(OneOfSeveral, Stale, s.Hops[0].From)
			}
		}
	}
}

// touched: a purge has done something to this copy, though it is old.
func (j *judge) touched(a Answer) bool {
	return fetched(a) || revalidated(a) || saysStale(a) || parentHit(a) || j.Purge != nil && a.Age != nil && !j.older(a)
}

// compareTags: a purge by tag reaches what carries the tag.
func (j *judge) compareTags() {
	if j.Purge == nil || len(j.Purge.Tags) == 0 || len(j.usable) == 0 {
		return
	}
	tags := j.usable[0].End().Tags
	if len(tags) == 0 && len(j.stale) == 0 {
		return // Akamai may give the page its tags
	}
	if !slices.ContainsFunc(j.Purge.Tags, func(t string) bool { return slices.Contains(tags, t) }) {
		j.note(NotTagged, "", j.Purge.Tags[0])
	}
}

// conclude weighs the looks and the causes.
func (j *judge) conclude() Finding {
	f := Finding{Verdict: Unknown, compared: j.reference != nil, contains: j.Contains}
	if j.reference != nil {
		f.gone = j.reference.End().gone()
	}
	switch {
	case len(j.stale) > 0:
		f.Verdict = Stale
	case j.worst == Stale || j.worst == Broken:
		f.Verdict = j.worst
	case j.worst != Unknown && !j.unsure && len(j.fresh) > 0:
		f.Verdict = Fresh
	}
	if f.Verdict == Unknown && len(j.Origin) == 0 && j.Contains == "" && j.Before == nil && len(j.answered()) > 0 {
		j.note(NotCompared, Unknown, cacheWords(j.answered()[0].End()))
	}
	f.Causes = j.causes
	slices.SortStableFunc(f.Causes, func(a, b Cause) int { return weight(a.Kind) - weight(b.Kind) })
	return f
}
