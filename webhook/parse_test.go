package webhook_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/webhook"
)

var (
	ada  = webhook.User{Login: "ada", ID: 3, Type: "User"}
	site = webhook.Origin{
		Installation: 5,
		Repository: webhook.Repo{
			ID: 7, Owner: "acme", Name: "site", DefaultBranch: "main",
			PushedAt: time.Unix(1763800000, 0).UTC(),
		},
		Sender: ada,
	}
	at = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
)

// with wraps fields in a payload of acme/site.
func with(fields string) string { return `{` + fields + `,` + repositoryJSON + `}` }

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, event, body string
		want              webhook.Event
	}{
		{"push", "push", pushJSON, &webhook.Push{Origin: site, Ref: "refs/heads/main", Before: zeros, After: sha, Created: true}},
		{
			"forced push",
			"push", with(`"ref":"refs/heads/main","before":"` + sha + `","after":"` + sha + `","forced":true`),
			&webhook.Push{Origin: site, Ref: "refs/heads/main", Before: sha, After: sha, Forced: true},
		},
		{
			"branch deleted",
			"push", with(`"ref":"refs/heads/x","before":"` + sha + `","after":"` + zeros + `","deleted":true,"head_commit":null,"commits":[]`),
			&webhook.Push{Origin: site, Ref: "refs/heads/x", Before: sha, After: zeros, Deleted: true},
		},
		{
			"deployment status: its environment counts",
			"deployment_status", deployJSON(`"success"`),
			&webhook.DeploymentStatus{
				Origin: site, ID: 11, State: "success", Environment: "Production", CreatedAt: at,
				Creator: "vercel[bot]", DeploymentID: 21, SHA: sha, Ref: "main",
			},
		},
		{
			"deployment status without environment",
			"deployment_status", strings.Replace(deployJSON(`"success"`), `"environment":"Production",`, ``, 1),
			&webhook.DeploymentStatus{
				Origin: site, ID: 11, State: "success", Environment: "Preview", CreatedAt: at,
				Creator: "vercel[bot]", DeploymentID: 21, SHA: sha, Ref: "main",
			},
		},
		{
			"comment on a pull request",
			"issue_comment",
			with(`"action":"created","issue":{"number":4,"pull_request":{"url":"x"}},"comment":{"id":8,"body":"/purge","created_at":"2026-11-22T11:00:00+01:00","user":{"login":"ada","id":3,"type":"User"},"performed_via_github_app":null}`),
			&webhook.IssueComment{
				Origin: site, Action: "created", ID: 8, Body: "/purge", User: ada,
				Number: 4, IsPullRequest: true, CreatedAt: at,
			},
		},
		{
			"comment on an issue, through an App",
			"issue_comment",
			with(`"action":"created","issue":{"number":4},"comment":{"id":8,"user":{"id":3},"performed_via_github_app":{"id":1}}`),
			&webhook.IssueComment{
				Origin: site, Action: "created", ID: 8, User: webhook.User{ID: 3},
				Number: 4, PerformedViaApp: true,
			},
		},
		{
			"pull request of a fork that is gone",
			"pull_request",
			with(`"action":"closed","number":4,"pull_request":{"merged":true,"head":{"sha":"abc","ref":"x","repo":null},"base":{"sha":"def","ref":"main","repo":{"id":7}}}`),
			&webhook.PullRequest{
				Origin: site, Action: "closed", Number: 4, Merged: true,
				Head: webhook.Side{SHA: "abc", Ref: "x"}, Base: webhook.Side{SHA: "def", Ref: "main", RepoID: 7},
			},
		},
		{
			"button",
			"check_run",
			with(`"action":"requested_action","check_run":{"id":6,"name":"Purge production","head_sha":"` + sha + `","external_id":"01J","status":"completed","conclusion":"failure","completed_at":"2026-11-22T10:00:00Z","app":{"id":99},"check_suite":{"head_branch":null}},"requested_action":{"identifier":"retry"}`),
			&webhook.CheckRun{
				Origin: site, Action: "requested_action", ID: 6, Name: "Purge production", HeadSHA: sha,
				AppID: 99, ExternalID: "01J", Status: "completed", Conclusion: "failure", CompletedAt: at, RequestedAction: "retry",
			},
		},
		{
			"check of another App",
			"check_run",
			with(`"action":"completed","check_run":{"id":6,"name":"Deploy","head_sha":"abc","conclusion":"success","completed_at":null,"check_suite":{"head_branch":"main"}}`),
			&webhook.CheckRun{
				Origin: site, Action: "completed", ID: 6, Name: "Deploy", HeadSHA: "abc",
				HeadBranch: "main", Conclusion: "success",
			},
		},
		{
			"all checks again",
			"check_suite", with(`"action":"rerequested","check_suite":{"id":6,"head_sha":"abc","head_branch":"main","app":{"id":99}}`),
			&webhook.CheckSuite{Origin: site, Action: "rerequested", ID: 6, HeadSHA: "abc", HeadBranch: "main", AppID: 99},
		},
		{
			"commit status",
			"status",
			with(`"id":2,"sha":"abc","context":"netlify/acme","state":"success","name":"acme/site","updated_at":"2026-11-22T10:00:00Z","branches":[{"name":"main","commit":{"sha":"def"}}]`),
			&webhook.Status{
				Origin: site, ID: 2, SHA: "abc", Context: "netlify/acme", State: "success",
				Branches: []webhook.Branch{{Name: "main", SHA: "def"}}, UpdatedAt: at,
			},
		},
		{
			"workflow of a fork",
			"workflow_run",
			with(`"action":"completed","workflow_run":{"id":2,"run_attempt":3,"path":".github/workflows/deploy.yml@main","head_branch":"main","head_sha":"abc","head_repository":{"id":70},"event":"push","conclusion":"success","updated_at":"2026-11-22T10:00:00Z"}`),
			&webhook.WorkflowRun{
				Origin: site, Action: "completed", ID: 2, Attempt: 3, Path: ".github/workflows/deploy.yml",
				HeadBranch: "main", HeadSHA: "abc", HeadRepoID: 70, Event: "push", Conclusion: "success", UpdatedAt: at,
			},
		},
		{
			"installation",
			"installation",
			`{"action":"suspend","installation":{"id":5,"account":{"login":"acme"}},"repositories":[{"id":7,"name":"site","full_name":"acme/site"}],"sender":{"login":"ada","id":3,"type":"User"}}`,
			&webhook.Installation{
				Origin: webhook.Origin{Installation: 5, Sender: ada}, Action: "suspend", Account: "acme",
				Repositories: []webhook.Repo{{ID: 7, Owner: "acme", Name: "site"}},
			},
		},
		{
			"repositories of an installation",
			"installation_repositories",
			`{"action":"removed","installation":{"id":5},"repositories_added":[],"repositories_removed":[{"id":7,"full_name":"acme/site"}]}`,
			&webhook.InstallationRepositories{
				Origin: webhook.Origin{Installation: 5}, Action: "removed",
				Removed: []webhook.Repo{{ID: 7, Owner: "acme", Name: "site"}},
			},
		},
		{
			"renamed",
			"repository", with(`"action":"renamed","changes":{"repository":{"name":{"from":"old"}}}`),
			&webhook.Repository{Origin: site, Action: "renamed", OldName: "old"},
		},
		{
			"transferred by an organisation",
			"repository", with(`"action":"transferred","changes":{"owner":{"from":{"organization":{"login":"octo"}}}}`),
			&webhook.Repository{Origin: site, Action: "transferred", OldOwner: "octo"},
		},
		{
			"transferred by a person",
			"repository", with(`"action":"transferred","changes":{"owner":{"from":{"user":{"login":"ada"}}}}`),
			&webhook.Repository{Origin: site, Action: "transferred", OldOwner: "ada"},
		},
		{
			"merge queue",
			"merge_group", with(`"action":"checks_requested","merge_group":{"head_sha":"abc","head_ref":"refs/heads/gh-readonly-queue/main/pr-1","base_sha":"def","base_ref":"refs/heads/main"}`),
			&webhook.MergeGroup{
				Origin: site, Action: "checks_requested", HeadSHA: "abc", BaseSHA: "def",
				HeadRef: "refs/heads/gh-readonly-queue/main/pr-1", BaseRef: "refs/heads/main",
			},
		},
		{"ping", "ping", `{"zen":"Anything added dilutes everything else."}`, &webhook.Ping{}},
		{"event without use", "star", `{"action":7}`, &webhook.Ignored{Event: "star"}},
		{"event of the future", "", `{}`, &webhook.Ignored{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := webhook.Parse(tt.event, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Actions that can change nothing need no fields.
func TestParseIgnoresActions(t *testing.T) {
	for event, action := range map[string]string{
		"issue_comment":             "deleted",
		"pull_request":              "labeled",
		"check_run":                 "created",
		"check_suite":               "completed",
		"workflow_run":              "requested",
		"installation":              "transcended",
		"installation_repositories": "transcended",
		"repository":                "publicized",
		"merge_group":               "destroyed",
	} {
		t.Run(event, func(t *testing.T) {
			got, err := webhook.Parse(event, []byte(`{"action":"`+action+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&webhook.Ignored{Event: event, Action: action}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	deploy := deployJSON(`"success"`)
	for _, tt := range []struct{ name, event, body, says string }{
		{"no repository", "push", `{"ref":"refs/heads/main","before":"abc","after":"abc"}`, "push: repository is missing"},
		{"null repository", "push", `{"repository":null,"ref":"refs/heads/main","before":"abc","after":"abc"}`, "push: repository is missing"},
		{"repository without id", "push", strings.Replace(pushJSON, `"id":7,`, ``, 1), "push: repository.id is missing"},
		{"negative id", "push", strings.Replace(pushJSON, `"id":7,`, `"id":-7,`, 1), "push: repository.id is negative"},
		{"fraction", "push", strings.Replace(pushJSON, `"id":7,`, `"id":7.5,`, 1), "push: repository.id is a JSON number 7.5 where a whole number belongs"},
		{"id beyond 64 bits", "push", strings.Replace(pushJSON, `"id":7,`, `"id":9223372036854775808,`, 1), "where a whole number belongs"},
		{"a name that leads elsewhere", "push", strings.Replace(pushJSON, `"name":"site"`, `"name":"../../user"`, 1), "push: repository.full_name is not owner/name"},
		{"a name that is a parent", "push", strings.Replace(pushJSON, `"name":"site"`, `"name":".."`, 1), "push: repository.full_name is not owner/name"},
		{"a commit that leads elsewhere", "push", strings.Replace(pushJSON, sha, "../../../user", 1), "push: after is not a commit id"},
		{"a commit that never ends", "push", strings.Replace(pushJSON, sha, strings.Repeat("a", 65), 1), "push: after is not a commit id"},
		{"no after", "push", strings.Replace(pushJSON, `"after":"`+sha+`",`, ``, 1), "push: after is missing"},
		{"text where a flag belongs", "push", strings.Replace(pushJSON, `"created":true`, `"created":"true"`, 1), "push: created is a JSON string where true or false belongs"},
		{"no time", "push", strings.Replace(pushJSON, `1763800000`, `"yesterday"`, 1), "push: repository.pushed_at is a JSON string where a time belongs"},
		{"a time beyond the calendar", "push", strings.Replace(pushJSON, `1763800000`, `9223372036854775807`, 1), "where a time belongs"},
		{"deployment without commit", "deployment_status", strings.Replace(deploy, `"sha":"`+sha+`",`, ``, 1), "deployment_status: deployment.sha is missing"},
		{"deployment without id", "deployment_status", strings.Replace(deploy, `"id":21,`, ``, 1), "deployment_status: deployment.id is missing"},
		{"deployment without environment", "deployment_status", strings.NewReplacer(`"Production"`, `""`, `"Preview"`, `null`).Replace(deploy), "deployment_status: deployment_status.environment is missing"},
		{"a list where an object belongs", "deployment_status", with(`"deployment":[]`), "deployment_status: deployment is a JSON array where an object belongs"},
		{"an object where a list belongs", "status", with(`"branches":{}`), "status: branches is a JSON object where a list belongs"},
		{"comment without sender", "issue_comment", strings.Replace(with(`"action":"created","issue":{"number":4},"comment":{"id":8,"user":{"id":3}}`), `"id":3,"type"`, `"type"`, 1), "issue_comment: sender.id is missing"},
		{"wrong type in an action without use", "issue_comment", `{"action":"edited","comment":{"id":"8"}}`, "issue_comment: comment.id is a JSON string"},
		{"pull request without head", "pull_request", with(`"action":"opened","number":4,"pull_request":{"base":{"sha":"abc","ref":"main"}}`), "pull_request: pull_request.head.sha is missing"},
		{"button without identifier", "check_run", with(`"action":"requested_action","check_run":{"id":6,"name":"x","head_sha":"abc"}`), "check_run: requested_action.identifier is missing"},
		{"suite without commit", "check_suite", with(`"action":"rerequested","check_suite":{"id":6}`), "check_suite: check_suite.head_sha is missing"},
		{"status without context", "status", with(`"sha":"abc","state":"success"`), "status: context is missing"},
		{"workflow without path", "workflow_run", with(`"action":"completed","workflow_run":{"id":2,"head_sha":"abc","head_repository":{"id":7}}`), "workflow_run: workflow_run.path is missing"},
		{"installation without id", "installation", `{"action":"created"}`, "installation: installation.id is missing"},
		{"installation of repositories without id", "installation_repositories", `{"action":"added"}`, "installation_repositories: installation.id is missing"},
		{"renamed, but which", "repository", `{"action":"renamed"}`, "repository: repository is missing"},
		{"merge queue without commit", "merge_group", with(`"action":"checks_requested"`), "merge_group: merge_group.head_sha is missing, merge_group.base_sha is missing"},
		{"nested too deep", "push", strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20000), "the body is not JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := webhook.Parse(tt.event, []byte(tt.body))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, %v; want %q", got, err, tt.says)
			}
		})
	}
}

func events() []string {
	return []string{
		"push", "deployment_status", "issue_comment", "pull_request", "check_run", "check_suite", "status", "workflow_run",
		"installation", "installation_repositories", "repository", "merge_group", "ping", "star",
	}
}

// FuzzParse: no body makes Parse panic, an error never comes together with an event, and
// a decoded event has the fields that purgebot needs.
func FuzzParse(f *testing.F) {
	for i, body := range []string{pushJSON, deployJSON(`"success"`), `{"action":"created"}`, `{`, `null`, `{"repository":null}`} {
		f.Add(byte(i), []byte(body))
	}
	names := events()
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		name := names[int(which)%len(names)]
		event, err := webhook.Parse(name, body)
		if err != nil {
			if event != nil {
				t.Fatalf("an error and an event: %v, %v", err, event)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%s taken from what is not JSON: %q", name, body)
		}
		checkNeeds(t, event)
	})
}

func checkNeeds(t *testing.T, event webhook.Event) {
	t.Helper()
	switch e := event.(type) {
	case *webhook.Ignored, *webhook.Ping:
		return
	case *webhook.Installation, *webhook.InstallationRepositories:
		if e.Source().Installation <= 0 {
			t.Errorf("%s without an installation", reflect.TypeOf(e))
		}
		return
	case *webhook.Push:
		if e.After == "" || e.Ref == "" {
			t.Errorf("push without commit or ref: %+v", e)
		}
	case *webhook.DeploymentStatus:
		if e.SHA == "" || e.Environment == "" || e.DeploymentID <= 0 {
			t.Errorf("deployment status without commit, environment or id: %+v", e)
		}
	}
	repo := event.Source().Repository
	if repo.ID <= 0 || strings.Count(repo.FullName(), "/") != 1 {
		t.Errorf("%s without a repository: %+v", reflect.TypeOf(event), repo)
	}
}
