package object

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxTag is how many characters a cache tag may have. Akamai accepts longer ones but
// purges nothing by them.
const MaxTag = 128

// TagSigns are the characters that a tag may have besides letters and digits. Akamai has
// three lists that differ. This is the widest, from the page "Assign cache tags".
const TagSigns = "&'^-$!`#%.+~_|/"

// TagFault returns why Akamai would not take a tag, or "". The words end a sentence that
// begins with the tag.
func TagFault(tag string) string {
	if tag == "" {
		return "is empty"
	}
	for _, r := range tag {
		if !tagRune(r) {
			return fmt.Sprintf("can't hold %s: letters, digits and %s are allowed", signName(r), TagSigns)
		}
	}
	if n := utf8.RuneCountInString(tag); n > MaxTag {
		return fmt.Sprintf("has %d characters, at most %d are allowed", n, MaxTag)
	}
	return ""
}

// tagRune reports whether a tag may have r.
func tagRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		r < 0x80 && strings.ContainsRune(TagSigns, r)
}

// signName names a character in a message. One that people can't see is described or
// escaped.
func signName(r rune) string {
	switch {
	case r == ' ':
		return "a space"
	case r == '\n':
		return "a line break"
	case r == utf8.RuneError:
		return "bytes that are not UTF-8"
	case !strconv.IsPrint(r):
		return strings.Trim(strconv.QuoteRune(r), "'")
	}
	return `"` + string(r) + `"`
}
