package github_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/mapping"
)

func TestRulesFile(t *testing.T) {
	t.Parallel()
	const rules, dotted = "purge-rules.yaml", ".github/purge-rules.yaml"
	text := content{"100644", "version: 1\nname: ünï\n"}
	for _, test := range []struct {
		name  string
		files map[string]content
		path  string // "": there is no rules file
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
			_, repository := h.serve(t, ghstandin.Limits{})
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
	_, repository := h.serve(t, ghstandin.Limits{})
	if _, found, err := repository.RulesFile(t.Context(), anySHA); found || !github.IsNotFound(err) {
		t.Errorf("found %v, %v; want not found as an error", found, err)
	}
}

// A file that GitHub does not show yet must not be taken for a missing one.
func TestRulesFileThatIsNotShownYet(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 1, 1)
	dir := h.dir
	for _, path := range []string{"purge-rules.yaml", ".github/purge-rules.yaml"} {
		blob := strings.TrimSpace(git(t, dir, []byte("version: 1\n"), "hash-object", "-w", "--stdin"))
		name, _, nested := strings.Cut(path, "/")
		tree := strings.TrimSpace(git(t, dir, []byte("100644 blob "+blob+"\t"+path[strings.LastIndex(path, "/")+1:]+"\n"), "mktree"))
		if nested {
			tree = strings.TrimSpace(git(t, dir, []byte("040000 tree "+tree+"\t"+name+"\n"), "mktree"))
		}
		commit := strings.TrimSpace(git(t, dir, nil, "-c", "user.name=E", "-c", "user.email=e@example.com", "commit-tree", "-m", "rules", tree))
		server, repository := h.serve(t, ghstandin.Limits{})
		server.Fault(func(r *http.Request) ghstandin.Fault {
			if strings.Contains(r.URL.Path, "/contents/") {
				return ghstandin.Fault{Status: http.StatusNotFound, Body: `{"message":"Not Found"}`}
			}
			return ghstandin.Fault{}
		})
		_, found, err := repository.RulesFile(t.Context(), commit)
		if _, later := github.RetryAfter(err); found || !later {
			t.Errorf("%s: found %t, %v; want to be asked later", path, found, err)
		}
		server.Fault(nil)
		if file, found, err := repository.RulesFile(t.Context(), commit); !found || err != nil || file.Path != path {
			t.Errorf("%s, shown: %t, %v, %+v", path, found, err, file)
		}
	}
}

func TestBranchesCommitsAndInfo(t *testing.T) {
	t.Parallel()
	var w writer
	first := w.commit("main", map[string]content{"a": {"100644", "1"}})
	w.commit("main", map[string]content{"a": {"100644", "2"}}, first)
	h := w.finish(t)
	branches := map[string]string{"main": h.commits[1], "feature/a#b%20c": h.commits[0], "ü/x+y": h.commits[0]}
	g, app := serveConfig(t, ghstandin.Config{Repositories: []ghstandin.Repository{
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
	if info.PushedAt.IsZero() {
		t.Error("nothing says when it was pushed to")
	}
	info.PushedAt = time.Time{}
	if diff := cmp.Diff(github.Info{ID: 42, Owner: "other", Name: "pages", DefaultBranch: "main", Private: true}, info); diff != "" || err != nil {
		t.Errorf("after a rename: %v (-want +got):\n%s", err, diff)
	}
	if err := repository.PostStatus(t.Context(), h.commits[0], github.Status{State: github.StateSuccess, Context: "c"}); err != nil {
		t.Errorf("a status under the old name: %v", err)
	}
}

// Reading again costs nothing. What cannot change is not asked for again; for everything
// else GitHub answers 304.
func TestRepeatedReadsAreFree(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 2, 3)
	g, repository := h.serve(t, ghstandin.Limits{})
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

// What one installation was shown is never served to another one from the cache.
func TestInstallationsShareNoCache(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 2, 1)
	_, app := serveConfig(t, ghstandin.Config{Repositories: []ghstandin.Repository{
		{Owner: "acme", Name: "site", Dir: h.dir, Installation: 1}, {Owner: "other", Name: "x", Dir: h.dir, Installation: 2},
	}})
	if _, err := app.Repository(1, "acme", "site").Commit(t.Context(), h.commits[0]); err != nil {
		t.Fatal(err)
	}
	if c, err := app.Repository(2, "acme", "site").Commit(t.Context(), h.commits[0]); !github.IsNotFound(err) {
		t.Errorf("another installation is shown %+v, %v", c, err)
	}
}

func TestStatusesAndComments(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	g, repository := h.serve(t, ghstandin.Limits{})
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

	issue, err := g.OpenPullRequest(t.Context(), "acme/site", ghstandin.PullRequest{Head: "main", Base: "main", BaseSHA: sha})
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
	ids := map[int64]bool{}
	for range 2 { // the second time GitHub says 200
		reaction, err := repository.React(t.Context(), id, github.ReactionConfused)
		if err != nil {
			t.Fatal(err)
		}
		ids[reaction] = true
	}
	if _, err := repository.React(t.Context(), id, github.ReactionEyes); err != nil || len(ids) != 1 {
		t.Fatalf("the reaction's ids are %v, %v", ids, err)
	}
	for reaction := range ids {
		for range 2 { // the second time it is gone
			if err := repository.Unreact(t.Context(), id, reaction); err != nil {
				t.Fatal(err)
			}
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

func TestFindComment(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	g, repository := h.serve(t, ghstandin.Limits{})
	pull, err := g.OpenPullRequest(t.Context(), "acme/site", ghstandin.PullRequest{Head: "main", Base: "main", BaseSHA: h.commits[0]})
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if _, err := g.Comment(t.Context(), "acme/site", pull, "mallory", "not ours <!-- mark -->"); err != nil {
		t.Fatal(err)
	}
	if id, found, err := repository.FindComment(t.Context(), pull, "<!-- mark -->", past); found || err != nil {
		t.Errorf("somebody else's comment is taken for ours: %d, %v", id, err)
	}
	ours, err := repository.CreateComment(t.Context(), pull, "ours <!-- mark -->")
	if err != nil {
		t.Fatal(err)
	}
	if id, found, err := repository.FindComment(t.Context(), pull, "<!-- mark -->", past); id != ours || !found || err != nil {
		t.Errorf("found %d, %v, %v; want %d", id, found, err, ours)
	}
}

func TestCheckRuns(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 1)
	g, repository := h.serve(t, ghstandin.Limits{})
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
	run.Actions = nil
	if err := repository.UpdateCheckRun(t.Context(), id, run); err != nil {
		t.Fatal(err)
	}
	if got := g.CheckRuns("acme/site", h.commits[0])[0]; len(got.Actions) != 0 {
		t.Errorf("the buttons stay: %+v", got.Actions)
	}
	run.Actions = []github.CheckAction{{Label: "Retry", Description: "d", Identifier: "retry"}}
	for name, spoil := range map[string]func(*github.CheckRun){
		"summary": func(c *github.CheckRun) { c.Summary = strings.Repeat("x", github.CheckText+1) },
		"text":    func(c *github.CheckRun) { c.Text = strings.Repeat("x", github.CheckText+1) },
		"actions": func(c *github.CheckRun) { c.Actions = make([]github.CheckAction, 4) },
		"title":   func(c *github.CheckRun) { c.Title = "" },
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
	g, repository := h.serve(t, ghstandin.Limits{})
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
	g.Fault(func(*http.Request) ghstandin.Fault { return ghstandin.Fault{Status: http.StatusForbidden} })
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

// A role's name that claims more than the permission is not trusted.
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
	limits := ghstandin.Limits{}
	g, app := serveConfig(t, ghstandin.Config{Limits: limits, Repositories: []ghstandin.Repository{{ID: 3, Owner: "acme", Name: "site", Dir: h.dir}}})
	repository := app.Repository(1, "acme", "site")
	number, err := g.OpenPullRequest(t.Context(), "acme/site", ghstandin.PullRequest{Head: "side", Base: "main"})
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
		g, repository := h.serve(t, ghstandin.Limits{})
		number, err := g.OpenPullRequest(t.Context(), "acme/site", ghstandin.PullRequest{Head: "side", Base: "main"})
		if err != nil {
			t.Fatal(err)
		}
		changes, complete, err := repository.PullFiles(t.Context(), number)
		if complete != want || len(changes) != min(files, 3000) || err != nil {
			t.Errorf("%d files: listed %d, complete %v, %v", files, len(changes), complete, err)
		}
	}
}
