package report_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

func urls(rule string, objects ...string) (targets []mapping.Target) {
	for _, o := range objects {
		targets = append(targets, mapping.Target{Kind: mapping.URL, Object: o, Action: mapping.Invalidate, Rule: rule, Path: "content/x.md"})
	}
	return targets
}

func pages(n int) (targets []mapping.Target) {
	for i := range n {
		targets = append(targets, urls("pages", fmt.Sprintf("https://www.acme.com/page/%05d/", i))...)
	}
	return targets
}

const smuggled = "](https://evil.example) @octocat #1 <img src=x> ` | <!-- \u202e"

func TestPreviewWords(t *testing.T) {
	deleted := mapping.Target{Kind: mapping.Tag, Object: "acme-shell", Action: mapping.Delete, Rule: "shell", Path: "layouts/base.html"}
	refused := mapping.Target{
		Kind: mapping.URL, Object: "https://www.other.com/", Action: mapping.Invalidate, Rule: "other", Path: "x",
		Reason: "policy doesn't allow host www.other.com for acme/site",
	}
	base := report.Preview{Base: "main", SHA: "0123456789abcdef0123456789abcdef01234567", Files: 3}
	for name, change := range map[string]func(*report.Preview){
		"preview": func(p *report.Preview) {
			p.Environments = []report.PreviewEnvironment{
				{Name: "production", Network: mapping.Production, Targets: append(urls("pages", "https://www.acme.com/a/", "https://www.acme.com/b/"), deleted, refused)},
				{Name: "staging", Network: mapping.Staging},
			}
			p.Unmatched = []string{"notes.txt", "README.md"}
		},
		"preview-folded": func(p *report.Preview) {
			p.Environments = []report.PreviewEnvironment{{Name: "production", Network: mapping.Production, Targets: pages(12)}}
		},
		"preview-limit": func(p *report.Preview) {
			p.Environments = []report.PreviewEnvironment{
				{Name: "production", Network: mapping.Production, Targets: []mapping.Target{deleted}, URLs: 2400, Limit: &mapping.Limit{Over: 2000}},
				{
					Name: "staging", Network: mapping.Staging, Targets: pages(2), URLs: 2, Limit: &mapping.Limit{Over: 1, Hold: true},
					Held: "limit 1",
				},
			}
		},
		"preview-huge": func(p *report.Preview) {
			p.Files, p.Cut = 3000, true
			p.Environments = []report.PreviewEnvironment{{Name: "production", Network: mapping.Production, Fault: mapping.ErrTooLarge.Error()}}
		},
		"preview-broken-base": func(p *report.Preview) { p.Fault = "purge-rules.yaml:12:9: no such thing" },
		"preview-rules-broken": func(p *report.Preview) {
			p.Environments = []report.PreviewEnvironment{{Name: "production", Network: mapping.Production}}
			p.Rules = &report.PreviewRules{Path: "purge-rules.yaml", Faults: mapping.Faults{
				{Line: 3, Column: 7, Severity: mapping.Error, Message: `unknown key "hots"; did you mean "hosts"?`},
				{Line: 9, Column: 1, Severity: mapping.Warning, Message: "this rule can never match"},
			}}
		},
		"preview-rules-changed": func(p *report.Preview) {
			p.Environments = []report.PreviewEnvironment{{Name: "production", Network: mapping.Production, Targets: pages(1)}}
			p.Rules = &report.PreviewRules{Path: "purge-rules.yaml", Reach: []mapping.RuleReach{
				{Rule: "pages", Files: 12_400, Excluded: 3}, {Rule: "a|b"},
			}, Changes: []report.RulesChange{
				{Environment: "production", More: urls("new", "https://www.acme.com/new/"), Less: pages(1)},
				{Environment: "staging", Added: true, More: pages(2)},
				{Environment: "old", Dropped: true},
			}}
		},
		"preview-shared": func(p *report.Preview) {
			p.Shared = "acme/.github@89abcde"
			p.Environments = []report.PreviewEnvironment{{Name: "production", Network: mapping.Production, Targets: pages(1)}}
		},
		"preview-rules-gone":  func(p *report.Preview) { p.Rules = &report.PreviewRules{Path: "purge-rules.yaml", Gone: true} },
		"preview-rules-first": func(p *report.Preview) { p.SHA, p.Rules = "", &report.PreviewRules{Path: "purge-rules.yaml"} },
		"preview-smuggled": func(p *report.Preview) {
			p.Base = smuggled
			p.Environments = []report.PreviewEnvironment{{
				Name: smuggled, Network: mapping.Production, Held: smuggled,
				Targets: append(urls(smuggled, smuggled), mapping.Target{Kind: mapping.Tag, Object: smuggled, Rule: smuggled, Path: smuggled, Reason: smuggled}),
			}}
			p.Unmatched = []string{smuggled}
			p.Rules = &report.PreviewRules{
				Path: smuggled, Faults: mapping.Faults{{Line: 1, Column: 1, Severity: mapping.Warning, Message: smuggled}},
				Changes: []report.RulesChange{{Environment: smuggled, More: urls(smuggled, smuggled)}, {Environment: "x", BeyondCompare: smuggled}},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := base
			change(&p)
			c := p.Check()
			golden(t, name, fmt.Sprintf("%s\n%s\n---\n%s\n---\n%s\n", c.Conclusion, c.Title, c.Summary, c.Text))
			if alive := strings.Contains(c.Summary+c.Text+c.Title, "@octocat"); alive {
				t.Error("a mention is alive")
			}
		})
	}
}

// The listing has the whole preview, and each entry is one line.
func TestPreviewListing(t *testing.T) {
	p := report.Preview{
		Base: "main", SHA: "0123456789", Files: 3000, Cut: true, Unmatched: []string{"notes.txt", "a\nb\t\u202ec"},
		Environments: []report.PreviewEnvironment{{Name: "production", Network: mapping.Production, Targets: append(pages(1400), mapping.Target{
			Kind: mapping.Tag, Object: "x", Rule: "a\tb", Path: "layouts/x", Reason: "policy doesn't allow tag x for acme/site", Action: mapping.Invalidate,
		})}},
	}
	golden(t, "preview-listing", cutMiddle(p.Listing(), 8, 6))
	p.Link = "https://purgebot.acme.com/previews/k"
	for name, text := range map[string]string{"summary": p.Check().Summary, "text": p.Check().Text} {
		if linked := strings.Contains(text, "[Full details]("+p.Link+")."); linked != strings.Contains(text, "no more text here") || !p.Check().Cut() {
			t.Errorf("the %s is cut and does not link to the whole:\n%s", name, text[max(0, len(text)-300):])
		}
	}
	p.Environments[0].Targets = p.Environments[0].Targets[:1]
	if c := p.Check(); c.Cut() || strings.Contains(c.Summary+c.Text, p.Link) {
		t.Error("a short one links to the whole")
	}
}

// cutMiddle leaves the first and the last lines.
func cutMiddle(text string, first, last int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	return strings.Join(lines[:first], "") + fmt.Sprintf("(%d lines)\n", len(lines)-first-last) + strings.Join(lines[len(lines)-last:], "")
}

// Whatever the number of objects, each text fits, no tag stays open, and what
// was left out is said.
func TestPreviewIsCutCleanly(t *testing.T) {
	for _, n := range []int{600, 700, 705, 710, 800, 20_000} {
		p := report.Preview{Base: "main", SHA: "0123456789", Environments: []report.PreviewEnvironment{
			{Name: "production", Network: mapping.Production, Targets: pages(n)},
			{Name: "staging", Network: mapping.Staging, Targets: pages(n)},
		}}
		for i := range n {
			p.Unmatched = append(p.Unmatched, fmt.Sprintf("a/rather/long/folder/of/files/that/no/rule/matches/%05d.txt", i))
		}
		c := p.Check()
		for name, text := range map[string]string{"summary": c.Summary, "text": c.Text} {
			size, open := utf8.RuneCountInString(text), strings.Count(text, "<details>")-strings.Count(text, "</details>")
			if size > report.MaxCheckText || open != 0 {
				t.Errorf("%d objects: the %s has %d characters and %d open tags", n, name, size, open)
			}
			rows := strings.Count(text, "| `https://") + strings.Count(text, "- `a/rather")
			want := n
			if name == "text" {
				want = 2 * n
			}
			if said := strings.Contains(text, "no more text here"); said != (rows < want) {
				t.Errorf("%d objects: the %s has %d rows of %d, and says that it is cut: %t", n, name, rows, want, said)
			}
		}
	}
}

func TestPreviewAnnotationsAreBounded(t *testing.T) {
	r := &report.PreviewRules{Path: "purge-rules.yaml"}
	for i := range 5000 {
		r.Faults = append(r.Faults, mapping.Fault{Line: i + 1, Column: 1, Severity: mapping.Error, Message: "wrong"})
	}
	c := report.Preview{Base: "main", Rules: r}.Check()
	if len(c.Annotations) != 200 || c.Conclusion != "failure" || !strings.HasPrefix(c.Title, "5000 errors") {
		t.Errorf("%d annotations, %s %q", len(c.Annotations), c.Conclusion, c.Title)
	}
}
