package mapping

import (
	"fmt"

	"github.com/purgebot/purgebot/internal/glob"
)

// A namePattern is the name of an environment, or a glob of such names. Case does not
// count.
type namePattern struct {
	text string     // in lower case, as fold gives it
	glob *glob.Glob // nil: text is a plain name
}

// newNamePattern reads a name or a glob. Its error is a whole sentence.
func newNamePattern(name string) (namePattern, error) {
	p := namePattern{text: fold(name)}
	if !glob.IsPattern(name) {
		return p, nil
	}
	var err error
	p.glob, err = compileGlob(p.text)
	return p, err
}

// fits reports whether a name, which must be folded, is meant. A name that is written
// exactly as the pattern always is. The match has no bound on its work: names are short.
func (p namePattern) fits(name string) bool {
	return name == p.text || p.glob != nil && p.glob.Match(name, nil)
}

// mayFit reports whether some name may fit both patterns. For two globs it errs on the
// side of yes.
func (p namePattern) mayFit(o namePattern) bool {
	switch {
	case p.glob == nil:
		return o.fits(p.text)
	case o.glob == nil:
		return p.fits(o.text)
	}
	return p.glob.Overlaps(o.glob)
}

// compileGlob compiles a glob of the file. Its error is a whole sentence.
func compileGlob(pattern string) (*glob.Glob, error) {
	g, err := glob.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the glob %s %w", quote(pattern), err)
	}
	return g, nil
}
