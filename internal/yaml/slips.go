package yaml

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/printable"
)

// A slip is a fault of typing that YAML takes for something else, found in the
// text of the lines where the parser gave up.
type slip struct {
	line, col int
	message   string
}

// findSlip looks for one in a line, then in the two before it: the parser
// often notices a line too late.
func (r Reader) findSlip(text string, line int) (slip, bool) {
	lines := strings.Split(text, "\n")
	for n := line; n > 0 && n > line-3; n-- {
		if n > len(lines) {
			continue
		}
		if col, message := r.slipOf(lines[n-1]); message != "" {
			return slip{n, col, message}, true
		}
	}
	return slip{}, false
}

// slipOf gives the place of a slip in a line, in characters from 1.
func (r Reader) slipOf(line string) (col int, message string) {
	code, _, _ := strings.Cut(line, " #")
	at := func(bytes int) int { return utf8.RuneCountInString(code[:bytes]) + 1 }
	if i := strings.IndexFunc(code, OddSpace); i >= 0 && !quoted(code, i) {
		return at(i), oddSpaceWords
	}
	if m := regexp.MustCompile(`^\s*-([A-Za-z_]+):`).FindStringSubmatchIndex(code); m != nil {
		return at(m[2] - 1), "a space is missing behind the -: write - " + code[m[2]:m[3]] + ":"
	}
	if m := regexp.MustCompile(`^\s*(?:- +)?([a-z_]+):([^\s:/]\S*)`).FindStringSubmatchIndex(code); m != nil && slices.Contains(r.Keys, code[m[2]:m[3]]) {
		return at(m[3] + 1), "a space is missing behind the colon: write " + code[m[2]:m[3]] + ": " + printable.Short(code[m[4]:m[5]])
	}
	if i := strings.IndexAny(code, CurlyQuotes); i >= 0 && !quoted(code, i) {
		curly, _ := utf8.DecodeRuneInString(code[i:])
		return at(i), "this quote (" + string(curly) + `) is a curly one, which YAML takes for a letter: write "`
	}
	return 0, ""
}

const (
	// CurlyQuotes are letters to YAML.
	CurlyQuotes   = "“”„‟«»‘‚‛" // not ’, which is an apostrophe too
	oddSpaceWords = "this is no ordinary space but one that looks like it, such as a no-break space: type it anew"
)

// OddSpace reports whether a character looks like a space, or like nothing, and is no
// ordinary space.
func OddSpace(r rune) bool { return r >= 0x80 && unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// quoted reports whether a byte of a line stands between straight quotes.
func quoted(line string, i int) bool {
	return strings.Count(line[:i], `"`)%2 == 1 || strings.Count(line[:i], "'")%2 == 1
}

// Slip says what is wrong with an unknown key, or with a text where a
// group of keys belongs, because of a slip; "" if it is none.
func (r Reader) Slip(written string) string {
	if strings.ContainsFunc(written, OddSpace) {
		return oddSpaceWords
	}
	if rest, ok := strings.CutPrefix(written, "-"); ok && rest != "" && rest[0] != '-' {
		return "a space is missing behind the -: write - " + printable.Short(rest)
	}
	if key, rest, ok := strings.Cut(written, ":"); ok && slices.Contains(r.Keys, key) {
		return "a space is missing behind the colon: write " + key + ": " + printable.Short(strings.TrimSpace(rest))
	}
	return ""
}
