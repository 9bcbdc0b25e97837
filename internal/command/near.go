package command

import "strings"

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

// nearestVerb is the verb that was surely meant, or "": a word that may as
// well be a file's name is one.
func nearestVerb(word string) string {
	if strings.ContainsAny(word, `/.*?[{:\`) {
		return ""
	}
	for _, v := range verbs() {
		if d := distance(strings.ToLower(word), v); d <= 1 || d == 2 && len(v) > len("status") {
			return v
		}
	}
	return ""
}

// nearestPrefix is what was meant by a word before a colon, or "".
func nearestPrefix(prefix string) string {
	switch prefix {
	case "cp", "code", "cp-code", "cp_code":
		return string(CPCode)
	}
	for _, k := range []Kind{Tag, CPCode} {
		if distance(prefix, string(k)) == 1 {
			return string(k)
		}
	}
	return ""
}

// nearest is the one that begins with the word, else the least far away.
func nearest(word string, of []string) string {
	best, least := of[0], -1
	for _, o := range of {
		name, _, _ := strings.Cut(o, " ")
		if word != "" && strings.HasPrefix(name, strings.ToLower(word)) {
			return o
		}
		if d := distance(strings.ToLower(word), name); least < 0 || d < least {
			best, least = o, d
		}
	}
	return best
}

// maxNear bounds the words that are compared: what is longer is far away.
const maxNear = 32

// distance counts the letters to add, drop, change or swap with their
// neighbour that lead from a to b.
func distance(a, b string) int {
	if len(a) > maxNear || len(b) > maxNear {
		return maxNear
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
