package github

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// PullRequest is a pull request that a player opens.
type PullRequest struct {
	Title   string
	Login   string // "": the repository's owner
	Head    string // branch
	HeadSHA string // "": the branch's head
	// HeadRepository is a fork's OWNER/NAME. Empty means that the branch is in the
	// repository itself. The fork's commits must be in the repository's clone.
	HeadRepository string
	HeadGone       bool   // the fork was deleted, and GitHub names no head repository
	Base           string // branch; "": the default branch
	BaseSHA        string // "": the branch's head
	Draft          bool
}

// OpenPullRequest opens a pull request and sends `pull_request`, opened.
func (g *Server) OpenPullRequest(ctx context.Context, repo string, p PullRequest) (number int, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	if err != nil {
		g.mu.Unlock()
		return 0, err
	}
	for field, otherwise := range map[*string]string{&p.Login: r.Owner, &p.Base: r.DefaultBranch} {
		if *field == "" {
			*field = otherwise
		}
	}
	for field, branch := range map[*string]string{&p.HeadSHA: p.Head, &p.BaseSHA: p.Base} {
		if *field == "" {
			*field = r.refs["refs/heads/"+branch]
		}
		if *field == "" {
			g.mu.Unlock()
			return 0, fmt.Errorf("open pull request in %s: no branch %q", repo, branch)
		}
	}
	g.mu.Unlock()
	size, err := r.git.size(ctx, p.BaseSHA, p.HeadSHA)
	if err != nil {
		return 0, fmt.Errorf("open pull request in %s: %w", repo, err)
	}
	g.mu.Lock()
	i := g.addIssue(r, p.Login, p.Title, &p)
	i.size = size
	event := g.pullEvent(r, i, "opened", p.Login)
	g.mu.Unlock()
	g.send(ctx, event)
	return i.number, nil
}

// ClosePullRequest closes a pull request and sends `pull_request`, closed.
func (g *Server) ClosePullRequest(ctx context.Context, repo string, number int, login string) error {
	return g.endPull(ctx, repo, number, login, false)
}

// MergePullRequest marks a pull request as merged and sends `pull_request`, closed. It
// moves no branch: push the base branch first. The head of that branch then counts as the
// merge commit.
func (g *Server) MergePullRequest(ctx context.Context, repo string, number int, login string) error {
	return g.endPull(ctx, repo, number, login, true)
}

// LockConversation locks an issue or a pull request. The App can then neither comment nor
// react there.
func (g *Server) LockConversation(repo string, number int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, i, err := g.findIssue(repo, number)
	if err == nil {
		i.locked = true
	}
	return err
}

// endPull closes a pull request and sends the event. It takes g.mu.
func (g *Server) endPull(ctx context.Context, repo string, number int, login string, merged bool) error {
	g.mu.Lock()
	r, i, err := g.findIssue(repo, number)
	if err != nil {
		g.mu.Unlock()
		return err
	}
	i.state, i.merged, i.closedAt = "closed", merged, g.now()
	if merged {
		i.mergeSHA = r.refs["refs/heads/"+i.pull.Base]
	}
	event := g.pullEvent(r, i, "closed", login)
	g.notify()
	g.mu.Unlock()
	g.send(ctx, event)
	return nil
}

func (i *issue) mergeCommit() any {
	if i.mergeSHA == "" {
		return nil
	}
	return i.mergeSHA
}

// pullEvent is a `pull_request` event. The caller holds g.mu.
func (g *Server) pullEvent(r *repository, i *issue, action, sender string) *Delivery {
	if i.pull == nil {
		return nil
	}
	return g.newEvent(r, "pull_request", action, sender, jsonObject{"number": i.number, "pull_request": g.pullJSON(g.cfg.URL, r, i)})
}

// pullJSON is a pull request in an answer or event. The caller holds g.mu.
func (g *Server) pullJSON(api string, r *repository, i *issue) jsonObject {
	p, self, page := i.pull, fmt.Sprintf("%s/pulls/%d", r.url(api), i.number), fmt.Sprintf("%s/pull/%d", r.html(), i.number)
	headRepo, headOwner := g.repositoryJSON(api, r), r.Owner
	if p.HeadRepository != "" {
		owner, name, _ := strings.Cut(p.HeadRepository, "/")
		fork := *r
		fork.Owner, fork.Name, fork.ID = owner, name, g.userID("repository/"+p.HeadRepository)
		headRepo, headOwner = g.repositoryJSON(api, &fork), owner
		headRepo["fork"] = true
	}
	var head any = headRepo
	if p.HeadGone {
		head = nil
	}
	side := func(owner, ref, sha string, repo any) jsonObject {
		return jsonObject{"label": owner + ":" + ref, "ref": ref, "sha": sha, "user": g.userJSON(api, owner), "repo": repo}
	}
	issue := g.issueJSON(api, r, i)
	links := jsonObject{}
	for key, link := range map[string]string{
		"self": self, "html": page, "issue": issue["url"].(string), "comments": issue["comments_url"].(string), "commits": self + "/commits",
		"review_comments": self + "/comments", "review_comment": r.url(api) + "/pulls/comments{/number}", "statuses": r.url(api) + "/statuses/" + p.HeadSHA,
	} {
		links[key] = jsonObject{"href": link}
	}
	return jsonObject{
		"url": self, "id": i.id, "node_id": nodeID("PR", i.id), "html_url": page, "diff_url": page + ".diff", "patch_url": page + ".patch",
		"issue_url": issue["url"], "number": i.number, "state": i.state, "locked": i.locked, "title": i.title, "user": issue["user"], "body": nil,
		"created_at": i.createdAt, "updated_at": i.createdAt, "closed_at": i.ended(true), "merged_at": i.ended(i.merged), "merge_commit_sha": i.mergeCommit(),
		"assignee": nil, "assignees": []string{}, "requested_reviewers": []string{}, "requested_teams": []string{}, "labels": []string{},
		"milestone": nil, "draft": p.Draft, "commits_url": self + "/commits", "review_comments_url": self + "/comments",
		"review_comment_url": r.url(api) + "/pulls/comments{/number}", "comments_url": issue["comments_url"],
		"statuses_url": r.url(api) + "/statuses/" + p.HeadSHA, "author_association": r.association(i.login), "auto_merge": nil,
		"active_lock_reason": nil, "merged": i.merged, "mergeable": nil, "rebaseable": nil, "mergeable_state": "unknown", "merged_by": nil,
		"comments": issue["comments"], "review_comments": 0, "maintainer_can_modify": false,
		"changed_files": i.size.files, "commits": i.size.commits, "additions": i.size.additions, "deletions": i.size.deletions,
		"head": side(headOwner, p.Head, p.HeadSHA, head), "base": side(r.Owner, p.Base, p.BaseSHA, g.repositoryJSON(api, r)), "_links": links,
	}
}

// diffSize says how much a pull request changes.
type diffSize struct{ files, commits, additions, deletions int }

// size measures the changes of a pull request of head into base.
func (s *gitReader) size(ctx context.Context, base, head string) (diffSize, error) {
	files, err := s.since(ctx, base, head)
	if err != nil {
		return diffSize{}, err
	}
	_, commits, err := s.distance(ctx, base, head)
	size := diffSize{files: len(files), commits: commits}
	for _, f := range files {
		size.additions, size.deletions = size.additions+f.additions, size.deletions+f.deletions
	}
	return size, err
}

// since lists what head has changed since the merge base.
func (s *gitReader) since(ctx context.Context, base, head string) ([]changedFile, error) {
	if common, err := s.run(ctx, "merge-base", base, head); err == nil {
		base = strings.TrimSpace(common)
	}
	return s.diff(ctx, base, head)
}

// findPull copies the pull request whose number is in the path.
func (g *Server) findPull(x *exchange) (jsonObject, PullRequest, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := x.repo.issue(x.id("number"))
	if i == nil || i.pull == nil {
		return nil, PullRequest{}, false
	}
	return g.pullJSON(x.api, x.repo, i), *i.pull, true
}

// getPull is GET /repos/{owner}/{repo}/pulls/{number}.
func (g *Server) getPull(x *exchange) response {
	body, _, ok := g.findPull(x)
	if !ok {
		return notFound()
	}
	body["mergeable"], body["mergeable_state"] = true, "clean"
	return okResponse(body)
}

// listPullFiles is GET /repos/{owner}/{repo}/pulls/{number}/files. It lists at most 3,000
// files and does not say if there are more.
// https://docs.github.com/rest/pulls/pulls#list-pull-requests-files
func (g *Server) listPullFiles(x *exchange) response {
	_, p, ok := g.findPull(x)
	if !ok {
		return notFound()
	}
	files, err := x.repo.git.since(x.Context(), p.BaseSHA, p.HeadSHA)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	page, links := paginate(x, files[:min(len(files), g.cfg.Limits.PullFiles)])
	return response{status: http.StatusOK, header: links, body: x.filesJSON(page, p.HeadSHA)}
}
