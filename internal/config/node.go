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

// where names a place: a line of the file, a variable, or a line of a variable's YAML.
func (l *loader) where(at yaml.Place) string {
	switch {
	case at.Line == 0:
		return at.File
	case at.File == l.config.File:
		return fmt.Sprintf("%s:%d", at.File, at.Line)
	}
	return fmt.Sprintf("%s: line %d", at.File, at.Line)
}

// fault records a fault at its place.
func (l *loader) fault(at yaml.Place, format string, args ...any) {
	l.faults = append(l.faults, fault{at, fmt.Errorf("%s: %w", l.where(at), fmt.Errorf(format, args...))})
}

// warn records something that works but should be changed.
func (l *loader) warn(at yaml.Place, format string, args ...any) {
	l.config.Warnings = append(l.config.Warnings, fmt.Sprintf("%s: %s", l.where(at), fmt.Sprintf(format, args...)))
}

// fault is one fault; its words begin with its place.
type fault struct {
	at  yaml.Place
	err error
}

// err joins the faults: first those of the file from top to bottom, then those of each
// variable.
func (l *loader) err() error {
	variable := func(f fault) string { // "" for the file
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

// fromVariable gives the value of a variable the form that it would have in the file, so
// that the same setter reads both.
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

// parse reads one YAML document. It returns nil if there is none or it has a fault.
func (l *loader) parse(src []byte, file string) *yaml.Node {
	top, faults := yaml.Reader{}.Read(src, file)
	for _, f := range faults {
		l.fault(f.Place, "%s", f.Message)
	}
	l.broken = l.broken || top == nil && file == l.config.File
	return top
}

// unique returns the pairs of a mapping without repeated keys, which it reports. The
// first one counts.
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

// unknownKey reports a key that does not exist here, with the ones that do.
func (l *loader) unknownKey(key *yaml.Node, name string, known []string) {
	l.fault(key.Place, "unknown key %q: known here are %s", name, strings.Join(known, ", "))
}

// wrong reports a value of another kind than wanted. The YAML reader has reported a
// broken value already.
func (l *loader) wrong(n *yaml.Node, wanted string) {
	if n.Kind != yaml.Broken {
		l.fault(n.Place, "%s belongs here, not %s", wanted, n.Kind)
	}
}

// text reads any scalar as it is written. So an unquoted number or yes is a text too.
func (l *loader) text(n *yaml.Node) (string, bool) {
	switch n.Kind {
	case yaml.Text, yaml.Number, yaml.Bool:
		return n.Text, true
	case yaml.Nothing, yaml.List, yaml.Mapping, yaml.Broken:
	}
	l.wrong(n, "text")
	return "", false
}

// integer takes text too: every variable is a text.
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

// boolean takes the texts true and false too, for the same reason as integer.
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

// list reads a list of scalars. It reports and leaves out items of another kind. An empty
// list becomes a slice that is not nil.
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

// sectionName is the name of a section, from the prefix of its keys.
func sectionName(prefix string) string {
	if prefix == "" {
		return "the file"
	}
	return strings.TrimSuffix(prefix, ".")
}
