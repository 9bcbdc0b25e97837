package webhook

import "time"

// An Event is one decoded delivery: a pointer to one of the types of this package.
type Event interface {
	// Source says where the event comes from.
	Source() Origin
	isEvent()
}

// Origin says where an event comes from.
type Origin struct {
	Installation int64 // id of the App's installation; 0: GitHub names none
	Repository   Repo  // zero for events of a whole installation
	Sender       User  // who caused the event; zero: GitHub names nobody
}

// Source returns o. Embedding an Origin makes a type an [Event].
func (o Origin) Source() Origin { return o }

func (o Origin) isEvent() {}

// Repo is a repository as an event describes it.
type Repo struct {
	ID            int64 // stays the same through a rename and a transfer
	Owner         string
	Name          string
	DefaultBranch string
	PushedAt      time.Time // zero: GitHub does not say
	Archived      bool
}

// FullName is owner/name, or "" for the zero Repo.
func (r Repo) FullName() string {
	if r.Owner == "" {
		return ""
	}
	return r.Owner + "/" + r.Name
}

// User is an account: a person, a bot or an organisation.
type User struct {
	Login string `json:"login"`
	ID    int64  `json:"id"`
	Type  string `json:"type"` // "User", "Bot", "Organization", "Mannequin"
}

// Push is a branch or a tag that was created, moved or deleted. It has no list of files:
// the one in the payload is cut and is no net difference.
type Push struct {
	Origin
	Ref     string // refs/heads/main, refs/tags/v1
	Before  string // forty zeros: the ref is new
	After   string // forty zeros: the ref is gone; for an annotated tag, the tag object
	Created bool
	Deleted bool
	Forced  bool
}

// DeploymentStatus is a new state of a deployment.
type DeploymentStatus struct {
	Origin
	ID           int64
	State        string    // "success", "failure", …; an unknown one has no meaning
	Environment  string    // the status's own; a status may change its deployment's environment
	CreatedAt    time.Time // when GitHub recorded the state; zero: GitHub does not say
	Creator      string    // login of the status's creator; often not the deployment's
	DeploymentID int64
	SHA          string
	Ref          string // a branch, a tag or a commit: the deployed commit is SHA
}

// IssueComment is a new comment on an issue or a pull request. Only created comments are
// decoded. Somebody with write access may edit another person's comment, and User stays
// the first author: acting on an edit would use that author's rights.
type IssueComment struct {
	Origin
	Action          string
	ID              int64
	Body            string
	User            User // the author; authorise Sender, and only if both are the same person
	Number          int  // of the issue or pull request
	IsPullRequest   bool
	PerformedViaApp bool // an App wrote it in the author's name
	CreatedAt       time.Time
}

// PullRequest is a pull request that was opened, reopened, synchronized,
// edited or closed.
type PullRequest struct {
	Origin
	Action string
	Number int
	Head   Side
	Base   Side
	Merged bool
	Merge  string // the commit that it was merged as; "" unless Merged
	Draft  bool
}

// Side is the head or the base of a pull request.
type Side struct {
	SHA    string
	Ref    string // branch name
	RepoID int64  // 0: the fork was deleted
}

// CheckRun is a check run of any App that completed, or a run of ours whose button
// somebody pressed.
type CheckRun struct {
	Origin
	Action          string // completed, requested_action, rerequested
	ID              int64
	Name            string
	HeadSHA         string
	HeadBranch      string // "" for a fork's commit
	AppID           int64
	ExternalID      string
	Status          string
	Conclusion      string // "" until it is completed
	StartedAt       time.Time
	CompletedAt     time.Time
	RequestedAction string // the identifier of the button that was pressed
}

// CheckSuite is a suite that somebody wants to run again.
type CheckSuite struct {
	Origin
	Action     string // rerequested
	ID         int64
	HeadSHA    string
	HeadBranch string
	AppID      int64
}

// Status is a commit status that somebody set.
type Status struct {
	Origin
	ID        int64
	SHA       string
	Context   string
	State     string // pending, success, failure, error
	Branches  []Branch
	UpdatedAt time.Time
}

// Branch is a branch that contains the commit of a status, with the branch's own head.
// GitHub names at most ten.
type Branch struct {
	Name string
	SHA  string
}

// WorkflowRun is a workflow run that completed.
type WorkflowRun struct {
	Origin
	Action     string // completed
	ID         int64
	Attempt    int
	Path       string // .github/workflows/deploy.yml
	HeadBranch string // of the head repository: a fork may also have a "main"
	HeadSHA    string
	HeadRepoID int64 // differs from Repository.ID for a fork's run
	Event      string
	Conclusion string
	StartedAt  time.Time // of this attempt
	UpdatedAt  time.Time
}

// Installation is an installation of the App that was created, deleted, suspended or
// unsuspended, or that got new permissions.
type Installation struct {
	Origin
	Action       string // created, deleted, suspend, unsuspend, new_permissions_accepted
	Account      string // login of the account that it is on
	Repositories []Repo // ID, Owner and Name only
}

// InstallationRepositories says which repositories an installation gained
// or lost.
type InstallationRepositories struct {
	Origin
	Action  string // added, removed
	Added   []Repo // ID, Owner and Name only
	Removed []Repo
}

// Repository is a repository that was renamed, transferred, archived,
// unarchived, deleted or edited.
type Repository struct {
	Origin
	Action   string
	OldOwner string // before a transfer; else ""
	OldName  string // before a rename; else ""
}

// MergeGroup is a group of a merge queue that asks for its checks.
type MergeGroup struct {
	Origin
	Action  string // checks_requested
	HeadSHA string
	HeadRef string
	BaseSHA string
	BaseRef string
}

// Ping is the first event that GitHub sends to a new webhook.
type Ping struct{ Origin }

// Ignored is an event, or an action of one, that can never change what purgebot does.
type Ignored struct {
	Origin
	Event  string
	Action string
}
