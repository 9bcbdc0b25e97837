package mapping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/yaml"
)

// Severity says whether a fault stops the file from being used.
type Severity string

// The two severities. A file with warnings alone is used.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Fault is one thing that is wrong in a rules file, in words for whoever
// wrote the file.
type Fault struct {
	Line     int      `json:"line"`   // counted from 1
	Column   int      `json:"column"` // counted from 1, in characters
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
}

// In renders the fault as "FILE:LINE:COL: message"; a warning's message
// begins with "warning: ".
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

// BothPlaces is the fault of a repository that has rules files in both places;
// it is told of RootPlace.
func BothPlaces() Faults {
	return Faults{{
		Line: 1, Column: 1, Severity: Error,
		Message: "there is a " + GitHubPlace + " as well; keep one of the two",
	}}
}

// sort orders faults by place; those of one place stay as they were found.
func (fs Faults) sort() {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

const maxFaults = 500

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

func (c *collector) errorf(at *yaml.Node, format string, args ...any) {
	if at.Kind != yaml.Broken {
		c.add(at.Line, at.Col, Error, format, args...)
	}
}

func (c *collector) warnf(at *yaml.Node, format string, args ...any) {
	c.add(at.Line, at.Col, Warning, format, args...)
}

// rulesYAML knows the keys of rules files.
func rulesYAML() yaml.Reader {
	return yaml.Reader{Keys: []string{
		"version", "extends", "environments", "network", "hosts", "trigger", "branch", "creators", "settle", "announce",
		"action", "rollback_action", "rules", "name", "match", "exclude", "urls", "tags", "cpcodes", "unmatched",
		"limits", "over", "instead", "tests", "file", "environment", "change", "purges",
	}}
}

// yaml reads the tree of a file; nil if it is none that can be read.
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
