package yaml

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/printable"
)

// A slip is a typing mistake that YAML reads as something else. It is found in the text
// of the lines where the parser gave up.
type slip struct {
	line, col int // counted from 1, col in characters
	message   string
}

// findSlip looks for a slip in a line and then in the two lines before it, because the
// parser often notices one too late.
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

// slipOf returns the column of a slip in a line, in characters from 1, and its message;
// "" if there is none. It does not look into a comment.
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
	// CurlyQuotes are quotes that YAML reads as letters.
	CurlyQuotes   = "“”„‟«»‘‚‛" // without ’, which is an apostrophe too
	oddSpaceWords = "this is no ordinary space but one that looks like it, such as a no-break space: type it anew"
)

// OddSpace reports whether a character looks like a space, or like nothing, but is not
// the ordinary space.
func OddSpace(r rune) bool { return r >= 0x80 && unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// quoted reports whether byte i of a line stands between straight quotes. It counts the
// quotes before it, so it may be wrong about a quote within quotes.
func quoted(line string, i int) bool {
	return strings.Count(line[:i], `"`)%2 == 1 || strings.Count(line[:i], "'")%2 == 1
}

// Slip says which typing slip is behind an unknown key, or behind a text where a group of
// keys belongs; "" if none is.
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
