package glob

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A step is one segment of a glob without braces. The rows of steps of all
// globs lie one after the other; a place is a number among them, and the next
// place of a row is one higher.
type step struct {
	kind           stepKind
	glob           int
	last           bool // the row ends here
	prefix, suffix string
	tokens         []token // what stands between them; nil: one star, or nothing
}

type stepKind int

const (
	oneName    stepKind = iota // the name that is its prefix
	anyName                    // any one name
	someNames                  // names with a prefix, tokens and a suffix
	anyFolders                 // any number of folders
	allBelow                   // whatever is left
)

// rows gives the steps of each way to write g without braces; they accept
// whatever doublestar accepts.
func (g *Glob) rows() [][]step {
	rows := make([][]step, 0, g.parsed.combinations)
	for tokens := range g.written() {
		var row []step
		for open := true; open; {
			end := slices.IndexFunc(tokens, func(t token) bool { return t.kind == slashToken })
			if end < 0 {
				row = append(row, newStep(tokens))
				break
			}
			row = append(row, newStep(tokens[:end]))
			open = row[len(row)-1].kind != allBelow
			if tokens[end].mayEnd {
				row = append(row, step{kind: allBelow})
				open = false
			}
			tokens = tokens[end+1:]
		}
		rows = append(rows, row)
	}
	return rows
}

// newStep makes a step of the tokens between two slashes. Where it can't tell
// what they match, it is below.
func newStep(tokens []token) step {
	if len(tokens) == 0 || slices.ContainsFunc(tokens, func(t token) bool { return t.wide }) {
		return step{kind: allBelow}
	}
	if len(tokens) == 1 {
		switch tokens[0].kind {
		case starToken:
			return step{kind: anyName}
		case foldersToken:
			return step{kind: anyFolders}
		case restToken:
			return step{kind: allBelow}
		case literalToken, slashToken, runeToken, classToken, braceToken:
		}
	}
	s := step{kind: someNames}
	middle := tokens
	for len(middle) > 0 && middle[0].kind == literalToken {
		s.prefix += middle[0].text
		middle = middle[1:]
	}
	if len(middle) == 0 {
		s.kind = oneName
		return s
	}
	for middle[len(middle)-1].kind == literalToken {
		s.suffix = middle[len(middle)-1].text + s.suffix
		middle = middle[:len(middle)-1]
	}
	if len(middle) > 1 || middle[0].kind != starToken {
		s.tokens = middle
	}
	return s
}

// cost bounds the steps of fits.
func (s *step) cost(base string) int { return 1 + len(s.tokens)*len(base) }

// fits says whether a segment with wildcards takes a name.
func (s *step) fits(base string) bool {
	if len(base) < len(s.prefix)+len(s.suffix) ||
		!strings.HasPrefix(base, s.prefix) || !strings.HasSuffix(base, s.suffix) {
		return false
	}
	return s.tokens == nil || fit(s.tokens, base[len(s.prefix):len(base)-len(s.suffix)])
}

// ext is the extension of every name that a step takes; "" if they differ.
func (s *step) ext() string {
	_, ext := baseAndExtension(s.suffix)
	return ext
}

// baseAndExtension gives the last segment of a path, and the last dot in it
// with what follows.
func baseAndExtension(path string) (base, ext string) {
	base = path[strings.LastIndexByte(path, '/')+1:]
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		ext = base[dot:]
	}
	return base, ext
}

// fit matches the tokens of one segment. It is enough to go back to the last
// star: an earlier one that took more would leave less for the rest.
func fit(tokens []token, base string) bool {
	t, i := 0, 0
	last, end := -1, 0 // the last star, and where it ends
	for t < len(tokens) || i < len(base) {
		switch {
		case t == len(tokens):
		case tokens[t].kind == starToken:
			if t == len(tokens)-1 {
				return true
			}
			last, end = t, i
			t++
			continue
		default:
			if n := tokens[t].length(base[i:]); n >= 0 {
				t++
				i += n
				continue
			}
		}
		if last < 0 || end == len(base) {
			return false
		}
		_, n := utf8.DecodeRuneInString(base[end:])
		end += n
		if next := tokens[last+1]; next.kind == literalToken {
			skip := strings.Index(base[end:], next.text)
			if skip < 0 {
				return false
			}
			end += skip
		}
		t, i = last+1, end
	}
	return true
}
