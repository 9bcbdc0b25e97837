package verify

import (
	"slices"
	"strings"
)

// What caches say of themselves, from Akamai's X-Cache and X-Cache-Remote
// (https://techdocs.akamai.com/edge-diagnostics/docs/pragma-headers) or from
// Akamai-Cache-Status (https://techdocs.akamai.com/terraform/docs/return-cache-status).

// token returns the result in an X-Cache header such as "TCP_MISS from a165-254-246-9
// (AkamaiGHost/…)", in capital letters.
func token(header string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(header), " ")
	return strings.ToUpper(first)
}

// tiers returns the results in an Akamai-Cache-Status such as "Miss from child, Hit from
// parent", in capital letters. A result without a tier counts as the child's.
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

// said reports whether the tier that answered names one of these results.
func said(a Answer, results ...string) bool {
	child, _ := tiers(a.CacheStatus)
	return slices.Contains(results, child) || slices.Contains(results, token(a.XCache))
}

// fetched reports whether the answer has just come from behind this edge. That may be the
// parent tier: see parentHit.
func fetched(a Answer) bool { return said(a, "TCP_MISS", "TCP_REFRESH_MISS", "MISS") }

// revalidated reports whether one of the two tiers asked the origin and heard "not
// modified".
func revalidated(a Answer) bool {
	return said(a, "TCP_REFRESH_HIT", "REFRESHHIT") || parentSaid(a, "TCP_REFRESH_HIT", "REFRESHHIT")
}

// saysStale reports whether one of the two tiers could not ask and served what it had.
func saysStale(a Answer) bool {
	return said(a, "TCP_REFRESH_FAIL_HIT", "HITSTALE") || parentSaid(a, "TCP_REFRESH_FAIL_HIT", "HITSTALE")
}

// fromCache reports whether the answer came from the cache of the edge. An Age above 0
// shows that too, where the edge does not say what its cache did.
func fromCache(a Answer) bool {
	return said(a, "TCP_HIT", "TCP_MEM_HIT", "TCP_IMS_HIT", "TCP_NEGATIVE_HIT", "HIT") || a.Age != nil && *a.Age > 0
}

// parentHit reports whether the parent tier answered from its cache.
func parentHit(a Answer) bool { return parentSaid(a, "TCP_HIT", "TCP_MEM_HIT", "HIT") }

// parentSaid reports whether the parent tier names one of these results.
func parentSaid(a Answer, results ...string) bool {
	_, parent := tiers(a.CacheStatus)
	return slices.Contains(results, parent) || slices.Contains(results, token(a.XCacheRemote))
}
