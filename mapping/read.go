package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/nearest"
	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/internal/yaml"
)

// Bounds on what a file may have, so that reading and checking it costs little. package
// yaml bounds the text itself.
const (
	maxRules     = 2_000  // of one file
	maxGlobs     = 10_000 // of all rules, match and exclude
	maxCombos    = 50_000 // ways to expand the braces of all globs
	maxTemplates = 20_000 // of the whole file, CP codes too
	maxHosts     = 100    // of one environment
	maxLimits    = 20     // of one file
	maxTests     = 5_000  // of one file

	maxEnvironments     = 100 // of one file
	maxRuleEnvironments = 50  // of one rule

	maxText   = 1_000 // characters of one name, glob or template
	maxSettle = 7 * 24 * time.Hour
)

// reader reads the parts of a file, with one method for each, and gathers faults. A
// method that finds a fault returns a harmless value, so that reading goes on and finds
// the next one. The file is used only if no fault is an error.
type reader struct {
	*collector
	file *File

	environment after  // of the environment that is being read
	base        string // the repository whose rules are joined into the tree already; "": none

	habits collector // warnings about what may be meant otherwise; reported only for a file without errors

	globs, combinations, templates int // counted so far, against their bounds
}

// partial reports whether the file extends another one that is not joined with it. What
// seems to be missing may stand there.
func (r *reader) partial() bool { return r.file.extends != "" }

// fields reads a group of keys. It returns the values of the known ones, and adds an
// error for each other key and for one that stands twice. The map is nil if n is not a
// group; a read from it is then still fine.
func (r *reader) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.Mapping {
		if words := rulesYAML().Slip(n.Text); n.Kind == yaml.Text && words != "" {
			r.errorf(n, "%s", words)
			return nil
		}
		r.errorf(n, "%s must be %s (%s), not %s", what, yaml.Mapping, strings.Join(known, ", "), n.Kind)
		return nil
	}
	got := map[string]*yaml.Node{}
	for _, p := range n.Pairs {
		name := p.Key.Text
		switch {
		case !slices.Contains(known, name):
			r.unknownKey(p.Key, what, known)
		case got[name] != nil:
			r.errorf(p.Key, "%s stands twice in %s: remove one", quote(name), what)
		default:
			got[name] = p.Value
		}
	}
	return got
}

// unknownKey reports a key that is not known, with the most likely cause: a typing slip,
// then a misspelt key.
func (r *reader) unknownKey(key *yaml.Node, what string, known []string) {
	if words := rulesYAML().Slip(key.Text); words != "" {
		r.errorf(key, "%s", words)
		return
	}
	if near := nearest.Word(key.Text, known); near != "" {
		r.errorf(key, "unknown key %s in %s: did you mean %s?", quote(key.Text), what, quote(near))
		return
	}
	r.errorf(key, "unknown key %s in %s: there are %s", quote(key.Text), what, listed(known))
}

// str reads text that is not empty. what names it in messages. A name may begin with a
// curly quote; elsewhere that is a mistake.
func (r *reader) str(n *yaml.Node, what string) (string, bool) {
	switch {
	case n.Kind == yaml.Number || n.Kind == yaml.Bool:
		r.errorf(n, "%s must be text, not %s: put it in quotes, \"%s\"", what, n.Kind, n.Text)
	case n.Kind == yaml.Nothing:
		r.errorf(n, "%s has no value", what)
	case n.Kind == yaml.Mapping:
		r.errorf(n, "%s must be text, not %s: text with braces must stand in quotes", what, n.Kind)
	case n.Kind != yaml.Text:
		r.errorf(n, "%s must be text, not %s", what, n.Kind)
	case strings.TrimSpace(n.Text) == "":
		r.errorf(n, "%s is empty", what)
	case what != "name" && strings.ContainsRune(yaml.CurlyQuotes, firstRune(n.Text)):
		r.errorf(n, `%s begins with a curly quote, which YAML takes for a letter: write "`, what)
	case utf8.RuneCountInString(n.Text) > maxText:
		r.errorf(n, "%s is too long: at most %d characters", what, maxText)
	default:
		return n.Text, true
	}
	return "", false
}

// firstRune returns the first character of s, or U+FFFD if s is empty.
func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// list reads a list. example shows in the messages what one looks like.
func (r *reader) list(n *yaml.Node, what, example string) []*yaml.Node {
	switch n.Kind {
	case yaml.List:
		return n.Items
	case yaml.Nothing:
		r.errorf(n, "%s has no value: write %s, or remove the key", what, example)
	case yaml.Text, yaml.Number, yaml.Bool, yaml.Mapping, yaml.Broken:
		r.errorf(n, "%s must be a list, not %s: write %s", what, n.Kind, example)
	}
	return nil
}

// strs reads a list of texts, or one text alone. at has the place of each text. An item
// with a fault is in neither.
func (r *reader) strs(n *yaml.Node, what, example string) (texts []string, at []*yaml.Node) {
	if n.Kind != yaml.List && n.Kind != yaml.Nothing {
		if s, ok := r.str(n, what); ok {
			return []string{s}, []*yaml.Node{n}
		}
		return nil, nil
	}
	for _, item := range r.list(n, what, example) {
		if s, ok := r.str(item, "an entry of "+what); ok {
			texts, at = append(texts, s), append(at, item)
		}
	}
	return texts, at
}

// whole reads a whole number that is not negative, in plain decimal: no sign, no leading
// zero, no other base.
func (r *reader) whole(n *yaml.Node, what string) (int, bool) {
	if n.Kind != yaml.Number {
		hint := ""
		if _, err := strconv.Atoi(n.Text); n.Kind == yaml.Text && err == nil {
			hint = ": write it without quotes"
		}
		r.errorf(n, "%s must be a whole number, not %s%s", what, n.Kind, hint)
		return 0, false
	}
	v, err := strconv.ParseInt(n.Text, 10, 64)
	if err != nil || strconv.FormatInt(v, 10) != n.Text || v < 0 {
		r.errorf(n, "%s must be a whole number, not %s", what, n.Text)
		return 0, false
	}
	return int(v), true
}

// choice reads one of a few words. There must be at least two of them.
func (r *reader) choice(n *yaml.Node, what string, words ...string) (string, bool) {
	if n.Kind == yaml.Text && slices.Contains(words, n.Text) {
		return n.Text, true
	}
	or := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	if n.Kind != yaml.Text {
		r.errorf(n, "%s must be %s, not %s", what, or, n.Kind)
		return "", false
	}
	hint := ""
	if near := nearest.Word(n.Text, words); near != "" {
		hint = ": did you mean " + near + "?"
	}
	r.errorf(n, "%s must be %s, not %s%s", what, or, quote(n.Text), hint)
	return "", false
}

// readFile reads the whole file. environments come before rules, unmatched and tests,
// which are checked against them.
func (r *reader) readFile(root *yaml.Node) {
	got := r.fields(root, "the file", "version", "extends", "environments", "action", "rollback_action",
		"rules", "unmatched", "limits", "tests")
	if got == nil {
		return
	}
	if n := got["extends"]; n != nil {
		// Once base is joined, the file counts as one that extends nothing.
		if s := r.readExtends(n); r.base == "" {
			r.file.extends = s
		}
	}
	for _, key := range []string{"version", "environments", "rules"} {
		if got[key] == nil && (key == "version" || got["extends"] == nil) {
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

// readVersion refuses every version except 1. readFile reports one that is missing.
func (r *reader) readVersion(n *yaml.Node) {
	if n == nil {
		return
	}
	if v, ok := r.whole(n, "version"); ok && v != 1 {
		r.errorf(n, "version %d is unknown: this purgebot reads version 1", v)
	}
}

// readAction reads invalidate or delete. It returns byDefault without the key, and after
// a fault.
func (r *reader) readAction(n *yaml.Node, what string, byDefault Action) Action {
	if n != nil {
		if a, ok := r.choice(n, what, string(Invalidate), string(Delete)); ok {
			return Action(a)
		}
	}
	return byDefault
}

// readRules reads the list of rules. A group of keys instead of a list is a common
// mistake: it gets a message of its own.
func (r *reader) readRules(n *yaml.Node) {
	const begin = `begin each rule with a -, as "- match: content/**"`
	switch {
	case n.Kind == yaml.Nothing:
		r.errorf(n, "rules has no value: %s (or write rules: [])", begin)
		return
	case n.Kind == yaml.Mapping && len(n.Pairs) > 0:
		first := n.Pairs[0].Key
		if words := rulesYAML().Slip(first.Text); words != "" {
			r.errorf(first, "%s", words)
		} else if n.Pairs[0].Value.Kind == yaml.Mapping {
			r.errorf(first, `rules must be a list: write "- name: %s" instead of "%[1]s:"`, printable.Short(first.Text))
		} else {
			r.errorf(first, "rules must be a list: %s", begin)
		}
		return
	}
	rules := r.list(n, "rules", "rules: [] or a list of rules")
	if n.Kind == yaml.List && len(rules) == 0 {
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

// readRule reads one rule. name is what it is called if it has no name of its own. A rule
// with faults is returned too, so that the numbers of the rules stay right.
func (r *reader) readRule(n *yaml.Node, name string) rule {
	out := rule{name: name, at: n}
	before := len(r.faults)
	got := r.fields(n, "a rule", "name", "match", "exclude", "environments", "urls", "tags", "cpcodes")
	if got == nil {
		return out
	}
	if n := got["name"]; n != nil {
		if s, ok := r.str(n, "name"); ok {
			out.name, out.named = strings.Join(strings.Fields(s), " "), true
		}
	}
	misspelt := len(r.faults) > before // a misspelt key may be the one that seems to be missing
	switch {
	case got["match"] != nil:
		out.match, out.matchAt = r.readMatch(got["match"])
	case !misspelt:
		r.errorf(n, "%s has no match: say which files it is for, as match: content/**", out.label())
	}
	if n := got["exclude"]; n != nil {
		texts, at := r.strs(n, "exclude", "exclude: [drafts/**]")
		out.exclude, out.excludeAt = r.readGlobs(texts, at)
	}
	if n := got["environments"]; n != nil {
		out.environments = r.readRuleEnvironments(n)
	}
	out.objects = r.readObjects(got)
	if !misspelt && out.objects.empty() && got["urls"] == nil && got["tags"] == nil && got["cpcodes"] == nil {
		r.errorf(n, "%s purges nothing: give it urls, tags or cpcodes", out.label())
	}
	return out
}

// readMatch reads the globs of match, with their places.
func (r *reader) readMatch(n *yaml.Node) ([]*glob.Glob, []*yaml.Node) {
	if n.Kind == yaml.List && len(n.Items) == 0 {
		r.errorf(n, "match is empty: say which files the rule is for, as match: content/**")
	}
	texts, at := r.strs(n, "match", "match: content/**")
	return r.readGlobs(texts, at)
}

// readGlobs compiles globs, with their places. A glob with a fault is left out. Too many
// globs, or too many combinations of braces, are one fault for the whole file.
func (r *reader) readGlobs(texts []string, at []*yaml.Node) (globs []*glob.Glob, places []*yaml.Node) {
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
		if r.combinations += g.Combinations(); r.combinations > maxCombos {
			r.errorf(at[i], "too many alternatives in braces: the globs of a file make %d combinations at most", maxCombos)
			r.globs = maxGlobs + 1 // no more globs are read, and the other bound is not reported
			return globs, places
		}
		if habit := globHabit(s); habit != "" {
			r.habits.warnf(at[i], "the glob %s %s", quote(s), habit)
		} else if why := neverMatches(g); why != "" {
			r.warnf(at[i], "%s never matches: %s", quote(s), why)
		}
		globs, places = append(globs, g), append(places, at[i])
	}
	return globs, places
}

// readUnmatched reads a word, or objects. The words in braces only show in the messages
// what a group looks like; in quotes they are an error.
func (r *reader) readUnmatched(n *yaml.Node) {
	if n.Kind != yaml.Mapping {
		s, ok := r.choice(n, "unmatched", "ignore", "warn", "{tags: […]}", "{cpcodes: […]}", "{urls: […]}")
		if ok && strings.HasPrefix(s, "{") {
			r.errorf(n, "unmatched must be a group of keys here: write it without quotes")
		}
		r.file.warnUnmatched = s == "warn"
		return
	}
	if got := r.fields(n, "unmatched", "urls", "tags", "cpcodes"); got != nil {
		r.file.unmatched = r.readObjects(got)
		if len(n.Pairs) == 0 {
			r.errorf(n, "unmatched purges nothing: write unmatched: ignore, or give it urls, tags or cpcodes")
		}
	}
}

// readLimits reads limits and sorts them by rising over, as exceeded needs them.
func (r *reader) readLimits(n *yaml.Node) {
	for i, item := range r.list(n, "limits", "limits: [{over: 2000, instead: hold}]") {
		if i == maxLimits {
			r.errorf(item, "too many limits: at most %d", maxLimits)
			break
		}
		r.readLimit(item)
	}
	slices.SortStableFunc(r.file.limits, func(a, b limit) int { return a.over - b.over })
}

// readLimit reads one limit. Two with the same over are an error: which one applies would
// be uncertain.
func (r *reader) readLimit(n *yaml.Node) {
	got := r.fields(n, "a limit", "over", "instead")
	if got == nil {
		return
	}
	l := limit{over: -1} // -1: not read yet
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

// readInstead reads hold, or the objects to purge instead of URLs. URLs among them are an
// error: the limit is there because they are too many.
func (r *reader) readInstead(n *yaml.Node) (hold bool, instead objects) {
	if n.Kind != yaml.Mapping {
		_, hold = r.choice(n, "instead", "{tags: […]}", "{cpcodes: […]}", "hold")
		return hold, instead
	}
	for _, p := range n.Pairs {
		if p.Key.Text == "urls" {
			r.errorf(p.Key, "instead takes tags or cpcodes: it stands for too many URLs")
			return false, instead
		}
	}
	if got := r.fields(n, "instead", "tags", "cpcodes"); got != nil {
		instead = r.readObjects(got)
		if len(n.Pairs) == 0 {
			r.errorf(n, "instead purges nothing: give it tags or cpcodes, or write instead: hold")
		}
	}
	return false, instead
}

// readTests reads the tests. It does not run them: see Check.
func (r *reader) readTests(n *yaml.Node) {
	for i, item := range r.list(n, "tests", "a list of {file: …, purges: […]}") {
		if i == maxTests {
			r.errorf(item, "too many tests: at most %d", maxTests)
			return
		}
		r.readTest(item)
	}
}

// readTest reads one test. A test without a change is about a modified file.
func (r *reader) readTest(n *yaml.Node) {
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
		if s, ok := r.str(n, "environment"); ok && r.knownEnvironment(n, s, namePattern{text: fold(s)}) {
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

// readPurges reads the objects that a test expects. It checks only their form: a URL,
// tag:NAME or cpcode:NUMBER.
func (r *reader) readPurges(n *yaml.Node) []string {
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
