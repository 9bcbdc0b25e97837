package mapping

import (
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/printable"
)

// quote prepares text of the file, or a path, for a message: in double quotes, on one
// line, and cut where it is long. It does not escape quotes inside.
func quote(s string) string { return `"` + printable.Short(s) + `"` }

// ordinal returns "first", "second" … "13th" for n from 1.
func ordinal(n int) string {
	words := []string{
		"first", "second", "third", "fourth", "fifth", "sixth",
		"seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
	}
	if n <= len(words) {
		return words[n-1]
	}
	// 11th, 12th and 13th, 111th and so on, but 21st.
	suffix := "th"
	if tens := n / 10 % 10; tens != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// listed joins words as "a, b and c".
func listed(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// fold makes names comparable where case does not count.
func fold(s string) string { return strings.ToLower(s) }
