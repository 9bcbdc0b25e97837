package generator

import (
	"cmp"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
)

// docusaurusSite is what Docusaurus' configuration says of addresses.
type docusaurusSite struct {
	*Site
	ends []string // of an address: "" and "/", or one of them
	root string   // the language without a folder in its addresses
	docs []docsInstance
	blog docsInstance
}

// docsInstance is a folder of documents or of a blog.
type docsInstance struct {
	id, dir, route string // dir from the repository's root, with a slash at its end
	versions       []string
	last           string // the version that has no folder in its addresses; "" where docs are not versioned
	noCurrent      bool
}

// docusaurus: https://docusaurus.io/docs/docs-introduction
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

// instances reads the presets and plugins for documents and the blog.
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

// prefix begins the names of an instance's own files and folders.
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

// documents adds the rules of an instance: its newest state, its versions and
// their translations.
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

// languages are those with a folder of a plugin, as a glob; "" if none has.
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

// folderOfDocs adds the rules of one folder, whose glob has so many wildcards.
func (d *docusaurusSite) folderOfDocs(name, dir, route string, numbers int) {
	root := hugoRoot{numbers: numbers}
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

func (d *docusaurusSite) theme() rule {
	f := d.folder
	globs := []string{d.Config, f + "*sidebars*", f + "{versioned_sidebars,src/theme,src/css,src/components}/**"}
	for _, docs := range d.docs {
		globs = append(globs, docs.dir+"**/_category_.{json,yml}")
	}
	return look("", globs...)
}

// own is what id, slug and a folder's name make of an address.
func (d *docusaurusSite) own(p *page, found string) string {
	if p.matter["draft"] == "true" || found == "" {
		return ""
	}
	if strings.HasPrefix(p.path, d.blog.dir) {
		return d.ownOfPost(p)
	}
	isIndex := strings.EqualFold(p.stem(), "index") || strings.EqualFold(p.stem(), "readme")
	dir := found[:strings.LastIndexByte(found, '/')+1] // of the page
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
	case strings.EqualFold(p.stem(), path.Base(path.Dir(p.path))): // a page that is called as its folder is
		return strings.TrimSuffix(dir, "/")
	case id != "" && !isIndex:
		return path.Join(dir, id)
	}
	return ""
}

// routeOf is the path that an absolute slug is relative to.
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

// ownOfPost: the slug is all behind the blog's path; the front matter's date
// wins over the name's only where there is none in that.
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

// value reads a key of a configuration in JavaScript or TypeScript, as far as
// it is written out.
func value(text, key string) string {
	m := regexp.MustCompile(`(?m)(?:^|[\s{,])['"]?` + key + `['"]?\s*:\s*(?:['"` + "`" + `]([^'"` + "`" + `]*)['"` + "`" + `]|(true|false)\b)`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return cmp.Or(m[1], m[2])
}

// list reads a key whose value is a list of texts, as far as it is written out.
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

// block is what stands between the braces that a form ends with.
func block(text, form string) (string, bool) {
	at := regexp.MustCompile(form).FindStringIndex(text)
	if at == nil {
		return "", false
	}
	return balanced(text[at[1]-1:]), true
}

// balanced is the text up to the brace that closes the first.
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

// withoutComments drops lines and blocks of comments; what follows // in a
// line with a URL stays.
func withoutComments(text string) string {
	text = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(text, "")
	return regexp.MustCompile(`(?m)(^|\s)//.*$`).ReplaceAllString(text, "$1")
}
