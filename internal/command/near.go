package command

import (
	"strings"

	"github.com/purgebot/purgebot/internal/nearest"
	"github.com/purgebot/purgebot/internal/object"
)

// verbs are the words that a person writes; Purge needs none.
func verbs() []string {
	return []string{string(Retry), string(Release), string(Cancel), string(Status), string(Help)}
}

func verbOf(word string) (Verb, bool) {
	for _, v := range verbs() {
		if strings.EqualFold(word, v) {
			return Verb(v), true
		}
	}
	return "", false
}

// nearestVerb is the verb that was surely meant; "": none. A word that may as well be the
// name of a file is taken for a file.
func nearestVerb(word string) string {
	if strings.ContainsAny(word, `/.*?[{:\`) || strings.ContainsFunc(word, func(r rune) bool { return r >= 0x80 }) {
		return ""
	}
	for _, v := range verbs() {
		if d := nearest.Distance(strings.ToLower(word), v); d <= 1 || d == 2 && len(v) > len("status") {
			return v
		}
	}
	return ""
}

// nearestPrefix is the prefix that was meant by a word before a colon; "": none.
func nearestPrefix(prefix string) string {
	switch prefix {
	case "cp", "code", "cp-code", "cp_code":
		return string(object.CPCode)
	}
	for _, k := range []object.Kind{object.Tag, object.CPCode} {
		if nearest.Distance(prefix, string(k)) == 1 {
			return string(k)
		}
	}
	return ""
}

// closest is the first text that begins with the word, else the text with the least
// distance from it.
func closest(word string, of []string) string {
	best, least := of[0], -1
	for _, o := range of {
		name, _, _ := strings.Cut(o, " ")
		if word != "" && strings.HasPrefix(name, strings.ToLower(word)) {
			return o
		}
		if d := nearest.Distance(strings.ToLower(word), name); least < 0 || d < least {
			best, least = o, d
		}
	}
	return best
}
