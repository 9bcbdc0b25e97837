// Package printable makes text of others fit to be read: on a terminal, in a
// commit status, on a page. Nothing in it moves the cursor, turns the text's
// direction, or hides.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text writes what can't be seen as JSON escapes it, such as \u202e: a JSON
// document stays the same document. Line breaks, tabs and the like become
// spaces, but for those of keep. Bytes that are no UTF-8 become U+FFFD.
func Text(s, keep string) string {
	if plain(s, keep) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // U+FFFD for what is no UTF-8
		switch {
		case strings.ContainsRune(keep, r), visible(r):
			b.WriteRune(r)
		case strings.ContainsRune("\t\n\v\f\r\u2028\u2029", r):
			b.WriteByte(' ')
		default:
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}

// plain is quick, for the most of all text.
func plain(s, keep string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && strings.IndexByte(keep, c) < 0 {
			return false
		}
	}
	return true
}

// visible tells whether a reader sees that r is there. The selectors of text
// and emoji style only change the character before them.
func visible(r rune) bool {
	switch r {
	case '\ufe0e', '\ufe0f':
		return true
	case '\u2800': // an empty Braille pattern
		return false
	}
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Short is a text of a file or a path within a message: on one line, with what
// can't be seen escaped as Go does, cut where it is long.
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
