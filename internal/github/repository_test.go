package github_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/mapping"
)

func TestRulesFile(t *testing.T) {
	t.Parallel()
	const rules, dotted = "purge-rules.yaml", ".github/purge-rules.yaml"
	text := content{"100644", "version: 1\nname: ünï\n"}
	for _, test := range []struct {
		name  string
		files map[string]content
		path  string // "": there is none
		err   string
	}{
		{"at the root", map[string]content{rules: text}, rules, ""},
		{"in .github", map[string]content{dotted: text, "x": text}, dotted, ""},
		{"in both", map[string]content{dotted: text, rules: text}, "", "purge-rules.yaml: there is a .github/purge-rules.yaml as well"},
		{"nowhere", map[string]content{"x": text}, "", ""},
		{"a folder", map[string]content{rules + "/x": text}, "", "this is a folder"},
		{"a submodule", map[string]content{rules: {"160000", anySHA}}, "", "this is a submodule"},
		{"a link to a file", map[string]content{rules: {"120000", "real/rules"}, "real/rules": text}, rules, ""},
		{"a link to nowhere", map[string]content{rules: {"120000", "../../etc/passwd"}}, "", "which GitHub can't follow"},
		{"exactly as large as it may be", map[string]content{rules: {"100644", strings.Repeat("x", github.RulesFileBytes)}}, rules, ""},
		{"a byte too large", map[string]content{rules: {"100644", strings.Repeat("x", github.RulesFileBytes+1)}}, "", "larger than 1 MiB"},
		{"empty", map[string]content{rules: {"100644", ""}}, rules, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var w writer
			w.commit("main", test.files)
			h := w.finish(t)
			_, repository := h.serve(t, standin.GitHubLimits{})
			file, found, err := repository.RulesFile(t.Context(), h.commits[0])
			if test.err != "" {
				unusable, ok := errors.AsType[*github.RulesFileError](err)
				if !ok || !strings.Contains(unusable.Public(), test.err) {
					t.Fatalf("the error is %v; want %q", err, test.err)
				}
				return
			}
			if err != nil || found != (test.path != "") || file.Path != test.path {
				t.Fatalf("found %v %q, %v; want %q", found, file.Path, err, test.path)
			}
			want := test.files[test.path]
			if want.mode == "120000" {
				want = text
			}
			if string(file.Source) != want.data {
				t.Errorf("the source has %d bytes; want %d", len(file.Source), len(want.data))
			}
		})
	}
}

func TestRulesFileOfAnUnknownCommitIsAnError(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 1, 1)
	_, repository := h.serve(t, standin.GitHubLimits{})
	if _, found, err := repository.RulesFile(t.Context(), anySHA); found || !github.IsNotFound(err) {
		t.Errorf("found %v, %v; want not found as an error", found, err)
	}
}

func TestBranchesCommitsAndInfo(t *testing.T) {
	t.Parallel()
	var w writer
	first := w.commit("main", map[string]content{"a": {"100644", "1"}})
	w.commit("main", map[string]content{"a": {"100644", "2"}}, first)
	h := w.finish(t)
	branches := map[string]string{"main": h.commits[1], "feature/a#b%20c": h.commits[0], "ü/x+y": h.commits[0]}
	g, app := serveConfig(t, standin.GitHubConfig{Repositories: []standin.GitHubRepository{
		{ID: 42, Owner: "acme", Name: "site", Dir: h.dir, Branches: branches, DefaultBranch: "main", Installation: 9, Private: true},
	}})
	repository := app.Repository(0, "acme", "site")
	for name, want := range branches {
		if got, err := repository.Head(t.Context(), name); err != nil || got != want {
			t.Errorf("branch %s is at %q, %v; want %s", name, got, err, want)
		}
	}
	if _, err := repository.Head(t.Context(), "nowhere"); !github.IsNotFound(err) {
		t.Errorf("an unknown branch: %v", err)
	}
	commit, err := repository.Commit(t.Context(), h.commits[1])
	want := github.Commit{
		SHA: h.commits[1], Tree: strings.TrimSpace(git(t, h.dir, nil, "rev-parse", h.commits[1]+"^{tree}")), Parents: h.commits[:1],
	}
	if diff := cmp.Diff(want, commit); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := g.Rename("acme/site", "other/pages"); err != nil {
		t.Fatal(err)
	}
	info, err := repository.Info(t.Context()) // by the old name
	if diff := cmp.Diff(github.Info{ID: 42, Owner: "other", Name: "pages", DefaultBranch: "main", Private: true}, info); diff != "" || err != nil {
		t.Errorf("after a rename: %v (-want +got):\n%s", err, diff)
	}
	if err := repository.PostStatus(t.Context(), h.commits[0], github.Status{State: github.StateSuccess, Context: "c"}); err != nil {
		t.Errorf("a status under the old name: %v", err)
	}
}

// What was read once costs nothing more: what can't change is not asked for
// again, and of the rest GitHub says 304.
func TestRepeatedReadsAreFree(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 2, 3)
	g, repository := h.serve(t, standin.GitHubLimits{})
	for range 3 {
		if _, err := repository.Commit(t.Context(), h.commits[2]); err != nil {
			t.Fatal(err)
		}
		if _, err := repository.Tree(t.Context(), h.commits[2]); err != nil {
			t.Fatal(err)
		}
		if sha, err := repository.Head(t.Context(), "main"); err != nil || sha != h.commits[2] {
			t.Fatal(sha, err)
		}
	}
	count := map[string]int{}
	for _, c := range g.Calls() {
		count[fmt.Sprintf("%d %s", c.Status, c.Route)]++
	}
	const repo = "GET /repos/{owner}/{repo}/git/"
	for route, want := range map[string]int{"200 " + repo + "commits/": 1, "200 " + repo + "trees/": 1, "200 " + repo + "ref/": 1, "304 " + repo + "ref/": 2} {
		got := 0
		for r, n := range count {
			if strings.HasPrefix(r, route) {
				got += n
			}
		}
		if got != want {
			t.Errorf("%s: %d calls; want %d of %v", route, got, want, count)
		}
	}
}

// What one installation was shown, another is not shown out of the cache.
func TestInstallationsShareNoCache(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 2, 1)
	_, app := serveConfig(t, standin.GitHubConfig{Repositories: []standin.GitHubRepository{
		{Owner: "acme", Name: "site", Dir: h.dir, Installation: 1}, {Owner: "other", Name: "x", Dir: h.dir, Installation: 2},
	}})
	if _, err := app.Repository(1, "acme", "site").Commit(t.Context(), h.commits[0]); err != nil {
		t.Fatal(err)
	}
	if c, err := app.Repository(2, "acme", "site").Commit(t.Context(), h.commits[0]); !github.IsNotFound(err) {
		t.Errorf("another installation is shown %+v, %v", c, err)
	}
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 5, 4)
	past := time.Now().Add(-time.Hour)
	g, repository := h.serve(t, standin.GitHubLimits{})
	deploy := func(commit int, environment string, states ...string) (deployment, status int64) {
		t.Helper()
		deployment, err := g.Deploy(t.Context(), "acme/site", standin.GitHubDeployment{
			SHA: h.commits[commit], Environment: environment, Creator: "octocat", RequiredContexts: []string{},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if status, err = g.DeployStatus(t.Context(), "acme/site", deployment, standin.GitHubDeploymentStatus{State: s}); err != nil {
				t.Fatal(err)
			}
		}
		return deployment, status
	}
	future := time.Now().Add(time.Hour)
	if _, found, err := repository.LastSuccess(t.Context(), "production", future, 0, nil); found || err != nil {
		t.Errorf("before any deployment: %v, %v", found, err)
	}
	old, oldSuccess := deploy(0, "Production", "in_progress", "success")
	deploy(1, "production", "in_progress", "failure")
	deploy(2, "preview", "success")
	newer, newerSuccess := deploy(3, "production", "queued", "success")
	_, last := deploy(2, "production", "in_progress", "success")

	check := func(name string, before time.Time, except int64, accept func(github.Deployment) bool, want int64) {
		t.Helper()
		d, found, err := repository.LastSuccess(t.Context(), "PRODUCTION", before, except, accept)
		if err != nil || found != (want != 0) || d.StatusID != want {
			t.Errorf("%s: found %v %+v, %v; want status %d", name, found, d, err, want)
		}
	}
	check("the newest", future, 0, nil, last)
	check("all but the newest", future, last, nil, newerSuccess)
	check("only some", future, 0, func(d github.Deployment) bool { return d.ID == old && d.Creator == "octocat" }, oldSuccess)
	check("before all", past, 0, nil, 0)

	all, err := repository.Deployments(t.Context(), "production", past)
	var ids []int64
	for _, d := range all {
		ids = append(ids, d.StatusID)
	}
	if want := []int64{oldSuccess, newerSuccess, last}; !slices.Equal(ids, want) || err != nil {
		t.Errorf("the successes of production are %v, %v; want %v", ids, err, want)
	}
	if all[1].ID != newer || all[1].SHA != h.commits[3] || all[1].Environment != "production" || all[1].State != "success" {
		t.Errorf("a deployment is told as %+v", all[1])
	}
	if all, err := repository.Deployments(t.Context(), "", past); len(all) != 4 || err != nil {
		t.Errorf("of all environments: %d, %v; want 4", len(all), err)
	}
	if all, err := repository.Deployments(t.Context(), "", future); len(all) != 0 || err != nil {
		t.Errorf("since the future: %v, %v", all, err)
	}
}

func TestDeploymentsOverPages(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 5, 1)
	g, repository := h.serve(t, standin.GitHubLimits{})
	var first int64
	for i := range 230 {
		environment := "preview"
		if i == 0 {
			environment = "Production"
		}
		id, err := g.Deploy(t.Context(), "acme/site", standin.GitHubDeployment{SHA: h.commits[0], Environment: environment})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = id
			if _, err := g.DeployStatus(t.Context(), "acme/site", id, standin.GitHubDeploymentStatus{State: "success"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, found, err := repository.LastSuccess(t.Context(), "production", time.Now().Add(time.Hour), 0, nil)
	if !found || d.ID != first || err != nil {
		t.Errorf("found %v %+v, %v; want deployment %d on the third page", found, d, err, first)
	}
	all, err := repository.Deployments(t.Context(), "production", time.Now().Add(-time.Hour))
	if len(all) != 1 || err != nil {
		t.Errorf("%d successes, %v; want the one on the third page", len(all), err)
	}
}

func TestStatusesAndComments(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	g, repository := h.serve(t, standin.GitHubLimits{})
	sha := h.commits[0]
	words := strings.Repeat("ü", github.StatusDescription)
	status := github.Status{State: github.StatePending, Context: "purge/production", Description: words, TargetURL: "https://purgebot.example/p/1"}
	if err := repository.PostStatus(t.Context(), sha, status); err != nil {
		t.Fatal(err)
	}
	status.Description += "x"
	if err := repository.PostStatus(t.Context(), sha, status); err == nil {
		t.Error("a description of 141 characters is not refused")
	}
	posted := g.Statuses("acme/site", sha)
	if len(posted) != 1 || posted[0].Description != words || posted[0].State != "pending" || posted[0].TargetURL != status.TargetURL {
		t.Errorf("GitHub has %+v", posted)
	}

	issue, err := g.OpenPullRequest(t.Context(), "acme/site", standin.GitHubPullRequest{Head: "main", Base: "main", BaseSHA: sha})
	if err != nil {
		t.Fatal(err)
	}
	id, err := repository.CreateComment(t.Context(), issue, "first <b>& word")
	if err != nil {
		t.Fatal(err)
	}
	if err := repository.EditComment(t.Context(), id, "second word"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time GitHub says 200
		if err := repository.React(t.Context(), id, github.ReactionEyes); err != nil {
			t.Fatal(err)
		}
	}
	if c := g.Comments("acme/site", issue); len(c) != 1 || c[0].Body != "second word" || c[0].ID != id {
		t.Errorf("GitHub has the comments %+v", c)
	}
	if r := g.Reactions("acme/site", id); len(r) != 1 || r[0].Content != "eyes" {
		t.Errorf("GitHub has the reactions %+v", r)
	}
	if err := repository.EditComment(t.Context(), 1, "x"); !github.IsNotFound(err) {
		t.Errorf("an unknown comment: %v", err)
	}
}

func TestCheckRuns(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 1)
	g, repository := h.serve(t, standin.GitHubLimits{})
	run := github.CheckRun{
		Name: "Purge preview", HeadSHA: h.commits[0], Status: "in_progress", ExternalID: "01J",
		Title: "14 URLs", Summary: "words", Text: "more", DetailsURL: "https://purgebot.example/p/1",
	}
	for i := range 120 {
		run.Annotations = append(run.Annotations, github.Annotation{
			Path: "purge-rules.yaml", StartLine: i + 1, EndLine: i + 1, StartColumn: 3, EndColumn: 4, Level: "failure", Message: fmt.Sprint("fault ", i),
		})
	}
	id, err := repository.CreateCheckRun(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.CheckRuns("acme/site", h.commits[0]); len(got) != 1 || len(got[0].Annotations) != 120 || got[0].Annotations[119].Message != "fault 119" || *got[0].Annotations[7].StartColumn != 3 {
		t.Fatalf("GitHub has %+v", got)
	}
	run.Status, run.Conclusion, run.Annotations = "completed", "failure", nil
	run.Actions = []github.CheckAction{{Label: "Retry", Description: "Send the refused again", Identifier: "retry"}}
	if err := repository.UpdateCheckRun(t.Context(), id, run); err != nil {
		t.Fatal(err)
	}
	got := g.CheckRuns("acme/site", h.commits[0])[0]
	if got.Conclusion != "failure" || got.ExternalID != "01J" || len(got.Actions) != 1 || got.Actions[0].Identifier != "retry" || got.Text != "more" {
		t.Errorf("GitHub has %+v", got)
	}
	for name, spoil := range map[string]func(*github.CheckRun){
		"summary": func(c *github.CheckRun) { c.Summary = strings.Repeat("x", github.CheckText+1) },
		"text":    func(c *github.CheckRun) { c.Text = strings.Repeat("x", github.CheckText+1) },
		"actions": func(c *github.CheckRun) { c.Actions = make([]github.CheckAction, 4) },
		"label":   func(c *github.CheckRun) { c.Actions[0].Label = strings.Repeat("x", 21) },
	} {
		bad := run
		bad.Actions = slices.Clone(run.Actions)
		spoil(&bad)
		if err := repository.UpdateCheckRun(t.Context(), id, bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("too much %s: %v", name, err)
		}
	}
}

func TestPermission(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 1)
	g, repository := h.serve(t, standin.GitHubLimits{})
	for login, role := range map[string]string{
		"a": "admin", "m": "maintain", "w": "write", "t": "triage", "r": "read", "n": "none", "custom": "content-editor:write",
	} {
		if err := g.SetPermission("acme/site", login, role); err != nil {
			t.Fatal(err)
		}
	}
	for login, want := range map[string]github.Role{
		"a": github.RoleAdmin, "m": github.RoleMaintain, "w": github.RoleWrite, "t": github.RoleTriage,
		"r": github.RoleRead, "n": github.RoleNone, "custom": github.RoleWrite, "somebody": github.RoleRead,
	} {
		if got, err := repository.Permission(t.Context(), login); got != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", login, got, err, want)
		}
	}
	for _, login := range []string{"", "..", "."} {
		if got, err := repository.Permission(t.Context(), login); got != github.RoleNone || err == nil {
			t.Errorf("%q is %s, %v", login, got, err)
		}
	}
	g.Fault(func(*http.Request) standin.GitHubFault { return standin.GitHubFault{Status: http.StatusForbidden} })
	if got, err := repository.Permission(t.Context(), "a"); got != github.RoleNone || err == nil {
		t.Errorf("while GitHub refuses to say: %s, %v", got, err)
	}
}

func TestRolesAreOrdered(t *testing.T) {
	t.Parallel()
	ordered := []github.Role{github.RoleNone, github.RoleRead, github.RoleTriage, github.RoleWrite, github.RoleMaintain, github.RoleAdmin}
	for i, role := range ordered {
		for j, other := range ordered {
			if role.AtLeast(other) != (i >= j) {
				t.Errorf("%s at least %s is %v", role, other, i < j)
			}
		}
		if github.Role("owner").AtLeast(role) != (role == github.RoleNone) || role.AtLeast("owner") {
			t.Errorf("an unknown role is compared with %s", role)
		}
	}
}

// A role's name that claims more than the permission is not believed.
func TestPermissionBelievesTheLesser(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]github.Role{
		`{"permission": "read", "role_name": "admin"}`:     github.RoleRead,
		`{"permission": "write", "role_name": "maintain"}`: github.RoleMaintain,
		`{"permission": "read", "role_name": "maintain"}`:  github.RoleRead,
		`{"permission": "none", "role_name": "triage"}`:    github.RoleNone,
		`{"permission": "write"}`:                          github.RoleWrite,
		`{"role_name": "admin"}`:                           github.RoleNone,
		`{}`:                                               github.RoleNone,
	} {
		repository, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		if got, err := repository.Permission(t.Context(), "x"); got != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", answer, got, err, want)
		}
	}
}

func TestPullRequests(t *testing.T) {
	t.Parallel()
	var w writer
	base := map[string]content{"old/name.md": {"100644", strings.Repeat("the same text\n", 20)}, "gone": {"100644", "1"}, "b": {"100644", "1"}}
	first := w.commit("main", base)
	head := maps.Clone(base)
	head["new/name.md"] = head["old/name.md"]
	delete(head, "old/name.md")
	delete(head, "gone")
	head["b"] = content{"100644", "2"}
	w.commit("side", head, first)
	h := w.finish(t)
	limits := standin.GitHubLimits{}
	g, app := serveConfig(t, standin.GitHubConfig{Limits: limits, Repositories: []standin.GitHubRepository{{ID: 3, Owner: "acme", Name: "site", Dir: h.dir}}})
	repository := app.Repository(1, "acme", "site")
	number, err := g.OpenPullRequest(t.Context(), "acme/site", standin.GitHubPullRequest{Head: "side", Base: "main"})
	if err != nil {
		t.Fatal(err)
	}
	changes, complete, err := repository.PullFiles(t.Context(), number)
	want := []mapping.Change{
		{Path: "b", Op: mapping.Modified},
		{Path: "gone", Op: mapping.Removed},
		{Path: "new/name.md", Op: mapping.Added},
		{Path: "old/name.md", Op: mapping.Removed},
	}
	if diff := cmp.Diff(want, changes); diff != "" || !complete || err != nil {
		t.Errorf("complete %v, %v (-want +got):\n%s", complete, err, diff)
	}
	pull, err := repository.Pull(t.Context(), number)
	wantPull := github.Pull{
		Number: number, Open: true, HeadSHA: h.commits[1], HeadRef: "side", HeadRepo: 3,
		BaseSHA: h.commits[0], BaseRef: "main", BaseRepo: 3, ChangedFiles: 3,
	}
	if diff := cmp.Diff(wantPull, pull); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestPullRequestsWithTooManyFiles(t *testing.T) {
	t.Parallel()
	for files, want := range map[int]bool{2999: true, 3000: false, 3001: false} {
		var w writer
		first := w.commit("main", map[string]content{"a": {"100644", "1"}})
		many := map[string]content{"a": {"100644", "1"}}
		for i := range files {
			many[fmt.Sprintf("d/%d", i)] = content{"100644", fmt.Sprint(i)}
		}
		w.commit("side", many, first)
		h := w.finish(t)
		g, repository := h.serve(t, standin.GitHubLimits{})
		number, err := g.OpenPullRequest(t.Context(), "acme/site", standin.GitHubPullRequest{Head: "side", Base: "main"})
		if err != nil {
			t.Fatal(err)
		}
		changes, complete, err := repository.PullFiles(t.Context(), number)
		if complete != want || len(changes) != min(files, 3000) || err != nil {
			t.Errorf("%d files: listed %d, complete %v, %v", files, len(changes), complete, err)
		}
	}
}

func TestTheAppsOwnCalls(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	g, app := serveConfig(t, standin.GitHubConfig{
		WebhookURL: "http://127.0.0.1:1/webhook", WebhookSecret: "x", BasePath: "/",
		Repositories: []standin.GitHubRepository{
			{ID: 1, Owner: "acme", Name: "site", Dir: h.dir},
			{ID: 2, Owner: "acme", Name: "docs", Dir: h.dir},
			{ID: 3, Owner: "other", Name: "x", Dir: h.dir, Installation: 5},
		},
	})
	self, err := app.Self(t.Context())
	if err != nil || self.Slug != "purgebot" || self.ID != g.AppID() || self.Permissions["contents"] != "read" || !slices.Contains(self.Events, "push") {
		t.Errorf("self is %+v, %v", self, err)
	}
	if err := g.Suspend(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	installations, err := app.Installations(t.Context())
	if err != nil || len(installations) != 2 || installations[0].Account != "acme" || installations[0].Suspended || !installations[1].Suspended {
		t.Errorf("installations are %+v, %v", installations, err)
	}
	repositories, err := app.Repositories(t.Context(), 1)
	want := []github.Info{{ID: 1, Owner: "acme", Name: "site", DefaultBranch: "main"}, {ID: 2, Owner: "acme", Name: "docs", DefaultBranch: "main"}}
	if diff := cmp.Diff(want, repositories, cmpopts.SortSlices(func(a, b github.Info) bool { return a.ID < b.ID })); diff != "" || err != nil {
		t.Errorf("repositories: %v (-want +got):\n%s", err, diff)
	}
	if _, err := app.Repository(5, "other", "x").Head(t.Context(), "main"); err == nil {
		t.Error("a suspended installation answers")
	} else if words, ok := github.OperatorFault(err); !ok || !strings.Contains(words, "suspended") {
		t.Errorf("a suspended installation: %q, %v", words, err)
	}
	if _, err := app.Repository(0, "nobody", "nothing").Head(t.Context(), "main"); err == nil {
		t.Error("a repository without the App answers")
	} else if words, ok := github.OperatorFault(err); !ok || !strings.Contains(words, "not installed") {
		t.Errorf("a repository without the App: %q, %v", words, err)
	}
}

func TestFailedDeliveries(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	hook := newHook(t)
	g, app := serveConfig(t, standin.GitHubConfig{
		WebhookURL: hook.url, WebhookSecret: "x",
		Repositories: []standin.GitHubRepository{{ID: 1, Owner: "acme", Name: "site", Dir: h.dir, Branches: map[string]string{"main": h.commits[0]}}},
	})
	deploy := func(healthy bool) string {
		t.Helper()
		hook.healthy.Store(healthy)
		if _, err := g.Deploy(t.Context(), "acme/site", standin.GitHubDeployment{SHA: h.commits[0]}); err != nil {
			t.Fatal(err)
		}
		all := g.Deliveries()
		return all[len(all)-1].GUID
	}
	deploy(true)
	lost := deploy(false)
	recovered := deploy(false)
	hook.healthy.Store(true)
	if _, err := g.Redeliver(t.Context(), recovered); err != nil {
		t.Fatal(err)
	}
	failed, err := app.FailedDeliveries(t.Context(), time.Now().Add(-time.Hour))
	if err != nil || len(failed) != 1 || failed[0].GUID != lost || failed[0].Event != "deployment" || failed[0].Repository != 1 {
		t.Fatalf("failed are %+v, %v; want %s alone", failed, err, lost)
	}
	if err := app.Redeliver(t.Context(), failed[0].ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.Await(ctx, func() bool {
		all := g.Deliveries()
		return all[len(all)-1].GUID == lost
	}); err != nil {
		t.Fatalf("the lost delivery did not come again: %v", err)
	}
	if hook.count(lost) != 2 {
		t.Errorf("it came %d times", hook.count(lost))
	}
	if failed, err := app.FailedDeliveries(t.Context(), time.Now().Add(-time.Hour)); len(failed) != 0 || err != nil {
		t.Errorf("after the redelivery failed are %+v, %v", failed, err)
	}
	if failed, err := app.FailedDeliveries(t.Context(), time.Now().Add(time.Hour)); len(failed) != 0 || err != nil {
		t.Errorf("since the future failed are %+v, %v", failed, err)
	}
}
