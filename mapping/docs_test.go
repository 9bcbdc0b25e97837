package mapping

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const rulesPage = "../docs/rules.md"

func TestRulesPage(t *testing.T) {
	blocks := codeBlocks(readDoc(t, rulesPage), "yaml")
	if len(blocks) < 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(block, "\nextends:") { // such a file needs the one that it extends
			checkRules(t, block)
		}
	}
}

func TestRulesPageMatch(t *testing.T) {
	for _, row := range docTable(t, rulesPage, "match", "path", "{1}") {
		pattern, path := code(row[0]), code(row[1])
		t.Run(pattern+" "+path, func(t *testing.T) {
			g, err := compileGlob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			if row[2] == "*no match*" {
				if g.Match(path, nil) {
					t.Error("matches")
				}
				return
			}
			if !g.Match(path, nil) {
				t.Fatal("no match")
			}
			var want []string
			for _, cell := range row[2:] {
				if cell != "" {
					want = append(want, strings.TrimSuffix(code(cell), "*(empty)*"))
				}
			}
			if diff := cmp.Diff(want, g.Captures(path, nil)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRulesPageTemplates(t *testing.T) {
	used := map[string]bool{}
	for _, row := range docTable(t, rulesPage, "match", "write", "changed file", "purges") {
		template := code(row[1])
		t.Run(template+" "+code(row[2]), func(t *testing.T) {
			for _, name := range placeholders() {
				if strings.Contains(template, "{"+name+"}") {
					used[name] = true
				}
			}
			kind := "tags"
			if strings.HasPrefix(template, "https:") {
				kind = "urls"
			}
			f, faults := Parse([]byte("version: 1\nenvironments: {production: {hosts: [www.acme.com]}}\nrules: [{match: '" +
				code(row[0]) + "', " + kind + ": ['" + template + "']}]"))
			if row[3] == "*an error*" {
				if !faults.HasErrors() {
					t.Error("no error")
				}
				return
			}
			if faults.HasErrors() {
				t.Fatal(faults.In("page"))
			}
			plan, err := f.Plan(t.Context(), Query{
				Environment: "production", Owner: "acme", Repo: "site", DefaultBranch: "main",
				Changes: slices.Values([]Change{{Path: code(row[2]), Op: Modified}}),
			})
			if err != nil || plan.Len() != 1 || slices.Collect(plan.Targets())[0].Reason != "" || slices.Collect(plan.Targets())[0].String() != code(row[3]) {
				t.Errorf("%+v, %v", slices.Collect(plan.Targets()), err)
			}
		})
	}
	for _, name := range placeholders() {
		if !used[name] {
			t.Errorf("{%s} is not in the table", name)
		}
	}
}

func TestRulesPageFilters(t *testing.T) {
	explained := map[string]bool{}
	for _, row := range docTable(t, rulesPage, "filter", "what it does", "of", "becomes") {
		name := code(row[0])
		explained[name] = true
		of, want := strings.ReplaceAll(code(row[2]), "é` in two", "e\u0301"), strings.ReplaceAll(code(row[3]), "é` in one", "é")
		if name == string(encodeFilter) {
			continue // those are checked with the templates
		}
		if got := filter(name).apply(of); got != want {
			t.Errorf("%s of %q: %q, want %q", name, of, got, want)
		}
	}
	for _, name := range filterNames() {
		if !explained[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

func TestRulesPageFaults(t *testing.T) {
	page := readDoc(t, rulesPage)
	broken, words := codeBlocks(page, "yaml broken"), codeBlocks(page, "text")
	if len(broken) != 1 || len(words) != 1 {
		t.Fatal("not one example and its faults")
	}
	_, faults := Parse([]byte(broken[0]))
	if diff := cmp.Diff(words[0], faults.In("purge-rules.yaml")); diff != "" {
		t.Error(diff)
	}
}

// The page explains every key that the parser knows.
func TestRulesPageKeys(t *testing.T) {
	page := readDoc(t, rulesPage)
	for where, keys := range knownKeys(t) {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !strings.Contains(page, "`"+key+"`") && !strings.Contains(page, "{"+key+":") {
				t.Errorf("%s of %s is not explained", key, where)
			}
		}
	}
}

func TestCookbook(t *testing.T) {
	files, err := filepath.Glob("../docs/cookbook/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src := readDoc(t, file)
			checkRules(t, src)
			blocks := codeBlocks(readDoc(t, strings.TrimSuffix(file, ".yaml")+".md"), "yaml")
			if len(blocks) != 1 || blocks[0] != src {
				t.Error("the page does not show the file as it is")
			}
		})
	}
}

// checkRules parses a complete rules file and runs its tests. It accepts no fault, not
// even a warning.
func checkRules(t *testing.T, src string) {
	t.Helper()
	f, faults := Parse([]byte(src))
	if len(faults) > 0 {
		t.Error(faults.In("rules"))
	}
	if f == nil {
		return
	}
	if !strings.Contains(src, "\ntests:") {
		t.Error("has no tests")
	}
	if faults := f.Check(t.Context(), "acme", "site", "main"); len(faults) > 0 {
		t.Error(faults.In("rules"))
	}
}

func readDoc(t *testing.T, file string) string {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// codeBlocks returns the fenced blocks of a language in a page.
func codeBlocks(page, language string) []string {
	var blocks []string
	for _, part := range strings.Split("\n"+page, "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		blocks = append(blocks, block+"\n")
	}
	return blocks
}

// docTable returns the rows of a page's table whose header begins with these cells.
func docTable(t *testing.T, file string, header ...string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(readDoc(t, file), "\n| "+strings.Join(header, " | ")+" |")
	if !ok {
		t.Fatalf("no table %q", header)
	}
	var rows [][]string
	for _, line := range strings.Split(rest, "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		const bar = "\x00" // stands for "\|", which does not end a cell
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, bar), "|"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), bar, "|")
		}
		rows = append(rows, cells)
	}
	if len(rows) < 5 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows
}

// code removes the backticks from a cell.
func code(cell string) string { return strings.Trim(cell, "`") }
