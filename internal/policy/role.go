package policy

import "slices"

// Role is what somebody may do in a repository, on GitHub's scale. Another
// word than those below counts as None where it is somebody's role, and as
// Nobody where it is asked for.
type Role string

// GitHub's roles, rising. Nobody is a requirement that none fulfils.
const (
	None     Role = "none"
	Read     Role = "read"
	Triage   Role = "triage"
	Write    Role = "write"
	Maintain Role = "maintain"
	Admin    Role = "admin"
	Nobody   Role = "nobody"
)

// Roles are those that a policy may ask for, rising.
func Roles() []Role { return []Role{Read, Triage, Write, Maintain, Admin} }

// rank is 0 for none, and for what is no role.
func (r Role) rank() int { return slices.Index(Roles(), r) + 1 }

// required is the rank that r asks for.
func (r Role) required() int {
	if rank := r.rank(); rank > 0 || r == None {
		return rank
	}
	return len(Roles()) + 1
}

// AtLeast tells whether r is need or more.
func (r Role) AtLeast(need Role) bool { return r.rank() >= need.required() }

func higher(a, b Role) Role {
	if b.required() > a.required() {
		return b
	}
	return a
}
