package policy

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/purgebot/purgebot/internal/object"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// By is the one who wants something purged. The zero value may purge nothing.
type By struct {
	login    string
	role     Role
	any      bool // no role is needed
	deployed bool // bound by what policy says of deployments
}

// Deployment is a deployment or a push. It needs no role; policy bounds what its rules
// may do.
func Deployment() By { return By{any: true, deployed: true} }

// Person is somebody with a role on GitHub. An unknown role counts as none.
func Person(login string, role Role) By { return By{login: login, role: role} }

// Operator is the operator, who wrote the policy: bound by its objects and by no role.
func Operator() By { return By{any: true} }

// Deployed is the same person or operator, who retries or releases the purge of a
// deployment: what policy says of deployments binds them too.
func (b By) Deployed() By {
	b.deployed = true
	return b
}

// Refusal is why a target can't be sent. The zero value: it can.
type Refusal struct {
	Reason string // in public words
	Need   Role   // the role that By lacks, even if Reason says something else; "": none
	Barred bool   // refused only because a deployment may not; a person might
}

// Check judges one target of a purge. This is the only place that does, and nothing is
// sent that was not judged here. The order decides which reason is told: what the rules
// said of the target, what policy allows the repository, what it allows deployments, the
// form that Akamai takes, and last the role.
func (g Grant) Check(t mapping.Target, by By) (r Refusal) {
	if need := g.Required(t.Kind, t.Action); !by.any && (!g.Listed() || !by.role.AtLeast(need)) {
		r.Need = need
	}
	if r.Reason = t.Reason; r.Reason == "" {
		r.Reason = g.PersonRefusal(t.Kind, t.Object)
	}
	if r.Reason == "" && by.deployed {
		r.Reason = g.Refusal(t.Kind, t.Object, t.Action)
		r.Barred = r.Reason != ""
	}
	if r.Reason == "" {
		r.Reason = malformed(t)
	}
	if r.Reason == "" && r.Need != "" {
		r.Reason = fmt.Sprintf("%s needs the %s role and %s has %s", Privilege(t.Kind, t.Action), r.Need, by.login, by.role)
	}
	return r
}

// Host tells whether any URL of a host may be purged.
func (g Grant) Host(name string) bool {
	host, err := object.CanonicalHost(name)
	return err == nil && g.any(func(e Entry) bool { return e.allowsHost(host) })
}

// malformed says why an object can't be sent as it is written; "" if it can.
func malformed(t mapping.Target) string {
	if garbled(t.Path, t.Object) {
		return "the file's name is not UTF-8, and GitHub doesn't tell its bytes: rename the file"
	}
	if err := purger.Check(t.Kind, t.Object); err != nil {
		return err.Error()
	}
	if t.Kind == mapping.URL {
		return object.DotFolder(t.Object)
	}
	return ""
}

// garbled reports whether an object holds a part of a file's name that JSON can't hold.
// GitHub sends a replacement character instead, so the object would be another page.
func garbled(path, object string) bool {
	const replacement, encoded = "\ufffd", "%EF%BF%BD"
	return strings.Contains(path, replacement) &&
		(strings.Contains(object, encoded) || strings.Contains(object, replacement))
}

// Privilege says in words what a role is needed for.
func Privilege(kind mapping.Kind, action mapping.Action) string {
	switch {
	case kind == mapping.CPCode && action == mapping.Delete:
		return "deleting a CP code"
	case kind == mapping.CPCode:
		return "purging a CP code"
	case action == mapping.Delete:
		return "deleting"
	default:
		return "purging"
	}
}

// Judge checks the targets of one purge, and keeps an account for the log and for the
// answer. Only one goroutine may use it.
type Judge struct {
	grant Grant
	by    By

	Allowed, Refused int
	Deletes, CPCodes int // of those allowed; see HoldOver
	Barred           int // deletes refused only because a deployment may not
	Reason           string
	Need             Role   // the first role that was lacking; "": none
	What             string // what Need is needed for; see Privilege
	Enough           bool   // the role is enough for one target at least
}

// Judge makes a judge of one purge of the repository.
func (g Grant) Judge(by By) *Judge { return &Judge{grant: g, by: by} }

// Check says why a target can't be sent; "" if it can. It adds the target to the account.
func (j *Judge) Check(t mapping.Target) string {
	r := j.grant.Check(t, j.by)
	if j.Enough = j.Enough || r.Need == ""; r.Need != "" && j.Need == "" {
		j.Need, j.What = r.Need, Privilege(t.Kind, t.Action)
	}
	if r.Reason != "" {
		if r.Barred && t.Action == mapping.Delete {
			j.Barred++
		}
		if j.Refused++; j.Reason == "" {
			j.Reason = r.Reason
		}
		return r.Reason
	}
	j.Allowed++
	if t.Kind == mapping.CPCode {
		j.CPCodes++
	}
	if t.Action == mapping.Delete {
		j.Deletes++
	}
	return ""
}

// Again judges a target that was refused before, by policy or by Akamai. If only the role
// is missing now, the target keeps the reason that it had: that is what has to be fixed.
func (j *Judge) Again(t mapping.Target) string {
	was := t.Reason
	t.Reason = ""
	reason := j.Check(t)
	if reason != "" && was != "" && j.grant.Check(t, By{any: true, deployed: j.by.deployed}).Reason == "" {
		return was
	}
	return reason
}

// Held says, in public words, why the purge needs approval; "" if it does not.
func (j *Judge) Held() string { return j.grant.HoldOver().Exceeded(j.Deletes, j.CPCodes) }

// LogValue is the account for the log: who wanted something, how much was allowed and
// refused, and the first reason.
func (j *Judge) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Int("allowed", j.Allowed), slog.Int("refused", j.Refused)}
	if j.by.login != "" {
		attrs = append(attrs, slog.String("by", j.by.login), slog.String("role", string(j.by.role)))
	}
	if j.Reason != "" {
		attrs = append(attrs, slog.String("reason", j.Reason))
	}
	return slog.GroupValue(attrs...)
}
