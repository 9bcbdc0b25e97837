package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/glob"
)

// DefaultAccount is the name of the Akamai account where no other is configured.
const DefaultAccount = "default"

// Scope is what a pause, or another order of an operator, covers. The zero value covers
// everything. Each field that is set narrows it.
type Scope struct {
	Repositories string // glob of OWNER/NAME, without regard to case; "": all
	Environment  string // without regard to case; "": all
	Account      string // with regard to case; "": all
}

// Fault says why a scope is not valid, given the names of all accounts; "": it is valid.
func (s Scope) Fault(accounts ...string) string {
	if _, err := glob.Compile(s.Repositories); err != nil && s.Repositories != "" {
		return fmt.Sprintf("%q is not a glob of repositories: %v", s.Repositories, err)
	}
	if s.Account != "" && !slices.Contains(accounts, s.Account) {
		return NoAccount(s.Account, accounts)
	}
	return ""
}

// NoAccount says, in public words, that a name is not one of the accounts.
func NoAccount(name string, accounts []string) string {
	return fmt.Sprintf("there is no Akamai account %q: there are %s", name, strings.Join(accounts, ", "))
}

// Same reports whether two scopes are written the same, without regard to case. Two
// spellings that cover the same may differ.
func (s Scope) Same(o Scope) bool {
	return strings.EqualFold(s.Repositories, o.Repositories) && strings.EqualFold(s.Environment, o.Environment) && s.Account == o.Account
}

// Pause is an operator's order that something is not sent to Akamai. What is being sent
// when it begins still arrives.
type Pause struct {
	ID int64 // rises with each pause
	Scope
	All    bool   // people's purges are paused too
	By     string // name of the operator who paused
	Reason string // in public words
	Since  time.Time
	Until  time.Time // zero: until somebody resumes
}

// Covers reports whether the pause holds a purge back. account is the name of the purge's
// account.
func (p Pause) Covers(repository, environment, account string, cause Cause) bool {
	return (p.All || cause != CauseComment) && p.In(repository) &&
		(p.Environment == "" || strings.EqualFold(p.Environment, environment)) &&
		(p.Account == "" || p.Account == account)
}

// In reports whether the scope covers anything of a repository, given as OWNER/NAME. A
// glob that can't be read covers nothing: Fault keeps such a glob out.
func (s Scope) In(repository string) bool {
	if s.Repositories == "" {
		return true
	}
	g, err := glob.Compile(strings.ToLower(s.Repositories))
	return err == nil && g.Match(strings.ToLower(repository), nil)
}
