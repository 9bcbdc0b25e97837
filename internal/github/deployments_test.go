package github_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestDeployments(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 5, 4)
	past := time.Now().Add(-time.Hour)
	g, repository := h.serve(t, ghstandin.Limits{})
	deploy := func(commit int, environment string, states ...string) (deployment, status int64) {
		t.Helper()
		deployment, err := g.Deploy(t.Context(), "acme/site", ghstandin.Deployment{
			SHA: h.commits[commit], Environment: environment, Creator: "octocat", RequiredContexts: []string{},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if status, err = g.DeployStatus(t.Context(), "acme/site", deployment, ghstandin.DeploymentStatus{State: s}); err != nil {
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
	_, failure := deploy(1, "production", "in_progress", "failure")
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

	all, err := repository.Deployments(t.Context(), "production", past, nil)
	var ids []int64
	for _, d := range all {
		ids = append(ids, d.StatusID)
	}
	if want := []int64{oldSuccess, failure, newerSuccess, last}; !slices.Equal(ids, want) || err != nil {
		t.Fatalf("what decided production is %v, %v; want %v", ids, err, want)
	}
	if all[1].State != "failure" || all[2].ID != newer || all[2].SHA != h.commits[3] ||
		all[2].Environment != "production" || all[2].State != "success" {
		t.Errorf("deployments are told as %+v", all)
	}
	if all, err := repository.Deployments(t.Context(), "", past, nil); len(all) != 5 || err != nil {
		t.Errorf("of all environments: %d, %v; want 5", len(all), err)
	}
	seen := func(deployment int64) time.Time {
		if deployment == old {
			return time.Now()
		}
		return past
	}
	if all, err := repository.Deployments(t.Context(), "production", past, seen); len(all) != 3 || err != nil {
		t.Errorf("beside the one that was seen: %d, %v; want 3", len(all), err)
	}
	if all, err := repository.Deployments(t.Context(), "", future, nil); len(all) != 0 || err != nil {
		t.Errorf("since the future: %v, %v", all, err)
	}
}

// A status may name another environment than its deployment.
func TestDeploymentsWhoseStatusNamesAnotherEnvironment(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 5, 1)
	g, repository := h.serve(t, ghstandin.Limits{})
	id, err := g.Deploy(t.Context(), "acme/site", ghstandin.Deployment{SHA: h.commits[0], Environment: "build"})
	if err != nil {
		t.Fatal(err)
	}
	status, err := g.DeployStatus(t.Context(), "acme/site", id, ghstandin.DeploymentStatus{State: "success", Environment: "Production"})
	if err != nil {
		t.Fatal(err)
	}
	for environment, want := range map[string]int64{"production": status, "build": 0} {
		d, found, err := repository.LastSuccess(t.Context(), environment, time.Now().Add(time.Hour), 0, nil)
		if d.StatusID != want || found != (want != 0) || err != nil {
			t.Errorf("%s: %+v, %v, %v; want status %d", environment, d, found, err, want)
		}
	}
}

func TestDeploymentsOverPages(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 5, 1)
	g, repository := h.serve(t, ghstandin.Limits{})
	var first int64
	for i := range 230 {
		environment := "preview"
		if i == 0 {
			environment = "Production"
		}
		id, err := g.Deploy(t.Context(), "acme/site", ghstandin.Deployment{SHA: h.commits[0], Environment: environment})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = id
			if _, err := g.DeployStatus(t.Context(), "acme/site", id, ghstandin.DeploymentStatus{State: "success"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, found, err := repository.LastSuccess(t.Context(), "production", time.Now().Add(time.Hour), 0, nil)
	if !found || d.ID != first || err != nil {
		t.Errorf("found %v %+v, %v; want deployment %d on the third page", found, d, err, first)
	}
	all, err := repository.Deployments(t.Context(), "production", time.Now().Add(-time.Hour), nil)
	if len(all) != 1 || err != nil {
		t.Errorf("%d successes, %v; want the one on the third page", len(all), err)
	}
}

// A success that GitHub recorded in the same second is not before it.
func TestLastSuccessIsStrictlyBefore(t *testing.T) {
	t.Parallel()
	repository, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/statuses") {
			fmt.Fprint(w, `[{"id": 7, "state": "success", "environment": "production", "created_at": "2026-11-22T10:00:05Z"}]`)
			return
		}
		fmt.Fprintf(w, `[{"id": 1, "sha": %q, "environment": "production", "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:05Z"}]`, anySHA)
	})
	for second, want := range map[int]bool{5: false, 6: true} {
		before := time.Date(2026, 11, 22, 10, 0, second, 0, time.UTC)
		if _, found, err := repository.LastSuccess(t.Context(), "production", before, 0, nil); found != want || err != nil {
			t.Errorf("before second %d: %t, %v", second, found, err)
		}
	}
}
