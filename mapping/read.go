package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// More bounds; see yaml.go.
const (
	maxRules     = 2_000
	maxGlobs     = 10_000 // of all rules
	maxCombos    = 50_000 // ways to take the braces of all globs
	maxTemplates = 20_000 // of all rules
	maxHosts     = 100    // of one environment
	maxLimits    = 20
	maxTests     = 5_000

	maxEnvironments     = 100
	maxRuleEnvironments = 50

	maxText   = 1_000 // characters of one name, glob or template
	maxSettle = 7 * 24 * time.Hour
)

// reader reads the parts of a file, one method for each, and gathers faults.
type reader struct {
	*collector
	file *File

	globs, combinations, templates int // counted against their bounds
}

// fields reads a group of known keys. It is nil if n is none.
func (r *reader) fields(n *yamlNode, what string, known ...string) map[string]*yamlNode {
	if n.kind != isMapping {
		r.errorf(n, "%s must be %s (%s), not %s", what, isMapping, strings.Join(known, ", "), n.kind)
		return nil
	}
	got := map[string]*yamlNode{}
	for _, p := range n.pairs {
		name := p.key.text
		switch {
		case !slices.Contains(known, name):
			r.unknownKey(p.key, what, known)
		case got[name] != nil:
			r.errorf(p.key, "%s stands twice in %s: remove one", quote(name), what)
		default:
			got[name] = p.value
		}
	}
	return got
}

func (r *reader) unknownKey(key *yamlNode, what string, known []string) {
	if near := nearest(key.text, known); near != "" {
		r.errorf(key, "unknown key %s in %s: did you mean %s?", quote(key.text), what, quote(near))
		return
	}
	r.errorf(key, "unknown key %s in %s: there are %s", quote(key.text), what, listed(known))
}

// str reads text that is not empty.
func (r *reader) str(n *yamlNode, what string) (string, bool) {
	switch {
	case n.kind == isNumber || n.kind == isBool:
		r.errorf(n, "%s must be text, not %s: put it in quotes, \"%s\"", what, n.kind, n.text)
	case n.kind == isNothing:
		r.errorf(n, "%s has no value", what)
	case n.kind == isMapping:
		r.errorf(n, "%s must be text, not %s: text with braces must stand in quotes", what, n.kind)
	case n.kind != isText:
		r.errorf(n, "%s must be text, not %s", what, n.kind)
	case strings.TrimSpace(n.text) == "":
		r.errorf(n, "%s is empty", what)
	case utf8.RuneCountInString(n.text) > maxText:
		r.errorf(n, "%s is too long: at most %d characters", what, maxText)
	default:
		return n.text, true
	}
	return "", false
}

// list reads a list; what it should look like is told by example.
func (r *reader) list(n *yamlNode, what, example string) []*yamlNode {
	switch n.kind {
	case isList:
		return n.items
	case isNothing:
		r.errorf(n, "%s has no value: write %s, or remove the key", what, example)
	case isText, isNumber, isBool, isMapping, isBroken:
		r.errorf(n, "%s must be a list, not %s: write %s", what, n.kind, example)
	}
	return nil
}

// strs reads a list of texts with the places of its items.
func (r *reader) strs(n *yamlNode, what, example string) (texts []string, at []*yamlNode) {
	for _, item := range r.list(n, what, example) {
		if s, ok := r.str(item, "an entry of "+what); ok {
			texts, at = append(texts, s), append(at, item)
		}
	}
	return texts, at
}

// whole reads a whole number that is not negative.
func (r *reader) whole(n *yamlNode, what string) (int, bool) {
	if n.kind != isNumber {
		hint := ""
		if _, err := strconv.Atoi(n.text); n.kind == isText && err == nil {
			hint = ": write it without quotes"
		}
		r.errorf(n, "%s must be a whole number, not %s%s", what, n.kind, hint)
		return 0, false
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || strconv.FormatInt(v, 10) != n.text || v < 0 {
		r.errorf(n, "%s must be a whole number, not %s", what, n.text)
		return 0, false
	}
	return int(v), true
}

// choice reads one of a few words.
func (r *reader) choice(n *yamlNode, what string, words ...string) (string, bool) {
	if n.kind == isText && slices.Contains(words, n.text) {
		return n.text, true
	}
	or := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	if n.kind != isText {
		r.errorf(n, "%s must be %s, not %s", what, or, n.kind)
		return "", false
	}
	hint := ""
	if near := nearest(n.text, words); near != "" {
		hint = ": did you mean " + near + "?"
	}
	r.errorf(n, "%s must be %s, not %s%s", what, or, quote(n.text), hint)
	return "", false
}

func (r *reader) readFile(root *yamlNode) {
	got := r.fields(root, "the file", "version", "environments", "action", "rollback_action",
		"rules", "unmatched", "limits", "tests")
	if got == nil {
		return
	}
	for _, key := range []string{"version", "environments", "rules"} {
		if got[key] == nil {
			example := map[string]string{
				"version": "version: 1", "environments": "environments: {production: {hosts: [www.example.com]}}", "rules": "rules: []",
			}
			r.errorf(root, "%s is missing: write %s", key, example[key])
		}
	}
	r.readVersion(got["version"])
	r.file.action = r.readAction(got["action"], "action", Invalidate)
	r.file.rollbackAction = r.readAction(got["rollback_action"], "rollback_action", Delete)
	if n := got["environments"]; n != nil {
		r.readEnvironments(n)
	}
	if n := got["rules"]; n != nil {
		r.readRules(n)
	}
	if n := got["unmatched"]; n != nil {
		r.readUnmatched(n)
	}
	if n := got["limits"]; n != nil {
		r.readLimits(n)
	}
	if n := got["tests"]; n != nil {
		r.readTests(n)
	}
}

func (r *reader) readVersion(n *yamlNode) {
	if n == nil {
		return
	}
	if v, ok := r.whole(n, "version"); ok && v != 1 {
		r.errorf(n, "version %d is unknown: this purgebot reads version 1", v)
	}
}

func (r *reader) readAction(n *yamlNode, what string, byDefault Action) Action {
	if n != nil {
		if a, ok := r.choice(n, what, string(Invalidate), string(Delete)); ok {
			return Action(a)
		}
	}
	return byDefault
}

func (r *reader) readRules(n *yamlNode) {
	if n.kind == isNothing {
		r.errorf(n, "rules has no value: write rules: [] or a list of rules")
		return
	}
	rules := r.list(n, "rules", "rules: [] or a list of rules")
	if n.kind == isList && len(rules) == 0 {
		r.warnf(n, "there are no rules: no file is mapped")
	}
	for i, item := range rules {
		if i == maxRules {
			r.errorf(item, "too many rules: at most %d", maxRules)
			return
		}
		r.file.rules = append(r.file.rules, r.readRule(item, fmt.Sprintf("rule %d", i+1)))
	}
}

func (r *reader) readRule(n *yamlNode, name string) rule {
	out := rule{name: name, at: n}
	got := r.fields(n, "a rule", "name", "match", "exclude", "environments", "urls", "tags", "cpcodes")
	if got == nil {
		return out
	}
	if n := got["name"]; n != nil {
		if s, ok := r.str(n, "name"); ok {
			out.name, out.named = strings.Join(strings.Fields(s), " "), true
		}
	}
	if got["match"] == nil {
		r.errorf(n, "%s has no match: say which files it is for, as match: content/**", out.label())
	} else {
		out.match = r.readMatch(got["match"])
	}
	if n := got["exclude"]; n != nil {
		texts, at := r.strs(n, "exclude", "exclude: [drafts/**]")
		out.exclude = r.readGlobs(texts, at)
	}
	if n := got["environments"]; n != nil {
		out.environments = r.readRuleEnvironments(n)
	}
	out.objects = r.readObjects(got)
	if out.objects.empty() && got["urls"] == nil && got["tags"] == nil && got["cpcodes"] == nil {
		r.errorf(n, "%s purges nothing: give it urls, tags or cpcodes", out.label())
	}
	return out
}

func (r *reader) readMatch(n *yamlNode) []*glob {
	if n.kind != isList {
		s, ok := r.str(n, "match")
		if !ok {
			return nil
		}
		return r.readGlobs([]string{s}, []*yamlNode{n})
	}
	if len(n.items) == 0 {
		r.errorf(n, "match is empty: say which files the rule is for, as match: content/**")
	}
	texts, at := r.strs(n, "match", "")
	return r.readGlobs(texts, at)
}

func (r *reader) readGlobs(texts []string, at []*yamlNode) []*glob {
	var globs []*glob
	for i, s := range texts {
		if r.globs++; r.globs > maxGlobs {
			if r.globs == maxGlobs+1 {
				r.errorf(at[i], "too many globs: at most %d in a file", maxGlobs)
			}
			continue
		}
		g, err := compileGlob(s)
		if err != nil {
			r.errorf(at[i], "%v", err)
			continue
		}
		if r.combinations += g.parsed.combinations; r.combinations > maxCombos {
			r.errorf(at[i], "too many alternatives in braces: the globs of a file make %d combinations at most", maxCombos)
			r.globs = maxGlobs + 1 // enough of them
			return globs
		}
		if why := neverMatches(g); why != "" {
			r.warnf(at[i], "%s never matches: %s", quote(s), why)
		}
		globs = append(globs, g)
	}
	return globs
}

func (r *reader) readUnmatched(n *yamlNode) {
	if n.kind != isMapping {
		s, ok := r.choice(n, "unmatched", "ignore", "warn", "{tags: […]}", "{cpcodes: […]}", "{urls: […]}")
		if ok && strings.HasPrefix(s, "{") {
			r.errorf(n, "unmatched must be a group of keys here: write it without quotes")
		}
		r.file.warnUnmatched = s == "warn"
		return
	}
	if got := r.fields(n, "unmatched", "urls", "tags", "cpcodes"); got != nil {
		r.file.unmatched = r.readObjects(got)
		if len(n.pairs) == 0 {
			r.errorf(n, "unmatched purges nothing: write unmatched: ignore, or give it urls, tags or cpcodes")
		}
	}
}

func (r *reader) readLimits(n *yamlNode) {
	for i, item := range r.list(n, "limits", "limits: [{over: 2000, instead: hold}]") {
		if i == maxLimits {
			r.errorf(item, "too many limits: at most %d", maxLimits)
			break
		}
		r.readLimit(item)
	}
	slices.SortStableFunc(r.file.limits, func(a, b limit) int { return a.over - b.over })
}

func (r *reader) readLimit(n *yamlNode) {
	got := r.fields(n, "a limit", "over", "instead")
	if got == nil {
		return
	}
	l := limit{over: -1} // none, until it is read
	for _, key := range []string{"over", "instead"} {
		if got[key] == nil {
			r.errorf(n, "%s is missing: a limit is {over: 2000, instead: hold}", key)
		}
	}
	if n := got["over"]; n != nil {
		over, ok := r.whole(n, "over")
		if ok && slices.ContainsFunc(r.file.limits, func(o limit) bool { return o.over == over }) {
			r.errorf(n, "another limit has over: %d too: remove one", over)
		}
		if ok {
			l.over = over
		}
	}
	if n := got["instead"]; n != nil {
		l.hold, l.instead = r.readInstead(n)
	}
	r.file.limits = append(r.file.limits, l)
}

func (r *reader) readInstead(n *yamlNode) (hold bool, instead objects) {
	if n.kind != isMapping {
		_, hold = r.choice(n, "instead", "{tags: […]}", "{cpcodes: […]}", "hold")
		return hold, instead
	}
	for _, p := range n.pairs {
		if p.key.text == "urls" {
			r.errorf(p.key, "instead takes tags or cpcodes: it stands for too many URLs")
			return false, instead
		}
	}
	if got := r.fields(n, "instead", "tags", "cpcodes"); got != nil {
		instead = r.readObjects(got)
		if len(n.pairs) == 0 {
			r.errorf(n, "instead purges nothing: give it tags or cpcodes, or write instead: hold")
		}
	}
	return false, instead
}

func (r *reader) readTests(n *yamlNode) {
	for i, item := range r.list(n, "tests", "a list of {file: …, purges: […]}") {
		if i == maxTests {
			r.errorf(item, "too many tests: at most %d", maxTests)
			return
		}
		r.readTest(item)
	}
}

func (r *reader) readTest(n *yamlNode) {
	got := r.fields(n, "a test", "file", "environment", "change", "purges")
	if got == nil {
		return
	}
	t := test{at: n, change: Change{Op: Modified}}
	if file := got["file"]; file != nil {
		t.change.Path, _ = r.str(file, "file")
		if strings.HasPrefix(t.change.Path, "/") {
			r.errorf(file, "file must be a path from the repository's root, without a / before it")
		}
	} else {
		r.errorf(n, "file is missing: say which changed file the test is about")
	}
	if n := got["environment"]; n != nil {
		if s, ok := r.str(n, "environment"); ok && r.knownEnvironment(n, s) {
			t.environment = s
		}
	}
	if n := got["change"]; n != nil {
		if s, ok := r.choice(n, "change", string(Added), string(Modified), string(Removed)); ok {
			t.change.Op = Op(s)
		}
	}
	if purges := got["purges"]; purges != nil {
		t.purges = r.readPurges(purges)
	} else {
		r.errorf(n, "purges is missing: list what the change purges, or write purges: []")
	}
	r.file.tests = append(r.file.tests, t)
}

func (r *reader) readPurges(n *yamlNode) []string {
	texts, at := r.strs(n, "purges", "purges: []")
	for i, s := range texts {
		kind, rest, _ := strings.Cut(s, ":")
		switch {
		case kind == string(Tag) && rest != "":
		case kind == string(CPCode) && rest != "" && strings.Trim(rest, "0123456789") == "":
		case (kind == "https" || kind == "http") && strings.HasPrefix(rest, "//"):
		default:
			r.errorf(at[i], "%s is no object: write a URL, tag:NAME or cpcode:NUMBER", quote(s))
		}
	}
	return texts
}
