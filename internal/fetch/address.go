package fetch

import (
	"fmt"
	"net/netip"
)

// Public returns a judge of addresses for Config.Address. It refuses every address that
// is not on the public internet, except those in networks. The judge gets the address
// that is about to be connected to, after DNS, so a name that resolves to another address
// the second time gains nothing.
func Public(networks []netip.Prefix) func(netip.Addr) error {
	return func(addr netip.Addr) error {
		addr = addr.Unmap().WithZone("") // ::ffff:10.0.0.1 is 10.0.0.1; a prefix contains no address with a zone
		for _, n := range networks {
			if n.Contains(addr) {
				return nil
			}
		}
		// The networks above are compared with the address itself, everything else with
		// where it leads.
		if inner, ok := embedded(addr); ok {
			addr = inner
		}
		if kind := special(addr); kind != "" {
			return fmt.Errorf("address %s is %s; fetch.networks in purgebot's configuration can allow it", addr, kind)
		}
		return nil
	}
}

// special says what an address is that is not public; "" for a public one.
func special(addr netip.Addr) string {
	switch {
	case !addr.IsValid() || addr.IsUnspecified():
		return "no address"
	case addr.IsLoopback():
		return "this machine"
	case addr.IsPrivate():
		return "private"
	case addr.IsLinkLocalUnicast(): // also 169.254.169.254, where most clouds have their metadata
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	}
	for _, r := range reserved() {
		if r.Contains(addr) {
			return "reserved (" + r.String() + ")"
		}
	}
	return ""
}

// reserved are the blocks of IANA's special-purpose registries for which netip has no
// method (https://www.iana.org/assignments/iana-ipv4-special-registry), and Azure's
// WireServer, which serves that cloud's metadata at a public address.
func reserved() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"),    // NAT of carriers; 100.100.100.200 is Alibaba's metadata
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's WireServer
		netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("192.88.99.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"),
		netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("::/96"),
		netip.MustParsePrefix("64:ff9b:1::/48"),
		netip.MustParsePrefix("100::/64"),
		netip.MustParsePrefix("2001::/23"),
		netip.MustParsePrefix("2001:db8::/32"), // documentation
		netip.MustParsePrefix("3fff::/20"),
		netip.MustParsePrefix("5f00::/16"),
		netip.MustParsePrefix("fec0::/10"),
	}
}

// embedded returns the IPv4 address that an IPv6 address leads to, for NAT64 (RFC 6052)
// and 6to4 (RFC 3056). Without it, a private address could be reached in the form of an
// IPv6 one.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
