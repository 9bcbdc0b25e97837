package command

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// lexer cuts a line into words, as people paste them. White space, commas and semicolons
// separate words. Quotes, `code`, <URL> and [text](URL) are taken off, and so is the
// punctuation of the sentence around a word.
type lexer struct {
	rest  string
	words []string
}

// split cuts a line into words. Its error is an *Error: a quote or a ` is not closed.
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
			l.rest = strings.TrimLeft(l.rest, ".:!?)*_~") // punctuation of the sentence
			continue
		}
		l.plain()
	}
}

func isSeparator(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(",;，；、", r) }

// closing gives the characters that may end a quote which begins with a character; "": it
// begins none.
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

// dressed takes a word that something encloses; false: nothing encloses the next word.
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

// took adds a word, and goes on with the rest.
func (l *lexer) took(word, rest string) {
	l.words, l.rest = append(l.words, word), rest
}

// code takes what stands between backticks: several targets, or else one name, which may
// hold spaces.
func (l *lexer) code(inside, after string) {
	l.rest = after
	if words := strings.Fields(inside); slices.ContainsFunc(words, startsTarget) {
		l.words = append(l.words, words...)
		return
	}
	l.words = append(l.words, inside)
}

// link reads [text](target "title") at the beginning of a text. Brackets in the target
// may nest.
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

// end finds where a plain word ends. A comma inside a URL or inside braces is a part of
// the word. value says that a quoted value follows, as in --env="a b".
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

// quoted adds a quoted value to a word. A quote that is not closed is left where it is.
func (l *lexer) quoted(word string) (whole, rest string) {
	first, size := utf8.DecodeRuneInString(l.rest)
	end := strings.IndexAny(l.rest[size:], closing(first))
	if end < 0 {
		return word, l.rest
	}
	_, last := utf8.DecodeRuneInString(l.rest[size+end:])
	return word + l.rest[size:size+end], l.rest[size+end+last:]
}

// startsTarget reports whether a text begins like a target and like nothing else.
func startsTarget(text string) bool {
	lower := strings.ToLower(text[:min(len(text), len("https://"))])
	return isURL(text) || strings.HasPrefix(lower, "tag:") || strings.HasPrefix(lower, "cpcode:")
}

func isURL(text string) bool {
	lower := strings.ToLower(text[:min(len(text), len("https://"))])
	return strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://")
}

// maxSentence is how long a word may be, in bytes, for sentence to look at it. No target
// is longer, and the loop would take long for a word that is made for it.
const maxSentence = maxURL

// sentence takes the punctuation of the sentence off the end of a word, and the emphasis
// that stood before the word. It never makes a target into no target.
func sentence(word, emphasis string) string {
	if len(word) > maxSentence {
		return word
	}
	ends := ".,;:!\"'”’»…"
	if startsTarget(word) {
		ends += "?>" // in the name of a file, ? is a wildcard and > may be a part
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

// targets cuts a line into words if it holds nothing but targets, like a list that
// somebody pasted. A word counts as a file only if it looks like one. A line with a
// command of its own is no list.
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

// item is a line without the bullet, number or checkbox of a Markdown list.
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

// fileLike reports whether a word looks like the name of a file: it has a folder or an
// extension.
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

// looksTarget reports whether a word below the command looks like a target.
func looksTarget(word string) bool {
	return startsTarget(word) && !strings.HasSuffix(word, ":") || fileLike(word)
}

// unread finds what stands below a command and looks like a part of it: see
// Command.Unread.
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
		if err != nil || strings.HasPrefix(line, ">") { // a quote of somebody else's words
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
