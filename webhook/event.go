package webhook

import "time"

// An Event is one decoded delivery: one of the pointer types of this package.
type Event interface {
	// Source says where the event comes from.
	Source() Origin
	isEvent()
}

// Origin says where an event comes from.
type Origin struct {
	Installation int64 // the App's installation; 0 where GitHub names none
	Repository   Repo  // zero for events of a whole installation
	Sender       User  // who caused the event; zero where GitHub names nobody
}

// Source returns o.
func (o Origin) Source() Origin { return o }

func (o Origin) isEvent() {}

// Repo is a repository as an event describes it.
type Repo struct {
	ID            int64 // survives a rename and a transfer
	Owner         string
	Name          string
	DefaultBranch string
	PushedAt      time.Time // zero where GitHub does not say
	Archived      bool
}

// FullName is owner/name, and "" for the zero Repo.
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

// Push moves a branch or a tag.
type Push struct {
	Origin
	Ref     string // refs/heads/main, refs/tags/v1
	Before  string // forty zeros when the ref is new
	After   string // forty zeros when the ref is gone; of an annotated tag, the tag object
	Created bool
	Deleted bool
	Forced  bool
}

// DeploymentStatus is a new state of a deployment.
type DeploymentStatus struct {
	Origin
	ID           int64
	State        string    // "success", "failure", …; GitHub adds states: one that is unknown means nothing
	Environment  string    // the status may change its deployment's environment
	CreatedAt    time.Time // when GitHub recorded the state; zero where it does not say
	Creator      string    // login of whoever recorded it; often not the deployment's creator
	DeploymentID int64
	SHA          string
	Ref          string // a branch, a tag or a commit: the deployed commit is SHA
}

// IssueComment is a new comment on an issue or a pull request. Only created
// ones are decoded: whoever may write may edit another's comment, and its User
// stays the first author.
type IssueComment struct {
	Origin
	Action          string
	ID              int64
	Body            string
	User            User // the author; authorise Sender, and only where both are one person
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
	Merge  string // the commit that it was merged as, once it was
	Draft  bool
}

// Side is one of the two ends of a pull request.
type Side struct {
	SHA    string
	Ref    string // branch name
	RepoID int64  // 0 where the fork is gone
}

// CheckRun is a check run of any App that completed, or one whose button
// was pressed.
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
	Conclusion      string // "" until it completed
	StartedAt       time.Time
	CompletedAt     time.Time
	RequestedAction string // the button's identifier
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

// Branch is a branch that holds the commit of a status, and its own head.
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
	HeadBranch string // of the head repository: a fork may have a "main" too
	HeadSHA    string
	HeadRepoID int64 // differs from Repository.ID for a fork's run
	Event      string
	Conclusion string
	StartedAt  time.Time // of this attempt
	UpdatedAt  time.Time
}

// Installation is an installation of the App that came, went, was suspended
// or got new permissions.
type Installation struct {
	Origin
	Action       string // created, deleted, suspend, unsuspend, new_permissions_accepted
	Account      string // login of the owner
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
	OldOwner string // before a transfer, else ""
	OldName  string // before a rename, else ""
}

// MergeGroup is a merge queue's group that wants its checks.
type MergeGroup struct {
	Origin
	Action  string // checks_requested
	HeadSHA string
	HeadRef string
	BaseSHA string
	BaseRef string
}

// Ping is GitHub's greeting to a new webhook.
type Ping struct{ Origin }

// Ignored is an event, or an action of one, that can never change anything.
type Ignored struct {
	Origin
	Event  string
	Action string
}
