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

	"github.com/bmatcuk/doublestar/v4"

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
	Fail []Concern // none: a preview is neutral
}

// Concern is something that a preview found.
type Concern string

// The concerns.
const (
	Refused   Concern = "refused"   // objects that policy or Akamai's form would refuse
	Held      Concern = "held"      // a purge that would wait for a person
	Unmatched Concern = "unmatched" // changed files that no rule matches
)

// Concerns lists them.
func Concerns() []Concern { return []Concern{Refused, Held, Unmatched} }

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
		if slices.ContainsFunc(e.Repositories, func(glob string) bool {
			ok, err := doublestar.Match(strings.ToLower(glob), folded)
			return ok && err == nil
		}) {
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

// Listed tells whether any entry fits the repository at all.
func (g Grant) Listed() bool { return len(g.entries) > 0 }

// Refusal says why a deployment, or a push, may not purge an object as the
// rules ask, in public words; "" if it may.
func (g Grant) Refusal(kind mapping.Kind, object string, action mapping.Action) string {
	if words := g.PersonRefusal(kind, object); words != "" {
		return words
	}
	switch {
	case kind == mapping.CPCode && !g.every(func(e Entry) bool { return e.Deploys.CPCode }):
		return fmt.Sprintf("policy does not allow deployments of %s to purge CP codes (%s)", g.repository, object)
	case action == mapping.Delete && !g.every(func(e Entry) bool { return e.Deploys.Delete }):
		return fmt.Sprintf("policy does not allow deployments of %s to delete %s", g.repository, object)
	}
	return ""
}

// PersonRefusal says why nobody may purge an object for this repository, in
// public words; "" if somebody may, whom Required describes. A person's purge
// is not bound by what policy says of deployments.
func (g Grant) PersonRefusal(kind mapping.Kind, object string) string {
	switch kind {
	case mapping.URL:
		return g.refuseURL(object)
	case mapping.Tag:
		if !g.any(func(e Entry) bool { return e.allowsTag(object) }) {
			return fmt.Sprintf("policy does not allow tag %s for %s", object, g.repository)
		}
	case mapping.CPCode:
		code, err := strconv.ParseInt(object, 10, 64)
		if err != nil || !g.any(func(e Entry) bool { return slices.Contains(e.CPCodes, code) }) {
			return fmt.Sprintf("policy does not allow CP code %s for %s", object, g.repository)
		}
	default:
		return fmt.Sprintf("policy does not know what a %q is", string(kind))
	}
	return ""
}

func (g Grant) refuseURL(object string) string {
	host, err := hostOf(object)
	if err != nil {
		return fmt.Sprintf("policy does not allow %s: %s", object, err)
	}
	if !g.any(func(e Entry) bool { return e.allowsHost(host) }) {
		return fmt.Sprintf("policy does not allow host %s for %s", host, g.repository)
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

// HoldOver gives the numbers above which a purge waits for a person; 0 is
// never.
func (g Grant) HoldOver() HoldOver {
	var h HoldOver
	for _, e := range g.entries {
		h.Delete = lower(h.Delete, e.HoldOver.Delete)
		h.CPCode = lower(h.CPCode, e.HoldOver.CPCode)
	}
	return h
}

// PreviewFails tells whether a concern makes a preview fail: any entry asks
// for it.
func (g Grant) PreviewFails(c Concern) bool {
	return g.any(func(e Entry) bool { return slices.Contains(e.Previews.Fail, c) })
}

// Exceeded says, in public words, why a purge of that many deletes and CP
// codes waits for a person; "" if it need not.
func (h HoldOver) Exceeded(deletes, cpcodes int) string {
	switch {
	case h.Delete > 0 && deletes > h.Delete:
		return fmt.Sprintf("%d deletes, policy holds more than %d", deletes, h.Delete)
	case h.CPCode > 0 && cpcodes > h.CPCode:
		return fmt.Sprintf("%d CP codes, policy holds more than %d", cpcodes, h.CPCode)
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
func tagFits(glob, tag string) bool {
	ok, err := doublestar.Match(strings.ReplaceAll(glob, "/", "\x00"), strings.ReplaceAll(tag, "/", "\x00"))
	return ok && err == nil
}
