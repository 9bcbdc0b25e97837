package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/purgebot/purgebot/mapping"
)

// Pull is a pull request as it is at the moment. Its head may move at any time, so a
// caller that acts on it must keep to the SHA that it read.
type Pull struct {
	Number       int
	Open         bool
	HeadSHA      string
	HeadRef      string
	HeadRepo     int64 // id; differs from BaseRepo for a fork; 0: the fork was deleted
	BaseSHA      string
	BaseRef      string
	BaseRepo     int64 // id
	ChangedFiles int   // GitHub's count, also of files beyond those that it lists
}

// Pull reads a pull request by its number.
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

// pullFiles is the most files of a pull request that GitHub lists.
// https://docs.github.com/rest/pulls/pulls#list-pull-requests-files
const pullFiles = 3000

// PullFiles lists what a pull request changes, sorted by path. A rename is one removed
// and one added file. complete is false if the list has 3,000 files, as GitHub lists no
// more; the caller must then assume that files are missing.
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

// Role says what somebody may do in a repository. Roles are ordered: see [Role.AtLeast].
type Role string

// GitHub's roles, the least first.
const (
	RoleNone     Role = "none"
	RoleRead     Role = "read"
	RoleTriage   Role = "triage"
	RoleWrite    Role = "write"
	RoleMaintain Role = "maintain"
	RoleAdmin    Role = "admin"
)

// rank orders the roles. A role that is not known ranks with RoleNone: it grants nothing.
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

// AtLeast reports whether a role includes another. An unknown role includes nothing but
// [RoleNone], and no role includes an unknown one.
func (role Role) AtLeast(other Role) bool {
	return other == RoleNone || other.rank() > 0 && role.rank() >= other.rank()
}

// Permission asks what a login may do in this repository. Somebody whom GitHub does not
// know here has [RoleNone]. If the call fails, the result is RoleNone together with the
// error: a doubt is no permission. A custom role counts as the role that it is built on.
//
// In a public repository everybody has at least read. So only [RoleWrite] and above say
// that somebody belongs to the project. The author_association of a payload cannot
// replace this call: a member may have only read access.
func (r *Repository) Permission(ctx context.Context, login string) (Role, error) {
	// go-github v60 lacks role_name here. permission alone says write for maintain, and
	// read for triage.
	var answer struct {
		Permission Role `json:"permission"`
		RoleName   Role `json:"role_name"`
	}
	c := call{
		op:   "read permission of " + login,
		path: "collaborators/" + url.PathEscape(login) + "/permission",
	}
	// url.PathEscape leaves dots alone, so ".." would lead the call to another endpoint.
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

// refined takes a role's name where it tells more than the permission does, and never
// where it claims more: a custom role may have any name, "admin" perhaps.
func (role Role) refined(name Role) Role {
	switch {
	case role.rank() == 0:
		return RoleNone
	case role == RoleWrite && name == RoleMaintain, role == RoleRead && name == RoleTriage:
		return name
	}
	return role
}
