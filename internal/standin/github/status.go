package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Status is a commit status.
type Status struct {
	ID          int64
	SHA         string
	State       string // error, failure, pending or success
	Context     string
	Description string
	TargetURL   string
	Creator     string
	CreatedAt   time.Time
}

// Statuses lists the statuses of a commit in the order in which they were created. An
// empty sha means all commits.
func (g *Server) Statuses(repo, sha string) []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.statuses), func(s Status) bool { return sha != "" && s.SHA != sha })
}

// AwaitStatus waits until the newest status of a commit's context satisfies done, and
// returns it. A nil done accepts any status. The error names the last status that was
// seen.
func (g *Server) AwaitStatus(ctx context.Context, repo, sha, statusContext string, done func(Status) bool) (Status, error) {
	var last Status
	err := g.Await(ctx, func() bool {
		found := false
		for _, s := range g.Statuses(repo, sha) {
			if strings.EqualFold(s.Context, statusContext) {
				last, found = s, true
			}
		}
		return found && (done == nil || done(last))
	})
	if err != nil {
		return last, fmt.Errorf("wait for status %s of %s@%.7s, last %q %q: %w", statusContext, repo, sha, last.State, last.Description, err)
	}
	return last, nil
}

// latestStatuses keeps the newest status of each context, newest first.
func latestStatuses(statuses []Status, sha string) []Status {
	var latest []Status
	for _, s := range slices.Backward(statuses) {
		same := func(other Status) bool { return strings.EqualFold(other.Context, s.Context) }
		if s.SHA == sha && !slices.ContainsFunc(latest, same) {
			latest = append(latest, s)
		}
	}
	return latest
}

// statusJSON is a status in an answer. The caller holds g.mu.
func (g *Server) statusJSON(api string, r *repository, s Status) jsonObject {
	creator := g.userJSON(api, s.Creator)
	var target, description any
	if s.TargetURL != "" {
		target = s.TargetURL
	}
	if s.Description != "" {
		description = s.Description
	}
	return jsonObject{
		"id": s.ID, "node_id": nodeID("SC", s.ID), "url": r.url(api) + "/statuses/" + s.SHA, "avatar_url": creator["avatar_url"],
		"state": s.State, "context": s.Context, "description": description, "target_url": target,
		"creator": creator, "created_at": s.CreatedAt, "updated_at": s.CreatedAt,
	}
}

// createStatus is POST /repos/{owner}/{repo}/statuses/{sha}.
func (g *Server) createStatus(x *exchange) response {
	var wish struct {
		State       string  `json:"state"`
		TargetURL   *string `json:"target_url"`
		Description *string `json:"description"`
		Context     *string `json:"context"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	s := Status{State: wish.State, Context: "default", Creator: g.bot()}
	if wish.Context != nil && *wish.Context != "" {
		s.Context = *wish.Context
	}
	if wish.TargetURL != nil {
		s.TargetURL = *wish.TargetURL
	}
	if wish.Description != nil {
		s.Description = *wish.Description
	}
	if reply, ok := checkStatus(s); !ok {
		return reply
	}
	c, err := x.repo.git.commit(x.params["sha"])
	if err != nil || !strings.EqualFold(c.id, x.params["sha"]) {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+x.params["sha"])
	}
	s.SHA = c.id
	g.mu.Lock()
	defer g.mu.Unlock()
	same := 0
	for _, other := range x.repo.statuses {
		if other.SHA == s.SHA && strings.EqualFold(other.Context, s.Context) {
			same++
		}
	}
	if same >= g.cfg.Limits.StatusesPerContext {
		return invalid("Status", "", "custom", "This SHA and context has reached the maximum number of statuses.")
	}
	s = g.addStatus(x.repo, s, c)
	return response{status: http.StatusCreated, body: g.statusJSON(x.api, x.repo, s)}
}

// checkStatus refuses what GitHub refuses. If ok is false, the caller sends the reply.
func checkStatus(s Status) (response, bool) {
	if !slices.Contains([]string{"error", "failure", "pending", "success"}, s.State) {
		return invalid("Status", "state", "custom", "state is not included in the list"), false
	}
	if utf8.RuneCountInString(s.Description) > 140 {
		return invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)"), false
	}
	for field, text := range map[string]string{"description": s.Description, "context": s.Context} {
		if strings.ContainsFunc(text, func(r rune) bool { return r > '\uFFFF' }) { // for a context this is not confirmed
			return invalid("Status", field, "custom", field+" doesn't accept 4-byte Unicode"), false
		}
	}
	if utf8.RuneCountInString(s.Context) > 255 {
		return invalid("Status", "context", "custom", "context is too long (maximum is 255 characters)"), false
	}
	if !isLink(s.TargetURL) {
		return invalid("Status", "target_url", "custom", "target_url must use http(s) scheme"), false
	}
	return response{}, true
}

// isLink says whether GitHub accepts a text as a link. No link is fine too.
func isLink(link string) bool {
	u, err := url.Parse(link)
	return link == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// addStatus stores a status and sends the event to the App. The caller holds g.mu.
func (g *Server) addStatus(r *repository, s Status, c *commit) Status {
	s.ID, s.CreatedAt = g.nextID(), g.now()
	r.statuses = append(r.statuses, s)
	branches := []jsonObject{}
	for name, id := range r.refs {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok && id == s.SHA {
			branches = append(branches, jsonObject{"name": branch, "commit": jsonObject{"sha": id, "url": r.url(g.cfg.URL) + "/commits/" + id}, "protected": false})
		}
	}
	x := &exchange{api: g.cfg.URL}
	x.enter(r)
	body := g.statusJSON(g.cfg.URL, r, s)
	delete(body, "creator")
	body["sha"], body["name"], body["commit"], body["branches"] = s.SHA, r.fullName(), g.commitJSON(x, c), branches
	g.emitLater(r, "status", "", s.Creator, body)
	g.notify()
	return s
}

// Status sets a commit status as another tool would, such as a host that makes no
// deployments.
func (g *Server) Status(repo string, s Status) (Status, error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	g.mu.Unlock()
	if err != nil {
		return Status{}, err
	}
	c, err := r.git.commit(s.SHA)
	if err != nil {
		return Status{}, fmt.Errorf("set status of %s@%s: %w", repo, s.SHA, err)
	}
	if reply, ok := checkStatus(s); !ok {
		return Status{}, fmt.Errorf("set status of %s@%s: %v", repo, s.SHA, reply.body)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.SHA = c.id
	if s.Creator == "" {
		s.Creator = r.Owner
	}
	return g.addStatus(r, s, c), nil
}

// listStatuses is GET /repos/{owner}/{repo}/commits/{ref}/statuses, newest first.
func (g *Server) listStatuses(x *exchange) response {
	c, err := g.resolve(x.repo, x.params["ref"])
	if err != nil {
		return notFound()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []jsonObject{}
	for _, s := range slices.Backward(x.repo.statuses) {
		if s.SHA == c.id {
			items = append(items, g.statusJSON(x.api, x.repo, s))
		}
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: page}
}
