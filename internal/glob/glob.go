// Package glob reads doublestar's globs, numbers their wildcards, and matches
// them with paths at a cost that is counted and bounded, whoever wrote the
// glob. Every glob that anybody may send goes through Compile: those of rules
// files, comments, policy and the command line.
//
// Whether a path matches is what doublestar says, to the last corner; tests
// and fuzzing hold the two together. doublestar itself is not asked: it can't
// be stopped, and the braces of a short glob keep it busy for a tenth of a
// millisecond a path.
package glob

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

// Bounds on one glob. Each way to take its braces is matched by itself, so
// their number bounds what one path can cost.
const (
	MaxBytes        = 500
	maxCombinations = 250
	maxTokens       = 4_000 // of all combinations, braces included
	keptTokens      = 128   // that a glob keeps; more are made anew for each path
)

// A Glob is one pattern with its wildcards numbered from the left. It does not
// change and may be used by several goroutines at once.
type Glob struct {
	pattern string
	head    string // what stands before the first wildcard …
	tail    string // … and behind the last
	numbers int
	parsed  sequence
	plain   []token   // the tokens of a pattern without braces
	kept    [][]token // the runs of a pattern with few combinations
	exact   bool      // its resolved tokens accept just what doublestar does, of the paths that git allows
}

// Compile reads a pattern. Its error ends a sentence that begins with "the
// glob …": it says what is wrong with it and what to write instead.
func Compile(pattern string) (*Glob, error) {
	if len(pattern) > MaxBytes {
		return nil, fmt.Errorf("is longer than %d bytes; write a shorter one, or several", MaxBytes)
	}
	p := parser{rest: pattern}
	parsed, err := p.pattern()
	if err != nil {
		return nil, err
	}
	g := &Glob{pattern: pattern, head: pattern, tail: pattern, numbers: p.numbers, parsed: parsed, exact: !p.vague}
	if i := strings.IndexAny(pattern, meta); i >= 0 {
		g.head = pattern[:i]
		g.tail = pattern[strings.LastIndexAny(pattern, meta+"]}")+1:]
	}
	if err := g.inspect(); err != nil {
		return nil, err
	}
	if !doublestar.ValidatePattern(pattern) {
		return nil, errors.New("is not complete: a bracket or a brace is open, or it ends with a backslash")
	}
	return g, nil
}

// meta begins whatever in a glob is not itself.
const meta = `*?[{\`

// IsPattern reports whether a text has anything that a glob reads as more
// than itself.
func IsPattern(s string) bool { return strings.ContainsAny(s, meta) }

// inspect looks at each combination.
func (g *Glob) inspect() error {
	size := g.parsed.tokens/g.parsed.combinations + 1
	run, tokens := make([]token, 0, size), make([]token, 0, size)
	keep := g.parsed.tokens <= keptTokens
	if keep {
		g.kept = make([][]token, 0, g.parsed.combinations)
	}
	for k := range g.parsed.combinations {
		if keep && k > 0 {
			run = make([]token, 0, size)
		}
		if run = g.parsed.appendRun(run[:0], k, true); keep {
			g.kept = append(g.kept, run)
		}
		tokens = appendWithoutBraces(tokens[:0], run)
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

// written ranges over the resolved tokens of each way to write the pattern
// without braces. They aren't kept: a hostile file could have millions.
func (g *Glob) written() iter.Seq[[]token] {
	return func(yield func([]token) bool) {
		if g.plain != nil {
			yield(g.plain)
			return
		}
		for k := range g.parsed.combinations {
			tokens := g.parsed.appendRun(make([]token, 0, len(g.parsed.nodes)), k, false)
			resolve(tokens)
			if !yield(tokens) {
				return
			}
		}
	}
}

// String is the pattern as it was written.
func (g *Glob) String() string { return g.pattern }

// Wildcards counts the numbered wildcards.
func (g *Glob) Wildcards() int { return g.numbers }

// Combinations counts the ways to take the braces.
func (g *Glob) Combinations() int { return g.parsed.combinations }

// Captures gives what each numbered wildcard took of a path that matches; nil
// if the glob has none, or the work has run out. An earlier wildcard takes as
// little as it can.
func (g *Glob) Captures(path string, w *Work) []string {
	if g.numbers == 0 {
		return nil
	}
	var best []string
	for tokens := range g.written() {
		if !w.Take(len(tokens) * (8 + len(path)/64)) { // what the split sets aside
			return nil
		}
		s := newSplit(tokens, path, w)
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
	text   string // of a literal: what it stands for; otherwise as written
	number int    // of the wildcard that it is or is part of; 0: none
	offset int    // in the pattern, bytes
	kind   tokenKind
	wide   bool // it may match a slash, or other text than its own
	mayEnd bool // of a slash: not needed at the end of the path
}

type tokenKind uint8

const (
	literalToken tokenKind = iota // no slash inside
	slashToken                    // "/" or "\/"
	runeToken                     // ?
	classToken                    // [a-z]; may match a slash, if doublestar says so
	starToken                     // * and whatever ** means the same
	foldersToken                  // ** before a slash: the slash goes with it when it takes nothing
	restToken                     // ** as the last segment
	braceToken                    // in a run alone: a brace opens here
)

// A split is one attempt to match tokens with a path. Every pair of wildcard
// and position is tried once, so its cost is bounded by the length of the
// tokens times that of the path.
type split struct {
	tokens []token
	path   string
	work   *Work
	start  []int    // where each token begins, and the end
	tried  []uint64 // bit token*(len(path)+1)+position
}

func newSplit(tokens []token, path string, w *Work) *split {
	return &split{
		tokens: tokens,
		path:   path,
		work:   w,
		start:  make([]int, len(tokens)+1),
		tried:  make([]uint64, (len(tokens)*(len(path)+1)+63)/64),
	}
}

// from matches the tokens from t on with the path from i on, and leaves in
// start where each begins.
func (s *split) from(t, i int) bool {
	for ; t < len(s.tokens); t++ {
		s.start[t] = i
		if !s.work.Take(1) {
			return false
		}
		switch tok := &s.tokens[t]; tok.kind {
		case restToken:
			s.start[t+1] = len(s.path)
			return true
		case starToken:
			return s.fromStar(t, i)
		case foldersToken:
			return s.fromFolders(t, i)
		case literalToken, slashToken, runeToken, classToken, braceToken:
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
func (t *token) length(path string) int {
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
	case literalToken, starToken, foldersToken, restToken, braceToken:
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
