package mapping

import (
	"fmt"

	"github.com/purgebot/purgebot/internal/glob"
)

// A namePattern is an environment's name or a glob of names, without regard
// to case.
type namePattern struct {
	text string // folded
	glob *glob.Glob
}

func newNamePattern(name string) (namePattern, error) {
	p := namePattern{text: fold(name)}
	if !glob.IsPattern(name) {
		return p, nil
	}
	var err error
	p.glob, err = compileGlob(p.text)
	return p, err
}

// fits takes a folded name.
func (p namePattern) fits(name string) bool {
	return name == p.text || p.glob != nil && p.glob.Match(name, nil)
}

// mayFit reports whether both may fit one name.
func (p namePattern) mayFit(o namePattern) bool {
	switch {
	case p.glob == nil:
		return o.fits(p.text)
	case o.glob == nil:
		return p.fits(o.text)
	}
	return p.glob.Overlaps(o.glob)
}

// compileGlob reads a glob of the file; its error is a whole sentence.
func compileGlob(pattern string) (*glob.Glob, error) {
	g, err := glob.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the glob %s %w", quote(pattern), err)
	}
	return g, nil
}
