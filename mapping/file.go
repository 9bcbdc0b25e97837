package mapping

import (
	"slices"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/yaml"
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
	extends        string // OWNER/NAME, where that is no part of the file yet
	environments   []Environment
	keys           []namePattern // of each environment
	after          []after       // of each environment
	action         Action
	rollbackAction Action
	rules          []rule
	unmatched      objects
	warnUnmatched  bool
	limits         []limit // by rising over
	tests          []test

	index     *glob.Index
	globRules []int // of each glob in the index, its rule
	firstGlob []int // of each rule, its first glob in the index
}

// rule is one entry of rules.
type rule struct {
	name         string // "rule 3" where it has none
	named        bool
	match        []*glob.Glob
	exclude      []*glob.Glob
	matchAt      []*yaml.Node // where each glob is written
	excludeAt    []*yaml.Node
	environments []namePattern // none: all
	objects      objects
	at           *yaml.Node
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
	at      *yaml.Node
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
	at          *yaml.Node
}

// Parse reads a rules file and gives every fault it finds, in the order of
// their places. The File is nil if any of them is an error; warnings come
// along with a good file. Parse does not run the file's tests: see Check.
//
// A file costs at most 1 MiB to read, 2,000 rules, and little time, whoever
// wrote it.
//
// Of a file that extends another repository's it reads what stands in it:
// what only both together tell is for Extend.
func Parse(src []byte) (*File, Faults) {
	c := &collector{}
	return c.read(c.yaml(src), "")
}

// Extend reads a rules file together with the one that it extends: keys that
// only base has count, groups such as environments are joined key by key, and
// the file's rules come behind those of base. The tests of base don't run. A
// base that is broken, or extends a third one, is an error of the file's
// extends.
func Extend(src, base []byte) (*File, Faults) {
	c, other := &collector{}, &collector{}
	root := c.yaml(src)
	if root == nil {
		return c.read(nil, "")
	}
	under := other.yaml(base)
	at := valueOf(root, "extends")
	if at == nil {
		return c.read(root, "")
	}
	lower, _ := other.read(under, "")
	switch errs := other.faults.Errors(); {
	case len(errs) > 0:
		c.errorf(at, "the rules of %s are broken: %s", at.Text, errs[0].In(RootPlace))
	case lower.extends != "":
		c.errorf(at, "%s extends %s itself: name one that stands alone", at.Text, lower.extends)
	default:
		return c.read(extend(root, under, at), at.Text)
	}
	c.faults.sort()
	return nil, c.faults
}

// read reads the tree of a file. Of what it extends, the name is given where
// that is part of the tree.
func (c *collector) read(root *yaml.Node, base string) (*File, Faults) {
	if root == nil {
		c.faults.sort()
		return nil, c.faults
	}
	r := &reader{collector: c, file: &File{}, base: base}
	r.readFile(root)
	r.check()
	if !c.faults.HasErrors() {
		c.faults = append(c.faults, r.habits.faults...)
	}
	c.faults.sort()
	if c.faults.HasErrors() {
		return nil, c.faults
	}
	r.file.compile()
	return r.file, c.faults
}

// compile builds the index of all rules' globs.
func (f *File) compile() {
	var globs []*glob.Glob
	for i, r := range f.rules {
		f.firstGlob = append(f.firstGlob, len(globs))
		globs = append(globs, r.match...)
		for range r.match {
			f.globRules = append(f.globRules, i)
		}
	}
	f.index = glob.NewIndex(globs)
}

// Extends is the repository, OWNER/NAME, whose rules file is to be read with
// this one by Extend; "": none, or it has been.
func (f *File) Extends() string { return f.extends }

// RuleNames are the names that targets have for their rules, in the order of
// the file.
func (f *File) RuleNames() (names []string) {
	for _, r := range f.rules {
		names = append(names, r.name)
	}
	return names
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
	if i := slices.IndexFunc(f.keys, func(k namePattern) bool { return k.text == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(f.keys, func(k namePattern) bool { return k.fits(name) })
}

// appliesTo reports whether the rule counts in the environment of that name.
func (r *rule) appliesTo(name string) bool {
	if len(r.environments) == 0 {
		return true
	}
	name = fold(name)
	return slices.ContainsFunc(r.environments, func(e namePattern) bool { return e.fits(name) })
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
	for i := range f.after {
		if uses(&f.after[i].rebuild) {
			return true
		}
	}
	return uses(&f.unmatched)
}
