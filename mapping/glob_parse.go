package mapping

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// A node is a token, or a brace with its alternatives.
type node struct {
	token
	alternatives [][]node // nil: a token
}

// steady says whether n means the same whatever is beside it.
func (n node) steady() bool {
	return n.alternatives == nil && (n.kind == literal || n.kind == anyRune || n.kind == class)
}

// globParser reads a pattern as doublestar does.
type globParser struct {
	rest    string
	offset  int
	numbers int
	inside  int  // the number of the outermost brace that is open; 0: none
	vague   bool // doublestar may read a brace and what is beside it as one
}

func (p *globParser) pattern() ([]node, error) {
	if p.rest == "" {
		return nil, errors.New(`is empty; write "**" for every file`)
	}
	nodes, err := p.sequence()
	if err == nil && p.rest != "" { // a "}" ends a sequence
		err = errors.New(`has a "}" without a "{" before it; write "\}" for the character itself`)
	}
	return nodes, err
}

// sequence reads up to the end or, inside a brace, up to "," or "}".
func (p *globParser) sequence() ([]node, error) {
	var nodes []node
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == '}', c == ',' && p.inside > 0:
			return nodes, nil
		case c == '{':
			brace, err := p.brace()
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, brace)
		default:
			tok, err := p.token()
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, node{token: tok})
		}
	}
	return nodes, nil
}

func (p *globParser) brace() (node, error) {
	outer := p.inside
	if outer == 0 {
		p.numbers++
		p.inside = p.numbers
	}
	var alternatives [][]node
	for {
		p.take(1) // "{" or ","
		nodes, err := p.sequence()
		if err != nil {
			return node{}, err
		}
		alternatives = append(alternatives, nodes)
		p.vague = p.vague || len(nodes) == 0 || !nodes[0].steady() || !nodes[len(nodes)-1].steady()
		if p.rest == "" {
			return node{}, errors.New(`has a "{" without a "}" after it; write "\{" for the character itself`)
		}
		if p.rest[0] == '}' {
			p.take(1)
			p.inside = outer
			return node{alternatives: alternatives}, nil
		}
	}
}

func (p *globParser) token() (token, error) {
	t := token{offset: p.offset}
	switch p.rest[0] {
	case '*':
		t.kind = star
		t.text = p.take(1)
		if strings.HasPrefix(p.rest, "*") {
			t.text += p.take(1)
		}
	case '?':
		t.kind = anyRune
		t.text = p.take(1)
	case '[':
		n, err := classLength(p.rest)
		if err != nil {
			return token{}, err
		}
		t.kind = class
		t.text = p.take(n)
	default:
		return p.literal()
	}
	t.number = p.number()
	return t, nil
}

// number is that of a wildcard which stands here.
func (p *globParser) number() int {
	if p.inside == 0 {
		p.numbers++
		return p.numbers
	}
	return p.inside
}

// literal reads a slash, an escaped character, or the characters up to the
// next one that means something.
func (p *globParser) literal() (token, error) {
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
		t.kind, t.text = slash, escape+text
	default:
		t.kind, t.text = literal, string(r)
	}
	return t, nil
}

// special says whether r may be more than itself.
func special(r rune) bool {
	switch r {
	case '*', '?', '[', '{', '}', ',', '/', '\\', utf8.RuneError:
		return true
	}
	return false
}

func (p *globParser) take(n int) string {
	text := p.rest[:n]
	p.rest = p.rest[n:]
	p.offset += n
	return text
}

// classLength gives the length of the "[…]" at the beginning of s.
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

// writeOut gives the patterns without braces that nodes stand for.
func writeOut(nodes []node) ([][]token, error) {
	if n, size := writtenSize(nodes); n > maxGlobAlternatives || size > maxGlobWritten {
		return nil, errors.New("has braces that stand for too many combinations; write several globs")
	}
	all := combine(nodes)
	for _, tokens := range all {
		if err := resolve(tokens); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// writtenSize counts the combinations and their tokens, up to just above the
// bounds.
func writtenSize(nodes []node) (n, size int) {
	n = 1
	for _, x := range nodes {
		an, asize := 1, 1
		if x.alternatives != nil {
			an, asize = 0, 0
			for _, alternative := range x.alternatives {
				bn, bsize := writtenSize(alternative)
				an += bn
				asize += bsize
			}
		}
		size = min(size*an+asize*n, maxGlobWritten+1)
		n = min(n*an, maxGlobAlternatives+1)
	}
	return n, size
}

func combine(nodes []node) [][]token {
	all := [][]token{make([]token, 0, len(nodes))}
	for _, x := range nodes {
		if x.alternatives == nil {
			for i := range all {
				all[i] = append(all[i], x.token)
			}
			continue
		}
		var longer [][]token
		for _, alternative := range x.alternatives {
			for _, end := range combine(alternative) {
				for _, begin := range all {
					longer = append(longer, slices.Concat(begin, end))
				}
			}
		}
		all = longer
	}
	return all
}

// resolve says what each "**" means where it stands.
func resolve(tokens []token) error {
	for i := range tokens {
		t := &tokens[i]
		if t.kind != star {
			continue
		}
		if i > 0 && tokens[i-1].kind == star && tokens[i-1].offset+len(tokens[i-1].text) != t.offset {
			return errors.New(`has a "*" at the edge of a brace and another one beside it; leave one of them out`)
		}
		if t.text == "**" && (i == 0 || tokens[i-1].kind == slash) {
			t.kind = starStar(tokens[i+1:])
		}
	}
	for _, n := range []int{2, 3} {
		if i := len(tokens) - n; i >= 0 && tokens[i].kind == slash && (tokens[i+1].kind == rest || tokens[i+1].kind == folders) {
			tokens[i].mayEnd = true
		}
	}
	return nil
}

// starStar says what a "**" at the start of a segment means before tokens.
func starStar(tokens []token) tokenKind {
	switch {
	case len(tokens) == 0:
		return rest
	case tokens[0].kind == slash && tokens[0].text == "/":
		return folders
	default:
		return star
	}
}
