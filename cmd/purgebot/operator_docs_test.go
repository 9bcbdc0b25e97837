package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// docs/cli.md has every command with every flag and argument, nothing else, and the
// defaults.
func TestCommandsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for part := range strings.SplitSeq(string(text), "\n### ") {
		name, body, _ := strings.Cut(part, "\n")
		if command, ok := strings.CutPrefix(name, "purgebot "); ok {
			sections[command] = body
		}
	}
	parser, err := kong.New(new(commands), kong.Name("purgebot"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, leaf := range parser.Model.Leaves(true) {
		name := strings.TrimPrefix(leaf.Path(), "purgebot ")
		names = append(names, name)
		want := map[string]string{} // flag or argument → default
		for _, f := range leaf.Flags {
			want["--"+f.Name] = f.Default
		}
		for _, a := range leaf.Positional {
			if a.Passthrough { // for the shell's own script
				continue
			}
			want[strings.ToUpper(a.Name)] = a.Default
		}
		got := map[string]string{} // → its row
		for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z-]+)[^`]*` \\|.*$").FindAllStringSubmatch(sections[name], -1) {
			got[row[1]] = row[0]
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("flags of %s (-code +page):\n%s", name, diff)
		}
		for flag, value := range want {
			if !strings.Contains(got[flag], value) {
				t.Errorf("%s %s: the page does not tell the default %s: %s", name, flag, value, got[flag])
			}
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(sections))); diff != "" {
		t.Errorf("commands (-code +page):\n%s", diff)
	}
}
