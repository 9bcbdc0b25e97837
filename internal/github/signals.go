package github

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signal is a commit status, a check run or a workflow run. It is how a host that makes
// no deployments, such as Netlify, says that it deployed. Check runs and workflow runs
// have ended; a status may still be pending.
type Signal struct {
	ID     int64  // grows with time among the signals of one kind
	Name   string // the status's context, the check's name or the workflow's path
	Result string // GitHub's state or conclusion
	By     string // login of its maker
	SHA    string
	Began  time.Time // when the run began that this signal ended
	At     time.Time // when it ended; of a status, when GitHub recorded it
}

// CommitStatuses lists a commit's statuses of one context, the newest first. It looks at
// the commit's newest 100 statuses of any context. Contexts compare without regard to
// case.
//
// A status does not say when the work that it ended began. Began is therefore the time of
// the first pending status since the last one that ended, or the status's own time.
func (r *Repository) CommitStatuses(ctx context.Context, sha, name string) ([]Signal, error) {
	if _, err := ParseID(sha); err != nil {
		return nil, err
	}
	var page []struct {
		ID      int64  `json:"id"`
		State   string `json:"state"`
		Context string `json:"context"`
		Creator struct {
			Login string `json:"login"`
		} `json:"creator"`
		UpdatedAt time.Time `json:"updated_at"`
	}
	_, err := r.do(ctx, call{
		op: "list statuses of " + sha, path: "commits/" + sha + "/statuses", query: url.Values{"per_page": {"100"}}, most: textBytes,
	}, &page)
	var all []Signal
	var began time.Time
	// GitHub lists the newest first; Began needs the oldest first.
	for _, s := range slices.Backward(page) {
		if !strings.EqualFold(s.Context, name) {
			continue
		}
		if began.IsZero() {
			began = s.UpdatedAt
		}
		all = append(all, Signal{s.ID, s.Context, s.State, s.Creator.Login, sha, began, s.UpdatedAt})
		if s.State != "pending" {
			began = time.Time{}
		}
	}
	slices.Reverse(all)
	return all, err
}

// CheckRuns lists a commit's completed check runs of one name. By is the bot of the App
// that made the run: only Apps can make check runs.
func (r *Repository) CheckRuns(ctx context.Context, sha, name string) ([]Signal, error) {
	if _, err := ParseID(sha); err != nil {
		return nil, err
	}
	var page struct {
		Runs []struct {
			ID         int64  `json:"id"`
			Name       string `json:"name"`
			Conclusion string `json:"conclusion"`
			App        struct {
				Slug string `json:"slug"`
			} `json:"app"`
			StartedAt   time.Time `json:"started_at"`
			CompletedAt time.Time `json:"completed_at"`
		} `json:"check_runs"`
	}
	_, err := r.do(ctx, call{
		op: "list check runs of " + sha, path: "commits/" + sha + "/check-runs",
		query: url.Values{"check_name": {name}, "status": {"completed"}, "per_page": {"100"}}, most: textBytes,
	}, &page)
	var all []Signal
	for _, c := range page.Runs {
		if c.Name == name {
			all = append(all, Signal{c.ID, c.Name, c.Conclusion, c.App.Slug + "[bot]", sha, c.StartedAt, c.CompletedAt})
		}
	}
	return all, err
}

// WorkflowRuns lists the newest completed runs of a workflow for a branch of the
// repository itself. It leaves out the runs of pull requests and of forks: a fork may
// have a branch of the same name. The workflow is named by its file, with or without the
// folder. A not-found error means that there is no such workflow.
func (r *Repository) WorkflowRuns(ctx context.Context, workflow, branch string) ([]Signal, error) {
	var page struct {
		Runs []struct {
			ID         int64  `json:"id"`
			Path       string `json:"path"`
			Event      string `json:"event"`
			Conclusion string `json:"conclusion"`
			SHA        string `json:"head_sha"`
			Actor      struct {
				Login string `json:"login"`
			} `json:"triggering_actor"`
			Repository     struct{ ID int64 } `json:"repository"`
			HeadRepository struct{ ID int64 } `json:"head_repository"`
			StartedAt      time.Time          `json:"run_started_at"`
			UpdatedAt      time.Time          `json:"updated_at"`
		} `json:"workflow_runs"`
	}
	file := path.Base(workflow)
	_, err := r.do(ctx, call{
		op: "list runs of " + file, path: "actions/workflows/" + url.PathEscape(file) + "/runs",
		query: url.Values{"branch": {branch}, "status": {"completed"}, "per_page": {strconv.Itoa(workflowRuns)}}, most: textBytes,
	}, &page)
	var all []Signal
	for _, run := range page.Runs {
		if run.HeadRepository.ID == run.Repository.ID && !strings.HasPrefix(run.Event, "pull_request") {
			all = append(all, Signal{run.ID, run.Path, run.Conclusion, run.Actor.Login, run.SHA, run.StartedAt, run.UpdatedAt})
		}
	}
	return all, err
}

// workflowRuns is how many runs are looked at: GitHub's largest page. GitHub lists runs
// by when they were made, and an old run may have been started again, so a few are not
// enough.
const workflowRuns = 100
