package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Fault is something in an entry that can't be meant.
type Fault struct {
	Key     string // hosts, comments.delete
	Index   int    // of the list's item at fault, -1 where it is not an item
	Message string
}

// Faults finds all of them; an entry without any does what it says.
func (e Entry) Faults() []Fault {
	var out []Fault
	add := func(key string, index int, format string, args ...any) {
		out = append(out, Fault{key, index, fmt.Sprintf(format, args...)})
	}
	if len(e.Repositories) == 0 {
		add("repositories", -1, `name the repositories, as in ["acme/*"]`)
	}
	for i, glob := range e.Repositories {
		switch {
		case glob == "" || !doublestar.ValidatePattern(glob):
			add("repositories", i, "%q is not a glob", glob)
		case !strings.Contains(glob, "/") && !strings.Contains(glob, "**"):
			add("repositories", i, `%q fits no repository: write owner/name, or "%s/*"`, glob, glob)
		}
	}
	for i, host := range e.Hosts {
		if words := hostFault(host); words != "" {
			add("hosts", i, "%s", words)
		}
	}
	for i, glob := range e.Tags {
		if glob == "" || !doublestar.ValidatePattern(glob) {
			add("tags", i, "%q is not a glob", glob)
		}
	}
	for i, code := range e.CPCodes {
		if code <= 0 {
			add("cpcodes", i, "%d is not a CP code", code)
		}
	}
	for _, c := range []struct {
		key  string
		role Role
	}{
		{"comments.permission", e.Comments.Permission},
		{"comments.delete", e.Comments.Delete},
		{"comments.cpcode", e.Comments.CPCode},
	} {
		if !slices.Contains(Roles(), c.role) {
			add(c.key, -1, "%q is not a role: read, triage, write, maintain or admin", string(c.role))
		}
	}
	for i, login := range e.Deploys.Creators {
		if login == "" || login != "*" && strings.ContainsAny(login, "* /") {
			add("deploys.creators", i, `%q is not a login, and not "*"`, login)
		}
	}
	if e.HoldOver.Delete < 0 {
		add("hold_over.delete", -1, "%d is negative; 0 holds nothing", e.HoldOver.Delete)
	}
	if e.HoldOver.CPCode < 0 {
		add("hold_over.cpcode", -1, "%d is negative; 0 holds nothing", e.HoldOver.CPCode)
	}
	for i, c := range e.Previews.Fail {
		if !slices.Contains(Concerns(), c) {
			add("previews.fail", i, "%q is no reason: write refused, held or unmatched", string(c))
		}
	}
	return out
}

func hostFault(pattern string) string {
	domain, _ := strings.CutPrefix(pattern, "*.")
	_, err := canonical(domain)
	switch {
	case pattern == "*":
		return ""
	case strings.Contains(pattern, "://"):
		return fmt.Sprintf("%q is a URL: write its host alone", pattern)
	case strings.Contains(domain, "*"):
		return fmt.Sprintf("%q: a * may only stand first, as in *.acme.com", pattern)
	case strings.Contains(domain, ":") && err != nil:
		return fmt.Sprintf("%q: write the host without a port, every port is meant", pattern)
	case err != nil:
		return fmt.Sprintf("%q is not a host name", pattern)
	}
	return ""
}
