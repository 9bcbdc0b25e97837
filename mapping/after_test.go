package mapping

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const second = `version: 1
environments:
  production:
    hosts: [www.acme.com, m.acme.com]
    announce_on_pull_request: true
    redeploy: {within: 30m, purge: {urls: ["https://{host}/", "https://{host}/{owner}/news/"], tags: [news]}}
    verify: {origin: "origin.acme.com:8443", marker: "https://{host}/version.txt", wait: 5m, late: fail, sample: 0, urls: "https://{host}/{env}/"}
    warm: {limit: 50}
  staging: {}
rules: [{match: a, tags: [a]}]
limits: [{over: 3, instead: {tags: [all]}}]
`

func TestWhatComesAfterAPurge(t *testing.T) {
	file := mustParse(t, second)
	env, _ := file.Environment("production")
	if !env.AnnounceOnPullRequest || env.Redeploy != 30*time.Minute || env.Warm != (Warm{Limit: 50, Concurrency: 4}) {
		t.Errorf("%+v", env)
	}
	query := Query{Environment: "production", Owner: "acme", Repo: "site"}
	want := &Verify{
		Origin: "origin.acme.com:8443", Marker: []string{"https://www.acme.com/version.txt", "https://m.acme.com/version.txt"},
		Wait: 5 * time.Minute, Late: LateFail, URLs: []string{"https://www.acme.com/production/", "https://m.acme.com/production/"},
	}
	if diff := cmp.Diff(want, file.Verify(query)); diff != "" {
		t.Error(diff)
	}
	env, _ = file.Environment("staging")
	if env.Redeploy != time.Hour || env.Warm != (Warm{}) || file.Verify(Query{Environment: "staging"}) != nil {
		t.Errorf("nothing said: %+v", env)
	}
}

func TestRebuild(t *testing.T) {
	file := mustParse(t, second)
	if plan, err := file.PlanRebuild(t.Context(), Query{Environment: "production", Steps: 1}); !errors.Is(err, ErrTooSlow) {
		t.Errorf("a part of it, without the steps for more: %d targets, %v", plan.Len(), err)
	}
	for _, c := range []struct {
		environment string
		want        []string
	}{
		{"production", []string{"tag:all", "tag:news"}}, // four URLs exceed the limit
		{"staging", nil},
	} {
		plan, err := file.PlanRebuild(t.Context(), Query{
			Environment: c.environment, Owner: "acme", Repo: "site", Changes: slices.Values([]Change{{"a", Modified}}),
		})
		var got []string
		for target := range plan.Targets() {
			got = append(got, target.String())
			if target.Rule == "" || target.Path != "" {
				t.Errorf("%+v", target)
			}
		}
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", c.environment, err, diff)
		}
	}
}

func TestExtend(t *testing.T) {
	const base = `version: 1
environments:
  production: {hosts: [www.acme.com], network: production, branch: main}
  staging: {hosts: [staging.acme.com], network: staging}
rules: [{match: "**", tags: [all]}]
unmatched: warn
limits: [{over: 10, instead: hold}]
tests: [{file: x, purges: ["tag:all"]}]
`
	const own = `version: 1
extends: acme/.github
environments:
  Production: {hosts: [docs.acme.com]}
rules: [{match: "docs/**", environments: [staging, production], urls: "https://{host}/{1}"}]
tests:
- {file: docs/a, purges: ["https://docs.acme.com/a", "tag:all"]}
- {file: docs/a, environment: staging, purges: ["https://staging.acme.com/a", "tag:all"]}
`
	alone, faults := Parse([]byte(own))
	if alone == nil || len(faults) > 0 || alone.Extends() != "acme/.github" {
		t.Errorf("what is missing may stand in the other file: %v", faults)
	}
	file, faults := Extend([]byte(own), []byte(base))
	if len(faults) > 0 {
		t.Fatal(faults.In("own"))
	}
	if faults := file.Check(t.Context(), "acme", "site", "main"); len(faults) > 0 {
		t.Error(faults.In("own"))
	}
	if env, _ := file.Environment("production"); env.Branch != "main" || env.Key != "Production" || file.Extends() != "" {
		t.Errorf("%+v", env)
	}
	for _, c := range []struct{ name, base, want string }{
		{"a broken base", "version: 2\n", `own:2:10: the rules of acme/.github are broken: purge-rules.yaml:1:1: environments is missing: write environments: {production: {hosts: [www.example.com]}}` + "\n"},
		{"a chain", base + "extends: acme/third\n", "own:2:10: acme/.github extends acme/third itself: name one that stands alone\n"},
		{"no environment of that name", "version: 1\nenvironments: {production: {}}\nrules: []\n", `own:5:43: no environment is called "staging": did you mean "staging"?`},
	} {
		_, faults := Extend([]byte(own), []byte(c.base))
		if got := faults.Errors().In("own"); got != c.want && c.name != "no environment of that name" {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		} else if got == "" {
			t.Errorf("%s: no error", c.name)
		}
	}
}
