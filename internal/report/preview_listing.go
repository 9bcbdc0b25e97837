package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

// maxListing bounds a listing, in bytes: it is stored in the database.
const maxListing = 16 << 20

// Listing is the whole preview as plain text, for the page that a cut check run links to:
// one line for each object, in columns separated by tabs. It stops at maxListing bytes,
// and its last line says so.
func (p Preview) Listing() string {
	l := new(listing)
	l.line("# Purge preview: what merging into " + column(p.Base) + " and deploying would purge, with the rules of " + Short(p.SHA))
	if p.Shared != "" {
		l.line("# and the rules of " + column(p.Shared))
	}
	if p.Cut {
		l.line(fmt.Sprintf("# Incomplete list: GitHub lists only the first %s of a pull request.", Amount(p.Files, "file", "files")))
	}
	for _, e := range p.Environments {
		l.line("")
		l.line(fmt.Sprintf("# %s, Akamai's %s network: %s", column(e.Name), e.Network, Objects(e.counts())))
		for _, t := range e.Targets {
			l.target(t)
		}
	}
	if len(p.Unmatched) > 0 {
		l.line("")
		l.line(fmt.Sprintf("# No rule matches %s", Amount(len(p.Unmatched), "changed file", "changed files")))
		for _, file := range p.Unmatched {
			l.line(column(file))
		}
	}
	if l.lost > 0 {
		fmt.Fprintf(&l.b, "# Incomplete list: %s left out\n", Amount(l.lost, "line is", "lines are"))
	}
	return l.b.String()
}

// listing is a text of bounded size. After the first line that does not fit it takes no
// more.
type listing struct {
	b    strings.Builder
	lost int // lines that did not fit
}

func (l *listing) line(s string) {
	if l.lost > 0 || l.b.Len()+len(s) > maxListing {
		l.lost++
		return
	}
	l.b.WriteString(s + "\n")
}

func (l *listing) target(t mapping.Target) {
	columns := []string{string(t.Action), column(Object(t.Kind, t.Object)), column(t.Rule), column(t.Path)}
	if t.Reason != "" {
		columns[0] = "refused"
		columns = append(columns, column(t.Reason))
	}
	l.line(strings.Join(columns, "\t"))
}

// column makes a text that may hold anything, tabs and line ends too, one column of one
// line.
func column(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
