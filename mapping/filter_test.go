package mapping

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

// TestFilters compares the filters with what Hugo 0.111, Jekyll 4.3 and Docusaurus 3 make
// of names.
func TestFilters(t *testing.T) {
	for _, c := range []struct{ filters, value, want string }{
		{"lower", "Über/UNS", "über/uns"},
		{"lower", "İstanbul", "istanbul"},
		{"hyphens", "two  spaces/tab\tx y", "two-spaces/tab-x-y"},
		{"hyphens", "a - b\xff c", "a---b\xff-c"},
		{"slug", "Two  Spaces/Über Uns", "two-spaces/über-uns"},
		{"slug", "a & b", "a-b"},
		{"slug", "a - b -- c", "a-b--c"},
		{"slug", "-lead trail-", "-lead-trail-"},
		{"slug", "x/ lead/y ", "x/-lead/y"},
		{"slug", "q?x it's (paren) [s] {x} 100% 50%25", "qx-its-paren-s-x-100-50%25"},
		{"slug", "a+b a@b a#b a~b a_b a.b a\\b", "a+b-a@b-a#b-a~b-a_b-a.b-a\\b"},
		{"slug", "中文 页 e\u0301 \u00e9", "中文-页-e\u0301-\u00e9"},
		{"slug", "x\xffy", "xy"},
		{"slug", "plain/a-b.c_d", "plain/a-b.c_d"},
		{"unnumber", "01-guide/02-x", "guide/x"},
		{"unnumber", "1. Setup/3 - more/10_x", "Setup/more/x"},
		{"unnumber", "2026-11-29-x/1.2/007/42x/5-/6--y/x1-y", "2026-11-29-x/1.2/007/42x/5-/y/x1-y"},
		{"nfc", "e\u0301", "\u00e9"},
		{"unnumber|lower|hyphens", "01-My Guide", "my-guide"},
		{"encode", "as it is", "as it is"},
	} {
		p, fault := newPlaceholder("1|" + c.filters)
		if fault != "" {
			t.Fatal(fault)
		}
		v := values{captures: []string{c.value}}
		if got := v.of(p, ""); got != c.want {
			t.Errorf("%s of %q: %q, want %q", c.filters, c.value, got, c.want)
		}
		if p.String() != "{1|"+c.filters+"}" {
			t.Errorf("%s is written as %s", c.filters, p)
		}
	}
}

func TestFilteredTargets(t *testing.T) {
	for _, c := range []struct{ template, path, want string }{
		{"https://{host}/{path|lower|hyphens}", "A B/Ü.html", "https://www.acme.com/a-b/%C3%BC.html"},
		{"https://{host}/{path|encode}", "a,b/c'd&[e].html", "https://www.acme.com/a%2Cb/c'd%26%5Be%5D.html"},
		{"https://{host}/{dir|slug}/{name}/", "(a)/b.md", "https://www.acme.com/a/b/"},
		{"https://{host}/{dir|slug}/{name}/", "(/b.md", "https://www.acme.com/b/"},
		{"https://{1|lower}.acme.com/", "Docs", "https://docs.acme.com/"},
		{"tag:{name|slug}", "A & B.md", "tag:a-b"},
		{"tag:{name|encode}", "A B.md", "tag:A%20B"},
	} {
		if got := planned(t, mustParse(t, oneRule("**", c.template)), Query{Environment: "production"}, Change{c.path, Added}); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s of %s: %q, want %s", c.template, c.path, got, c.want)
		}
	}
}

// FuzzFilters: no filter adds or removes a "/", and to apply a filter twice gives the
// same as once.
func FuzzFilters(f *testing.F) {
	f.Add("01-My Guide/2026-11-29 – x/\xff e\u0301")
	f.Fuzz(func(t *testing.T, s string) {
		count := func(s string) (n int) {
			for _, r := range s {
				if r == '/' {
					n++
				}
			}
			return n
		}
		for _, name := range filterNames() {
			once := filter(name).apply(s)
			if count(once) != count(s) {
				t.Errorf("%s of %q: %q", name, s, once)
			}
			if again := filter(name).apply(once); again != once && name != "unnumber" && name != "slug" && utf8.ValidString(s) {
				t.Errorf("%s of %q: %q, and again %q", name, s, once, again)
			}
		}
	})
}

// BenchmarkFilters maps 60,000 files with and without filters, in turns. x-without is how
// many times longer it takes with filters:
//
//	go test ./mapping -run '^$' -bench Filters
func BenchmarkFilters(b *testing.B) {
	rule := func(filters string) *File {
		return mustParse(b, fmt.Sprintf("version: 1\nenvironments: {production: {hosts: [www.acme.com]}}\nrules: [{match: content/**/*.md, urls: ['https://{host}/{1%[1]s}/{2%[1]s}/']}]\n", filters))
	}
	var changes []Change
	for i := range 60_000 {
		changes = append(changes, Change{fmt.Sprintf("content/en/Section %d/How-To %d of %d.md", i%100, i, i%7), Modified})
		if i%2 == 0 {
			changes[i].Path = fmt.Sprintf("content/en/section-%d/how-to-%d-of-%d.md", i%100, i, i%7)
		}
	}
	plan := func(file *File) time.Duration {
		begin := time.Now()
		plan, err := file.Plan(b.Context(), Query{Environment: "production", Changes: slices.Values(changes)})
		if err != nil || plan.Len() != len(changes) {
			b.Fatal(plan.Len(), err)
		}
		for range plan.Targets() {
		}
		return time.Since(begin)
	}
	without, with := rule(""), rule("|lower|hyphens")
	var fast, slow time.Duration
	for b.Loop() {
		fast += plan(without)
		slow += plan(with)
	}
	b.ReportMetric(float64(slow)/float64(fast), "x-without")
}
