package verify

import (
	"slices"
	"strings"
)

// What caches say of themselves, from Akamai's X-Cache and X-Cache-Remote
// (https://techdocs.akamai.com/edge-diagnostics/docs/pragma-headers) or from
// Akamai-Cache-Status (https://techdocs.akamai.com/terraform/docs/return-cache-status).

// token is the result in "TCP_MISS from a165-254-246-9 (AkamaiGHost/…)".
func token(header string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(header), " ")
	return strings.ToUpper(first)
}

// tiers are the results in "Miss from child, Hit from parent".
func tiers(status string) (child, parent string) {
	for part := range strings.SplitSeq(status, ",") {
		result, tier, _ := strings.Cut(strings.TrimSpace(part), " from ")
		switch {
		case strings.EqualFold(tier, "parent"):
			parent = strings.ToUpper(result)
		case child == "":
			child = strings.ToUpper(result)
		}
	}
	return child, parent
}

// said tells whether the tier that answered reports one of these results.
func said(a Answer, results ...string) bool {
	child, _ := tiers(a.CacheStatus)
	return slices.Contains(results, child) || slices.Contains(results, token(a.XCache))
}

// fetched: the answer came from behind this edge just now.
func fetched(a Answer) bool { return said(a, "TCP_MISS", "TCP_REFRESH_MISS", "MISS") }

// revalidated: one of the two tiers asked, and heard "not modified".
func revalidated(a Answer) bool {
	return said(a, "TCP_REFRESH_HIT", "REFRESHHIT") || parentSaid(a, "TCP_REFRESH_HIT", "REFRESHHIT")
}

// saysStale: one of the two tiers could not ask, and served what it had.
func saysStale(a Answer) bool {
	return said(a, "TCP_REFRESH_FAIL_HIT", "HITSTALE") || parentSaid(a, "TCP_REFRESH_FAIL_HIT", "HITSTALE")
}

// fromCache: the edge had it.
func fromCache(a Answer) bool {
	return said(a, "TCP_HIT", "TCP_MEM_HIT", "TCP_IMS_HIT", "TCP_NEGATIVE_HIT", "HIT") || a.Age != nil && *a.Age > 0
}

// parentHit: the parent tier had it.
func parentHit(a Answer) bool { return parentSaid(a, "TCP_HIT", "TCP_MEM_HIT", "HIT") }

// parentSaid tells whether the parent tier reports one of these results.
func parentSaid(a Answer, results ...string) bool {
	_, parent := tiers(a.CacheStatus)
	return slices.Contains(results, parent) || slices.Contains(results, token(a.XCacheRemote))
}
