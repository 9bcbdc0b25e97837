package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Deployment is a deployment that a player creates.
type Deployment struct {
	SHA         string // "": the commit that Ref names
	Ref         string // "": the SHA
	Environment string // "": "production", as at GitHub
	Creator     string // "": the repository's owner
	App         string // slug of the App that creates it; "": none
	Task        string // "": "deploy"
	Description string
	Payload     any
	Transient   bool  // the environment will be removed
	Production  *bool // nil: whether the environment is called "production"
	// RequiredContexts are the statuses that must be successful. nil means every status
	// that the commit has; an empty list means none.
	RequiredContexts []string
	// WorkflowRun is the id of the Actions run that creates the deployment. 0 means none.
	WorkflowRun int64
}

// DeploymentStatus is a deployment's status that a player creates.
type DeploymentStatus struct {
	State       string // error, failure, inactive, in_progress, queued, pending, success or (only in webhooks) waiting
	Environment string // replaces the deployment's; "": does not
	Creator     string // "": the deployment's
	Description string
	LogURL      string
	URL         string // environment_url
	Sender      string // "": the creator
}

// ErrConflict is GitHub's 409: the commit's statuses forbid a deployment.
var ErrConflict = errors.New("commit status checks failed")

type deployment struct {
	Deployment
	id                   int64
	original             string // environment
	createdAt, updatedAt time.Time
	statuses             []*deploymentStatus
}

type deploymentStatus struct {
	DeploymentStatus
	id        int64
	createdAt time.Time
}

// Deploy creates a deployment and sends `deployment`. It returns [ErrConflict] while a
// required status of the commit is pending or failed.
func (g *Server) Deploy(ctx context.Context, repo string, d Deployment) (id int64, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	created, err := g.addDeployment(r, d)
	if err != nil {
		return 0, fmt.Errorf("deploy %s@%s: %w", repo, d.SHA+d.Ref, err)
	}
	g.mu.Lock()
	event := g.deploymentEvent(r, created)
	g.mu.Unlock()
	g.send(ctx, event)
	return created.id, nil
}

// addDeployment fills in the defaults and stores a deployment. It takes g.mu.
func (g *Server) addDeployment(r *repository, d Deployment) (*deployment, error) {
	if d.Ref == "" {
		d.Ref = d.SHA
	}
	if d.SHA == "" {
		d.SHA = d.Ref
	}
	c, err := g.resolve(r, d.SHA)
	if err != nil {
		return nil, err
	}
	d.SHA = c.id
	for field, otherwise := range map[*string]string{&d.Environment: "production", &d.Task: "deploy", &d.Creator: r.Owner} {
		if *field == "" {
			*field = otherwise
		}
	}
	if d.Production == nil {
		production := d.Environment == "production"
		d.Production = &production
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if blocking := blocks(r.statuses, d); len(blocking) > 0 {
		return nil, fmt.Errorf("%w for %s: %s", ErrConflict, d.Ref, strings.Join(blocking, ", "))
	}
	created := &deployment{Deployment: d, id: g.nextID(), original: d.Environment, createdAt: g.now(), updatedAt: g.now()}
	r.deployments = append(r.deployments, created)
	g.notify()
	return created, nil
}

// blocks lists the contexts that forbid a deployment.
func blocks(statuses []Status, d Deployment) []string {
	blocking := []string{}
	latest := latestStatuses(statuses, d.SHA)
	for _, s := range latest {
		if d.RequiredContexts == nil && s.State != "success" {
			blocking = append(blocking, s.Context)
		}
	}
	for _, required := range d.RequiredContexts {
		green := func(s Status) bool { return strings.EqualFold(s.Context, required) && s.State == "success" }
		if !slices.ContainsFunc(latest, green) {
			blocking = append(blocking, required)
		}
	}
	return blocking
}

// DeployStatus adds a status to a deployment and sends `deployment_status`. For
// `inactive` it sends nothing, as GitHub does.
func (g *Server) DeployStatus(ctx context.Context, repo string, deployment int64, s DeploymentStatus) (id int64, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return 0, err
	}
	d := r.deployment(deployment)
	if d == nil {
		g.mu.Unlock()
		return 0, fmt.Errorf("deployment %d of %s: %w", deployment, repo, errGithubNoObject)
	}
	created := g.addDeploymentStatus(r, d, s, true)
	event := g.deploymentStatusEvent(r, d, created)
	g.mu.Unlock()
	if s.State != "inactive" {
		g.send(ctx, event)
	}
	return created.id, nil
}

// addDeploymentStatus stores a status. Like GitHub it makes older deployments of the
// environment inactive after a success. The caller holds g.mu.
func (g *Server) addDeploymentStatus(r *repository, d *deployment, s DeploymentStatus, autoInactive bool) *deploymentStatus {
	if s.Environment != "" {
		d.Environment = s.Environment
	} else {
		s.Environment = d.Environment
	}
	if s.Creator == "" {
		s.Creator = d.Creator
	}
	created := &deploymentStatus{DeploymentStatus: s, id: g.nextID(), createdAt: g.now()}
	d.statuses, d.updatedAt = append(d.statuses, created), created.createdAt
	if s.State == "success" && autoInactive {
		for _, other := range r.deployments {
			ended := len(other.statuses) == 0 || other.statuses[len(other.statuses)-1].State != "success"
			if other.id < d.id && other.Environment == d.Environment && !other.Transient && !*other.Production && !ended {
				g.addDeploymentStatus(r, other, DeploymentStatus{State: "inactive", Creator: s.Creator}, false)
			}
		}
	}
	g.notify()
	return created
}

func (r *repository) deployment(id int64) *deployment {
	for _, d := range r.deployments {
		if d.id == id {
			return d
		}
	}
	return nil
}

// deploymentJSON is a deployment in an answer or event. The caller holds g.mu.
func (g *Server) deploymentJSON(api string, r *repository, d *deployment) jsonObject {
	self := fmt.Sprintf("%s/deployments/%d", r.url(api), d.id)
	payload := d.Payload
	if payload == nil {
		payload = jsonObject{}
	}
	var description any
	if d.Description != "" {
		description = d.Description
	}
	return jsonObject{
		"url": self, "id": d.id, "node_id": nodeID("DE", d.id), "task": d.Task, "original_environment": d.original,
		"environment": d.Environment, "description": description, "created_at": d.createdAt, "updated_at": d.updatedAt,
		"statuses_url": self + "/statuses", "repository_url": r.url(api), "creator": g.userJSON(api, d.Creator),
		"sha": d.SHA, "ref": d.Ref, "payload": payload, "transient_environment": d.Transient,
		"production_environment": *d.Production, "performed_via_github_app": g.foreignApp(d.App),
	}
}

// foreignApp is the App that acted: ours, another one by its slug, or nil.
func (g *Server) foreignApp(slug string) any {
	switch slug {
	case "":
		return nil
	case g.cfg.AppSlug:
		return g.appJSON()
	}
	app := g.appJSON()
	app["slug"], app["name"], app["id"] = slug, slug, g.appID(slug)
	return app
}

func (g *Server) deploymentStatusJSON(api string, r *repository, d *deployment, s *deploymentStatus) jsonObject {
	deployment := fmt.Sprintf("%s/deployments/%d", r.url(api), d.id)
	return jsonObject{
		"url": fmt.Sprintf("%s/statuses/%d", deployment, s.id), "id": s.id, "node_id": nodeID("DES", s.id),
		"state": s.State, "creator": g.userJSON(api, s.Creator), "description": s.Description, "environment": s.Environment,
		"target_url": s.LogURL, "log_url": s.LogURL, "environment_url": s.URL, "created_at": s.createdAt, "updated_at": s.createdAt,
		"deployment_url": deployment, "repository_url": r.url(api), "performed_via_github_app": g.foreignApp(d.App),
	}
}

// deploymentEvent is the `deployment` event. The caller holds g.mu.
func (g *Server) deploymentEvent(r *repository, d *deployment) *Delivery {
	run := g.workflowRunJSON(r, d)
	return g.newEvent(r, "deployment", "created", d.Creator, jsonObject{
		"deployment": g.deploymentJSON(g.cfg.URL, r, d), "workflow": nil, "workflow_run": run,
	})
}

func (g *Server) deploymentStatusEvent(r *repository, d *deployment, s *deploymentStatus) *Delivery {
	sender := s.Sender
	if sender == "" {
		sender = s.Creator
	}
	return g.newEvent(r, "deployment_status", "created", sender, jsonObject{
		"deployment_status": g.deploymentStatusJSON(g.cfg.URL, r, d, s), "deployment": g.deploymentJSON(g.cfg.URL, r, d),
		"check_run": g.jobJSON(r, d, s), "workflow": nil, "workflow_run": g.workflowRunJSON(r, d),
	})
}

func (g *Server) workflowRunJSON(r *repository, d *deployment) any {
	if d.WorkflowRun == 0 {
		return nil
	}
	return g.runJSON(r, WorkflowRun{ID: d.WorkflowRun, SHA: d.SHA, Branch: d.Ref, Actor: d.Creator, Status: "in_progress"})
}

// jobJSON is the check run of the Actions job that deploys, or null if there is none.
func (g *Server) jobJSON(r *repository, d *deployment, s *deploymentStatus) any {
	if d.WorkflowRun == 0 {
		return nil
	}
	job := jsonObject{
		"id": d.id + 1, "node_id": nodeID("CR", d.id+1), "name": "deploy", "head_sha": d.SHA, "external_id": "",
		"url": fmt.Sprintf("%s/check-runs/%d", r.url(g.cfg.URL), d.id+1), "status": "in_progress", "conclusion": nil,
		"html_url":    fmt.Sprintf("%s/actions/runs/%d/job/%d", r.html(), d.WorkflowRun, d.id+1),
		"details_url": fmt.Sprintf("%s/actions/runs/%d/job/%d", r.html(), d.WorkflowRun, d.id+1),
		"started_at":  d.createdAt, "completed_at": nil,
	}
	if s.State == "success" || s.State == "failure" {
		job["status"], job["conclusion"], job["completed_at"] = "completed", s.State, s.createdAt
	}
	return job
}

// listDeployments is GET /repos/{owner}/{repo}/deployments, newest first.
func (g *Server) listDeployments(x *exchange) response {
	query := x.URL.Query()
	fits := func(key, value string) bool {
		return !query.Has(key) || query.Get(key) == "" || query.Get(key) == value
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []jsonObject{}
	for _, d := range slices.Backward(x.repo.deployments) {
		if fits("sha", d.SHA) && fits("ref", d.Ref) && fits("task", d.Task) && fits("environment", d.Environment) {
			items = append(items, g.deploymentJSON(x.api, x.repo, d))
		}
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: page}
}

// createDeployment is POST /repos/{owner}/{repo}/deployments. Unlike GitHub it never
// merges the default branch, whatever auto_merge says.
func (g *Server) createDeployment(x *exchange) response {
	var wish struct {
		Ref              string          `json:"ref"`
		Task             string          `json:"task"`
		RequiredContexts json.RawMessage `json:"required_contexts"`
		Payload          any             `json:"payload"`
		Environment      string          `json:"environment"`
		Description      string          `json:"description"`
		Transient        bool            `json:"transient_environment"`
		Production       *bool           `json:"production_environment"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	d := Deployment{
		Ref: wish.Ref, Task: wish.Task, Environment: wish.Environment, Description: wish.Description, Creator: g.bot(),
		App: g.cfg.AppSlug, Payload: wish.Payload, Transient: wish.Transient, Production: wish.Production,
	}
	if len(wish.RequiredContexts) > 0 && json.Unmarshal(wish.RequiredContexts, &d.RequiredContexts) != nil {
		return invalid("Deployment", "required_contexts", "invalid", "")
	}
	if d.Ref == "" {
		return invalid("Deployment", "ref", "missing_field", "")
	}
	created, err := g.addDeployment(x.repo, d)
	switch {
	case errors.Is(err, ErrConflict):
		return refuse(http.StatusConflict, "Conflict: Commit status checks failed for "+d.Ref+".")
	case err != nil:
		return refuse(http.StatusUnprocessableEntity, "No ref found for: "+d.Ref)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sendLater(g.deploymentEvent(x.repo, created))
	return response{status: http.StatusCreated, body: g.deploymentJSON(x.api, x.repo, created)}
}

// listDeploymentStatuses is GET …/deployments/{deployment}/statuses, newest first.
func (g *Server) listDeploymentStatuses(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := x.repo.deployment(x.id("deployment"))
	if d == nil {
		return notFound()
	}
	items := []jsonObject{}
	for _, s := range slices.Backward(d.statuses) {
		items = append(items, g.deploymentStatusJSON(x.api, x.repo, d, s))
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: page}
}

// createDeploymentStatus is POST …/deployments/{deployment}/statuses.
func (g *Server) createDeploymentStatus(x *exchange) response {
	var wish struct {
		State        string `json:"state"`
		TargetURL    string `json:"target_url"`
		LogURL       string `json:"log_url"`
		Description  string `json:"description"`
		Environment  string `json:"environment"`
		URL          string `json:"environment_url"`
		AutoInactive *bool  `json:"auto_inactive"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	states := []string{"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}
	if !slices.Contains(states, wish.State) {
		return invalid("DeploymentStatus", "state", "custom", "state is not included in the list")
	}
	if utf8.RuneCountInString(wish.Description) > 140 {
		return invalid("DeploymentStatus", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	if wish.LogURL == "" {
		wish.LogURL = wish.TargetURL
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	d := x.repo.deployment(x.id("deployment"))
	if d == nil {
		return notFound()
	}
	created := g.addDeploymentStatus(x.repo, d, DeploymentStatus{
		State: wish.State, Environment: wish.Environment, Creator: g.bot(), Description: wish.Description, LogURL: wish.LogURL, URL: wish.URL,
	}, wish.AutoInactive == nil || *wish.AutoInactive)
	if wish.State != "inactive" {
		g.sendLater(g.deploymentStatusEvent(x.repo, d, created))
	}
	return response{status: http.StatusCreated, body: g.deploymentStatusJSON(x.api, x.repo, d, created)}
}
