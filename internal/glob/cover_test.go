package glob

import (
	"math/rand/v2"
	"testing"
)

// TestCoversIsSound: a warning that a rule is covered must never be wrong. If Covers says
// yes, every path that the inner glob matches must match the outer one too.
func TestCoversIsSound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	patterns := []string{
		"**", "**/*", "a/**", "a/b/**", "a/**/*.b", "**/*.b", "a/**/*b", "a/*.b", "a/b/*.b", "a/**", "a/**/**", "a/*", "a",
		"{a,b}/*.b", `a/\*.b`, "a/[b].b", "a/.b", "a/**/.b", "a/b", "*.b", "?.b", "a/**/*", "**/*]", "a/x[ab]", "a/{a,.b}", "**/*}",
	}
	for range 40 {
		patterns = append(patterns, randomPattern(rnd))
	}
	paths := []string{"a", "b", "a/b", "a/.b", "a/b.b", "a/b/c.b", "a.b", ".b", "b/a.b", "a/*.b", "a/b/.b", "a/b/b", "a/xa"}
	for range 300 {
		paths = append(paths, randomPath(rnd))
	}
	covered := 0
	for _, o := range patterns {
		outer, err := Compile(o)
		if err != nil {
			continue
		}
		for _, i := range patterns {
			inner, err := Compile(i)
			if err != nil || o == i || !outer.Covers(inner) {
				continue
			}
			covered++
			for _, path := range paths {
				if path != "" && path[0] != '/' && inner.Match(path, nil) && !outer.Match(path, nil) {
					t.Errorf("%s covers %s, but only the latter fits %q", o, i, path)
				}
			}
		}
	}
	if covered < 50 {
		t.Errorf("only %d pairs were looked at", covered)
	}
}
