package glob

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// hostile returns globs that compile and are written to be slow, with paths written for
// them. A %d in a path takes a number that makes it unique.
func hostile() []struct {
	name     string
	patterns []string
	path     string
} {
	many := func(n int, pattern string) (all []string) {
		for i := range n {
			all = append(all, strings.ReplaceAll(pattern, "#", fmt.Sprint(i)))
		}
		return all
	}
	aaa := strings.Repeat("a", 60)
	return []struct {
		name     string
		patterns []string
		path     string
	}{
		{"braces of nothing", many(50, "content/{"+strings.Repeat(",", 100)+"}{,}[^b]*x#"), "content/" + aaa + "%d.md"},
		{"stars", many(50, strings.Repeat("*a", 100)+"b#"), aaa + aaa + "%d"},
		{"classes that take slashes", many(50, "**/"+strings.Repeat("*[^b]", 90)+"b#"), strings.Repeat("a/", 60) + "%d"},
		{"folders of stars", many(50, strings.Repeat("**/*a*/", 60)+"b#"), strings.Repeat("a/", 60) + "%d"},
		{"folders of their own", many(50, "**/*a#*/**/*b#*/**"), "x/a%[1]db%[1]d/a%[1]d/b%[1]d/c"},
		{"braces full of stars", many(50, "{"+strings.Repeat("*a*a*a*aa,", 35)+"b}c#"), aaa + "%d"},
		{"long classes", many(50, "**/"+strings.Repeat("["+strings.Repeat("^b", 50)+"]", 4)+"#"), aaa + "/%d"},
		{"folders of letters", many(26, "**/*#*/**/#*"), "ab/cd/ef/%d/gh"},
		{"late braces", many(50, "**/*a{"+strings.Repeat("b,", 100)+"c}{x,[^y]}#"), strings.Repeat("a", 20) + "/" + aaa + "%d"},
		{"nested braces", many(50, strings.Repeat("{", 60)+"a[^x]"+strings.Repeat(",b}", 60)+"*#"), "b/%d"},
	}
}

// BenchmarkSteps measures what a step costs at most, on the paths of a site with 60,000
// files. That makes a bound in steps a bound in time.
func BenchmarkSteps(b *testing.B) {
	for _, h := range hostile() {
		b.Run(h.name, func(b *testing.B) {
			const most = 20_000_000
			steps := 0
			for b.Loop() {
				b.StopTimer()
				var paths []string
				for i := range 60_000 {
					paths = append(paths, fmt.Sprintf(h.path, i))
				}
				b.StartTimer()
				globs := make([]*Glob, len(h.patterns))
				for i, pattern := range h.patterns {
					globs[i] = mustGlob(b, pattern)
				}
				x, w := NewIndex(globs), NewWork(b.Context(), most)
				for _, path := range paths {
					if x.Match(path, nil, w); w.Err() != nil {
						break
					}
				}
				steps = most - w.Left
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(steps), "ns/step")
			b.ReportMetric(float64(steps), "steps")
		})
	}
}

// Matching hostile globs ends when the steps do. It overdraws them by no more than one
// look at one glob. What the globs would cost without a bound is counted.
func TestWorkEnds(t *testing.T) {
	const steps = 5_000_000
	for _, h := range hostile() {
		t.Run(h.name, func(t *testing.T) {
			var globs []*Glob
			for _, pattern := range h.patterns {
				globs = append(globs, mustGlob(t, pattern))
			}
			x, w := NewIndex(globs), NewWork(t.Context(), steps)
			paths := 0
			for ; paths < 60_000 && w.Err() == nil; paths++ {
				x.Match(fmt.Sprintf(h.path, paths), nil, w)
			}
			if !errors.Is(w.Err(), ErrTooMuch) {
				t.Fatalf("%d paths took %d steps: %v", paths, steps-w.Left, w.Err())
			}
			if w.Left < -steps {
				t.Errorf("overdrawn by %d steps", -w.Left)
			}
		})
	}
}

func TestWorkAsksItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := NewWork(ctx, math.MaxInt)
	cancel()
	g := mustGlob(t, "*a*a*b")
	path := strings.Repeat("a", 2_000)
	for i := 0; w.Err() == nil; i++ {
		if i > askEvery {
			t.Fatal("the context is not asked")
		}
		g.Match(path, w)
	}
	if !errors.Is(w.Err(), context.Canceled) {
		t.Error(w.Err())
	}
}

// FuzzSteps checks that the cost of matching a path stays below a bound that grows with
// the product of both lengths, and that a bounded Work keeps its bound.
func FuzzSteps(f *testing.F) {
	for _, h := range hostile() {
		f.Add(h.patterns[0], fmt.Sprintf(h.path, 7))
	}
	f.Add("**/*a*/*[^b]{,x}*/**", "a/b/c/ax/b")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		g, err := Compile(pattern)
		if err != nil || len(path) > 4096 {
			return
		}
		most := 50 + 4*(g.parsed.tokens+strings.Count(pattern, "{")*g.Combinations()+g.Combinations())*(len(path)+2)
		if strings.Contains(pattern, "[") {
			most *= len(pattern)
		}
		w := NewWork(t.Context(), math.MaxInt)
		matched := g.Match(path, w)
		if took := math.MaxInt - w.Left; took > most {
			t.Errorf("%q with %q took %d steps, at most %d", pattern, path, took, most)
		}
		if matched {
			before := w.Left
			g.Captures(path, w)
			if took := before - w.Left; took > most*2 {
				t.Errorf("%q with %q took %d steps for the numbers, at most %d", pattern, path, took, 2*most)
			}
		}
		bounded := NewWork(t.Context(), 100)
		g.Match(path, bounded)
		if over := -bounded.Left; over > len(pattern)+4*maxTokens {
			t.Errorf("%q with %q overdrew by %d", pattern, path, over)
		}
	})
}

// The bound of a comment's command is 250 ms at 8 ns a step. Ordinary commands stay far
// below it.
func TestOrdinaryPatternsTakeFewSteps(t *testing.T) {
	for _, pattern := range []string{
		"**", "content/docs/**", "**/*.md", "content/**/[^_]*.{md,mdx}", "**/{index,_index}.*", "static/img/*.png", "**/*-2026-*", "{en,de,fr}/**/news/**",
	} {
		x, w := NewIndex([]*Glob{mustGlob(t, pattern)}), NewWork(t.Context(), math.MaxInt)
		for _, path := range sitePaths(60_000) {
			x.Match(path, nil, w)
		}
		if took := math.MaxInt - w.Left; took > 5_000_000 {
			t.Errorf("%s: %d steps", pattern, took)
		}
	}
}

// Work that takes time takes steps: each turn of the matching, and what an index builds
// for a folder that it has not seen.
func TestWorkIsCounted(t *testing.T) {
	long := strings.Repeat("a", 2_000)
	w := NewWork(t.Context(), math.MaxInt)
	mustGlob(t, "*a*a*b").Match(long, w)
	if took := math.MaxInt - w.Left; took < len(long) {
		t.Errorf("%d steps for %d characters", took, len(long))
	}
	var globs []*Glob
	for i := range 200 {
		globs = append(globs, mustGlob(t, fmt.Sprintf("**/*a%d*/**/b", i)))
	}
	x, w := NewIndex(globs), NewWork(t.Context(), math.MaxInt)
	x.Match("x/y", nil, w)
	before := w.Left
	x.Match("xa1a2a3/y", nil, w) // leads to places that no other folder has
	if took := before - w.Left; took < 200*2+30*3 {
		t.Errorf("%d steps for a new folder", took)
	}
	before = w.Left
	x.Match("xa1a2a3/y", nil, w)
	if took := before - w.Left; took > 50 {
		t.Errorf("%d steps for a folder that is known", took)
	}
}
