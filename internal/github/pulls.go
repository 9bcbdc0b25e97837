package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/purgebot/purgebot/mapping"
)

// Pull is a pull request.
type Pull struct {
	Number       int
	Open         bool
	HeadSHA      string
	HeadRef      string
	HeadRepo     int64 // 0: the fork is gone
	BaseSHA      string
	BaseRef      string
	BaseRepo     int64
	ChangedFiles int
}

// Pull reads a pull request.
func (r *Repository) Pull(ctx context.Context, number int) (Pull, error) {
	type side struct {
		SHA  string `json:"sha"`
		Ref  string `json:"ref"`
		Repo *struct {
			ID int64 `json:"id"`
		} `json:"repo"`
	}
	var answer struct {
		State        string `json:"state"`
		Head         side   `json:"head"`
		Base         side   `json:"base"`
		ChangedFiles int    `json:"changed_files"`
	}
	c := call{op: "read pull request " + strconv.Itoa(number), path: "pulls/" + strconv.Itoa(number)}
	if _, err := r.do(ctx, c, &answer); err != nil {
		return Pull{}, err
	}
	p := Pull{
		Number: number, Open: answer.State == "open",
		HeadSHA: answer.Head.SHA, HeadRef: answer.Head.Ref,
		BaseSHA: answer.Base.SHA, BaseRef: answer.Base.Ref,
		ChangedFiles: answer.ChangedFiles,
	}
	if answer.Head.Repo != nil {
		p.HeadRepo = answer.Head.Repo.ID
	}
	if answer.Base.Repo != nil {
		p.BaseRepo = answer.Base.Repo.ID
	}
	return p, nil
}

// pullFiles is how many files of a pull request GitHub lists.
// https://docs.github.com/rest/pulls/pulls#list-pull-requests-files
const pullFiles = 3000

// PullFiles lists what a pull request changes, sorted by path; a rename is one
// removed and one added. Not complete: GitHub lists no more than 3,000 files,
// and this pull request has as many.
func (r *Repository) PullFiles(ctx context.Context, number int) (changes []mapping.Change, complete bool, err error) {
	var files []fileAnswer
	op := "list files of pull request " + strconv.Itoa(number)
	c := call{op: op, path: fmt.Sprintf("pulls/%d/files", number)}
	more, err := pages(c, pullFiles/100, func(c call) (http.Header, error) {
		var page []fileAnswer
		header, err := r.do(ctx, c, &page)
		files = append(files, page...)
		return header, err
	}, func() bool { return len(files) < pullFiles })
	if err != nil {
		return nil, false, err
	}
	changes, ok := fileChanges(files)
	if !ok {
		return nil, false, &Error{Op: op, Status: http.StatusOK, Message: "a file's status is none that GitHub documents"}
	}
	return changes, !more && len(files) < pullFiles, nil
}

// Role is what somebody may do in a repository. They are ordered: see
// [Role.AtLeast].
type Role string

// GitHub's roles.
const (
	RoleNone     Role = "none"
	RoleRead     Role = "read"
	RoleTriage   Role = "triage"
	RoleWrite    Role = "write"
	RoleMaintain Role = "maintain"
	RoleAdmin    Role = "admin"
)

func (role Role) rank() int {
	switch role {
	case RoleRead:
		return 1
	case RoleTriage:
		return 2
	case RoleWrite:
		return 3
	case RoleMaintain:
		return 4
	case RoleAdmin:
		return 5
	case RoleNone:
	}
	return 0
}

// AtLeast reports whether a role includes another. A role that is not known
// includes nothing, and nothing includes it.
func (role Role) AtLeast(other Role) bool {
	return other == RoleNone || other.rank() > 0 && role.rank() >= other.rank()
}

// Permission asks what a login may do in this repository. Somebody whom GitHub
// does not know here has [RoleNone]. So has everybody when the call fails, with
// the error: a doubt is no permission. A custom role counts as the role that it
// is built on.
func (r *Repository) Permission(ctx context.Context, login string) (Role, error) {
	// go-github v60 has no role_name here, and permission alone says write for
	// maintain and read for triage.
	var answer struct {
		Permission Role `json:"permission"`
		RoleName   Role `json:"role_name"`
	}
	c := call{
		op:   "read permission of " + login,
		path: "collaborators/" + url.PathEscape(login) + "/permission",
	}
	if login == "" || login == "." || login == ".." {
		return RoleNone, fmt.Errorf("read permission of %q in %s: this is no login", login, r)
	}
	if _, err := r.do(ctx, c, &answer); err != nil {
		if IsNotFound(err) {
			return RoleNone, nil
		}
		return RoleNone, err
	}
	return answer.Permission.refined(answer.RoleName), nil
}

// refined takes a role's name where it says more than the permission, and
// never where it claims more.
func (role Role) refined(name Role) Role {
	switch {
	case role.rank() == 0:
		return RoleNone
	case role == RoleWrite && name == RoleMaintain, role == RoleRead && name == RoleTriage:
		return name
	}
	return role
}
