package main

import (
	"context"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
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

// Deployments as their common makers make them: who is their creator, who
// their sender, how the environment is called, whether an Actions run is
// behind them. Statuses and deployments go out in GitHub's own shape.
func TestDeploymentsOfEveryCommonKind(t *testing.T) {
	t.Parallel()
	no := false
	for _, c := range []struct {
		name        string
		deployment  standin.GitHubDeployment
		sender      string
		states      []string
		environment string // in the status
		want        string
	}{
		{
			name:       "an Actions job with environment:",
			deployment: standin.GitHubDeployment{Environment: "production", Creator: "walt", WorkflowRun: 9001, Production: &no},
			states:     []string{"waiting", "queued", "in_progress", "success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
		{
			name:       "GitHub Pages",
			deployment: standin.GitHubDeployment{Environment: "github-pages", Creator: "github-pages[bot]", App: "github-pages", WorkflowRun: 9002},
			sender:     "walt", states: []string{"in_progress", "success"}, environment: "github-pages",
			want: "production invalidate url https://pages.acme.com/",
		},
		{
			name:       "Vercel, production",
			deployment: standin.GitHubDeployment{Environment: "Production", Creator: "vercel[bot]", App: "vercel", Production: &no},
			states:     []string{"pending", "success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
		{
			name:       "Vercel, one of several projects: the name has an en dash",
			deployment: standin.GitHubDeployment{Environment: "Preview \u2013 site", Creator: "vercel[bot]", App: "vercel", Transient: true},
			states:     []string{"pending", "success"}, environment: "Preview \u2013 site",
			want: "staging invalidate url https://preview.acme.com/",
		},
		{
			name: "Argo CD notifications, by the customer's own App",
			deployment: standin.GitHubDeployment{
				Environment: "production", Creator: "acme-argocd[bot]", App: "acme-argocd", Task: "deploy:argocd",
				Payload: `{"revision":"x"}`, RequiredContexts: []string{},
			},
			states: []string{"success"}, environment: "production",
			want: "production invalidate url https://www.acme.com/",
		},
		{
			name: "Cloudflare Pages",
			deployment: standin.GitHubDeployment{
				Environment: "site (Production)", Creator: "cloudflare-workers-and-pages[bot]", App: "cloudflare-workers-and-pages",
			},
			states: []string{"in_progress", "success"}, environment: "site (Production)",
			want: "production invalidate url https://cf.acme.com/",
		},
		{
			name: "a script with the workflow's token, by the branch's name",
			deployment: standin.GitHubDeployment{
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
				w.says(deployment, standin.GitHubDeploymentStatus{State: state, Sender: c.sender})
			}
			w.await(sha, c.environment, "success", "1 URL purged in ")
			w.says(deployment, standin.GitHubDeploymentStatus{State: "inactive"})
			w.settled()
			w.wantSent(c.want + "new/")
		})
	}
}

func (w *world) deployed(d standin.GitHubDeployment) int64 {
	w.t.Helper()
	id, err := w.github.Deploy(context.WithoutCancel(w.t.Context()), w.fullName(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) says(deployment int64, s standin.GitHubDeploymentStatus) {
	w.t.Helper()
	if _, err := w.github.DeployStatus(w.t.Context(), w.fullName(), deployment, s); err != nil {
		w.t.Fatal(err)
	}
}

// Four jobs name the environment, and so there are four deployments of the
// commit; the first to succeed only built.
func TestDeploymentsOfSeveralJobs(t *testing.T) {
	w := newTriggered(t, kindRules, nil)
	sha := w.page("new")
	var jobs []int64
	for range 4 {
		jobs = append(jobs, w.deployed(standin.GitHubDeployment{
			SHA: sha, Environment: "production", Creator: "walt", WorkflowRun: 9001, RequiredContexts: []string{},
		}))
	}
	for _, job := range jobs {
		w.says(job, standin.GitHubDeploymentStatus{State: "in_progress"})
	}
	w.says(jobs[0], standin.GitHubDeploymentStatus{State: "success"})
	w.await(sha, "production", "success", "1 URL purged in ")
	w.wantSent("production invalidate url https://www.acme.com/new/")
	w.says(jobs[3], standin.GitHubDeploymentStatus{State: "success"})
	w.await(sha, "production", "success", "1 URL purged in ")
	w.settled()
	w.wantSent("production invalidate url https://www.acme.com/new/")
}

// A preview never purges production, and a commit that is not on the branch
// purges nothing under a glob.
func TestDeploymentPreviewOfAnotherBranch(t *testing.T) {
	w := newTriggered(t, kindRules, nil)
	sha := w.branch("feature")
	preview := w.deployed(standin.GitHubDeployment{SHA: sha, Environment: "Preview \u2013 site", Creator: "vercel[bot]", App: "vercel"})
	w.says(preview, standin.GitHubDeploymentStatus{State: "success"})
	w.wantOutcome("deployment_status", "is not on main")
	w.settled()
	w.wantSent()
	if all := w.github.Statuses(w.fullName(), sha); len(all) != 0 {
		t.Errorf("statuses: %v", all)
	}
}
