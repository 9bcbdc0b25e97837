package glob

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A step is one segment of a glob without braces. A row is the steps of one combination.
// Index.steps holds the rows of all globs one after the other. A place is an index into
// it, and the next place of a row is one higher.
type step struct {
	kind           stepKind // what names it takes
	glob           int      // its number in Index.globs
	last           bool     // the row ends here; there is no next place
	prefix, suffix string   // literal text at the ends of the name; oneName has only a prefix
	tokens         []token  // what stands between prefix and suffix; nil: one star, or nothing
}

// stepKind is which names a step takes.
type stepKind int

const (
	oneName    stepKind = iota // one name: the prefix
	anyName                    // every name, once
	someNames                  // names that fit prefix, tokens and suffix
	anyFolders                 // any number of folders, also none; never the last step of a row
	allBelow                   // everything that is left of the path
)

// rows returns a row of steps for each combination of g. The steps accept at least what
// doublestar accepts. They may accept more; Index.sure tells where they don't.
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
			// The path may end before this slash. An allBelow lets layer accept that
			// too.
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

// newStep makes the step for the tokens between two slashes. If it can't tell what they
// match, the step is allBelow, which accepts any rest of a path.
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
	// middle[0] is no literal, so this loop ends before middle is empty.
	for middle[len(middle)-1].kind == literalToken {
		s.suffix = middle[len(middle)-1].text + s.suffix
		middle = middle[:len(middle)-1]
	}
	if len(middle) > 1 || middle[0].kind != starToken {
		s.tokens = middle
	}
	return s
}

// cost bounds the steps of work that fits takes.
func (s *step) cost(base string) int { return 1 + len(s.tokens)*len(base) }

// fits reports whether a someNames step takes the name base. Prefix and suffix must not
// overlap in it, so the length is compared first.
func (s *step) fits(base string) bool {
	if len(base) < len(s.prefix)+len(s.suffix) ||
		!strings.HasPrefix(base, s.prefix) || !strings.HasSuffix(base, s.suffix) {
		return false
	}
	return s.tokens == nil || fit(s.tokens, base[len(s.prefix):len(base)-len(s.suffix)])
}

// ext returns the extension that every name which s takes has, or "" if they differ. It
// is only meaningful for someNames.
func (s *step) ext() string {
	_, ext := baseAndExtension(s.suffix)
	return ext
}

// baseAndExtension returns the last segment of a path, and its extension with the dot; ""
// if it has no dot.
func baseAndExtension(path string) (base, ext string) {
	base = path[strings.LastIndexByte(path, '/')+1:]
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		ext = base[dot:]
	}
	return base, ext
}

// fit matches the tokens of one segment. It goes back only to the last star. That is
// enough: if an earlier star took more, it would leave less for the rest.
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
		// The last star takes one more character. If a literal follows it, it takes all
		// up to the next place where the literal stands. tokens[last+1] exists, since a
		// star at the end has returned above.
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
