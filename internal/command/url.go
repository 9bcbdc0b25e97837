package command

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/object"
)

// maxURL is in bytes, after encoding: no cache holds an object under a longer URL.
const maxURL = 8 << 10

// PageURL is the URL of a page on a host: "/shop/p1/" on www.acme.com. Its error is an
// *Error.
func PageURL(host, page string) (string, error) {
	url, mistake := browserURL("https://" + host + page)
	if mistake != nil {
		return "", mistake
	}
	return url, nil
}

// Address normalises an entry of a list of URLs and ARLs: a URL as a browser requests it,
// and an ARL with its path and query encoded like those of a URL. Its error completes a
// sentence that begins with the entry.
func Address(named string) (string, error) {
	scheme, _, _ := strings.Cut(named, ":")
	switch strings.ToLower(scheme) {
	case "http", "https":
		url, mistake := browserURL(named)
		if mistake != nil {
			return "", errors.New("is not a URL that can be purged: " + mistake.What)
		}
		return url, nil
	}
	path, query, hasQuery := strings.Cut(named, "?")
	arl := object.RequestPath(path)
	if hasQuery {
		arl += "?" + object.RequestQuery(query)
	}
	if _, err := object.Host(arl); err != nil {
		return "", errors.New("is neither an absolute URL nor an ARL: write https://HOST/PATH")
	}
	return arl, nil
}

// browserURL writes a URL as a browser requests it, since the cache knows the page by
// that: scheme and host in lower case, an IDN in punycode, no default port, no #fragment,
// "." and ".." resolved, and percent-encoded what a request line can't hold.
func browserURL(word string) (string, *Error) {
	scheme, rest, _ := strings.Cut(word, ":")
	scheme = strings.ToLower(scheme)
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return "", &Error{What: word + " is not a URL"}
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, `/?\`)
	if end < 0 {
		end = len(rest)
	}
	host, ok := browserHost(scheme, rest[:end])
	if !ok {
		return "", &Error{What: strconv.Quote(rest[:end]) + " is not a host that Akamai serves"}
	}
	path, query, hasQuery := strings.Cut(rest[end:], "?")
	out := scheme + "://" + host + object.RequestPath(object.ResolveDots(strings.ReplaceAll(path, `\`, "/")))
	if hasQuery {
		out += "?" + object.RequestQuery(query)
	}
	if len(out) > maxURL {
		return "", &Error{What: "a URL has more than " + strconv.Itoa(maxURL) + " bytes"}
	}
	if _, err := url.Parse(out); err != nil {
		return "", &Error{What: word + " is not a URL"}
	}
	return out, nil
}

// browserHost gives HOST, or HOST:PORT unless the port is the scheme's own. false: it is
// no host.
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
	ascii, err := object.ASCIIHost(name)
	if err != nil {
		return "", false
	}
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return ascii, true
	}
	return net.JoinHostPort(ascii, port), true
}
