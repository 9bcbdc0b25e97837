package generator

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/mapping"
)

// Rules writes the rules file: rules that match files of the repository, single rules for
// pages whose address those can't know, and tests for files that are there.
//
// The order matters: exceptions plans each page with the pruned rules, and the tests are
// planned with the final ones.
func (s *Site) Rules(ctx context.Context) (string, error) {
	if err := s.prune(ctx); err != nil {
		return "", err
	}
	if err := s.exceptions(ctx); err != nil {
		return "", err
	}
	file, err := s.parse()
	if err != nil {
		return "", err
	}
	tests, err := s.tests(ctx, file)
	return s.text() + "\n" + tests, err
}

// parse parses what was written so far. An error is a fault of this package, or a value
// of the site's configuration that does not fit.
func (s *Site) parse() (*mapping.File, error) {
	file, faults := mapping.Parse([]byte(s.text()))
	if file == nil {
		return nil, fmt.Errorf("the rules for this site are no good: %s", faults.Errors()[0].Message)
	}
	return file, nil
}

// initSteps bounds the work on globs in one run, so that a huge repository ends with an
// error and does not run on and on.
const initSteps = 2_000_000_000

// prune drops excludes and globs that match no file, and rules that no file is left for.
func (s *Site) prune(ctx context.Context) error {
	work := glob.NewWork(ctx, initSteps)
	var kept []rule
	for _, r := range s.rules {
		var fit, out []string
		r.match, fit = fitting(r.match, s.files, work)
		r.exclude, out = fitting(r.exclude, fit, work)
		if slices.ContainsFunc(fit, func(f string) bool {
			_, found := slices.BinarySearch(out, f)
			return !found
		}) {
			kept = append(kept, r)
		}
	}
	s.rules = kept
	return work.Err()
}

// fitting returns the globs that match some of the files, and those files, sorted.
func fitting(globs, files []string, work *glob.Work) (some, fit []string) {
	for _, written := range globs {
		g, err := glob.Compile(written)
		if err != nil {
			continue
		}
		before := len(fit)
		for _, f := range files {
			if g.Match(f, work) {
				fit = append(fit, f)
			}
		}
		if len(fit) > before {
			some = append(some, written)
		}
	}
	slices.Sort(fit)
	return some, slices.Compact(fit)
}

// text is the rules file without its tests.
func (s *Site) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by purgebot rules init: %s.\n", s.Seen())
	for _, sentence := range s.seen {
		fmt.Fprintf(&b, "# %s\n", sentence)
	}
	b.WriteString("# The whole language: https://github.com/purgebot/purgebot/blob/main/docs/rules.md\n" +
		"# yaml-language-server: $schema=https://raw.githubusercontent.com/purgebot/purgebot/main/docs/purge-rules.schema.json\n" +
		"version: 1\n\nenvironments:\n")
	host, comment := s.Host, ""
	if host == "" {
		host, comment = "www.example.com", " # no host was found: put yours here"
	}
	fmt.Fprintf(&b, "  %s:\n    hosts: [%s]%s\n", s.environment, host, comment)
	if s.Generator == "" {
		b.WriteString("    trigger: push                  # there is no deployment: the push is one\n")
		if s.Branch != "" {
			fmt.Fprintf(&b, "    branch: %s\n", s.Branch)
		}
		b.WriteString("    settle: 30s                    # the web server needs a moment\n")
	}
	b.WriteString("\nrules:\n")
	for i, r := range s.rules {
		if r.gap && i > 0 {
			b.WriteByte('\n')
		}
		s.write(&b, r)
	}
	if s.limits && slices.ContainsFunc(s.rules, func(r rule) bool { return len(r.tags) > 0 }) {
		b.WriteString("\nlimits:\n  - over: 2000\n    instead: {tags: [site-html]}\n")
	}
	return b.String()
}

// write writes one rule.
func (s *Site) write(b *strings.Builder, r rule) {
	if r.comment != "" {
		fmt.Fprintf(b, "  # %s\n", r.comment)
	}
	fmt.Fprintf(b, "  - name: %q\n", r.name)
	writeList(b, "match", r.match)
	writeList(b, "exclude", r.exclude)
	var urls []string
	for _, p := range r.paths {
		urls = append(urls, "https://{host}"+s.base+p)
	}
	writeList(b, "urls", urls)
	writeList(b, "tags", r.tags)
}

// writeList writes a single text as a scalar, several as a list, and nothing for none.
func writeList(b *strings.Builder, key string, list []string) {
	switch len(list) {
	case 0:
	case 1:
		fmt.Fprintf(b, "    %s: %q\n", key, list[0])
	default:
		fmt.Fprintf(b, "    %s:\n", key)
		for _, text := range list {
			fmt.Fprintf(b, "      - %q\n", text)
		}
	}
}

// planOf is what a change of one file purges by the rules. owner, repo and main are
// placeholders, which the written rules don't use.
func (s *Site) planOf(ctx context.Context, file *mapping.File, name string) ([]mapping.Target, error) {
	plan, err := file.Plan(ctx, mapping.Query{
		Environment: s.environment, Owner: "owner", Repo: "repo", DefaultBranch: "main",
		Changes: slices.Values([]mapping.Change{{Path: name, Op: mapping.Modified}}),
	})
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	return slices.Collect(plan.Targets()), nil
}

// exception is a page whose address the rules can't know.
type exception struct{ file, to string }

// first picks from the paths that the rules found for a page the one in the main
// language. For a translation it is the first path; "" if there are none.
func (s *Site) first(found []string) string {
	i := slices.IndexFunc(found, func(at string) bool {
		language, _, _ := strings.Cut(strings.TrimPrefix(at, "/"), "/")
		return !slices.Contains(s.more, language)
	})
	switch {
	case i >= 0:
		return found[i]
	case len(found) > 0: // a translation has no other
		return found[0]
	}
	return ""
}

// everywhere adds the paths of a page in all other languages. A translation has only its
// own paths.
func (s *Site) everywhere(of string, paths []string) []string {
	if strings.HasPrefix(of, s.folder+"i18n/") {
		return paths
	}
	all := slices.Clone(paths)
	for _, language := range s.more {
		for _, to := range paths {
			all = append(all, "/"+language+to)
		}
	}
	return all
}

// mostExceptions bounds the rules for single pages; a sentence in the file counts the
// rest.
const mostExceptions = 200

// exceptions finds the pages whose front matter gives another address than the rules do,
// and writes rules for them. Then it prunes again, since those rules take files away from
// others.
func (s *Site) exceptions(ctx context.Context) error {
	if s.own == nil {
		return nil
	}
	file, err := s.parse()
	if err != nil {
		return err
	}
	var all []exception
	for _, name := range s.files {
		if !hasExt(name, "md", "mdx", "mdoc", "html", "markdown") || !utf8.ValidString(name) || !strings.HasPrefix(name, s.contentFolder()) {
			continue
		}
		targets, err := s.planOf(ctx, file, name)
		if err != nil {
			return err
		}
		found := s.addresses(targets)
		to := s.own(s.page(name), s.first(found))
		if to != "" && !slices.ContainsFunc(found, func(f string) bool { return sameAddress(f, to) }) {
			all = append(all, exception{name, to})
		}
	}
	s.writeExceptions(all)
	return s.prune(ctx)
}

// contentFolder is the folder that all pages are in. For Docusaurus it is the whole
// repository, since its docs may be outside the site's folder.
func (s *Site) contentFolder() string {
	if s.Generator == "Docusaurus" {
		return ""
	}
	return s.folder
}

// addresses are the decoded paths of a page without the site's base. It ignores targets
// of rules that are not about pages.
func (s *Site) addresses(targets []mapping.Target) (paths []string) {
	for _, t := range targets {
		if !slices.ContainsFunc(s.rules, func(r rule) bool { return r.pages && r.name == t.Rule }) {
			continue
		}
		if u, err := url.Parse(t.Object); err == nil && u.Host != "" {
			paths = append(paths, strings.TrimPrefix(u.Path, s.base))
		}
	}
	return paths
}

// sameAddress compares two paths and ignores a slash at their end.
func sameAddress(a, b string) bool {
	return cmp.Or(strings.TrimSuffix(a, "/"), "/") == cmp.Or(strings.TrimSuffix(b, "/"), "/")
}

// writeExceptions writes as few rules as possible. Pages of a folder whose names change
// in the same way share one rule, and so do the translations of one page. Each page that
// is left gets a rule of its own. The general rules then exclude all these files.
func (s *Site) writeExceptions(all []exception) {
	const alike = 3 // fewest pages that share a rule
	var own []rule
	var files []string // files that the general rules must exclude
	grouped := func(key func(exception) string, write func([]exception) rule) {
		groups, order := map[string][]exception{}, []string(nil)
		for _, e := range all {
			k := key(e)
			if k != "" && groups[k] == nil {
				order = append(order, k)
			}
			groups[k] = append(groups[k], e)
		}
		for _, k := range order {
			if len(groups[k]) >= alike {
				own = append(own, write(groups[k]))
				for _, e := range groups[k] {
					files = append(files, e.file)
				}
			}
		}
		all = slices.DeleteFunc(all, func(e exception) bool { return slices.Contains(files, e.file) })
	}
	grouped(exception.change, s.changed)
	grouped(exception.inLanguages, s.translated)
	written := all[:min(len(all), mostExceptions)]
	for _, e := range written {
		own = append(own, rule{name: e.file, match: []string{literal(e.file)}, paths: s.everywhere(e.file, s.endings(escaped(e.to))), pages: true})
		files = append(files, e.file)
	}
	if left := len(all) - len(written); left > 0 {
		s.seen = append(s.seen, fmt.Sprintf("%d more pages have an address of their own: purgebot rules check --built names them.", left))
	}
	if len(own) == 0 {
		return
	}
	out := s.globsOfFiles(files)
	for i := range s.rules {
		if s.rules[i].pages {
			s.rules[i].exclude = append(s.rules[i].exclude, out...)
		}
	}
	own[0].gap, own[0].comment = true, "the front matter of these pages gives them an address that their names don't tell"
	s.rules = append(s.rules, own...)
}

// parts splits an exception: the folder and the extension of the file, the folder of the
// address, and what the address has before and after the file's name. ok is false if the
// address does not contain the name.
func (e exception) parts() (dir, ext, to, front, behind string, ok bool) {
	dir, base := path.Split(e.file)
	ext = path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	bare := strings.TrimSuffix(e.to, "/")
	to, last := path.Split(bare)
	front, behind, ok = strings.Cut(last, stem)
	return dir, ext, to, front, behind + e.to[len(bare):], ok && !strings.ContainsAny(stem, `{}[]*?\,`)
}

// change is a key that is equal for pages that can share one rule; "" for none.
func (e exception) change() string {
	dir, ext, to, front, behind, ok := e.parts()
	if !ok {
		return ""
	}
	return strings.Join([]string{dir, ext, to, front, behind}, "\x00")
}

// changed is the rule for pages with the same change. The group is never empty.
func (s *Site) changed(group []exception) rule {
	dir, _, to, front, behind, _ := group[0].parts()
	var files []string
	for _, e := range group {
		files = append(files, e.file)
	}
	return rule{
		name: dir + "… at " + to + front + "…" + strings.TrimSuffix(behind, "/"), match: s.globsOf(dir, files),
		paths: s.everywhere(group[0].file, s.endings(escaped(to+front)+"{1}"+escaped(behind))), pages: true,
	}
}

// inLanguages is a key that is equal for the translations of one page: the first element
// of the address is a language, and a folder of the file has its name. "" for none.
func (e exception) inLanguages() string {
	language, rest, _ := strings.Cut(strings.TrimPrefix(e.to, "/"), "/")
	before, after, ok := strings.Cut(e.file, "/"+language+"/")
	if !ok || language == "" || strings.ContainsAny(language, `{}[]*?\,`) {
		return ""
	}
	return strings.Join([]string{before, after, rest}, "\x00")
}

// translated is the rule for the translations of one page.
func (s *Site) translated(group []exception) rule {
	before, after, _ := strings.Cut(group[0].inLanguages(), "\x00")
	after, rest, _ := strings.Cut(after, "\x00")
	var languages []string
	for _, e := range group {
		language, _, _ := strings.Cut(strings.TrimPrefix(e.to, "/"), "/")
		languages = append(languages, language)
	}
	return rule{
		name: after + ", translated", match: []string{literal(before) + "/" + numbered(languages) + "/" + literal(after)},
		paths: s.endings("/{1}/" + escaped(rest)), pages: true,
	}
}

// endings are a path with and without its slash, as the rules of this site have them.
func (s *Site) endings(to string) []string {
	for _, r := range s.rules {
		if r.pages && len(r.paths) >= 2 && strings.TrimSuffix(r.paths[1], "/") == r.paths[0] {
			return []string{strings.TrimSuffix(to, "/"), strings.TrimSuffix(to, "/") + "/"}
		}
		if r.pages && s.Generator == "Astro" && strings.HasSuffix(r.paths[0], "/") {
			return []string{strings.TrimSuffix(to, "/") + "/"}
		}
	}
	return []string{to}
}

// globsOf returns globs for files of a folder, each with one wildcard for the name. If
// all files of the folder whose names begin with a word are meant, the glob has only that
// word.
func (s *Site) globsOf(dir string, files []string) []string {
	ext := path.Ext(files[0])
	meant := map[string]bool{}
	for _, f := range files {
		meant[f] = true
	}
	words := map[string]int{} // by first word of the names: how many files are meant; -1: not all of them
	for _, f := range s.below(dir) {
		word, _, _ := strings.Cut(path.Base(f), "-")
		switch {
		case path.Dir(f)+"/" != dir:
		case meant[f] && words[word] >= 0:
			words[word]++
		default:
			words[word] = -1
		}
	}
	var names []string
	for _, f := range files {
		stem := strings.TrimSuffix(path.Base(f), path.Ext(f))
		if word, _, ok := strings.Cut(path.Base(f), "-"); ok && words[word] >= 3 {
			stem = word + "-*"
		}
		if !slices.Contains(names, stem) {
			names = append(names, stem)
		}
	}
	return inBraces(dir, names, ext)
}

// inBraces writes as few globs as the bounds on a glob's length and alternatives allow.
func inBraces(before string, names []string, after string) (globs []string) {
	const room, most = 350, 200 // bytes and names; a glob may have 500 and 250
	for len(names) > 0 {
		n, size := 0, 0
		for n < min(len(names), most) && size+len(names[n]) < room {
			size += len(names[n]) + 1
			n++
		}
		n = max(n, 1)
		globs = append(globs, before+"{"+strings.Join(names[:n], ",")+"}"+after)
		names = names[n:]
	}
	return globs
}

// globsOfFiles returns globs that match exactly these files.
func (s *Site) globsOfFiles(files []string) (globs []string) {
	names, order := map[[2]string][]string{}, [][2]string(nil)
	for _, f := range files {
		dir, base := path.Split(f)
		ext := path.Ext(base)
		stem := strings.TrimSuffix(base, ext)
		if strings.Contains(stem, ",") {
			globs = append(globs, literal(f))
			continue
		}
		key := [2]string{dir, ext}
		if names[key] == nil {
			order = append(order, key)
		}
		names[key] = append(names[key], literal(stem))
	}
	for _, key := range order {
		if all := names[key]; len(all) == 1 {
			globs = append(globs, literal(key[0])+all[0]+literal(key[1]))
		} else {
			globs = append(globs, inBraces(literal(key[0]), all, literal(key[1]))...)
		}
	}
	return globs
}

// literal is a glob that matches just this path.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`).Replace(name)
}

// escaped is a path as a template of the rules writes it.
func escaped(to string) string {
	return strings.NewReplacer("{", "{{", "}", "}}", " ", "%20", "#", "%23", "?", "%3F").Replace(to)
}

// tests writes tests for a few files that purge few objects: one for each rule, rules of
// pages first. Each test states what the rules do now; a person checks them when reading
// the file, and a later change of the rules can't break them unseen.
func (s *Site) tests(ctx context.Context, file *mapping.File) (string, error) {
	const most, fewObjects = 6, 8
	var b strings.Builder
	told := map[string]bool{}
	for _, pages := range []bool{true, false} {
		for _, f := range s.files {
			if len(told) == most || !utf8.ValidString(f) {
				break
			}
			targets, err := s.planOf(ctx, file, f)
			if err != nil {
				return "", err
			}
			if len(targets) == 0 || len(targets) > fewObjects || slices.ContainsFunc(targets, func(t mapping.Target) bool { return t.Reason != "" }) {
				continue
			}
			rule := targets[0].Rule
			if len(s.addresses(targets)) > 0 {
				at := slices.IndexFunc(targets, func(t mapping.Target) bool { return len(s.addresses([]mapping.Target{t})) > 0 })
				rule = targets[at].Rule
			} else if pages {
				continue
			}
			if told[rule] || isException(s, rule) && pages && len(told) > 2 {
				continue
			}
			told[rule] = true
			fmt.Fprintf(&b, "  - file: %q\n    purges:\n", f)
			for _, t := range targets {
				fmt.Fprintf(&b, "      - %q\n", t.String())
			}
		}
	}
	if len(told) == 0 {
		return "tests: []\n", nil
	}
	return "tests:\n" + b.String(), nil
}

// isException reports whether a rule is for a single page: its name is that of a file.
func isException(s *Site, name string) bool { return s.has(name) }
