package mapping

import (
	"slices"

	"github.com/bmatcuk/doublestar/v4"
)

// The two places in a repository where a rules file may stand; both at once
// is an error. A file there is never mapped and never unmatched.
const (
	RootPlace   = "purge-rules.yaml"
	GitHubPlace = ".github/purge-rules.yaml"
)

// File is a rules file without errors. It does not change and may be used by
// several goroutines at once.
type File struct {
	environments   []Environment
	action         Action
	rollbackAction Action
	rules          []rule
	unmatched      objects
	warnUnmatched  bool
	limits         []limit // by rising over
	tests          []test

	index     *index
	globRules []int // of each glob in the index, its rule
	firstGlob []int // of each rule, its first glob in the index
}

// rule is one entry of rules.
type rule struct {
	name         string // "rule 3" where it has none
	named        bool
	match        []*glob
	exclude      []*glob
	environments []string // folded; none: all
	objects      objects
	at           *yamlNode
}

// label names the rule in a message.
func (r *rule) label() string {
	if r.named {
		return "the rule " + quote(r.name)
	}
	return r.name
}

// objects are what a rule, unmatched or a limit purges.
type objects struct {
	urls    []objectTemplate
	tags    []objectTemplate
	cpcodes []string // in decimal

	numbered bool // a template uses the numbered wildcards
}

func (o *objects) empty() bool { return len(o.urls)+len(o.tags)+len(o.cpcodes) == 0 }

// templates gives the templates of both kinds.
func (o *objects) templates() []objectTemplate {
	return slices.Concat(o.urls, o.tags)
}

// objectTemplate is a template for a URL, or, where url is nil, a tag.
type objectTemplate struct {
	pieces
	written string
	url     *urlTemplate
	hosted  bool // {host} is part of it
	at      *yamlNode
}

// limit is one entry of limits.
type limit struct {
	over    int
	hold    bool
	instead objects
}

// test is one entry of tests.
type test struct {
	change      Change
	environment string // "": the file's first
	purges      []string
	at          *yamlNode
}

// Parse reads a rules file and gives every fault it finds, in the order of
// their places. The File is nil if any of them is an error; warnings come
// along with a good file. Parse does not run the file's tests: see Check.
//
// A file costs at most 1 MiB to read, 2,000 rules, and little time, whoever
// wrote it.
func Parse(src []byte) (*File, Faults) {
	c := &collector{}
	root := readYAML(src, c)
	if root == nil {
		c.faults.sort()
		return nil, c.faults
	}
	r := &reader{collector: c, file: &File{}}
	r.readFile(root)
	r.check()
	c.faults.sort()
	if c.faults.HasErrors() {
		return nil, c.faults
	}
	r.file.compile()
	return r.file, c.faults
}

// compile builds the index of all rules' globs.
func (f *File) compile() {
	var globs []*glob
	for i, r := range f.rules {
		f.firstGlob = append(f.firstGlob, len(globs))
		globs = append(globs, r.match...)
		for range r.match {
			f.globRules = append(f.globRules, i)
		}
	}
	f.index = newIndex(globs)
}

// Environments gives the file's environments in its order; their names are
// the keys as written.
func (f *File) Environments() []Environment { return f.environments }

// Environment finds the environment that GitHub calls name: names compare
// without regard to case, an exact key wins, then the first glob in the file
// that matches. Its Name is name.
func (f *File) Environment(name string) (Environment, bool) {
	i := f.find(name)
	if i < 0 {
		return Environment{}, false
	}
	env := f.environments[i]
	env.Name = name
	return env, true
}

func (f *File) find(name string) int {
	name = fold(name)
	for i, e := range f.environments {
		if fold(e.Key) == name {
			return i
		}
	}
	for i, e := range f.environments {
		if e.Glob && doublestar.MatchUnvalidated(fold(e.Key), name) {
			return i
		}
	}
	return -1
}

// appliesTo reports whether the rule counts in the environment of that name.
func (r *rule) appliesTo(name string) bool {
	if len(r.environments) == 0 {
		return true
	}
	name = fold(name)
	for _, e := range r.environments {
		if e == name || doublestar.MatchUnvalidated(e, name) {
			return true
		}
	}
	return false
}

// UsesRepository reports whether any template of the file has {owner} or
// {repo}.
func (f *File) UsesRepository() bool {
	uses := func(o *objects) bool {
		for _, t := range o.templates() {
			for _, p := range t.pieces {
				if p.name == phOwner || p.name == phRepo {
					return true
				}
			}
		}
		return false
	}
	for i := range f.rules {
		if uses(&f.rules[i].objects) {
			return true
		}
	}
	for i := range f.limits {
		if uses(&f.limits[i].instead) {
			return true
		}
	}
	return uses(&f.unmatched)
}
