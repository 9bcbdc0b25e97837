package glob

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// A node is a token, or a brace with its alternatives.
type node struct {
	token
	alternatives []sequence // nil: the node is a token
	combinations int        // of all alternatives together; 0 for a token
}

// A sequence is a whole pattern, or one alternative of a brace. It counts the ways to
// expand its braces, and the tokens of all of them. Both counts stop at one above their
// bounds, so they can't overflow; parser.pattern refuses a pattern that gets there.
type sequence struct {
	nodes                []node
	combinations, tokens int
}

// add appends a node and updates the counts. Alternatives of one brace add up; neighbours
// multiply.
func (s *sequence) add(n node) {
	combinations, tokens := 1, 1
	if n.alternatives != nil {
		combinations, tokens = 0, 0
		for _, a := range n.alternatives {
			combinations += a.combinations
			tokens += a.tokens + a.combinations // and the brace itself, each time
		}
		n.combinations = combinations
	}
	s.nodes = append(s.nodes, n)
	s.tokens = min(s.tokens*combinations+tokens*s.combinations, maxTokens+1)
	s.combinations = min(s.combinations*combinations, maxCombinations+1)
}

// appendRun appends the tokens of combination k, which counts from 0. If braces is true,
// it appends a braceToken wherever a brace opens. Each brace takes its choice as the
// remainder of k by its own number of combinations, and leaves the quotient to the next.
func (s *sequence) appendRun(dst []token, k int, braces bool) []token {
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.alternatives == nil {
			dst = append(dst, n.token)
			continue
		}
		if braces {
			dst = append(dst, token{kind: braceToken})
		}
		choice := k % n.combinations
		k /= n.combinations
		for j := range n.alternatives {
			a := &n.alternatives[j]
			if choice < a.combinations {
				dst = a.appendRun(dst, choice, braces)
				break
			}
			choice -= a.combinations
		}
	}
	return dst
}

// appendWithoutBraces appends the tokens of a run except its braceTokens.
func appendWithoutBraces(dst, run []token) []token {
	for _, t := range run {
		if t.kind != braceToken {
			dst = append(dst, t)
		}
	}
	return dst
}

// steady reports whether n means the same whatever stands beside it. A star, a slash or a
// brace may not.
func (n node) steady() bool {
	return n.alternatives == nil && (n.kind == literalToken || n.kind == runeToken || n.kind == classToken)
}

// parser reads a pattern as doublestar does.
type parser struct {
	rest    string // not read yet
	offset  int    // read so far, in bytes
	numbers int    // wildcards that have a number so far
	inside  int    // the number of the outermost open brace; 0: none is open
	vague   bool   // doublestar may read the edge of a brace and its neighbour as one, such as two stars
}

// pattern reads the whole pattern and refuses one that exceeds the bounds.
func (p *parser) pattern() (sequence, error) {
	if p.rest == "" {
		return sequence{}, errors.New(`is empty; write "**" for every file`)
	}
	s, err := p.sequence()
	if err == nil && p.rest != "" { // a "}" ends a sequence
		err = errors.New(`has a "}" without a "{" before it; write "\}" for the character itself`)
	}
	if err == nil && (s.combinations > maxCombinations || s.tokens > maxTokens) {
		err = errors.New("has braces that stand for too many combinations; write several globs")
	}
	return s, err
}

// sequence reads up to the end of the pattern or, inside a brace, up to a "," or "}",
// which it leaves to its caller. It recurses into braces; they can't nest deeper than
// MaxBytes, which Compile has checked.
func (p *parser) sequence() (sequence, error) {
	s := sequence{combinations: 1}
	if p.inside == 0 {
		s.nodes = make([]node, 0, 8) // most patterns have no more
	}
	for p.rest != "" {
		var n node
		var err error
		switch c := p.rest[0]; {
		case c == '}', c == ',' && p.inside > 0:
			return s, nil
		case c == '{':
			n, err = p.brace()
		default:
			n.token, err = p.token()
		}
		if err != nil {
			return s, err
		}
		s.add(n)
	}
	return s, nil
}

// brace reads a brace, whose "{" comes next. Only the outermost brace takes a number:
// everything inside shares it.
func (p *parser) brace() (node, error) {
	outer := p.inside
	if outer == 0 {
		p.numbers++
		p.inside = p.numbers
	}
	var n node
	for {
		p.take(1) // "{" or ","
		s, err := p.sequence()
		if err != nil {
			return n, err
		}
		n.alternatives = append(n.alternatives, s)
		// An empty alternative makes neighbours of what stands before and after the
		// brace.
		p.vague = p.vague || len(s.nodes) == 0 || !s.nodes[0].steady() || !s.nodes[len(s.nodes)-1].steady()
		if p.rest == "" {
			return n, errors.New(`has a "{" without a "}" after it; write "\{" for the character itself`)
		}
		if p.rest[0] == '}' {
			p.take(1)
			p.inside = outer
			return n, nil
		}
	}
}

// token reads one token that is no brace.
func (p *parser) token() (token, error) {
	t := token{offset: p.offset}
	switch p.rest[0] {
	case '*':
		t.kind = starToken
		t.text = p.take(1)
		if strings.HasPrefix(p.rest, "*") {
			t.text += p.take(1)
		}
	case '?':
		t.kind = runeToken
		t.text = p.take(1)
	case '[':
		n, err := classLength(p.rest)
		if err != nil {
			return token{}, err
		}
		t.kind = classToken
		t.text = p.take(n)
		t.wide = t.length("/") >= 0
	default:
		return p.literal()
	}
	t.number = p.number()
	return t, nil
}

// number returns the number of a wildcard that stands here: a new one, or that of the
// outermost open brace.
func (p *parser) number() int {
	if p.inside == 0 {
		p.numbers++
		return p.numbers
	}
	return p.inside
}

// literal reads a slash, an escaped character, or the characters up to the next special
// one. A literal of U+FFFD is wide: it matches any invalid byte.
func (p *parser) literal() (token, error) {
	t := token{offset: p.offset, number: p.inside}
	if n := strings.IndexFunc(p.rest, special); n != 0 {
		if n < 0 {
			n = len(p.rest)
		}
		t.text = p.take(n)
		return t, nil
	}
	escape := ""
	if p.rest[0] == '\\' {
		escape = p.take(1)
		if p.rest == "" {
			return token{}, errors.New(`ends with "\", which makes the next character an ordinary one; write "\\" for the character itself`)
		}
	}
	r, n := utf8.DecodeRuneInString(p.rest)
	text := p.take(n)
	switch r {
	case '/':
		t.kind, t.text = slashToken, escape+text
	default:
		t.kind, t.text, t.wide = literalToken, string(r), r == utf8.RuneError
	}
	return t, nil
}

// special reports whether r may mean something other than itself, or must be a token of
// its own.
func special(r rune) bool {
	switch r {
	case '*', '?', '[', '{', '}', ',', '/', '\\', utf8.RuneError:
		return true
	}
	return false
}

// take reads n bytes and returns them.
func (p *parser) take(n int) string {
	text := p.rest[:n]
	p.rest = p.rest[n:]
	p.offset += n
	return text
}

// classLength returns the length of the "[…]" at the beginning of s, in bytes. A "]"
// after a backslash does not end it.
func classLength(s string) (int, error) {
	i := 1
	if strings.HasPrefix(s[i:], "^") || strings.HasPrefix(s[i:], "!") {
		i++
	}
	if strings.HasPrefix(s[i:], "]") {
		return 0, errors.New(`has a "[…]" with nothing in it; write "\[" for the character itself`)
	}
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ']':
			return i + 1, nil
		}
	}
	return 0, errors.New(`has a "[" without a "]" after it; write "\[" for the character itself`)
}

// touching reports whether two stars stand side by side that are apart in the pattern as
// written. doublestar expands a brace as text and would read "**" there.
func touching(tokens []token) bool {
	for i := 1; i < len(tokens); i++ {
		a, b := tokens[i-1], tokens[i]
		if a.kind == starToken && b.kind == starToken && a.offset+len(a.text) != b.offset {
			return true
		}
	}
	return false
}

// resolve decides what each "**" means where it stands, and changes the tokens in place.
// It expects tokens without braces.
func resolve(tokens []token) {
	for i, t := range tokens {
		if t.text == "**" && (i == 0 || tokens[i-1].kind == slashToken) {
			tokens[i].kind = starStar(tokens[i+1:])
		}
	}
	markEnd(tokens)
}

// markEnd marks the slash that the path may lack at its end. "a/**" and "a/**/" match
// "a"; by doublestar's rules "a**/" does too.
func markEnd(tokens []token) {
	n := len(tokens)
	switch {
	case n >= 2 && tokens[n-1].kind == restToken && tokens[n-2].kind == slashToken:
		tokens[n-2].mayEnd = true
	case n >= 3 && tokens[n-2].kind == foldersToken && tokens[n-3].kind == slashToken:
		tokens[n-3].mayEnd = true
	case n >= 2 && tokens[n-1].kind == slashToken && tokens[n-2].text == "**":
		tokens[n-1].mayEnd = true
	}
}

// starStar tells what a "**" at the start of a segment means if tokens follow it. An
// escaped slash after it makes it a plain star.
func starStar(tokens []token) tokenKind {
	switch {
	case len(tokens) == 0:
		return restToken
	case tokens[0].kind == slashToken && tokens[0].text == "/":
		return foldersToken
	default:
		return starToken
	}
}
