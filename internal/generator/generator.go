// Package generator knows site generators: which one builds a repository's
// site, what its configuration and the pages' front matter say of addresses,
// and the rules file that follows from it.
//
// It reads files and runs nothing: neither a generator nor a plugin, since a clone
// may be anybody's. So there is what it can't know, and it says so in the file that
// it writes. [Recognise] tells a generator by its configuration; a file each
// knows what that generator makes of a path; rules.go writes the rules, the plainest
// that fit the files that are there, and leaves out what they would never meet.
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

// Site is a repository whose generator is recognised.
type Site struct {
	Generator string // as people call it; "" if none was recognised
	Config    string // the file that told, from the repository's root
	Host      string // "" if the configuration names none
	Branch    string // that a push to deploys; "": the default branch, or deployments

	tree
	folder      string // of the site in the repository, with a slash behind it, or ""
	base        string // in front of each path of the site's addresses: "" or "/docs"
	environment string
	rules       []rule
	seen        []string // sentences for the head of the file
	more        []string // further languages, each of which shows a page that it has no translation of
	limits      bool     // the pages carry a tag, which many addresses may be replaced by
	// own is the path that a page's front matter or name gives it, where the
	// rules can't know it; "" if it is the one that the rules found.
	own func(p *page, found string) string
}

// tree is the repository's files.
type tree struct {
	fsys  fs.FS
	files []string
}

// read gives a file's text, "" if it can't be read.
func (t *tree) read(name string) string {
	text, _ := fs.ReadFile(t.fsys, name)
	return string(text)
}

func (t *tree) has(name string) bool {
	_, found := slices.BinarySearch(t.files, name)
	return found
}

// below gives the files of a folder, which ends in a slash, or of all.
func (t *tree) below(folder string) []string {
	from, _ := slices.BinarySearch(t.files, folder)
	to := from
	for to < len(t.files) && strings.HasPrefix(t.files[to], folder) {
		to++
	}
	return t.files[from:to]
}

// rule is one of the rules file.
type rule struct {
	name, comment  string
	match, exclude []string
	paths          []string // of URLs, behind the host and the site's base
	tags           []string
	pages          bool // the first path is the address of a page, which its front matter may change
	gap            bool // an empty line in front
}

// Recognise looks at the configuration files of a repository: the one nearest
// to its root tells the generator. Files are paths from the root.
func Recognise(fsys fs.FS, files []string) *Site {
	files = slices.Sorted(slices.Values(files))
	s := &Site{tree: tree{fsys: fsys, files: files}, environment: "production"}
	read := plainFiles
	depth := 4 // deeper is somebody else's: an example, a theme
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

// deploysToGitHubPages: a workflow does, whose environment has that name.
func (s *Site) deploysToGitHubPages() bool {
	workflows := s.below(".github/workflows/")
	return slices.ContainsFunc(workflows, func(f string) bool { return strings.Contains(s.read(f), "actions/deploy-pages") })
}

// otherHost is that of a CNAME file, or of package.json's homepage.
func (s *Site) otherHost() string {
	for _, f := range []string{"CNAME", s.folder + "CNAME", s.folder + "static/CNAME", s.folder + "public/CNAME", s.folder + "docs/CNAME", "docs/CNAME"} {
		if name := strings.TrimSpace(s.read(f)); name != "" {
			return name
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

// setURL takes the host and the base out of the site's address.
func (s *Site) setURL(address string) {
	s.Host, s.base = splitURL(address)
}

// setBase takes a base that is set beside the site's address; "" says nothing of it.
func (s *Site) setBase(folder string) {
	if folder = strings.Trim(folder, "/"); folder != "" {
		s.base = "/" + folder
	}
}

// splitURL gives host and path, without a slash at its end.
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

// extensions are those of the known ones that files have, as a glob: md, or
// {md,mdx}.
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

// numbered is a glob for one of the words that counts as a wildcard, even
// if there is but one word.
func numbered(words []string) string { return "{" + strings.Join(words, ",") + "}" }

// Seen says what told the generator.
func (s *Site) Seen() string {
	if s.Generator == "" {
		return "no generator was recognised, so each file is at the address of its path"
	}
	return "the site is built by " + s.Generator + ", as " + s.Config + " says"
}

func hasExt(name string, exts ...string) bool {
	return slices.Contains(exts, strings.TrimPrefix(path.Ext(name), "."))
}

// plainFiles are at the addresses of their paths.
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

// publicFiles are a folder's, which are put out as they are.
func publicFiles(name, folder string) rule {
	return rule{name: name, match: []string{folder + "**"}, paths: []string{"/{1}"}, gap: true}
}

// look is the rule of what each page is made with.
func look(comment string, globs ...string) rule {
	return rule{
		name: "the look of the site", comment: cmp.Or(comment, "these are part of every page: one tag, if your origin sends it, instead of every URL"),
		match: globs, tags: []string{"site-html"}, gap: true,
	}
}
