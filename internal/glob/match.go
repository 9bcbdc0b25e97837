package glob

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Match reports whether the path matches: doublestar's word. It is false, and
// means nothing, once the work has run out.
func (g *Glob) Match(path string, w *Work) bool {
	if !w.Take(1) || !g.mayBegin(path) {
		return false
	}
	if g.kept != nil {
		return slices.ContainsFunc(g.kept, func(run []token) bool { return matchRun(run, path, w) })
	}
	run := make([]token, 0, keptTokens)
	for k := range g.parsed.combinations {
		run = g.parsed.appendRun(run[:0], k, true)
		if !w.Take(20+8*len(run)) || matchRun(run, path, w) {
			return !w.over()
		}
	}
	return false
}

// mayBegin compares what both begin with. "a/**" matches "a".
func (g *Glob) mayBegin(path string) bool {
	return strings.HasPrefix(path, g.head) || strings.HasPrefix(g.head, path) || strings.ContainsRune(g.head, utf8.RuneError)
}

// A mark is where a wildcard lets the tokens behind it begin again: with the
// token t, at i in the path.
type mark struct{ t, i int }

// matchRun matches one combination as doublestar does, corners included:
//
//   - Only the last star and the last "**" are gone back to. That finds every
//     match, but where a class takes a slash.
//   - A brace is opened when it is reached for the first time. Before that,
//     what stands there is a "{", which keeps the "**" in front of it from
//     being folders.
//   - Where the path ends, what is left of the pattern must be nothing, or
//     one of a few forms of stars: see spent.
//
// Each turn takes a step for what it looks at. There are no more turns than
// twice the tokens times the bytes of the path.
func matchRun(run []token, path string, w *Work) bool {
	none := mark{t: -1}
	star, folders := none, none
	t, i, open := 0, 0, 0 // braces before open have been opened
	for i < len(path) {
		if !w.Take(1) {
			return false
		}
		if t < len(run) {
			switch tok := &run[t]; tok.kind {
			case braceToken:
				t++
				open = max(open, t)
				continue
			case starToken, foldersToken, restToken:
				next, kind := t+1, starToken
				if tok.text == "**" && beginsSegment(run, t) {
					next, kind = afterStars(run, t+1, open)
				}
				switch kind { //nolint:exhaustive // afterStars gives these
				case restToken:
					return true
				case foldersToken:
					star, folders = none, mark{next, i}
				default:
					star = mark{next, i}
				}
				t = next
				continue
			case literalToken, slashToken, runeToken, classToken:
				if tok.kind == classToken && !w.Take(5+2*len(tok.text)) {
					return false
				}
				n := tok.length(path[i:])
				if n < 0 && tok.endsPath(path[i:]) {
					return false
				}
				if n >= 0 {
					t++
					i += n
					continue
				}
			}
		}
		if star != none {
			if r, n := utf8.DecodeRuneInString(path[star.i:]); r != '/' {
				star.i += n
				t, i = star.t, star.i
				continue
			}
		}
		n := -1
		if folders != none {
			n = strings.IndexByte(path[folders.i:], '/')
		}
		if n < 0 {
			return false
		}
		folders.i += n + 1
		t, i = folders.t, folders.i
	}
	return spent(run, t, open)
}

// endsPath says whether what is left of a path is the beginning of a literal:
// doublestar does not go back from there.
func (t *token) endsPath(rest string) bool {
	return t.kind == literalToken && len(rest) < len(t.text) && t.text[:len(rest)] == rest && utf8.RuneStart(t.text[len(rest)])
}

// beginsSegment says whether the token t of a run stands at the beginning or
// behind a slash.
func beginsSegment(run []token, t int) bool {
	for t--; t >= 0; t-- {
		if run[t].kind != braceToken {
			return run[t].kind == slashToken
		}
	}
	return true
}

// afterStars says what a "**" at the beginning of a segment is whose next
// token is t, and where it goes on.
func afterStars(run []token, t, open int) (next int, kind tokenKind) {
	next = t
	for next < len(run) && run[next].kind == braceToken && next < open {
		next++
	}
	switch {
	case next == len(run):
		return next, restToken
	case run[next].kind == slashToken && run[next].text == "/":
		return next + 1, foldersToken
	}
	return t, starToken
}

// spent says whether what a run has from t on can stand for nothing. It is
// nothing, or a star, or "**" with or without slashes; a brace may open
// before it, but not behind its beginning.
func spent(run []token, t, open int) bool {
	for t < len(run) && run[t].kind == braceToken {
		t++
	}
	rest := make([]byte, 0, len("/**/"))
	for ; t < len(run); t++ {
		if run[t].kind == braceToken {
			if t >= open {
				return false
			}
			continue
		}
		if k := run[t].kind; k == literalToken || k == runeToken || k == classToken || len(rest)+len(run[t].text) > cap(rest) {
			return false
		}
		rest = append(rest, run[t].text...)
	}
	switch string(rest) {
	case "", "*", "**", "/**", "**/", "/**/":
		return true
	}
	return false
}
