package pipeline

import "testing"

// TestOutcomeOfSeveral: of what a fact led to in several environments, the move is told.
func TestOutcomeOfSeveral(t *testing.T) {
	moved, seen, not := Outcome{result: desired}, Outcome{result: known}, otherwise("abc is not on main")
	for _, c := range []struct {
		all  []Outcome
		want Outcome
	}{
		{[]Outcome{moved, not}, moved},
		{[]Outcome{not, moved}, moved},
		{[]Outcome{seen, moved, not}, moved},
		{[]Outcome{seen, not}, seen},
		{[]Outcome{otherwise("triggers nothing"), not}, not},
	} {
		var got Outcome
		for _, o := range c.all {
			got = got.with(o)
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.all, got, c.want)
		}
	}
}
