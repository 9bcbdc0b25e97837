package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/object"
)

// Fault is something in an entry that can't be meant: the operator has to fix it.
type Fault struct {
	Key     string // of the file, as hosts or comments.delete
	Index   int    // of the item in the list, from 0; -1: the fault is not in an item
	Message string
}

// Faults finds all faults of an entry. An entry without faults does what it says.
func (e Entry) Faults() []Fault {
	var out []Fault
	add := func(key string, index int, format string, args ...any) {
		out = append(out, Fault{key, index, fmt.Sprintf(format, args...)})
	}
	if len(e.Repositories) == 0 {
		add("repositories", -1, `name the repositories, as in ["acme/www", "acme/site-*"]`)
	}
	for i, pattern := range e.Repositories {
		switch _, err := glob.Compile(pattern); {
		case err != nil:
			add("repositories", i, "the glob %q %v", pattern, err)
		case !strings.Contains(pattern, "/") && !strings.Contains(pattern, "**"):
			add("repositories", i, "%q fits no repository: write owner/name", pattern)
		}
	}
	for i, host := range e.Hosts {
		if words := hostFault(host); words != "" {
			add("hosts", i, "%s", words)
		}
	}
	for i, pattern := range e.Tags {
		if _, err := glob.Compile(pattern); err != nil {
			add("tags", i, "the glob %q %v", pattern, err)
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
	if owner, name, ok := strings.Cut(e.RulesFrom, "/"); e.RulesFrom != "" && (!ok || owner == "" || name == "" || strings.ContainsAny(name, "/@ *")) {
		add("rules_from", -1, "%q is no repository: write owner/name", e.RulesFrom)
	}
	for i, c := range e.Previews.Fail {
		if !slices.Contains(Findings(), c) {
			add("previews.fail", i, "%q is no reason: write refused, held or unmatched", string(c))
		}
	}
	return out
}

// Warnings tells of globs that take every repository of an owner and give each of them
// what only its admins may do. In an organization members may create repositories, and
// are admins of those that they create.
// https://docs.github.com/organizations/managing-organization-settings/restricting-repository-creation-in-your-organization
func (e Entry) Warnings() []Fault {
	gives := e.gives()
	if gives == "" {
		return nil
	}
	var out []Fault
	for i, pattern := range e.Repositories {
		if ownerWide(pattern) {
			out = append(out, Fault{"repositories", i, fmt.Sprintf(
				"%q takes repositories that do not exist yet, and the person who creates one is its admin: that gives them %s. "+
					"Name the repositories, or a prefix that only those who look after sites may use", pattern, gives)})
		}
	}
	return out
}

// gives lists what an entry gives beyond invalidating some pages; "": nothing.
func (e Entry) gives() string {
	var all []string
	if len(e.CPCodes) > 0 {
		all = append(all, "CP codes")
	}
	if len(e.Hosts)+len(e.Tags)+len(e.CPCodes) > 0 { // an admin may delete by a comment, whatever deploys says
		all = append(all, "deletes")
	}
	if slices.Contains(e.Hosts, "*") {
		all = append(all, "every host")
	}
	if slices.Contains(e.Tags, "*") || slices.Contains(e.Tags, "**") {
		all = append(all, "every tag")
	}
	return strings.Join(all, ", ")
}

// ownerWide tells whether a glob takes any name that somebody may invent. It tries three
// names that nobody would choose, and asks whether the glob takes all of them.
func ownerWide(pattern string) bool {
	owner, _, _ := strings.Cut(pattern, "/")
	if glob.IsPattern(owner) {
		owner = "acme"
	}
	return fits(pattern, owner+"/q") && fits(pattern, owner+"/z9_z.9z-x") && fits(pattern, owner+"/a-long-name-that-nobody-chose")
}

// hostFault says what is wrong with a host pattern; "" if nothing is.
func hostFault(pattern string) string {
	domain, _ := strings.CutPrefix(pattern, "*.")
	_, err := object.CanonicalHost(domain)
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
