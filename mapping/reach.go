package mapping

import (
	"context"
	"iter"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/nearest"
	"github.com/purgebot/purgebot/internal/yaml"
)

// RuleReach says how many files of a tree a rule matches.
type RuleReach struct {
	Rule     string `json:"rule"`     // its name, or "rule 3"
	Line     int    `json:"line"`     // where the rule stands in the file
	Files    int    `json:"files"`    // files that match takes and exclude does not
	Excluded int    `json:"excluded"` // files that match takes and exclude takes out
}

// Reach compares the rules with the files of a tree. It returns what each rule matches,
// and warnings about rules, excludes and tests that match nothing, with the likely cause.
// It ranges over files several times, so files must give the same paths each time. The
// error is ErrTooSlow, or that of a context that is done.
func (f *File) Reach(ctx context.Context, files iter.Seq[string]) ([]RuleReach, Faults, error) {
	work := glob.NewWork(ctx, planSteps)
	r := reach{file: f, work: work, rules: make([]RuleReach, len(f.rules)), fits: map[*glob.Glob]int{}, there: map[string]bool{}}
	for i := range f.rules {
		r.rules[i] = RuleReach{Rule: f.rules[i].name, Line: f.rules[i].at.Line}
	}
	for _, t := range f.tests {
		r.there[t.change.Path] = false
	}
	for path := range files {
		if r.count(path); work.Err() != nil {
			return nil, nil, tooSlow(work.Err())
		}
	}
	c := &collector{}
	r.explain(c, files)
	if work.Err() != nil {
		return nil, nil, tooSlow(work.Err())
	}
	c.faults.sort()
	return r.rules, c.faults, nil
}

// tooSlow returns the error of a Work as one of this package.
func tooSlow(err error) error {
	if err == glob.ErrTooMuch { //nolint:errorlint // Err gives it as it is
		return ErrTooSlow
	}
	return err
}

// reach gathers what one tree shows about the rules.
type reach struct {
	file    *File
	work    *glob.Work         // for everything that is matched, in all passes
	rules   []RuleReach        // of each rule, by its index
	fits    map[*glob.Glob]int // how many files a glob matches; no entry: none
	there   map[string]bool    // the files of tests: whether the tree has them
	matched []int              // scratch: the globs that match a path
}

// count counts one path for each glob and rule that it matches. The numbers of a rule's
// globs stand in a row, so one look back tells whether the rule was counted already.
func (r *reach) count(path string) {
	if _, tested := r.there[path]; tested {
		r.there[path] = true
	}
	if path == RootPlace || path == GitHubPlace {
		return
	}
	f := r.file
	r.matched = f.index.Match(path, r.matched[:0], r.work)
	last := -1
	for _, number := range r.matched {
		i := f.globRules[number]
		r.fits[f.rules[i].match[number-f.firstGlob[i]]]++
		if i == last {
			continue
		}
		last = i
		out := false
		for _, g := range f.rules[i].exclude {
			if g.Match(path, r.work) {
				r.fits[g]++
				out = true
			}
		}
		if out {
			r.rules[i].Excluded++
		} else {
			r.rules[i].Files++
		}
	}
}

// idle is a glob that matches no file, or that takes for a class what may be the name of
// a folder.
type idle struct {
	rule    *rule
	glob    *glob.Glob
	exclude bool   // it is one of exclude, else of match
	hint    string // the likely cause, as the end of the warning; "": not known
}

// explain warns of globs and tests that match nothing, each with the cause if guess or
// the folders tell one. A glob with a "[" is looked at even if it matches: as a class, it
// may match other files than its author thinks.
func (r *reach) explain(c *collector, files iter.Seq[string]) {
	var all []*idle
	for i := range r.file.rules {
		ru := &r.file.rules[i]
		for _, g := range ru.match {
			if r.fits[g] == 0 || strings.Contains(g.String(), "[") {
				all = append(all, &idle{rule: ru, glob: g})
			}
		}
		fits := slices.ContainsFunc(ru.match, func(g *glob.Glob) bool { return r.fits[g] > 0 })
		for _, g := range ru.exclude {
			if fits && r.fits[g] == 0 { // if match fits nothing, that is the cause, and it has its own warning
				all = append(all, &idle{rule: ru, glob: g, exclude: true})
			}
		}
	}
	r.guess(all, files)
	var there folders
	for _, g := range all {
		if g.hint == "" && r.fits[g.glob] == 0 {
			if there == nil { // built late: for most rules files nobody asks for it
				there = foldersOf(files)
			}
			g.hint = there.missing(g.glob.String(), r.work)
		}
		at := g.rule.placeOf(g.glob)
		switch {
		case globHabit(g.glob.String()) != "": // Parse has warned of it
		case r.fits[g.glob] > 0 && g.hint == "":
		case g.exclude:
			c.warnf(at, "the exclude %s takes no file out%s", quote(g.glob.String()), g.hint)
		case r.fits[g.glob] > 0:
			c.warnf(at, "the glob %s does not mean the folder of that name%s", quote(g.glob.String()), g.hint)
		default:
			c.warnf(at, "the glob %s fits no file%s", quote(g.glob.String()), g.hint)
		}
	}
	for _, t := range r.file.tests {
		if t.change.Op != Removed && !r.there[t.change.Path] {
			c.warnf(t.at, "the test is about %s, and there is no such file", quote(t.change.Path))
		}
	}
}

// A guess is another way to read a glob, or the paths. If the glob then matches a path,
// hint says what is wrong.
type guess struct {
	glob func(string) string
	path func(string) string
	hint func(pattern, path string) string
}

// same is the guess that changes nothing.
func same(s string) string { return s }

// guesses are tried in this order. The first that explains a glob counts.
func guesses() []guess {
	return []guess{
		{literalBrackets, same, func(pattern, _ string) string {
			return `: "[" begins a class of characters; for the folder itself write ` + literalBrackets(pattern)
		}},
		{func(s string) string { return strings.TrimSuffix(s, "/") + "/**" }, same, func(pattern, _ string) string {
			return ", as it is a folder's name: write " + strings.TrimSuffix(pattern, "/") + "/**"
		}},
		{strings.ToLower, strings.ToLower, func(_, path string) string {
			return ": upper and lower case differ, and there is " + quote(path)
		}},
		{norm.NFC.String, norm.NFC.String, func(_, path string) string {
			return ": it has its accents in another Unicode form than " + quote(path) + "; copy the name from there"
		}},
	}
}

// literalBrackets turns each class into the text that it is written as. Brackets that are
// escaped stay so.
func literalBrackets(pattern string) string {
	return strings.NewReplacer(`\[`, `\[`, `\]`, `\]`, "[", `\[`, "]", `\]`).Replace(pattern)
}

// guess finds out why globs match nothing. It compiles them as each guess would write
// them, and looks which paths they would match. Each guess that could change something
// ranges over files once.
func (r *reach) guess(all []*idle, files iter.Seq[string]) {
	const probe = "E\u0301" // every guess that reads paths otherwise changes this
	for _, way := range guesses() {
		var globs []*glob.Glob
		var of []*idle
		for _, g := range all {
			written := g.glob.String()
			other := way.glob(written)
			// Skipped are globs that have a hint, globs that this guess would read the
			// same, and globs that match files, except to read their classes as text.
			if g.hint != "" || other == written && way.path(probe) == probe || r.fits[g.glob] > 0 && other != literalBrackets(written) {
				continue
			}
			if compiled, err := glob.Compile(other); err == nil {
				globs, of = append(globs, compiled), append(of, g)
			}
		}
		if len(globs) == 0 {
			continue
		}
		index := glob.NewIndex(globs)
		var matched []int
		for path := range files {
			matched = index.Match(way.path(path), matched[:0], r.work)
			if r.work.Err() != nil {
				return
			}
			for _, i := range matched {
				if g := of[i]; g.hint == "" && !g.glob.Match(path, r.work) {
					g.hint = way.hint(g.glob.String(), path)
				}
			}
		}
	}
}

// folders are the folders of a tree, each with the names of the folders in it; "" is the
// root.
type folders map[string][]string

// foldersOf gathers the folders of all files. git has no empty folders, so these are all
// there are.
func foldersOf(files iter.Seq[string]) folders {
	all := folders{"": nil}
	var add func(folder string)
	add = func(folder string) {
		if _, known := all[folder]; known {
			return
		}
		all[folder] = nil
		above, name := "", folder
		if i := strings.LastIndexByte(folder, '/'); i >= 0 {
			above, name = folder[:i], folder[i+1:]
			add(above)
		}
		all[above] = append(all[above], name)
	}
	for path := range files {
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			add(path[:i])
		}
	}
	return all
}

// namesLength is the length of a folder's name that missing assumes, to count its work.
const namesLength = 16

// missing says which folder that a pattern spells out does not exist, and which one may
// be meant; "" if there is none such. It stops at the first wildcard. Comparing names
// counts as work, since a folder may have very many.
func (all folders) missing(pattern string, work *glob.Work) string {
	above := ""
	for rest := pattern; ; {
		name, below, more := strings.Cut(rest, "/")
		if !more || glob.IsPattern(name) || strings.Contains(name, `\`) {
			return ""
		}
		folder := strings.TrimPrefix(above+"/"+name, "/")
		if _, there := all[folder]; !there {
			hint := ": there is no folder " + quote(folder)
			if !work.Take(len(all[above]) * len(name) * namesLength) {
				return hint
			}
			if near := nearest.Word(name, all[above]); near != "" {
				hint += "; did you mean " + quote(strings.TrimPrefix(above+"/"+near, "/")) + "?"
			}
			return hint
		}
		above, rest = folder, below
	}
}

// placeOf returns where a glob of the rule is written; else the place of the rule.
func (r *rule) placeOf(g *glob.Glob) *yaml.Node {
	if i := slices.Index(r.match, g); i >= 0 && i < len(r.matchAt) {
		return r.matchAt[i]
	}
	if i := slices.Index(r.exclude, g); i >= 0 && i < len(r.excludeAt) {
		return r.excludeAt[i]
	}
	return r.at
}
