package printable_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/printable"
)

func TestText(t *testing.T) {
	for name, test := range map[string]struct{ in, keep, want string }{
		"plain":                       {"9 of 14 purged", "", "9 of 14 purged"},
		"other scripts":               {"日本語 ünï ελ עברית", "", "日本語 ünï ελ עברית"},
		"emoji in their style":        {"❤️ 🚀", "", "❤️ 🚀"},
		"a terminal's commands":       {"preview-\x1b[31m", "", `preview-\u001b[31m`},
		"C1":                          {"a\u009b31m", "", `a\u009b31m`},
		"text that turns":             {"gpj.\u202eexe", "", `gpj.\u202eexe`},
		"isolates":                    {"\u2066a\u2069", "", `\u2066a\u2069`},
		"nothing there":               {"a\u200b\u200d\ufeff\u00adb", "", `a\u200b\u200d\ufeff\u00adb`},
		"fillers":                     {"a\u3164\uffa0\u115f\u034f\u2800b", "", `a\u3164\uffa0\u115f\u034f\u2800b`},
		"tags and hidden selectors":   {"a\U000e0041\U000e0100\ufe00b", "", `a\udb40\udc41\udb40\udd00\ufe00b`},
		"one line":                    {"a\nX: y\tz\r\n\u2028b", "", "a X: y z   b"},
		"lines of a page":             {"a\n\tb\r", "\n\t", "a\n\tb "},
		"no UTF-8":                    {"a\xffb", "", "a\ufffdb"},
		"nobody's characters":         {"\ue000\ufdd0", "", `\ue000\ufdd0`},
		"a space is a space":          {"a\u00a0b", "", "a\u00a0b"},
		"the replacement says itself": {"\ufffd", "", "\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := printable.Text(test.in, test.keep); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The result has no invisible character, and to apply Text again changes nothing. A JSON
// document stays the same document.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a", "\x1b[31m", "\u202e\u200b", "\xff", "a\nb", "\U000e0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable.Text(s, "")
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\t\x1b\u202e\u200b\u2028") {
			t.Fatalf("%q gives %q", s, got)
		}
		if again := printable.Text(got, ""); again != got {
			t.Fatalf("%q gives %q, and that %q", s, got, again)
		}
		doc, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		if json.Unmarshal(doc, &before) != nil || json.Unmarshal([]byte(printable.Text(string(doc), "\n\t")), &after) != nil || before != after {
			t.Fatalf("%s is another document: %q, not %q", doc, after, before)
		}
	})
}
