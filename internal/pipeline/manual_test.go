package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/glob"
)

// TestPatternsOfAComment matches patterns with 60,000 files. Patterns that are made to be
// slow are refused within the steps of one comment; usual ones are not.
func TestPatternsOfAComment(t *testing.T) {
	files := func(yield func(string) bool) {
		for i := range 60_000 {
			if !yield(fmt.Sprintf("content/docs/%d/%s/page-%d.md", i%600, strings.Repeat("a", 40), i)) {
				return
			}
		}
	}
	many := func(pattern string) (all []string) {
		for i := range 50 {
			all = append(all, fmt.Sprintf(pattern, i))
		}
		return all
	}
	for _, c := range []struct {
		name     string
		patterns []string
		want     error
	}{
		{"every file", []string{"**"}, nil},
		{"fifty usual ones", many("content/docs/%d/**/page-*.{md,mdx}"), nil},
		{"braces of nothing", many("**/{" + strings.Repeat(",", 100) + "}{,}[^b]*x%d"), glob.ErrTooMuch},
		{"classes", many("**/" + strings.Repeat("*[^b]", 20) + "b%d"), glob.ErrTooMuch},
	} {
		t.Run(c.name, func(t *testing.T) {
			work := glob.NewWork(t.Context(), commandSteps)
			if _, err := matching(files, c.patterns, work); !errors.Is(err, c.want) {
				t.Errorf("%v, %d steps left", err, work.Left)
			}
		})
	}
}

func TestNear(t *testing.T) {
	all := []string{"content/docs/a.md", "content/Docs/b c.md", "deep/intro.md", ".github/workflows/x.yml"}
	for pattern, want := range map[string][]string{
		"content/docs":       {"/purge content/docs/**"},
		"content/docs/":      {"/purge content/docs/**"},
		"www.acme.com/docs/": {"/purge https://www.acme.com/docs/"},
		"content/docs/*.md":  nil,
		"content/docs/A":     {"/purge content/docs/a.md"},
		"content/docs/b c":   {`/purge "content/Docs/b c.md"`},
		"intro.md":           {"/purge deep/intro.md"},
		".github/workflows":  {"/purge .github/workflows/**"},
		"12345":              {"/purge cpcode:12345"},
		"content/missing.md": nil,
	} {
		if got := near(slices.Values(all), pattern); !slices.Equal(got, want) {
			t.Errorf("near(%q) = %q, want %q", pattern, got, want)
		}
	}
}

// Patterns that purge nothing are told apart from files that a working pattern leaves
// out.
func TestLacking(t *testing.T) {
	all := []string{"content/a.md", "content/notes.txt", "README.md", "purge-rules.yaml"}
	f, err := matching(slices.Values(all), []string{"content/**", "README.md", "none.md", "purge-rules.yaml"}, glob.NewWork(t.Context(), commandSteps))
	if err != nil {
		t.Fatal(err)
	}
	l, others := f.lacking([]string{"content/notes.txt", "README.md"})
	if !slices.Equal(l.NoFile, []string{"none.md"}) || !slices.Equal(l.NoRule, []string{"README.md", "purge-rules.yaml"}) || !slices.Equal(others, []string{"content/notes.txt"}) {
		t.Errorf("%+v, others %q", l, others)
	}
}
