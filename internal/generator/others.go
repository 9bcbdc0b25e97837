package generator

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// mkdocs makes the rules for MkDocs: https://www.mkdocs.org/user-guide/writing-your-docs/
func mkdocs(s *Site) {
	conf := s.settings(s.Config)
	s.setURL(conf.text("site_url"))
	dir := path.Clean(s.folder+cmp.Or(conf.text("docs_dir"), "docs")) + "/"
	end := "/"
	if conf.text("use_directory_urls") == "false" {
		end = ".html"
	}
	pages, index := dir+"**/*.md", dir+"**/{index,README}.md"
	own := "/{1}/"
	if end == ".html" {
		own = "/{1}/index.html"
	}
	hidden := []string{dir + "**/.*", dir + "**/.*/**"}
	s.rules = []rule{
		{name: "pages", match: []string{pages}, exclude: append([]string{index}, hidden...), paths: []string{"/{1}/{2}" + end}, pages: true, comment: "MkDocs keeps file names as they are"},
		{name: "folders' own pages", match: []string{index}, exclude: hidden, paths: []string{own}, pages: true},
		{name: "pictures, styles and downloads", match: []string{dir + "**"}, exclude: append([]string{pages}, hidden...), paths: []string{"/{1}"}},
		{name: "search and sitemap", match: []string{pages}, exclude: hidden, paths: []string{"/search/search_index.json", "/sitemap.xml"}},
		look("the navigation is part of every page", s.Config, s.folder+"overrides/**"),
	}
}

// astro makes the rules for Astro: https://docs.astro.build/en/guides/routing/
func astro(s *Site) {
	text := withoutComments(s.read(s.Config))
	address := value(text, "site")
	if address == "" { // the key may refer to a variable
		if m := regexp.MustCompile(`\bsite\w*\s*=[^;]*?['"](https?://[^'"]+)`).FindStringSubmatch(text); m != nil {
			address = m[1]
		}
	}
	s.setURL(address)
	s.setBase(value(text, "base"))
	end := "/"
	if value(text, "trailingSlash") == "never" || value(text, "format") == "file" {
		end = ""
	}
	collections := s.collections()
	for _, c := range collections {
		pages, index := c.dir+"**/*.{md,mdx,mdoc}", c.dir+"**/index.{md,mdx,mdoc}"
		hidden := []string{c.dir + "**/_*", c.dir + "**/_*/**"}
		s.rules = append(s.rules,
			rule{
				name: c.name, match: []string{pages}, exclude: append([]string{index}, hidden...), paths: []string{c.route + "/{1|slug}/{2|slug}" + end}, pages: true,
				comment: "the ids of Astro's collections are in lower case and with hyphens", gap: true,
			},
			rule{name: c.name + ": folders' own pages", match: []string{index}, exclude: hidden, paths: []string{c.route + "/{1|slug}" + end}, pages: true})
	}
	dir := s.folder + "src/pages/"
	made := []string{dir + "**/\\[*\\]*", dir + "**/*\\[*\\]*", dir + "**/\\[*\\]/**", dir + "**/_*", dir + "**/_*/**"}
	s.rules = append(s.rules,
		rule{
			name: "pages", match: []string{dir + "**/*.{astro,md,mdx,html}"}, exclude: append([]string{dir + "**/index.*"}, made...), paths: []string{"/{1}/{2}" + end}, pages: true,
			comment: "[slug].astro makes pages of something else", gap: true,
		},
		rule{name: "index pages", match: []string{dir + "**/index.{astro,md,mdx,html}"}, exclude: made, paths: []string{"/{1}" + end}, pages: true},
		rule{name: "sitemap", match: []string{s.folder + "src/{content,pages}/**"}, paths: []string{"/sitemap-index.xml", "/sitemap-0.xml"}},
		publicFiles("public files", s.folder+"public/"),
		look("", s.folder+"src/{components,layouts,styles}/**", s.folder+"astro.config.*", s.folder+"src/content.config.*"))
	s.own = func(p *page, found string) string {
		if found == "" {
			return ""
		}
		return ownOfCollection(collections, p)
	}
}

// collection is a folder of content and the path that its pages are below.
type collection struct{ name, dir, route string }

// collections are the collections that a page of src/pages shows, such as
// blog/[...slug].astro, and Starlight's docs, which are at the root.
func (s *Site) collections() []collection {
	var all []collection
	content := s.folder + "src/content/"
	pages := s.below(s.folder + "src/pages/")
	for _, f := range s.below(content) {
		name, _, nested := strings.Cut(strings.TrimPrefix(f, content), "/")
		if !nested || slices.ContainsFunc(all, func(c collection) bool { return c.name == name }) || !hasExt(f, "md", "mdx", "mdoc") {
			continue
		}
		made := regexp.MustCompile(`^` + regexp.QuoteMeta(s.folder+"src/pages/") + regexp.QuoteMeta(name) + `/\[[^/]*\]`)
		switch {
		case slices.ContainsFunc(pages, made.MatchString):
			all = append(all, collection{name, content + name + "/", "/" + name})
		case name == "docs":
			all = append(all, collection{name, content + name + "/", ""})
		}
	}
	return all
}

// ownOfCollection is the path that a slug gives a page, or a name from which GitHub's
// slugger removes more than the rules' filter does.
func ownOfCollection(collections []collection, p *page) string {
	for _, c := range collections {
		inside, ok := strings.CutPrefix(p.path, c.dir)
		if !ok {
			continue
		}
		if slug, named := p.matter["slug"]; named {
			return c.route + "/" + strings.Trim(slug, "/")
		}
		elements := strings.Split(strings.TrimSuffix(inside, path.Ext(inside)), "/")
		for i := range elements {
			elements[i] = githubSlug(elements[i])
		}
		if n := len(elements) - 1; elements[n] == "index" {
			elements = elements[:n]
		}
		return strings.TrimSuffix(c.route+"/"+strings.Join(elements, "/"), "/")
	}
	return ""
}

var notInSlug = regexp.MustCompile(`[^\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\- ]`)

// githubSlug writes a name as https://github.com/Flet/github-slugger does.
func githubSlug(s string) string {
	s = notInSlug.ReplaceAllString(strings.ToLower(s), "")
	return strings.ReplaceAll(s, " ", "-")
}

// next makes the rules for Next.js:
// https://nextjs.org/docs/app/getting-started/project-structure
func next(s *Site) {
	text := withoutComments(s.read(s.Config))
	s.setBase(value(text, "basePath"))
	end := ""
	if value(text, "trailingSlash") == "true" {
		end = "/"
	}
	src := s.folder
	if len(s.below(src+"app/"))+len(s.below(src+"pages/")) == 0 {
		src += "src/"
	}
	const code, page = "{tsx,jsx,js}", "{tsx,jsx,js,mdx,md}"
	app, pages := src+"app/", src+"pages/"
	s.rules = []rule{
		{
			name: "pages of the App Router", match: []string{app + "**/page." + page}, exclude: []string{app + "**/\\[*\\]/**", app + "**/(*)/**", app + "**/{_,@}*/**"},
			paths: []string{"/{1}" + end}, pages: true, comment: "app/(shop)/about/page.tsx is /about: folders in brackets are in no address", gap: true,
		},
		{name: "pages in a group", match: []string{app + "(*)/**/page." + page}, exclude: []string{app + "**/\\[*\\]/**", app + "(*)/**/(*)/**"}, paths: []string{"/{2}" + end}, pages: true},
		{
			name: "pages of the Pages Router", match: []string{pages + "**/*." + page},
			exclude: []string{pages + "**/{index,_app,_document,_error}.*", pages + "api/**", pages + "**/\\[*\\]{,/**,.*}"}, paths: []string{"/{1}/{2}" + end}, pages: true,
		},
		{name: "index pages of the Pages Router", match: []string{pages + "**/index." + page}, exclude: []string{pages + "api/**", pages + "**/\\[*\\]/**"}, paths: []string{"/{1}" + end}, pages: true},
		publicFiles("public files", s.folder+"public/"),
		look("", app+"**/{layout,template}."+code, src+"{components,styles}/**", s.folder+"next.config.*", pages+"_{app,document}.*"),
	}
}
