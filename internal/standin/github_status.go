package standin

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

// GitHubStatus is a commit status.
type GitHubStatus struct {
	ID          int64
	SHA         string
	State       string // error, failure, pending or success
	Context     string
	Description string
	TargetURL   string
	Creator     string
	CreatedAt   time.Time
}

// Statuses lists the statuses of a commit in the order in which they were
// created; of all commits if sha is empty.
func (g *GitHub) Statuses(repo, sha string) []GitHubStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.statuses), func(s GitHubStatus) bool { return sha != "" && s.SHA != sha })
}

// AwaitStatus waits until the newest status of a commit's context satisfies
// done (nil: any does), and gives it. The error tells the last one seen.
func (g *GitHub) AwaitStatus(ctx context.Context, repo, sha, statusContext string, done func(GitHubStatus) bool) (GitHubStatus, error) {
	var last GitHubStatus
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

// githubLatest keeps the newest status of each context, newest first.
func githubLatest(statuses []GitHubStatus, sha string) []GitHubStatus {
	var latest []GitHubStatus
	for _, s := range slices.Backward(statuses) {
		same := func(other GitHubStatus) bool { return strings.EqualFold(other.Context, s.Context) }
		if s.SHA == sha && !slices.ContainsFunc(latest, same) {
			latest = append(latest, s)
		}
	}
	return latest
}

func githubCombined(latest []GitHubStatus) string {
	state := "success"
	for _, s := range latest {
		switch s.State {
		case "error", "failure":
			return "failure"
		case "pending":
			state = "pending"
		}
	}
	if len(latest) == 0 {
		return "pending"
	}
	return state
}

func (g *GitHub) statusJSON(api string, r *githubRepo, s GitHubStatus) githubObject {
	creator := g.userJSON(api, s.Creator)
	var target, description any
	if s.TargetURL != "" {
		target = s.TargetURL
	}
	if s.Description != "" {
		description = s.Description
	}
	return githubObject{
		"id": s.ID, "node_id": githubNode("SC", s.ID), "url": r.url(api) + "/statuses/" + s.SHA, "avatar_url": creator["avatar_url"],
		"state": s.State, "context": s.Context, "description": description, "target_url": target,
		"creator": creator, "created_at": s.CreatedAt, "updated_at": s.CreatedAt,
	}
}

// createStatus is POST /repos/{owner}/{repo}/statuses/{sha}.
func (g *GitHub) createStatus(x *githubExchange) githubReply {
	var wish struct {
		State       string  `json:"state"`
		TargetURL   *string `json:"target_url"`
		Description *string `json:"description"`
		Context     *string `json:"context"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	s := GitHubStatus{State: wish.State, Context: "default", Creator: g.bot()}
	if wish.Context != nil && *wish.Context != "" {
		s.Context = *wish.Context
	}
	if wish.TargetURL != nil {
		s.TargetURL = *wish.TargetURL
	}
	if wish.Description != nil {
		s.Description = *wish.Description
	}
	if reply, ok := githubCheckStatus(s); !ok {
		return reply
	}
	c, err := x.repo.git.commit(x.params["sha"])
	if err != nil || !strings.EqualFold(c.id, x.params["sha"]) {
		return githubFail(http.StatusUnprocessableEntity, "No commit found for SHA: "+x.params["sha"])
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
		return githubInvalid("Status", "", "custom", "This SHA and context has reached the maximum number of statuses.")
	}
	s = g.addStatus(x.repo, s, c)
	return githubReply{status: http.StatusCreated, body: g.statusJSON(x.api, x.repo, s)}
}

func githubCheckStatus(s GitHubStatus) (githubReply, bool) {
	if !slices.Contains([]string{"error", "failure", "pending", "success"}, s.State) {
		return githubInvalid("Status", "state", "custom", "state is not included in the list"), false
	}
	if utf8.RuneCountInString(s.Description) > 140 {
		return githubInvalid("Status", "description", "custom", "description is too long (maximum is 140 characters)"), false
	}
	if utf8.RuneCountInString(s.Context) > 255 {
		return githubInvalid("Status", "context", "custom", "context is too long (maximum is 255 characters)"), false
	}
	if !githubIsLink(s.TargetURL) {
		return githubInvalid("Status", "target_url", "custom", "target_url must use http(s) scheme"), false
	}
	return githubReply{}, true
}

// githubIsLink takes what GitHub takes as a link; none is fine.
func githubIsLink(link string) bool {
	u, err := url.Parse(link)
	return link == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// addStatus stores a status and tells the App of it. The caller holds g.mu.
func (g *GitHub) addStatus(r *githubRepo, s GitHubStatus, c *githubCommit) GitHubStatus {
	s.ID, s.CreatedAt = g.nextID(), g.now()
	r.statuses = append(r.statuses, s)
	branches := []githubObject{}
	for name, id := range r.refs {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok && id == s.SHA {
			branches = append(branches, githubObject{"name": branch, "commit": githubObject{"sha": id, "url": r.url(g.cfg.URL) + "/commits/" + id}, "protected": false})
		}
	}
	x := &githubExchange{api: g.cfg.URL}
	x.enter(r)
	body := g.statusJSON(g.cfg.URL, r, s)
	delete(body, "creator")
	body["sha"], body["name"], body["commit"], body["branches"] = s.SHA, r.fullName(), g.commitJSON(x, c), branches
	g.emitLater(r, "status", "", s.Creator, body)
	g.notify()
	return s
}

// Status sets a commit status as somebody else's tool would, a host's that makes no deployments for one.
func (g *GitHub) Status(repo string, s GitHubStatus) (GitHubStatus, error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	g.mu.Unlock()
	if err != nil {
		return GitHubStatus{}, err
	}
	c, err := r.git.commit(s.SHA)
	if err != nil {
		return GitHubStatus{}, fmt.Errorf("set status of %s@%s: %w", repo, s.SHA, err)
	}
	if reply, ok := githubCheckStatus(s); !ok {
		return GitHubStatus{}, fmt.Errorf("set status of %s@%s: %v", repo, s.SHA, reply.body)
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
func (g *GitHub) listStatuses(x *githubExchange) githubReply {
	c, err := g.resolve(x.repo, x.params["ref"])
	if err != nil {
		return githubNotFound()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []githubObject{}
	for _, s := range slices.Backward(x.repo.statuses) {
		if s.SHA == c.id {
			items = append(items, g.statusJSON(x.api, x.repo, s))
		}
	}
	page, links := githubPage(x, items)
	return githubReply{status: http.StatusOK, header: links, body: page}
}

// getCombinedStatus is GET /repos/{owner}/{repo}/commits/{ref}/status.
func (g *GitHub) getCombinedStatus(x *githubExchange) githubReply {
	c, err := g.resolve(x.repo, x.params["ref"])
	if err != nil {
		return githubNotFound()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	latest := githubLatest(x.repo.statuses, c.id)
	items := []githubObject{}
	for _, s := range latest {
		items = append(items, g.statusJSON(x.api, x.repo, s))
	}
	page, links := githubPage(x, items)
	return githubReply{status: http.StatusOK, header: links, body: githubObject{
		"state": githubCombined(latest), "sha": c.id, "total_count": len(items), "statuses": page,
		"repository": g.repositoryJSON(x.api, x.repo),
		"commit_url": x.repo.url(x.api) + "/commits/" + c.id, "url": x.repo.url(x.api) + "/commits/" + c.id + "/status",
	}}
}
