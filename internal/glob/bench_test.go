package glob

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// BenchmarkIndex compiles the globs of 10, 100 and 1,000 rules and matches 60,000 paths
// with them. x-naive is how many times longer it takes to call doublestar.Match for every
// rule and path. The benchmark measures both in turns, on a twentieth of the paths at a
// time, so that both have the same share of a busy machine.
func BenchmarkIndex(b *testing.B) {
	paths := sitePaths(60_000)
	for _, order := range []string{"sorted", "shuffled"} {
		if order == "shuffled" {
			rand.New(rand.NewPCG(3, 4)).Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		}
		for _, rules := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/rules=%d", order, rules), func(b *testing.B) {
				benchmarkIndex(b, sitePatterns(rules), paths)
			})
		}
	}
}

func benchmarkIndex(b *testing.B, patterns, paths []string) {
	var slow time.Duration
	asked, matches, turn := 0, 0, 0
	counts := make([]int, len(paths))
	b.ReportAllocs()
	for b.Loop() {
		globs := make([]*Glob, len(patterns))
		for i, pattern := range patterns {
			globs[i] = mustGlob(b, pattern)
		}
		x := NewIndex(globs)
		dst, work := make([]int, 0, 16), NewWork(b.Context(), math.MaxInt)
		for i, path := range paths {
			dst = x.Match(path, dst[:0], work)
			counts[i] = len(dst)
		}

		b.StopTimer()
		begin := time.Now()
		for i := range paths {
			if i/100%20 != turn%20 {
				continue
			}
			want := naiveMatches(patterns, paths[i])
			if counts[i] != want {
				b.Fatalf("%s: %d matches, naively %d", paths[i], counts[i], want)
			}
			asked++
			matches += want
		}
		slow += time.Since(begin)
		turn++
		b.StartTimer()
	}
	fast := float64(b.Elapsed()) / float64(b.N*len(paths))
	b.ReportMetric(float64(slow)/float64(asked)/fast, "x-naive")
	b.ReportMetric(fast, "ns/path")
	b.ReportMetric(float64(matches)/float64(asked), "matches/path")
}

func naiveMatches(patterns []string, path string) int {
	n := 0
	for _, pattern := range patterns {
		if ok, _ := doublestar.Match(pattern, path); ok {
			n++
		}
	}
	return n
}

// sitePaths makes the sorted paths of a large site: content by language and section, page
// bundles, posts by date, static files, layouts, and the files around them. A folder has
// about ten files.
func sitePaths(n int) []string {
	rnd := rand.New(rand.NewPCG(1, 2))
	words, languages := strings.Fields(wordList), strings.Fields(languageList)
	word := func() string { return words[rnd.IntN(len(words))] }
	paths := make([]string, 0, n)
	for i := range n {
		language, section := languages[rnd.IntN(len(languages))], words[rnd.IntN(80)]
		slug := fmt.Sprintf("%s-%s-%d", word(), word(), i)
		var path string
		switch k := rnd.IntN(100); {
		case k < 45:
			path = fmt.Sprintf("content/%s/%s/%s.md", language, section, slug)
			if k < 15 {
				path = fmt.Sprintf("content/%s/%s/%s/%s.md", language, section, words[rnd.IntN(8)], slug)
			}
		case k < 50:
			path = fmt.Sprintf("content/%s/%s/%s/index.md", language, section, slug)
		case k < 60:
			path = fmt.Sprintf("_posts/%d/%d-%02d-%02d-%s.md", 2010+i%16, 2010+i%16, 1+i%12, 1+i%28, slug)
		case k < 80:
			path = fmt.Sprintf("static/images/%s/%s.%s", section, slug, []string{"png", "jpg", "svg", "webp"}[i%4])
		case k < 88:
			path = fmt.Sprintf("static/%s/%s.%s", []string{"css", "js", "fonts"}[i%3], slug, []string{"css", "min.js", "woff2"}[i%3])
		case k < 93:
			path = fmt.Sprintf("layouts/%s/%s.html", section, slug)
		case k < 97:
			path = fmt.Sprintf("data/%s/%s.yaml", section, slug)
		default:
			path = fmt.Sprintf("tools/src/%s/%s.ts", section, slug)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for i, path := range paths {
		paths[i] = strings.Clone(path) // next to each other in memory, as git's paths are
	}
	return paths
}

// sitePatterns makes the globs of n rules for such a site.
func sitePatterns(n int) []string {
	general := []string{
		"content/**/*.md", "static/**", "layouts/**", "_posts/**/*-*-*-*.md", "**/index.md",
		"data/**/*.{yaml,json}", "static/css/*.css", "content/en/**", "**/*.html", "config.toml",
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	words, languages := strings.Fields(wordList), strings.Fields(languageList)
	word := func() string { return words[rnd.IntN(len(words))] }
	patterns := general[:min(n, len(general))]
	for i := len(patterns); i < n; i++ {
		section, language := words[rnd.IntN(80)], languages[rnd.IntN(len(languages))]
		patterns = append(patterns, []string{
			fmt.Sprintf("content/%s/%s/**/*.md", language, section),
			fmt.Sprintf("content/*/%s/**/*.md", section),
			fmt.Sprintf("content/%s/%s/**", language, section),
			fmt.Sprintf("static/images/%s/**", section),
			fmt.Sprintf("static/images/%s/*.{png,jpg,svg}", section),
			fmt.Sprintf("layouts/%s/*.html", word()),
			fmt.Sprintf("_posts/%d/*-*-*-%s*.md", 2010+i%16, word()),
			fmt.Sprintf("content/**/%s/**/*.md", word()),
			fmt.Sprintf("**/%s-*/index.md", section),
			fmt.Sprintf("data/%s/**/%s*.yaml", word(), word()),
		}[i%10])
	}
	return patterns
}

// The words and languages that paths are made of.
const (
	wordList     = "about account alert api archive article asset author banner basket blog brand button career case catalog chart checkout city client cloud code color company compare contact country course customer dashboard data delivery demo design detail device docs download edge editor event export faq feature feed file footer form gallery gift guide header help history home hotel icon image import index install intro invoice job journey label landing language layout legal library license list login logo mail map market media member menu metric mobile module news note offer order overview page partner payment person photo plan policy portal post press price product profile project question quick quote rate recipe region release report resource review road role rule sample search season security service setup shop sidebar size social source space staff start stock store story style support table tag team template term test theme ticket tool topic tour trade training travel trial tutorial update upgrade user value vendor video view visit voucher warranty weather webinar wiki work world zone"
	languageList = "en de fr es it nl pl pt sv da fi ja"
)
