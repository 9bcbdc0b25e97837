package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/glob"
)

// DefaultAccount is the name of the Akamai account where no other is
// configured.
const DefaultAccount = "default"

// Scope is what a pause, or another word of an operator, covers. The zero value is everything; each name that
// is set narrows it.
type Scope struct {
	Repositories string // glob of owner/name, as the policy's, without regard to case
	Environment  string // without regard to case
	Account      string
}

// Fault says why a scope can't be one, where there are so many accounts; "" if
// it can.
func (s Scope) Fault(accounts ...string) string {
	if _, err := glob.Compile(s.Repositories); err != nil && s.Repositories != "" {
		return fmt.Sprintf("%q is not a glob of repositories: %v", s.Repositories, err)
	}
	if s.Account != "" && !slices.Contains(accounts, s.Account) {
		return NoAccount(s.Account, accounts)
	}
	return ""
}

// NoAccount says that a name is none of the accounts'.
func NoAccount(name string, accounts []string) string {
	return fmt.Sprintf("there is no Akamai account %q: there are %s", name, strings.Join(accounts, ", "))
}

// Same reports whether two scopes are written alike, without regard to case.
func (s Scope) Same(o Scope) bool {
	return strings.EqualFold(s.Repositories, o.Repositories) && strings.EqualFold(s.Environment, o.Environment) && s.Account == o.Account
}

// Pause is an operator's word that something is not sent to Akamai. What is
// on its way when it begins still arrives.
type Pause struct {
	ID int64 // rises
	Scope
	All    bool   // people's purges are paused too
	By     string // who paused
	Reason string // in public words
	Since  time.Time
	Until  time.Time // zero: until it is resumed
}

// Covers reports whether the pause holds a purge back.
func (p Pause) Covers(repository, environment, account string, cause Cause) bool {
	return (p.All || cause != CauseComment) && p.In(repository) &&
		(p.Environment == "" || strings.EqualFold(p.Environment, environment)) &&
		(p.Account == "" || p.Account == account)
}

// In reports whether the scope has anything of a repository.
func (s Scope) In(repository string) bool {
	if s.Repositories == "" {
		return true
	}
	g, err := glob.Compile(strings.ToLower(s.Repositories))
	return err == nil && g.Match(strings.ToLower(repository), nil)
}
