package docs

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/needs"
)

const root = ".."

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

// Every link within the project leads to a file, and to a heading of it.
func TestPagesLinkToWhatExists(t *testing.T) {
	pages := pagesOf(t)
	code := regexp.MustCompile("``.*?``|`[^`\n]*`") // what stands in code is no link
	for name, text := range pages {
		for _, m := range regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`).FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			target := m[1]
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

// The tests that the pages cite exist; each promise of the README and most of the
// security page's claims cite one.
func TestPagesCiteTests(t *testing.T) {
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
	pages := pagesOf(t)
	for page, text := range pages {
		cited := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(text, -1)
		for _, m := range cited {
			if !strings.Contains(sources.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
		if page == "docs/security.md" && len(cited) < 20 {
			t.Errorf("the security page cites %d tests", len(cited))
		}
	}
	_, promises, _ := strings.Cut(pages["README.md"], "## What it promises")
	promises, _, _ = strings.Cut(promises, "## Limits")
	for _, promise := range regexp.MustCompile(`(?m)^\* .*$`).FindAllString(promises, -1) {
		if !strings.Contains(promise, "`Test") {
			t.Errorf("no test is named beside %q", promise)
		}
	}
}

// The pages tell an operator to tick what purgebot setup asks for, and no other.
func TestPagesTellWhatTheAppNeeds(t *testing.T) {
	pages := pagesOf(t)
	var table strings.Builder
	table.WriteString("| for | repository permissions | events | |\n| --- | --- | --- | --- |\n")
	for _, n := range needs.All() {
		var permissions, events []string
		for _, p := range n.Permissions {
			permissions = append(permissions, needs.Title(p.Name)+": "+p.Level)
		}
		for _, e := range n.Events {
			events = append(events, needs.Title(e))
		}
		when := "always"
		if n.Option != "" {
			when = "`setup --with " + n.Option + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", n.Feature, strings.Join(permissions, ", "), strings.Join(events, ", "), when)
	}
	if !strings.Contains(pages["docs/github.md"], "<!-- needs -->\n"+table.String()+"<!-- end -->\n") {
		t.Errorf("docs/github.md has not this table between <!-- needs --> and <!-- end -->:\n%s", table.String())
	}

	asked := needs.Ask(needs.Chosen())
	byLevel := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(asked.Permissions)) {
		level := asked.Permissions[name]
		byLevel[level] = append(byLevel[level], needs.Title(name))
	}
	var events []string
	for _, e := range asked.Events {
		events = append(events, needs.Title(e))
	}
	sentence := fmt.Sprintf("By hand: repository permissions to read: %s; to write: %s; events: %s.",
		strings.Join(byLevel["read"], ", "), strings.Join(byLevel["write"], ", "), strings.Join(events, ", "))
	if !strings.Contains(pages["README.md"], sentence) {
		t.Errorf("README.md does not say: %s", sentence)
	}
}

// The page of the rooms names every package, and no other.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	page := pagesOf(t)["docs/architecture.md"]
	_, table, _ := strings.Cut(page, "## The rooms")
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^(?:\\| )?((?:`[a-z/]+`(?:, )?)+)").FindAllStringSubmatch(table, -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			named[strings.Trim(name, "`")] = true
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		name, err := filepath.Rel(root, filepath.Dir(path))
		if name = filepath.ToSlash(name); err == nil && name != "docs" && !named[name] {
			t.Errorf("the page has no %s", name)
			named[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range named {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("the page names %s: %v", name, err)
		}
	}
}

// The pictures of the states are made of the ledger's transitions.
func TestArchitectureDrawsTheTransitions(t *testing.T) {
	want := "<!-- transitions -->\n" +
		picture("environment", ledger.Environments()) + picture("purge", ledger.Purges()) + picture("target", ledger.Targets()) +
		picture("request", ledger.Requests()) + picture("proof", ledger.Proofs()) + "\n<!-- end -->"
	if !strings.Contains(pagesOf(t)["docs/architecture.md"], want) {
		t.Errorf("docs/architecture.md has not:\n%s", want)
	}
}

// picture draws transitions; those between the same two states are one arrow.
func picture[S ~string](noun string, all ledger.Transitions[S]) string {
	text := "\nOf " + noun + "s:\n\n```mermaid\nstateDiagram-v2\n"
	drawn := map[string]bool{}
	for _, one := range all {
		from, to := cmp.Or(string(one.From), "[*]"), string(one.To)
		if drawn[from+to] {
			continue
		}
		drawn[from+to] = true
		var events []string
		for _, other := range all {
			if other.From == one.From && other.To == one.To {
				events = append(events, string(other.On))
			}
		}
		text += "  " + from + " --> " + to + ": " + strings.Join(events, " / ") + "\n"
	}
	return text + "```\n"
}
