package mapping

import "github.com/purgebot/purgebot/internal/object"

// safeInHost reports whether value may stand in a host among the rest of the template.
// Nothing that ends a host is allowed. A dot is allowed only where the value comes first
// and a label ends after it. So https://{1}.acme.com/ stays below acme.com, whatever the
// file's name is.
//
// first says that the host begins with the value, beforeDot that a dot or the end of the
// host follows it.
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
		case r == '\u3002', r == '\uff0e', r == '\uff61', r == '\ufffd': // IDNA maps the first three to dots; the last is not UTF-8
			return false
		case r < 0x80 && !object.HostRune(r):
			return false
		}
	}
	return true
}
