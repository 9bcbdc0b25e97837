package glob

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-cmp/cmp"
)

func mustGlob(t testing.TB, pattern string) *Glob {
	t.Helper()
	g, err := Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestCaptures(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          []string // nil: no match
	}{
		{"content/**/*.md", "content/a/b/c.md", []string{"a/b", "c"}},
		{"content/**/*.md", "content/c.md", []string{"", "c"}},
		{"_posts/*-*-*-*.md", "_posts/2026-11-22-hello-world.md", []string{"2026", "11", "22", "hello-world"}},
		{"{en,de}/**", "de/x/y.html", []string{"de", "x/y.html"}},
		{"**/docs/**", "x/docs/docs/y", []string{"x", "docs/y"}},
		{"**/docs/**", "docs/docs", []string{"", "docs"}},

		// ** and the slash beside it
		{"static/**", "static", []string{""}},
		{"static/**/", "static", []string{""}},
		{"static/**", "static/a/b", []string{"a/b"}},
		{"**", "a/b", []string{"a/b"}},
		{"**/**", "a/b", []string{"", "a/b"}},
		{"a/**/b/**/c", "a/b/b/x/c", []string{"", "b/x"}},
		{"a/**/**", "a", nil},

		// ** inside a segment is *
		{"**.md", "a.md", []string{"a"}},
		{"**.md", "a/b.md", nil},
		{"a**", "ab", []string{"b"}},
		{"a**", "ab/c", nil},
		{"a/**b/c", "a/xb/c", []string{"x"}},

		// single runes and classes
		{"a?c", "aüc", []string{"ü"}},
		{"a?c", "a/c", nil},
		{"a?c", "a\xffc", []string{"\xff"}},
		{"[!a]x", "bx", []string{"b"}},
		{"[^a]x", "ax", nil},
		{"[a-c][\\]]", "b]", []string{"b", "]"}},
		{"a[^b]c", "a/c", []string{"/"}}, // doublestar says so
		{"*.[ch]", "a.b.c", []string{"a.b", "c"}},

		// braces: one number each, and the shortest that fits
		{"{a,ab}*", "abc", []string{"a", "bc"}},
		{"{ab,a}*", "abc", []string{"a", "bc"}},
		{"{ab,a}c", "abc", []string{"ab"}},
		{"x{,-y}.md", "x.md", []string{""}},
		{"x{,-y}.md", "x-y.md", []string{"-y"}},
		{"{en,{de,fr}-{at,ch}}/*", "fr-ch/x", []string{"fr-ch", "x"}},
		{"{a*,b?}/[x]", "axy/x", []string{"axy", "x"}},
		{"{**/a,b}/*", "x/a/c", []string{"x/a", "c"}},
		{"{a/**,b}/c", "a/c", []string{"a/"}},
		{"b{a/**,x}", "ba", []string{"a"}},
		{"{a,}**/x", "q/r/x", []string{"", "q/r"}},
		{"{[,}],x}y", ",y", []string{","}},
		{"**/*{,b}", "a/", []string{"a", "", ""}}, // a brace that has been opened stays open

		// escapes and what is not special
		{`\*\{a,b\}*`, "*{a,b}c", []string{"c"}},
		{"a,b]*", "a,b]c", []string{"c"}},
		{"a b/*", "a b/c\nd", []string{"c\nd"}},
		{"*/*", "\xff\xfe/\xc3", []string{"\xff\xfe", "\xc3"}},
		{"***", "abc", []string{"", "abc"}},
		{"*", ".htaccess", []string{".htaccess"}},
		{"A*", "ab", nil},
	}
	for _, tt := range tests {
		t.Run(tt.pattern+" "+tt.path, func(t *testing.T) {
			g := mustGlob(t, tt.pattern)
			if got := g.Match(tt.path, nil); got != (tt.want != nil) {
				t.Fatalf("match = %t", got)
			}
			if tt.want == nil {
				return
			}
			if diff := cmp.Diff(tt.want, g.Captures(tt.path, nil)); diff != "" {
				t.Error(diff)
			}
			if g.Wildcards() != len(tt.want) {
				t.Errorf("wildcards() = %d", g.Wildcards())
			}
		})
	}
}

func TestGlobWithoutWildcards(t *testing.T) {
	g := mustGlob(t, `a/b\*.md`)
	if !g.Match("a/b*.md", nil) || g.Match("a/bc.md", nil) || g.Wildcards() != 0 || g.Captures("a/b*.md", nil) != nil {
		t.Errorf("%+v", g)
	}
}

func TestGlobErrors(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{`a\`, `ends with "\", which makes the next character an ordinary one; write "\\" for the character itself`},
		{`a[b`, `has a "[" without a "]" after it; write "\[" for the character itself`},
		{`a[b\]`, `has a "[" without a "]" after it; write "\[" for the character itself`},
		{`a[]b]`, `has a "[…]" with nothing in it; write "\[" for the character itself`},
		{`a[^]`, `has a "[…]" with nothing in it; write "\[" for the character itself`},
		{`{a,{b}`, `has a "{" without a "}" after it; write "\{" for the character itself`},
		{``, `is empty; write "**" for every file`},
		{`a}b`, `has a "}" without a "{" before it; write "\}" for the character itself`},
		{`*{*,a}`, `has a "*" at the edge of a brace and another one beside it; leave one of them out`},
		{`{a,b*}*`, `has a "*" at the edge of a brace and another one beside it; leave one of them out`},
		{
			strings.Repeat("{a,b}", 9),
			`has braces that stand for too many combinations; write several globs`,
		},
		{strings.Repeat("ü", 251), `is longer than 500 bytes; write a shorter one, or several`},
	}
	for _, tt := range tests {
		t.Run(tt.pattern[:min(len(tt.pattern), 20)], func(t *testing.T) {
			_, err := Compile(tt.pattern)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// No glob that compiles may keep a worker busy for long, whatever the path is.
func TestHostileGlobs(t *testing.T) {
	path := strings.Repeat("a", 4000)
	folders := strings.Repeat("a/", 2000) + "a"
	tests := []struct{ name, pattern, path string }{
		{"many stars", strings.Repeat("*a", 200) + "b", path},
		{"a long literal after a star", "*" + strings.Repeat("a", 490) + "b", path},
		{"many folders", strings.Repeat("**/a/", 90) + "b", folders},
		{"folders of stars", strings.Repeat("**/*a*/", 60) + "b", folders},
		{"folders and classes that take slashes", "**/" + strings.Repeat("*[^b]", 90) + "b", folders},
		{"braces", "**/*" + strings.Repeat("{a,aa}", 7) + "*b", path},
		{"nested braces", strings.Repeat("{", 200) + "a" + strings.Repeat(",b}", 200), path},
		{"braces full of stars", "{" + strings.Repeat("*a*a*a*aa,", 35) + "b}c", path},
		{"more braces than fit", strings.Repeat("{a,b}", 90), path},
		{"deep braces", strings.Repeat("{a,{b,", 60) + "c" + strings.Repeat("}}", 60), path},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Now()
			g, err := Compile(tt.pattern)
			if err == nil {
				g.Match(tt.path, nil)
				g.Captures(tt.path, nil)
				NewIndex([]*Glob{g}).Match(tt.path, nil, nil)
			}
			took := time.Since(begin)
			t.Log(took, err)
			if took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func FuzzGlob(f *testing.F) {
	for _, seed := range []struct{ pattern, path string }{
		{"content/**/*.md", "content/a/b/c.md"},
		{"{en,de}/**", "de/x\ny/\xff"},
		{"**/*{*/z,y}", "a/z"},
		{"**{/x,y}", "b/x"},
		{"a*{,x}", "a"},
		{"*[^b]*", "a/c"},
		{"a/**/**/", "a/"},
		{`\/**\/x`, "/a/x"},
		{"{a,}**/x", "//x"},
		{"a\xff?[\xfe]", "a\xfe\xc3\uFFFD"},
		{"{**/a/*b,c}*", "a/a/xbb"},
		{"***[a-\\]]", "x]"},
	} {
		f.Add(seed.pattern, seed.path)
	}
	f.Fuzz(checkGlob)
}

// Patterns and paths made of a few parts hit corner cases more often than those that a
// fuzzer finds.
func TestGlobRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		checkGlob(t, randomPattern(rnd), randomPath(rnd))
	}
}

func randomPattern(rnd *rand.Rand) string {
	return randomParts(rnd, 8, "a", "b", "a", "b", "/", "/", "/", "**/", "/**", "*", "*", "?", "**", "[ab]", "[^a]",
		"{a,b}", "{a*,/b}", "{**/a,}", "{", ",", "}", ".md", `\`, `\/`)
}

func randomPath(rnd *rand.Rand) string {
	return randomParts(rnd, 8, "a", "b", "a", "b", "/", "/", "/", "ab", ".md", "ü", "\xff")
}

func randomParts(rnd *rand.Rand, most int, parts ...string) string {
	var b strings.Builder
	for range 1 + rnd.IntN(most) {
		b.WriteString(parts[rnd.IntN(len(parts))])
	}
	return b.String()
}

// checkGlob compares a glob with doublestar, and its captures with all ways to split the
// path.
func checkGlob(t *testing.T, pattern, path string) {
	t.Helper()
	g, err := Compile(pattern)
	if err != nil {
		return
	}
	want, err := doublestar.Match(pattern, path)
	if err != nil {
		t.Fatalf("%q with %q: compiles, but doublestar says %v", pattern, path, err)
	}
	if got := g.Match(path, nil); got != want {
		t.Fatalf("%q with %q: match = %t, doublestar says %t", pattern, path, got, want)
	}
	if len(path) > 200 || g.parsed.combinations > 50 {
		return
	}
	took, ok := splits(g, path)
	if !ok {
		return
	}
	if want && len(took) == 0 {
		t.Fatalf("%q with %q: doublestar matches, the tokens do not", pattern, path)
	}
	if !want && len(took) > 0 && g.exact && plainPath(path) {
		t.Fatalf("%q with %q: the tokens match, doublestar does not: %q", pattern, path, took)
	}
	if g.Wildcards() == 0 || !want {
		return
	}
	got := g.Captures(path, nil)
	if !slices.ContainsFunc(took, func(s []string) bool { return slices.Equal(s, got) }) {
		t.Fatalf("%q with %q: captures = %q, none of %q", pattern, path, got, took)
	}
	for _, s := range took {
		if slices.CompareFunc(s, got, byLength) < 0 && plainPath(path) && !strings.Contains(pattern, "[") {
			t.Fatalf("%q with %q: captures = %q, but %q takes less", pattern, path, got, s)
		}
	}
	if !putBack(t, pattern, path, got) {
		t.Fatalf("%q with %q: captures %q do not give the path back", pattern, path, got)
	}
}

// plainPath reports whether git allows the path.
func plainPath(path string) bool {
	return path != "" && !strings.Contains("/"+path+"/", "//")
}

// splits returns every way to match the path with the tokens of g. It finds them by
// trying all; ok is false if there are too many.
func splits(g *Glob, path string) (all [][]string, ok bool) {
	budget := 100_000
	for tokens := range g.written() {
		var try func(t, i int, took []string)
		try = func(t, i int, took []string) {
			if budget--; budget < 0 {
				return
			}
			if t == len(tokens) {
				if i == len(path) {
					all = append(all, took)
				}
				return
			}
			tok := tokens[t]
			take := func(next, length, skip int) {
				took := slices.Clone(took)
				if tok.number > 0 {
					took[tok.number-1] += path[i : i+length]
				}
				try(next, i+length+skip, took)
			}
			switch tok.kind {
			case starToken:
				for n := 0; ; {
					take(t+1, n, 0)
					r, size := utf8.DecodeRuneInString(path[i+n:])
					if size == 0 || r == '/' {
						return
					}
					n += size
				}
			case foldersToken:
				take(t+2, 0, 0)
				for n := range len(path) - i {
					if path[i+n] == '/' {
						take(t+1, n, 0)
					}
				}
			case restToken:
				take(t+1, len(path)-i, 0)
			case literalToken, slashToken, runeToken, classToken, braceToken:
				if n := tok.length(path[i:]); n >= 0 {
					take(t+1, n, 0)
				}
			}
		}
		try(0, 0, make([]string, g.numbers))
	}
	return all, budget >= 0
}

// putBack reports whether the pattern becomes the path if its wildcards are replaced by
// their captures. For an empty "**" a slash beside it goes too.
func putBack(t *testing.T, pattern, path string, captures []string) bool {
	t.Helper()
	p := parser{rest: pattern}
	parsed, err := p.pattern()
	if err != nil {
		t.Fatal(err)
	}
	var fits func(nodes []node, path string, captures []string, drop bool) bool
	fits = func(nodes []node, path string, captures []string, drop bool) bool {
		if len(nodes) == 0 {
			return path == ""
		}
		x := nodes[0]
		if x.alternatives == nil && x.number == 0 {
			n := x.length(path)
			return n >= 0 && fits(nodes[1:], path[n:], captures, false) ||
				x.kind == slashToken && (drop || path == "") && fits(nodes[1:], path, captures, false)
		}
		after, ok := strings.CutPrefix(path, captures[0])
		drop = x.kind == starToken && x.text == "**" && captures[0] == "" ||
			x.alternatives != nil && (captures[0] == "" || drop || strings.Contains(pattern, "**"))
		return ok && fits(nodes[1:], after, captures[1:], drop)
	}
	if len(captures) != p.numbers {
		t.Fatal(fmt.Sprint(len(captures), " captures of ", p.numbers))
	}
	return fits(parsed.nodes, path, captures, false)
}
