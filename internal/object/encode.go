package object

import "strings"

// What browsers encode in a path or a query, besides control characters, the space and
// everything outside ASCII: https://url.spec.whatwg.org/#path-percent-encode-set. In a
// value, "%" and "\" stand for themselves, so they are encoded too.
const (
	pathSigns  = "\"#<>?^`{}"
	querySigns = "\"#<>\\^`{|}"
	valueSigns = pathSigns + `%\` // in a value, which is never encoded yet
	partSigns  = "&=+;"           // that separate the fields of a query
)

// AppendValue appends a raw value as a browser would request it in a path or, if query is
// true, in a query. A "/" in it stays. A "%" is encoded: the value must not be encoded
// already.
func AppendValue(dst []byte, value string, query bool) []byte {
	for i := range len(value) {
		c := value[i]
		if encoded(c, valueSigns) || query && strings.IndexByte(partSigns, c) >= 0 {
			dst = appendEscape(dst, c)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendComponent appends a raw value as JavaScript's encodeURIComponent writes it,
// except that a "/" stays.
func AppendComponent(dst []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.!~*'()/", c) >= 0:
			dst = append(dst, c)
		default:
			dst = appendEscape(dst, c)
		}
	}
	return dst
}

// RequestPath encodes a path as a browser requests it, if a person or a page names it
// that way. What is encoded already stays as it is.
func RequestPath(path string) string { return request(path, pathSigns) }

// RequestQuery does the same as RequestPath for the text after the "?".
func RequestQuery(query string) string { return request(query, querySigns) }

// request encodes signs and everything that no URL may contain. A "%" is encoded only
// where it does not begin an escape, so the result does not change if it is encoded
// again.
func request(s, signs string) string {
	dst := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%' && !IsEscape(s[i:]), encoded(c, signs):
			dst = appendEscape(dst, c)
		default:
			dst = append(dst, c)
		}
	}
	return string(dst)
}

// encoded reports whether c can't stand in a URL as it is: a control character, the
// space, a byte outside ASCII, or one of signs.
func encoded(c byte, signs string) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte(signs, c) >= 0
}

// appendEscape appends c as %XX, with capital letters.
func appendEscape(dst []byte, c byte) []byte {
	const hexDigits = "0123456789ABCDEF"
	return append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
}

// IsEscape reports whether s begins with an escape, %XX.
func IsEscape(s string) bool { return len(s) > 2 && s[0] == '%' && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// DotFolder returns what is wrong with a URL that has a "." or ".." folder, in words for
// people; "" if it has none. It looks only at the path, and only for the dots themselves,
// not for %2e.
func DotFolder(url string) string {
	path, _, _ := strings.Cut(url, "?")
	for i := 0; ; {
		n := strings.Index(path[i:], "/.")
		if n < 0 {
			return ""
		}
		i += n + 2
		rest := strings.TrimPrefix(path[i:], ".")
		if rest == "" || rest[0] == '/' {
			return `the URL has a "." or ".." folder, which no browser requests`
		}
	}
}

// ResolveDots removes the "." and ".." folders from a path, as browsers do before they
// request it. "%2e" counts as a dot. A ".." at the top changes nothing. The result always
// begins with a "/".
func ResolveDots(path string) string {
	var out []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(s, "%2e", "."), "%2E", ".")) {
		case "..":
			out = out[:max(0, len(out)-1)]
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if last { // "/a/.." is a folder: "/"
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}
