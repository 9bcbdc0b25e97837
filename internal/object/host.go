// Package object defines what a purge names: a URL or an ARL, a tag, or a CP code. It
// says which host an object reaches, how a value is written in a URL, and what no browser
// requests. It is pure.
//
// Policy allows objects by it, the purger packs them by it, and the ledger counts
// refusals by it. All of them must use this one meaning of a host: a second one would be
// a way around policy. If the host of an object is not certain, the object has none, and
// nothing that is allowed by host allows it.
package object

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// ErrHost says that a text is not a host name. Its words end a sentence that begins with
// the text.
var ErrHost = errors.New("is not a host name")

// ASCIIHost returns a host name as it stands in a request: in lower case and punycode. It
// takes letters, digits, "-" and "_". A label has 1 to 63 bytes and no "-" at its ends;
// the name has at most 253 bytes.
func ASCIIHost(host string) (string, error) {
	// The mapping of an IDN may turn one character into several, and a full-width solidus
	// into "/". So the checks below look at what comes out, not at what went in.
	lookup := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))
	out, err := lookup.ToASCII(host)
	if err != nil || out == "" || len(out) > 253 {
		return "", ErrHost
	}
	if again, err := lookup.ToASCII(out); err != nil || again != out { // text that is not UTF-8
		return "", ErrHost
	}
	for label := range strings.SplitSeq(out, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", ErrHost
		}
		for i := range len(label) {
			if !hostByte(label[i]) {
				return "", ErrHost
			}
		}
	}
	return out, nil
}

// hostByte reports whether c may stand in a label that ASCIIHost has converted.
func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// HostRune reports whether r may stand in a label of an ASCII host name, in either case.
// A dot separates labels and is not part of one.
func HostRune(r rune) bool {
	return 'A' <= r && r <= 'Z' || r >= 0 && r < 0x80 && hostByte(byte(r))
}

// Host returns the host that a purge of a URL or an ARL reaches: in lower case and
// punycode, without a port or a trailing dot. An object is an error if it could mean one
// host here and another one at Akamai.
func Host(object string) (string, error) {
	// Parsers differ in what they make of these: browsers read "\" as "/" and drop tabs.
	if strings.ContainsFunc(object, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return "", errors.New("a space, a backslash or a control character stands in it")
	}
	if strings.HasPrefix(object, "/") {
		head, ok := arlHead(object)
		if !ok {
			return "", errors.New("it is neither an absolute URL nor an ARL")
		}
		host, _, _ := strings.Cut(head[strings.LastIndexByte(head, '/')+1:], ":")
		return CanonicalHost(host)
	}
	u, err := url.Parse(object)
	switch {
	case err != nil, u.Opaque != "", u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("it is not an absolute http or https URL")
	case u.User != nil:
		return "", errors.New("a user stands before its host")
	}
	return CanonicalHost(u.Hostname())
}

// CanonicalHost returns the one spelling of a host name or an IP address, without a
// trailing dot. An error is in words for people.
func CanonicalHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String(), nil
	}
	ascii, err := ASCIIHost(strings.TrimSuffix(host, "."))
	if err != nil {
		return "", errors.New("it has no proper host")
	}
	return ascii, nil
}

// arlHead returns an ARL up to and including its host: /L/512/6848/1h/www.acme.com, which
// /S may precede. Its parts are a letter or "=", the serial number, the CP code, how long
// the object stays fresh or its id, and the host.
// https://techdocs.akamai.com/purge-cache/docs/purge-content-arl
func arlHead(object string) (head string, ok bool) {
	rest := strings.TrimPrefix(object, "/S")
	if !strings.HasPrefix(rest, "/") { // a word that begins with S, not /S alone
		rest = object
	}
	parts := strings.SplitN(rest, "/", 7) // the first is empty, the sixth the host, the seventh the path
	if len(parts) < 6 {
		return "", false
	}
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	word := func(s string) bool {
		return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r == '-' || !HostRune(r) })
	}
	if len(parts[1]) != 1 || parts[1] != "=" && !word(parts[1]) || !digits(parts[2]) || !digits(parts[3]) || !word(parts[4]) {
		return "", false
	}
	tail := 0
	if len(parts) == 7 {
		tail = len(parts[6]) + 1
	}
	return object[:len(object)-tail], true
}

// Beginnings returns prefixes in lower case. An object is of the same site as the given
// URL or ARL if it begins with one of them, once it is in lower case and has a "/" after
// it. For a URL they are its host under both schemes, for an ARL everything up to its
// host. They are nil if the object has no host.
func Beginnings(object string) []string {
	if head, ok := arlHead(object); ok {
		return []string{strings.ToLower(head) + "/"}
	}
	host, err := Host(object)
	if err != nil {
		return nil
	}
	if strings.Contains(host, ":") { // an IPv6 address
		host = "[" + host + "]"
	}
	var all []string
	for _, scheme := range []string{"https://", "http://"} {
		for _, end := range []string{"/", "?", "#", ":"} {
			all = append(all, scheme+host+end)
		}
	}
	return all
}
