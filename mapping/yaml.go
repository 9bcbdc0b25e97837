package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	yamltoken "github.com/goccy/go-yaml/token"
)

// Bounds on what a rules file may cost to read. They are far above what
// people write (a rule has about 30 tokens) and stop files that are made to hurt.
const (
	maxBytes   = 1 << 20 // of the file
	maxTokens  = 150_000
	maxDepth   = 20
	maxKeys    = 2_000   // of one mapping; the parser compares each with each
	maxNodes   = 300_000 // after aliases are followed
	maxFaults  = 500
	maxAliases = 1_000
	maxNothing = 1_000 // keys without a value; each costs the parser a copy of all tokens
)

// kind is the shape of a YAML value, named as people are told of it.
type kind string

const (
	isText    kind = "text"
	isNumber  kind = "a number"
	isBool    kind = "true or false"
	isNothing kind = "nothing"
	isList    kind = "a list"
	isMapping kind = "a group of keys"
	isBroken  kind = "broken" // a fault says why; no other fault is told of it
)

// yamlNode is one YAML value and its place: the value's own, or, for a block
// mapping, its first key's.
type yamlNode struct {
	kind      kind
	text      string // of a scalar
	items     []*yamlNode
	pairs     []yamlPair
	line, col int
}

type yamlPair struct{ key, value *yamlNode }

// collector gathers faults, up to maxFaults.
type collector struct{ faults Faults }

func (c *collector) add(line, col int, s Severity, format string, args ...any) {
	if len(c.faults) > maxFaults {
		return
	}
	f := Fault{Line: max(line, 1), Column: max(col, 1), Severity: s, Message: fmt.Sprintf(format, args...)}
	if len(c.faults) == maxFaults {
		f.Severity, f.Message = Error, "there are more faults: mend these first"
	}
	c.faults = append(c.faults, f)
}

func (c *collector) errorf(at *yamlNode, format string, args ...any) {
	if at.kind != isBroken {
		c.add(at.line, at.col, Error, format, args...)
	}
}

func (c *collector) warnf(at *yamlNode, format string, args ...any) {
	c.add(at.line, at.col, Warning, format, args...)
}

// readYAML reads the one document of a file. It is nil if the file is no
// YAML that purgebot accepts; the faults say why.
func readYAML(src []byte, c *collector) *yamlNode {
	text, ok := plainText(src, c)
	if !ok {
		return nil
	}
	tokens := joinColons(lexer.Tokenize(text))
	before := len(c.faults)
	if checkTokens(tokens, c); len(c.faults) > before {
		return nil
	}
	file, err := parse(tokens)
	if err != nil {
		c.syntaxError(err, text)
		return nil
	}
	if len(file.Docs) > 1 {
		at := file.Docs[1].Start
		if at == nil {
			at = file.Docs[1].GetToken()
		}
		c.add(at.Position.Line, at.Position.Column, Error,
			"a second document begins here: a rules file is one document, remove the --- and what follows")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		c.add(1, 1, Error, "the file is empty: it needs version, environments and rules")
		return nil
	}
	conv := converter{collector: c, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	root := conv.node(file.Docs[0].Body)
	if conv.nodes > maxNodes {
		return nil
	}
	return root
}

// joinColons makes one text of "tag:a" in a list of a group in braces, as YAML
// has it: the lexer takes any colon within braces for the end of a key.
func joinColons(tokens yamltoken.Tokens) yamltoken.Tokens {
	out := make(yamltoken.Tokens, 0, len(tokens))
	var open []yamltoken.Type // brackets and braces
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		out = append(out, tk)
		n := len(open)
		switch t := tk.Type; {
		case t == yamltoken.SequenceStartType || t == yamltoken.MappingStartType:
			open = append(open, t)
		case t == yamltoken.SequenceEndType || t == yamltoken.MappingEndType:
			open = open[:max(n-1, 0)]
		case n == 0 || open[n-1] != yamltoken.SequenceStartType || i+2 >= len(tokens):
		case isOneWord(tk, tokens[i+1], tokens[i+2]):
			join(tk, tokens[i+1], tokens[i+2])
			i += 2
		}
	}
	return out
}

// join makes one token of three.
func join(key, colon, rest *yamltoken.Token) {
	key.Type, key.CharacterType = yamltoken.StringType, yamltoken.CharacterTypeMiscellaneous
	key.Value += colon.Value + rest.Value
	key.Origin += colon.Origin + rest.Origin
	if key.Next = rest.Next; key.Next != nil {
		key.Next.Prev = key
	}
}

// isOneWord reports whether two texts without quotes and a colon touch.
func isOneWord(key, colon, rest *yamltoken.Token) bool {
	plain := func(t *yamltoken.Token) bool {
		return t.Indicator == yamltoken.NotIndicator && t.CharacterType == yamltoken.CharacterTypeMiscellaneous
	}
	end := key.Position.Column + utf8.RuneCountInString(key.Value)
	return colon.Type == yamltoken.MappingValueType && plain(key) && plain(rest) &&
		key.Position.Line == colon.Position.Line && colon.Position.Line == rest.Position.Line &&
		end == colon.Position.Column && colon.Position.Column+1 == rest.Position.Column
}

// parse calls the parser, which is not ours: should it panic over some file
// that nobody thought of, that file is at fault and the program goes on.
func parse(tokens yamltoken.Tokens) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("parse YAML: %v", r)
		}
	}()
	file, err = parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, fmt.Errorf("parse YAML: %w", err)
	}
	return file, nil
}

// plainText checks size and encoding, and takes away what would shift the
// parser's columns and means nothing: a byte order mark, the carriage returns
// of line ends, and blanks before them.
func plainText(src []byte, c *collector) (string, bool) {
	if len(src) > maxBytes {
		c.add(1, 1, Error, "the file has %d bytes: at most %d (1 MiB) are read", len(src), maxBytes)
		return "", false
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	line, col := 1, 1
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			c.add(line, col, Error, "this byte (0x%02X) is not UTF-8: save the file as UTF-8", src[i])
			return "", false
		case r < ' ' && r != '\n' && r != '\t', r == 0x7f, r == 0xfeff:
			c.add(line, col, Error, "the control character U+%04X is not allowed: remove it", r)
			return "", false
		}
		if col++; r == '\n' {
			line, col = line+1, 1
		}
		i += size
	}
	lines := strings.Split(string(src), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t")
	}
	return strings.Join(lines, "\n"), true
}

// tokenCheck walks the tokens before the parser does: the parser's time and
// stack depend on the file's shape in ways that a hostile file can use.
type tokenCheck struct {
	*collector
	blocks  []block // open block collections, outermost first
	flow    []int   // keys and commas in each open flow collection
	aliases int
	nothing int
}

type block struct{ col, keys int }

func checkTokens(tokens yamltoken.Tokens, c *collector) {
	if len(tokens) > maxTokens {
		c.add(1, 1, Error, "the file has too many values (%d pieces, at most %d)", len(tokens), maxTokens)
		return
	}
	t := tokenCheck{collector: c}
	for _, tk := range tokens {
		if !t.token(tk) {
			return
		}
	}
}

// token looks at one token and reports whether to go on.
func (t *tokenCheck) token(tk *yamltoken.Token) bool {
	bad := func(format string, args ...any) bool {
		t.add(tk.Position.Line, tk.Position.Column, Error, format, args...)
		return false
	}
	switch tk.Type { //nolint:exhaustive // the others cost the parser nothing
	case yamltoken.TagType:
		return bad("YAML tags (%s) are not supported: put a value that begins with ! in quotes", tk.Value)
	case yamltoken.DirectiveType:
		return bad("a value that begins with %% must stand in quotes")
	case yamltoken.MappingKeyType:
		return bad("a value that begins with ? must stand in quotes")
	case yamltoken.MergeKeyType:
		return bad("merge keys (<<) are not supported: write the keys out")
	case yamltoken.AliasType:
		if t.aliases++; t.aliases > maxAliases {
			return bad("too many aliases (at most %d)", maxAliases)
		}
	case yamltoken.SequenceStartType, yamltoken.MappingStartType:
		t.flow = append(t.flow, 0)
	case yamltoken.SequenceEndType, yamltoken.MappingEndType:
		t.flow = t.flow[:max(len(t.flow)-1, 0)]
	case yamltoken.SequenceEntryType:
		if p := tk.Prev; p != nil && p.Type == tk.Type && p.Position.Line < tk.Position.Line && p.Position.Column >= tk.Position.Column {
			t.add(p.Position.Line, p.Position.Column, Error, "an empty entry of a list: remove the -")
			return false
		}
		t.enter(tk.Position.Column)
	case yamltoken.CollectEntryType:
		if p := tk.Prev; p != nil && (p.Type == tk.Type || p.Type == yamltoken.SequenceStartType || p.Type == yamltoken.MappingStartType) {
			return bad("an empty entry of a list: remove the comma")
		}
	case yamltoken.MappingValueType:
		if t.key(tk) > maxKeys {
			return bad("too many keys in one place (at most %d)", maxKeys)
		}
		if hasNothing(tk) {
			if t.nothing++; t.nothing > maxNothing {
				return bad("too many keys without a value (at most %d)", maxNothing)
			}
		}
	}
	if len(t.flow)+len(t.blocks) > maxDepth {
		return bad("nested too deeply (at most %d levels)", maxDepth)
	}
	return true
}

// hasNothing reports whether no value follows a key's ":".
func hasNothing(colon *yamltoken.Token) bool {
	key, next := colon.Prev, colon.Next
	for next != nil && next.Type == yamltoken.CommentType {
		next = next.Next
	}
	switch {
	case key == nil || next == nil, next.Type == yamltoken.CollectEntryType:
		return true
	case next.Position.Line == colon.Position.Line:
		return false
	case next.Type == yamltoken.SequenceEntryType:
		return next.Position.Column < key.Position.Column
	}
	return next.Position.Column <= key.Position.Column
}

// key counts the key before a ":" and gives the number of keys beside it.
func (t *tokenCheck) key(colon *yamltoken.Token) int {
	if n := len(t.flow); n > 0 {
		t.flow[n-1]++
		return t.flow[n-1]
	}
	key := colon.Prev
	if key == nil {
		key = colon
	}
	b := t.enter(key.Position.Column)
	b.keys++
	return b.keys
}

// enter closes the block collections that are indented more than col and
// opens one at col if there is none.
func (t *tokenCheck) enter(col int) *block {
	n := len(t.blocks)
	for n > 0 && t.blocks[n-1].col > col {
		n--
	}
	t.blocks = t.blocks[:n]
	if n == 0 || t.blocks[n-1].col < col {
		t.blocks = append(t.blocks, block{col: col})
	}
	return &t.blocks[len(t.blocks)-1]
}

// converter turns the parser's tree into nodes, following aliases within
// bounds.
type converter struct {
	*collector
	anchors map[string]ast.Node
	open    map[string]bool // anchors whose value is being converted
	nodes   int
}

// node converts one value.
func (c *converter) node(n ast.Node) *yamlNode {
	pos := n.GetToken().Position
	out := &yamlNode{line: pos.Line, col: pos.Column}
	if c.nodes++; c.nodes > maxNodes {
		if c.nodes == maxNodes+1 {
			c.errorf(out, "too many values, aliases counted each time they are used (at most %d)", maxNodes)
		}
		out.kind = isBroken
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(out, n)
	case *ast.MappingValueNode:
		return c.mapping(out, &ast.MappingNode{Values: []*ast.MappingValueNode{n}})
	case *ast.SequenceNode:
		out.kind = isList
		for _, item := range n.Values {
			out.items = append(out.items, c.node(item))
		}
	case *ast.AnchorNode:
		return c.anchor(out, n)
	case *ast.AliasNode:
		return c.alias(out, n)
	case *ast.StringNode:
		out.kind, out.text = isText, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = isText, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = isNumber, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = isBool, n.GetToken().Value
	case *ast.NullNode:
		out.kind = isNothing
	default:
		return c.broken(out, "this is not a value that a rules file can hold")
	}
	return out
}

func (c *converter) broken(n *yamlNode, format string, args ...any) *yamlNode {
	c.errorf(n, format, args...)
	n.kind = isBroken
	return n
}

func (c *converter) mapping(out *yamlNode, m *ast.MappingNode) *yamlNode {
	out.kind = isMapping
	for i, v := range m.Values {
		key := c.node(v.Key)
		if key.kind == isList || key.kind == isMapping || key.kind == isBroken {
			c.errorf(key, "a key must be text, not %s: put it in quotes", key.kind)
			continue
		}
		if i == 0 && !m.IsFlowStyle {
			out.line, out.col = key.line, key.col
		}
		value := c.node(v.Value)
		if v.Value.GetToken().Type == yamltoken.ImplicitNullType {
			value.line, value.col = key.line, key.col // it is not written at all
		}
		out.pairs = append(out.pairs, yamlPair{key, value})
	}
	return out
}

func (c *converter) anchor(out *yamlNode, n *ast.AnchorNode) *yamlNode {
	name := n.Name.GetToken().Value
	c.anchors[name] = n.Value
	if c.open[name] {
		return c.broken(out, "the anchor &%s stands inside itself", name)
	}
	c.open[name] = true
	defer delete(c.open, name)
	return c.node(n.Value)
}

func (c *converter) alias(out *yamlNode, n *ast.AliasNode) *yamlNode {
	name := n.Value.GetToken().Value
	value, ok := c.anchors[name]
	switch {
	case !ok:
		return c.broken(out, "a value that begins with * must stand in quotes: \"*%s\"", name)
	case c.open[name]:
		return c.broken(out, "the alias *%s stands inside its own anchor &%s", name, name)
	}
	c.open[name] = true
	defer delete(c.open, name)
	return c.node(value)
}

// syntaxError says in our words what the parser found.
func (c *collector) syntaxError(err error, text string) {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil {
		c.add(1, 1, Error, "this is not YAML: check indentation, colons, quotes and brackets")
		return
	}
	pos := syntax.Token.Position
	c.add(pos.Line, pos.Column, Error, "%s", syntaxWords(syntax, lineOf(text, pos.Line)))
}

func lineOf(text string, line int) string {
	for range line - 1 {
		_, text, _ = strings.Cut(text, "\n")
	}
	text, _, _ = strings.Cut(text, "\n")
	return text
}

// syntaxWords picks the likeliest cause from the parser's message and the
// line at fault.
func syntaxWords(e *yaml.SyntaxError, line string) string {
	has := func(s string) bool { return strings.Contains(e.Message, s) }
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"), has("tab character"):
		return "a tab: YAML is indented with spaces"
	case has("single-quoted"), has("double-quoted"):
		return "the quote that opens here is never closed"
	case has("escape"):
		return `this \ escape is not known between double quotes: use single quotes, or write \\`
	case unquotedGlob(line):
		return "a value that begins with *, {, [, @, % or & must stand in quotes, as \"**/*.md\""
	case has("sequence end token"), has("']'"):
		return "the list that opens with [ is not closed with ], or a comma is missing before this (put text with braces in quotes)"
	case has("'}'"), has("flow map"), has("mapping end"):
		return "the { is not closed with }, or a comma is missing before this (put text with braces in quotes)"
	case has("mapping value is not allowed"):
		return "a second \": \" in one line: put the value in quotes"
	case has("key name"), has("map key"):
		return "this is not a \"key: value\" pair: is the colon missing, or the indentation wrong?"
	case has("value is not allowed"), has("not allowed in this context"):
		return "this does not belong here: its indentation does not fit the lines above"
	}
	return "this is not YAML: check indentation, colons, quotes and brackets"
}

// unquotedGlob reports whether a value of the line looks like a glob or a
// template that lacks its quotes.
func unquotedGlob(line string) bool {
	s := strings.TrimSpace(line)
	for strings.HasPrefix(s, "- ") {
		s = strings.TrimSpace(s[2:])
	}
	if _, v, ok := strings.Cut(s, ": "); ok {
		s = strings.TrimSpace(v)
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		for item := range strings.SplitSeq(s[1:len(s)-1], ",") {
			if bareGlob(strings.TrimSpace(item)) {
				return true
			}
		}
		return false
	}
	return bareGlob(s)
}

func bareGlob(s string) bool {
	if s == "" || !strings.ContainsRune("*{[@%&`", rune(s[0])) {
		return false
	}
	return s[0] != '{' && s[0] != '[' ||
		!strings.HasSuffix(s, "}") && !strings.HasSuffix(s, "]") && strings.ContainsAny(s, "}]")
}
