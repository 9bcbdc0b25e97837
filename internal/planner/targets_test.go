package planner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/mapping"
)

const head = `version: 1
environments:
  production: {hosts: [www.acme.com]}
rules:
- {match: 'content/**/*.md', urls: ['https://{host}/{1}/{2}/']}
- {match: 'codes/*', cpcodes: [12345, 12346]}
- {match: 'other/*', urls: ['https://m.acme.com/{1}']}
`

func parse(t *testing.T, source string) *mapping.File {
	t.Helper()
	file, faults := mapping.Parse([]byte(source))
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return file
}

func granted(change func(*policy.Entry)) policy.Grant {
	e := policy.NewEntry()
	e.Repositories, e.Hosts, e.Tags, e.CPCodes = []string{"acme/*"}, []string{"www.acme.com"}, []string{"acme-*"}, []int64{12345, 12346}
	if change != nil {
		change(&e)
	}
	return policy.Policy{e}.For("acme/site")
}

func files(paths ...string) (all []mapping.Change) {
	for _, path := range paths {
		all = append(all, mapping.Change{Path: path, Op: mapping.Modified})
	}
	return all
}

// TestMapHolds shows which purges wait for a person, and which never do.
func TestMapHolds(t *testing.T) {
	held := func(deletes, codes int) func(*policy.Entry) {
		return func(e *policy.Entry) { e.HoldOver = policy.HoldOver{Delete: deletes, CPCode: codes} }
	}
	barred := func(e *policy.Entry) { e.Deploys.Delete = false }
	limit := "limits: [{over: 1, instead: hold}]\n"
	two := files("content/a/b.md", "content/a/c.md")
	for _, c := range []struct {
		name   string
		rules  string
		grant  func(*policy.Entry)
		change Change
		held   string
		action mapping.Action // of the first target
	}{
		{"nothing bounds it", "", nil, Change{Files: two}, "", mapping.Invalidate},
		{"the rules' limit", limit, nil, Change{Files: two}, "limit 1", mapping.Invalidate},
		{"not over the rules' limit", limit, nil, Change{Files: two[:1]}, "", mapping.Invalidate},
		{"CP codes above the operator's bound", "", held(0, 1), Change{Files: files("codes/x")}, "2 CP codes, limit 1", mapping.Invalidate},
		{"CP codes within it", "", held(0, 2), Change{Files: files("codes/x")}, "", mapping.Invalidate},
		{"deletes above it", "action: delete\n", held(1, 0), Change{Files: two}, "2 deletes, limit 1", mapping.Delete},
		{"a rollback above the rules' limit", limit, nil, Change{Files: two, Rollback: true}, "", mapping.Invalidate},
		{"a rollback of CP codes above the operator's bound", "", held(0, 1), Change{Files: files("codes/x"), Rollback: true}, "", mapping.Invalidate},
		{"a rollback's deletes within it", "", held(2, 1), Change{Files: two, Rollback: true}, "", mapping.Delete},
		{"a rollback's deletes above it go by action", "", held(1, 1), Change{Files: two, Rollback: true}, "", mapping.Invalidate},
		{
			"a rollback whose deletes policy bars go by action", "",
			barred,
			Change{Files: two, Rollback: true},
			"", mapping.Invalidate,
		},
		{
			"what was done already holds nothing up", limit, nil,
			Change{Files: two, Done: func(_ mapping.Kind, object string, _ mapping.Action) bool {
				return object == "https://www.acme.com/a/b/"
			}},
			"", mapping.Invalidate,
		},
		{
			"what a person names counts", limit, nil,
			Change{Files: two[:1], Objects: []mapping.Target{{Kind: mapping.URL, Object: "https://www.acme.com/x"}}},
			"limit 1", mapping.Invalidate,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.change.Environment = "production"; len(c.change.Objects) == 0 {
				c.change.By = policy.Deployment()
			} else {
				c.change.By, c.change.Action = policy.Person("ann", policy.Admin), mapping.Invalidate
			}
			got, err := mapTargets(t.Context(), ledger.Repository{Owner: "acme", Name: "site"}, parse(t, head+c.rules), granted(c.grant), c.change, nil)
			if err != nil {
				t.Fatal(err)
			}
			all := slices.Collect(got.Judged())
			if got.Held != c.held || len(all) != got.Len() || all[0].Action != c.action || all[0].Reason != "" {
				t.Errorf("held %q, %d of %+v", got.Held, got.Len(), all)
			}
		})
	}
}

// TestMapJudges shows that each target has its verdict, and that the account covers all
// targets.
func TestMapJudges(t *testing.T) {
	change := Change{
		Environment: "production", Files: files("content/a/b.md", "other/x", "codes/x"),
		By: policy.Person("ann", policy.Write), Action: mapping.Invalidate,
		Objects: []mapping.Target{
			{Kind: mapping.URL, Object: "https://www.acme.com/a/b/"},
			{Kind: mapping.Tag, Object: "acme-x"},
			{Kind: mapping.Tag, Object: "acme-x"},
		},
	}
	got, err := mapTargets(t.Context(), ledger.Repository{Owner: "acme", Name: "site"}, parse(t, head), granted(nil), change, nil)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for target := range got.Judged() {
		lines = append(lines, target.String()+": "+target.Reason)
	}
	want := []string{
		"https://m.acme.com/x: policy doesn't allow host m.acme.com for acme/site",
		"https://www.acme.com/a/b/: ",
		"cpcode:12345: purging a CP code needs the admin role and ann has write",
		"cpcode:12346: purging a CP code needs the admin role and ann has write",
		"tag:acme-x: ",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
	if got.Counts != (ledger.Counts{URLs: 1, Tags: 1}) || got.Judge.Refused != 3 || !got.Judge.Enough || got.Judge.Need != policy.Admin {
		t.Errorf("%+v, %+v", got.Counts, got.Judge)
	}
}

// TestMapBoundsWhatPolicyRefuses: some of it is there to read and to retry,
// the rest is counted.
func TestMapBoundsWhatPolicyRefuses(t *testing.T) {
	var many []mapping.Change
	for i := range 10_050 {
		many = append(many, mapping.Change{Path: fmt.Sprintf("other/%d", i), Op: mapping.Added})
	}
	got, err := mapTargets(t.Context(), ledger.Repository{Owner: "acme", Name: "site"}, parse(t, head), granted(nil),
		Change{Environment: "production", Files: many, By: policy.Deployment()}, nil)
	if err != nil || got.Len() != 10_000 || got.Judge.Allowed != 0 || got.words() != "and 50 more that policy doesn't allow" {
		t.Errorf("%d targets, %d allowed, %q, %v", got.Len(), got.Judge.Allowed, got.words(), err)
	}
}

// TestAgain: the targets of an earlier purge are judged and held as new ones.
func TestAgain(t *testing.T) {
	p := New(Config{Policy: func() policy.Policy { return policy.Policy{policy.Entry{}} }})
	e := policy.NewEntry()
	e.Repositories, e.Hosts, e.HoldOver = []string{"acme/*"}, []string{"www.acme.com"}, policy.HoldOver{Delete: 1}
	p.Policy = func() policy.Policy { return policy.Policy{e} }
	url := func(host string, action mapping.Action) mapping.Target {
		return mapping.Target{Kind: mapping.URL, Object: "https://" + host + "/a", Action: action, Path: "a"}
	}
	for _, c := range []struct {
		name     string
		rollback bool
		earlier  []mapping.Target
		limits   string
		allowed  int
		held     string
	}{
		{"as they were", false, []mapping.Target{url("www.acme.com", mapping.Invalidate)}, "", 1, ""},
		{"what policy refuses by now", false, []mapping.Target{url("www.acme.com", mapping.Invalidate), url("m.acme.com", mapping.Invalidate)}, "", 1, ""},
		{
			"deletes above the bound", false,
			[]mapping.Target{url("www.acme.com", mapping.Delete), url("www.acme.com", mapping.Delete)},
			"", 2, "2 deletes, limit 1",
		},
		{"a rollback's", true, []mapping.Target{url("www.acme.com", mapping.Delete), url("www.acme.com", mapping.Delete)}, "", 2, ""},
		{
			"above the rules' limit", false,
			[]mapping.Target{url("www.acme.com", mapping.Invalidate), url("www.acme.com", mapping.Invalidate)},
			"limits: [{over: 1, instead: hold}]\n", 2, "limit 1",
		},
	} {
		got := p.Again(ledger.Repository{Owner: "acme", Name: "site"}, parse(t, head+c.limits), c.rollback, slices.Values(c.earlier))
		if got.Len() != len(c.earlier) || got.Judge.Allowed != c.allowed || got.Held != c.held {
			t.Errorf("%s: %d targets, %d allowed, held %q", c.name, got.Len(), got.Judge.Allowed, got.Held)
		}
	}
}
