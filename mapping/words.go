package mapping

import (
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/printable"
)

// quote puts text of the file or of a path into a message: in double quotes,
// on one line, cut where it is long.
func quote(s string) string { return `"` + printable.Short(s) + `"` }

// ordinal gives "first", "second" … "13th".
func ordinal(n int) string {
	words := []string{
		"first", "second", "third", "fourth", "fifth", "sixth",
		"seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
	}
	if n <= len(words) {
		return words[n-1]
	}
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

// fold makes names comparable without regard to case.
func fold(s string) string { return strings.ToLower(s) }
