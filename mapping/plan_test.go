package mapping

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/glob"
)

const acme = `version: 1
environments:
  production:
    hosts: [www.acme.com, m.acme.com]
  "Preview-*":
    hosts: [preview.acme.com]
    branch: main
  preview-one:
    network: staging
    settle: 90s
    trigger: {workflow: deploy.yml}
    creators: ["github-actions[bot]"]
    announce: none
rules:
  - name: pages
    match: ["content/*.md", "content/**/*.md"]
    exclude: [content/drafts/**]
    environments: [PRODUCTION, "preview-*"]
    tags: ["page-{1}", shell]
    cpcodes: [20, 3]
  - match: static/**
    environments: [production]
    urls: ["https://{host}/{1}"]
    tags: [shell]
`

func TestEnvironments(t *testing.T) {
	file := mustParse(t, acme)
	for _, c := range []struct{ name, key string }{
		{"production", "production"},
		{"PRODUCTION", "production"},
		{"Preview-One", "preview-one"}, // an exact key wins over a glob that stands before it
		{"preview-two", "Preview-*"},
		{"preview", ""},
		{"preview-*", "Preview-*"},
		{"preview-a/b", ""}, // * does not match a slash
		{"", ""},
	} {
		got, ok := file.Environment(c.name)
		if ok != (c.key != "") || got.Key != c.key || ok && got.Name != c.name {
			t.Errorf("environment %q is %q, called %q", c.name, got.Key, got.Name)
		}
		_, err := file.Plan(t.Context(), Query{Environment: c.name})
		if errors.Is(err, ErrUnknownEnvironment) == ok {
			t.Errorf("plan for environment %q: %v", c.name, err)
		}
	}
	want := []Environment{
		{Name: "production", Key: "production", Network: Production, Hosts: []string{"www.acme.com", "m.acme.com"}, Trigger: Trigger{Kind: OnDeployment}, Announce: AnnounceSuccess, Redeploy: time.Hour, Line: 3, Column: 3},
		{Name: "Preview-*", Key: "Preview-*", Glob: true, Network: Production, Hosts: []string{"preview.acme.com"}, Trigger: Trigger{Kind: OnDeployment}, Branch: "main", Announce: AnnounceSuccess, Redeploy: time.Hour, Line: 5, Column: 3},
		{
			Name: "preview-one", Key: "preview-one", Network: Staging, Trigger: Trigger{Kind: OnWorkflow, Name: "deploy.yml"},
			Creators: []string{"github-actions[bot]"}, Settle: 90_000_000_000, Announce: AnnounceNone, Redeploy: time.Hour, Line: 11, Column: 14,
		},
	}
	if diff := cmp.Diff(want, file.Environments()); diff != "" {
		t.Errorf("environments (-want +got):\n%s", diff)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name, environment string
		changes           []Change
		want, unmatched   []string
	}{
		{name: "nothing", environment: "production"},
		{
			name: "the first glob that matches numbers", environment: "production",
			changes: []Change{{"content/a.md", Modified}, {"content/x/b.md", Added}},
			want:    []string{"tag:page-a", "tag:page-x", "tag:shell", "cpcode:3", "cpcode:20"},
		},
		{
			name: "an environment by glob", environment: "preview-two",
			changes: []Change{{"content/a.md", Modified}, {"static/x", Modified}},
			want:    []string{"tag:page-a", "tag:shell", "cpcode:3", "cpcode:20"},
		},
		{
			name: "excluded is not unmatched", environment: "production",
			changes: []Change{{"content/drafts/a.md", Modified}},
		},
		{
			name: "kept for another environment is not unmatched", environment: "preview-one",
			changes: []Change{{"static/a", Modified}},
		},
		{
			name: "the rules file is never mapped and never unmatched", environment: "production",
			changes:   []Change{{"purge-rules.yaml", Modified}, {".github/purge-rules.yaml", Removed}, {"x/purge-rules.yaml", Added}},
			unmatched: []string{"x/purge-rules.yaml"},
		},
		{
			name: "hosts are multiplied, doubles go", environment: "production",
			changes: []Change{{"static/b", Modified}, {"static/a", Removed}, {"static/b", Modified}},
			want: []string{
				"https://m.acme.com/a", "https://m.acme.com/b", "https://www.acme.com/a", "https://www.acme.com/b", "tag:shell",
			},
		},
		{
			name: "unmatched", environment: "production",
			changes: []Change{{"z", Removed}, {"README", Modified}}, unmatched: []string{"README", "z"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := mustParse(t, acme).Plan(t.Context(), Query{Environment: c.environment, Changes: slices.Values(c.changes)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{}, c.want...), objectsOf(slices.Collect(plan.Targets()))); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.unmatched, plan.Unmatched); diff != "" {
				t.Errorf("unmatched (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanTellsTheFirstCause(t *testing.T) {
	file := mustParse(t, acme)
	changes := []Change{{"static/a", Modified}, {"content/b.md", Modified}, {"content/a/b.md", Modified}, {"other", Added}}
	want := []Target{
		{Kind: URL, Object: "https://m.acme.com/a", Action: Delete, Rule: "rule 2", Path: "static/a"},
		{Kind: URL, Object: "https://www.acme.com/a", Action: Delete, Rule: "rule 2", Path: "static/a"},
		{Kind: Tag, Object: "page-a", Action: Invalidate, Rule: "pages", Path: "content/a/b.md"},
		{Kind: Tag, Object: "page-b", Action: Invalidate, Rule: "pages", Path: "content/b.md"},
		{Kind: Tag, Object: "shell", Action: Invalidate, Rule: "pages", Path: "content/a/b.md"},
		{Kind: CPCode, Object: "3", Action: Invalidate, Rule: "pages", Path: "content/a/b.md"},
		{Kind: CPCode, Object: "20", Action: Invalidate, Rule: "pages", Path: "content/a/b.md"},
	}
	for range 20 { // the order of the changes does not matter
		rand.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
		plan, err := file.Plan(t.Context(), Query{Environment: "production", Rollback: true, Changes: slices.Values(changes)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, slices.Collect(plan.Targets())); diff != "" {
			t.Fatalf("targets of %v (-want +got):\n%s", changes, diff)
		}
	}
}

func TestRemovedPathsGoByTheOldRules(t *testing.T) {
	const shape = "version: 1\naction: %s\nenvironments: {%s: {hosts: [%s], branch: %s}}\nrules: [{name: %s, match: \"%s/**\", urls: [\"https://{host}/{branch}/{1}\"]}]\nunmatched: {tags: [\"%s-{file}\"], urls: [\"https://{host}/u/{file}\"]}\n"
	old := mustParse(t, fmt.Sprintf(shape, "delete", "live", "old.acme.com", "b1", "olds", "old", "oldu"))
	now := mustParse(t, fmt.Sprintf(shape, "invalidate", "Live", "new.acme.com", "b2", "news", "new", "newu"))
	other := mustParse(t, fmt.Sprintf(shape, "invalidate", "other", "other.acme.com", "b3", "others", "old", "otheru"))
	changes := []Change{{"old/r", Removed}, {"new/r", Removed}, {"old/a", Added}, {"new/m", Modified}}
	for _, c := range []struct {
		name string
		old  *File
		want []string
	}{
		{"both files", old, []string{
			"https://new.acme.com/b2/m", "https://new.acme.com/u/a", "https://old.acme.com/b1/r", "https://old.acme.com/u/r", "tag:newu-a", "tag:newu-r",
		}},
		{"no old file", nil, []string{
			"https://new.acme.com/b2/m", "https://new.acme.com/b2/r", "https://new.acme.com/u/a", "https://new.acme.com/u/r", "tag:newu-a", "tag:newu-r",
		}},
		{"an old file that does not know the environment", other, []string{
			"https://new.acme.com/b2/m", "https://new.acme.com/b2/r", "https://new.acme.com/u/a", "https://new.acme.com/u/r", "tag:newu-a", "tag:newu-r",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := now.Plan(t.Context(), Query{Environment: "LIVE", Old: c.old, Changes: slices.Values(changes)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, objectsOf(slices.Collect(plan.Targets()))); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			for _, target := range slices.Collect(plan.Targets()) {
				if target.Action != Invalidate {
					t.Errorf("%v goes by %s, the old file's action", target, target.Action)
				}
			}
		})
	}
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		file      string
		rollback  bool
		urls, tag Action
	}{
		{"", false, Invalidate, Invalidate},
		{"", true, Delete, Invalidate},
		{"action: delete", false, Delete, Delete},
		{"action: delete\nrollback_action: invalidate", true, Invalidate, Delete},
	} {
		file := mustParse(t, c.file+"\n"+oneRule("**", "https://{host}/{path}")+"    tags: [x]\n    cpcodes: [1]\n")
		plan, err := file.Plan(t.Context(), Query{Environment: "production", Rollback: c.rollback, Changes: slices.Values([]Change{{"a", Removed}})})
		if err != nil {
			t.Fatal(err)
		}
		want := []Action{c.urls, c.tag, c.tag}
		for i, target := range slices.Collect(plan.Targets()) {
			if target.Action != want[i] {
				t.Errorf("%q, rollback %v: %s goes by %s, not %s", c.file, c.rollback, target, target.Action, want[i])
			}
		}
		if plan.Action != c.urls {
			t.Errorf("%q, rollback %v: the plan says %s", c.file, c.rollback, plan.Action)
		}
	}
}

func TestLimits(t *testing.T) {
	rules := `version: 1
environments: {production: {hosts: [www.acme.com, m.acme.com]}}
rules:
  - {name: bad, match: "bad/*", urls: ["https://{1}.acme.com/"]}
  - {name: all, match: "**", urls: ["https://{host}/{path}"], tags: [mine], cpcodes: [1]}
limits:
  - {over: 6, instead: hold}
  - {over: 2, instead: {tags: ["all-{dir}", "on-{host}"], cpcodes: [7, 1]}}
  - {over: 4, instead: {tags: [mine, site]}}
`
	file := mustParse(t, rules)
	files := func(n int) (cs []Change) {
		for i := range n {
			cs = append(cs, Change{fmt.Sprintf("d%d/f", i), Modified})
		}
		return cs
	}
	for _, c := range []struct {
		name     string
		changes  []Change
		named    []string
		rollback bool
		urls     int
		want     []string // nil: the URLs stay
		limit    *Limit
		action   Action
	}{
		{name: "as many as the limit", changes: files(1), urls: 2, action: Invalidate},
		{
			name: "over the first", changes: files(2), urls: 4, limit: &Limit{Over: 2}, action: Invalidate,
			want: []string{"tag:all-d0", "tag:all-d1", "tag:mine", "tag:on-m.acme.com", "tag:on-www.acme.com", "cpcode:1", "cpcode:7"},
		},
		{
			name: "over the second", changes: files(3), urls: 6, limit: &Limit{Over: 4}, action: Invalidate,
			want: []string{"tag:mine", "tag:site", "cpcode:1"},
		},
		{name: "over all", changes: files(4), urls: 8, limit: &Limit{Over: 6, Hold: true}, action: Invalidate},
		{name: "a rollback is not held", changes: files(4), rollback: true, urls: 8, limit: &Limit{Over: 6, Hold: true, Waived: true}, action: Invalidate},
		{name: "a rollback under the limits", changes: files(1), rollback: true, urls: 2, action: Delete},
		{
			name: "a rollback over a limit", changes: files(3), rollback: true, urls: 6, limit: &Limit{Over: 4}, action: Delete,
			want: []string{"tag:mine", "tag:site", "cpcode:1"},
		},
		{
			name: "named URLs count once, and are not replaced", changes: files(1), named: []string{"https://www.acme.com/d0/f", "https://x/", "https://x/"},
			urls: 3, limit: &Limit{Over: 2}, action: Invalidate,
			want: []string{"tag:all-d0", "tag:mine", "tag:on-m.acme.com", "tag:on-www.acme.com", "cpcode:1", "cpcode:7"},
		},
		{
			name: "named URLs alone", named: []string{"https://1/", "https://2/", "https://3/", "https://4/", "https://5/", "https://6/", "https://7/"},
			urls: 7, limit: &Limit{Over: 6, Hold: true}, action: Invalidate, want: []string{},
		},
		{name: "what can't be sent is not counted", changes: []Change{{"bad/x#", Added}}, urls: 2, action: Invalidate},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := file.Plan(t.Context(), Query{Environment: "production", Rollback: c.rollback, Changes: slices.Values(c.changes), Named: c.named})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.limit, plan.Limit); diff != "" {
				t.Errorf("limit (-want +got):\n%s", diff)
			}
			if held := c.limit != nil && c.limit.Hold && !c.limit.Waived; plan.Held != held || plan.URLs != c.urls || plan.Action != c.action {
				t.Errorf("held %v, %d URLs, %s", plan.Held, plan.URLs, plan.Action)
			}
			got := objectsOf(slices.Collect(plan.Targets()))
			if c.want == nil {
				if n := strings.Count(strings.Join(got, " "), "https://"); n < c.urls {
					t.Errorf("%d URLs are left: %v", n, got)
				}
			} else if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnmatched(t *testing.T) {
	const head = "version: 1\nenvironments: {p: {hosts: [a.b]}}\nrules: [{match: x, tags: [x]}]\nunmatched: "
	for _, c := range []struct {
		rules string
		warn  bool
		want  []string
	}{
		{"ignore", false, []string{}},
		{"warn", true, []string{}},
		{`{tags: ["f-{name}"], cpcodes: [5], urls: ["https://{host}/{path}"]}`, false, []string{"https://a.b/d/y.z", "tag:f-y", "cpcode:5"}},
	} {
		plan, err := mustParse(t, head+c.rules).Plan(t.Context(), Query{Environment: "P", Changes: slices.Values([]Change{{"d/y.z", Removed}})})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, objectsOf(slices.Collect(plan.Targets()))); diff != "" {
			t.Errorf("%s: targets (-want +got):\n%s", c.rules, diff)
		}
		if plan.WarnUnmatched != c.warn || !slices.Equal(plan.Unmatched, []string{"d/y.z"}) {
			t.Errorf("%s: warn %v of %v", c.rules, plan.WarnUnmatched, plan.Unmatched)
		}
		for _, target := range slices.Collect(plan.Targets()) {
			if target.Rule != "unmatched" {
				t.Errorf("%s: %v is of %s", c.rules, target, target.Rule)
			}
		}
	}
}

// TestEnvironmentThatLooksLikeAGlob: a name that is written exactly as a key needs no
// glob.
func TestEnvironmentThatLooksLikeAGlob(t *testing.T) {
	file := mustParse(t, `version: 1
environments: {"site [x]": {}}
rules: [{match: a, environments: ["Site [x]"], tags: [t]}]
`)
	if got := planned(t, file, Query{Environment: "SITE [X]"}, Change{"a", Added}); !slices.Equal(got, []string{"tag:t"}) {
		t.Errorf("targets %v", got)
	}
}

func TestPlanIsBounded(t *testing.T) {
	file := mustParse(t, acme)
	for objects, want := range map[int]error{6: nil, 5: ErrTooLarge} {
		_, err := file.plan(Query{
			Environment: "production",
			Changes:     slices.Values([]Change{{"static/a", Added}, {"static/b", Added}}),
		}, &bounds{objects: objects, work: glob.NewWork(t.Context(), 1_000_000)}, nil)
		if !errors.Is(err, want) {
			t.Errorf("with %d objects allowed: %v", objects, err)
		}
	}
}

// TestSlowGlobsAreRefused: globs are written to be slow, and paths are written for them.
func TestSlowGlobsAreRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nenvironments: {p: {}}\nrules:\n")
	for i := range 40 {
		fmt.Fprintf(&b, "- {match: '**/%s%d[/]', tags: [x]}\n", strings.Repeat("{a,*a}", 7), i)
	}
	long := strings.Repeat("/"+strings.Repeat("a", 30), 100)
	file := mustParse(t, b.String())
	left := bounds{objects: 1, work: glob.NewWork(t.Context(), 30_000_000)}
	paths := 0
	_, err := file.plan(Query{Environment: "p", Changes: func(yield func(Change) bool) {
		for paths = 1; yield(Change{fmt.Sprint(paths) + long, Added}); paths++ {
		}
	}}, &left, nil)
	if !errors.Is(err, ErrTooSlow) {
		t.Errorf("%v after %d paths", err, paths)
	}
}

// TestFileServesGoroutines uses one File in several goroutines, for the race detector.
func TestFileServesGoroutines(t *testing.T) {
	file := mustParse(t, acme)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				path := fmt.Sprintf("static/%d/%d", i, j)
				plan, err := file.Plan(t.Context(), Query{Environment: "production", Changes: slices.Values([]Change{{path, Added}, {"content/a.md", Removed}})})
				if err != nil || plan.Len() != 6 {
					t.Errorf("plan of %s: %v, %v", path, slices.Collect(plan.Targets()), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestUsesRepository(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  bool
	}{
		{acme, false},
		{oneRule("**", "tag:{owner}"), true},
		{oneRule("**", "https://{host}/{repo}"), true},
		{oneRule("**", "tag:x") + "unmatched: {tags: [\"{repo}\"]}", true},
		{oneRule("**", "tag:x") + "limits: [{over: 1, instead: {tags: [\"{repo}\"]}}]", true},
	} {
		if got := mustParse(t, c.rules).UsesRepository(); got != c.want {
			t.Errorf("%v for:\n%s", got, c.rules)
		}
	}
}

// TestPlanMemory: the plan of 100,000 changed files stays far below 200 MiB.
func TestPlanMemory(t *testing.T) {
	file := mustParse(t, oneRule("content/**/*.md", "https://{host}/{1}/{2}/"))
	changes := func(yield func(Change) bool) {
		for i := range 100_000 {
			if !yield(Change{fmt.Sprintf("content/section-%d/some-page-with-a-usual-name-%d.md", i/100, i), Modified}) {
				return
			}
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	plan, err := file.Plan(t.Context(), Query{Environment: "production", Changes: changes})
	runtime.ReadMemStats(&after)
	if err != nil || plan.Len() != 100_000 {
		t.Fatalf("%d targets, %v", plan.Len(), err)
	}
	// Everything that was ever allocated is more than what was held at once.
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 150 {
		t.Errorf("100,000 files allocate %d MiB in all", got)
	}
}
