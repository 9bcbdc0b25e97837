package policy

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// hostOf gives the host that a purge of an object reaches, in lower case and
// punycode, without port and trailing dot. The object is an absolute URL or
// an ARL, as in /L/512/6848/1h/www.acme.com/: type code, serial number, CP
// code, time to live, host.
// https://techdocs.akamai.com/purge-cache/docs/purge-content-arl
//
// What could mean one host here and another one at Akamai is an error.
func hostOf(object string) (string, error) {
	if strings.ContainsFunc(object, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return "", errors.New("a space, a backslash or a control character stands in it")
	}
	if strings.HasPrefix(object, "/") {
		return arlHost(object)
	}
	u, err := url.Parse(object)
	switch {
	case err != nil, u.Opaque != "", u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("it is not an absolute http or https URL")
	case u.User != nil:
		return "", errors.New("a user stands before its host")
	}
	return canonical(u.Hostname())
}

func arlHost(arl string) (string, error) {
	parts := strings.Split(arl, "/") // the first is empty
	if len(parts) < 6 || !regexp.MustCompile(`^/[A-Za-z]/\d+/\d+/\w+$`).MatchString(strings.Join(parts[:5], "/")) {
		return "", errors.New("it is neither an absolute URL nor an ARL")
	}
	host, _, _ := strings.Cut(parts[5], ":")
	return canonical(host)
}

// canonical gives a host as requests have it.
func canonical(host string) (string, error) {
	bad := errors.New("it has no proper host")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String(), nil
	}
	host = strings.TrimSuffix(host, ".")
	ascii := strings.ToLower(host)
	if strings.Contains(ascii, "xn--") || strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		var err error
		if ascii, err = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false)).ToASCII(host); err != nil {
			return "", bad
		}
	}
	if len(ascii) > 253 {
		return "", bad
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInLabel) {
			return "", bad
		}
	}
	return ascii, nil
}

func notInLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// hostFits tells whether a pattern of the policy takes a canonical host.
func hostFits(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	domain, below := strings.CutPrefix(pattern, "*.")
	domain, err := canonical(domain)
	switch {
	case err != nil:
		return false
	case below:
		return strings.HasSuffix(host, "."+domain)
	}
	return host == domain
}
