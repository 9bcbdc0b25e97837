package object

import "strings"

// What browsers encode in a path beside controls, the space and everything
// outside ASCII: https://url.spec.whatwg.org/#path-percent-encode-set. In a
// value "%" and "\" mean themselves, and so are encoded too.
const (
	pathSigns  = "\"#<>?^`{}"
	querySigns = "\"#<>\\^`{|}"
	valueSigns = pathSigns + `%\`
	partSigns  = "&=+;" // that part the fields of a query
)

// AppendValue appends a value as the part of a path, or of a query, that a
// browser would request for it. A "/" in it stays.
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

// AppendComponent appends a value as JavaScript's encodeURIComponent writes
// it, but for "/".
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

// RequestPath and RequestQuery write what a person or a page names as a
// browser requests it. What is encoded already stays so.
func RequestPath(path string) string { return request(path, pathSigns) }

// RequestQuery is RequestPath for what stands behind the "?".
func RequestQuery(query string) string { return request(query, querySigns) }

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

func encoded(c byte, signs string) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte(signs, c) >= 0
}

func appendEscape(dst []byte, c byte) []byte {
	const hexDigits = "0123456789ABCDEF"
	return append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
}

// IsEscape reports whether s begins with %XX.
func IsEscape(s string) bool { return len(s) > 2 && s[0] == '%' && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// DotFolder is what people read of a URL that has a "." or ".." folder; "" if
// it has none.
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

// ResolveDots takes the "." and ".." folders out of a path, as browsers do.
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
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}
