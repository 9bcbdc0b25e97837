package report

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/printable"
)

// MaxQuote is how many characters of somebody else's text are shown.
const MaxQuote = 300

// Quote makes somebody else's text harmless in purgebot's Markdown: a code span, in which
// GitHub makes nothing of a mention, a link, an image, HTML or #12. A zero-width space
// also breaks the signs that would have an effect outside a code span, for readers who
// see the Markdown itself, in mail and chat.
func Quote(s string) string {
	s = Cut(strings.ReplaceAll(printable.Text(s, ""), "|", "¦"), MaxQuote) // a | ends a cell of a table, even in code
	if s == "" {
		return "(nothing)"
	}
	s = asleep(s)
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " " // Markdown removes one space at each end
	}
	return fence + s + fence
}

// asleep breaks mentions, links, HTML and references to issues.
func asleep(s string) string {
	var b strings.Builder
	for i, r := range s {
		b.WriteRune(r)
		next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		switch {
		case r == '@' && (unicode.IsLetter(next) || unicode.IsDigit(next)),
			r == '#' && unicode.IsDigit(next),
			r == '<' && (unicode.IsLetter(next) || strings.ContainsRune("/!?", next)),
			r == ']' && (next == '(' || next == '['):
			b.WriteRune('\u200b')
		}
	}
	return b.String()
}

// longestRun is the length of the longest run of a character: the fence has to be longer.
func longestRun(s string, of rune) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != of {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}
