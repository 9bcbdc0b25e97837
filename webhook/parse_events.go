package webhook

import (
	"slices"
	"strings"
)

// Each function below decodes one event of
// https://docs.github.com/en/webhooks/webhook-events-and-payloads
// and demands the fields without which the event would mean nothing. A delivery that
// lacks one of them is refused whole instead of being half understood. Fields that GitHub
// may leave out or send as null are not demanded. An action that is not used is ignored
// before its fields are demanded, because it may lack them.

// parsePush reads #push. before is all zeros if the branch was created, after if it was
// deleted.
func parsePush(body []byte) (Event, error) {
	var w struct {
		origin
		Ref     string `json:"ref"`
		Before  string `json:"before"`
		After   string `json:"after"`
		Created bool   `json:"created"`
		Deleted bool   `json:"deleted"`
		Forced  bool   `json:"forced"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if err := demand(append(w.repositoryFields(),
		filled("ref", w.Ref),
		commit("before", w.Before),
		commit("after", w.After))...); err != nil {
		return nil, err
	}
	return &Push{
		Origin: w.origin.origin(), Ref: w.Ref, Before: w.Before, After: w.After,
		Created: w.Created, Deleted: w.Deleted, Forced: w.Forced,
	}, nil
}

// parseDeploymentStatus reads #deployment_status. A status may change its deployment's
// environment. If it names none, the deployment's own counts.
func parseDeploymentStatus(body []byte) (Event, error) {
	var w struct {
		origin
		Status struct {
			ID          int64  `json:"id"`
			State       string `json:"state"`
			Environment string `json:"environment"`
			CreatedAt   stamp  `json:"created_at"`
			Creator     User   `json:"creator"`
		} `json:"deployment_status"`
		Deployment struct {
			ID          int64  `json:"id"`
			SHA         string `json:"sha"`
			Ref         string `json:"ref"`
			Environment string `json:"environment"`
		} `json:"deployment"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	environment := w.Status.Environment
	if environment == "" {
		environment = w.Deployment.Environment
	}
	if err := demand(append(w.repositoryFields(),
		positive("deployment_status.id", w.Status.ID),
		filled("deployment_status.state", w.Status.State),
		filled("deployment_status.environment", environment),
		positive("deployment.id", w.Deployment.ID),
		commit("deployment.sha", w.Deployment.SHA))...); err != nil {
		return nil, err
	}
	return &DeploymentStatus{
		Origin:       w.origin.origin(),
		ID:           w.Status.ID,
		State:        w.Status.State,
		Environment:  environment,
		CreatedAt:    w.Status.CreatedAt.Time,
		Creator:      w.Status.Creator.Login,
		DeploymentID: w.Deployment.ID,
		SHA:          w.Deployment.SHA,
		Ref:          w.Deployment.Ref,
	}, nil
}

// parseIssueComment reads #issue_comment. An edited or deleted comment asks for nothing.
// The person who asks is the sender, by id. The comment's author may be somebody else,
// for example if an App writes for a person.
func parseIssueComment(body []byte) (Event, error) {
	var w struct {
		origin
		Issue struct {
			Number      int       `json:"number"`
			PullRequest *struct{} `json:"pull_request"`
		} `json:"issue"`
		Comment struct {
			ID        int64     `json:"id"`
			Body      string    `json:"body"`
			User      User      `json:"user"`
			CreatedAt stamp     `json:"created_at"`
			App       *struct{} `json:"performed_via_github_app"`
		} `json:"comment"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if w.Action != "created" {
		return w.ignored("issue_comment")
	}
	if err := demand(append(w.repositoryFields(),
		positive("issue.number", int64(w.Issue.Number)),
		positive("comment.id", w.Comment.ID),
		positive("comment.user.id", w.Comment.User.ID),
		positive("sender.id", w.Sender.ID),
		filled("sender.login", w.Sender.Login))...); err != nil {
		return nil, err
	}
	return &IssueComment{
		Origin:          w.origin.origin(),
		Action:          w.Action,
		ID:              w.Comment.ID,
		Body:            w.Comment.Body,
		User:            w.Comment.User,
		Number:          w.Issue.Number,
		IsPullRequest:   w.Issue.PullRequest != nil,
		PerformedViaApp: w.Comment.App != nil,
		CreatedAt:       w.Comment.CreatedAt.Time,
	}, nil
}

// parsePullRequest reads #pull_request. GitHub sends a head without a repository if the
// fork was deleted.
func parsePullRequest(body []byte) (Event, error) {
	type side struct {
		SHA  string  `json:"sha"`
		Ref  string  `json:"ref"`
		Repo *wireID `json:"repo"`
	}
	var w struct {
		origin
		Number int `json:"number"`
		PR     struct {
			Number int    `json:"number"`
			Merged bool   `json:"merged"`
			Merge  string `json:"merge_commit_sha"`
			Draft  bool   `json:"draft"`
			Head   side   `json:"head"`
			Base   side   `json:"base"`
		} `json:"pull_request"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"opened", "reopened", "synchronize", "edited", "closed"}, w.Action) {
		return w.ignored("pull_request")
	}
	number := w.Number
	if number == 0 {
		number = w.PR.Number
	}
	if err := demand(append(w.repositoryFields(),
		positive("number", int64(number)),
		commit("pull_request.head.sha", w.PR.Head.SHA),
		commit("pull_request.base.sha", w.PR.Base.SHA),
		filled("pull_request.base.ref", w.PR.Base.Ref))...); err != nil {
		return nil, err
	}
	public := func(s side) Side {
		out := Side{SHA: s.SHA, Ref: s.Ref}
		if s.Repo != nil {
			out.RepoID = s.Repo.ID
		}
		return out
	}
	pull := &PullRequest{
		Origin: w.origin.origin(), Action: w.Action, Number: number,
		Head: public(w.PR.Head), Base: public(w.PR.Base),
		Merged: w.PR.Merged, Draft: w.PR.Draft,
	}
	if pull.Merged { // before the merge it is a commit that only tries the merge
		pull.Merge = w.PR.Merge
	}
	return pull, nil
}

// parseCheckRun reads #check_run. Completed runs of every App arrive; the other two
// actions go only to the App that made the run. A run asked for by a person must name
// that person.
func parseCheckRun(body []byte) (Event, error) {
	var w struct {
		origin
		Run struct {
			ID          int64  `json:"id"`
			Name        string `json:"name"`
			HeadSHA     string `json:"head_sha"`
			ExternalID  string `json:"external_id"`
			Status      string `json:"status"`
			Conclusion  string `json:"conclusion"`
			StartedAt   stamp  `json:"started_at"`
			CompletedAt stamp  `json:"completed_at"`
			App         wireID `json:"app"`
			Suite       struct {
				HeadBranch string `json:"head_branch"`
			} `json:"check_suite"`
		} `json:"check_run"`
		Requested struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	fields := append(w.repositoryFields(),
		positive("check_run.id", w.Run.ID),
		filled("check_run.name", w.Run.Name),
		commit("check_run.head_sha", w.Run.HeadSHA))
	switch w.Action {
	case "completed":
	case "rerequested":
		fields = append(fields, positive("sender.id", w.Sender.ID))
	case "requested_action":
		fields = append(fields, positive("sender.id", w.Sender.ID),
			filled("requested_action.identifier", w.Requested.Identifier))
	default:
		return w.ignored("check_run")
	}
	if err := demand(fields...); err != nil {
		return nil, err
	}
	return &CheckRun{
		Origin:          w.origin.origin(),
		Action:          w.Action,
		ID:              w.Run.ID,
		Name:            w.Run.Name,
		HeadSHA:         w.Run.HeadSHA,
		HeadBranch:      w.Run.Suite.HeadBranch,
		AppID:           w.Run.App.ID,
		ExternalID:      w.Run.ExternalID,
		Status:          w.Run.Status,
		Conclusion:      w.Run.Conclusion,
		StartedAt:       w.Run.StartedAt.Time,
		CompletedAt:     w.Run.CompletedAt.Time,
		RequestedAction: w.Requested.Identifier,
	}, nil
}

// parseCheckSuite reads #check_suite. Only a person's request to run it again is used.
func parseCheckSuite(body []byte) (Event, error) {
	var w struct {
		origin
		Suite struct {
			ID         int64  `json:"id"`
			HeadSHA    string `json:"head_sha"`
			HeadBranch string `json:"head_branch"`
			App        wireID `json:"app"`
		} `json:"check_suite"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if w.Action != "rerequested" {
		return w.ignored("check_suite")
	}
	if err := demand(append(w.repositoryFields(),
		positive("check_suite.id", w.Suite.ID),
		commit("check_suite.head_sha", w.Suite.HeadSHA),
		positive("sender.id", w.Sender.ID))...); err != nil {
		return nil, err
	}
	return &CheckSuite{
		Origin: w.origin.origin(), Action: w.Action, ID: w.Suite.ID,
		HeadSHA: w.Suite.HeadSHA, HeadBranch: w.Suite.HeadBranch, AppID: w.Suite.App.ID,
	}, nil
}

// parseStatus reads #status. The event has no action.
func parseStatus(body []byte) (Event, error) {
	var w struct {
		origin
		ID        int64  `json:"id"`
		SHA       string `json:"sha"`
		Context   string `json:"context"`
		State     string `json:"state"`
		UpdatedAt stamp  `json:"updated_at"`
		Branches  []struct {
			Name   string `json:"name"`
			Commit struct {
				SHA string `json:"sha"`
			} `json:"commit"`
		} `json:"branches"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if err := demand(append(w.repositoryFields(),
		commit("sha", w.SHA),
		filled("context", w.Context),
		filled("state", w.State))...); err != nil {
		return nil, err
	}
	status := &Status{
		Origin: w.origin.origin(), ID: w.ID, SHA: w.SHA,
		Context: w.Context, State: w.State, UpdatedAt: w.UpdatedAt.Time,
	}
	for _, b := range w.Branches {
		status.Branches = append(status.Branches, Branch{Name: b.Name, SHA: b.Commit.SHA})
	}
	return status, nil
}

// parseWorkflowRun reads #workflow_run. head_repository is demanded: without it a fork's
// run could not be told from the repository's own.
func parseWorkflowRun(body []byte) (Event, error) {
	var w struct {
		origin
		Run struct {
			ID         int64  `json:"id"`
			Attempt    int    `json:"run_attempt"`
			Path       string `json:"path"`
			HeadBranch string `json:"head_branch"`
			HeadSHA    string `json:"head_sha"`
			HeadRepo   wireID `json:"head_repository"`
			Event      string `json:"event"`
			Conclusion string `json:"conclusion"`
			StartedAt  stamp  `json:"run_started_at"`
			UpdatedAt  stamp  `json:"updated_at"`
		} `json:"workflow_run"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if w.Action != "completed" {
		return w.ignored("workflow_run")
	}
	if err := demand(append(w.repositoryFields(),
		positive("workflow_run.id", w.Run.ID),
		filled("workflow_run.path", w.Run.Path),
		commit("workflow_run.head_sha", w.Run.HeadSHA),
		positive("workflow_run.head_repository.id", w.Run.HeadRepo.ID))...); err != nil {
		return nil, err
	}
	path, _, _ := strings.Cut(w.Run.Path, "@") // GitHub writes path@ref if the file is of another branch
	return &WorkflowRun{
		Origin:     w.origin.origin(),
		Action:     w.Action,
		ID:         w.Run.ID,
		Attempt:    w.Run.Attempt,
		Path:       path,
		HeadBranch: w.Run.HeadBranch,
		HeadSHA:    w.Run.HeadSHA,
		HeadRepoID: w.Run.HeadRepo.ID,
		Event:      w.Run.Event,
		Conclusion: w.Run.Conclusion,
		StartedAt:  w.Run.StartedAt.Time,
		UpdatedAt:  w.Run.UpdatedAt.Time,
	}, nil
}

// parseInstallation reads #installation. It has no repository, only lists of them, and
// its account replaces the owner.
func parseInstallation(body []byte) (Event, error) {
	var w struct {
		Action       string `json:"action"`
		Sender       User   `json:"sender"`
		Installation struct {
			ID      int64 `json:"id"`
			Account User  `json:"account"`
		} `json:"installation"`
		Repositories []repository `json:"repositories"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	from := Origin{Installation: w.Installation.ID, Sender: w.Sender}
	switch w.Action {
	case "created", "deleted", "suspend", "unsuspend", "new_permissions_accepted":
	default:
		return &Ignored{Origin: from, Event: "installation", Action: w.Action}, nil
	}
	if err := demand(positive("installation.id", w.Installation.ID)); err != nil {
		return nil, err
	}
	return &Installation{
		Origin: from, Action: w.Action, Account: w.Installation.Account.Login,
		Repositories: repos(w.Repositories),
	}, nil
}

// parseInstallationRepositories reads #installation_repositories. The lists have only ids
// and names.
func parseInstallationRepositories(body []byte) (Event, error) {
	var w struct {
		origin
		Added   []repository `json:"repositories_added"`
		Removed []repository `json:"repositories_removed"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if w.Action != "added" && w.Action != "removed" {
		return w.ignored("installation_repositories")
	}
	if err := demand(positive("installation.id", w.Installation.ID)); err != nil {
		return nil, err
	}
	return &InstallationRepositories{
		Origin: w.origin.origin(), Action: w.Action,
		Added: repos(w.Added), Removed: repos(w.Removed),
	}, nil
}

// parseRepository reads #repository. After a transfer the old owner is a user or an
// organisation, under different keys.
func parseRepository(body []byte) (Event, error) {
	var w struct {
		origin
		Changes struct {
			Repository struct {
				Name struct {
					From string `json:"from"`
				} `json:"name"`
			} `json:"repository"`
			Owner struct {
				From struct {
					User         User `json:"user"`
					Organization User `json:"organization"`
				} `json:"from"`
			} `json:"owner"`
		} `json:"changes"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	switch w.Action {
	case "renamed", "transferred", "archived", "unarchived", "deleted", "edited":
	default:
		return w.ignored("repository")
	}
	if err := demand(w.repositoryFields()...); err != nil {
		return nil, err
	}
	oldOwner := w.Changes.Owner.From.User.Login
	if oldOwner == "" {
		oldOwner = w.Changes.Owner.From.Organization.Login
	}
	return &Repository{
		Origin: w.origin.origin(), Action: w.Action,
		OldOwner: oldOwner, OldName: w.Changes.Repository.Name.From,
	}, nil
}

// parseMergeGroup reads #merge_group. Only a group that asks for its checks is used.
func parseMergeGroup(body []byte) (Event, error) {
	var w struct {
		origin
		Group struct {
			HeadSHA string `json:"head_sha"`
			HeadRef string `json:"head_ref"`
			BaseSHA string `json:"base_sha"`
			BaseRef string `json:"base_ref"`
		} `json:"merge_group"`
	}
	if err := decode(body, &w); err != nil {
		return nil, err
	}
	if w.Action != "checks_requested" {
		return w.ignored("merge_group")
	}
	if err := demand(append(w.repositoryFields(),
		commit("merge_group.head_sha", w.Group.HeadSHA),
		commit("merge_group.base_sha", w.Group.BaseSHA))...); err != nil {
		return nil, err
	}
	return &MergeGroup{
		Origin: w.origin.origin(), Action: w.Action,
		HeadSHA: w.Group.HeadSHA, HeadRef: w.Group.HeadRef,
		BaseSHA: w.Group.BaseSHA, BaseRef: w.Group.BaseRef,
	}, nil
}
