package standin

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// resolve finds the commit that a branch, tag, full reference name or (part of
// an) id names, as GitHub's `ref` parameters do.
func (g *GitHub) resolve(repo *githubRepo, ref string) (*githubCommit, error) {
	g.mu.Lock()
	id := repo.reference(ref)
	g.mu.Unlock()
	if id == "" {
		id = ref
	}
	return repo.git.commit(id)
}

// reference is what a name points to, or "". The caller holds g.mu.
func (r *githubRepo) reference(name string) string {
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
func (g *GitHub) getRepository(x *githubExchange) githubReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	body := g.repositoryJSON(x.api, x.repo)
	body["permissions"] = githubObject{"admin": false, "maintain": false, "push": false, "triage": false, "pull": true}
	return githubOK(body)
}

// listRepositories is GET /installation/repositories.
func (g *GitHub) listRepositories(x *githubExchange) githubReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []githubObject{}
	for _, r := range g.repos {
		if !r.deleted && x.token.covers(r) {
			items = append(items, g.repositoryJSON(x.api, r))
		}
	}
	page, links := githubPage(x, items)
	return githubReply{status: http.StatusOK, header: links, body: githubObject{
		"total_count": len(items), "repository_selection": "selected", "repositories": page,
	}}
}

// getUser is GET /users/{login}.
func (g *GitHub) getUser(x *githubExchange) githubReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	return githubOK(g.userJSON(x.api, x.params["login"]))
}

// getPermission is GET /repos/{owner}/{repo}/collaborators/{login}/permission.
func (g *GitHub) getPermission(x *githubExchange) githubReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	permission, role := x.repo.permission(x.params["login"])
	user := g.userJSON(x.api, x.params["login"])
	user["role_name"] = role
	user["permissions"] = githubObject{
		"pull": permission != "none", "triage": role == "triage" || permission == "write" || permission == "admin",
		"push": permission == "write" || permission == "admin", "maintain": role == "maintain" || role == "admin", "admin": permission == "admin",
	}
	return githubOK(githubObject{"permission": permission, "role_name": role, "user": user})
}

// permission gives the four-valued permission and the true role. Everybody may
// read a public repository. The caller holds g.mu.
func (r *githubRepo) permission(login string) (permission, role string) {
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

// listBranches is GET /repos/{owner}/{repo}/branches.
func (g *GitHub) listBranches(x *githubExchange) githubReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	items := []githubObject{}
	for _, ref := range slices.Sorted(maps.Keys(x.repo.refs)) {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			id := x.repo.refs[ref]
			items = append(items, githubObject{
				"name": name, "protected": false,
				"commit": githubObject{"sha": id, "url": x.self + "/commits/" + id},
			})
		}
	}
	page, links := githubPage(x, items)
	return githubReply{status: http.StatusOK, header: links, body: page}
}

// getBranch is GET /repos/{owner}/{repo}/branches/{branch}.
func (g *GitHub) getBranch(x *githubExchange) githubReply {
	name := x.params["branch"]
	g.mu.Lock()
	id := x.repo.refs["refs/heads/"+name]
	g.mu.Unlock()
	c, err := x.repo.git.commit(id)
	if id == "" || err != nil {
		return githubFail(http.StatusNotFound, "Branch not found")
	}
	return githubOK(githubObject{
		"name": name, "commit": g.commitJSON(x, c), "protected": false,
		"_links":     githubObject{"self": x.self + "/branches/" + name, "html": x.page + "/tree/" + name},
		"protection": githubObject{"enabled": false}, "protection_url": x.self + "/branches/" + name + "/protection",
	})
}

// getReference is GET /repos/{owner}/{repo}/git/ref/{ref}.
func (g *GitHub) getReference(x *githubExchange) githubReply {
	name := "refs/" + strings.TrimPrefix(x.params["ref"], "refs/")
	g.mu.Lock()
	id := x.repo.refs[name]
	g.mu.Unlock()
	if id == "" {
		return githubNotFound()
	}
	return githubOK(x.referenceJSON(name, id))
}

// listReferences is GET /repos/{owner}/{repo}/git/matching-refs/{ref}.
func (g *GitHub) listReferences(x *githubExchange) githubReply {
	g.mu.Lock()
	refs := maps.Clone(x.repo.refs)
	g.mu.Unlock()
	items := []githubObject{}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if strings.HasPrefix(name, "refs/"+x.params["ref"]) {
			items = append(items, x.referenceJSON(name, refs[name]))
		}
	}
	return githubOK(items)
}

func (x *githubExchange) referenceJSON(name, id string) githubObject {
	kind, _, _, err := x.repo.git.object(id)
	if err != nil {
		kind = "commit"
	}
	url := x.self + "/git/"
	return githubObject{
		"ref": name, "node_id": "", "url": url + name,
		"object": githubObject{"sha": id, "type": kind, "url": url + kind + "s/" + id},
	}
}

// listCommits is GET /repos/{owner}/{repo}/commits, newest first.
func (g *GitHub) listCommits(x *githubExchange) githubReply {
	query := x.URL.Query()
	c, err := g.resolve(x.repo, query.Get("sha"))
	if err != nil {
		return githubNotFound()
	}
	args := []string{"rev-list", "--max-count=1000", c.id}
	if path := query.Get("path"); path != "" {
		args = append(args, "--", path)
	}
	out, err := x.repo.git.run(x.Context(), args...)
	if err != nil {
		return githubFail(http.StatusInternalServerError, err.Error())
	}
	ids, links := githubPage(x, strings.Fields(out))
	items := []githubObject{}
	for _, id := range ids {
		if c, err := x.repo.git.commit(id); err == nil {
			items = append(items, g.commitJSON(x, c))
		}
	}
	return githubReply{status: http.StatusOK, header: links, body: items}
}

// getCommit is GET /repos/{owner}/{repo}/commits/{ref}; its files are those
// changed against the first parent, 300 a page and 3,000 in all.
func (g *GitHub) getCommit(x *githubExchange) githubReply {
	c, err := g.resolve(x.repo, x.params["ref"])
	if err != nil {
		return githubFail(http.StatusUnprocessableEntity, "No commit found for SHA: "+x.params["ref"])
	}
	if strings.Contains(x.Header.Get("Accept"), ".sha") {
		return githubReply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/vnd.github.sha"}}, body: []byte(c.id)}
	}
	from := githubEmptyTree
	if len(c.parents) > 0 {
		if parent, err := x.repo.git.commit(c.parents[0]); err == nil { // a shallow clone ends somewhere
			from = parent.id
		}
	}
	files, err := x.repo.git.diff(x.Context(), from, c.id)
	if err != nil {
		return githubFail(http.StatusInternalServerError, err.Error())
	}
	additions, deletions := 0, 0
	for _, f := range files {
		additions, deletions = additions+f.additions, deletions+f.deletions
	}
	number := githubNumber(x.URL.Query().Get("page"), 1, 1<<30)
	files = files[:min(len(files), 3000)]
	last := max(1, (len(files)+299)/300)
	at := min((number-1)*300, len(files))
	body := g.commitJSON(x, c)
	body["stats"] = githubObject{"additions": additions, "deletions": deletions, "total": additions + deletions}
	body["files"] = x.filesJSON(files[at:min(at+300, len(files))], c.id)
	links := x.links(map[string]int{"prev": number - 1, "next": number + 1, "last": last, "first": 1}, number, last)
	return githubReply{status: http.StatusOK, header: links, body: body}
}

// getGitCommit is GET /repos/{owner}/{repo}/git/commits/{sha}.
func (g *GitHub) getGitCommit(x *githubExchange) githubReply {
	c, err := x.repo.git.commit(x.params["sha"])
	if err != nil {
		return githubNotFound()
	}
	body := x.gitCommitJSON(c)
	body["sha"] = c.id
	body["node_id"] = githubNode("C", c.id)
	body["html_url"] = x.page + "/commit/" + c.id
	body["url"] = x.self + "/git/commits/" + c.id
	body["parents"] = x.parentsJSON(c, "/git/commits/")
	return githubOK(body)
}

func (x *githubExchange) parentsJSON(c *githubCommit, path string) []githubObject {
	parents := []githubObject{}
	for _, p := range c.parents {
		parents = append(parents, githubObject{"sha": p, "url": x.self + path + p, "html_url": x.page + "/commit/" + p})
	}
	return parents
}

func (x *githubExchange) gitCommitJSON(c *githubCommit) githubObject {
	person := func(s githubSignature) githubObject {
		return githubObject{"name": s.name, "email": s.email, "date": s.when}
	}
	return githubObject{
		"author": person(c.author), "committer": person(c.committer), "message": c.message,
		"tree":         githubObject{"sha": c.tree, "url": x.self + "/git/trees/" + c.tree},
		"verification": githubObject{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil},
	}
}

func (g *GitHub) commitJSON(x *githubExchange, c *githubCommit) githubObject {
	inner := x.gitCommitJSON(c)
	inner["url"] = x.self + "/git/commits/" + c.id
	inner["comment_count"] = 0
	return githubObject{
		"sha": c.id, "node_id": githubNode("C", c.id), "commit": inner,
		"url": x.self + "/commits/" + c.id, "html_url": x.page + "/commit/" + c.id,
		"comments_url": x.self + "/commits/" + c.id + "/comments",
		"author":       nil, "committer": nil, "parents": x.parentsJSON(c, "/commits/"),
	}
}

// ancestor says whether a commit is in another's history.
func (s *githubGit) ancestor(ctx context.Context, old, young string) bool {
	_, err := s.run(ctx, "merge-base", "--is-ancestor", old, young)
	return err == nil
}
