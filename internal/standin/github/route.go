package github

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// endpoint is one endpoint. access says who may call it: "app" needs the App's JWT,
// "token" any installation token. Otherwise it is a permission, such as "contents:read",
// or several with "|" between them, of which one is enough.
type endpoint struct {
	pattern string // METHOD /path with {name} for a segment and {name...} for several
	access  string
	serve   func(*exchange) response
}

// routeTable lists every endpoint. The first one that matches a request answers it.
func (g *Server) routeTable() []endpoint {
	const repo = "/repos/{owner}/{repo}"
	return []endpoint{
		{"GET /app", "app", g.getApp},
		{"GET /app/installations", "app", g.listInstallations},
		{"POST /app/installations/{installation}/access_tokens", "app", g.createToken},
		{"GET /app/hook/config", "app", g.getHookConfig},
		{"GET /app/hook/deliveries", "app", g.listDeliveries},
		{"POST /app/hook/deliveries/{delivery}/attempts", "app", g.redeliver},
		{"GET " + repo + "/installation", "app", g.getRepositoryInstallation},
		{"GET /installation/repositories", "token", g.listRepositories},

		{"GET " + repo, "metadata:read", g.getRepository},
		{"GET " + repo + "/collaborators/{login}/permission", "metadata:read", g.getPermission},
		{"GET " + repo + "/git/ref/{ref...}", "contents:read", g.getReference},
		{"GET " + repo + "/git/commits/{sha}", "contents:read", g.getGitCommit},
		{"GET " + repo + "/git/trees/{tree...}", "contents:read", g.getTree},
		{"GET " + repo + "/contents/{path...}", "contents:read", g.getContents},
		{"GET " + repo + "/compare/{basehead...}", "contents:read", g.compare},

		{"GET " + repo + "/commits/{ref...}/statuses", "statuses:read", g.listStatuses},
		{"GET " + repo + "/commits/{ref...}/check-runs", "checks:read", g.listCheckRuns},
		{"GET " + repo + "/commits/{ref...}", "contents:read", g.getCommit},
		{"POST " + repo + "/statuses/{sha}", "statuses:write", g.createStatus},

		{"GET " + repo + "/deployments", "deployments:read", g.listDeployments},
		{"POST " + repo + "/deployments", "deployments:write", g.createDeployment},
		{"GET " + repo + "/deployments/{deployment}/statuses", "deployments:read", g.listDeploymentStatuses},
		{"POST " + repo + "/deployments/{deployment}/statuses", "deployments:write", g.createDeploymentStatus},

		{"POST " + repo + "/check-runs", "checks:write", g.createCheckRun},
		{"PATCH " + repo + "/check-runs/{check}", "checks:write", g.updateCheckRun},

		{"GET " + repo + "/actions/workflows/{workflow}/runs", "actions:read", g.listWorkflowRuns},

		{"GET " + repo + "/issues/{number}/comments", "issues:read|pull_requests:read", g.listComments},
		{"POST " + repo + "/issues/{number}/comments", "issues:write|pull_requests:write", g.createComment},
		{"PATCH " + repo + "/issues/comments/{comment}", "issues:write|pull_requests:write", g.updateComment},
		{"POST " + repo + "/issues/comments/{comment}/reactions", "issues:write|pull_requests:write", g.createReaction},
		{"DELETE " + repo + "/issues/comments/{comment}/reactions/{reaction}", "issues:write|pull_requests:write", g.deleteReaction},

		{"GET " + repo + "/pulls/{number}", "pull_requests:read", g.getPull},
		{"GET " + repo + "/pulls/{number}/files", "pull_requests:read", g.listPullFiles},
	}
}

// match finds the route of a request. path is still escaped and has no slash in front.
// /repositories/{id}/… is another name for /repos/{owner}/{repo}/….
func (g *Server) match(method, path string) (*endpoint, map[string]string) {
	var segments []string
	for s := range strings.SplitSeq(path, "/") {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return nil, nil
		}
		segments = append(segments, plain)
	}
	id := ""
	if len(segments) >= 2 && segments[0] == "repositories" {
		id = segments[1]
		segments = append([]string{"repos", "", ""}, segments[2:]...)
	}
	for i := range g.routes {
		verb, pattern, _ := strings.Cut(g.routes[i].pattern, " /")
		if head := verb == http.MethodGet && method == http.MethodHead; verb != method && !head {
			continue
		}
		params := map[string]string{}
		if matchSegments(strings.Split(pattern, "/"), segments, params) {
			params["id"] = id
			return &g.routes[i], params
		}
	}
	return nil, nil
}

// matchSegments matches segments with a pattern that has at most one {name...}.
func matchSegments(pattern, segments []string, params map[string]string) bool {
	for i, p := range pattern {
		name, isParam := strings.CutPrefix(strings.TrimSuffix(p, "}"), "{")
		if rest, isRest := strings.CutSuffix(name, "..."); isParam && isRest {
			after := len(pattern) - i - 1
			end := len(segments) - after
			if end <= i {
				return false
			}
			params[rest] = strings.Join(segments[i:end], "/")
			return matchSegments(pattern[i+1:], segments[end:], params)
		}
		switch {
		case i >= len(segments):
			return false
		case isParam:
			params[name] = segments[i]
		case p != segments[i]:
			return false
		}
	}
	return len(pattern) == len(segments)
}

// findRepository sets x.repo. It answers itself if the repository has moved or may not be
// seen.
func (g *Server) findRepository(x *exchange, route *endpoint) (response, bool) {
	if _, named := x.params["repo"]; !named {
		return response{}, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	fullName := x.params["owner"] + "/" + x.params["repo"]
	for _, r := range g.repos {
		if r.deleted || x.token != nil && !x.token.covers(r) {
			continue
		}
		if x.params["id"] != "" {
			if x.params["id"] == strconv.FormatInt(r.ID, 10) {
				x.repo = r
			}
		} else if strings.EqualFold(r.fullName(), fullName) {
			x.repo = r
		}
	}
	if x.repo != nil {
		x.enter(x.repo)
		if x.repo.archived && x.Method != http.MethodGet && route.access != "app" {
			return refuse(http.StatusForbidden, "Repository was archived so is read-only."), false
		}
		return response{}, true
	}
	for _, r := range g.repos {
		for _, former := range r.formerNames {
			if strings.EqualFold(former, fullName) && !r.deleted && (x.token == nil || x.token.covers(r)) {
				return g.moved(x, r), false
			}
		}
	}
	return notFound(), false
}

// enter sets the repository that the request is about. The caller holds Server.mu.
func (x *exchange) enter(r *repository) {
	x.repo, x.self, x.page, x.full = r, r.url(x.api), r.html(), r.fullName()
}

// moved redirects to a renamed repository, as GitHub does: with 301 for reads, and with
// 307 for all others, so that the method stays the same.
func (g *Server) moved(x *exchange, r *repository) response {
	status, message := http.StatusMovedPermanently, "Moved Permanently"
	if x.Method != http.MethodGet && x.Method != http.MethodHead {
		status, message = http.StatusTemporaryRedirect, "Temporary Redirect"
	}
	escaped := strings.TrimPrefix(x.URL.EscapedPath(), g.cfg.BasePath+"/repos/")
	_, rest, _ := strings.Cut(escaped, "/")
	_, rest, more := strings.Cut(rest, "/")
	location := x.api + "/repositories/" + strconv.FormatInt(r.ID, 10)
	if more {
		location += "/" + rest
	}
	if x.URL.RawQuery != "" {
		location += "?" + x.URL.RawQuery
	}
	return response{status: status, header: http.Header{"Location": {location}}, body: jsonObject{
		"message": message, "url": location, "documentation_url": "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects",
	}}
}
