package main

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"github.com/purgebot/purgebot/internal/fetch"
)

// receivers checks that the hosts of notify resolve to an address that the server may
// connect to. One such address is enough. It posts nothing, because a chat would show it
// to everybody.
func (d doctor) receivers(ctx context.Context) (found []examination) {
	may := fetch.Public(d.config.Fetch.Networks)
	for i, r := range d.config.Notify {
		e := examination{mark: markGood, check: fmt.Sprintf("notify %d", i+1)}
		u, err := url.Parse(r.URL.Reveal())
		if err != nil {
			continue // the check of the configuration reports it
		}
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		for _, a := range addresses {
			if err = may(a); err == nil {
				break
			}
		}
		if e.words = u.Host + " can be resolved, and nothing was sent"; err != nil {
			e.mark, e.words = markBad, fmt.Sprintf("%s can't be told: %v", u.Host, reason(err))
		}
		found = append(found, e)
	}
	return found
}
