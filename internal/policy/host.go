package policy

import (
	"strings"

	"github.com/purgebot/purgebot/internal/object"
)

// hostFits tells whether a pattern of the policy takes a canonical host. *.acme.com does
// not take acme.com itself. A pattern that is no host takes nothing.
func hostFits(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	domain, below := strings.CutPrefix(pattern, "*.")
	domain, err := object.CanonicalHost(domain)
	switch {
	case err != nil:
		return false
	case below:
		return strings.HasSuffix(host, "."+domain)
	}
	return host == domain
}
