// Package printable makes text from others safe to read: on a terminal, in a commit
// status, on a page. Nothing in the result moves the cursor, changes the direction of
// text, or is invisible.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text writes each character that can't be seen as JSON escapes it, such as \u202e, so a
// JSON document stays the same document. Line breaks, tabs and the like become spaces.
// Characters in keep stay as they are. Bytes that are not UTF-8 become U+FFFD.
func Text(s, keep string) string {
	if plain(s, keep) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // range gives U+FFFD for bytes that are not UTF-8
		switch {
		case strings.ContainsRune(keep, r), visible(r):
			b.WriteRune(r)
		case strings.ContainsRune("\t\n\v\f\r\u2028\u2029", r):
			b.WriteByte(' ')
		default:
			// JSON escapes are UTF-16 (RFC 8259, section 7): two of them beyond U+FFFF.
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}

// plain reports whether s is printable ASCII, apart from keep: then Text has nothing to
// do. Most texts are, and this test is quick.
func plain(s, keep string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && strings.IndexByte(keep, c) < 0 {
			return false
		}
	}
	return true
}

// visible reports whether a reader sees that r is there. The selectors of text and emoji
// style are allowed: they only change how the character before them looks.
func visible(r rune) bool {
	switch r {
	case '\ufe0e', '\ufe0f':
		return true
	case '\u2800': // an empty Braille pattern
		return false
	}
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Short prepares text of a file, or a path, for a message: on one line, with Go escapes
// for what can't be seen, and cut after 100 characters.
func Short(s string) string {
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
