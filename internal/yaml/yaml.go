// Package yaml reads a YAML document into a tree of values that know their place in the
// text. It reports what is wrong, with its place, in words for the author of the
// document.
//
// It is pure, and its input may come from a stranger. The parser is a library whose time
// and stack depend on the shape of the text. So size, depth, aliases and keys are bounded
// before the parser sees the text. The package accepts less than YAML: no tags, no merge
// keys, no second document. Keys may repeat, since the caller can report that in better
// words.
package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	goyaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	yamltoken "github.com/goccy/go-yaml/token"
)

// Bounds on what a text may cost to read. They are far above what people write (a rule
// has about 30 tokens) and stop texts that are made to do harm.
const (
	maxBytes   = 1 << 20 // of the file
	maxTokens  = 150_000 // as the lexer counts them
	maxDepth   = 20      // collections within each other
	maxKeys    = 2_000   // of one mapping; the parser compares each with each
	maxNodes   = 300_000 // of the tree, aliases followed
	maxAliases = 1_000
	maxNothing = 1_000 // keys without a value; each costs the parser a copy of all tokens
)

// Kind is the shape of a value. Its text is what messages to people say.
type Kind string

// The kinds of values.
const (
	Text    Kind = "text"
	Number  Kind = "a number"
	Bool    Kind = "true or false"
	Nothing Kind = "nothing"
	List    Kind = "a list"
	Mapping Kind = "a group of keys"
	Broken  Kind = "broken" // a fault says why; nothing more should be reported about it
)

// Place is where something is written.
type Place struct {
	File      string // as the caller named it
	Line, Col int    // counted from 1, Col in characters; 0: not known
}

// Node is one value and its place. The place is the value's own; for a block mapping it
// is that of its first key.
type Node struct {
	Place
	Kind  Kind
	Text  string  // of a scalar: text without its quotes, other kinds as they are written
	Items []*Node // of a List
	Pairs []Pair  // of a Mapping, as they are written; a key may repeat
}

// Pair is a key of a mapping and its value. Neither is nil.
type Pair struct{ Key, Value *Node }

// Fault is a reason why a text, or a value in it, is not accepted.
type Fault struct {
	Place
	Message string
}

// Reader reads documents of one kind.
type Reader struct {
	Keys []string // the keys that such documents have; a typing slip is recognised by them
}

// collector gathers faults.
type collector struct {
	Reader
	file   string
	faults []Fault
}

// add adds a fault. A place that is not known becomes the first line or column.
func (c *collector) add(line, col int, format string, args ...any) {
	c.faults = append(c.faults, Fault{Place{c.file, max(line, 1), max(col, 1)}, fmt.Sprintf(format, args...)})
}

// Read reads a text with one document. file is the name that places have. The node is nil
// if nothing of the text is accepted; then there is at least one fault. A node may come
// with faults too. A text without a document gives a node of kind Nothing.
func (r Reader) Read(src []byte, file string) (*Node, []Fault) {
	c := &collector{Reader: r, file: file}
	root := c.read(src)
	return root, c.faults
}

// read goes from text to tokens, to the parser's tree and to nodes. checkTokens has to
// come before parse: it is what bounds the parser's cost.
func (c *collector) read(src []byte) *Node {
	text, ok := c.plainText(src)
	if !ok {
		return nil
	}
	tokens := joinColons(lexer.Tokenize(text))
	if checkTokens(tokens, c); len(c.faults) > 0 {
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
		c.add(at.Position.Line, at.Position.Column,
			"a second document begins here: only one is read, remove the --- and what follows")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		return &Node{Place: Place{c.file, 1, 1}, Kind: Nothing}
	}
	conv := converter{collector: c, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	root := conv.node(file.Docs[0].Body)
	// The fault is there already. The rest of the tree is missing.
	if conv.nodes > maxNodes {
		return nil
	}
	return root
}

// joinColons makes one text of "tag:a" where it stands in a list within braces, as YAML
// reads it. The lexer takes any colon within braces for the end of a key.
func joinColons(tokens yamltoken.Tokens) yamltoken.Tokens {
	out := make(yamltoken.Tokens, 0, len(tokens))
	var open []yamltoken.Type // open brackets and braces, the innermost last
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
			fuse(tk, tokens[i+1], tokens[i+2])
			i += 2
		}
	}
	return out
}

// fuse makes one token, key, of three. It also repairs the links between neighbours:
// hasNothing and others follow Prev and Next.
func fuse(key, colon, rest *yamltoken.Token) {
	key.Type, key.CharacterType = yamltoken.StringType, yamltoken.CharacterTypeMiscellaneous
	key.Value += colon.Value + rest.Value
	key.Origin += colon.Origin + rest.Origin
	if key.Next = rest.Next; key.Next != nil {
		key.Next.Prev = key
	}
}

// isOneWord reports whether the tokens are a text, a colon and a text, without quotes and
// without a space between them.
func isOneWord(key, colon, rest *yamltoken.Token) bool {
	plain := func(t *yamltoken.Token) bool {
		return t.Indicator == yamltoken.NotIndicator && t.CharacterType == yamltoken.CharacterTypeMiscellaneous
	}
	end := key.Position.Column + utf8.RuneCountInString(key.Value)
	return colon.Type == yamltoken.MappingValueType && plain(key) && plain(rest) &&
		key.Position.Line == colon.Position.Line && colon.Position.Line == rest.Position.Line &&
		end == colon.Position.Column && colon.Position.Column+1 == rest.Position.Column
}

// parse calls the parser of the library. If the parser panics on some text, the text is
// at fault and the program goes on.
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

// plainText checks size and encoding. It removes what means nothing but would shift the
// parser's columns: a byte order mark, the carriage returns of line ends, and blanks
// before line ends. A carriage return anywhere else is a control character, which is a
// fault. Lines and columns stay those that an editor shows.
func (c *collector) plainText(src []byte) (string, bool) {
	if len(src) > maxBytes {
		c.add(1, 1, "the file has %d bytes: at most %d (1 MiB) are read", len(src), maxBytes)
		return "", false
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	line, col := 1, 1
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			c.add(line, col, "this byte (0x%02X) is not UTF-8: save the file as UTF-8", src[i])
			return "", false
		case r < ' ' && r != '\n' && r != '\t', r == 0x7f, r == 0xfeff:
			c.add(line, col, "the control character U+%04X is not allowed: remove it", r)
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

// tokenCheck walks the tokens before the parser does. The parser's time and stack depend
// on the shape of the text, and a hostile file can use that.
type tokenCheck struct {
	*collector
	blocks  []block // open block collections, outermost first
	flow    []int   // keys in each open flow collection, outermost first
	aliases int     // so far
	nothing int     // keys without a value so far
}

// block is an open block collection: its column, and how many keys it has so far. A list
// has none.
type block struct{ col, keys int }

// checkTokens adds a fault for the first token that is not accepted, and stops there.
func checkTokens(tokens yamltoken.Tokens, c *collector) {
	if len(tokens) > maxTokens {
		c.add(1, 1, "the file has too many values (%d pieces, at most %d)", len(tokens), maxTokens)
		return
	}
	t := tokenCheck{collector: c}
	for _, tk := range tokens {
		if !t.token(tk) {
			return
		}
	}
}

// token counts one token. If it is not accepted, token adds a fault and returns false.
func (t *tokenCheck) token(tk *yamltoken.Token) bool {
	bad := func(format string, args ...any) bool {
		t.add(tk.Position.Line, tk.Position.Column, format, args...)
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
		// Two dashes in a row are an empty entry, unless the second opens a list in the
		// first.
		if p := tk.Prev; p != nil && p.Type == tk.Type && p.Position.Line < tk.Position.Line && p.Position.Column >= tk.Position.Column {
			t.add(p.Position.Line, p.Position.Column, "an empty entry of a list: remove the -")
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

// hasNothing reports whether the key before this ":" has no value. A value on a
// later line is indented further than its key; only the dashes of a list may stand in the
// key's own column.
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

// key counts the key before a ":". It returns how many keys that mapping has so far.
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

// enter returns the open block collection at col. It closes those that are indented
// further, and opens one at col if there is none. The pointer is valid until the next
// call.
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

// converter turns the parser's tree into nodes. It follows aliases, within bounds.
type converter struct {
	*collector
	anchors map[string]ast.Node // by name; a later anchor of the same name replaces the earlier
	open    map[string]bool     // anchors whose value is being converted: an alias to one would never end
	nodes   int                 // converted so far; an aliased value counts each time
}

// node converts one value and all below it. Beyond maxNodes it returns broken nodes at
// once, with one fault for all of them: that stops aliases within aliases.
func (c *converter) node(n ast.Node) *Node {
	pos := n.GetToken().Position
	out := &Node{Place: Place{c.file, pos.Line, pos.Column}}
	if c.nodes++; c.nodes > maxNodes {
		if c.nodes == maxNodes+1 {
			c.errorf(out, "too many values, aliases counted each time they are used (at most %d)", maxNodes)
		}
		out.Kind = Broken
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(out, n)
	case *ast.MappingValueNode:
		return c.mapping(out, &ast.MappingNode{Values: []*ast.MappingValueNode{n}})
	case *ast.SequenceNode:
		out.Kind = List
		for _, item := range n.Values {
			out.Items = append(out.Items, c.node(item))
		}
	case *ast.AnchorNode:
		return c.anchor(out, n)
	case *ast.AliasNode:
		return c.alias(out, n)
	case *ast.StringNode:
		out.Kind, out.Text = Text, n.Value
	case *ast.LiteralNode:
		out.Kind, out.Text = Text, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.Kind, out.Text = Number, n.GetToken().Value
	case *ast.BoolNode:
		out.Kind, out.Text = Bool, n.GetToken().Value
	case *ast.NullNode:
		out.Kind = Nothing
	default:
		return c.broken(out, "this is not a value that can stand here")
	}
	return out
}

// errorf adds a fault, unless the value is broken: then a fault says why already.
func (c *converter) errorf(at *Node, format string, args ...any) {
	if at.Kind != Broken {
		c.add(at.Line, at.Col, format, args...)
	}
}

// broken adds a fault and marks the value as broken.
func (c *converter) broken(n *Node, format string, args ...any) *Node {
	c.errorf(n, format, args...)
	n.Kind = Broken
	return n
}

// mapping converts pairs, in order. It leaves out a pair whose key is not a scalar.
func (c *converter) mapping(out *Node, m *ast.MappingNode) *Node {
	out.Kind = Mapping
	for i, v := range m.Values {
		key := c.node(v.Key)
		if key.Kind == List || key.Kind == Mapping || key.Kind == Broken {
			c.errorf(key, "a key must be text, not %s: put it in quotes", key.Kind)
			continue
		}
		if i == 0 && !m.IsFlowStyle {
			out.Place = key.Place
		}
		value := c.node(v.Value)
		if v.Value.GetToken().Type == yamltoken.ImplicitNullType {
			value.Place = key.Place // the value is not written at all
		}
		out.Pairs = append(out.Pairs, Pair{key, value})
	}
	return out
}

// anchor stores the value of an anchor for later aliases and converts it. An anchor with
// the same name within itself would never end.
func (c *converter) anchor(out *Node, n *ast.AnchorNode) *Node {
	name := n.Name.GetToken().Value
	c.anchors[name] = n.Value
	if c.open[name] {
		return c.broken(out, "the anchor &%s stands inside itself", name)
	}
	c.open[name] = true
	defer delete(c.open, name)
	return c.node(n.Value)
}

// alias converts the value of the anchor once more. A "*" without an anchor is most
// likely a glob that lacks quotes.
func (c *converter) alias(out *Node, n *ast.AliasNode) *Node {
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

// syntaxError reports what the parser found, in our own words. It tries the special
// causes first: a typing slip, a list that is indented too little, a glob without quotes.
// Only then it goes by the parser's message.
func (c *collector) syntaxError(err error, text string) {
	var syntax *goyaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil {
		c.add(1, 1, "this is not YAML: check indentation, colons, quotes and brackets")
		return
	}
	pos := syntax.Token.Position
	if s, found := c.findSlip(text, pos.Line); found {
		c.add(s.line, s.col, "%s", s.message)
		return
	}
	line := lineOf(text, pos.Line)
	if key := dashedLeft(line, lineOf(text, pos.Line-1)); key != "" {
		c.add(pos.Line, pos.Column, "this list begins further left than its key: indent each - at least as far as %s:", key)
		return
	}
	if at := unquotedGlob(line); at >= 0 {
		c.add(pos.Line, utf8.RuneCountInString(line[:at])+1,
			`a value that begins with *, {, [, @, %% or & must stand in quotes, as "**/*.md"`)
		return
	}
	c.add(pos.Line, pos.Column, "%s", syntaxWords(syntax, line))
}

// lineOf returns a line of text without its end. Lines count from 1; for 0 it is the
// first too.
func lineOf(text string, line int) string {
	for range line - 1 {
		_, text, _ = strings.Cut(text, "\n")
	}
	text, _, _ = strings.Cut(text, "\n")
	return text
}

// syntaxWords picks the likeliest cause from the parser's message and the line at fault.
// The messages are those of the library; one that no case knows gets the general words.
func syntaxWords(e *goyaml.SyntaxError, line string) string {
	has := func(s string) bool { return strings.Contains(e.Message, s) }
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"), has("tab character"):
		return "a tab: YAML is indented with spaces"
	case has("single-quoted"), has("double-quoted"):
		return "the quote that opens here is never closed"
	case has("escape"):
		return `this \ escape is not known between double quotes: use single quotes, or write \\`
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

// dashedLeft returns the key right above an item of a list that stands further left than
// the key, or "".
func dashedLeft(item, above string) (key string) {
	key, empty := strings.CutSuffix(strings.TrimSpace(above), ":")
	if !empty || !strings.HasPrefix(item[blanks(item):], "- ") || blanks(item) >= blanks(above) {
		return ""
	}
	return key
}

// blanks returns how many spaces a text begins with.
func blanks(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// unquotedGlob returns where a value of the line begins that looks like a glob or a
// template and lacks its quotes, in bytes, or -1. It looks after dashes and a key, and
// at each item of a list in brackets.
func unquotedGlob(line string) int {
	at := blanks(line)
	for strings.HasPrefix(line[at:], "- ") {
		at += 2 + blanks(line[at+2:])
	}
	if key, value, ok := strings.Cut(line[at:], ": "); ok {
		at += len(key) + 2 + blanks(value)
	}
	s := line[at:]
	if !strings.HasPrefix(s, "[") || !strings.HasSuffix(s, "]") {
		if bareGlob(s) {
			return at
		}
		return -1
	}
	for at++; at < len(line); {
		item, _, _ := strings.Cut(strings.TrimSuffix(line[at:], "]"), ",")
		if bareGlob(strings.TrimSpace(item)) {
			return at + blanks(item)
		}
		at += len(item) + 1
	}
	return -1
}

// bareGlob reports whether a value begins with a sign that YAML does not take as text. A
// whole {…} or […] is fine for YAML; with text after it, as in {a,b}/c, it is not.
func bareGlob(s string) bool {
	if s == "" || !strings.ContainsRune("*{[@%&`", rune(s[0])) {
		return false
	}
	return s[0] != '{' && s[0] != '[' ||
		!strings.HasSuffix(s, "}") && !strings.HasSuffix(s, "]") && strings.ContainsAny(s, "}]")
}
