package github

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// nodeID is a GraphQL id. Clients must treat it as opaque.
func nodeID(kind string, id any) string {
	return kind + "_" + base64.RawURLEncoding.EncodeToString(fmt.Append(nil, id))
}

// userID numbers logins in the order in which they first appear. The caller holds g.mu.
func (g *Server) userID(login string) int64 {
	key := strings.ToLower(login)
	if g.users[key] == 0 {
		g.users[key] = g.nextID()
	}
	return g.users[key]
}

// bot is the login with which the App itself acts.
func (g *Server) bot() string { return g.cfg.AppSlug + "[bot]" }

// userJSON is a user, an organization or a bot. The caller holds g.mu.
func (g *Server) userJSON(api, login string) jsonObject {
	id, kind, page := g.userID(login), "User", "https://github.com/"+login
	if name, isBot := strings.CutSuffix(login, "[bot]"); isBot {
		kind, page = "Bot", "https://github.com/apps/"+name
	}
	self := api + "/users/" + url.PathEscape(login)
	user := jsonObject{
		"login": login, "id": id, "node_id": nodeID("U", id), "gravatar_id": "", "type": kind, "site_admin": false,
		"user_view_type": "public", "url": self, "html_url": page,
		"avatar_url": fmt.Sprintf("https://avatars.githubusercontent.com/u/%d?v=4", id),
	}
	for key, path := range map[string]string{
		"followers_url": "/followers", "following_url": "/following{/other_user}", "gists_url": "/gists{/gist_id}",
		"starred_url": "/starred{/owner}{/repo}", "subscriptions_url": "/subscriptions", "organizations_url": "/orgs",
		"repos_url": "/repos", "events_url": "/events{/privacy}", "received_events_url": "/received_events",
	} {
		user[key] = self + path
	}
	return user
}

func (r *repository) url(api string) string { return api + "/repos/" + r.fullName() }

func (r *repository) html() string { return "https://github.com/" + r.fullName() }

// repositoryJSON is a repository in the form of REST and of most webhooks. The caller
// holds g.mu.
func (g *Server) repositoryJSON(api string, r *repository) jsonObject {
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	body := jsonObject{
		"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.fullName(), "private": r.Private,
		"owner": g.userJSON(api, r.Owner), "html_url": r.html(), "description": nil, "fork": false, "url": r.url(api),
		"created_at": r.createdAt.UTC(), "updated_at": r.pushedAt.UTC(), "pushed_at": r.pushedAt.UTC(),
		"git_url":   "git://github.com/" + r.fullName() + ".git",
		"ssh_url":   "git@github.com:" + r.fullName() + ".git",
		"clone_url": r.html() + ".git", "svn_url": r.html(), "homepage": nil, "mirror_url": nil, "language": nil, "license": nil,
		"size": 0, "stargazers_count": 0, "watchers_count": 0, "forks_count": 0, "open_issues_count": 0,
		"forks": 0, "open_issues": 0, "watchers": 0, "topics": []string{}, "visibility": visibility,
		"default_branch": r.DefaultBranch, "archived": r.archived, "disabled": false, "is_template": false,
		"has_issues": true, "has_projects": true, "has_downloads": true, "has_wiki": true, "has_pages": false, "has_discussions": false,
		"allow_forking": true, "web_commit_signoff_required": false, "custom_properties": jsonObject{},
	}
	for key, path := range repositoryURLs() {
		body[key] = r.url(api) + path
	}
	return body
}

// repositoryURLs are the addresses that GitHub adds to a repository, relative to its own.
func repositoryURLs() map[string]string {
	return map[string]string{
		"forks_url": "/forks", "keys_url": "/keys{/key_id}", "collaborators_url": "/collaborators{/collaborator}",
		"teams_url": "/teams", "hooks_url": "/hooks", "issue_events_url": "/issues/events{/number}", "events_url": "/events",
		"assignees_url": "/assignees{/user}", "branches_url": "/branches{/branch}", "tags_url": "/tags",
		"blobs_url": "/git/blobs{/sha}", "git_tags_url": "/git/tags{/sha}", "git_refs_url": "/git/refs{/sha}",
		"trees_url": "/git/trees{/sha}", "statuses_url": "/statuses/{sha}", "languages_url": "/languages",
		"stargazers_url": "/stargazers", "contributors_url": "/contributors", "subscribers_url": "/subscribers",
		"subscription_url": "/subscription", "commits_url": "/commits{/sha}", "git_commits_url": "/git/commits{/sha}",
		"comments_url": "/comments{/number}", "issue_comment_url": "/issues/comments{/number}", "contents_url": "/contents/{+path}",
		"compare_url": "/compare/{base}...{head}", "merges_url": "/merges", "archive_url": "/{archive_format}{/ref}",
		"downloads_url": "/downloads", "issues_url": "/issues{/number}", "pulls_url": "/pulls{/number}",
		"milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}",
		"labels_url": "/labels{/name}", "releases_url": "/releases{/id}", "deployments_url": "/deployments",
	}
}
