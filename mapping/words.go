package mapping

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quote puts text of the file or of a path into a message: in double quotes,
// on one line, cut where it is long.
func quote(s string) string { return `"` + printable(s) + `"` }

// printable is quote without the quotes.
func printable(s string) string {
	const most = 100
	s = strings.ToValidUTF8(s, "\ufffd")
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

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

// nearest gives the known word that a typo may have meant, or "".
func nearest(word string, known []string) string {
	const longest = 60
	if len(word) > longest {
		return ""
	}
	best, bestAt := "", len(word)/3+1
	for _, k := range known {
		if len(k) > longest {
			continue
		}
		d := distance(fold(word), fold(k))
		if d < bestAt || d == bestAt && best == "" && d < len(k) {
			best, bestAt = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known { // prod for production, environment for environments
		if len(word) >= 3 && (strings.HasPrefix(fold(k), fold(word)) || len(k) >= 3 && strings.HasPrefix(fold(word), fold(k))) {
			return k
		}
	}
	return ""
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range y {
		rows[0][j+1] = j + 1
	}
	for i := range x {
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			d := min(rows[i][j]+cost, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				d = min(d, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(x)][len(y)]
}

// fold makes names comparable without regard to case.
func fold(s string) string { return strings.ToLower(s) }
