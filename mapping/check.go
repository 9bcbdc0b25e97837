package mapping

import (
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/glob"
)

// check finds what only shows once the whole file is read. Rules that cover each other
// are looked for only in a file without errors: a template with an error is left out, so
// rules may look alike that are not.
func (r *reader) check() {
	for i := range r.file.rules {
		ru := &r.file.rules[i]
		r.checkNumbers(ru)
		r.checkHosts(ru.objects, ru.environments)
		r.checkExcluded(ru)
	}
	r.checkAfter()
	r.noNumbers(r.file.unmatched, "unmatched")
	r.checkHosts(r.file.unmatched, nil)
	for _, l := range r.file.limits {
		r.noNumbers(l.instead, "instead")
		r.checkHosts(l.instead, nil)
	}
	if !r.faults.HasErrors() {
		r.checkCovered()
	}
}

// checkNumbers finds templates with the number of a wildcard that one of the rule's globs
// does not have. Each glob must have it, because any of them may be the one that matches.
func (r *reader) checkNumbers(ru *rule) {
	for _, t := range ru.objects.templates() {
		told := map[int]bool{} // one fault for each number of a template
		for _, n := range t.numbers() {
			for _, g := range ru.match {
				if n > g.Wildcards() && !told[n] {
					told[n] = true
					r.errorf(t.at, "%s has no %s wildcard in %s (it has %d)",
						quote(piece{number: n}.String()), ordinal(n), quote(g.String()), g.Wildcards())
				}
			}
		}
	}
}

// noNumbers finds templates with numbered wildcards where no glob belongs to them.
func (r *reader) noNumbers(o objects, where string) {
	for _, t := range o.templates() {
		if ns := t.numbers(); len(ns) > 0 {
			r.errorf(t.at, "%s has no meaning in %s: only a rule's match has wildcards", quote(piece{number: ns[0]}.String()), where)
		}
	}
}

// checkHosts finds {host} where an environment has no hosts, which is an error. It warns
// of a host in a template that is not among an environment's hosts. names are the
// environments that the objects count in; none: all. If the file extends another one,
// hosts may stand there, so nothing is reported.
func (r *reader) checkHosts(o objects, names []namePattern) {
	if r.partial() {
		return
	}
	var envs []Environment
	for i, e := range r.file.environments {
		if !r.file.after[i].hostless && mayApply(names, r.file.keys[i]) {
			envs = append(envs, e)
		}
	}
	for _, t := range o.templates() {
		literal, isLiteral := "", false
		if t.url != nil {
			literal, isLiteral = t.url.literalHost()
		}
		var without, lacking []string
		for _, e := range envs {
			switch {
			case len(e.Hosts) == 0 && t.hosted:
				without = append(without, quote(e.Key))
			case isLiteral && !slices.Contains(e.Hosts, literal):
				lacking = append(lacking, quote(e.Key))
			}
		}
		if len(without) > 0 {
			r.errorf(t.at, `"{host}" stands for nothing in %s: hosts are missing there (or name the rule's environments)`, listed(without))
		}
		if len(lacking) > 0 {
			r.warnf(t.at, "%s is not among the hosts of %s: add it there, write {host}, or name the rule's environments", quote(literal), listed(lacking))
		}
	}
}

// mayApply reports whether a rule with these names may count in the environment of key.
func mayApply(names []namePattern, key namePattern) bool {
	return len(names) == 0 || slices.ContainsFunc(names, key.mayFit)
}

// checkExcluded finds rules whose exclude takes out everything that match gives.
func (r *reader) checkExcluded(ru *rule) {
	if len(ru.match) == 0 {
		return
	}
	for _, g := range ru.match {
		if !slices.ContainsFunc(ru.exclude, func(x *glob.Glob) bool { return x.Covers(g) }) {
			return
		}
	}
	r.warnf(ru.at, "%s never purges anything: its exclude takes all that its match fits", ru.label())
}

// neverMatches returns why a glob matches no path that git can have, or "". The rules
// file itself is never mapped, so it counts as none. The cases look for the cause in the
// pattern's text; the last one is for all others.
func neverMatches(g *glob.Glob) string {
	if g.FitsGit(RootPlace, GitHubPlace) {
		return ""
	}
	pattern := g.String()
	switch {
	case strings.HasPrefix(pattern, "/"):
		return "paths do not begin with /"
	case strings.HasPrefix(pattern, "./") || strings.HasPrefix(pattern, "../"):
		return "paths begin at the repository's root, write it without the dots"
	case strings.HasSuffix(pattern, "/"):
		return "paths do not end with /: write " + pattern + "** for all in the folder"
	case strings.Contains(pattern, "//") && !strings.Contains(pattern, "{"):
		return "paths have no //"
	case (strings.Contains(pattern, "/./") || strings.Contains(pattern, "/../")) && !strings.Contains(pattern, "{"):
		return "paths have no . or .. folders"
	case pattern == RootPlace || pattern == GitHubPlace:
		return "the rules file itself is never mapped"
	case pattern == ".git" || strings.HasPrefix(pattern, ".git/"):
		return "git keeps nothing of .git"
	}
	return "it stands for nothing that can be a path: write it from the repository's root, as content/**"
}

// checkCovered finds rules that purge only what another rule purges anyway. If two cover
// each other, only the later one is reported.
//
// A rule that covers another has all of its objects. So it is enough to compare with the
// rules that share its rarest object. In a file of 2,000 rules, to compare each with each
// would be millions of comparisons.
func (r *reader) checkCovered() {
	rules := r.file.rules
	sets := make([]map[string]bool, len(rules))
	byObject := map[string][]int{}
	for i := range rules {
		sets[i] = rules[i].objects.set()
		for key := range sets[i] {
			byObject[key] = append(byObject[key], i)
		}
	}
	covered := func(i, by int) bool { return coversRule(&rules[by], &rules[i]) && containsAll(sets[by], sets[i]) }
	for i := range rules {
		for _, j := range rarest(byObject, sets[i]) {
			if i != j && covered(i, j) && (j < i || !covered(j, i)) {
				r.warnf(rules[i].at, "%s purges nothing that %s does not purge already: remove one", rules[i].label(), rules[j].label())
				break
			}
		}
	}
}

// rarest returns the rules of the object in set that the fewest rules have. It breaks
// ties by the rules themselves, since the order of a map is random.
func rarest(byObject map[string][]int, set map[string]bool) []int {
	var few []int
	for key := range set {
		if rules := byObject[key]; few == nil || len(rules) < len(few) ||
			len(rules) == len(few) && slices.Compare(rules, few) < 0 {
			few = rules
		}
	}
	return few
}

// containsAll reports whether outer has all keys of inner.
func containsAll(outer, inner map[string]bool) bool {
	for key := range inner {
		if !outer[key] {
			return false
		}
	}
	return true
}

// set returns a name for each template, so that equal ones can be found.
func (o *objects) set() map[string]bool {
	set := map[string]bool{}
	for _, t := range o.urls {
		set["url:"+t.written] = true
	}
	for _, t := range o.tags {
		set["tag:"+t.written] = true
	}
	for _, code := range o.cpcodes {
		set["cpcode:"+code] = true
	}
	return set
}

// coversRule reports whether outer certainly counts wherever inner does, by match,
// exclude and environments. It compares names and excludes as they are written, and may
// miss some rules.
func coversRule(outer, inner *rule) bool {
	if len(inner.match) == 0 || !coversMatch(outer, inner) {
		return false
	}
	if len(outer.environments) > 0 && len(inner.environments) == 0 {
		return false
	}
	for _, name := range inner.environments {
		if len(outer.environments) > 0 && !slices.ContainsFunc(outer.environments, func(o namePattern) bool { return o.text == name.text }) {
			return false
		}
	}
	for _, x := range outer.exclude {
		if !slices.ContainsFunc(inner.exclude, func(y *glob.Glob) bool { return x.String() == y.String() }) {
			return false
		}
	}
	return true
}

// coversMatch reports whether outer's match certainly takes what inner's takes. If inner
// uses numbered wildcards, the globs must be the same in the same order: only then the
// numbers mean the same.
func coversMatch(outer, inner *rule) bool {
	if inner.objects.numbered {
		return slices.EqualFunc(outer.match, inner.match, func(a, b *glob.Glob) bool { return a.String() == b.String() })
	}
	for _, g := range inner.match {
		if !slices.ContainsFunc(outer.match, func(o *glob.Glob) bool { return o.Covers(g) }) {
			return false
		}
	}
	return true
}
