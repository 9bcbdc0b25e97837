package github

import "testing"

// A comparison tells the difference from its merge base. That is the wanted difference
// only if the merge base is the base commit itself.
func TestComparisonIsTrustedByItsMergeBase(t *testing.T) {
	for name, test := range map[string]struct {
		status Relation
		base   string
		want   Way
	}{
		"of the commit":      {Ahead, "from", WayCompare},
		"of another one":     {Ahead, "other", ""},
		"not told":           {Ahead, "", ""},
		"on two sides":       {Diverged, "from", ""},
		"back to an earlier": {Behind, "from", ""},
	} {
		a := &compareAnswer{Status: test.status, Files: []fileAnswer{{Path: "a", Status: "added"}}}
		a.MergeBase.SHA = test.base
		if c := a.changes("from"); c.Way != test.want {
			t.Errorf("%s: %q, want %q", name, c.Way, test.want)
		}
	}
}
