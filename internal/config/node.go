package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// place is where something is written.
type place struct {
	file     string
	variable string
	line     int // in the file, or in the variable's YAML; 0: not known
}

func (p place) String() string {
	switch {
	case p.variable != "" && p.line > 0:
		return fmt.Sprintf("%s: line %d", p.variable, p.line)
	case p.variable != "":
		return p.variable
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.file, p.line)
	}
	return p.file
}

// kind is the shape of a YAML value, named as people are told of it.
type kind string

const (
	isText    kind = "text"
	isNumber  kind = "a number"
	isBool    kind = "true or false"
	isNothing kind = "nothing"
	isList    kind = "a list"
	isMapping kind = "a group of keys"
)

// node is one value and its place.
type node struct {
	kind  kind
	text  string // of a scalar, as it is written
	items []*node
	pairs []pair
	at    place
}

type pair struct{ key, value *node }

func (l *loader) fault(at place, format string, args ...any) {
	l.faults = append(l.faults, fault{at, fmt.Errorf("%s: %w", at, fmt.Errorf(format, args...))})
}

// fault is one, with its place in its words.
type fault struct {
	at  place
	err error
}

// err joins the faults: the file's from top to bottom, then the variables'.
func (l *loader) err() error {
	slices.SortStableFunc(l.faults, func(a, b fault) int {
		return cmp.Or(strings.Compare(a.at.variable, b.at.variable), cmp.Compare(a.at.line, b.at.line))
	})
	var all []error
	for _, f := range l.faults {
		all = append(all, f.err)
	}
	return errors.Join(all...)
}

// fromVariable gives the value of a variable the form of the file's.
func (l *loader) fromVariable(s setting, text string) *node {
	at := place{variable: s.variable}
	switch s.form {
	case document:
		return l.parse([]byte(text), at)
	case commas:
		list := &node{kind: isList, at: at}
		for item := range strings.SplitSeq(text, ",") {
			list.items = append(list.items, &node{kind: isText, text: strings.TrimSpace(item), at: at})
		}
		return list
	case scalar:
	}
	return &node{kind: isText, text: text, at: at}
}

// parse reads one YAML document; nil if there is none, or a fault.
func (l *loader) parse(src []byte, at place) *node {
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		message := "is not YAML: check indentation, colons, quotes and brackets"
		if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok && syntax.Token != nil {
			at.line = syntax.Token.Position.Line
			message = "this is not YAML (" + syntax.Message + ")"
		}
		l.fault(at, "%s", message)
		l.broken = l.broken || at.file != ""
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		return nil
	}
	if len(file.Docs) > 1 {
		l.fault(at, "there is a second YAML document (---): only one is read")
	}
	c := converter{loader: l, at: at, anchors: map[string]ast.Node{}}
	return c.node(file.Docs[0].Body, 0)
}

// converter turns the parser's tree into nodes.
type converter struct {
	*loader
	at      place
	anchors map[string]ast.Node
}

// maxDepth stops an alias that stands inside its own anchor.
const maxDepth = 20

func (c converter) node(n ast.Node, depth int) *node {
	out := &node{at: c.at, kind: isNothing}
	out.at.line = n.GetToken().Position.Line
	if depth > maxDepth {
		c.fault(out.at, "nested too deeply")
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = isList
		for _, item := range n.Values {
			out.items = append(out.items, c.node(item, depth+1))
		}
	case *ast.AnchorNode:
		c.anchors[n.Name.GetToken().Value] = n.Value
		return c.node(n.Value, depth+1)
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if value, ok := c.anchors[name]; ok {
			return c.node(value, depth+1)
		}
		c.fault(out.at, `a value that begins with * must stand in quotes: "*%s"`, name)
	case *ast.StringNode:
		out.kind, out.text = isText, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = isText, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = isNumber, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = isBool, n.GetToken().Value
	case *ast.NullNode:
	default:
		c.fault(out.at, "this kind of YAML value is not supported here")
	}
	return out
}

func (c converter) mapping(out *node, values []*ast.MappingValueNode, depth int) *node {
	out.kind = isMapping
	for i, v := range values {
		key := c.node(v.Key, depth+1)
		if key.kind == isMapping || key.kind == isList || v.Key.IsMergeKey() {
			c.fault(key.at, "a key must be plain text")
			continue
		}
		if i == 0 {
			out.at = key.at // the first key's place, not the first colon's
		}
		value := c.node(v.Value, depth+1)
		if value.kind == isNothing {
			value.at = key.at
		}
		out.pairs = append(out.pairs, pair{key, value})
	}
	return out
}

// unique gives the pairs of a mapping without repeated keys, which are
// faults.
func (l *loader) unique(n *node) []pair {
	var out []pair
	seen := map[string]place{}
	for _, p := range n.pairs {
		if first, ok := seen[p.key.text]; ok {
			l.fault(p.key.at, "%q is written twice, first in line %d", p.key.text, first.line)
			continue
		}
		seen[p.key.text] = p.key.at
		out = append(out, p)
	}
	return out
}

func (l *loader) unknownKey(key *node, name string, known []string) {
	l.fault(key.at, "unknown key %q: known here are %s", name, strings.Join(known, ", "))
}

// wrong tells of a value of another kind than wanted.
func (l *loader) wrong(n *node, wanted string) {
	l.fault(n.at, "%s belongs here, not %s", wanted, n.kind)
}

// text reads any scalar as it is written.
func (l *loader) text(n *node) (string, bool) {
	switch n.kind {
	case isText, isNumber, isBool:
		return n.text, true
	case isNothing, isList, isMapping:
	}
	l.wrong(n, "text")
	return "", false
}

func (l *loader) integer(n *node) (int64, bool) {
	if n.kind == isNumber || n.kind == isText {
		if v, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			return v, true
		}
		l.fault(n.at, "%q is not a whole number", n.text)
		return 0, false
	}
	l.wrong(n, "a whole number")
	return 0, false
}

func (l *loader) boolean(to *bool) func(*node) {
	return func(n *node) {
		switch {
		case n.kind == isBool || n.kind == isText && (n.text == "true" || n.text == "false"):
			*to = strings.EqualFold(n.text, "true")
		default:
			l.wrong(n, "true or false")
		}
	}
}

func (l *loader) string(to *string) func(*node) {
	return func(n *node) {
		if text, ok := l.text(n); ok {
			*to = text
		}
	}
}

// list reads a list of scalars.
func (l *loader) list(to *[]string) func(*node) {
	return func(n *node) {
		if n.kind != isList {
			l.wrong(n, "a list")
			return
		}
		*to = []string{}
		for _, item := range n.items {
			if text, ok := l.text(item); ok {
				*to = append(*to, text)
			}
		}
	}
}

// sectionName names a section by its keys' prefix.
func sectionName(prefix string) string {
	if prefix == "" {
		return "the file"
	}
	return strings.TrimSuffix(prefix, ".")
}
