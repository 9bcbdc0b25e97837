package pipeline_test

import (
	"context"
	"testing"

	"github.com/purgebot/purgebot/internal/standin/github"
)

const kindRules = `version: 1
environments:
  production: {hosts: [www.acme.com]}
  github-pages: {hosts: [pages.acme.com]}
  site (Production): {hosts: [cf.acme.com]}
  "Preview*": {network: staging, hosts: [preview.acme.com]}
rules:
  - match: content/**.md
    urls: ["https://{host}/{1}/"]
`

// Deployments as common tools make them: who is the creator, who the sender, what the
// environment is called, and whether an Actions run is behind them. Statuses and
// deployments have GitHub's own shape.
func TestDeploymentsOfEveryCommonKind(t *testing.T) {
	t.Parallel()
	no := false
	for _, c := range []struct {
		name        string
		deployment  github.Deployment
		sender      string
		states      []string
		environment string // in the status
		want        string
	}{
		{
			name:       "an Actions job with environment:",
			deployment: github.Deployment{Environment: "production", Creator: "walt", WorkflowRun: 9001, Production: &no},
			states:     []string{"waiting", "queued", "in_progress", "success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
		{
			name:       "GitHub Pages",
			deployment: github.Deployment{Environment: "github-pages", Creator: "github-pages[bot]", App: "github-pages", WorkflowRun: 9002},
			sender:     "walt", states: []string{"in_progress", "success"}, environment: "github-pages",
			want: "production invalidate url https://pages.acme.com/",
		},
		{
			name:       "Vercel, production",
			deployment: github.Deployment{Environment: "Production", Creator: "vercel[bot]", App: "vercel", Production: &no},
			states:     []string{"pending", "success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
		{
			name:       "Vercel, one of several projects: the name has an en dash",
			deployment: github.Deployment{Environment: "Preview \u2013 site", Creator: "vercel[bot]", App: "vercel", Transient: true},
			states:     []string{"pending", "success"}, environment: "Preview \u2013 site",
			want: "staging invalidate url https://preview.acme.com/",
		},
		{
			name: "Argo CD notifications, by the customer's own App",
			deployment: github.Deployment{
				Environment: "production", Creator: "acme-argocd[bot]", App: "acme-argocd", Task: "deploy:argocd",
				Payload: `{"revision":"x"}`, RequiredContexts: []string{},
			},
			states: []string{"success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
		{
			name: "Cloudflare Pages",
			deployment: github.Deployment{
				Environment: "site (Production)", Creator: "cloudflare-workers-and-pages[bot]", App: "cloudflare-workers-and-pages",
			},
			states: []string{"in_progress", "success"}, environment: "site (Production)",
			want: "production invalidate url https://cf.acme.com/",
		},
		{
			name: "a script with the workflow's token, by the branch's name",
			deployment: github.Deployment{
				Environment: "production", Ref: "main", Creator: "github-actions[bot]", App: "github-actions",
				Payload: map[string]any{"image": "site:1"}, RequiredContexts: []string{},
			},
			states: []string{"in_progress", "success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTriggered(t, kindRules, nil)
			sha := w.page("new")
			if c.deployment.Ref == "" {
				c.deployment.SHA = sha
			}
			deployment := w.deployed(c.deployment)
			for _, state := range c.states {
				w.says(deployment, github.DeploymentStatus{State: state, Sender: c.sender})
			}
			w.Await(sha, c.environment, "success", "1 URL purged in ")
			w.says(deployment, github.DeploymentStatus{State: "inactive"})
			w.Settled()
			w.WantSent(c.want + "new/")
		})
	}
}

func (w *world) deployed(d github.Deployment) int64 {
	w.T.Helper()
	id, err := w.GitHub.Deploy(context.WithoutCancel(w.T.Context()), w.FullName(), d)
	if err != nil {
		w.T.Fatal(err)
	}
	return id
}

func (w *world) says(deployment int64, s github.DeploymentStatus) {
	w.T.Helper()
	if _, err := w.GitHub.DeployStatus(w.T.Context(), w.FullName(), deployment, s); err != nil {
		w.T.Fatal(err)
	}
}

// Four jobs name the environment, so there are four deployments of the commit; the first
// one to succeed only built.
func TestDeploymentsOfSeveralJobs(t *testing.T) {
	w := newTriggered(t, kindRules, nil)
	sha := w.page("new")
	var jobs []int64
	for range 4 {
		jobs = append(jobs, w.deployed(github.Deployment{
			SHA: sha, Environment: "production", Creator: "walt", WorkflowRun: 9001, RequiredContexts: []string{},
		}))
	}
	for _, job := range jobs {
		w.says(job, github.DeploymentStatus{State: "in_progress"})
	}
	w.says(jobs[0], github.DeploymentStatus{State: "success"})
	w.Await(sha, "production", "success", "1 URL purged in ")
	w.WantSent("production invalidate url https://www.acme.com/new/")
	w.says(jobs[3], github.DeploymentStatus{State: "success"})
	w.Await(sha, "production", "success", "1 URL purged in ")
	w.Settled()
	w.WantSent("production invalidate url https://www.acme.com/new/")
}

// A preview never purges production. A commit that is not on the branch purges nothing in
// an environment that a glob names.
func TestDeploymentPreviewOfAnotherBranch(t *testing.T) {
	w := newTriggered(t, kindRules, nil)
	sha := w.branch("feature")
	preview := w.deployed(github.Deployment{SHA: sha, Environment: "Preview \u2013 site", Creator: "vercel[bot]", App: "vercel"})
	w.says(preview, github.DeploymentStatus{State: "success"})
	w.wantOutcome("deployment_status", "is not on main")
	w.Settled()
	w.WantSent()
	if all := w.GitHub.Statuses(w.FullName(), sha); len(all) != 0 {
		t.Errorf("statuses: %v", all)
	}
}
