package report

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/printable"
)

// MaxQuote is how many characters of somebody else's text are shown.
const MaxQuote = 300

// Quote makes somebody else's text harmless in our Markdown: a code span in
// which GitHub makes nothing of a mention, a link, an image, HTML or #12. The
// signs that would be alive outside one are broken by a zero-width space as
// well, for those who read the Markdown itself: in mail and chat.
func Quote(s string) string {
	s = Cut(strings.ReplaceAll(printable.Text(s, ""), "|", "¦"), MaxQuote) // a | ends a table's cell, in code too
	if s == "" {
		return "(nothing)"
	}
	s = asleep(s)
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " " // Markdown takes one of each away
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
