package glob

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
)

// naive gives the answer that an index must give.
func naive(t testing.TB, globs []*Glob, path string) []int {
	t.Helper()
	var dst []int
	for i, g := range globs {
		// doublestar may report a bad pattern for a brace in a negated class, as in
		// [!0}], if the class does not match, although its own validation accepted the
		// pattern.
		ok, err := doublestar.Match(g.pattern, path)
		if err != nil && (!errors.Is(err, doublestar.ErrBadPattern) || !doublestar.ValidatePattern(g.pattern)) {
			t.Fatal(err)
		}
		if ok {
			dst = append(dst, i)
		}
	}
	return dst
}

// checkIndex compares an index with the naive answer. It asks about each path twice.
func checkIndex(t *testing.T, patterns, paths []string) {
	t.Helper()
	var globs []*Glob
	for _, pattern := range patterns {
		if g, err := Compile(pattern); err == nil {
			globs = append(globs, g)
		}
	}
	x := NewIndex(globs)
	for range 2 {
		for _, path := range paths {
			want := naive(t, globs, path)
			if got := x.Match(path, []int{-1}, nil); !slices.Equal(got[1:], want) || got[0] != -1 {
				t.Fatalf("%q matches %d, naively %d, of %q", path, got, want, patterns)
			}
		}
	}
}

func TestIndex(t *testing.T) {
	patterns := []string{
		"content/**/*.md", "content/**/*.{md,mdx}", "content/docs/**", "content/*/index.md", "content/**",
		"**/*.md", "**", "*", "static/**", "stat*/**", "**/index.*", "*.md", "{en,de}/**", "{content,layouts}/*.html",
		"_posts/[0-9]*.md", "**/[^a]*", "v?/**/x", "content/docs/a.md", "content/**/docs/**/*.md", "**/docs/**",
		`pages/\[id\].js`, "a*/**", "a/**/", "a/**/**", "/a", "a//b", "a/", "***", "*a*b*.tar.gz", "**.md", "v*-docs/*",
		"content/docs", "x\uFFFD", "{a/**,b}/c", "{,a}*/b",
	}
	paths := []string{
		"content/docs/a.md", "content/a.md", "content/docs/docs/b.mdx", "content", "static", "static/x", "README.md", "a", "ab",
		"en", "en/x", "de/a/b", "layouts/x.html", "_posts/2026.md", "_posts/x.md", "docs/x", "x/docs/y", "v1/x", "v1/a/b/x", "v/x",
		"pages/[id].js", "a/", "a//b", "/a", "", "/", "//", "a/b/", "a.a.b.tar.gz", "ab.tar.gz", "v2-docs/x", "x\xff", "x\uFFFD",
		"a/c", "b/c", "content/\n/x.md", "a/a/x", "\xff/\xfe.md", ".md", "content/.md", "b", "ab/b", "content/docs",
	}
	checkIndex(t, patterns, paths)
}

func TestIndexRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var patterns, paths []string
		for range 12 {
			patterns = append(patterns, randomPattern(rnd))
		}
		for range 40 {
			paths = append(paths, randomPath(rnd))
		}
		checkIndex(t, patterns, paths)
	}
}

func TestIndexAllocatesNothingForUnmatched(t *testing.T) {
	var globs []*Glob
	for _, pattern := range []string{"content/**/*.md", "static/**", "**/index.html", "v*/x/*", "content/{a,b}*/[0-9].txt"} {
		globs = append(globs, mustGlob(t, pattern))
	}
	x := NewIndex(globs)
	dst := make([]int, 0, 8)
	for _, path := range []string{"README.md", "content/a/b/c.png", "src/main/x.go", "v1/y/z", "content/axe/n.txt"} {
		x.Match(path, dst, nil)
		x.Match("other/x", dst, nil)
		if n := testing.AllocsPerRun(100, func() {
			x.Match(path, dst, nil)
			x.Match("content/a", dst, nil)
		}); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func TestIndexForgets(t *testing.T) {
	// Each folder name leads to its own set of places.
	var globs []*Glob
	for i := range 12 {
		globs = append(globs, mustGlob(t, fmt.Sprintf("**/*%c*/**/%c", 'a'+i, 'a'+i)))
	}
	x := NewIndex(globs)
	x.size = maxIndexSize - 100
	most := 0
	for i := range 1 << 12 {
		var segment strings.Builder
		for bit := range 12 {
			if i>>bit&1 == 1 {
				segment.WriteByte(byte('a' + bit))
			}
		}
		path := "x/" + segment.String() + "/y/c"
		if got, want := x.Match(path, nil, nil), naive(t, globs, path); !slices.Equal(got, want) {
			t.Fatalf("%s: %v, want %v", path, got, want)
		}
		most = max(most, x.size)
	}
	if most > maxIndexSize+100 {
		t.Errorf("remembers %d", most)
	}
	if x.size > maxIndexSize/2 {
		t.Errorf("never forgot: %d", x.size)
	}
}

// Folders that mean the same to the globs are the same folder.
func TestIndexSharesFolders(t *testing.T) {
	globs := []*Glob{mustGlob(t, "**/*a/**/b"), mustGlob(t, "**/a*/**/c"), mustGlob(t, "x/**"), mustGlob(t, "*/*/d")}
	x := NewIndex(globs)
	for _, folders := range []string{"a/", "ab/", "b/", "x/", "ba/a/ab/"} {
		path := strings.Repeat(folders, 100) + "b"
		if got, want := x.Match(path, nil, nil), naive(t, globs, path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if len(x.folders) > 20 {
		t.Errorf("%d folders", len(x.folders))
	}
	for _, f := range x.folders {
		seen := map[int]bool{}
		for _, l := range f.layers {
			for _, p := range l.places {
				if seen[p] {
					t.Errorf("place %d is in two layers", p)
				}
				seen[p] = true
			}
		}
	}
}

// The files of one folder can't fill the memory either.
func TestIndexForgetsAnswers(t *testing.T) {
	var globs []*Glob
	for i := range 1000 {
		globs = append(globs, mustGlob(t, "**"), mustGlob(t, fmt.Sprintf("**/*.e%d", i)))
	}
	x := NewIndex(globs)
	for i := range 1000 {
		if got := x.Match(fmt.Sprintf("a/b.e%d", i), nil, nil); len(got) != 1001 {
			t.Fatalf("%d matches", len(got))
		}
		if x.size > 2*maxIndexSize {
			t.Fatalf("remembers %d", x.size)
		}
	}
}

func TestIndexTooManySteps(t *testing.T) {
	var globs []*Glob
	for i := range 1200 {
		globs = append(globs, mustGlob(t, fmt.Sprintf("%d/", i)+strings.Repeat("a/", 60)+"*.md"))
	}
	x := NewIndex(globs)
	if len(x.steps) > maxIndexSteps+len(globs) {
		t.Errorf("%d steps", len(x.steps))
	}
	for _, i := range []int{0, 5, 1199} {
		if got := x.Match(strings.Replace(globs[i].pattern, "*", "x", 1), nil, nil); !slices.Equal(got, []int{i}) {
			t.Errorf("%d: %v", i, got)
		}
	}
}

func TestIndexConcurrently(t *testing.T) {
	globs := []*Glob{mustGlob(t, "**/a/*.md"), mustGlob(t, "*/b*/**")}
	x := NewIndex(globs)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 500 {
				path := fmt.Sprintf("x%d/b%d/a/c.md", (i+n)%7, i%11)
				if got := x.Match(path, nil, nil); !slices.Equal(got, []int{0, 1}) {
					t.Errorf("%s: %v", path, got)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzIndex(f *testing.F) {
	f.Add("content/**/*.md\x00**/*.{md,mdx}\x00static/**\x00*", "content/a.md\x00static\x00a/b\x00x")
	f.Add("a*/**\x00**/[^a]/**\x00***\x00{a,b*}/c", "a\x00ab\x00a//b\x00x/\xff/y")
	f.Add("**/a/**/b\x00?/*.tar.gz\x00\\*\x00a/**/", "a/a/b/b\x00/\x00*\x00ü/x.tar.gz\x00a")
	f.Fuzz(func(t *testing.T, patterns, paths string) {
		if len(patterns) > 1000 || len(paths) > 1000 {
			return
		}
		checkIndex(t, strings.Split(patterns, "\x00"), strings.Split(paths, "\x00"))
	})
}
