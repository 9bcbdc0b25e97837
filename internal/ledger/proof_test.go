package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		sight   ledger.Sight
		waited  time.Duration
		late    mapping.Late
		deletes bool
		want    ledger.OriginStep
	}{
		{"it serves the deploy", ledger.Sight{Shows: true}, 0, mapping.LatePurge, true, ledger.OriginOpen},
		{"not yet", ledger.Sight{}, time.Minute, mapping.LatePurge, false, ledger.OriginWait},
		{"not in time", ledger.Sight{}, 2 * time.Minute, mapping.LatePurge, false, ledger.OriginOpen},
		{"not in time, a delete", ledger.Sight{}, 2 * time.Minute, mapping.LatePurge, true, ledger.OriginOpen},
		{"not in time, and that fails", ledger.Sight{}, 2 * time.Minute, mapping.LateFail, false, ledger.OriginFail},
		{"sick", ledger.Sight{Sick: "503"}, time.Minute, mapping.LatePurge, false, ledger.OriginWait},
		{"sick for long: an invalidation keeps the old page", ledger.Sight{Sick: "503"}, time.Hour, mapping.LatePurge, false, ledger.OriginOpen},
		{"sick for long: a delete would show the error", ledger.Sight{Sick: "503"}, time.Hour, mapping.LatePurge, true, ledger.OriginWait},
		{"sick for long, a delete, and late fails", ledger.Sight{Sick: "503"}, time.Hour, mapping.LateFail, true, ledger.OriginWait},
	} {
		asks := ledger.Asks{Verify: &mapping.Verify{Wait: 2 * time.Minute, Late: test.late}}
		if got := asks.Origin(test.sight, test.waited, test.deletes); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestShareAndSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sizes  []int
		sample int
		want   []int
	}{
		{[]int{3, 4}, 20, []int{3, 4}},
		{[]int{100, 5, 9}, 20, []int{18, 1, 1}},
		{[]int{5, 100}, 20, []int{5, 15}},
		{[]int{1, 1, 1}, 2, []int{1, 1, 0}},
		{[]int{0, 7}, 3, []int{0, 3}},
		{[]int{4}, 0, []int{0}},
	} {
		if diff := cmp.Diff(test.want, ledger.Share(test.sizes, test.sample)); diff != "" {
			t.Errorf("%v of %v: %s", test.sample, test.sizes, diff)
		}
	}
	for places := range 40 {
		for n := range 40 {
			at := ledger.Spread(places, n)
			if len(at) != min(places, n) || !slices.IsSorted(at) || len(at) > 0 && (at[0] != 0 || at[len(at)-1] >= places) {
				t.Fatalf("%d of %d: %v", n, places, at)
			}
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	got := ledger.Count([]ledger.Page{
		{Verdict: verify.Fresh},
		{Verdict: verify.Unknown, Cause: "no origin"},
		{},
		{Verdict: verify.Broken, Cause: "503"},
		{Verdict: verify.Stale, Cause: "old"},
		{Verdict: verify.Stale, Cause: "older"},
	})
	if want := (ledger.Proof{Checked: 5, Fresh: 1, Stale: 2, Words: "old"}); got != want || got.Unknown() != 2 {
		t.Errorf("%+v", got)
	}
}

// Every host's marker must show the commit, whichever comes last. Of a sample, one page
// is enough.
func TestSightsTogether(t *testing.T) {
	shows, not, sick := ledger.Sight{Shows: true}, ledger.Sight{}, ledger.Sight{Sick: "503"}
	for name, test := range map[string]struct {
		sights      []ledger.Sight
		all, either ledger.Sight
	}{
		"none":            {nil, not, not},
		"all":             {[]ledger.Sight{shows, shows}, shows, shows},
		"the first alone": {[]ledger.Sight{shows, not}, not, shows},
		"the last alone":  {[]ledger.Sight{not, shows}, not, shows},
		"one is sick":     {[]ledger.Sight{sick, shows}, sick, shows},
		"the last is":     {[]ledger.Sight{shows, sick}, sick, shows},
		"sick and old":    {[]ledger.Sight{sick, not}, sick, not},
		"all are sick":    {[]ledger.Sight{sick, sick}, sick, sick},
	} {
		if got := ledger.Together(test.sights); got != test.all {
			t.Errorf("%s together: %+v, want %+v", name, got, test.all)
		}
		if got := ledger.Either(test.sights); got != test.either {
			t.Errorf("either of %s: %+v, want %+v", name, got, test.either)
		}
	}
}

func TestLookEvery(t *testing.T) {
	for waited, want := range map[time.Duration]time.Duration{
		0:                time.Second,
		20 * time.Second: 6 * time.Second,
		28 * time.Second: 2 * time.Second, // its time is over after that
		40 * time.Second: 11 * time.Second,
		time.Hour:        15 * time.Second,
	} {
		if got := ledger.LookEvery(waited, 30*time.Second); got != want {
			t.Errorf("after %v: %v, want %v", waited, got, want)
		}
	}
}
