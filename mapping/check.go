package mapping

import (
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/glob"
)

// check looks for what only shows when the whole file is read.
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

// checkNumbers finds templates that use a wildcard which one of the rule's
// globs does not have.
func (r *reader) checkNumbers(ru *rule) {
	for _, t := range ru.objects.templates() {
		told := map[int]bool{}
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

func (r *reader) noNumbers(o objects, where string) {
	for _, t := range o.templates() {
		if ns := t.numbers(); len(ns) > 0 {
			r.errorf(t.at, "%s has no meaning in %s: only a rule's match has wildcards", quote(piece{number: ns[0]}.String()), where)
		}
	}
}

// checkHosts finds {host} where an environment has no hosts, and hosts
// written out that an environment lacks. No names: all environments.
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

func mayApply(names []namePattern, key namePattern) bool {
	return len(names) == 0 || slices.ContainsFunc(names, key.mayFit)
}

// checkExcluded finds rules whose exclude takes all that their match gives.
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

// neverMatches says why a glob fits no path that git can have, or "".
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

// checkCovered finds rules that purge nothing which another does not purge
// already. Of two that cover each other the later is told.
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

// rarest gives the rules of the object that the fewest have.
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

func containsAll(outer, inner map[string]bool) bool {
	for key := range inner {
		if !outer[key] {
			return false
		}
	}
	return true
}

// set names the objects' templates.
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

// coversRule reports whether outer counts wherever inner does: by match,
// exclude and environments.
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

// coversMatch compares what two rules match. Numbered wildcards mean the
// same in both only if the globs are the same in the same order.
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
