package glob

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Match reports whether path matches, exactly as doublestar does. Once the work has run
// out it returns false, and that means nothing: see Work.Err.
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

// mayBegin is a quick first test: head and path must agree as far as both go. A path
// shorter than head may match, as "a" matches "a/**". A head with U+FFFD proves nothing,
// since that character matches any invalid byte.
func (g *Glob) mayBegin(path string) bool {
	return strings.HasPrefix(path, g.head) || strings.HasPrefix(g.head, path) || strings.ContainsRune(g.head, utf8.RuneError)
}

// A mark is where to begin again after a mismatch: with the token t at byte i of the
// path. A wildcard sets it after itself.
type mark struct{ t, i int }

// matchRun matches one combination as doublestar does, corner cases included:
//
//   - It goes back only to the last star and the last "**". That finds every match,
//     except where a class takes a slash.
//   - A brace opens when the match first reaches it, and then stays open. Until then the
//     pattern has a "{" there, so a "**" before it is not followed by a slash and
//     means "*".
//   - Where the path ends, the rest of the pattern must be nothing, or one of a few forms
//     of stars: see spent.
//
// Each turn of the loop takes a step, and more for a class. There are at most twice as
// many turns as tokens times bytes of the path.
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
				// Stars before a "**" are never tried again.
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
		// A mismatch: the last star takes one more character, but never a slash.
		if star != none {
			if r, n := utf8.DecodeRuneInString(path[star.i:]); r != '/' {
				star.i += n
				t, i = star.t, star.i
				continue
			}
		}
		// The last star can't grow: the last "**" takes one more folder.
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

// endsPath reports whether the rest of the path is only the beginning of a literal.
// doublestar compares rune by rune: it is then at the end of the path, finds the pattern
// unfinished, and does not go back.
func (t *token) endsPath(rest string) bool {
	return t.kind == literalToken && len(rest) < len(t.text) && t.text[:len(rest)] == rest && utf8.RuneStart(t.text[len(rest)])
}

// beginsSegment reports whether the token t of a run stands at the beginning of the
// pattern or after a slash. Braces that open in between don't count.
func beginsSegment(run []token, t int) bool {
	for t--; t >= 0; t-- {
		if run[t].kind != braceToken {
			return run[t].kind == slashToken
		}
	}
	return true
}

// afterStars tells what a "**" at the beginning of a segment means, and with which token
// the match goes on. t is the token after it. Braces that have been opened, those before
// open, are not seen; one that has not makes the "**" a plain star.
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

// spent reports whether the tokens from t on can match the empty end of a path. They can
// if they are nothing, a star, or "**" with or without slashes. A brace that has not been
// opened may stand only before all that.
func spent(run []token, t, open int) bool {
	for t < len(run) && run[t].kind == braceToken {
		t++
	}
	// rest never outgrows its capacity: no accepted form is longer.
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
