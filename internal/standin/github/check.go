package github

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// CheckRun is a check run.
type CheckRun struct {
	ID          int64
	SHA         string
	Name        string
	ExternalID  string
	DetailsURL  string
	Status      string // queued, in_progress or completed
	Conclusion  string // "" until it is completed
	StartedAt   time.Time
	CompletedAt time.Time
	Title       string
	Summary     string
	Text        string
	Annotations []Annotation // of all requests
	Actions     []CheckAction
	Updates     int    // number of changes since it was created
	App         string // slug
	hasOutput   bool
}

// Annotation is a check run's message on lines of a file.
type Annotation struct {
	Path        string  `json:"path"`
	StartLine   int     `json:"start_line"`
	EndLine     int     `json:"end_line"`
	StartColumn *int    `json:"start_column"`
	EndColumn   *int    `json:"end_column"`
	Level       string  `json:"annotation_level"`
	Message     string  `json:"message"`
	Title       *string `json:"title"`
	RawDetails  *string `json:"raw_details"`
}

// CheckAction is a button of a check run.
type CheckAction struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

type checkRun struct {
	CheckRun
	suite *suite
}

type suite struct {
	id        int64
	sha       string
	branch    string
	createdAt time.Time
}

// checkWish is the body of POST and PATCH. A nil field stays as it is.
type checkWish struct {
	Name        *string        `json:"name"`
	HeadSHA     *string        `json:"head_sha"`
	ExternalID  *string        `json:"external_id"`
	DetailsURL  *string        `json:"details_url"`
	Status      *string        `json:"status"`
	Conclusion  *string        `json:"conclusion"`
	StartedAt   *time.Time     `json:"started_at"`
	CompletedAt *time.Time     `json:"completed_at"`
	Output      *checkOutput   `json:"output"`
	Actions     *[]CheckAction `json:"actions"`
}

type checkOutput struct {
	Title       *string      `json:"title"`
	Summary     *string      `json:"summary"`
	Text        *string      `json:"text"`
	Annotations []Annotation `json:"annotations"`
}

// CheckRuns lists the check runs of a commit in the order in which they were created. An
// empty sha means all commits.
func (g *Server) CheckRuns(repo, sha string) []CheckRun {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return nil
	}
	var runs []CheckRun
	for _, c := range r.checks {
		if sha == "" || c.SHA == sha {
			run := c.CheckRun
			run.Annotations, run.Actions = slices.Clone(run.Annotations), slices.Clone(run.Actions)
			runs = append(runs, run)
		}
	}
	return runs
}

// Press sends the event that a person causes by pressing a check run's button.
func (g *Server) Press(ctx context.Context, checkRun int64, identifier, login string) (guid string, err error) {
	return g.checkEvent(ctx, checkRun, "requested_action", login, identifier)
}

// Rerequest sends the event that a person causes by "Re-run". The run itself does not
// change: GitHub leaves that to the App.
func (g *Server) Rerequest(ctx context.Context, checkRun int64, login string) (guid string, err error) {
	return g.checkEvent(ctx, checkRun, "rerequested", login, "")
}

// checkEvent sends an event about a check run for a person. It takes g.mu.
func (g *Server) checkEvent(ctx context.Context, id int64, action, login, identifier string) (string, error) {
	g.mu.Lock()
	for _, r := range g.repos {
		for _, c := range r.checks {
			if c.ID != id {
				continue
			}
			fields := jsonObject{"check_run": g.checkJSON(g.cfg.URL, r, c)}
			if identifier != "" {
				if !slices.ContainsFunc(c.Actions, func(a CheckAction) bool { return a.Identifier == identifier }) {
					g.mu.Unlock()
					return "", fmt.Errorf("press %q of check run %d: it has no such button", identifier, id)
				}
				fields["requested_action"] = jsonObject{"identifier": identifier}
			}
			event := g.newEvent(r, "check_run", action, login, fields)
			g.mu.Unlock()
			return g.send(ctx, event), nil
		}
	}
	g.mu.Unlock()
	return "", fmt.Errorf("check run %d: %w", id, errGithubNoObject)
}

// suite finds the App's suite of a commit, or makes it. The caller holds g.mu.
func (g *Server) suite(r *repository, sha, branch string) *suite {
	for _, s := range r.suites {
		if s.sha == sha {
			return s
		}
	}
	s := &suite{id: g.nextID(), sha: sha, branch: branch, createdAt: g.now()}
	r.suites = append(r.suites, s)
	return s
}

func (g *Server) suiteJSON(api string, r *repository, s *suite) jsonObject {
	var branch any
	if s.branch != "" {
		branch = s.branch
	}
	return jsonObject{
		"id": s.id, "node_id": nodeID("CS", s.id), "head_branch": branch, "head_sha": s.sha, "status": "queued", "conclusion": nil,
		"url": fmt.Sprintf("%s/check-suites/%d", r.url(api), s.id), "before": nil, "after": s.sha,
		"pull_requests": g.checkPulls(api, r, s.sha), "app": g.appJSON(), "created_at": s.createdAt, "updated_at": s.createdAt,
	}
}

// checkPulls lists the open pull requests of a commit in the form that checks have. The
// caller holds g.mu.
func (g *Server) checkPulls(api string, r *repository, sha string) []jsonObject {
	pulls := []jsonObject{}
	for _, i := range r.issues {
		if i.pull == nil || i.state != "open" || i.pull.HeadSHA != sha || i.pull.HeadRepository != "" {
			continue
		}
		repo := jsonObject{"id": r.ID, "url": r.url(api), "name": r.Name}
		pulls = append(pulls, jsonObject{
			"id": i.id, "number": i.number, "url": fmt.Sprintf("%s/pulls/%d", r.url(api), i.number),
			"head": jsonObject{"ref": i.pull.Head, "sha": sha, "repo": repo},
			"base": jsonObject{"ref": i.pull.Base, "sha": i.pull.BaseSHA, "repo": repo},
		})
	}
	return pulls
}

// checkJSON is a check run in an answer or event. The caller holds g.mu.
func (g *Server) checkJSON(api string, r *repository, c *checkRun) jsonObject {
	self := fmt.Sprintf("%s/check-runs/%d", r.url(api), c.ID)
	orNull := func(s string, present bool) any {
		if !present {
			return nil
		}
		return s
	}
	moment := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t
	}
	return jsonObject{
		"id": c.ID, "node_id": nodeID("CR", c.ID), "name": c.Name, "head_sha": c.SHA, "external_id": c.ExternalID, "url": self,
		"html_url": fmt.Sprintf("%s/runs/%d", r.html(), c.ID), "details_url": c.DetailsURL, "status": c.Status,
		"conclusion": orNull(c.Conclusion, c.Conclusion != ""), "started_at": moment(c.StartedAt), "completed_at": moment(c.CompletedAt),
		"output": jsonObject{
			"title": orNull(c.Title, c.hasOutput), "summary": orNull(c.Summary, c.hasOutput), "text": orNull(c.Text, c.Text != ""),
			"annotations_count": len(c.Annotations), "annotations_url": self + "/annotations",
		},
		"app": g.foreignApp(c.App), "check_suite": g.suiteJSON(api, r, c.suite), "pull_requests": g.checkPulls(api, r, c.SHA),
	}
}

// apply checks a wish and applies it to c. If ok is false, the caller sends the reply.
func (w *checkWish) apply(c *CheckRun, now time.Time) (response, bool) {
	for _, field := range []struct {
		to   *string
		from *string
	}{{&c.Name, w.Name}, {&c.ExternalID, w.ExternalID}, {&c.DetailsURL, w.DetailsURL}} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	if !isLink(c.DetailsURL) {
		return invalid("CheckRun", "details_url", "custom", "details_url must use http(s) scheme"), false
	}
	if fault := w.applyState(c, now); fault != "" {
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+fault), false
	}
	if w.Output != nil {
		if fault := w.Output.apply(c); fault != "" {
			return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+fault), false
		}
	}
	if w.Actions != nil {
		if fault := checkActions(*w.Actions); fault != "" {
			return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+fault), false
		}
		c.Actions = slices.Clone(*w.Actions)
	}
	return response{}, true
}

// applyState applies status, conclusion and times. A conclusion makes a run completed,
// and a completed run must have one. It returns GitHub's words for a fault, or "".
// https://docs.github.com/rest/checks/runs#create-a-check-run
func (w *checkWish) applyState(c *CheckRun, now time.Time) string {
	if w.Status != nil {
		if !slices.Contains([]string{"queued", "in_progress", "completed"}, *w.Status) {
			return fmt.Sprintf("%q is not a possible value. Must be one of the following: queued, in_progress, completed.", *w.Status)
		}
		if c.Status = *w.Status; c.Status != "completed" {
			c.Conclusion, c.CompletedAt = "", time.Time{}
		}
	}
	if w.StartedAt != nil {
		c.StartedAt = *w.StartedAt
	}
	if w.Conclusion != nil {
		conclusions := []string{"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}
		if !slices.Contains(conclusions, *w.Conclusion) {
			return fmt.Sprintf("%q is not a possible value. Must be one of the following: %s.", *w.Conclusion, strings.Join(conclusions, ", "))
		}
		c.Conclusion, c.Status = *w.Conclusion, "completed"
	}
	if w.CompletedAt != nil {
		c.CompletedAt, c.Status = *w.CompletedAt, "completed"
	}
	if c.Status == "completed" && c.Conclusion == "" {
		return `For 'allOf/0', "conclusion" wasn't supplied.`
	}
	if c.Status == "completed" && c.CompletedAt.IsZero() {
		c.CompletedAt = now
	}
	if c.Status != "queued" && c.StartedAt.IsZero() {
		c.StartedAt = now
	}
	return ""
}

const maxText = 65535

// apply checks an output and applies it to c. Annotations are added to those that c has.
// It returns GitHub's words for a fault, or "".
func (o *checkOutput) apply(c *CheckRun) string {
	switch {
	case o.Summary == nil:
		return `For 'properties/output', "summary" wasn't supplied.`
	case !c.hasOutput && o.Title == nil:
		return `For 'properties/output', "title" wasn't supplied.`
	case len(o.Annotations) > 50:
		return fmt.Sprintf("No more than 50 items are allowed; %d were supplied.", len(o.Annotations))
	}
	for _, text := range []*string{o.Summary, o.Text} {
		if n := runeCount(text); n > maxText {
			return fmt.Sprintf("Only %d characters are allowed; %d were supplied.", maxText, n)
		}
	}
	for i, a := range o.Annotations {
		if fault := a.fault(); fault != "" {
			return fmt.Sprintf("For 'annotations/%d', %s", i, fault)
		}
	}
	if o.Title != nil {
		c.Title = *o.Title
	}
	c.Summary, c.Text, c.hasOutput = *o.Summary, "", true
	if o.Text != nil {
		c.Text = *o.Text
	}
	c.Annotations = append(c.Annotations, o.Annotations...)
	return ""
}

func runeCount(s *string) int {
	if s == nil {
		return 0
	}
	return utf8.RuneCountInString(*s)
}

// fault returns what GitHub would say against an annotation, or "".
func (a Annotation) fault() string {
	const max64KB = 64 << 10
	switch {
	case a.Path == "":
		return `"path" wasn't supplied.`
	case a.StartLine < 1 || a.EndLine < a.StartLine:
		return "start_line and end_line are not lines in this order."
	case !slices.Contains([]string{"notice", "warning", "failure"}, a.Level):
		return fmt.Sprintf("%q is not a possible value of annotation_level.", a.Level)
	case a.Message == "" || len(a.Message) > max64KB:
		return "message must have 1 byte to 64 KB."
	case runeCount(a.Title) > 255:
		return "Only 255 characters are allowed in title."
	case a.RawDetails != nil && len(*a.RawDetails) > max64KB:
		return "raw_details must not exceed 64 KB."
	case (a.StartColumn != nil || a.EndColumn != nil) && a.StartLine != a.EndLine:
		return "start_column and end_column can only be given on one line."
	}
	return ""
}

// checkActions returns what GitHub would say against a run's buttons, or "".
func checkActions(actions []CheckAction) string {
	if len(actions) > 3 {
		return fmt.Sprintf("No more than 3 items are allowed; %d were supplied.", len(actions))
	}
	for _, a := range actions {
		for _, field := range []struct {
			name, value string
			limit       int
		}{{"label", a.Label, 20}, {"description", a.Description, 40}, {"identifier", a.Identifier, 20}} {
			if n := utf8.RuneCountInString(field.value); n == 0 || n > field.limit {
				return fmt.Sprintf("For 'actions', %s must have 1 to %d characters; %d were supplied.", field.name, field.limit, n)
			}
		}
	}
	return ""
}

// createCheckRun is POST /repos/{owner}/{repo}/check-runs.
func (g *Server) createCheckRun(x *exchange) response {
	var wish checkWish
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	if wish.Name == nil || *wish.Name == "" || wish.HeadSHA == nil {
		return refuse(http.StatusUnprocessableEntity, `Invalid request.`+"\n\n"+`"name" and "head_sha" must be supplied.`)
	}
	commit, err := x.repo.git.commit(*wish.HeadSHA)
	if err != nil || !strings.EqualFold(commit.id, *wish.HeadSHA) {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+*wish.HeadSHA)
	}
	c := &checkRun{CheckRun: CheckRun{SHA: commit.id, Status: "queued", App: g.cfg.AppSlug, DetailsURL: "https://github.com/apps/" + g.cfg.AppSlug}}
	if reply, ok := wish.apply(&c.CheckRun, g.now()); !ok {
		return reply
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.ID, c.suite = g.nextID(), g.suite(x.repo, c.SHA, "")
	x.repo.checks = append(x.repo.checks, c)
	g.checkChanged(x.repo, c, "created", false)
	return response{status: http.StatusCreated, body: g.checkJSON(x.api, x.repo, c)}
}

// checkChanged sends the App the event about its own run, as GitHub does. The caller
// holds g.mu.
func (g *Server) checkChanged(r *repository, c *checkRun, action string, wasCompleted bool) {
	event := func(action string) {
		g.emitLater(r, "check_run", action, g.bot(), jsonObject{"check_run": g.checkJSON(g.cfg.URL, r, c)})
	}
	if action == "created" {
		event("created")
	}
	if c.Status == "completed" && !wasCompleted {
		event("completed")
	}
	g.notify()
}

func (x *exchange) check() *checkRun {
	for _, c := range x.repo.checks {
		if c.ID == x.id("check") {
			return c
		}
	}
	return nil
}

// updateCheckRun is PATCH /repos/{owner}/{repo}/check-runs/{check}.
func (g *Server) updateCheckRun(x *exchange) response {
	var wish checkWish
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := x.check()
	if c == nil {
		return notFound()
	}
	if c.App != g.cfg.AppSlug {
		return refuse(http.StatusForbidden, "Invalid app_id `"+fmt.Sprint(g.cfg.AppID)+"` - check run can only be modified by the GitHub App that created it.")
	}
	next := c.CheckRun
	if reply, ok := wish.apply(&next, g.now()); !ok {
		return reply
	}
	wasCompleted := c.Status == "completed"
	next.Updates++
	c.CheckRun = next
	g.checkChanged(x.repo, c, "", wasCompleted)
	return okResponse(g.checkJSON(x.api, x.repo, c))
}

// appID is the id of an App by its slug. The caller holds g.mu.
func (g *Server) appID(slug string) int64 {
	if slug == g.cfg.AppSlug {
		return g.cfg.AppID
	}
	return g.userID("app/" + slug)
}

// listCheckRuns is GET /repos/{owner}/{repo}/commits/{ref}/check-runs.
func (g *Server) listCheckRuns(x *exchange) response {
	commit, err := g.resolve(x.repo, x.params["ref"])
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+x.params["ref"])
	}
	query := x.URL.Query()
	if f := query.Get("filter"); f != "" && f != "latest" && f != "all" {
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\nfilter must be one of the following: latest, all.")
	}
	app := query.Get("app_id")
	if _, err := strconv.ParseInt(app, 10, 64); app != "" && err != nil {
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\napp_id must be an integer.")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	items, seen := []jsonObject{}, map[string]bool{}
	for _, c := range slices.Backward(x.repo.checks) {
		key := c.App + "/" + c.Name
		if c.SHA != commit.id || query.Get("check_name") != "" && query.Get("check_name") != c.Name ||
			app != "" && app != fmt.Sprint(g.appID(c.App)) ||
			query.Get("status") != "" && query.Get("status") != c.Status || query.Get("filter") != "all" && seen[key] {
			continue
		}
		seen[key] = true
		items = append(items, g.checkJSON(x.api, x.repo, c))
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: jsonObject{"total_count": len(items), "check_runs": page}}
}
