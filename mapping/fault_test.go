package mapping

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestFaults compares the faults of rules files with the exact words that people read.
func TestFaults(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/faults.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		updateFaults(t, archive)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		rules, want := archive.Files[i], archive.Files[i+1]
		if want.Name != "faults" {
			t.Fatalf("%s is followed by %s, not by its faults", rules.Name, want.Name)
		}
		t.Run(rules.Name, func(t *testing.T) {
			wantFaults(t, string(rules.Data), string(want.Data))
		})
		// Neither line ends nor a byte order mark move a column.
		t.Run(rules.Name+"/windows", func(t *testing.T) {
			wantFaults(t, "\ufeff"+strings.ReplaceAll(string(rules.Data), "\n", "\r\n"), string(want.Data))
		})
	}
}

var update = flag.Bool("update", false, "write testdata/faults.txtar anew; read the difference")

func updateFaults(t *testing.T, archive *txtar.Archive) {
	t.Helper()
	for i := 0; i+1 < len(archive.Files); i += 2 {
		_, faults := Parse(archive.Files[i].Data)
		archive.Files[i+1].Data = []byte(faults.In("purge-rules.yaml"))
	}
	if err := os.WriteFile("testdata/faults.txtar", txtar.Format(archive), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantFaults(t *testing.T, rules, want string) {
	t.Helper()
	file, faults := Parse([]byte(rules))
	if diff := cmp.Diff(want, faults.In("purge-rules.yaml")); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if (file == nil) != faults.HasErrors() {
		t.Errorf("a file is given: %v, there are errors: %v", file != nil, faults.HasErrors())
	}
	if got := len(faults.Errors()); faults.HasErrors() != (got > 0) {
		t.Errorf("Errors gives %d faults", got)
	}
}

// TestFaultsOfBytes is for files that a text archive can't hold.
func TestFaultsOfBytes(t *testing.T) {
	const good = "version: 1\nenvironments: {p: {}}\nrules: [{match: a, tags: [x]}]\n"
	many := func(n int, s string) string { return strings.Repeat(s, n) }
	for _, c := range []struct{ name, rules, want string }{
		{"not UTF-8", "version: 1\n# ü \xff\n", "2:5: this byte (0xFF) is not UTF-8: save the file as UTF-8\n"},
		{"control character", "version: 1\x00\n", "1:11: the control character U+0000 is not allowed: remove it\n"},
		{"bare carriage return", "version: 1\rx", "1:11: the control character U+000D is not allowed: remove it\n"},
		{"too big", good + many(1<<20, "#"), "1:1: the file has 1048640 bytes: at most 1048576 (1 MiB) are read\n"},
		{"deep flow", "rules: " + many(100_000, "["), "1:27: nested too deeply (at most 20 levels)\n"},
		{"deep block", "rules:\n" + many(100_000, "- "), "2:41: nested too deeply (at most 20 levels)\n"},
		{"deep keys", many(100_000, "? "), "1:1: a value that begins with ? must stand in quotes\n"},
		{"many keys", many(40_000, "a: 1\n"), "2001:2: too many keys in one place (at most 2000)\n"},
		{"many keys in braces", "a: {" + many(20_000, "b: 1, ") + "}", "1:12006: too many keys in one place (at most 2000)\n"},
		{"many values", "a: [" + many(400_000, "x,") + "]", "1:1: the file has too many values (800004 pieces, at most 150000)\n"},
		{"many empty entries", "a:\n" + many(70_000, "-\n"), "2:1: an empty entry of a list: remove the -\n"},
		{"many commas", "a: [" + many(140_000, ",") + "]", "1:5: an empty entry of a list: remove the comma\n"},
		{"many keys without a value", "a:\n" + many(30_000, "- b: # c\n"), "1002:4: too many keys without a value (at most 1000)\n"},
		{"many tags", "a: " + many(100_000, "! "), "1:4: YAML tags (!) are not supported: put a value that begins with ! in quotes\n"},
		{"aliases that explode", "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + laughs(), "1:17: too many values, aliases counted each time they are used (at most 300000)\n"},
		{"many alternatives", strings.Replace(good, "a,", "["+many(500, "'{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}', ")+"],", 1), "3:15228: too many alternatives in braces: the globs of a file make 50000 combinations at most\n"},
		{"many documents", many(100_000, "---\n"), "1:1: the file is empty: it needs version, environments and rules\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, faults := Parse([]byte(c.rules))
			got := strings.ReplaceAll(faults.In(""), "\n:", "\n")
			got, _ = strings.CutPrefix(got, ":")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// laughs returns the "billion laughs": lists that each hold the list before ten times.
func laughs() string {
	var b strings.Builder
	for c := 'b'; c <= 'k'; c++ {
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+", ", 10), ", ") + "]\n")
	}
	return b.String()
}

// TestLargeFile reads a file with as many rules as are allowed, written out at length.
func TestLargeFile(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nenvironments:\n  production:\n    hosts:\n      - www.acme.com\nrules:\n")
	for i := range maxRules {
		fmt.Fprintf(&b, "  - name: rule %d\n    match:\n      - content/%d/**/*.md # pages\n    exclude:\n    - \"**/drafts/**\"\n"+
			"    environments:\n      - production\n    urls:\n      - https://{host}/%d/{1}/{2}/\n    tags:\n      - t-%d\n", i, i, i, i)
	}
	file, faults := Parse([]byte(b.String()))
	if file == nil || len(faults) > 0 {
		t.Errorf("a large file has faults:\n%s", faults.In("rules"))
	}
}

func TestFaultsAreBounded(t *testing.T) {
	rules := "version: 1\nenvironments: {p: {}}\nrules:\n" + strings.Repeat("- {}\n", 1_900)
	_, faults := Parse([]byte(rules))
	if len(faults) != maxFaults+1 || faults[maxFaults].Message != "there are more faults: mend these first" {
		t.Errorf("%d faults, the last is %v", len(faults), faults[len(faults)-1])
	}
}
