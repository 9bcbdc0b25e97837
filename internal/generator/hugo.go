package generator

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

// isHugo tells Hugo's configuration from that of other generators, such as Zola.
func isHugo(s *Site, config, folder string) bool {
	return len(s.below(folder+"content/")) > 0 && !strings.Contains(s.read(config), "base_url")
}

// hugoSite is a site built by Hugo, with what its configuration says about addresses.
type hugoSite struct {
	*Site
	conf       settings
	first      string            // the language whose addresses have no folder; "": each language has one
	others     []string          // the other languages
	exts       string            // of pages, as a glob
	inNames    []string          // languages that are part of file names, such as about.de.md
	slug       string            // the filter of the rules that writes a name as Hugo does
	permalinks map[string]string // patterns by section
}

// hugo makes the rules for Hugo: https://gohugo.io/content-management/urls/
func hugo(s *Site) {
	h := &hugoSite{Site: s, conf: s.hugoSettings(), slug: "slug", permalinks: map[string]string{}}
	s.setURL(h.conf.text("baseurl"))
	s.limits = true
	if h.conf.text("disablepathtolower") == "true" {
		h.slug = "hyphens"
	}
	h.readLanguages()
	h.readPermalinks()
	content := s.folder + cmp.Or(h.conf.text("contentdir"), "content") + "/"
	files := s.below(content)
	h.exts = extensions(files, "md", "html", "markdown", "adoc", "org", "rst", "pandoc")
	h.languagesInNames(files)
	for _, root := range h.roots(content) {
		h.pages(root)
	}
	static := s.folder + cmp.Or(h.conf.text("staticdir"), "static") + "/"
	s.rules = append(s.rules, publicFiles("static files", static), look("",
		s.folder+"{layouts,themes,assets,data,i18n,config}/**", s.folder+"{hugo,config}.{toml,yaml,yml,json}"))
	s.own = h.own
}

// hugoSettings merges the files of config/_default into the configuration. Each belongs
// under the key that it is named after; languages.de.toml belongs under languages, de. A
// key that the main file has wins.
func (s *Site) hugoSettings() settings {
	conf := s.settings(s.Config)
	name := regexp.MustCompile(`^([\w-]+)(?:\.([\w-]+))?\.(toml|yaml|yml|json)$`)
	for _, f := range s.below(s.folder + "config/_default/") {
		m := name.FindStringSubmatch(strings.TrimPrefix(f, s.folder+"config/_default/"))
		if m == nil || f == s.Config {
			continue
		}
		key, read := strings.ToLower(m[1]), s.settings(f)
		switch {
		case m[2] != "" && key == "languages":
			if conf.group(key) == nil {
				conf[key] = settings{}
			}
			conf.group(key)[strings.ToLower(m[2])] = read
		case conf[key] == nil && m[2] == "":
			conf[key] = read
		}
	}
	return conf
}

// readLanguages finds the main language and the others. With
// defaultContentLanguageInSubdir the main language has a folder like the others.
func (h *hugoSite) readLanguages() {
	h.first = strings.ToLower(cmp.Or(h.conf.text("defaultcontentlanguage"), "en"))
	for name := range h.conf.group("languages") {
		if name != h.first {
			h.others = append(h.others, name)
		}
	}
	slices.Sort(h.others)
	if h.conf.text("defaultcontentlanguageinsubdir") == "true" {
		h.others, h.first = append([]string{h.first}, h.others...), ""
	}
}

// readPermalinks reads the patterns of pages. Hugo has two forms:
// permalinks.page.SECTION, and the older permalinks.SECTION.
func (h *hugoSite) readPermalinks() {
	links := h.conf.group("permalinks")
	for section, pattern := range links.group("page") {
		h.permalinks[section], _ = pattern.(string)
	}
	for section := range links {
		if pattern := links.text(section); pattern != "" {
			h.permalinks[section] = pattern
		}
	}
}

// hugoRoot is a folder of content, or several folders that differ only in their language.
type hugoRoot struct {
	glob    string   // of the folder, with a slash at its end
	path    string   // comes before the paths of its pages
	numbers int      // wildcards in glob; the placeholders of its pages count from there
	names   string   // starts the names of its rules
	exclude []string // for each of its rules
	suffix  string   // of file names, before the extension: "" or .{de,fr}
	folders []string // all folders that glob stands for
}

// roots finds the folders of content. The configuration may mount or name a folder for
// each language. If it does not, folders that are named after the languages count, if
// nearly all files are in them.
func (h *hugoSite) roots(content string) []hugoRoot {
	dirs := map[string]string{} // by language
	for name, language := range h.conf.group("languages") {
		if group, ok := language.(settings); ok && group.text("contentdir") != "" {
			dirs[name] = h.folder + path.Clean(group.text("contentdir")) + "/"
		}
	}
	for _, mount := range h.conf.group("module").list("mounts") {
		m, _ := mount.(settings)
		language := cmp.Or(m.text("lang"), textOf(m.group("sites").group("matrix").list("languages")), h.first)
		if m.text("target") == "content" && dirs[language] == "" {
			dirs[language] = h.folder + path.Clean(m.text("source")) + "/"
		}
	}
	named := 0
	for _, language := range append(h.others, h.first) {
		named += len(h.below(content + language + "/"))
	}
	// More than nine tenths of the files: a folder may have the name of a language by
	// chance.
	if len(dirs) == 0 && len(h.others) > 0 && named*10 > len(h.below(content))*9 {
		for _, language := range append(h.others, h.first) {
			dirs[language] = content + language + "/"
		}
	}
	var roots []hugoRoot
	switch {
	case len(dirs) == 0:
		roots = h.rootsOfNames(content)
	case h.first != "" && dirs[h.first] != "":
		roots = []hugoRoot{{glob: dirs[h.first], path: "/", folders: []string{dirs[h.first]}}}
	}
	var alike []string // languages whose folders are named after them, next to each other: one glob covers them
	var folders []string
	beside := path.Dir(strings.TrimSuffix(cmp.Or(dirs[h.first], content+"x/"), "/")) + "/"
	for _, language := range h.others {
		switch dir := dirs[language]; {
		case dir == "" || len(h.below(dir)) == 0:
		case dir == beside+language+"/":
			alike, folders = append(alike, language), append(folders, dir)
		default:
			roots = append(roots, hugoRoot{glob: dir, path: "/" + language + "/", names: language + ": ", folders: []string{dir}})
		}
	}
	if len(alike) > 0 {
		roots = append(roots, hugoRoot{glob: beside + "{" + strings.Join(alike, ",") + "}/", path: "/{1}/", numbers: 1, names: "translated ", folders: folders})
	}
	return roots
}

// textOf is the first item of a list as text, "" without one.
func textOf(list []any) string {
	if len(list) == 0 {
		return ""
	}
	text, _ := list[0].(string)
	return text
}

// languagesInNames finds the languages that are part of file names, such as about.de.md.
func (h *hugoSite) languagesInNames(files []string) {
	for _, language := range h.others {
		if slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(strings.TrimSuffix(f, path.Ext(f)), "."+language) }) {
			h.inNames = append(h.inNames, language)
		}
	}
}

// rootsOfNames are the roots of a single folder of content, whose file names may contain
// the language.
func (h *hugoSite) rootsOfNames(content string) []hugoRoot {
	first := hugoRoot{glob: content, path: "/", folders: []string{content}}
	if len(h.inNames) == 0 {
		return []hugoRoot{first}
	}
	languages := strings.Join(h.inNames, ",")
	first.exclude = []string{content + "**/*.{" + languages + "}.*"}
	return []hugoRoot{first, {glob: content, path: "/{L}/", names: "translated ", suffix: ".{" + languages + "}", folders: []string{content}}}
}

// pages adds the rules of a root: first those of sections that have addresses of their
// own, then those of all other pages.
func (h *hugoSite) pages(root hugoRoot) {
	ugly := h.conf.text("uglyurls") == "true"
	var special []string
	for _, section := range h.specialSections() {
		if !slices.ContainsFunc(root.folders, func(dir string) bool { return len(h.below(dir+section+"/")) > 0 }) {
			continue
		}
		special = append(special, section)
		h.section(root, section, ugly || h.conf.group("uglyurls").text(section) == "true")
	}
	h.usual(root, special, ugly)
	h.lists(root)
}

// specialSections are the sections with a permalink or with uglyURLs of their own.
func (h *hugoSite) specialSections() []string {
	var all []string
	for section := range h.permalinks {
		all = append(all, section)
	}
	for section, ugly := range h.conf.group("uglyurls") {
		if ugly == true {
			all = append(all, section)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return strings.Contains(s, "/") })
}

// number is the placeholder for the nth wildcard after those of the root.
func (r hugoRoot) number(n int, filter string) string {
	if filter != "" {
		filter = "|" + filter
	}
	return fmt.Sprintf("{%d%s}", r.numbers+n, filter)
}

// at is a path below the root. If the language is part of the file name, its placeholder
// comes after the given number of wildcards.
func (r hugoRoot) at(wildcards int, rest string) string {
	return strings.Replace(r.path, "{L}", r.number(wildcards+1, ""), 1) + rest
}

// indexes are the names of the files that are their folder's page.
const indexes = "{index,_index}"

// hugoEnd is how the address of a page ends.
func hugoEnd(ugly bool) string {
	if ugly {
		return ".html"
	}
	return "/"
}

// usual are the rules for pages with Hugo's default addresses.
func (h *hugoSite) usual(root hugoRoot, special []string, ugly bool) {
	end := hugoEnd(ugly)
	exclude := slices.Clone(root.exclude)
	for _, section := range special {
		exclude = append(exclude, strings.Replace(root.glob, "{"+strings.Join(h.others, ",")+"}", "*", 1)+section+"/**")
	}
	dir, name := root.number(1, h.slug), root.number(2, h.slug)
	file := "." + h.exts
	h.rules = append(h.rules,
		rule{
			name: root.names + "pages", pages: true, gap: true, comment: "Hugo writes the names of files in lower case and with hyphens: about.md and about/index.md are /about" + end,
			match:   []string{root.glob + "**/*" + root.suffix + file},
			exclude: append([]string{root.glob + "**/" + indexes + root.suffix + file}, exclude...),
			paths:   []string{root.at(2, dir+"/"+name+end)},
		},
		rule{
			name: root.names + "page bundles and section pages", pages: true,
			match: []string{root.glob + "**/" + indexes + root.suffix + file}, exclude: exclude,
			paths: []string{root.at(2, dir+end)},
		})
	if ugly {
		h.rules[len(h.rules)-1].exclude = append(h.rules[len(h.rules)-1].exclude, root.glob+indexes+root.suffix+file)
	}
	if root.suffix == "" {
		h.rules = append(h.rules, rule{
			name: root.names + "pictures and downloads beside pages", comment: "these keep their name",
			match: []string{root.glob + "**/*"}, exclude: append([]string{root.glob + "**/*" + file, root.glob + "**/.*"}, exclude...),
			paths: []string{root.at(2, dir+"/"+root.number(2, ""))},
		})
	}
}

// lists are the rules for pages that list others and so change with each of them.
func (h *hugoSite) lists(root hugoRoot) {
	file := root.suffix + "." + h.exts
	if root.suffix == "" && root.numbers == 0 {
		h.rules = append(h.rules, rule{
			name: root.names + "section lists and their feeds", comment: "what lists the pages changes with each of them",
			match: []string{root.glob + "*/**/*" + file}, exclude: root.exclude,
			paths: []string{root.at(3, root.number(1, h.slug)+"/"), root.at(3, root.number(1, h.slug)+"/index.xml")},
		})
	}
	sitemap := root.at(2, "sitemap.xml")
	if root.path == "/" && len(h.others) > 0 {
		sitemap = "/" + h.first + "/sitemap.xml"
	}
	h.rules = append(h.rules, rule{
		name: root.names + "home page, feed and sitemap", match: []string{root.glob + "**/*" + file}, exclude: root.exclude,
		paths: []string{root.at(2, ""), root.at(2, "index.xml"), sitemap},
	})
}

// section are the rules of a section with a permalink or uglyURLs. If the pattern needs
// something that only the files contain, such as a category, there is no general rule,
// and a sentence in the rules file says so.
func (h *hugoSite) section(root hugoRoot, section string, ugly bool) {
	pattern := cmp.Or(h.permalinks[section], "/"+section+"/:sections/:filename/")
	var files []string
	for _, dir := range root.folders {
		files = append(files, slices.DeleteFunc(slices.Clone(h.below(dir+section+"/")), func(f string) bool {
			return strings.HasPrefix(path.Base(f), "_index.")
		})...)
	}
	glob, numbers := root.glob+section+"/**/*", 2
	values := map[string]string{":filename": root.number(2, h.slug)}
	if mostlyDated(files) && !strings.Contains(pattern, ":filename") && !strings.Contains(pattern, ":contentbasename") {
		glob, numbers = root.glob+section+"/**/*-*-*-*", 5
		values = map[string]string{":year": root.number(2, ""), ":month": root.number(3, ""), ":day": root.number(4, ""), ":filename": root.number(5, h.slug)}
	}
	values[":sections"], values[":section"] = root.number(1, h.slug), section
	to, known := hugoPermalink(pattern, values)
	if !known {
		h.seen = append(h.seen, fmt.Sprintf("Addresses in %s are %s, which stands inside the files: what is not named below goes unseen.", section, pattern))
		return
	}
	end := hugoEnd(ugly)
	to = strings.Trim(to, "/") + end
	file := root.suffix + "." + h.exts
	comment := "permalinks: " + pattern
	if h.permalinks[section] == "" {
		comment = "uglyURLs"
	}
	h.rules = append(h.rules, rule{
		name: root.names + section, pages: true, gap: true, comment: comment,
		match: []string{glob + file}, exclude: append([]string{root.glob + section + "/**/" + indexes + file}, root.exclude...),
		paths: []string{root.at(numbers, to)},
	})
	index := indexes + file
	h.rules = append(h.rules, rule{
		name: root.names + "lists of " + section, pages: true, match: []string{root.glob + section + "/*/**/" + index}, exclude: root.exclude,
		paths: []string{root.at(3, section+"/"+root.number(1, h.slug)+"/"+root.number(2, h.slug)+end)},
	}, rule{
		name: root.names + "list of " + section, pages: true, match: []string{root.glob + section + "/" + index}, exclude: root.exclude,
		paths: []string{root.at(1, section+end)},
	})
}

var hugoToken = regexp.MustCompile(`:[a-z]+(\[[^\]]*\])?`)

// hugoPermalink is the address that a pattern gives. Names of a page that are not known,
// such as its slug, are taken to be the file's name.
func hugoPermalink(pattern string, values map[string]string) (to string, known bool) {
	for _, name := range []string{":slug", ":title", ":slugorfilename", ":contentbasename", ":slugorcontentbasename"} {
		if _, ok := values[name]; !ok {
			values[name] = values[":filename"]
		}
	}
	return permalink(hugoToken, pattern, values)
}

// own is the path that a page's front matter gives it.
func (h *hugoSite) own(p *page, found string) string {
	if p.matter["draft"] == "true" {
		return ""
	}
	if bundle := h.bundleOf(p.path); bundle != "" {
		return "" // the file is a part of that page, and has no address
	}
	to := p.matter["url"]
	section, language := h.sectionOf(p.path)
	isList := strings.HasPrefix(path.Base(p.path), "_index.")
	switch pattern := h.permalinks[section]; {
	case to != "":
		if to = "/" + strings.TrimPrefix(to, "/"); path.Ext(to) == "" && !strings.HasSuffix(to, "/") {
			to += "/"
		}
	case isList:
		return ""
	case pattern != "":
		if to = h.expand(p, pattern, section); to == "" {
			return ""
		}
		to = "/" + strings.Trim(to, "/") + hugoEnd(h.conf.group("uglyurls").text(section) == "true")
		if language != "" && language != h.first {
			to = "/" + language + to
		}
	case p.matter["slug"] != "" && found != "":
		to = lastSegment(found, mapping.Slug(p.matter["slug"]))
	default:
		return ""
	}
	return to
}

// bundleOf is the folder whose index file makes the given file a part of its page; "" if
// there is none.
func (h *hugoSite) bundleOf(name string) string {
	if strings.HasPrefix(path.Base(name), "index.") {
		name = path.Dir(name)
	}
	for dir := path.Dir(name); dir != "." && dir+"/" != h.folder; dir = path.Dir(dir) {
		for _, ext := range []string{"md", "html", "markdown"} {
			if h.has(dir + "/index." + ext) {
				return dir
			}
		}
	}
	return ""
}

// sectionOf is the section and the language of a file, by the names of its folders.
func (h *hugoSite) sectionOf(name string) (section, language string) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(name, h.folder), "/")
	first, rest, nested := strings.Cut(rest, "/")
	if nested && (first == h.first || slices.Contains(h.others, first)) {
		language = first
		first, _, nested = strings.Cut(rest, "/")
	}
	if !nested {
		first = ""
	}
	return first, language
}

// expand is the address of one page by a pattern; "" if the front matter lacks something.
func (h *hugoSite) expand(p *page, pattern, section string) string {
	name := p.stem()
	if name == "index" {
		name = path.Base(path.Dir(p.path))
	}
	values := map[string]string{":section": section, ":sections": "", ":filename": mapping.Slug(name)}
	if strings.Contains(pattern, ":sections") {
		return ""
	}
	if y, m, d, ok := p.date(); ok {
		values[":year"], values[":month"], values[":day"] = y, m, d
	}
	if title := p.matter["title"]; title != "" {
		values[":title"] = mapping.Slug(title)
	}
	values[":slug"] = cmp.Or(mapping.Slug(p.matter["slug"]), values[":title"], values[":filename"])
	values[":slugorfilename"] = cmp.Or(mapping.Slug(p.matter["slug"]), values[":filename"])
	to, known := hugoPermalink(pattern, values)
	if !known {
		return ""
	}
	return to
}

// lastSegment replaces the last name of a path, and keeps its ending: a slash or .html.
func lastSegment(found, name string) string {
	bare := strings.TrimSuffix(found, "/")
	end := found[len(bare):]
	if path.Ext(bare) == ".html" {
		bare, end = strings.TrimSuffix(bare, ".html"), ".html"
	}
	return bare[:strings.LastIndexByte(bare, '/')+1] + name + end
}
