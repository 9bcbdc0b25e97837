package verify

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Judge decides. The finding's causes are ordered by how much they explain, the most
// first.
//
// The order of the steps matters. What the origin serves is the measure for the edge. The
// edge has to be judged before its servers and tags are compared. NotPurged is the cause
// only if nothing else explains a stale copy.
func Judge(e Evidence) Finding {
	j := &judge{Evidence: e}
	j.lookAtOrigin()
	for i := range e.Edge {
		j.lookAtEdge(e.Edge[i])
	}
	if j.reference == nil && j.Contains == "" && len(distinct(j.fresh)) > 1 {
		j.note(Dynamic, Unknown) // it is not the page from before, but there are several: which one is right?
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

// judge gathers what the evidence says. Each step notes causes; conclude weighs them.
type judge struct {
	Evidence
	usable    []Look // answers of the origin that show what it serves
	reference *Look  // one of them, to compare with; nil if they don't agree or there are none

	fresh, stale []Look  // the looks at the edge, as far as they could be judged
	causes       []Cause // each kind once, as found
	worst        Verdict // what the causes alone say; "": nothing
	unsure       bool    // a look could not be compared
	unexplained  bool    // there is a stale copy, and nothing says why
}

// note adds a cause, once for each kind: the first one's About stays. weight is the
// verdict that the cause leads to if no look says worse; "" is a cause that only
// explains.
func (j *judge) note(k Kind, weight Verdict, about ...string) {
	if !slices.ContainsFunc(j.causes, func(c Cause) bool { return c.Kind == k }) {
		j.causes = append(j.causes, Cause{Kind: k, About: strings.Join(about, " ")})
	}
	if rank(weight) > rank(j.worst) {
		j.worst = weight
	}
}

// rank orders verdicts by how much they matter to readers; an old page matters more than
// an error. "" comes first, for causes that only explain.
func rank(v Verdict) int { return slices.Index([]Verdict{"", Fresh, Unknown, Broken, Stale}, v) }

// answered returns the looks at the edge that got an answer.
func (j *judge) answered() (all []Look) {
	for _, l := range j.Edge {
		if l.End().answered() {
			all = append(all, l)
		}
	}
	return all
}

// lookAtOrigin finds what the origin serves. If its answers agree, one becomes the
// reference. It also notes when nothing shows that the deployment has reached the origin.
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
	// An error page or a redirect need not contain the text.
	case j.Contains != "" && !j.originContains() && j.usable[0].End().Status < 300:
		j.note(OriginLags, Stale)
	// The origin serves what the edge had before the purge. Either the deployment has not
	// come there, or it did not change the page.
	case j.reference != nil && j.Before != nil && !j.Confirmed && j.Contains == "" && compare(*j.Before, j.reference.End()) == alike:
		j.note(OriginLags, Unknown)
	case j.reference != nil && j.Deployed && j.Before == nil && !j.Confirmed && j.Contains == "":
		j.note(Unconfirmed, Unknown)
	}
	if j.reference != nil && j.uncached() && j.sameValidators() && compare(j.Uncached.End(), j.reference.End()) == unlike {
		j.note(Rewritten, "")
	}
}

// originContains reports whether an answer of the origin has the text that only the new
// page has.
func (j *judge) originContains() bool {
	return slices.ContainsFunc(j.usable, func(l Look) bool { return l.End().Contains })
}

// originStatus returns the status of the origin's answers; 0 if they differ or there are
// none.
func (j *judge) originStatus() (status int) {
	for i, l := range j.usable {
		if i > 0 && l.End().Status != status {
			return 0
		}
		status = l.End().Status
	}
	return status
}

// manyOrigins judges answers of the origin that differ. If some of them are the same, or
// some contain the text that they should, there are several servers that don't hold the
// same. If all differ, the page is made new for each request.
func (j *judge) manyOrigins(kinds []Look) {
	contains := slices.IndexFunc(kinds, func(l Look) bool { return l.End().Contains })
	mixed := contains >= 0 && slices.ContainsFunc(kinds, func(l Look) bool { return !l.End().Contains })
	// All answers differ. But if there are only two, and just one has the text, they are
	// more likely from two servers.
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

// distinct returns one look of each kind that differs from the others. Looks that can't
// be compared count as the same.
func distinct(looks []Look) (kinds []Look) {
	for _, l := range looks {
		if !slices.ContainsFunc(kinds, func(k Look) bool { got, _ := compareLooks(k, l); return got != unlike }) {
			kinds = append(kinds, l)
		}
	}
	return kinds
}

// lookAtEdge judges one look at the edge, and finds the cause if it is not fresh. Answers
// that show no page come first: there is nothing in them to compare.
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

// isFresh compares one look with the best that is known: the text that only the new page
// has, the origin, or what the edge had before. hop is the index of the first answer that
// is not fresh. The cases go from strong evidence to weak.
func (j *judge) isFresh(l Look) (likeness, int) {
	end := l.End()
	last := len(l.Hops) - 1
	// A page that lacks the text is old, even if the origin serves the same. A redirect
	// that was not followed need not have it, nor an answer that the page is gone, if the
	// origin gives that too.
	if j.Contains != "" && !end.Contains && !end.redirects() && (!end.gone() || j.originStatus() != end.Status) {
		return unlike, last
	}
	switch {
	case j.reference != nil:
		// Akamai may change the page on its way. Then other bytes don't mean an old page,
		// and only the text can show that it is new.
		got, hop := compareLooks(l, *j.reference)
		if got == unlike && j.rewritten(l) {
			if j.Contains != "" {
				return alike, 0 // the text is there, as the test above has shown
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

// rewritten reports whether Akamai changes this page on its way. What has just come from
// behind the edge has the validators of the origin's page and other content, and the look
// shows that same content.
func (j *judge) rewritten(l Look) bool {
	return j.uncached() && j.sameValidators() && compare(j.Uncached.End(), l.End()) == alike
}

// sameValidators reports whether what came from behind the edge is, by its own word, the
// version that the origin serves. A validator that only one side has is not compared,
// because an edge that compresses removes the ETag. At least one must be on both sides.
func (j *judge) sameValidators() bool {
	a, b := j.Uncached.End(), j.reference.End()
	if a.Status != b.Status || a.Status >= 300 || a.Via != "" && a.Via != b.Via {
		return false
	}
	x, y := strings.TrimPrefix(a.ETag, "W/"), strings.TrimPrefix(b.ETag, "W/")
	etags, dates := x != "" && y != "", a.LastModified != "" && b.LastModified != ""
	return (etags || dates) && (!etags || x == y) && (!dates || a.LastModified == b.LastModified)
}

// uncached reports whether the look under an address of its own did come from behind the
// edge. It comes from the cache if the cache's key ignores queries.
func (j *judge) uncached() bool {
	if j.Uncached == nil {
		return false
	}
	end := j.Uncached.End()
	// An edge that does not say what its cache did shows a fetch by an Age of 0.
	return end.answered() && end.Status < 500 && !end.refuses() && (fetched(end) || end.XCache == "" && end.Age != nil && *end.Age == 0)
}

// explain notes the causes of a stale look. hop is the index of the answer that is old.
func (j *judge) explain(l Look, hop int) {
	a := l.Hops[hop]
	if hop > 0 {
		j.note(RedirectTarget, Stale, a.URL)
	}
	if a.gone() && j.originStatus() == http.StatusOK && !fetched(a) {
		j.note(ErrorCached, Stale, statusWords(a.Status))
		return
	}
	// isFresh may call a look stale only because it lacks the text.
	if j.reference != nil && slices.ContainsFunc(j.causes, func(c Cause) bool { return c.Kind == OriginLags }) {
		if got, _ := compareLooks(l, *j.reference); got == alike && !j.older(a) {
			return // the edge has what the origin has; that the origin lags is cause enough
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

// explainCopy notes why a cache still has an old copy. Several causes may be true at
// once.
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

// cacheBehind reports whether what comes from behind the edge is not what the origin
// serves.
func (j *judge) cacheBehind() bool {
	switch {
	case !j.uncached():
		return false
	case j.reference != nil:
		return compare(j.Uncached.End(), j.reference.End()) == unlike && !j.sameValidators()
	}
	return j.Contains != "" && j.originContains() && !j.Uncached.End().Contains
}

// keyed reports whether Akamai keeps the page under another name than its URL, so that a
// purge of the URL may miss it. Either the cache key says so, or another spelling of the
// URL gets the new page.
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

// keyPath returns the path and query in a cache key such as
// /L/512/6848/1h/www.example.com/index.html?a=b, which /S may precede. It returns false
// if the key has another form.
func keyPath(key string) (string, bool) {
	parts := strings.SplitN(strings.TrimPrefix(strings.TrimPrefix(key, "S/"), "/S/"), "/", 7)
	// With a slash before the letter, the first part is empty and the seventh is the
	// path.
	if strings.HasPrefix(key, "/") && !strings.HasPrefix(key, "/S/") && len(parts) == 7 {
		return "/" + parts[6], true
	}
	if len(parts) >= 6 {
		return "/" + strings.Join(parts[5:], "/"), true
	}
	return "", false
}

// older reports whether the copy was in the cache before the purge took effect. One
// second is allowed, since Age counts whole seconds.
func (j *judge) older(a Answer) bool {
	return j.Purge != nil && a.Age != nil && float64(*a.Age) > (j.Purge.Ago+time.Second).Seconds()
}

// recent reports whether the copy came into the cache after the purge.
func (j *judge) recent(a Answer) bool {
	return fetched(a) || j.Purge != nil && a.Age != nil && !j.older(a)
}

// notNewer reports whether an invalidation could not help: the edge asks "modified
// since?", and the origin says no, because the date of its file is not later than that of
// the copy. A delete asks nothing.
func (j *judge) notNewer(a Answer) bool {
	if j.reference == nil || j.Purge != nil && j.Purge.Delete {
		return false
	}
	b := j.reference.End()
	mine, err1 := http.ParseTime(a.LastModified)
	its, err2 := http.ParseTime(b.LastModified)
	return err1 == nil && err2 == nil && a.Status == b.Status && !its.After(mine)
}

// compareServers looks for what the copies that the purge did not touch have in common:
// the server, or whether they are compressed. It compares them with the copies that it
// did touch, which are fresh or are old for another reason. Only the first look at each
// server and variant counts, because a look changes the cache.
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

// touched reports whether the purge has done something to this copy, though it is old.
func (j *judge) touched(a Answer) bool {
	return fetched(a) || revalidated(a) || saysStale(a) || parentHit(a) || j.Purge != nil && a.Age != nil && !j.older(a)
}

// compareTags notes if the page carries none of the tags that were purged: then the purge
// could not reach it. The origin shows the tags, as Akamai removes them.
func (j *judge) compareTags() {
	if j.Purge == nil || len(j.Purge.Tags) == 0 || len(j.usable) == 0 {
		return
	}
	tags := j.usable[0].End().Tags
	if len(tags) == 0 && len(j.stale) == 0 {
		return // a page without any may get its tags from Akamai
	}
	if !slices.ContainsFunc(j.Purge.Tags, func(t string) bool { return slices.Contains(tags, t) }) {
		j.note(NotTagged, "", j.Purge.Tags[0])
	}
}

// conclude makes the verdict from the looks and the causes. Fresh needs a fresh look,
// none that is stale or uncertain, and no cause against it; without all that it is
// Unknown.
func (j *judge) conclude() Finding {
	f := Finding{Verdict: Unknown, compared: j.reference != nil, contains: j.Contains}
	if j.reference != nil {
		f.gone = j.reference.End().gone()
	}
	switch {
	// One stale look decides, whatever the others say.
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
