package mapping

import (
	"fmt"
	"strings"
)

// maxTag is Akamai's limit; a longer tag is accepted and purges nothing.
const maxTag = 128

// Akamai's page "Assign cache tags" allows these beside letters and digits.
const tagSigns = "&'^-$!`#%.+~_|/"

func tagRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		r < 0x80 && strings.ContainsRune(tagSigns, r)
}

// tagFault says why Akamai would not take a tag, or "".
func tagFault(tag string) string {
	if tag == "" {
		return "the tag is empty"
	}
	if r, found := firstOf(tag, func(r rune) bool { return !tagRune(r) }); found {
		return fmt.Sprintf("a tag can't hold %s: letters, digits and %s are allowed", signName(r), tagSigns)
	}
	if len(tag) > maxTag {
		return fmt.Sprintf("the tag has %d characters, at most %d are allowed", len(tag), maxTag)
	}
	return ""
}

func signName(r rune) string {
	switch r {
	case ' ':
		return "a space"
	case '\n':
		return "a line break"
	case '\ufffd':
		return "bytes that are not UTF-8"
	}
	return quote(string(r))
}

// appendText appends what the template stands for, as it is.
func (ps pieces) appendText(dst []byte, v *values, host string) []byte {
	for _, p := range ps {
		dst = append(dst, v.of(p, host)...)
	}
	return dst
}
