// Package glob parses doublestar's globs, numbers their wildcards and matches them
// against paths. The cost of a match is counted in steps and bounded, even for a glob
// that somebody writes to be slow. Every glob that a user can send goes through Compile:
// globs in rules files, comments, policy and on the command line.
//
// A path matches exactly when doublestar says so, corner cases included. Tests and
// fuzzing compare the two. The package does not call doublestar to match a path: such a
// call can't be interrupted, and the braces of a short glob keep it busy for a tenth of a
// millisecond per path.
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

// Bounds on one glob. Match tries each combination of brace alternatives by itself, so
// the number of combinations bounds what one path can cost.
const (
	MaxBytes        = 500 // of the pattern
	maxCombinations = 250
	maxTokens       = 4_000 // of all combinations together, braces included
	keptTokens      = 128   // a glob with more tokens does not keep its runs; Match rebuilds them for each path
)

// A Glob is one pattern whose wildcards are numbered from the left, beginning with 1. A
// brace outside all others counts as one wildcard, together with everything in it. A Glob
// does not change after Compile, so several goroutines may use it at once.
type Glob struct {
	pattern string
	head    string    // the text before the first wildcard …
	tail    string    // … and the text after the last one
	numbers int       // how many wildcards are numbered
	parsed  sequence  // the pattern as a tree
	plain   []token   // the resolved tokens, if there is only one combination; else nil
	kept    [][]token // one run for each combination; nil if they exceed keptTokens
	exact   bool      // for every path that git allows, the resolved tokens match exactly when doublestar does
}

// Compile parses a pattern. The text of its error ends a sentence that begins with "the
// glob …". It says what is wrong with the pattern and what to write instead.
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
	// The parser reports what it can in better words. This catches the rest, because
	// matching hands classes to doublestar without validating them.
	if !doublestar.ValidatePattern(pattern) {
		return nil, errors.New("is not complete: a bracket or a brace is open, or it ends with a backslash")
	}
	return g, nil
}

// meta holds the characters with which a glob begins anything that is not literal text.
const meta = `*?[{\`

// IsPattern reports whether a text contains a character that a glob does not take
// literally.
func IsPattern(s string) bool { return strings.ContainsAny(s, meta) }

// inspect expands each combination once. It refuses stars that only meet through a brace,
// and it prepares what Match and Index use: kept, plain and exact.
func (g *Glob) inspect() error {
	size := g.parsed.tokens/g.parsed.combinations + 1
	run, tokens := make([]token, 0, size), make([]token, 0, size)
	keep := g.parsed.tokens <= keptTokens
	if keep {
		g.kept = make([][]token, 0, g.parsed.combinations)
	}
	for k := range g.parsed.combinations {
		// g.kept holds the last run, so its memory can't be used again.
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
	// Nothing overwrites tokens after the only combination, so plain may keep it.
	if g.parsed.combinations == 1 {
		g.plain = tokens
	}
	return nil
}

// written ranges over the combinations and yields the resolved tokens of each, without
// braces. Except for plain they are not stored but made on each call: the globs of a
// hostile file could have millions.
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

// String returns the pattern as it was written.
func (g *Glob) String() string { return g.pattern }

// Wildcards returns how many wildcards are numbered.
func (g *Glob) Wildcards() int { return g.numbers }

// Combinations returns in how many ways the braces can be expanded.
func (g *Glob) Combinations() int { return g.parsed.combinations }

// Captures returns what each numbered wildcard took of path, which should be one that
// Match accepts. It returns nil if the glob has no wildcards or no split is found. Once
// the work has run out, the result means nothing.
//
// Where a path can be split in several ways, an earlier wildcard takes as little as it
// can. The same order decides between combinations.
func (g *Glob) Captures(path string, w *Work) []string {
	if g.numbers == 0 {
		return nil
	}
	var best []string
	for tokens := range g.written() {
		if !w.Take(len(tokens) * (8 + len(path)/64)) { // in proportion to what newSplit allocates
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

// byLength orders two captures: the shorter one comes first.
func byLength(a, b string) int { return cmp.Compare(len(a), len(b)) }

// vague reports whether resolved tokens may accept a path that doublestar refuses.
func vague(tokens []token) bool {
	for i, t := range tokens {
		begin := i == 0 || tokens[i-1].kind == slashToken
		switch {
		case t.wide, // doublestar goes astray after a class that takes a slash
			// A slash at either end, two in a row, or an escaped one. This line also
			// makes sure that i > 0 on the next one: a first token with mayEnd is a slash
			// that begins.
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
	text   string // of a literal: the text that it stands for; else as written
	number int    // of the wildcard that it is, or is part of; 0: none
	offset int    // where it begins in the pattern, in bytes
	kind   tokenKind
	wide   bool // it may match a slash, or text other than its own
	mayEnd bool // only of a slash: the path may end before it
}

// tokenKind is what a token matches. The parser makes a starToken of every "**": only
// resolve and afterStars know what it means where it stands.
type tokenKind uint8

const (
	literalToken tokenKind = iota // text without a slash
	slashToken                    // "/" or "\/"
	runeToken                     // ?
	classToken                    // [a-z]; it may match a slash where doublestar lets it
	starToken                     // *, and a ** that means the same
	foldersToken                  // ** before a slash: any number of folders; for none, the slash takes nothing either
	restToken                     // ** as the last segment: the rest of the path
	braceToken                    // only in runs: a brace opens here
)

// A split is one attempt to match resolved tokens with a path, and to find where each
// token begins. It tries every pair of wildcard and position once, so its cost is bounded
// by the number of tokens times the length of the path.
type split struct {
	tokens []token
	path   string
	work   *Work
	start  []int    // where each token begins, in bytes; one more entry for the end
	tried  []uint64 // a bit set; the bit of a pair is token*(len(path)+1)+position
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

// from matches the tokens from t on with the path from byte i on. It records in s.start
// where each token begins. It loops over tokens of a fixed length and recurses only at a
// star or "**", so its depth is bounded by their number. It returns false if the work has
// run out.
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

// fromStar tries every end of the star t, from i up to the next slash. It begins with the
// shortest: that is why an earlier wildcard takes as little as it can.
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

// fromFolders matches a "**" before a slash. It tries the tokens after that slash, t+2,
// at i and then at the start of every later segment.
func (s *split) fromFolders(t, i int) bool {
	for next := i; s.first(t, next); {
		if s.from(t+2, next) {
			// The slash is the byte before next. Where next is i, neither "**" nor the
			// slash takes anything, and both begin at i.
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

// first reports whether the wildcard t was not yet tried with an end at i, and notes that
// it now is. A second try is useless: the first one went on to all later ends and failed.
func (s *split) first(t, i int) bool {
	bit := t*(len(s.path)+1) + i
	if s.tried[bit/64]&(1<<(bit%64)) != 0 {
		return false
	}
	s.tried[bit/64] |= 1 << (bit % 64)
	return true
}

// captures returns what the tokens of each number took together. Tokens of one number are
// neighbours: a wildcard, or everything in a brace. An empty alternative takes "".
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

// length returns how many bytes at the beginning of path a token of fixed length takes,
// or -1 if it does not match. The callers handle stars themselves.
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
		// doublestar gets a class and one character, never a pattern, so this call is
		// bounded.
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

// replacement is what doublestar reads for every invalid byte, in the pattern and in the
// path. So the character in a pattern matches any invalid byte.
const replacement = string(utf8.RuneError)
