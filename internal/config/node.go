package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/yaml"
)

// where names a place: a line of the file, or a variable with the line of its
// YAML.
func (l *loader) where(at yaml.Place) string {
	switch {
	case at.Line == 0:
		return at.File
	case at.File == l.config.File:
		return fmt.Sprintf("%s:%d", at.File, at.Line)
	}
	return fmt.Sprintf("%s: line %d", at.File, at.Line)
}

func (l *loader) fault(at yaml.Place, format string, args ...any) {
	l.faults = append(l.faults, fault{at, fmt.Errorf("%s: %w", l.where(at), fmt.Errorf(format, args...))})
}

// warn tells of what works and should not stay so.
func (l *loader) warn(at yaml.Place, format string, args ...any) {
	l.config.Warnings = append(l.config.Warnings, fmt.Sprintf("%s: %s", l.where(at), fmt.Sprintf(format, args...)))
}

// fault is one, with its place in its words.
type fault struct {
	at  yaml.Place
	err error
}

// err joins the faults: the file's from top to bottom, then the variables'.
func (l *loader) err() error {
	variable := func(f fault) string { // "": the file's
		return strings.TrimPrefix(f.at.File, l.config.File)
	}
	slices.SortStableFunc(l.faults, func(a, b fault) int {
		return cmp.Or(strings.Compare(variable(a), variable(b)), cmp.Compare(a.at.Line, b.at.Line))
	})
	var all []error
	for _, f := range l.faults {
		all = append(all, f.err)
	}
	return errors.Join(all...)
}

// fromVariable gives the value of a variable the form of the file's.
func (l *loader) fromVariable(s setting, text string) *yaml.Node {
	at := yaml.Place{File: s.variable}
	switch s.form {
	case document:
		return l.parse([]byte(text), s.variable)
	case commas:
		list := &yaml.Node{Kind: yaml.List, Place: at}
		for item := range strings.SplitSeq(text, ",") {
			list.Items = append(list.Items, &yaml.Node{Kind: yaml.Text, Text: strings.TrimSpace(item), Place: at})
		}
		return list
	case scalar:
	}
	return &yaml.Node{Kind: yaml.Text, Text: text, Place: at}
}

// parse reads one YAML document; nil if there is none, or a fault.
func (l *loader) parse(src []byte, file string) *yaml.Node {
	top, faults := yaml.Reader{}.Read(src, file)
	for _, f := range faults {
		l.fault(f.Place, "%s", f.Message)
	}
	l.broken = l.broken || top == nil && file == l.config.File
	return top
}

// unique gives the pairs of a mapping without repeated keys, which are
// faults.
func (l *loader) unique(n *yaml.Node) []yaml.Pair {
	var out []yaml.Pair
	seen := map[string]yaml.Place{}
	for _, p := range n.Pairs {
		if first, ok := seen[p.Key.Text]; ok {
			l.fault(p.Key.Place, "%q is written twice, first in line %d", p.Key.Text, first.Line)
			continue
		}
		seen[p.Key.Text] = p.Key.Place
		out = append(out, p)
	}
	return out
}

func (l *loader) unknownKey(key *yaml.Node, name string, known []string) {
	l.fault(key.Place, "unknown key %q: known here are %s", name, strings.Join(known, ", "))
}

// wrong tells of a value of another kind than wanted.
func (l *loader) wrong(n *yaml.Node, wanted string) {
	if n.Kind != yaml.Broken {
		l.fault(n.Place, "%s belongs here, not %s", wanted, n.Kind)
	}
}

// text reads any scalar as it is written.
func (l *loader) text(n *yaml.Node) (string, bool) {
	switch n.Kind {
	case yaml.Text, yaml.Number, yaml.Bool:
		return n.Text, true
	case yaml.Nothing, yaml.List, yaml.Mapping, yaml.Broken:
	}
	l.wrong(n, "text")
	return "", false
}

func (l *loader) integer(n *yaml.Node) (int64, bool) {
	if n.Kind == yaml.Number || n.Kind == yaml.Text {
		if v, err := strconv.ParseInt(n.Text, 10, 64); err == nil {
			return v, true
		}
		l.fault(n.Place, "%q is not a whole number", n.Text)
		return 0, false
	}
	l.wrong(n, "a whole number")
	return 0, false
}

func (l *loader) boolean(to *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch {
		case n.Kind == yaml.Bool || n.Kind == yaml.Text && (n.Text == "true" || n.Text == "false"):
			*to = strings.EqualFold(n.Text, "true")
		default:
			l.wrong(n, "true or false")
		}
	}
}

func (l *loader) string(to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if text, ok := l.text(n); ok {
			*to = text
		}
	}
}

// list reads a list of scalars.
func (l *loader) list(to *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.List {
			l.wrong(n, "a list")
			return
		}
		*to = []string{}
		for _, item := range n.Items {
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
