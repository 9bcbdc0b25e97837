package github_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestPermission(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	p := play(t, standin.Config{Repositories: []standin.Repository{
		{Owner: "acme", Name: "site", Dir: h.dir}, {Owner: "acme", Name: "secret", Dir: h.dir, Private: true},
	}})
	for login, role := range map[string]string{"Mia": "maintain", "tom": "triage", "wes": "write", "ann": "admin", "bob": "none", "pub": "publisher:write"} {
		must(t, p.SetPermission(acme, login, role))
	}
	for _, tc := range []struct{ repo, login, permission, role string }{
		{"site", "mia", "write", "maintain"},
		{"site", "tom", "read", "triage"},
		{"site", "wes", "write", "write"},
		{"site", "ann", "admin", "admin"},
		{"site", "acme", "admin", "admin"},
		{"site", "bob", "none", ""},
		{"site", "pub", "write", "publisher"},
		{"site", "stranger", "read", "read"},
		{"secret", "stranger", "none", ""},
	} {
		var got struct {
			Permission string
			RoleName   string `json:"role_name"`
			User       github.User
		}
		p.do("GET", "repos/acme/"+tc.repo+"/collaborators/"+tc.login+"/permission", "").want(http.StatusOK, "").into(&got)
		if got.Permission != tc.permission || got.RoleName != tc.role || got.User.GetLogin() != tc.login {
			t.Errorf("%s in %s: %+v, want %s (%s)", tc.login, tc.repo, got, tc.permission, tc.role)
		}
	}
}

func TestComments(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, _ := playHistory(t, func(c *standin.Config) { c.WebhookURL = receiver.URL })
	pull, err := p.OpenPullRequest(t.Context(), acme, standin.PullRequest{Title: "Side", Head: "feature/ü", Login: "ada"})
	must(t, err)
	issue, err := p.OpenIssue(acme, "ada", "Typo")
	must(t, err)
	comment, err := p.Comment(t.Context(), acme, pull, "ada", "/purge")
	must(t, err)
	if _, err := p.Comment(t.Context(), acme, issue, "ada", "/purge"); err != nil {
		t.Fatal(err)
	}
	must(t, p.EditComment(t.Context(), acme, comment, "eve", "/purge --delete"))
	got := receiver.of("issue_comment")
	if len(got) != 3 || dig(got[0].body, "issue", "pull_request", "url") == nil || dig(got[1].body, "issue", "pull_request") != nil {
		t.Fatalf("%d events; a pull request's comment has issue.pull_request, an issue's has not", len(got))
	}
	edited := got[2].body
	if edited["action"] != "edited" || dig(edited, "changes", "body", "from") != "/purge" || dig(edited, "sender", "login") != "eve" || dig(edited, "comment", "user", "login") != "ada" {
		t.Errorf("%s", got[2].raw)
	}

	reply, _, err := p.client.Issues.CreateComment(t.Context(), "acme", "site", pull, &github.IssueComment{Body: new("on it")})
	must(t, err)
	if reply.GetUser().GetLogin() != "purgebot[bot]" || reply.GetUser().GetType() != "Bot" {
		t.Errorf("%v", reply)
	}
	if _, _, err = p.client.Issues.EditComment(t.Context(), "acme", "site", reply.GetID(), &github.IssueComment{Body: new("done")}); err != nil {
		t.Fatal(err)
	}
	all, _, err := p.client.Issues.ListComments(t.Context(), "acme", "site", pull, nil)
	if err != nil || len(all) != 2 || all[1].GetBody() != "done" {
		t.Errorf("%v, %v", all, err)
	}
	if c := p.Comments(acme, pull); len(c) != 2 || c[1].Body != "done" || c[1].Edits != 1 {
		t.Errorf("%+v", c)
	}
	path := repoPath("issues/%d/comments", pull)
	p.do("POST", path, `{"body":" "}`).want(http.StatusUnprocessableEntity, "blank")
	p.do("POST", path, `{"body":"`+strings.Repeat("x", 65537)+`"}`).want(http.StatusUnprocessableEntity, "Body is too long (maximum is 65536 characters)")
	p.do("POST", repoPath("issues/%d/comments", issue), `{"body":"x"}`).want(http.StatusForbidden, "not accessible") // issues: read
	p.do("POST", repoPath("issues/99/comments"), `{"body":"x"}`).want(http.StatusNotFound, "Not Found")

	reactions := repoPath("issues/comments/%d/reactions", comment)
	p.do("POST", reactions, `{"content":"eyes"}`).want(http.StatusCreated, "eyes")
	p.do("POST", reactions, `{"content":"eyes"}`).want(http.StatusOK, "eyes")
	p.do("POST", reactions, `{"content":"tada"}`).want(http.StatusUnprocessableEntity, "")
	if _, _, err := p.client.Reactions.CreateIssueCommentReaction(t.Context(), "acme", "site", comment, "rocket"); err != nil {
		t.Error(err)
	}
	if r := p.Reactions(acme, comment); len(r) != 2 || r[0].Content != "eyes" || r[1].Content != "rocket" {
		t.Errorf("%+v", r)
	}
	p.do("DELETE", reactions+fmt.Sprintf("/%d", p.Reactions(acme, comment)[0].ID), "").want(http.StatusNoContent, "")
	if r := p.Reactions(acme, comment); len(r) != 1 {
		t.Errorf("%+v", r)
	}

	p.do("GET", path+"?since=2999-01-01T00:00:00Z", "").want(http.StatusOK, "[]")
	p.do("GET", path+"?since=yesterday", "").want(http.StatusUnprocessableEntity, "since")
	must(t, p.LockConversation(acme, pull))
	p.do("POST", path, `{"body":"x"}`).want(http.StatusForbidden, "issue is locked")
	p.do("POST", reactions, `{"content":"confused"}`).want(http.StatusForbidden, "issue is locked")
}

func TestPullRequests(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL, c.Limits = receiver.URL, standin.Limits{PullFiles: 4}
	})
	n, err := p.OpenPullRequest(t.Context(), acme, standin.PullRequest{Title: "Back", Head: "main", Base: "feature/ü"})
	must(t, err)
	fork, err := p.OpenPullRequest(t.Context(), acme, standin.PullRequest{Title: "Fork", Head: "patch", HeadSHA: h.second, HeadRepository: "eve/site", Login: "eve"})
	must(t, err)
	pr, _, err := p.client.PullRequests.Get(t.Context(), "acme", "site", n)
	must(t, err)
	if pr.GetHead().GetSHA() != h.third || pr.GetBase().GetRef() != "feature/ü" || pr.GetChangedFiles() != 5 || pr.GetCommits() != 2 {
		t.Errorf("%v", pr)
	}
	files, resp, err := p.client.PullRequests.ListFiles(t.Context(), "acme", "site", n, &github.ListOptions{PerPage: 2})
	if err != nil || len(files) != 2 || resp.LastPage != 2 {
		t.Errorf("%d files, last page %d, %v; want 4 of 5 on 2 pages", len(files), resp.LastPage, err)
	}
	other, _, err := p.client.PullRequests.Get(t.Context(), "acme", "site", fork)
	if err != nil || other.GetHead().GetRepo().GetID() == other.GetBase().GetRepo().GetID() || !other.GetHead().GetRepo().GetFork() {
		t.Errorf("a fork's: %v, %v", other, err)
	}
	mustPush(t.Context(), t, p, "main", h.orphan)
	must(t, p.ClosePullRequest(t.Context(), acme, n, "acme"))
	if e := receiver.of("pull_request"); dig(e[0].body, "pull_request", "changed_files") != 5.0 || dig(e[2].body, "pull_request", "changed_files") == 5.0 ||
		dig(e[2].body, "pull_request", "head", "sha") != h.orphan {
		t.Errorf("%s\n%s", e[0].raw, e[2].raw)
	}
	var actions []string
	for _, e := range receiver.of("pull_request") {
		actions = append(actions, e.body["action"].(string))
	}
	if got := strings.Join(actions, " "); got != "opened opened synchronize closed" {
		t.Errorf("pull_request events: %s", got)
	}
	p.do("GET", repoPath("pulls/99"), "").want(http.StatusNotFound, "Not Found")
}

func TestCheckRuns(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) { c.WebhookURL = receiver.URL })
	run, _, err := p.client.Checks.CreateCheckRun(t.Context(), "acme", "site", github.CreateCheckRunOptions{
		Name: "Purge production", HeadSHA: h.third, Status: new("completed"), Conclusion: new("failure"),
		Output: &github.CheckRunOutput{
			Title: new("1 refused"), Summary: new("unauthorized arl"),
			Annotations: []*github.CheckRunAnnotation{{
				Path: new("purge-rules.yaml"), StartLine: new(1), EndLine: new(1), AnnotationLevel: new("failure"), Message: new("oh"),
			}},
		},
		Actions: []*github.CheckRunAction{{Label: "Retry", Description: "Send what was refused again", Identifier: "retry"}},
	})
	must(t, err)
	if run.GetApp().GetID() != p.AppID() || run.GetStatus() != "completed" || run.GetCompletedAt().IsZero() || run.GetOutput().GetAnnotationsCount() != 1 {
		t.Errorf("%v", run)
	}
	guid, err := p.Press(t.Context(), run.GetID(), "retry", "ada")
	must(t, err)
	if _, err := p.Press(t.Context(), run.GetID(), "release", "ada"); err == nil {
		t.Error("pressed a button that isn't there")
	}
	if _, err := p.Rerequest(t.Context(), run.GetID(), "ada"); err != nil {
		t.Fatal(err)
	}
	for _, e := range receiver.of("check_run") {
		if e.guid == guid && (dig(e.body, "requested_action", "identifier") != "retry" || dig(e.body, "check_run", "app", "id") != float64(p.AppID()) || dig(e.body, "sender", "login") != "ada") {
			t.Errorf("%s", e.raw)
		}
	}
	must(t, p.Await(t.Context(), func() bool { return len(receiver.of("check_run")) == 4 })) // created and completed too
	p.do("PATCH", repoPath("check-runs/%d", run.GetID()), `{"status":"in_progress","output":{"summary":"s",
		"annotations":[{"path":"b","start_line":2,"end_line":3,"annotation_level":"notice","message":"more"}]}}`).want(http.StatusOK, `"conclusion":null`)
	runs := p.CheckRuns(acme, h.third)
	if len(runs) != 1 || runs[0].Conclusion != "" || runs[0].Updates != 1 || runs[0].Title != "1 refused" || len(runs[0].Actions) != 1 {
		t.Errorf("%+v", runs)
	}
	if _, err := p.Check(t.Context(), acme, h.third, "netlify", "Deploy", "success"); err != nil {
		t.Fatal(err)
	}
	list, _, err := p.client.Checks.ListCheckRunsForRef(t.Context(), "acme", "site", "main", nil)
	if err != nil || list.GetTotal() != 2 || list.CheckRuns[0].GetApp().GetSlug() != "netlify" {
		t.Errorf("%v, %v", list, err)
	}
	p.do("PATCH", repoPath("check-runs/%d", list.CheckRuns[0].GetID()), `{"name":"x"}`).want(http.StatusForbidden, "GitHub App that created it")
	for query, want := range map[string]string{
		fmt.Sprint("?app_id=", p.AppID()): `"total_count":1`, "?app_id=99": `"total_count":0`, "?check_name=Deploy": `"total_count":1`, "?filter=all": `"total_count":2`,
	} {
		p.do("GET", repoPath("commits/main/check-runs")+query, "").want(http.StatusOK, want)
	}
	for _, query := range []string{"?app_id=purgebot", "?filter=newest"} {
		p.do("GET", repoPath("commits/main/check-runs")+query, "").want(http.StatusUnprocessableEntity, "")
	}
	if notes := p.Server.CheckRuns(acme, h.third)[0].Annotations; len(notes) != 2 || notes[0].Message != "oh" || notes[1].Message != "more" {
		t.Errorf("%v", notes)
	}
}

func TestRefusesCheckRuns(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	note := map[string]any{"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}
	with := func(key string, value any) map[string]any {
		changed := map[string]any{}
		maps.Copy(changed, note)
		changed[key] = value
		return changed
	}
	output := func(key string, value any) map[string]any {
		return map[string]any{"output": map[string]any{"title": "t", "summary": "s", key: value}}
	}
	action := func(label, description, identifier string) map[string]any {
		return map[string]any{"actions": []any{map[string]any{"label": label, "description": description, "identifier": identifier}}}
	}
	button := map[string]any{"label": "l", "description": "d", "identifier": "i"}
	for _, tc := range []struct {
		name   string
		status int
		body   map[string]any
	}{
		{"nothing more", 201, nil},
		{"65,535 characters", 201, output("summary", strings.Repeat("ü", 65535))},
		{"65,536 characters of summary", 422, output("summary", strings.Repeat("ü", 65536))},
		{"65,536 characters of text", 422, output("text", strings.Repeat("x", 65536))},
		{"no summary", 422, map[string]any{"output": map[string]any{"title": "t"}}},
		{"no title", 422, map[string]any{"output": map[string]any{"summary": "s"}}},
		{"50 annotations", 201, output("annotations", repeat(note, 50))},
		{"51 annotations", 422, output("annotations", repeat(note, 51))},
		{"an annotation without a path", 422, output("annotations", []any{with("path", "")})},
		{"an annotation of an unknown level", 422, output("annotations", []any{with("annotation_level", "error")})},
		{"an annotation that ends before it starts", 422, output("annotations", []any{with("end_line", 0)})},
		{"columns on several lines", 422, output("annotations", []any{map[string]any{
			"path": "a", "start_line": 1, "end_line": 2, "start_column": 1, "annotation_level": "notice", "message": "m",
		}})},
		{"the longest button", 201, action(strings.Repeat("l", 20), strings.Repeat("d", 40), strings.Repeat("i", 20))},
		{"a long label", 422, action(strings.Repeat("l", 21), "d", "i")},
		{"a long description", 422, action("l", strings.Repeat("d", 41), "i")},
		{"a long identifier", 422, action("l", "d", strings.Repeat("i", 21))},
		{"3 buttons", 201, map[string]any{"actions": repeat(button, 3)}},
		{"4 buttons", 422, map[string]any{"actions": repeat(button, 4)}},
		{"completed without a conclusion", 422, map[string]any{"status": "completed"}},
		{"a conclusion completes", 201, map[string]any{"conclusion": "neutral"}},
		{"GitHub's own conclusion", 422, map[string]any{"conclusion": "stale"}},
		{"an unknown status", 422, map[string]any{"status": "pending"}},
		{"no such commit", 422, map[string]any{"head_sha": strings.Repeat("e", 40)}},
		{"no name", 422, map[string]any{"name": ""}},
		{"a link that is none", 422, map[string]any{"details_url": "javascript:alert(1)"}},
		{"a wrong type", 422, map[string]any{"name": 7}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := map[string]any{"name": "Purge preview", "head_sha": h.third}
			maps.Copy(body, tc.body)
			text, err := json.Marshal(body)
			must(t, err)
			p.t = t
			p.do("POST", repoPath("check-runs"), string(text)).want(tc.status, "")
		})
	}
	for _, run := range p.CheckRuns(acme, h.third) {
		if run.Conclusion == "neutral" && run.Status != "completed" {
			t.Errorf("%+v", run)
		}
	}
}

func repeat(v any, n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = v
	}
	return list
}
