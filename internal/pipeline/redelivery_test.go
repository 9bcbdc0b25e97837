package pipeline

import (
	"slices"
	"testing"

	"github.com/purgebot/purgebot/internal/github"
)

// GitHub is asked first for what a person waits for. What the comparison finds as well
// does not use up GitHub's limits.
func TestRedeliveriesAtOnce(t *testing.T) {
	for name, c := range map[string]struct{ comments, pushes, want, left int }{
		"nothing":            {},
		"a few of each":      {3, 4, 7, 0},
		"few enough pushes":  {3, 15, 18, 0},
		"many pushes":        {3, 400, 3, 400},
		"many comments":      {70, 400, 60, 400},
		"nearly as many":     {50, 12, 60, 0},
		"nothing but pushes": {0, 16, 0, 16},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Concat(slices.Repeat([]github.Delivery{{Event: "issue_comment", Action: "created"}}, c.comments),
				slices.Repeat([]github.Delivery{{Event: "push"}}, c.pushes))
			got, left := atOnce(all)
			if len(got) != c.want || left != c.left || c.comments > 0 && got[0].Event != "issue_comment" {
				t.Errorf("%d now, %d left; want %d and %d", len(got), left, c.want, c.left)
			}
		})
	}
}
