package mapping

import (
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

var errHost = errors.New("is not a host name")

// asciiHost gives a host name as a request has it: lower case, punycode. It
// takes letters, digits, "-" and "_" in labels of 1 to 63, 253 in all.
func asciiHost(host string) (string, error) {
	// The mapping of an IDN may turn one character into several, a full-width
	// solidus into "/": what comes out is checked, not what went in.
	out, err := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false)).ToASCII(host)
	if err != nil || out == "" || len(out) > 253 {
		return "", errHost
	}
	for label := range strings.SplitSeq(out, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", errHost
		}
		for i := range len(label) {
			if !hostByte(label[i]) {
				return "", errHost
			}
		}
	}
	return out, nil
}

func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// hostRune is hostByte before letters are lower case.
func hostRune(r rune) bool {
	return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// safeInHost reports whether a value may stand in a host between what the
// template has around it. Nothing that ends a host passes, and a dot only
// where the value leads and its end is a label's end: {1} of
// https://{1}.acme.com/ stays below acme.com, whatever the file's name.
func safeInHost(value string, first, beforeDot bool) bool {
	if value == "" {
		return false
	}
	for _, r := range value {
		switch {
		case r == '.':
			if !first || !beforeDot {
				return false
			}
		case r == '\u3002', r == '\uff0e', r == '\uff61', r == '\ufffd': // mapped to dots; not UTF-8
			return false
		case r < 0x80 && !hostRune(r):
			return false
		}
	}
	return true
}
