// Package policy is the operator's word on who may purge what. It is pure, and it allows
// nothing that is not listed.
//
// Several entries may fit one repository. Their lists of hosts, tags and CP codes add up:
// an object is allowed if any entry allows it. Everything else restricts, and the
// strictest entry counts: the highest role, the creators and flags that every entry
// accepts, the lowest hold_over that is not 0. So a second entry for a repository can
// tighten what a broad entry gives, and can't loosen it by leaving something out.
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

// Policy is the operator's whole policy, its entries in the order of the file.
type Policy []Entry

// Entry is what some repositories may purge. The zero value allows nothing; NewEntry has
// the defaults that a file's entry starts from.
type Entry struct {
	Repositories []string // doublestar globs of owner/name, without regard to case
	Hosts        []string // www.acme.com; *.acme.com is any host below acme.com, at any depth, but not acme.com; * is every host
	Tags         []string // globs, with regard to case; * takes any character
	CPCodes      []int64
	Comments     Comments
	Deploys      Deploys
	HoldOver     HoldOver
	Previews     Previews
	Account      string // Akamai account that the repositories' purges are sent with; "": the default one
	RulesFrom    string // OWNER/NAME: its rules file counts where a repository has none, and may be extended
}

// Comments are the roles that a person needs at least, on GitHub's scale. Every command
// needs Permission; a delete needs Delete as well, and a CP code CPCode.
type Comments struct {
	Permission Role
	Delete     Role
	CPCode     Role
}

// Deploys says whose deployment statuses count, and what rules files may do.
type Deploys struct {
	Creators []string // logins without regard to case; "*" is everybody
	Delete   bool     // rules may delete, not only invalidate
	CPCode   bool     // rules may purge CP codes
}

// HoldOver holds a purge that has more objects of a kind than this, until a person
// releases it. 0 holds nothing.
type HoldOver struct {
	Delete int
	CPCode int
}

// Previews says what makes a pull request's preview fail, besides a broken rules file. It
// is for operators who want a merge to wait for such findings.
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

// NewEntry has the default of everything but the lists of what is allowed, which are
// empty.
func NewEntry() Entry {
	return Entry{
		Comments: Comments{Permission: Write, Delete: Maintain, CPCode: Admin},
		Deploys:  Deploys{Creators: []string{"*"}, Delete: true, CPCode: true},
	}
}

// For gives what a repository, OWNER/NAME, may do. If no entry fits, the Grant allows
// nothing. Names compare without regard to case, as at GitHub.
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

// RulesFrom lists the repositories whose rules files the repository may use, in the order
// of the entries. It may extend each of them; the first one's rules count if it has none.
func (g Grant) RulesFrom() (names []string) {
	for _, e := range g.entries {
		if e.RulesFrom != "" && !slices.Contains(names, e.RulesFrom) {
			names = append(names, e.RulesFrom)
		}
	}
	return names
}

// Account is the account whose credentials and budget the repository's purges use: that
// of the first entry that names one. "": the default account.
func (g Grant) Account() string {
	for _, e := range g.entries {
		if e.Account != "" {
			return e.Account
		}
	}
	return ""
}

// Shares tells whether other repositories use the rules of a repository.
func (p Policy) Shares(repository string) bool {
	return slices.ContainsFunc(p, func(e Entry) bool { return strings.EqualFold(e.RulesFrom, repository) })
}

// Listed tells whether any entry fits the repository at all.
func (g Grant) Listed() bool { return len(g.entries) > 0 }

// Refusal says why a deployment or a push may not purge an object as the rules ask, in
// public words; "" if it may.
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

// PersonRefusal says why nobody may purge an object for this repository, in public words;
// "" if somebody may, and Required says who. What policy says of deployments does not
// bind a person's own purge.
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

// refuseURL is PersonRefusal for a URL or an ARL. An object whose host can't be read is
// refused.
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

// Creator tells whether deployment statuses of a login count. A deployment without a
// creator never counts.
func (g Grant) Creator(login string) bool {
	return login != "" && g.every(func(e Entry) bool {
		return slices.ContainsFunc(e.Deploys.Creators, func(c string) bool {
			return c == "*" || strings.EqualFold(c, login)
		})
	})
}

// Command is the role that a person needs for any command.
func (g Grant) Command() Role {
	return g.strictest(func(c Comments) Role { return c.Permission })
}

// Required is the role that a person needs to purge an object of that kind with that
// action: the highest of what any command, a delete and a CP code need.
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

// May tells whether a role is enough to purge objects of that kind with that action.
// PersonRefusal judges the object itself.
func (g Grant) May(role Role, kind mapping.Kind, action mapping.Action) bool {
	return g.Listed() && role.AtLeast(g.Required(kind, action))
}

// HoldOver gives the numbers above which a purge needs approval; 0: never.
func (g Grant) HoldOver() HoldOver {
	var h HoldOver
	for _, e := range g.entries {
		h.Delete = lower(h.Delete, e.HoldOver.Delete)
		h.CPCode = lower(h.CPCode, e.HoldOver.CPCode)
	}
	return h
}

// PreviewFails tells whether any entry wants a preview to fail for a finding.
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

// lower is the lower of two limits, where 0 is no limit.
func lower(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// any reports whether one entry at least is ok; false without entries.
func (g Grant) any(ok func(Entry) bool) bool { return slices.ContainsFunc(g.entries, ok) }

// every reports whether all entries are ok. Without entries it is false: nothing is
// allowed by default.
func (g Grant) every(ok func(Entry) bool) bool {
	return g.Listed() && !g.any(func(e Entry) bool { return !ok(e) })
}

// strictest is the highest role that any entry asks for; without entries Nobody.
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

// allowsHost takes a canonical host.
func (e Entry) allowsHost(host string) bool {
	return slices.ContainsFunc(e.Hosts, func(pattern string) bool { return hostFits(pattern, host) })
}

func (e Entry) allowsTag(tag string) bool {
	return slices.ContainsFunc(e.Tags, func(glob string) bool { return tagFits(glob, tag) })
}

// tagFits matches a tag with a glob in which * also takes a slash: both get another
// character for the slash, which glob treats like any other.
func tagFits(pattern, tag string) bool {
	return fits(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(tag, "/", "\x00"))
}

// fits matches a name with a glob. It sets no bound on the work, as names are short. A
// pattern that is no glob fits nothing; Faults has told the operator.
func fits(pattern, name string) bool {
	g, err := glob.Compile(pattern)
	return err == nil && g.Match(name, nil)
}
