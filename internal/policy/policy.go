// Package policy is the operator's word on who may purge what. It is pure,
// and it allows nothing that is not listed.
//
// Several entries may fit one repository. Their lists of hosts, tags and CP
// codes add up: an object is allowed if any entry allows it. All else is a
// restraint, and the strictest counts: the highest role, creators and flags
// that every entry accepts, the lowest hold_over that is not 0. So a second
// entry for one repository can tighten what a broad one gives, and can't
// loosen it by what it leaves out.
package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/object"
	"github.com/purgebot/purgebot/mapping"
)

// Policy is the whole of it, in the order of the file.
type Policy []Entry

// Entry is what some repositories may purge. The zero value allows nothing;
// NewEntry has the defaults of a file's entry.
type Entry struct {
	Repositories []string // doublestar globs of owner/name, without regard to case
	Hosts        []string // www.acme.com; *.acme.com is any depth below acme.com and not itself; * is every host
	Tags         []string // globs, with regard to case; * takes any character
	CPCodes      []int64
	Comments     Comments
	Deploys      Deploys
	HoldOver     HoldOver
	Previews     Previews
	Account      string // of Akamai, that the repositories' purges are sent with; "": the default one
	RulesFrom    string // OWNER/NAME: whose rules file counts where a repository has none, and may be extended
}

// Comments are the roles that people need: on GitHub's scale, at least.
// Every command needs Permission; a delete needs Delete too, and a CP code
// CPCode.
type Comments struct {
	Permission Role
	Delete     Role
	CPCode     Role
}

// Deploys says whose deployment statuses count, and what the rules may do.
type Deploys struct {
	Creators []string // logins without regard to case; "*" is everybody
	Delete   bool     // rules may delete, not only invalidate
	CPCode   bool     // rules may purge CP codes
}

// HoldOver holds a purge with more objects than this until a person releases
// it. 0 is never.
type HoldOver struct {
	Delete int
	CPCode int
}

// Previews says what makes a pull request's preview fail beside a broken rules
// file, for operators whose merges are to wait for it.
type Previews struct {
	Fail []Finding // none: a preview is neutral
}

// Finding is something that a preview found.
type Finding string

// The findings.
const (
	Refused   Finding = "refused"   // objects that policy or Akamai's form would refuse
	Held      Finding = "held"      // a purge that would need approval
	Unmatched Finding = "unmatched" // changed files that no rule matches
)

// Findings lists them.
func Findings() []Finding { return []Finding{Refused, Held, Unmatched} }

// NewEntry has the defaults of everything but the lists of what is allowed.
func NewEntry() Entry {
	return Entry{
		Comments: Comments{Permission: Write, Delete: Maintain, CPCode: Admin},
		Deploys:  Deploys{Creators: []string{"*"}, Delete: true, CPCode: true},
	}
}

// For gives what a repository, owner/name, may do. A repository that no entry
// fits gets a Grant that allows nothing.
func (p Policy) For(repository string) Grant {
	g := Grant{repository: repository}
	folded := strings.ToLower(repository)
	for _, e := range p {
		if slices.ContainsFunc(e.Repositories, func(pattern string) bool { return fits(strings.ToLower(pattern), folded) }) {
			g.entries = append(g.entries, e)
		}
	}
	return g
}

// Grant is what one repository may do. The zero value allows nothing.
type Grant struct {
	repository string
	entries    []Entry
}

// RulesFrom lists the repositories whose rules files the repository may use,
// in the order of the entries: it may extend each, and the first stands in
// where it has none of its own.
func (g Grant) RulesFrom() (names []string) {
	for _, e := range g.entries {
		if e.RulesFrom != "" && !slices.Contains(names, e.RulesFrom) {
			names = append(names, e.RulesFrom)
		}
	}
	return names
}

// Account is whose credentials and budget the repository's purges take: what
// the first entry says that names an account. "": the default one.
func (g Grant) Account() string {
	for _, e := range g.entries {
		if e.Account != "" {
			return e.Account
		}
	}
	return ""
}

// Shares tells whether other repositories take rules from one.
func (p Policy) Shares(repository string) bool {
	return slices.ContainsFunc(p, func(e Entry) bool { return strings.EqualFold(e.RulesFrom, repository) })
}

// Listed tells whether any entry fits the repository at all.
func (g Grant) Listed() bool { return len(g.entries) > 0 }

// Refusal says why a deployment, or a push, may not purge an object as the
// rules ask, in public words; "" if it may.
func (g Grant) Refusal(kind mapping.Kind, named string, action mapping.Action) string {
	if words := g.PersonRefusal(kind, named); words != "" {
		return words
	}
	switch {
	case kind == mapping.CPCode && !g.every(func(e Entry) bool { return e.Deploys.CPCode }):
		return fmt.Sprintf("policy doesn't allow deployments of %s to purge CP codes (%s)", g.repository, named)
	case action == mapping.Delete && !g.every(func(e Entry) bool { return e.Deploys.Delete }):
		return fmt.Sprintf("policy doesn't allow deployments of %s to delete %s", g.repository, named)
	}
	return ""
}

// PersonRefusal says why nobody may purge an object for this repository, in
// public words; "" if somebody may, whom Required describes. A person's purge
// is not bound by what policy says of deployments.
func (g Grant) PersonRefusal(kind mapping.Kind, named string) string {
	switch kind {
	case mapping.URL:
		return g.refuseURL(named)
	case mapping.Tag:
		if !g.any(func(e Entry) bool { return e.allowsTag(named) }) {
			return fmt.Sprintf("policy doesn't allow tag %s for %s", named, g.repository)
		}
	case mapping.CPCode:
		code, err := strconv.ParseInt(named, 10, 64)
		if err != nil || !g.any(func(e Entry) bool { return slices.Contains(e.CPCodes, code) }) {
			return fmt.Sprintf("policy doesn't allow CP code %s for %s", named, g.repository)
		}
	default:
		return fmt.Sprintf("policy doesn't know the kind %q", string(kind))
	}
	return ""
}

func (g Grant) refuseURL(url string) string {
	host, err := object.Host(url)
	if err != nil {
		return fmt.Sprintf("policy doesn't allow %s: %s", url, err)
	}
	if !g.any(func(e Entry) bool { return e.allowsHost(host) }) {
		return fmt.Sprintf("policy doesn't allow host %s for %s", host, g.repository)
	}
	return ""
}

// Creator tells whether the deployment statuses of a login count.
func (g Grant) Creator(login string) bool {
	return login != "" && g.every(func(e Entry) bool {
		return slices.ContainsFunc(e.Deploys.Creators, func(c string) bool {
			return c == "*" || strings.EqualFold(c, login)
		})
	})
}

// Command is the role that any command of a person needs.
func (g Grant) Command() Role {
	return g.strictest(func(c Comments) Role { return c.Permission })
}

// Required is the role that a person needs to purge an object of that kind
// in that way: what any command needs, and more for a delete and a CP code,
// the highest of all that apply.
func (g Grant) Required(kind mapping.Kind, action mapping.Action) Role {
	need := g.Command()
	if action == mapping.Delete {
		need = higher(need, g.strictest(func(c Comments) Role { return c.Delete }))
	}
	if kind == mapping.CPCode {
		need = higher(need, g.strictest(func(c Comments) Role { return c.CPCode }))
	}
	return need
}

// May tells whether somebody of that role may purge an object of that kind in
// that way; PersonRefusal judges the object itself.
func (g Grant) May(role Role, kind mapping.Kind, action mapping.Action) bool {
	return g.Listed() && role.AtLeast(g.Required(kind, action))
}

// HoldOver gives the numbers above which a purge needs approval; 0 is
// never.
func (g Grant) HoldOver() HoldOver {
	var h HoldOver
	for _, e := range g.entries {
		h.Delete = lower(h.Delete, e.HoldOver.Delete)
		h.CPCode = lower(h.CPCode, e.HoldOver.CPCode)
	}
	return h
}

// PreviewFails tells whether a finding makes a preview fail: any entry asks
// for it.
func (g Grant) PreviewFails(c Finding) bool {
	return g.any(func(e Entry) bool { return slices.Contains(e.Previews.Fail, c) })
}

// Exceeded says, in public words, why a purge of that many deletes and CP
// codes needs approval; "" if it need not.
func (h HoldOver) Exceeded(deletes, cpcodes int) string {
	switch {
	case h.Delete > 0 && deletes > h.Delete:
		return fmt.Sprintf("%d deletes, limit %d", deletes, h.Delete)
	case h.CPCode > 0 && cpcodes > h.CPCode:
		return fmt.Sprintf("%d CP codes, limit %d", cpcodes, h.CPCode)
	}
	return ""
}

// lower is the lower of two limits of which 0 is none.
func lower(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func (g Grant) any(ok func(Entry) bool) bool { return slices.ContainsFunc(g.entries, ok) }

// every is false where there is no entry.
func (g Grant) every(ok func(Entry) bool) bool {
	return g.Listed() && !g.any(func(e Entry) bool { return !ok(e) })
}

// strictest is the highest role of all entries; without any, nobody's.
func (g Grant) strictest(of func(Comments) Role) Role {
	if !g.Listed() {
		return Nobody
	}
	need := None
	for _, e := range g.entries {
		need = higher(need, of(e.Comments))
	}
	return need
}

func (e Entry) allowsHost(host string) bool {
	return slices.ContainsFunc(e.Hosts, func(pattern string) bool { return hostFits(pattern, host) })
}

func (e Entry) allowsTag(tag string) bool {
	return slices.ContainsFunc(e.Tags, func(glob string) bool { return tagFits(glob, tag) })
}

// tagFits has no separators: a "/" in a tag is a character like another.
func tagFits(pattern, tag string) bool {
	return fits(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(tag, "/", "\x00"))
}

// fits is for names, which are short; Faults has told of a pattern that is no
// glob, and none fits it.
func fits(pattern, name string) bool {
	g, err := glob.Compile(pattern)
	return err == nil && g.Match(name, nil)
}
