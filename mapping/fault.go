package mapping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/yaml"
)

// Severity says whether a fault keeps the file from being used.
type Severity string

// The two severities. A file that has only warnings is used.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Fault is one thing that is wrong in a rules file, in words for its author.
type Fault struct {
	Line     int      `json:"line"`   // counted from 1
	Column   int      `json:"column"` // counted from 1, in characters
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
}

// In renders the fault as "FILE:LINE:COL: message". The message of a warning begins with
// "warning: ".
func (f Fault) In(file string) string {
	word := ""
	if f.Severity == Warning {
		word = "warning: "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", file, f.Line, f.Column, word, f.Message)
}

// Faults are a file's faults, in the order of their places.
type Faults []Fault

// HasErrors reports whether any fault is an error.
func (fs Faults) HasErrors() bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return f.Severity == Error })
}

// Errors gives the faults that are errors.
func (fs Faults) Errors() Faults {
	var errs Faults
	for _, f := range fs {
		if f.Severity == Error {
			errs = append(errs, f)
		}
	}
	return errs
}

// In renders every fault on a line of its own, each ended by a newline.
func (fs Faults) In(file string) string {
	var b strings.Builder
	for _, f := range fs {
		b.WriteString(f.In(file))
		b.WriteByte('\n')
	}
	return b.String()
}

// BothPlaces returns the fault of a repository that has rules files in both places. Its
// place is in the file at RootPlace.
func BothPlaces() Faults {
	return Faults{{
		Line: 1, Column: 1, Severity: Error,
		Message: "there is a " + GitHubPlace + " as well; keep one of the two",
	}}
}

// sort orders faults by place. Faults at the same place keep the order in which they were
// found.
func (fs Faults) sort() {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// maxFaults bounds the faults of one file that are kept. One more says that there are
// others.
const maxFaults = 500

// collector gathers faults, up to maxFaults.
type collector struct{ faults Faults }

// add adds a fault, unless there are too many. The fault that says so is an error even if
// a warning came last, because an error may be among those that are left out.
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

// errorf adds an error at a value, unless the value is broken: then package yaml has told
// why.
func (c *collector) errorf(at *yaml.Node, format string, args ...any) {
	if at.Kind != yaml.Broken {
		c.add(at.Line, at.Col, Error, format, args...)
	}
}

// warnf adds a warning at a value.
func (c *collector) warnf(at *yaml.Node, format string, args ...any) {
	c.add(at.Line, at.Col, Warning, format, args...)
}

// rulesYAML returns a reader that knows the keys of rules files, to recognise slips of
// typing in them.
func rulesYAML() yaml.Reader {
	return yaml.Reader{Keys: []string{
		"version", "extends", "environments", "network", "hosts", "trigger", "branch", "creators", "settle", "announce",
		"action", "rollback_action", "rules", "name", "match", "exclude", "urls", "tags", "cpcodes", "unmatched",
		"limits", "over", "instead", "tests", "file", "environment", "change", "purges",
	}}
}

// yaml reads the tree of a file. It is nil if the text can't be read as one, and then
// there is an error.
func (c *collector) yaml(src []byte) *yaml.Node {
	root, faults := rulesYAML().Read(src, "")
	for _, f := range faults {
		c.add(f.Line, f.Col, Error, "%s", f.Message)
	}
	if root != nil && root.Kind == yaml.Nothing {
		c.add(1, 1, Error, "the file is empty: it needs version, environments and rules")
		return nil
	}
	return root
}
