package command

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A lexer cuts a line into words as people paste them: white space, commas
// and semicolons part them; quotes, `code`, <URL> and [text](URL) are taken
// off, and so is the punctuation of the sentence around them.
type lexer struct {
	rest  string
	words []string
}

// split cuts a line into words.
func split(line string) ([]string, error) {
	l := lexer{rest: line}
	for {
		l.rest = strings.TrimLeftFunc(l.rest, isSeparator)
		if l.rest == "" {
			return l.words, nil
		}
		ok, err := l.dressed()
		if err != nil {
			return nil, err
		}
		if ok {
			l.rest = strings.TrimLeft(l.rest, ".:!?)*_~") // of the sentence
			continue
		}
		l.plain()
	}
}

func isSeparator(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(",;，；、", r) }

// closing is what ends a quote that begins with a sign.
func closing(open rune) string {
	switch open {
	case '"', '\'':
		return string(open)
	case '“', '”', '„':
		return "“”"
	case '‘', '’', '‚':
		return "‘’"
	case '«':
		return "»"
	case '»':
		return "«"
	}
	return ""
}

// dressed takes a word that something encloses.
func (l *lexer) dressed() (bool, error) {
	switch first, size := utf8.DecodeRuneInString(l.rest); {
	case first == '<':
		inside, after, ok := strings.Cut(l.rest[1:], ">")
		if !ok || !strings.Contains(inside, "://") {
			return false, nil
		}
		l.took(strings.TrimSpace(inside), after)
	case first == '[':
		target, after, ok := link(l.rest)
		if !ok { // a pattern of files
			return false, nil
		}
		l.took(target, after)
	case first == '`':
		fence := l.rest[:len(l.rest)-len(strings.TrimLeft(l.rest, "`"))]
		inside, after, ok := strings.Cut(l.rest[len(fence):], fence)
		if !ok {
			return false, &Error{What: "a ` is not closed"}
		}
		l.code(strings.TrimSpace(inside), after)
	case closing(first) != "":
		end := strings.IndexAny(l.rest[size:], closing(first))
		if end < 0 {
			return false, &Error{What: "a quote is not closed"}
		}
		_, last := utf8.DecodeRuneInString(l.rest[size+end:])
		inside := l.rest[size : size+end]
		if isURL(inside) {
			inside = sentence(inside, "")
		}
		l.took(inside, l.rest[size+end+last:])
	default:
		return false, nil
	}
	return true, nil
}

func (l *lexer) took(word, rest string) {
	l.words, l.rest = append(l.words, word), rest
}

// code takes what is between backticks: one name, which may hold spaces, or
// several targets.
func (l *lexer) code(inside, after string) {
	l.rest = after
	if words := strings.Fields(inside); slices.ContainsFunc(words, startsTarget) {
		l.words = append(l.words, words...)
		return
	}
	l.words = append(l.words, inside)
}

// link reads [text](target "title") at the beginning of a text.
func link(text string) (target, after string, ok bool) {
	label := strings.IndexByte(text, ']')
	if label < 0 || !strings.HasPrefix(text[label:], "](") {
		return "", "", false
	}
	inside, depth := text[label+2:], 1
	for i, r := range inside {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			fields := strings.Fields(inside[:i])
			if len(fields) == 0 {
				return "", "", false
			}
			return strings.Trim(fields[0], "<>"), inside[i+1:], true
		}
	}
	return "", "", false
}

// plain takes a word that nothing encloses.
func (l *lexer) plain() {
	emphasis := ""
	if bare := strings.TrimLeft(l.rest, "*_~("); bare != l.rest && startsTarget(bare) {
		emphasis, l.rest = l.rest[:len(l.rest)-len(bare)], bare
	}
	end, value := l.end()
	word := l.rest[:end]
	l.rest = l.rest[end:]
	if value {
		word, l.rest = l.quoted(word)
	}
	if emphasis != "" || !isFlag(word) {
		word = sentence(word, emphasis)
	}
	l.words = append(l.words, word)
}

// end finds where a plain word ends: a comma inside a URL or a brace is part
// of it. value says that a quoted value follows, as of --env="a b".
func (l *lexer) end() (end int, value bool) {
	url, depth := isURL(l.rest), 0
	for i, r := range l.rest {
		switch {
		case unicode.IsSpace(r):
			return i, false
		case r == '{':
			depth++
		case r == '}':
			depth--
		case !isSeparator(r):
			if closing(r) != "" && strings.HasSuffix(l.rest[:i], "=") && isFlag(l.rest) {
				return i, true
			}
		case url:
			after := l.rest[i+utf8.RuneLen(r):]
			next, _ := utf8.DecodeRuneInString(after)
			if after == "" || isSeparator(next) || startsTarget(after) || strings.HasPrefix(after, "<") {
				return i, false
			}
		case depth <= 0:
			return i, false
		}
	}
	return len(l.rest), false
}

// quoted adds a quoted value to a word; one that is not closed is left.
func (l *lexer) quoted(word string) (whole, rest string) {
	first, size := utf8.DecodeRuneInString(l.rest)
	end := strings.IndexAny(l.rest[size:], closing(first))
	if end < 0 {
		return word, l.rest
	}
	_, last := utf8.DecodeRuneInString(l.rest[size+end:])
	return word + l.rest[size:size+end], l.rest[size+end+last:]
}

// startsTarget reports whether a text begins with what only a target does.
func startsTarget(text string) bool {
	lower := strings.ToLower(text[:min(len(text), len("https://"))])
	return isURL(text) || strings.HasPrefix(lower, "tag:") || strings.HasPrefix(lower, "cpcode:")
}

func isURL(text string) bool {
	lower := strings.ToLower(text[:min(len(text), len("https://"))])
	return strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://")
}

// maxSentence is how long a word may be, in bytes, that is looked at so
// closely; no target is longer.
const maxSentence = maxURL

// sentence takes off a word what belongs to the sentence around it, and the
// emphasis before which it stood.
func sentence(word, emphasis string) string {
	if len(word) > maxSentence {
		return word
	}
	ends := ".,;:!\"'”’»…"
	if startsTarget(word) {
		ends += "?>" // of a file they are a wildcard, or its own
	}
	for {
		before := word
		word = strings.TrimRight(word, ends)
		if emphasis != "" {
			word = strings.TrimRight(word, "*_~")
		}
		for _, pair := range []string{"()", "[]", "{}"} {
			if strings.HasSuffix(word, pair[1:]) && strings.Count(word, pair[1:]) > strings.Count(word, pair[:1]) {
				word = word[:len(word)-1]
			}
		}
		if word == before || startsTarget(before) && !startsTarget(word) {
			return before
		}
	}
}

// targets cuts a line that holds nothing but targets, as a list that somebody
// pasted. A word counts as a file only if it looks like one.
func targets(line string) (words []string, ok bool) {
	words, err := split(item(line))
	if _, command := cutWord(line); command {
		return nil, false
	}
	if err != nil || len(words) == 0 {
		return nil, false
	}
	return words, !slices.ContainsFunc(words, func(w string) bool { return !looksTarget(w) })
}

// item is an item of a list in Markdown without what stands before it.
func item(line string) string {
	line = strings.TrimSpace(line)
	mark, rest, ok := strings.Cut(line, " ")
	number := strings.TrimRight(mark, ".)")
	bullet := len(mark) == 1 && strings.Trim(mark, "-*+") == ""
	numbered := len(mark)-len(number) == 1 && strings.Trim(number, "0123456789") == ""
	if !ok || !bullet && !numbered {
		return line
	}
	rest = strings.TrimSpace(rest)
	for _, box := range []string{"[ ] ", "[x] ", "[X] "} {
		rest = strings.TrimPrefix(rest, box)
	}
	return rest
}

// fileLike reports what everybody takes for a file's name: with a folder, or
// with an extension.
func fileLike(word string) bool {
	if strings.Contains(word, "://") || strings.Trim(word, "./") == "" {
		return false
	}
	if strings.Contains(word, "/") {
		return true
	}
	name, extension, _ := cutLast(word, '.')
	letters := strings.ToLower(extension)
	return name != "" && len(letters) > 1 && len(letters) < 9 && letters[0] >= 'a' && strings.Trim(letters, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func looksTarget(word string) bool {
	return startsTarget(word) && !strings.HasSuffix(word, ":") || fileLike(word)
}

// unread finds what is below a command and looks as if it were meant.
func unread(below string) (found []string) {
	const most = 200 // lines
	lines := 0
	for line := range strings.Lines(below) {
		if lines++; lines > most || len(found) == MaxUnread {
			break
		}
		line = strings.TrimSpace(line)
		if _, command := cutWord(line); command {
			found = append(found, line)
			continue
		}
		words, err := split(line)
		if err != nil || strings.HasPrefix(line, ">") { // somebody else's words, quoted
			continue
		}
		for _, w := range words {
			option := strings.TrimLeft(strings.ToLower(w), "-—–")
			isOption := isFlag(w) && (option == "delete" || option == "dry-run" || option == "env" || strings.HasPrefix(option, "env="))
			if len(found) < MaxUnread && (isOption || startsTarget(w) && looksTarget(w) || strings.Contains(w, "/") && fileLike(w)) {
				found = append(found, w)
			}
		}
	}
	return found
}
