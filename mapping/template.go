package mapping

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/nearest"

	"github.com/purgebot/purgebot/internal/printable"
)

// placeholder is a name that a template may have in braces.
type placeholder string

const (
	phPath   placeholder = "path" // the changed path, as docs/a/b.tar.md
	phDir    placeholder = "dir"  // its folder: docs/a; "" at the root
	phFile   placeholder = "file" // its last element: b.tar.md
	phName   placeholder = "name" // that without its extension: b.tar
	phExt    placeholder = "ext"  // the extension without its dot: md
	phHost   placeholder = "host" // each of the environment's hosts in turn
	phEnv    placeholder = "env"  // the environment's name
	phOwner  placeholder = "owner"
	phRepo   placeholder = "repo"
	phBranch placeholder = "branch" // the environment's branch
)

// placeholders are all of them, in the order in which messages list them.
func placeholders() []string {
	return []string{
		string(phPath), string(phDir), string(phFile), string(phName), string(phExt),
		string(phHost), string(phEnv), string(phOwner), string(phRepo), string(phBranch),
	}
}

// piece is a part of a template: literal text, a numbered wildcard or a placeholder. At
// most one of literal, number and name is set.
type piece struct {
	literal string
	number  int         // of a wildcard, from 1; 0: it is none
	name    placeholder // "": it is none
	filters []filter    // applied in this order; never for literal text
}

// isLiteral reports whether the piece is fixed text: the same for every path and host.
func (p piece) isLiteral() bool { return p.number == 0 && p.name == "" }

// String writes the piece as a template has it, except that braces in literal text are
// not doubled.
func (p piece) String() string {
	name := string(p.name)
	switch {
	case p.isLiteral():
		return p.literal
	case p.number > 0:
		name = strconv.Itoa(p.number)
	}
	for _, f := range p.filters {
		name += "|" + string(f)
	}
	return "{" + name + "}"
}

// component reports whether the value is to be encoded as a component: its last filter is
// encode.
func (p piece) component() bool {
	return len(p.filters) > 0 && p.filters[len(p.filters)-1] == encodeFilter
}

// pieces is a template taken apart.
type pieces []piece

// usesHost reports whether {host} is one of the pieces.
func (ps pieces) usesHost() bool {
	for _, p := range ps {
		if p.name == phHost {
			return true
		}
	}
	return false
}

// literals returns the literal text of all pieces, joined.
func (ps pieces) literals() string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.literal)
	}
	return b.String()
}

// numbers returns the numbered wildcards of the template in their order there; one may
// repeat.
func (ps pieces) numbers() []int {
	var ns []int
	for _, p := range ps {
		if p.number > 0 {
			ns = append(ns, p.number)
		}
	}
	return ns
}

// splitTemplate takes a template apart. The faults are messages for people. It reads on
// after a fault, to find all of them.
func splitTemplate(s string) (ps pieces, faults []string) {
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			ps = append(ps, piece{literal: literal.String()})
			literal.Reset()
		}
	}
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			literal.WriteString(s)
			break
		}
		literal.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexByte(s, '}')
		switch {
		case strings.HasPrefix(s, "{{"), strings.HasPrefix(s, "}}"):
			literal.WriteByte(s[0])
			s = s[2:]
		case s[0] == '}':
			faults = append(faults, "a lone }: write }} for a brace")
			s = s[1:]
		case end < 0 || strings.IndexByte(s[1:end], '{') >= 0:
			faults = append(faults, "a lone {: write {{ for a brace")
			s = s[1:]
		default:
			flush()
			p, fault := newPlaceholder(s[1:end])
			if fault != "" {
				faults = append(faults, fault)
			} else {
				ps = append(ps, p)
			}
			s = s[end+1:]
		}
	}
	flush()
	return ps, faults
}

// maxNumber bounds what is read as the number of a wildcard. No glob has that many.
const maxNumber = 1_000_000

// newPlaceholder reads what stands between braces. The fault is a message for people; "":
// none.
func newPlaceholder(written string) (piece, string) {
	parts := strings.Split(written, "|")
	p, fault := newName(parts[0])
	if fault != "" {
		return piece{}, fault
	}
	if p.filters, fault = newFilters(parts[1:]); fault != "" {
		return piece{}, fault
	}
	if p.name == phHost && len(p.filters) > 0 {
		return piece{}, "{host} takes no filters: it is one of the environment's hosts"
	}
	return p, ""
}

// newName reads what stands before a placeholder's filters. For an unknown name it
// says what may be meant.
func newName(name string) (piece, string) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= maxNumber && strconv.Itoa(n) == name {
		return piece{number: n}, ""
	}
	for _, known := range placeholders() {
		if name == known {
			return piece{name: placeholder(known)}, ""
		}
	}
	quoted := "{" + printable.Short(name) + "}"
	switch {
	case strings.Trim(name, "0123456789") == "" && strings.Trim(name, "0") == "" && name != "":
		return piece{}, quoted + " has no meaning: wildcards are numbered from {1}"
	case strings.ContainsAny(name, ",*?["):
		return piece{}, quoted + " is a pattern: a template takes {1}, {2} … for what match's wildcards matched"
	}
	if near := nearest.Word(strings.TrimSpace(name), placeholders()); near != "" {
		return piece{}, fmt.Sprintf(`unknown placeholder %s: did you mean {%s}?`, quoted, near)
	}
	return piece{}, fmt.Sprintf("unknown placeholder %s: there are {1}, {2} … and {%s}",
		quoted, strings.Join(placeholders(), "}, {"))
}

// values are what placeholders stand for. The host is not among them: it is given for
// each target.
type values struct {
	path, dir, file, name, ext string   // from the changed path; see setPath
	env, owner, repo, branch   string   // the same for a whole plan
	captures                   []string // of the numbered wildcards; the first is {1}
}

// setPath sets the values that come from the changed path, and drops the captures of
// another one.
func (v *values) setPath(path string) {
	v.path, v.dir, v.file, v.captures = path, "", path, nil
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		v.dir, v.file = path[:i], path[i+1:]
	}
	v.name, v.ext = v.file, ""
	// ".htaccess", "README" and "file." are all name.
	if i := strings.LastIndexByte(v.file, '.'); i > 0 && i < len(v.file)-1 {
		v.name, v.ext = v.file[:i], v.file[i+1:]
	}
}

// of returns what a piece stands for, rewritten by its filters but not encoded.
func (v *values) of(p piece, host string) string {
	value := v.unfiltered(p, host)
	for _, f := range p.filters {
		value = f.apply(value)
	}
	return value
}

// unfiltered returns what a piece stands for, before its filters. A wildcard that is
// missing is "": checkNumbers refuses rules where that could happen.
func (v *values) unfiltered(p piece, host string) string {
	if p.number > 0 {
		if p.number > len(v.captures) {
			return ""
		}
		return v.captures[p.number-1]
	}
	switch p.name {
	case phPath:
		return v.path
	case phDir:
		return v.dir
	case phFile:
		return v.file
	case phName:
		return v.name
	case phExt:
		return v.ext
	case phHost:
		return host
	case phEnv:
		return v.env
	case phOwner:
		return v.owner
	case phRepo:
		return v.repo
	case phBranch:
		return v.branch
	}
	return p.literal
}
