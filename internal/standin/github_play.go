package standin

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// GitHubWorkflowRun is an Actions run for a player to end.
type GitHubWorkflowRun struct {
	ID         int64  // 0: a new one
	Name       string // "Deploy" if empty
	Path       string // ".github/workflows/deploy.yml" if empty
	SHA        string
	Branch     string
	Event      string // "push" if empty
	Actor      string // the repository's owner if empty
	Status     string // "completed" if empty
	Conclusion string // "" while it is not completed
}

// CompleteWorkflow sends `workflow_run`, completed.
func (g *GitHub) CompleteWorkflow(ctx context.Context, repo string, run GitHubWorkflowRun) (guid string, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return "", err
	}
	if run.Actor == "" {
		run.Actor = r.Owner
	}
	body := g.runJSON(r, run)
	event := g.newEvent(r, "workflow_run", "completed", run.Actor, githubObject{
		"workflow_run": body, "workflow": githubObject{
			"id": body["workflow_id"], "node_id": githubNode("W", body["workflow_id"]), "name": body["name"], "path": body["path"], "state": "active",
		},
	})
	g.mu.Unlock()
	return g.send(ctx, event), nil
}

// runJSON is a workflow run. The caller holds g.mu.
func (g *GitHub) runJSON(r *githubRepo, run GitHubWorkflowRun) githubObject {
	for field, otherwise := range map[*string]string{
		&run.Name: "Deploy", &run.Path: ".github/workflows/deploy.yml", &run.Event: "push", &run.Actor: r.Owner, &run.Status: "completed",
	} {
		if *field == "" {
			*field = otherwise
		}
	}
	if run.ID == 0 {
		run.ID = g.nextID()
	}
	var conclusion any
	if run.Conclusion != "" {
		conclusion = run.Conclusion
	}
	actor := g.userJSON(g.cfg.URL, run.Actor)
	return githubObject{
		"id": run.ID, "name": run.Name, "node_id": githubNode("WFR", run.ID), "path": run.Path, "head_branch": run.Branch, "head_sha": run.SHA,
		"display_title": run.Name, "run_number": 1, "run_attempt": 1, "event": run.Event, "status": run.Status, "conclusion": conclusion,
		"workflow_id": g.userID("workflow/" + run.Path), "check_suite_id": run.ID + 1, "check_suite_node_id": githubNode("CS", run.ID+1),
		"url":      fmt.Sprintf("%s/actions/runs/%d", r.url(g.cfg.URL), run.ID),
		"html_url": fmt.Sprintf("%s/actions/runs/%d", r.html(), run.ID), "pull_requests": []string{},
		"created_at": g.now(), "updated_at": g.now(), "run_started_at": g.now(), "actor": actor, "triggering_actor": actor,
		"repository": g.repositoryJSON(g.cfg.URL, r), "head_repository": g.repositoryJSON(g.cfg.URL, r),
	}
}

// Check completes a check run of another App and sends `check_run`, completed.
func (g *GitHub) Check(ctx context.Context, repo, sha, app, name, conclusion string) (id int64, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return 0, err
	}
	c := &githubCheck{suite: g.suite(r, sha, ""), GitHubCheckRun: GitHubCheckRun{
		ID: g.nextID(), SHA: sha, Name: name, App: app, Status: "completed", Conclusion: conclusion, StartedAt: g.now(), CompletedAt: g.now(),
	}}
	r.checks = append(r.checks, c)
	event := g.newEvent(r, "check_run", "completed", app+"[bot]", githubObject{"check_run": g.checkJSON(g.cfg.URL, r, c)})
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return c.ID, nil
}

// Send sends an event that no other method makes, whether the App subscribed
// to it or not. Repository, sender and installation are added to its fields.
func (g *GitHub) Send(ctx context.Context, repo, event, action, sender string, fields map[string]any) (guid string, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return "", err
	}
	d := g.makeEvent(r, event, action, sender, fields)
	g.mu.Unlock()
	return g.send(ctx, d), nil
}

// Rename gives a repository another name; the old one leads to it by a redirect.
func (g *GitHub) Rename(repo, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return err
	}
	r.formerNames = append(r.formerNames, r.fullName())
	if owner, newName, transferred := strings.Cut(name, "/"); transferred {
		r.Owner, name = owner, newName
	}
	r.Name = name
	g.notify()
	return nil
}

// Archive makes a repository read-only.
func (g *GitHub) Archive(repo string) error {
	return g.change(repo, func(r *githubRepo) { r.archived = true })
}

// Delete deletes a repository: it is not found any more.
func (g *GitHub) Delete(repo string) error {
	return g.change(repo, func(r *githubRepo) { r.deleted = true })
}

func (g *GitHub) change(repo string, do func(*githubRepo)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return err
	}
	do(r)
	g.notify()
	return nil
}

// Suspend suspends an installation and sends `installation`, suspend.
func (g *GitHub) Suspend(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "suspend", func(i *githubInstallation) { i.suspendedAt = g.now() })
}

// Unsuspend ends a suspension and sends `installation`, unsuspend.
func (g *GitHub) Unsuspend(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "unsuspend", func(i *githubInstallation) { i.suspendedAt = time.Time{} })
}

// Uninstall removes the App from an account and sends `installation`, deleted.
func (g *GitHub) Uninstall(ctx context.Context, installation int64) error {
	return g.changeInstallation(ctx, installation, "deleted", func(i *githubInstallation) { i.deleted = true })
}

func (g *GitHub) changeInstallation(ctx context.Context, id int64, action string, do func(*githubInstallation)) error {
	g.mu.Lock()
	i := g.installations[id]
	if i == nil {
		g.mu.Unlock()
		return fmt.Errorf("installation %d: %w", id, errGithubNoObject)
	}
	do(i)
	repositories := []githubObject{}
	var one *githubRepo
	for _, r := range g.repos {
		if r.Installation == id && !r.deleted {
			one = r
			repositories = append(repositories, githubObject{
				"id": r.ID, "node_id": githubNode("R", r.ID), "name": r.Name, "full_name": r.fullName(), "private": r.Private,
			})
		}
	}
	event := g.newEvent(one, "installation", action, i.account, githubObject{
		"installation": g.installationJSON(g.cfg.URL, i), "repositories": repositories, "requester": nil,
	})
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}
