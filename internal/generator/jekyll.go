package generator

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// jekyllSite is a site built by Jekyll, with what its configuration says about addresses.
type jekyllSite struct {
	*Site
	conf  settings
	style string // the permalink of the configuration: a name or a pattern
	exts  string // of pages, as a glob
}

// jekyll makes the rules for Jekyll: https://jekyllrb.com/docs/permalinks/
func jekyll(s *Site) {
	j := &jekyllSite{Site: s, conf: s.settings(s.Config)}
	s.setURL(j.conf.text("url"))
	if base := strings.Trim(j.conf.text("baseurl"), "/"); base != "" {
		s.base += "/" + base
	}
	if source := strings.Trim(path.Clean(j.conf.text("source")), "./"); source != "" {
		s.folder += source + "/"
	}
	j.style = cmp.Or(j.conf.text("permalink"), "date")
	if len(s.below(".github/workflows/")) == 0 {
		s.environment = "github-pages" // without a workflow GitHub itself builds the site
	}
	files := s.below(s.folder)
	j.exts = extensions(files, "md", "html", "markdown", "mkd", "mkdn", "mkdown")
	j.posts(files)
	j.collections()
	j.sitePages()
	j.files()
	f := s.folder
	s.rules = append(s.rules, look("", f+"_{layouts,includes,data}/**", s.Config), rule{name: "imported styles", match: []string{f + "_sass/**"}, tags: []string{"site-css"}})
	s.own = j.own
}

// jekyllStyle is the pattern behind the name of a built-in style; any other text is a
// pattern already: https://jekyllrb.com/docs/permalinks/#built-in-formats
func jekyllStyle(style string) string {
	const ext = ":output_ext"
	switch style {
	case "date":
		return "/:categories/:year/:month/:day/:title" + ext
	case "pretty":
		return "/:categories/:year/:month/:day/:title/"
	case "ordinal":
		return "/:categories/:year/:y_day/:title" + ext
	case "weekdate":
		return "/:categories/:year/W:week/:short_day/:title" + ext
	case "none":
		return "/:categories/:title" + ext
	}
	return style
}

// suffix is what comes after the name of a page that is not a post.
func (j *jekyllSite) suffix() string {
	switch style := j.style; {
	case style == "pretty":
		return "/"
	case !strings.Contains(style, ":"): // a built-in style
		return ":output_ext"
	case strings.HasSuffix(style, "/"):
		return "/"
	case strings.HasSuffix(style, ":output_ext"), strings.HasSuffix(style, ".html"):
		return ":output_ext"
	}
	return ""
}

// permalinkOf is the permalink of a collection: its own, or the one that the defaults set
// for it; "" for none.
func (j *jekyllSite) permalinkOf(collection string) string {
	if own := j.conf.group("collections").group(collection).text("permalink"); own != "" {
		return own
	}
	for _, d := range j.conf.list("defaults") {
		group, _ := d.(settings)
		scope := group.group("scope")
		if to := group.group("values").text("permalink"); to != "" && (scope.text("type") == collection || scope.text("path") == "_"+collection) {
			return to
		}
	}
	return ""
}

// posts adds the rules of posts, whose names have their date. If the permalink needs
// something else, there is no general rule, and a sentence says so.
func (j *jekyllSite) posts(files []string) {
	link := jekyllStyle(cmp.Or(j.permalinkOf("posts"), j.style))
	dir := j.collectionsDir()
	if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains("/"+f, "/_posts/") }) {
		return
	}
	to, known := permalink(jekyllToken, "/"+link, map[string]string{
		":categories": "{1}", ":collection": "posts", ":output_ext": ".html", ":year": "{3}", ":month": "{4}", ":day": "{5}", ":title": "{6|hyphens}", ":slug": "{6|slug}",
	})
	if !known {
		j.seen = append(j.seen, "Posts are at "+link+", which their names don't tell: what is not named below goes unseen.")
		return
	}
	j.rules = append(j.rules,
		rule{
			name: "posts", match: []string{dir + "**/_posts/**/*-*-*-*." + j.exts}, exclude: j.left()[2:], paths: []string{to}, pages: true, gap: true,
			comment: "permalink: " + cmp.Or(j.permalinkOf("posts"), j.style) + "; folders in front of _posts are categories, and others stand inside the files",
		},
		rule{name: "home page, feed and sitemap", match: []string{dir + "**/_posts/**"}, paths: []string{"/", "/feed.xml", "/sitemap.xml"}})
}

// collectionsDir is the folder that contains the collections' folders.
func (j *jekyllSite) collectionsDir() string {
	if dir := strings.Trim(j.conf.text("collections_dir"), "/"); dir != "" {
		return j.folder + dir + "/"
	}
	return j.folder
}

// collections adds the rules of collections that have pages of their own.
func (j *jekyllSite) collections() {
	var names []string
	for name := range j.conf.group("collections") {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "posts" || j.conf.group("collections").group(name).text("output") != "true" {
			continue
		}
		link := jekyllStyle(cmp.Or(j.permalinkOf(name), "/:collection/:path"+j.suffix()))
		dir := j.collectionsDir() + "_" + name + "/"
		to, known := permalink(jekyllToken, "/"+link, map[string]string{
			":collection": name, ":path": "{1}/{2}", ":name": "{2|slug}", ":title": "{2|hyphens}", ":slug": "{2|slug}", ":output_ext": ".html", ":categories": "",
		})
		if !known {
			j.seen = append(j.seen, "The collection "+name+" is at "+link+", which the names of its files don't tell.")
			continue
		}
		pages := dir + "**/*." + j.exts
		j.rules = append(j.rules,
			rule{name: "collection " + name, match: []string{pages}, paths: []string{to}, pages: true, gap: true, comment: "permalink: " + link},
			rule{name: "files of " + name, match: []string{dir + "**/*"}, exclude: []string{pages}, paths: []string{"/" + name + "/{1}/{2}"}})
	}
}

// left are globs for what Jekyll does not publish. The first two, hidden files and
// folders, must stay first: posts are in a hidden folder, and their rule skips those two.
func (j *jekyllSite) left() []string {
	f := j.folder
	left := []string{f + "**/{_,.}*", f + "**/{_,.}*/**", f + "{vendor,node_modules}/**", f + "{Gemfile,Gemfile.lock,CNAME}"}
	for _, e := range j.conf.list("exclude") {
		name, _ := e.(string)
		name = strings.TrimSuffix(strings.TrimPrefix(name, "/"), "/")
		switch {
		case name == "" || strings.ContainsAny(name, `{}[]\"`):
		case j.has(f + name):
			left = append(left, f+name)
		case len(j.below(f+name+"/")) > 0:
			left = append(left, f+name+"/**")
		case strings.Contains(name, "*"):
			left = append(left, f+name)
		}
	}
	return left
}

// sitePages adds the rules of pages outside posts and collections.
func (j *jekyllSite) sitePages() {
	f, end := j.folder, strings.Replace(j.suffix(), ":output_ext", ".html", 1)
	index := f + "**/index." + j.exts
	paths := []string{"/{1}/{2}" + end}
	if end == ".html" {
		paths = append(paths, "/{1}/{2}") // most hosts answer without .html too
	}
	j.rules = append(j.rules,
		rule{
			name: "pages", match: []string{f + "**/*." + j.exts}, exclude: append([]string{index}, j.left()...), paths: paths, pages: true, gap: true,
			comment: "what begins with _ or a dot is not part of the site",
		},
		rule{name: "index pages", match: []string{index}, exclude: j.left(), paths: []string{"/{1}/"}, pages: true})
}

// files adds the rules of all files that are not pages. Jekyll compiles Sass to CSS.
func (j *jekyllSite) files() {
	f := j.folder
	styles := f + "**/*.{scss,sass}"
	j.rules = append(j.rules,
		rule{name: "style sheets", match: []string{styles}, exclude: j.left(), paths: []string{"/{1}/{2}.css"}, gap: true},
		rule{
			name: "all other files", match: []string{f + "**/*"}, paths: []string{"/{1}/{2}"},
			exclude: append([]string{styles, f + "**/*." + j.exts}, j.left()...),
		})
}

// jekyllToken matches a token of a pattern. A longer name must come before a shorter one
// that it begins with.
var jekyllToken = regexp.MustCompile(`:(categories|collection|output_ext|short_day|y_day|i_month|i_day|short_month|long_month|short_year|week|year|month|day|title|slug|path|name|hour|minute|second|basename)`)

// own is the path that a page's front matter gives it.
func (j *jekyllSite) own(p *page, found string) string {
	inside := strings.TrimPrefix(p.path, j.folder)
	hidden := strings.Contains("/"+inside, "/_") // part of a collection, or not published
	link := p.matter["permalink"]
	switch {
	case p.matter["published"] == "false":
		return ""
	case found == "" && !hidden: // not published
		return ""
	case !p.front && !hidden && !j.addsFrontMatter():
		return "/" + inside // Jekyll copies a file without front matter
	case !p.front:
		return ""
	case link == "" && strings.Contains("/"+inside, "/_posts/"):
		link = jekyllStyle(cmp.Or(j.permalinkOf("posts"), j.style))
	case link == "":
		return ""
	case !strings.Contains(link, ":"):
		to, _ := permalink(jekyllToken, "/"+link, nil)
		return to
	}
	name := strings.TrimPrefix(p.stem(), datePrefix.FindString(p.stem()))
	slug := cmp.Or(p.matter["slug"], name)
	values := map[string]string{
		":title": jekyllSlug(slug), ":slug": strings.ToLower(jekyllSlug(slug)), ":output_ext": ".html", ":categories": j.categories(p, inside), ":collection": "posts",
	}
	if y, m, d, ok := p.dateIn(j.conf.text("timezone")); ok {
		values[":year"], values[":month"], values[":day"] = y, m, d
	}
	to, known := permalink(jekyllToken, "/"+link, values)
	if !known {
		return ""
	}
	return to
}

// addsFrontMatter reports whether a plugin turns Markdown without front matter into
// pages, and README.md into an index, as GitHub's own build does.
func (j *jekyllSite) addsFrontMatter() bool {
	plugins := append(j.conf.list("plugins"), j.conf.list("gems")...)
	return slices.Contains(plugins, any("jekyll-optional-front-matter"))
}

// categories are the folders in front of _posts and the categories of the front matter.
func (j *jekyllSite) categories(p *page, inside string) string {
	before, _, _ := strings.Cut("/"+inside, "/_posts/")
	all := strings.Split(strings.Trim(before, "/"), "/")
	named := cmp.Or(p.matter["categories"], p.matter["category"])
	words := strings.Fields(named)
	if list, ok := strings.CutPrefix(named, "["); ok {
		words = strings.Split(strings.TrimSuffix(list, "]"), ",")
	}
	for _, c := range words {
		if c = strings.ToLower(strings.Trim(c, ` "'`)); !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return strings.Trim(strings.Join(all, "/"), "/")
}

var notInJekyllSlug = regexp.MustCompile(`[^\p{L}\p{M}\p{Nd}._~!$&'()+,;=@]+`)

// jekyllSlug replaces what is neither letter nor digit by hyphens, as Jekyll's mode
// pretty does: https://jekyllrb.com/docs/liquid/filters/
func jekyllSlug(s string) string {
	return strings.Trim(notInJekyllSlug.ReplaceAllString(s, "-"), "-")
}
