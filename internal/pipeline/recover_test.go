package pipeline

import (
	"slices"
	"testing"

	"github.com/purgebot/purgebot/internal/github"
)

// What a person waits for is asked for first, and what the comparison finds
// as well does not use up GitHub's limits.
func TestRedeliveriesAtOnce(t *testing.T) {
	for name, c := range map[string]struct{ comments, pushes, want, wantComments int }{
		"nothing":            {},
		"a few of each":      {3, 4, 7, 3},
		"many pushes":        {3, 400, 18, 3},
		"many comments":      {70, 400, 60, 60},
		"nearly as many":     {50, 400, 60, 50},
		"nothing but pushes": {0, 16, 15, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Concat(slices.Repeat([]github.Delivery{{Event: "issue_comment"}}, c.comments),
				slices.Repeat([]github.Delivery{{Event: "push"}}, c.pushes))
			got, comments := atOnce(all), 0
			for _, d := range got {
				if d.Event == "issue_comment" {
					comments++
				}
			}
			if len(got) != c.want || comments != c.wantComments {
				t.Errorf("%d, %d of them comments; want %d and %d", len(got), comments, c.want, c.wantComments)
			}
		})
	}
}
