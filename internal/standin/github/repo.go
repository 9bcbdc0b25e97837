package github

import (
	"context"
	"net/http"
	"strings"
)

// resolve finds a commit as GitHub's `ref` parameters do: by a branch, a tag, a full
// reference name, an id or the beginning of an id.
func (g *Server) resolve(repo *repository, ref string) (*commit, error) {
	g.mu.Lock()
	id := repo.reference(ref)
	g.mu.Unlock()
	if id == "" {
		id = ref
	}
	return repo.git.commit(id)
}

// reference is the id to which a name points, or "". The caller holds g.mu.
func (r *repository) reference(name string) string {
	if name == "" || name == "HEAD" {
		name = r.DefaultBranch
	}
	for _, prefix := range []string{"refs/heads/", "refs/tags/", "refs/", ""} {
		if id := r.refs[prefix+name]; id != "" {
			return id
		}
	}
	return ""
}

// getRepository is GET /repos/{owner}/{repo}.
func (g *Server) getRepository(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	body := g.repositoryJSON(x.api, x.repo)
	body["permissions"] = jsonObject{"admin": false, "maintain": false, "push": false, "triage": false, "pull": true}
	return okResponse(body)
}

// listRepositories is GET /installation/repositories.
func (g *Server) listRepositories(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []jsonObject{}
	for _, r := range g.repos {
		if !r.deleted && x.token.covers(r) {
			items = append(items, g.repositoryJSON(x.api, r))
		}
	}
	page, links := paginate(x, items)
	return response{status: http.StatusOK, header: links, body: jsonObject{
		"total_count": len(items), "repository_selection": "selected", "repositories": page,
	}}
}

// getPermission is GET /repos/{owner}/{repo}/collaborators/{login}/permission.
func (g *Server) getPermission(x *exchange) response {
	g.mu.Lock()
	defer g.mu.Unlock()
	permission, role := x.repo.permission(x.params["login"])
	user := g.userJSON(x.api, x.params["login"])
	user["role_name"] = role
	user["permissions"] = jsonObject{
		"pull": permission != "none", "triage": role == "triage" || permission == "write" || permission == "admin",
		"push": permission == "write" || permission == "admin", "maintain": role == "maintain" || role == "admin", "admin": permission == "admin",
	}
	return okResponse(jsonObject{"permission": permission, "role_name": role, "user": user})
}

// permission gives the four-valued permission and the actual role. Everybody may read a
// public repository. The caller holds g.mu.
func (r *repository) permission(login string) (permission, role string) {
	role, known := r.roles[strings.ToLower(login)]
	name, base, custom := strings.Cut(role, ":")
	if custom {
		return base, name
	}
	switch {
	case !known && r.Private:
		return "none", ""
	case !known:
		return "read", "read"
	case role == "maintain":
		return "write", role
	case role == "triage":
		return "read", role
	case role == "none":
		return "none", ""
	}
	return role, role
}

// getReference is GET /repos/{owner}/{repo}/git/ref/{ref}.
func (g *Server) getReference(x *exchange) response {
	name := "refs/" + strings.TrimPrefix(x.params["ref"], "refs/")
	g.mu.Lock()
	id := x.repo.refs[name]
	g.mu.Unlock()
	if id == "" {
		return notFound()
	}
	return okResponse(x.referenceJSON(name, id))
}

func (x *exchange) referenceJSON(name, id string) jsonObject {
	kind, _, _, err := x.repo.git.object(id)
	if err != nil {
		kind = "commit"
	}
	url := x.self + "/git/"
	return jsonObject{
		"ref": name, "node_id": "", "url": url + name,
		"object": jsonObject{"sha": id, "type": kind, "url": url + kind + "s/" + id},
	}
}

// getCommit is GET /repos/{owner}/{repo}/commits/{ref}. Its files are those changed
// against the first parent: 300 a page, 3,000 in all.
func (g *Server) getCommit(x *exchange) response {
	c, err := g.resolve(x.repo, x.params["ref"])
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+x.params["ref"])
	}
	if strings.Contains(x.Header.Get("Accept"), ".sha") {
		return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/vnd.github.sha"}}, body: []byte(c.id)}
	}
	from := emptyTree
	if len(c.parents) > 0 {
		if parent, err := x.repo.git.commit(c.parents[0]); err == nil { // a shallow clone ends somewhere
			from = parent.id
		}
	}
	files, err := x.repo.git.diff(x.Context(), from, c.id)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	additions, deletions := 0, 0
	for _, f := range files {
		additions, deletions = additions+f.additions, deletions+f.deletions
	}
	number := queryNumber(x.URL.Query().Get("page"), 1, 1<<30)
	files = files[:min(len(files), 3000)]
	last := max(1, (len(files)+299)/300)
	at := min((number-1)*300, len(files))
	body := g.commitJSON(x, c)
	body["stats"] = jsonObject{"additions": additions, "deletions": deletions, "total": additions + deletions}
	body["files"] = x.filesJSON(files[at:min(at+300, len(files))], c.id)
	links := x.links(map[string]int{"prev": number - 1, "next": number + 1, "last": last, "first": 1}, number, last)
	return response{status: http.StatusOK, header: links, body: body}
}

// getGitCommit is GET /repos/{owner}/{repo}/git/commits/{sha}.
func (g *Server) getGitCommit(x *exchange) response {
	c, err := x.repo.git.commit(x.params["sha"])
	if err != nil {
		return notFound()
	}
	body := x.gitCommitJSON(c)
	body["sha"] = c.id
	body["node_id"] = nodeID("C", c.id)
	body["html_url"] = x.page + "/commit/" + c.id
	body["url"] = x.self + "/git/commits/" + c.id
	body["parents"] = x.parentsJSON(c, "/git/commits/")
	return okResponse(body)
}

func (x *exchange) parentsJSON(c *commit, path string) []jsonObject {
	parents := []jsonObject{}
	for _, p := range c.parents {
		parents = append(parents, jsonObject{"sha": p, "url": x.self + path + p, "html_url": x.page + "/commit/" + p})
	}
	return parents
}

func (x *exchange) gitCommitJSON(c *commit) jsonObject {
	person := func(s gitSignature) jsonObject {
		return jsonObject{"name": s.name, "email": s.email, "date": s.when}
	}
	return jsonObject{
		"author": person(c.author), "committer": person(c.committer), "message": c.message,
		"tree":         jsonObject{"sha": c.tree, "url": x.self + "/git/trees/" + c.tree},
		"verification": jsonObject{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil},
	}
}

func (g *Server) commitJSON(x *exchange, c *commit) jsonObject {
	inner := x.gitCommitJSON(c)
	inner["url"] = x.self + "/git/commits/" + c.id
	inner["comment_count"] = 0
	return jsonObject{
		"sha": c.id, "node_id": nodeID("C", c.id), "commit": inner,
		"url": x.self + "/commits/" + c.id, "html_url": x.page + "/commit/" + c.id,
		"comments_url": x.self + "/commits/" + c.id + "/comments",
		"author":       nil, "committer": nil, "parents": x.parentsJSON(c, "/commits/"),
	}
}

// ancestor says whether a commit is part of another one's history.
func (s *gitReader) ancestor(ctx context.Context, old, young string) bool {
	_, err := s.run(ctx, "merge-base", "--is-ancestor", old, young)
	return err == nil
}
