package mapping

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/internal/yaml"
)

// globHabit says what a glob surely does not mean although it would in another tool, and
// what to write instead; "" if nothing is odd. Its words end a sentence that begins with
// the glob. The first habit that fits is the only one reported.
func globHabit(pattern string) string {
	find := func(expression string) []string { return regexp.MustCompile(expression).FindStringSubmatch(pattern) }
	if unseen := unseenIn(pattern); unseen != "" {
		return unseen
	}
	switch rest, negated := strings.CutPrefix(pattern, "!"); {
	case negated:
		return "fits only files whose path begins with an exclamation mark: to leave files out, write exclude: " + printable.Short(rest)
	case strings.TrimFunc(pattern, unicode.IsSpace) != pattern:
		return "has white space at its end, which belongs to the path: remove it"
	case strings.HasPrefix(pattern, "^") || strings.HasSuffix(pattern, "$"):
		return "looks like a regular expression: a glob has no ^ and $, and is written as content/**/*.md"
	}
	if m := find(`\\([A-Za-z0-9])`); m != nil {
		return `has a \ in front of "` + m[1] + `", which means nothing: write / between folders`
	}
	if m := find(`\{[^{}]*(?:,\s|\s,)[^{}]*\}`); m != nil {
		return "has a space within " + m[0] + ", which belongs to the path: write " + regexp.MustCompile(`\s*,\s*`).ReplaceAllString(m[0], ",")
	}
	if m := find(`\{(\d+)\.\.(\d+)\}`); m != nil {
		return "takes " + m[0] + " for that very text: write the numbers, as {1,2,3}, or a class, as [1-3]"
	}
	if m := find(`[@+?!*]\(([^()]*\|[^()]*)\)|@\(([^()]*)\)`); m != nil {
		return "takes " + m[0] + " for that very text: write {" + strings.ReplaceAll(m[1]+m[2], "|", ",") + "}"
	}
	if m := find(`[^/{,]*[^/{,*]\*\*(?:[^*]|$)|(?:^|[/{,])\*\*[^/},*][^/},]*`); m != nil {
		return `has a "**" beside other characters, where it is only a "*": for any folders write **/ alone, as ` +
			regexp.MustCompile(`([^/{,*]?)\*\*([^/},*]?)`).ReplaceAllStringFunc(pattern, aloneStars)
	}
	return ""
}

// unseenIn reports a character that nobody can see. Such characters come along when text
// is pasted from a web page.
func unseenIn(s string) string {
	i := strings.IndexFunc(s, yaml.OddSpace)
	if i < 0 {
		return ""
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	return fmt.Sprintf("has a character that looks like a space or like nothing (%U), and belongs to the path: type it anew", r)
}

// aloneStars puts the "**" of a match between slashes, and a "*" for the characters that
// were beside it.
func aloneStars(s string) string {
	before, after, _ := strings.Cut(s, "**")
	if before != "" {
		before += "*/"
	}
	if after != "" {
		after = "/*" + after
	}
	return before + "**" + after
}

// templateHabit does for a template what globHabit does for a glob.
func templateHabit(written string) string {
	if unseen := unseenIn(written); unseen != "" {
		return unseen
	}
	if m := regexp.MustCompile(`\$\{?(\d+|[a-z]+)\}?`).FindStringSubmatch(written); m != nil && (isDigits(m[1]) || strings.Contains(m[0], "{")) {
		return "has " + m[0] + ", which stands for itself: write {" + m[1] + "}"
	}
	if m := regexp.MustCompile(`(?:^|[^{])\{\{([0-9]+|[a-z]+)\}\}(?:[^}]|$)`).FindStringSubmatch(written); m != nil {
		return "has {{" + m[1] + "}}, which stands for the text {" + m[1] + "}: write {" + m[1] + "}"
	}
	if strings.TrimFunc(written, unicode.IsSpace) != written {
		return "has white space at its end: remove it"
	}
	return ""
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
