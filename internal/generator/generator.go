// Package generator knows site generators: which one builds a repository's site, what its
// configuration and the front matter of pages say about addresses, and which rules file
// follows from that.
//
// It reads files and runs nothing, neither a generator nor a plugin, because a clone may
// come from anybody. So some things it can't know, and the file that it writes says so.
// [Recognise] finds the generator by its configuration. One file per generator knows what
// that generator makes of a path. rules.go writes the simplest rules that fit the files
// that are there, and leaves out rules that would match none.
package generator

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Site is a repository whose generator is recognised, with the rules for it.
type Site struct {
	Generator string // its name for people; "" if none was recognised
	Config    string // the configuration file that was recognised, relative to the root
	Host      string // of the site; "" if no file names one
	Branch    string // a push to it deploys the site; "": the default branch, or deployments

	tree
	folder      string // of the site in the repository, with a slash at its end, or ""
	base        string // the site's folder on its host: "" or as "/docs"
	environment string // as GitHub names it
	rules       []rule
	seen        []string // sentences for the head of the rules file
	more        []string // further languages; each also shows pages that are not translated
	limits      bool     // every page carries a tag, which can replace very many URLs
	// own is the path that a page's front matter or name gives it, if that differs from
	// what the rules know; "" if the rules have it right. found is the path by the rules,
	// "" if no rule matches. nil: pages have no addresses of their own.
	own func(p *page, found string) string
}

// tree is the files of the repository.
type tree struct {
	fsys  fs.FS
	files []string // paths from the root, sorted: has and below search in it
}

// read returns the text of a file, "" if it can't be read.
func (t *tree) read(name string) string {
	text, _ := fs.ReadFile(t.fsys, name)
	return string(text)
}

// has reports whether the repository has a file.
func (t *tree) has(name string) bool {
	_, found := slices.BinarySearch(t.files, name)
	return found
}

// below returns the files of a folder, whose name ends in a slash; "" means all files.
func (t *tree) below(folder string) []string {
	from, _ := slices.BinarySearch(t.files, folder)
	to := from
	for to < len(t.files) && strings.HasPrefix(t.files[to], folder) {
		to++
	}
	return t.files[from:to]
}

// rule is one rule of the rules file. The first path of a page's rule is the page.
type rule struct {
	name, comment  string
	match, exclude []string
	paths          []string // of URLs, after the host and the site's base; with placeholders
	tags           []string
	pages          bool // its paths are addresses of pages, which front matter may change
	gap            bool // an empty line stands in front of it
}

// Recognise finds the generator by its configuration file. The file nearest to the root
// counts; at the same depth, the generator that stands first in the list. files are the
// paths from the root. It always returns a Site: if none is recognised, files are
// published as they are.
func Recognise(fsys fs.FS, files []string) *Site {
	files = slices.Sorted(slices.Values(files))
	s := &Site{tree: tree{fsys: fsys, files: files}, environment: "production"}
	read := plainFiles
	depth := 4 // folders; a deeper file belongs to something else, such as an example or a theme
	for _, c := range []struct {
		name, file string
		read       func(*Site)
	}{
		{"Docusaurus", `docusaurus\.config\.(js|ts|mjs|cjs)`, docusaurus},
		{"Astro", `astro\.config\.(mjs|js|ts|cjs|mts)`, astro},
		{"Next.js", `next\.config\.(js|ts|mjs|cjs)`, next},
		{"MkDocs", `mkdocs\.ya?ml`, mkdocs},
		{"Hugo", `(config/_default/)?(hugo|config)\.(toml|yaml|yml|json)`, hugo},
		{"Jekyll", `_config\.ya?ml`, jekyll},
	} {
		form := regexp.MustCompile(`^((?:[^/]+/)*?)` + c.file + `$`)
		for _, f := range files {
			m := form.FindStringSubmatch(f)
			if m == nil || strings.Count(m[1], "/") >= depth || c.name == "Hugo" && !isHugo(s, f, m[1]) {
				continue
			}
			depth = strings.Count(m[1], "/")
			s.Generator, s.Config, s.folder, read = c.name, f, m[1], c.read
		}
	}
	read(s)
	if s.deploysToGitHubPages() {
		s.environment = "github-pages"
	}
	if s.Host == "" {
		s.Host = s.otherHost()
	}
	return s
}

// deploysToGitHubPages reports whether a workflow deploys to GitHub Pages. GitHub calls
// the environment of such a workflow github-pages.
func (s *Site) deploysToGitHubPages() bool {
	workflows := s.below(".github/workflows/")
	return slices.ContainsFunc(workflows, func(f string) bool { return strings.Contains(s.read(f), "actions/deploy-pages") })
}

// otherHost is the first host in a CNAME file, or that of package.json's homepage.
func (s *Site) otherHost() string {
	for _, f := range []string{"CNAME", s.folder + "CNAME", s.folder + "static/CNAME", s.folder + "public/CNAME", s.folder + "docs/CNAME", "docs/CNAME"} {
		if names := strings.Fields(s.read(f)); len(names) > 0 {
			return names[0]
		}
	}
	for _, f := range []string{s.folder + "package.json", "package.json"} {
		var pkg struct {
			Homepage string `json:"homepage"`
		}
		if json.Unmarshal([]byte(s.read(f)), &pkg) != nil {
			continue
		}
		if host, _ := splitURL(pkg.Homepage); host != "" && host != "github.com" {
			return host
		}
	}
	return ""
}

// setURL takes the host and the base from the site's address.
func (s *Site) setURL(address string) {
	s.Host, s.base = splitURL(address)
}

// setBase takes a base that is configured separately from the address; "" changes
// nothing.
func (s *Site) setBase(folder string) {
	if folder = strings.Trim(folder, "/"); folder != "" {
		s.base = "/" + folder
	}
}

// splitURL returns the host in lower case, and the path without a slash at its end. Both
// are "" if the text is not absolute.
func splitURL(address string) (host, base string) {
	_, rest, ok := strings.Cut(address, "://")
	if !ok {
		return "", ""
	}
	host, base, _ = strings.Cut(rest, "/")
	if base = strings.Trim(base, "/"); base != "" {
		base = "/" + base
	}
	return strings.ToLower(host), base
}

// extensions is a glob for those of the known extensions that the files have: md, or
// {md,mdx}. If the files have none, it is the first known one.
func extensions(files []string, known ...string) string {
	var there []string
	for _, ext := range known {
		if slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "."+ext) }) {
			there = append(there, ext)
		}
	}
	if len(there) == 0 {
		there = known[:1]
	}
	return braces(there)
}

// braces is a glob for one of the words.
func braces(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return numbered(words)
}

// numbered is a glob for one of the words that always counts as a wildcard, even with a
// single word. So the numbers of a rule's placeholders don't depend on how many there
// are.
func numbered(words []string) string { return "{" + strings.Join(words, ",") + "}" }

// Seen says by what the generator was recognised.
func (s *Site) Seen() string {
	if s.Generator == "" {
		return "no generator was recognised, so each file is at the address of its path"
	}
	return "the site is built by " + s.Generator + ", as " + s.Config + " says"
}

// hasExt reports whether a name has one of the extensions.
func hasExt(name string, exts ...string) bool {
	return slices.Contains(exts, strings.TrimPrefix(path.Ext(name), "."))
}

// plainFiles are the rules without a generator: each file is at the address of its path.
func plainFiles(s *Site) {
	s.rules = []rule{
		{
			name: "pages", match: []string{"**/*.html"}, exclude: []string{"**/index.html"},
			paths: []string{"/{path}", "/{1}/{2}"}, comment: "most hosts answer without .html too",
		},
		{name: "folders' own pages", match: []string{"**/index.html"}, paths: []string{"/{1}/", "/{path}"}},
		{name: "all other files", match: []string{"**"}, exclude: []string{"**/*.html", "**/.*", "**/.*/**", "CNAME"}, paths: []string{"/{path}"}},
	}
}

// publicFiles is the rule for a folder that is published as it is.
func publicFiles(name, folder string) rule {
	return rule{name: name, match: []string{folder + "**"}, paths: []string{"/{1}"}, gap: true}
}

// look is the rule for files that are part of every page, such as templates. It purges a
// tag, because it would otherwise have to purge every page.
func look(comment string, globs ...string) rule {
	return rule{
		name: "the look of the site", comment: cmp.Or(comment, "these are part of every page: one tag, if your origin sends it, instead of every URL"),
		match: globs, tags: []string{"site-html"}, gap: true,
	}
}
