package github

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Comment is a comment on an issue or a pull request.
type Comment struct {
	ID                   int64
	Number               int // of the issue or pull request
	Login                string
	Body                 string
	Edits                int
	CreatedAt, UpdatedAt time.Time
}

// Reaction is a reaction to a comment.
type Reaction struct {
	ID      int64
	Login   string
	Content string // +1, -1, laugh, confused, heart, hooray, rocket or eyes
}

type issue struct {
	id        int64
	number    int
	title     string
	login     string
	state     string
	merged    bool
	mergeSHA  string // "": it was not merged
	locked    bool
	createdAt time.Time
	closedAt  time.Time
	pull      *PullRequest // nil: a plain issue
	size      diffSize     // of a pull request
}

// ended is the time when the issue was closed, for JSON. It is null while the issue is
// open, or if so is false.
func (i *issue) ended(so bool) any {
	if i.closedAt.IsZero() || !so {
		return nil
	}
	return i.closedAt
}

type comment struct {
	Comment
	issue     *issue
	reactions []Reaction
}

// SetPermission gives a person a role in a repository: admin, maintain, write, triage,
// read or none. A custom role is written NAME:BASE, such as "publisher:write". The owner
// is an admin. Everybody else may read a public repository and nothing of a private one.
func (g *Server) SetPermission(repo, login, role string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return err
	}
	r.roles[strings.ToLower(login)] = role
	return nil
}

// OpenIssue opens a plain issue. It sends no event, because the App does not subscribe to
// that.
func (g *Server) OpenIssue(repo, login, title string) (number int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return 0, err
	}
	return g.addIssue(r, login, title, nil).number, nil
}

func (g *Server) addIssue(r *repository, login, title string, pull *PullRequest) *issue {
	i := &issue{
		id: g.nextID(), number: len(r.issues) + 1, title: title, login: login, state: "open", createdAt: g.now(), pull: pull,
	}
	r.issues = append(r.issues, i)
	g.notify()
	return i
}

// Comment adds a comment to an issue or a pull request and sends `issue_comment`,
// created.
func (g *Server) Comment(ctx context.Context, repo string, number int, login, body string) (id int64, err error) {
	g.mu.Lock()
	r, issue, err := g.findIssue(repo, number)
	if err != nil {
		g.mu.Unlock()
		return 0, err
	}
	c := g.addComment(r, issue, login, body)
	event := g.commentEvent(r, c, "created", login, nil)
	g.mu.Unlock()
	g.send(ctx, event)
	return c.ID, nil
}

// EditComment changes a comment, as somebody other than its author may, and sends
// `issue_comment`, edited.
func (g *Server) EditComment(ctx context.Context, repo string, id int64, login, body string) error {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return err
	}
	c := r.comment(id)
	if c == nil {
		g.mu.Unlock()
		return fmt.Errorf("comment %d of %s: %w", id, repo, errGithubNoObject)
	}
	before := c.Body
	c.Body, c.UpdatedAt = body, g.now()
	c.Edits++
	event := g.commentEvent(r, c, "edited", login, jsonObject{"body": jsonObject{"from": before}})
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}

// Comments lists the comments of an issue or pull request, oldest first.
func (g *Server) Comments(repo string, number int) []Comment {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return nil
	}
	var comments []Comment
	for _, c := range r.comments {
		if c.Number == number {
			comments = append(comments, c.Comment)
		}
	}
	return comments
}

// Reactions lists the reactions to a comment, oldest first.
func (g *Server) Reactions(repo string, comment int64) []Reaction {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.lookup(repo)
	if err != nil {
		return nil
	}
	if c := r.comment(comment); c != nil {
		return slices.Clone(c.reactions)
	}
	return nil
}

// findIssue finds an issue or pull request. The caller holds g.mu.
func (g *Server) findIssue(repo string, number int) (*repository, *issue, error) {
	r, err := g.lookup(repo)
	if err != nil {
		return nil, nil, err
	}
	if i := r.issue(int64(number)); i != nil {
		return r, i, nil
	}
	return nil, nil, fmt.Errorf("issue %d of %s: %w", number, repo, errGithubNoObject)
}

func (r *repository) issue(number int64) *issue {
	for _, i := range r.issues {
		if int64(i.number) == number {
			return i
		}
	}
	return nil
}

func (r *repository) comment(id int64) *comment {
	for _, c := range r.comments {
		if c.ID == id {
			return c
		}
	}
	return nil
}

func (g *Server) addComment(r *repository, issue *issue, login, body string) *comment {
	c := &comment{issue: issue, Comment: Comment{
		ID: g.nextID(), Number: issue.number, Login: login, Body: body, CreatedAt: g.now(), UpdatedAt: g.now(),
	}}
	r.comments = append(r.comments, c)
	g.notify()
	return c
}

func (g *Server) commentEvent(r *repository, c *comment, action, sender string, changes jsonObject) *Delivery {
	fields := jsonObject{"issue": g.issueJSON(g.cfg.URL, r, c.issue), "comment": g.commentJSON(g.cfg.URL, r, c)}
	if changes != nil {
		fields["changes"] = changes
	}
	return g.newEvent(r, "issue_comment", action, sender, fields)
}

// association is GitHub's word for a commenter's relation to the repository. It proves
// nothing about rights.
func (r *repository) association(login string) string {
	if strings.EqualFold(login, r.Owner) {
		return "OWNER"
	}
	if _, known := r.roles[strings.ToLower(login)]; known {
		return "COLLABORATOR"
	}
	return "NONE"
}

// issueJSON is an issue in an answer or event. The caller holds g.mu.
func (g *Server) issueJSON(api string, r *repository, i *issue) jsonObject {
	self, page := fmt.Sprintf("%s/issues/%d", r.url(api), i.number), fmt.Sprintf("%s/issues/%d", r.html(), i.number)
	comments := 0
	for _, c := range r.comments {
		if c.issue == i {
			comments++
		}
	}
	body := jsonObject{
		"url": self, "repository_url": r.url(api), "labels_url": self + "/labels{/name}", "comments_url": self + "/comments",
		"events_url": self + "/events", "html_url": page, "id": i.id, "node_id": nodeID("I", i.id), "number": i.number,
		"title": i.title, "user": g.userJSON(api, i.login), "labels": []string{}, "state": i.state, "locked": i.locked,
		"assignee": nil, "assignees": []string{}, "milestone": nil, "comments": comments, "created_at": i.createdAt,
		"updated_at": i.createdAt, "closed_at": i.ended(true), "author_association": r.association(i.login), "active_lock_reason": nil,
		"body": "", "reactions": reactionCounts(self, nil), "performed_via_github_app": nil, "state_reason": nil,
	}
	if i.pull != nil {
		page = fmt.Sprintf("%s/pull/%d", r.html(), i.number)
		body["html_url"], body["draft"] = page, i.pull.Draft
		body["pull_request"] = jsonObject{
			"url": fmt.Sprintf("%s/pulls/%d", r.url(api), i.number), "html_url": page,
			"diff_url": page + ".diff", "patch_url": page + ".patch", "merged_at": i.ended(i.merged),
		}
	}
	return body
}

// commentJSON is a comment in an answer or event. The caller holds g.mu.
func (g *Server) commentJSON(api string, r *repository, c *comment) jsonObject {
	self := fmt.Sprintf("%s/issues/comments/%d", r.url(api), c.ID)
	issue := g.issueURLs(api, r, c.issue)
	var app any
	if c.Login == g.bot() {
		app = g.appJSON()
	}
	return jsonObject{
		"url": self, "html_url": fmt.Sprintf("%s#issuecomment-%d", issue[1], c.ID), "issue_url": issue[0], "id": c.ID,
		"node_id": nodeID("IC", c.ID), "user": g.userJSON(api, c.Login), "created_at": c.CreatedAt, "updated_at": c.UpdatedAt,
		"author_association": r.association(c.Login), "body": c.Body, "performed_via_github_app": app,
		"reactions": reactionCounts(self, c.reactions),
	}
}

func (g *Server) issueURLs(api string, r *repository, i *issue) [2]string {
	kind := "issues"
	if i.pull != nil {
		kind = "pull"
	}
	return [2]string{fmt.Sprintf("%s/issues/%d", r.url(api), i.number), fmt.Sprintf("%s/%s/%d", r.html(), kind, i.number)}
}

func reactionContents() []string {
	return []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}
}

// reactionCounts is the summary of a comment's reactions.
func reactionCounts(self string, reactions []Reaction) jsonObject {
	counts := jsonObject{"url": self + "/reactions", "total_count": len(reactions)}
	for _, content := range reactionContents() {
		n := 0
		for _, r := range reactions {
			if r.Content == content {
				n++
			}
		}
		counts[content] = n
	}
	return counts
}

// listComments is GET /repos/{owner}/{repo}/issues/{number}/comments, oldest first.
func (g *Server) listComments(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := x.repo.issue(x.id("number"))
	if i == nil {
		return notFound()
	}
	var since time.Time
	if text := x.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\nsince must be a timestamp as YYYY-MM-DDTHH:MM:SSZ.")
		}
	}
	items := []jsonObject{}
	for _, c := range x.repo.comments {
		if c.issue == i && !c.UpdatedAt.Before(since) {
			items = append(items, g.commentJSON(x.api, x.repo, c))
		}
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: page}
}

// commentBody reads and checks the body of a new or changed comment. If ok is false, the
// caller sends the reply.
func (x *exchange) commentBody() (string, response, bool) {
	var wish struct {
		Body string `json:"body"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return "", reply, false
	}
	if strings.TrimSpace(wish.Body) == "" {
		return "", invalid("IssueComment", "body", "missing_field", "Body cannot be blank"), false
	}
	if utf8.RuneCountInString(wish.Body) > 65536 {
		return "", invalid("IssueComment", "body", "custom", "Body is too long (maximum is 65536 characters)"), false
	}
	return wish.Body, response{}, true
}

// mayWrite says whether the token may write to an issue or a pull request.
func (x *exchange) mayWrite(i *issue) bool {
	return allows(x.token.permissions, "issues:write") || i.pull != nil && allows(x.token.permissions, "pull_requests:write")
}

// comment is the comment that the path names. ok is false if the token may not write to
// it.
func (x *exchange) comment() (c *comment, refusal response, ok bool) {
	switch c = x.repo.comment(x.id("comment")); {
	case c == nil:
		return nil, notFound(), false
	case !x.mayWrite(c.issue):
		return nil, refuse(http.StatusForbidden, "Resource not accessible by integration"), false
	}
	return c, response{}, true
}

// createComment is POST /repos/{owner}/{repo}/issues/{number}/comments.
func (g *Server) createComment(x *exchange) response {
	text, reply, ok := x.commentBody()
	if !ok {
		return reply
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := x.repo.issue(x.id("number"))
	switch {
	case i == nil:
		return notFound()
	case !x.mayWrite(i):
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	case i.locked:
		return refuse(http.StatusForbidden, "Unable to create comment because issue is locked.")
	}
	c := g.addComment(x.repo, i, g.bot(), text)
	g.sendLater(g.commentEvent(x.repo, c, "created", g.bot(), nil))
	return response{status: http.StatusCreated, body: g.commentJSON(x.api, x.repo, c)}
}

// updateComment is PATCH /repos/{owner}/{repo}/issues/comments/{comment}.
func (g *Server) updateComment(x *exchange) response {
	text, reply, ok := x.commentBody()
	if !ok {
		return reply
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c, refusal, ok := x.comment()
	if !ok {
		return refusal
	}
	before := c.Body
	c.Body, c.UpdatedAt = text, g.now()
	c.Edits++
	g.sendLater(g.commentEvent(x.repo, c, "edited", g.bot(), jsonObject{"body": jsonObject{"from": before}}))
	g.notify()
	return okResponse(g.commentJSON(x.api, x.repo, c))
}

func (g *Server) reactionJSON(x *exchange, r Reaction, at time.Time) jsonObject {
	return jsonObject{"id": r.ID, "node_id": nodeID("REA", r.ID), "user": g.userJSON(x.api, r.Login), "content": r.Content, "created_at": at}
}

// createReaction is POST …/issues/comments/{comment}/reactions. It answers 200 if the
// reaction is already there.
func (g *Server) createReaction(x *exchange) response {
	var wish struct {
		Content string `json:"content"`
	}
	if reply, ok := x.decode(&wish); !ok {
		return reply
	}
	if !slices.Contains(reactionContents(), wish.Content) {
		return invalid("Reaction", "content", "custom", fmt.Sprintf("%q is not a valid reaction", wish.Content))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c, refusal, ok := x.comment()
	switch {
	case !ok:
		return refusal
	case c.issue.locked:
		return refuse(http.StatusForbidden, "Unable to create reaction because issue is locked.")
	}
	for _, r := range c.reactions {
		if r.Login == g.bot() && r.Content == wish.Content {
			return okResponse(g.reactionJSON(x, r, c.CreatedAt))
		}
	}
	r := Reaction{ID: g.nextID(), Login: g.bot(), Content: wish.Content}
	c.reactions = append(c.reactions, r)
	g.notify()
	return response{status: http.StatusCreated, body: g.reactionJSON(x, r, g.now())}
}

// deleteReaction is DELETE …/issues/comments/{comment}/reactions/{reaction}.
func (g *Server) deleteReaction(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, refusal, ok := x.comment()
	if !ok {
		return refusal
	}
	i := slices.IndexFunc(c.reactions, func(r Reaction) bool { return r.ID == x.id("reaction") })
	switch {
	case i < 0:
		return notFound()
	case c.reactions[i].Login != g.bot():
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	c.reactions = slices.Delete(c.reactions, i, i+1)
	g.notify()
	return response{status: http.StatusNoContent}
}
