package mapping

import (
	"slices"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/yaml"
)

// The two places in a repository where a rules file may stand. To have both is an error.
// A file there is never mapped and never unmatched.
const (
	RootPlace   = "purge-rules.yaml"
	GitHubPlace = ".github/purge-rules.yaml"
)

// File is a rules file without errors. It does not change, so several goroutines may use
// it at once.
type File struct {
	extends        string // OWNER/NAME of a file that is still to be joined by Extend; "": none
	environments   []Environment
	keys           []namePattern // of each environment, by the same index
	after          []after       // of each environment, by the same index
	action         Action        // of everything, unless the purge is a rollback
	rollbackAction Action        // of the URLs of a rollback
	rules          []rule
	unmatched      objects // purged for paths that no rule matches
	warnUnmatched  bool    // such paths get a warning
	limits         []limit // by rising over, which exceeded relies on
	tests          []test

	index     *glob.Index // the match globs of all rules, in the order of the file
	globRules []int       // of each glob in the index, the index of its rule
	firstGlob []int       // of each rule, the number of its first glob in the index; its others follow
}

// rule is one entry of rules.
type rule struct {
	name         string        // "rule 3" if it has none
	named        bool          // the file gives it a name
	match        []*glob.Glob  // a path has to match one of these …
	exclude      []*glob.Glob  // … and none of these
	matchAt      []*yaml.Node  // where each of match is written
	excludeAt    []*yaml.Node  // where each of exclude is written
	environments []namePattern // where the rule counts; none: everywhere
	objects      objects
	at           *yaml.Node // where the rule is written
}

// label names the rule in a message to people.
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
	cpcodes []string // in decimal, without leading zeros

	numbered bool // a template uses a numbered wildcard, so the matching glob matters
}

// empty reports whether nothing is purged by it.
func (o *objects) empty() bool { return len(o.urls)+len(o.tags)+len(o.cpcodes) == 0 }

// templates returns the templates of URLs and then those of tags.
func (o *objects) templates() []objectTemplate {
	return slices.Concat(o.urls, o.tags)
}

// objectTemplate is the template of a URL or, if url is nil, of a tag.
type objectTemplate struct {
	pieces
	written string // as the file has it
	url     *urlTemplate
	hosted  bool // it uses {host}, so it is expanded once for each host
	at      *yaml.Node
}

// limit is one entry of limits. Either hold is set or instead has objects.
type limit struct {
	over    int // URLs; the limit applies to a purge with more
	hold    bool
	instead objects
}

// test is one entry of tests.
type test struct {
	change      Change
	environment string   // "": the first environment of the file
	purges      []string // as Target.String writes them
	at          *yaml.Node
}

// Parse reads a rules file and returns every fault that it finds, in the order of their
// places. The File is nil if one of them is an error; a good file may come with warnings.
// Parse does not run the file's tests: see Check.
//
// To read a file costs at most 1 MiB of text, 2,000 rules, and little time, even if it is
// written to cost more.
//
// If a file extends that of another repository, Parse reads only what stands in the file
// itself. Faults that only both together can show are found by Extend.
func Parse(src []byte) (*File, Faults) {
	c := &collector{}
	return c.read(c.yaml(src), "")
}

// Extend reads a rules file together with base, the file that it extends. A key that only
// base has counts. Groups such as environments are joined key by key. The file's rules
// come after those of base. The tests of base don't run. If base is broken or extends a
// third file, that is an error at the file's extends.
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

// read reads the tree of a file and checks it. base is the repository whose rules are
// joined into the tree already; "": none.
func (c *collector) read(root *yaml.Node, base string) (*File, Faults) {
	if root == nil {
		c.faults.sort()
		return nil, c.faults
	}
	r := &reader{collector: c, file: &File{}, base: base}
	r.readFile(root)
	r.check()
	// A habit is only a guess at what was meant. Beside an error it would be noise.
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

// compile builds the index of the globs of all rules. The globs of one rule have numbers
// in a row, which lets planner.rules see that two matches are of one rule.
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

// Extends returns the repository, OWNER/NAME, whose rules file has to be joined with this
// one by Extend; "" if there is none, or if that is done.
func (f *File) Extends() string { return f.extends }

// RuleNames returns the names that targets have for their rules, in the order of the
// file.
func (f *File) RuleNames() (names []string) {
	for _, r := range f.rules {
		names = append(names, r.name)
	}
	return names
}

// Environments returns the environments in the order of the file. Their names are the
// keys as written. The caller must not change the slice.
func (f *File) Environments() []Environment { return f.environments }

// Environment finds the environment that GitHub calls name. Case does not count. An exact
// key wins; else it is the first glob in the file that matches. The result has name as
// its Name.
func (f *File) Environment(name string) (Environment, bool) {
	i := f.find(name)
	if i < 0 {
		return Environment{}, false
	}
	env := f.environments[i]
	env.Name = name
	return env, true
}

// find returns the index of the environment that GitHub calls name, or -1.
func (f *File) find(name string) int {
	name = fold(name)
	if i := slices.IndexFunc(f.keys, func(k namePattern) bool { return k.text == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(f.keys, func(k namePattern) bool { return k.fits(name) })
}

// appliesTo reports whether the rule counts in the environment that GitHub calls name.
func (r *rule) appliesTo(name string) bool {
	if len(r.environments) == 0 {
		return true
	}
	name = fold(name)
	return slices.ContainsFunc(r.environments, func(e namePattern) bool { return e.fits(name) })
}

// UsesRepository reports whether a template of the file uses {owner} or {repo}: then its
// targets depend on where it is.
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
