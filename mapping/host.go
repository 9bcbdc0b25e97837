package mapping

import "github.com/purgebot/purgebot/internal/object"

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
		case r < 0x80 && !object.HostRune(r):
			return false
		}
	}
	return true
}
