package mapping

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReach(t *testing.T) {
	file := mustParse(t, `version: 1
environments: {p: {hosts: [a.example]}}
rules:
  - {name: pages, match: content/**/*.md, exclude: [content/drafts/**, content/old/**], tags: [a]}
  - {match: [Content/**, static/**], tags: [b]}
  - {match: content/docs, tags: [c]}
  - {match: "app/[slug]/page.tsx", tags: [d]}
  - {match: "app/[lang]*/page.tsx", tags: [e]}
  - {match: "caf`+"\u00e9"+`/*", tags: [f]}
  - {match: nothing/**, exclude: nothing/at/all, tags: [g]}
  - {match: "!x", tags: [h]}
  - {match: purge-rules.yaml/**, tags: [i]}
  - {match: [content/draft/**, contents/*.md, content/*.html], tags: [j]}
tests:
  - {file: content/a.md, purges: [tag:a]}
  - {file: content/b.md, purges: [tag:a]}
  - {file: content/gone.md, change: removed, purges: [tag:a]}
`)
	files := []string{
		"content/a.md", "content/docs/b.md", "content/drafts/c.md", "static/x", "app/[slug]/page.tsx", "app/[lang]/page.tsx", "app/lx/page.tsx",
		"cafe\u0301/x", "purge-rules.yaml",
	}
	rules, warnings, err := file.Reach(t.Context(), slices.Values(files))
	if err != nil {
		t.Fatal(err)
	}
	want := `R:4:72: warning: the exclude "content/old/**" takes no file out: there is no folder "content/old"
R:5:14: warning: the glob "Content/**" fits no file: upper and lower case differ, and there is "content/a.md"
R:6:13: warning: the glob "content/docs" fits no file, as it is a folder's name: write content/docs/**
R:7:13: warning: the glob "app/[slug]/page.tsx" fits no file: "[" begins a class of characters; for the folder itself write app/\[slug\]/page.tsx
R:8:13: warning: the glob "app/[lang]*/page.tsx" does not mean the folder of that name: "[" begins a class of characters; for the folder itself write app/\[lang\]*/page.tsx
R:9:13: warning: the glob "caf` + "\u00e9" + `/*" fits no file: it has its accents in another Unicode form than "cafe` + "\u0301" + `/x"; copy the name from there
R:10:13: warning: the glob "nothing/**" fits no file: there is no folder "nothing"
R:12:13: warning: the glob "purge-rules.yaml/**" fits no file: there is no folder "purge-rules.yaml"
R:13:14: warning: the glob "content/draft/**" fits no file: there is no folder "content/draft"; did you mean "content/drafts"?
R:13:32: warning: the glob "contents/*.md" fits no file: there is no folder "contents"; did you mean "content"?
R:13:47: warning: the glob "content/*.html" fits no file
R:16:5: warning: the test is about "content/b.md", and there is no such file
`
	if diff := cmp.Diff(want, warnings.In("R")); diff != "" {
		t.Error(diff)
	}
	if rules[0] != (RuleReach{Rule: "pages", Line: 4, Files: 2, Excluded: 1}) || rules[1].Files != 1 || rules[6].Files != 0 {
		t.Errorf("%+v", rules)
	}
}
