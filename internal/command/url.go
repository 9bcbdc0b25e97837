package command

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// maxURL is in bytes, once encoded; no cache holds an object under a longer one.
const maxURL = 8 << 10

// browserURL writes a URL as a browser requests it: scheme and host in lower
// case, an IDN in punycode, no default port, no #fragment, "." and ".."
// resolved, and what can't stand in a request line percent-encoded.
func browserURL(word string) (string, *Error) {
	const example = "/purge https://www.acme.com/docs/"
	scheme, rest, _ := strings.Cut(word, ":")
	scheme = strings.ToLower(scheme)
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return "", &Error{What: word + " is not a URL", Nearest: example}
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, `/?\`)
	if end < 0 {
		end = len(rest)
	}
	host, ok := browserHost(scheme, rest[:end])
	if !ok {
		return "", &Error{What: rest[:end] + " is not a host that Akamai serves", Nearest: example}
	}
	path, query, hasQuery := strings.Cut(rest[end:], "?")
	out := scheme + "://" + host + encode(resolve(strings.ReplaceAll(path, `\`, "/")), pathSigns)
	if hasQuery {
		out += "?" + encode(query, querySigns)
	}
	if len(out) > maxURL {
		return "", &Error{What: "a URL has more than " + strconv.Itoa(maxURL) + " bytes", Nearest: example}
	}
	if _, err := url.Parse(out); err != nil {
		return "", &Error{What: word + " is not a URL", Nearest: example}
	}
	return out, nil
}

// browserHost gives HOST or HOST:PORT.
func browserHost(scheme, authority string) (string, bool) {
	name, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i >= 0 {
		name, port = authority[:i], authority[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", false
		}
		port = strconv.FormatUint(n, 10)
	}
	ascii, err := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false)).ToASCII(name)
	if err != nil || len(ascii) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return ascii, true
	}
	return net.JoinHostPort(ascii, port), true
}

// resolve takes the "." and ".." segments out of a path.
func resolve(path string) string {
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

// What is encoded beside controls, the space and everything outside ASCII:
// in a path what purgebot encodes in a file's name, too, so that both ways
// to name a page give one object.
const (
	pathSigns  = "\"#<>?[\\]^{|}`"
	querySigns = "\"#<>\\^`{|}"
)

// encode leaves a % as it is: what is encoded already stays so.
func encode(s, signs string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '%' && !isEscape(s[i:]):
			b.WriteString("%25")
		case c <= ' ' || c >= 0x7f || strings.IndexByte(signs, c) >= 0:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isEscape reports whether s begins with %XX.
func isEscape(s string) bool { return len(s) > 2 && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
