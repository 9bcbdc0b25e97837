package policy

import (
	"strings"

	"github.com/purgebot/purgebot/internal/object"
)

// hostFits tells whether a pattern of the policy takes a canonical host.
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
