package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// pagesOf reads the project's Markdown pages, by their paths from its root.
func pagesOf(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			pages[filepath.ToSlash(name)] = string(text)
		}
	}
	if len(pages) < 10 {
		t.Fatalf("%d pages", len(pages))
	}
	return pages
}

// Every link within the project leads to a file, and to a heading of it; every
// picture is shown somewhere, with words for those who can't see it.
func TestPagesLinkToWhatExists(t *testing.T) {
	pages := pagesOf(t)
	shown := map[string]bool{}
	for name, text := range pages {
		for _, m := range regexp.MustCompile(`(!?)\[([^\]]*)\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			picture, words, target := m[1] == "!", m[2], m[3]
			if strings.Contains(target, "://") {
				continue
			}
			path, fragment, _ := strings.Cut(target, "#")
			if path = filepath.ToSlash(filepath.Join(filepath.Dir(name), path)); strings.HasPrefix(target, "#") {
				path = name
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s: %v", name, target, err)
			}
			if fragment != "" && !slices.Contains(anchors(pages[path]), fragment) {
				t.Errorf("%s links to %s: there is no such heading", name, target)
			}
			if picture {
				shown[path] = true
				if len(words) < 20 {
					t.Errorf("%s shows %s without saying in words what there is to see", name, target)
				}
			}
		}
	}
	pictures, err := filepath.Glob(filepath.Join(picturesDir, "*"))
	if err != nil || len(pictures) == 0 {
		t.Fatalf("%d pictures, %v", len(pictures), err)
	}
	for _, file := range pictures {
		if name := "docs/pictures/" + filepath.Base(file); !shown[name] {
			t.Errorf("no page shows %s", name)
		}
	}
}

// anchors are the headings of a page as GitHub makes fragments of them.
func anchors(page string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return all
}

// The tests that the security page cites exist.
func TestSecurityPageCitesTests(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		sources.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(pagesOf(t)["docs/security.md"], -1)
	if len(cited) < 20 {
		t.Errorf("the page cites %d tests", len(cited))
	}
	for _, m := range cited {
		if !strings.Contains(sources.String(), "\nfunc "+m[1]+"(") {
			t.Errorf("there is no %s", m[1])
		}
	}
}
