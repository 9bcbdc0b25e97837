package github

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"time"
)

// WorkflowRun is an Actions run that a player ends.
type WorkflowRun struct {
	ID         int64  // 0: a new run; the id of an ended run: it ran again
	Name       string // "": "Deploy"
	Path       string // "": ".github/workflows/deploy.yml"
	SHA        string
	Branch     string
	Event      string    // "": "push"
	Actor      string    // "": the repository's owner
	Status     string    // "": "completed"
	Conclusion string    // "" until it is completed
	StartedAt  time.Time // of this attempt; zero: now
}

// CompleteWorkflow sends `workflow_run`, completed.
func (g *Server) CompleteWorkflow(ctx context.Context, repo string, run WorkflowRun) (guid string, err error) {
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
	if again := slices.IndexFunc(r.runs, func(old jsonObject) bool { return old["id"] == body["id"] }); again >= 0 {
		body["created_at"], body["run_attempt"] = r.runs[again]["created_at"], r.runs[again]["run_attempt"].(int)+1 //nolint:forcetypeassert // as runJSON makes it
		r.runs[again] = body                                                                                        // GitHub keeps its place in the list
	} else {
		r.runs = append(r.runs, body)
	}
	event := g.newEvent(r, "workflow_run", "completed", run.Actor, jsonObject{
		"workflow_run": body, "workflow": jsonObject{
			"id": body["workflow_id"], "node_id": nodeID("W", body["workflow_id"]), "name": body["name"], "path": body["path"], "state": "active",
		},
	})
	g.mu.Unlock()
	return g.send(ctx, event), nil
}

// runJSON is a workflow run. The caller holds g.mu.
func (g *Server) runJSON(r *repository, run WorkflowRun) jsonObject {
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
	if run.StartedAt.IsZero() {
		run.StartedAt = g.now()
	}
	actor := g.userJSON(g.cfg.URL, run.Actor)
	return jsonObject{
		"id": run.ID, "name": run.Name, "node_id": nodeID("WFR", run.ID), "path": run.Path, "head_branch": run.Branch, "head_sha": run.SHA,
		"display_title": run.Name, "run_number": 1, "run_attempt": 1, "event": run.Event, "status": run.Status, "conclusion": conclusion,
		"workflow_id": g.userID("workflow/" + run.Path), "check_suite_id": run.ID + 1, "check_suite_node_id": nodeID("CS", run.ID+1),
		"url":      fmt.Sprintf("%s/actions/runs/%d", r.url(g.cfg.URL), run.ID),
		"html_url": fmt.Sprintf("%s/actions/runs/%d", r.html(), run.ID), "pull_requests": []string{},
		"created_at": g.now(), "updated_at": g.now(), "run_started_at": run.StartedAt.UTC().Truncate(time.Second), "actor": actor, "triggering_actor": actor,
		"repository": g.repositoryJSON(g.cfg.URL, r), "head_repository": g.repositoryJSON(g.cfg.URL, r),
	}
}

// Check completes a check run of another App and sends `check_run`, completed.
func (g *Server) Check(ctx context.Context, repo, sha, app, name, conclusion string) (id int64, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return 0, err
	}
	c := &checkRun{suite: g.suite(r, sha, ""), CheckRun: CheckRun{
		ID: g.nextID(), SHA: sha, Name: name, App: app, Status: "completed", Conclusion: conclusion, StartedAt: g.now(), CompletedAt: g.now(),
	}}
	r.checks = append(r.checks, c)
	event := g.newEvent(r, "check_run", "completed", app+"[bot]", jsonObject{"check_run": g.checkJSON(g.cfg.URL, r, c)})
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return c.ID, nil
}

// Send sends an event that no other method makes, if the App gets events of that kind. It
// adds repository, sender and installation to the fields.
func (g *Server) Send(ctx context.Context, repo, event, action, sender string, fields map[string]any) (guid string, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return "", err
	}
	d := g.newEvent(r, event, action, sender, fields)
	g.mu.Unlock()
	return g.send(ctx, d), nil
}

// listWorkflowRuns is GET /repos/{owner}/{repo}/actions/workflows/{workflow}/runs, the
// newest first. The workflow is named by its file.
func (g *Server) listWorkflowRuns(x *exchange) response {
	query := x.URL.Query()
	g.mu.Lock()
	defer g.mu.Unlock()
	items, known := []jsonObject{}, false
	for _, run := range slices.Backward(x.repo.runs) {
		if path.Base(run["path"].(string)) != x.params["workflow"] {
			continue
		}
		known = true
		fits := true
		for key, field := range map[string]string{"branch": "head_branch", "event": "event", "head_sha": "head_sha"} {
			fits = fits && (query.Get(key) == "" || query.Get(key) == run[field])
		}
		if status := query.Get("status"); fits && (status == "" || status == run["status"] || status == run["conclusion"]) {
			items = append(items, run)
		}
	}
	if !known {
		return notFound()
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: jsonObject{"total_count": len(items), "workflow_runs": page}}
}
