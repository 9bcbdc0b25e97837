// Package object is the one meaning of what a purge names: a URL or an ARL, a
// tag, a CP code. It says which host an object reaches, how a value is written
// in a URL, and what no browser requests. It is pure.
//
// Policy allows by it, the purger packs by it, and the ledger counts refusals by
// it: two meanings of a host would be a way around policy. Where a purge can't tell
// the host of an object, it has none, and nothing that is allowed by host allows it.
package object

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// ErrHost says that a text is no host name.
var ErrHost = errors.New("is not a host name")

// ASCIIHost gives a host name as a request has it: lower case, punycode. It
// takes letters, digits, "-" and "_" in labels of 1 to 63 bytes, 253 in all.
func ASCIIHost(host string) (string, error) {
	// The mapping of an IDN may turn one character into several, a full-width
	// solidus into "/": what comes out is checked, not what went in.
	lookup := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))
	out, err := lookup.ToASCII(host)
	if err != nil || out == "" || len(out) > 253 {
		return "", ErrHost
	}
	if again, err := lookup.ToASCII(out); err != nil || again != out { // of what is no UTF-8
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

func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// HostRune reports whether ASCII text in a host may have a character, before
// letters are lower case.
func HostRune(r rune) bool {
	return 'A' <= r && r <= 'Z' || r >= 0 && r < 0x80 && hostByte(byte(r))
}

// Host gives the host that a purge of a URL or an ARL reaches: in lower case
// and punycode, without port and trailing dot. What could mean one host here
// and another one at Akamai is an error.
func Host(object string) (string, error) {
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

// CanonicalHost is the one spelling of a host name or an address, without a
// trailing dot.
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

// arlHead is an ARL up to its host: /L/512/6848/1h/www.acme.com, also with /S
// before it. That is a letter or "=", the serial number, the CP code, how long
// the object stays fresh or its id, and the host.
// https://techdocs.akamai.com/purge-cache/docs/purge-content-arl
func arlHead(object string) (head string, ok bool) {
	rest := strings.TrimPrefix(object, "/S")
	if !strings.HasPrefix(rest, "/") { // "/S…" was a path
		rest = object
	}
	parts := strings.SplitN(rest, "/", 7) // the first is empty
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

// Beginnings gives what all objects of the same site as a URL or an ARL begin
// with, once in lower case and with a "/" behind them: those of a host under
// both schemes, or the ARLs that differ in nothing before their host.
func Beginnings(object string) []string {
	if head, ok := arlHead(object); ok {
		return []string{strings.ToLower(head) + "/"}
	}
	host, err := Host(object)
	if err != nil {
		return nil
	}
	var all []string
	for _, scheme := range []string{"https://", "http://"} {
		for _, end := range []string{"/", "?", "#", ":"} {
			all = append(all, scheme+host+end)
		}
	}
	return all
}
