package policy

import "slices"

// Role is what somebody may do in a repository, on GitHub's scale. Any other word counts
// as None if it is a person's role, and as Nobody if it is required: in doubt nothing is
// allowed.
type Role string

// GitHub's roles, the lowest first. Nobody is a requirement that no role meets.
const (
	None     Role = "none"
	Read     Role = "read"
	Triage   Role = "triage"
	Write    Role = "write"
	Maintain Role = "maintain"
	Admin    Role = "admin"
	Nobody   Role = "nobody"
)

// Roles are those that a policy may ask for, the lowest first.
func Roles() []Role { return []Role{Read, Triage, Write, Maintain, Admin} }

// rank is the rank of a person's role; 0 for None and for every other word.
func (r Role) rank() int { return slices.Index(Roles(), r) + 1 }

// required is the rank that r asks for. A word that is no role asks for more than any
// role has.
func (r Role) required() int {
	if rank := r.rank(); rank > 0 || r == None {
		return rank
	}
	return len(Roles()) + 1
}

// AtLeast tells whether r is the role need or a higher one.
func (r Role) AtLeast(need Role) bool { return r.rank() >= need.required() }

// higher is the role that asks for more.
func higher(a, b Role) Role {
	if b.required() > a.required() {
		return b
	}
	return a
}
