package generator

import (
	"cmp"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
)

// docusaurusSite is a site built by Docusaurus, with what its configuration says about
// addresses.
type docusaurusSite struct {
	*Site
	ends []string // possible ends of an address: "", "/" or both
	root string   // the language whose addresses have no folder
	docs []docsInstance
	blog docsInstance
}

// docsInstance is a folder of documents, or that of the blog.
type docsInstance struct {
	id, dir, route string // id: "" for the default one; dir: from the root, with a slash at its end
	versions       []string
	last           string // the version whose addresses have no folder; "": docs are not versioned
	noCurrent      bool   // the newest state is not published
}

// docusaurus makes the rules for Docusaurus: https://docusaurus.io/docs/docs-introduction
func docusaurus(s *Site) {
	text := withoutComments(s.read(s.Config))
	s.setURL(value(text, "url"))
	s.setBase(value(text, "baseUrl"))
	d := &docusaurusSite{Site: s, ends: []string{"", "/"}, root: cmp.Or(value(text, "defaultLocale"), "en")}
	switch value(text, "trailingSlash") {
	case "true":
		d.ends = []string{"/"}
	case "false":
		d.ends = []string{""}
	}
	d.more = slices.DeleteFunc(list(text, "locales"), func(language string) bool { return language == d.root })
	d.docs, d.blog = d.instances(text)
	for _, docs := range d.docs {
		d.documents(docs)
	}
	d.posts(text)
	d.ownPages()
	s.rules = append(s.rules, publicFiles("static files", s.folder+"static/"), d.theme())
	s.own = d.own
}

// instances reads the presets and plugins for documents and the blog. The preset has
// documents unless it says docs: false.
func (d *docusaurusSite) instances(text string) (docs []docsInstance, blog docsInstance) {
	first, there := block(text, `\bdocs:\s*\{`)
	if !there && !regexp.MustCompile(`\bdocs:\s*false`).MatchString(text) {
		there = true
	}
	if there {
		docs = append(docs, d.instance(first, "docs", ""))
	}
	for rest := text; ; {
		at := regexp.MustCompile(`['"](?:@docusaurus/plugin-)?content-docs['"]\s*,\s*\{`).FindStringIndex(rest)
		if at == nil {
			break
		}
		rest = rest[at[1]-1:]
		inside := balanced(rest)
		if id := value(inside, "id"); id != "" || len(docs) == 0 {
			docs = append(docs, d.instance(inside, cmp.Or(id, "docs"), id))
		}
	}
	inside, _ := block(text, `\bblog:\s*\{`)
	return docs, d.instance(inside, "blog", "")
}

// instance reads one instance. folder is where its files are if the configuration does
// not say.
func (d *docusaurusSite) instance(inside, folder, id string) docsInstance {
	i := docsInstance{id: id, dir: path.Clean(d.folder+cmp.Or(value(inside, "path"), folder)) + "/", route: strings.Trim(cmp.Or(value(inside, "routeBasePath"), folder), "/")}
	if i.route != "" {
		i.route += "/"
	}
	if folder == "blog" {
		return i
	}
	_ = json.Unmarshal([]byte(d.read(d.folder+i.prefix()+"versions.json")), &i.versions)
	if i.noCurrent = value(inside, "includeCurrentVersion") == "false"; len(i.versions) > 0 {
		i.last = cmp.Or(value(inside, "lastVersion"), i.versions[0])
	}
	return i
}

// prefix starts the names of an instance's own files and folders; "" for the default one.
func (i docsInstance) prefix() string {
	if i.id == "" {
		return ""
	}
	return i.id + "_"
}

// versionDir is the folder of a version.
func (d *docusaurusSite) versionDir(i docsInstance, version string) string {
	return d.folder + i.prefix() + "versioned_docs/version-" + version + "/"
}

const docusaurusFile = "{md,mdx}"

// documents adds the rules of an instance: its newest state, its versions, and their
// translations. If there are versions, the newest state is below next/, unless
// lastVersion is current.
func (d *docusaurusSite) documents(i docsInstance) {
	name := cmp.Or(i.id, "docs")
	current := i.route
	if i.last != "" && i.last != "current" {
		current += "next/"
	}
	if !i.noCurrent {
		d.folderOfDocs(name, i.dir, current, 0)
	}
	if i.last != "" && i.last != "current" {
		d.folderOfDocs(name+", "+i.last, d.versionDir(i, i.last), i.route, 0)
	}
	var older []string
	for _, v := range i.versions {
		if v != i.last && len(d.below(d.versionDir(i, v))) > 0 {
			older = append(older, v)
		}
	}
	if len(older) > 0 {
		d.folderOfDocs(name+", older versions", d.versionDir(i, numbered(older)), i.route+"{1}/", 1)
	}
	plugin := "docusaurus-plugin-content-docs"
	if i.id != "" {
		plugin += "-" + i.id
	}
	languages := d.languages(plugin)
	if languages == "" {
		return
	}
	translated := d.folder + "i18n/" + languages + "/" + plugin + "/"
	if !i.noCurrent {
		d.folderOfDocs(name+", translated", translated+"current/", "{1}/"+current, 1)
	}
	if i.last != "" && i.last != "current" {
		d.folderOfDocs(name+", "+i.last+" translated", translated+"version-"+i.last+"/", "{1}/"+i.route, 1)
	}
	if len(older) > 0 {
		d.folderOfDocs(name+", older versions translated", translated+"version-"+numbered(older)+"/", "{1}/"+i.route+"{2}/", 2)
	}
}

// languages is a glob for the languages that have a folder of a plugin; "" if none has.
func (d *docusaurusSite) languages(plugin string) string {
	var all []string
	for _, f := range d.below(d.folder + "i18n/") {
		language, rest, _ := strings.Cut(strings.TrimPrefix(f, d.folder+"i18n/"), "/")
		if strings.HasPrefix(rest, plugin+"/") && !slices.Contains(all, language) && language != d.root {
			all = append(all, language)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return numbered(all)
}

// folderOfDocs adds the rules of one folder. numbers is how many wildcards dir has.
func (d *docusaurusSite) folderOfDocs(name, dir, route string, numbers int) {
	root := hugoRoot{numbers: numbers} // for its placeholders only
	files := dir + "**/*." + docusaurusFile
	index := dir + "**/{index,README,readme}." + docusaurusFile
	hidden := []string{dir + "**/_*", dir + "**/_*/**"}
	one := "/" + route + root.number(1, "unnumber") + "/" + root.number(2, "unnumber")
	folder := "/" + route + root.number(1, "unnumber")
	at := func(to string) []string { return d.everywhere(dir, d.bothEnds(to)) }
	d.rules = append(d.rules,
		rule{name: name, match: []string{files}, exclude: append([]string{index}, hidden...), paths: at(one), pages: true, gap: true, comment: "01-guide/02-setup.md is guide/setup"},
		rule{name: name + ": folders' own pages", match: []string{index}, exclude: append([]string{dir + "*"}, hidden...), paths: at(folder), pages: true},
		rule{name: name + ": the first page", match: []string{dir + "{index,README,readme}." + docusaurusFile}, paths: at("/" + strings.TrimSuffix(route, "/")), pages: true})
}

// bothEnds is a path with each possible end. The root has one form only.
func (d *docusaurusSite) bothEnds(to string) []string {
	if to == "/" {
		return []string{"/"}
	}
	var all []string
	for _, end := range d.ends {
		all = append(all, to+end)
	}
	return all
}

// posts adds the rules of the blog, unless the configuration turns it off.
func (d *docusaurusSite) posts(text string) {
	if regexp.MustCompile(`\bblog:\s*false`).MatchString(text) {
		return
	}
	b := d.blog
	lists := append(d.bothEnds("/"+strings.TrimSuffix(b.route, "/")), "/"+b.route+"rss.xml", "/"+b.route+"atom.xml")
	dated := []string{b.dir + "*-*-*-*." + docusaurusFile, b.dir + "*-*-*-*/index." + docusaurusFile}
	d.rules = append(d.rules, rule{
		name: "blog posts", pages: true, gap: true, match: dated, paths: d.everywhere(b.dir, d.bothEnds("/"+b.route+"{1}/{2}/{3}/{4}")),
	}, rule{
		name: "blog posts without a date", pages: true, match: []string{b.dir + "**/*." + docusaurusFile}, paths: d.everywhere(b.dir, d.bothEnds("/"+b.route+"{1}/{2}")),
		exclude: append([]string{b.dir + "**/index." + docusaurusFile, b.dir + "**/_*"}, dated...),
	}, rule{
		name: "lists of posts and feeds", match: []string{b.dir + "**/*." + docusaurusFile}, paths: d.everywhere(b.dir, lists),
	})
}

// ownPages adds the rules of the pages in src/pages, and of the sitemap.
func (d *docusaurusSite) ownPages() {
	dir := d.folder + "src/pages/"
	files, index := dir+"**/*.{js,jsx,ts,tsx,md,mdx}", dir+"**/index.{js,jsx,ts,tsx,md,mdx}"
	hidden := []string{dir + "**/_*", dir + "**/_*/**", dir + "**/*.{test,d}.*", dir + "**/__tests__/**"}
	d.rules = append(d.rules,
		rule{name: "own pages", match: []string{files}, exclude: append([]string{index}, hidden...), paths: d.everywhere(dir, d.bothEnds("/{1}/{2}")), pages: true, gap: true},
		rule{name: "own index pages", match: []string{index}, exclude: hidden, paths: d.everywhere(dir, []string{"/{1}/"}), pages: true})
	all := []string{dir + "**", d.blog.dir + "**", d.folder + "i18n/**", d.folder + "*versioned_docs/**"}
	for _, docs := range d.docs {
		all = append(all, docs.dir+"**")
	}
	d.rules = append(d.rules, rule{name: "sitemap", match: all, paths: []string{"/sitemap.xml"}})
}

// theme is the rule for what is part of every page.
func (d *docusaurusSite) theme() rule {
	f := d.folder
	globs := []string{d.Config, f + "*sidebars*", f + "{versioned_sidebars,src/theme,src/css,src/components}/**"}
	for _, docs := range d.docs {
		globs = append(globs, docs.dir+"**/_category_.{json,yml}")
	}
	return look("", globs...)
}

// own is the path that id, slug or a folder's name gives a page.
func (d *docusaurusSite) own(p *page, found string) string {
	if p.matter["draft"] == "true" || found == "" {
		return ""
	}
	if strings.HasPrefix(p.path, d.blog.dir) {
		return d.ownOfPost(p)
	}
	isIndex := strings.EqualFold(p.stem(), "index") || strings.EqualFold(p.stem(), "readme")
	dir := found[:strings.LastIndexByte(found, '/')+1] // the folder of the page's address
	if isIndex {
		dir = found + "/"
	}
	slug, id := p.matter["slug"], p.matter["id"]
	switch {
	case strings.HasPrefix(slug, "/"):
		return path.Join(d.routeOf(p.path), slug)
	case slug != "":
		return path.Join(dir, slug)
	case strings.HasPrefix(p.path, d.folder+"src/pages/"):
		return ""
	case strings.EqualFold(p.stem(), path.Base(path.Dir(p.path))): // a page with the name of its folder is the folder's page
		return strings.TrimSuffix(dir, "/")
	case id != "" && !isIndex:
		return path.Join(dir, id)
	}
	return ""
}

// routeOf is the path that a slug with a leading slash is relative to.
func (d *docusaurusSite) routeOf(name string) string {
	for _, i := range d.docs {
		if strings.HasPrefix(name, i.dir) {
			if i.last != "" && i.last != "current" {
				return "/" + i.route + "next"
			}
			return "/" + i.route
		}
		for _, v := range i.versions {
			switch {
			case !strings.HasPrefix(name, d.versionDir(i, v)):
			case v == i.last:
				return "/" + i.route
			default:
				return "/" + i.route + v
			}
		}
	}
	language, _, _ := strings.Cut(strings.TrimPrefix(name, d.folder+"i18n/"), "/")
	if strings.HasPrefix(name, d.folder+"i18n/") && len(d.docs) > 0 {
		return "/" + language + "/" + d.docs[0].route
	}
	return "/"
}

var datedPost = regexp.MustCompile(`^(.*)(\d{4}[-/]\d{1,2}[-/]\d{1,2})[-/]?(.*?)(/index)?\.mdx?$`)

// ownOfPost is the path of a post. A slug replaces everything after the blog's path. The
// front matter's date counts only if the name has none.
func (d *docusaurusSite) ownOfPost(p *page) string {
	if slug := p.matter["slug"]; slug != "" {
		return "/" + d.blog.route + strings.TrimPrefix(slug, "/")
	}
	inside := strings.TrimPrefix(p.path, d.blog.dir)
	m := datedPost.FindStringSubmatch(inside)
	if m == nil {
		return ""
	}
	return strings.TrimSuffix("/"+d.blog.route+m[1]+strings.ReplaceAll(m[2], "-", "/")+"/"+m[3], "/")
}

// value reads a key of a configuration in JavaScript or TypeScript, if its value is
// written as a literal; else "". It does not parse the language, and takes the first
// match.
func value(text, key string) string {
	m := regexp.MustCompile(`(?m)(?:^|[\s{,])['"]?` + key + `['"]?\s*:\s*(?:['"` + "`" + `]([^'"` + "`" + `]*)['"` + "`" + `]|(true|false)\b)`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return cmp.Or(m[1], m[2])
}

// list reads a key whose value is a list of texts, as far as they are literals.
func list(text, key string) (all []string) {
	m := regexp.MustCompile(`\b` + key + `\s*:\s*\[([^\]]*)\]`).FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	for _, quoted := range regexp.MustCompile(`['"]([^'"]+)['"]`).FindAllStringSubmatch(m[1], -1) {
		all = append(all, quoted[1])
	}
	return all
}

// block is the text between the brace that a pattern ends with and its closing brace.
func block(text, form string) (string, bool) {
	at := regexp.MustCompile(form).FindStringIndex(text)
	if at == nil {
		return "", false
	}
	return balanced(text[at[1]-1:]), true
}

// balanced is the text inside the first pair of braces; text starts with the first. It
// ignores that a string may contain braces.
func balanced(text string) string {
	depth := 0
	for i, r := range text {
		switch r {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return text[1:i]
			}
		}
	}
	return text
}

// withoutComments removes comments. The // of a URL stays, since no space precedes it.
func withoutComments(text string) string {
	text = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(text, "")
	return regexp.MustCompile(`(?m)(^|\s)//.*$`).ReplaceAllString(text, "$1")
}
