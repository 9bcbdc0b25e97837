package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// builtSite is the output of a site's generator: its pages, and a test of whether an
// address exists.
type builtSite struct {
	pages  []string                 // decoded paths as a browser shows them, such as /a/
	exists func(path string) bool   // whether a web server would answer at the path
	holds  func(folder string) bool // whether a built folder has anything in it; nil for a sitemap
}

// builtDir reads a folder as a web server serves it: index.html is also its folder, and
// .html may be left out.
func builtDir(dir string) (*builtSite, error) {
	files := map[string]bool{}
	s := new(builtSite)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		path, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		path = "/" + filepath.ToSlash(path)
		files[path] = true
		if strings.HasSuffix(path, ".html") {
			s.pages = append(s.pages, strings.TrimSuffix(path, "index.html"))
		}
		return nil
	})
	if err != nil {
		return nil, usage("read the built site: %w", err)
	}
	if len(s.pages) == 0 {
		return nil, usage("%s has no .html files: name the folder that the generator puts the site in, such as public or _site", dir)
	}
	s.holds = func(folder string) bool {
		for path := range files {
			if strings.HasPrefix(path, folder) {
				return true
			}
		}
		return false
	}
	s.exists = func(path string) bool {
		return files[path] || files[path+"index.html"] || files[strings.TrimSuffix(path, "/")+".html"] || files[path+"/index.html"]
	}
	return s, nil
}

// maxSitemap is the most bytes that are read of one sitemap, 50 MiB:
// https://www.sitemaps.org/protocol.html allows no more.
const maxSitemap = 50 << 20

// sitemap reads a sitemap or an index of sitemaps, from a file or a URL. An index may
// name other indexes; the bound on how many are read ends one that names itself.
func sitemap(ctx context.Context, place string) (*builtSite, error) {
	paths := map[string]bool{}
	todo, seen := []string{place}, 0
	for len(todo) > 0 {
		if seen++; seen > 500 { // files, the first one included
			return nil, usage("%s names more than 500 sitemaps", place)
		}
		pages, maps, err := readSitemap(ctx, todo[0])
		if err != nil {
			return nil, usage("read the sitemap %s: %w", todo[0], err)
		}
		for _, next := range maps {
			if !isURL(next) { // a page of the web names no file of this machine
				return nil, usage("the sitemap %s names %q, which is no http or https URL", todo[0], oneLine(next))
			}
		}
		todo = append(todo[1:], maps...)
		for _, p := range pages {
			if u, err := url.Parse(p); err == nil {
				paths[cmp.Or(u.Path, "/")] = true
			}
		}
	}
	s := &builtSite{exists: func(path string) bool { return paths[path] }}
	for path := range paths {
		s.pages = append(s.pages, path)
	}
	return s, nil
}

// readSitemap reads one file. It returns the pages of a sitemap, or the sitemaps that an
// index names.
func readSitemap(ctx context.Context, place string) (pages, maps []string, err error) {
	in, err := openSitemap(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = in.Close() }()
	var doc struct {
		Pages []string `xml:"url>loc"`
		Maps  []string `xml:"sitemap>loc"` // one of the two is empty
	}
	if err := xml.NewDecoder(io.LimitReader(in, maxSitemap)).Decode(&doc); err != nil {
		return nil, nil, fmt.Errorf("this is no sitemap: %w", err)
	}
	for _, list := range [][]string{doc.Pages, doc.Maps} {
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
	}
	return doc.Pages, doc.Maps, nil
}

// openSitemap opens a file or fetches a URL. The caller closes the result, which also
// ends the request; the time limit covers reading the body.
func openSitemap(ctx context.Context, place string) (io.ReadCloser, error) {
	if !isURL(place) {
		return os.Open(place) //nolint:gosec // the caller's own choice
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		cancel()
		return nil, errors.Join(fmt.Errorf("the server answers %s", res.Status), res.Body.Close())
	}
	return &answerBody{res.Body, cancel}, nil
}

func isURL(place string) bool {
	return strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://")
}

// answerBody is the body of a response. Close also releases the request's context.
type answerBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body, then releases the context.
func (b *answerBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// builtReport says how well the rules fit a built site.
type builtReport struct {
	Files     int           `json:"files"`  // files of HEAD that purge URLs
	Mapped    int           `json:"mapped"` // of these, the ones with a page that exists
	Missing   []missingPage `json:"missing"`
	Unreached []string      `json:"unreached"` // pages that no file purges
}

// missingPage is a file whose URLs lead to no page.
type missingPage struct {
	File    string `json:"file"`
	URL     string `json:"url"`
	Because string `json:"because,omitempty"` // the line of front matter that explains it; "": none found
}

// holdAgainst plans each file of HEAD alone and looks up its URLs in the built site. It
// judges a file by the URLs that no other file purges, if it has any: the home page and
// the lists, which many files purge, exist whatever the file is called.
func holdAgainst(ctx context.Context, s *site, built *builtSite) (*builtReport, error) {
	files, err := s.files(ctx)
	if err != nil {
		return nil, err
	}
	r := &builtReport{Missing: []missingPage{}, Unreached: []string{}}
	// urls has the URLs of each file, times how many files purge a URL, and reached the
	// paths that any file purges.
	urls, times, reached := make([][]string, len(files)), map[string]int{}, map[string]bool{}
	for i, file := range files {
		plan, err := s.plan(ctx, file)
		if err != nil {
			return nil, err
		}
		for t := range plan.Targets() {
			if u, err := url.Parse(t.Object); strings.Contains(t.Object, "://") && err == nil {
				urls[i] = append(urls[i], t.Object)
				times[t.Object]++
				reached[u.Path] = true
			}
		}
	}
	base := built.base(reached)
	built, reached = built.below(base), cut(reached, base)
	for i, file := range files {
		if len(urls[i]) > 0 {
			r.judge(s, file, urls[i], times, built)
		}
	}
	for _, page := range built.pages {
		bare := strings.TrimSuffix(page, ".html")
		if !reached[page] && !reached[bare] && !reached[bare+"/"] && !reached[page+"index.html"] && !reached[strings.TrimSuffix(page, "/")] {
			r.Unreached = append(r.Unreached, page)
		}
	}
	slices.Sort(r.Unreached)
	return r, nil
}

// base is the folder that all reached paths start with and that the built folder does not
// have: a generator puts a site for https://example.com/docs/ into a folder without docs.
// It is "" if there is none, and for a sitemap, whose paths are complete.
func (s *builtSite) base(reached map[string]bool) string {
	base, first := "", true
	for path := range reached {
		if first {
			base, first = path[:strings.LastIndexByte(path, '/')+1], false
		}
		for !strings.HasPrefix(path, base) {
			base = base[:strings.LastIndexByte(strings.TrimSuffix(base, "/"), '/')+1]
		}
	}
	base = strings.TrimSuffix(base, "/")
	if base == "" || s.holds == nil || s.holds(base+"/") {
		return ""
	}
	return base
}

// below is the same site, served from a folder of its host.
func (s *builtSite) below(base string) *builtSite {
	exists := s.exists
	return &builtSite{pages: s.pages, exists: func(path string) bool {
		inside, ok := strings.CutPrefix(path, base)
		return ok && exists(inside)
	}}
}

// cut removes a prefix from each path.
func cut(paths map[string]bool, base string) map[string]bool {
	out := map[string]bool{}
	for path := range paths {
		out[strings.TrimPrefix(path, base)] = true
	}
	return out
}

// judge counts a file as mapped if one of its URLs is a page that was built. URLs that
// several files share, such as that of a listing, prove nothing about this file. They
// count only if it has no others.
func (r *builtReport) judge(s *site, file string, urls []string, times map[string]int, built *builtSite) {
	r.Files++
	own := slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return times[u] > 1 })
	if len(own) == 0 {
		own = urls
	}
	if slices.ContainsFunc(own, func(object string) bool {
		u, err := url.Parse(object)
		return err == nil && built.exists(cmp.Or(u.Path, "/"))
	}) {
		r.Mapped++
		return
	}
	r.Missing = append(r.Missing, missingPage{File: strings.ToValidUTF8(file, "\ufffd"), URL: own[0], Because: frontMatter(filepath.Join(s.clone.Dir, filepath.FromSlash(file)), own[0])})
}

// frontMatter returns the line of a page's front matter that explains why its address is
// another one than the rules give, or why it is not built. It returns "" if there is no
// such line. A line that agrees with the address of the rules explains nothing.
//
// It reads the first 64 KiB and knows YAML (---) and TOML (+++) delimiters. It compares
// lines and does not parse them: the line is only shown to a person.
func frontMatter(name, address string) string {
	in, err := os.Open(name) //nolint:gosec // a file of the clone
	if err != nil {
		return ""
	}
	defer func() { _ = in.Close() }()
	lines := bufio.NewScanner(io.LimitReader(in, 64<<10))
	if !lines.Scan() || lines.Text() != "---" && lines.Text() != "+++" {
		return ""
	}
	end, found := lines.Text(), ""
	elsewhere := regexp.MustCompile(`^(url|permalink|slug|id|draft|published|date|categories|build|_build|headless|expiryDate|publishDate)\s*[:=](.*)`)
	for lines.Scan() && lines.Text() != end {
		m := elsewhere.FindStringSubmatch(lines.Text())
		// A date or a category often explains nothing; any other key replaces it.
		if m == nil || found != "" && (m[1] == "date" || m[1] == "categories") || !explains(m[1], m[2], address) {
			continue
		}
		found = strings.TrimSpace(lines.Text())
	}
	return found
}

// explains reports whether a key of front matter may be why a page is not at an address:
// it does not say what holds anyway.
func explains(key, value, address string) bool {
	switch value = strings.Trim(value, " \t\"'/"); key {
	case "draft", "headless":
		return value != "false"
	case "published":
		return value != "true"
	case "slug", "id", "url", "permalink":
		where := address
		if u, err := url.Parse(address); err == nil {
			where = strings.Trim(u.Path, "/")
		}
		return where != value && !strings.HasSuffix(where, "/"+value)
	}
	return true
}

// fitsLess reports whether less than the given percentage of the files map to a page. It
// is false for a nil report. Of no files none does.
func (r *builtReport) fitsLess(percent float64) bool {
	return r != nil && (float64(r.Mapped)*100 < percent*float64(r.Files) || r.Files == 0 && percent > 0)
}

// text writes the report for people. It shortens both lists.
func (r *builtReport) text() string {
	const most = 20
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d map to a page that exists", plural(r.Files, "file"), r.Mapped)
	if n := len(r.Missing); n > 0 {
		fmt.Fprintf(&b, "; %d don't:\n", n)
	} else {
		b.WriteString(".\n")
	}
	for _, m := range r.Missing[:min(len(r.Missing), most)] {
		fmt.Fprintf(&b, "  %s: no page at %s", oneLine(m.File), m.URL)
		if m.Because != "" {
			fmt.Fprintf(&b, " (its front matter says %s)", oneLine(m.Because))
		}
		b.WriteByte('\n')
	}
	if n := len(r.Missing) - most; n > 0 {
		fmt.Fprintf(&b, "  … and %d more\n", n)
	}
	if len(r.Unreached) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "No file leads to %s:\n", plural(len(r.Unreached), "page"))
	for _, page := range r.Unreached[:min(len(r.Unreached), most)] {
		fmt.Fprintf(&b, "  %s\n", oneLine(page))
	}
	if n := len(r.Unreached) - most; n > 0 {
		fmt.Fprintf(&b, "  … and %d more\n", n)
	}
	return b.String()
}
