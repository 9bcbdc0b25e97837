package yaml_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/yaml"
)

// flat writes a tree as "LINE:COL kind text" lines. Each level is indented further.
func flat(n *yaml.Node, in string) string {
	out := fmt.Sprintf("%s%d:%d %s %q\n", in, n.Line, n.Col, n.Kind, n.Text)
	for _, item := range n.Items {
		out += flat(item, in+"  ")
	}
	for _, pair := range n.Pairs {
		out += flat(pair.Key, in+"  ") + flat(pair.Value, in+"    ")
	}
	return out
}

func TestEachValueKnowsItsPlace(t *testing.T) {
	const text = "größe: [1, \"zwei\",   drei]\n" +
		"flags:\n" +
		"  on: true\n" +
		"  off:\n" +
		"- \n"
	const good = "größe: [1, \"zwei\",   drei]\nflags:\n  on: true\n  off:\n  on: 08\n"
	if n, faults := (yaml.Reader{}).Read([]byte(text), "f"); n != nil || len(faults) != 1 {
		t.Errorf("a list behind keys: %v, %v", n, faults)
	}
	n, faults := yaml.Reader{}.Read([]byte(good), "f")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	const want = `1:1 a group of keys ""
  1:1 text "größe"
    1:8 a list ""
      1:9 a number "1"
      1:12 text "zwei"
      1:22 text "drei"
  2:1 text "flags"
    3:3 a group of keys ""
      3:3 text "on"
        3:7 true or false "true"
      4:3 text "off"
        4:3 nothing ""
      5:3 text "on"
        5:7 text "08"
`
	if diff := cmp.Diff(want, flat(n, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Each text has one fault, and its place is that of the cause.
func TestFaultsHaveTheirPlace(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"a second document":   {"a: 1\n---\nb: 2\n", "2:1"},
		"a tag":               {"a: !!str 1\n", "1:4"},
		"a merge key":         {"a: {<<: b}\n", "1:5"},
		"an alias":            {"a: *b\n", "1:4"},
		"a tab":               {"a:\n\tb: 1\n", "2:1"},
		"an open quote":       {"a: \"b\n", "1:4"},
		"an open list":        {"a: [b\nc: d\n", "2:1"},
		"two colons":          {"a: b: c\n", "1:4"},
		"a list further left": {"a:\n    b:\n  - c\n", "3:3"},
		"not UTF-8":           {"a: \xff\n", "1:4"},
	} {
		_, faults := yaml.Reader{Keys: []string{"a", "b"}}.Read([]byte(test.text), "f")
		if len(faults) != 1 {
			t.Errorf("%s: %d faults: %v", name, len(faults), faults)
			continue
		}
		if got := fmt.Sprintf("%d:%d", faults[0].Line, faults[0].Col); got != test.want || faults[0].File != "f" {
			t.Errorf("%s: %s %s, want it at %s", name, got, faults[0].Message, test.want)
		}
	}
}

// A stranger's text costs little, however deep or wide it is.
func TestWhatIsReadIsBounded(t *testing.T) {
	for name, text := range map[string]string{
		"deep":      strings.Repeat("[", 100_000),
		"deep keys": strings.Repeat("{a: ", 100_000),
		"indented": func() (s string) {
			var b strings.Builder
			for i := range 2000 {
				fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
			}
			return b.String()
		}(),
		"large": strings.Repeat("a: b # a comment\n", 1<<20),
	} {
		if n, faults := (yaml.Reader{}).Read([]byte(text), "f"); n != nil || len(faults) == 0 {
			t.Errorf("%s: accepted: %v", name, faults)
		}
	}
}

// A text is either refused with a fault, or read. All places lie in the text.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"a: 1\n", "- [x, {y: z}]\n", "a: |\n  b\n", "a:\n  - b\n  -c: d\n", "{a: \"\\u00e4\"}", "a: &b [*b]\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, faults := yaml.Reader{Keys: []string{"a"}}.Read([]byte(text), "f")
		if n == nil && len(faults) == 0 {
			t.Fatal("refused without a word")
		}
		lines := strings.Split(text, "\n")
		in := func(p yaml.Place, what string) {
			if p.Line < 1 || p.Col < 1 || p.Line > len(lines)+1 || p.Line <= len(lines) && p.Col > utf8.RuneCountInString(lines[p.Line-1])+2 { // +2: a value that is not there
				t.Errorf("%s is at %d:%d", what, p.Line, p.Col)
			}
		}
		for _, fault := range faults {
			in(fault.Place, fault.Message)
		}
		var walk func(*yaml.Node)
		walk = func(n *yaml.Node) {
			in(n.Place, string(n.Kind))
			for _, item := range n.Items {
				walk(item)
			}
			for _, pair := range n.Pairs {
				walk(pair.Key)
				walk(pair.Value)
			}
		}
		if n != nil {
			walk(n)
		}
	})
}
