package mapping

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// Bounds on one glob. doublestar tries every combination of the alternatives
// in braces, so their size bounds what one path can cost.
const (
	maxGlobBytes        = 500
	maxGlobCombinations = 250
	maxGlobTokens       = 2_000 // of all combinations
)

// A glob is one doublestar pattern with its wildcards numbered from the left.
//
// Whether a path matches is doublestar's word. What each wildcard took is
// found by matching the tokens of the pattern, which accept whatever
// doublestar accepts. (They accept a little more: where a class takes a slash,
// or the path ends before an optional brace, doublestar gives up early.)
type glob struct {
	pattern string
	head    string // what stands before the first wildcard …
	tail    string // … and behind the last
	numbers int
	parsed  sequence
	plain   []token // the tokens of a pattern without braces
	exact   bool    // the tokens accept just what doublestar does, of the paths that git allows
}

// compileGlob reads a pattern. Its errors are for the people who write rules
// files: they quote the pattern and say what to write instead.
func compileGlob(pattern string) (*glob, error) {
	if len(pattern) > maxGlobBytes {
		return nil, fmt.Errorf("the glob %s is longer than %d bytes; write a shorter one, or several", quote(pattern), maxGlobBytes)
	}
	p := globParser{rest: pattern}
	parsed, err := p.pattern()
	g := &glob{pattern: pattern, head: pattern, tail: pattern, numbers: p.numbers, parsed: parsed, exact: !p.vague}
	if i := strings.IndexAny(pattern, globMeta); i >= 0 {
		g.head = pattern[:i]
		g.tail = pattern[strings.LastIndexAny(pattern, globMeta+"]}")+1:]
	}
	if err == nil {
		err = g.inspect()
	}
	if err == nil && !doublestar.ValidatePattern(pattern) {
		err = errors.New("is not complete: a bracket or a brace is open, or it ends with a backslash")
	}
	if err != nil {
		return nil, fmt.Errorf("the glob %s %w", quote(pattern), err)
	}
	return g, nil
}

// inspect looks at each combination.
func (g *glob) inspect() error {
	var tokens []token
	for k := range g.parsed.combinations {
		tokens = g.parsed.appendCombination(tokens[:0], k)
		if touching(tokens) {
			return errors.New(`has a "*" at the edge of a brace and another one beside it; leave one of them out`)
		}
		resolve(tokens)
		g.exact = g.exact && !vague(tokens)
	}
	if g.parsed.combinations == 1 {
		g.plain = tokens
	}
	return nil
}

// written ranges over the tokens of each way to write the pattern without
// braces. They aren't kept: a hostile file could have millions.
func (g *glob) written() iter.Seq[[]token] {
	return func(yield func([]token) bool) {
		if g.plain != nil {
			yield(g.plain)
			return
		}
		for k := range g.parsed.combinations {
			tokens := g.parsed.appendCombination(make([]token, 0, len(g.parsed.nodes)), k)
			resolve(tokens)
			if !yield(tokens) {
				return
			}
		}
	}
}

// wildcards counts the numbered wildcards.
func (g *glob) wildcards() int { return g.numbers }

// match is doublestar's word.
func (g *glob) match(path string) bool { return doublestar.MatchUnvalidated(g.pattern, path) }

// cost bounds what match and captures take for a path, in steps of about a
// nanosecond. Usual ones take far less than their bound, which is counted in
// full where it begins to hurt.
func (g *glob) cost(path string) int {
	const usual = 5_000
	steps := (len(g.pattern) + g.parsed.tokens) * (len(path) + 1)
	if steps <= usual {
		return steps / 8
	}
	return steps
}

// captures gives what each numbered wildcard took of a path that matches; nil
// if the glob has none. An earlier wildcard takes as little as it can.
func (g *glob) captures(path string) []string {
	if g.numbers == 0 {
		return nil
	}
	var best []string
	for tokens := range g.written() {
		s := newSplit(tokens, path)
		if !s.from(0, 0) {
			continue
		}
		if c := s.captures(g.numbers); best == nil || slices.CompareFunc(c, best, byLength) < 0 {
			best = c
		}
	}
	return best
}

func byLength(a, b string) int { return cmp.Compare(len(a), len(b)) }

// vague says whether the tokens may accept more than doublestar does.
func vague(tokens []token) bool {
	for i, t := range tokens {
		begin := i == 0 || tokens[i-1].kind == slashToken
		switch {
		case t.wide, // a class that takes slashes leads doublestar astray
			t.kind == slashToken && (begin || i == len(tokens)-1 || t.text != "/"),
			t.mayEnd && tokens[i-1].kind == starToken,                     // "a*/**" does not match "a"
			t.kind == starToken && i > 0 && tokens[i-1].kind == starToken: // nor "a***"
			return true
		}
	}
	return false
}

// A token is the smallest part of a pattern without braces.
type token struct {
	kind   tokenKind
	text   string // of a literal: what it stands for; otherwise as written
	number int    // of the wildcard that it is or is part of; 0: none
	offset int    // in the pattern, bytes
	wide   bool   // it may match a slash, or other text than its own
	mayEnd bool   // of a slash: not needed at the end of the path
}

type tokenKind int

const (
	literalToken tokenKind = iota // no slash inside
	slashToken                    // "/" or "\/"
	runeToken                     // ?
	classToken                    // [a-z]; may match a slash, if doublestar says so
	starToken                     // * and whatever ** means the same
	foldersToken                  // ** before a slash: the slash goes with it when it takes nothing
	restToken                     // ** as the last segment
)

// A split is one attempt to match tokens with a path. Every pair of wildcard
// and position is tried once, so its cost is bounded by the length of the
// tokens times that of the path.
type split struct {
	tokens []token
	path   string
	start  []int    // where each token begins, and the end
	tried  []uint64 // bit token*(len(path)+1)+position
}

func newSplit(tokens []token, path string) *split {
	return &split{
		tokens: tokens,
		path:   path,
		start:  make([]int, len(tokens)+1),
		tried:  make([]uint64, (len(tokens)*(len(path)+1)+63)/64),
	}
}

// from matches the tokens from t on with the path from i on, and leaves in
// start where each begins.
func (s *split) from(t, i int) bool {
	for ; t < len(s.tokens); t++ {
		s.start[t] = i
		switch tok := s.tokens[t]; tok.kind {
		case restToken:
			s.start[t+1] = len(s.path)
			return true
		case starToken:
			return s.fromStar(t, i)
		case foldersToken:
			return s.fromFolders(t, i)
		case literalToken, slashToken, runeToken, classToken:
			n := tok.length(s.path[i:])
			if n < 0 {
				return false
			}
			i += n
		}
	}
	s.start[t] = i
	return i == len(s.path)
}

func (s *split) fromStar(t, i int) bool {
	for end := i; s.first(t, end); {
		if s.from(t+1, end) {
			return true
		}
		r, n := utf8.DecodeRuneInString(s.path[end:])
		if n == 0 || r == '/' {
			return false
		}
		end += n
	}
	return false
}

// fromFolders tries what follows the slash after "**" at i and at the start of
// every later segment.
func (s *split) fromFolders(t, i int) bool {
	for next := i; s.first(t, next); {
		if s.from(t+2, next) {
			s.start[t+1] = max(i, next-1)
			return true
		}
		n := strings.IndexByte(s.path[next:], '/')
		if n < 0 {
			return false
		}
		next += n + 1
	}
	return false
}

// first says whether the wildcard t has not been tried to end at i. If it has,
// all later ends were tried with it.
func (s *split) first(t, i int) bool {
	bit := t*(len(s.path)+1) + i
	if s.tried[bit/64]&(1<<(bit%64)) != 0 {
		return false
	}
	s.tried[bit/64] |= 1 << (bit % 64)
	return true
}

// captures gives what the tokens of each number took together.
func (s *split) captures(numbers int) []string {
	took := make([]string, numbers)
	for t := 0; t < len(s.tokens); {
		number, end := s.tokens[t].number, t+1
		for end < len(s.tokens) && s.tokens[end].number == number {
			end++
		}
		if number > 0 {
			took[number-1] = s.path[s.start[t]:s.start[end]]
		}
		t = end
	}
	return took
}

// length gives how many bytes at the beginning of path a token with a fixed
// length takes, or -1.
func (t token) length(path string) int {
	switch t.kind {
	case slashToken:
		if t.mayEnd && path == "" {
			return 0
		}
		if strings.HasPrefix(path, "/") {
			return 1
		}
		return -1
	case runeToken, classToken:
		r, n := utf8.DecodeRuneInString(path)
		switch {
		case n == 0, t.kind == runeToken && r == '/',
			t.kind == classToken && !doublestar.MatchUnvalidated(t.text, path[:n]):
			return -1
		}
		return n
	case literalToken, starToken, foldersToken, restToken:
	}
	if t.text == replacement {
		if r, n := utf8.DecodeRuneInString(path); n > 0 && r == utf8.RuneError {
			return n
		}
		return -1
	}
	if strings.HasPrefix(path, t.text) {
		return len(t.text)
	}
	return -1
}

// replacement is what doublestar takes every invalid byte for, in the pattern
// and in the path.
const replacement = string(utf8.RuneError)
