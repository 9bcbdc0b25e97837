package glob

import (
	"slices"
	"strings"
)

// Covers reports whether every path that i fits, g fits too, as far as that is
// plain to see.
func (g *Glob) Covers(i *Glob) bool {
	outer, inner := g.pattern, i.pattern
	if !strings.HasPrefix(inner, g.head) || !strings.HasSuffix(inner, g.tail) { // most of them
		return false
	}
	if outer == inner || outer == "**" || outer == "**/*" {
		return true
	}
	if folder, ok := strings.CutSuffix(outer, "/**"); ok && !IsPattern(folder) {
		return strings.HasPrefix(inner, folder+"/")
	}
	folder, end, ok := strings.Cut(outer, "**/*") // content/**/*.md covers content/docs/*.md
	return ok && end != "" && !IsPattern(folder) && !IsPattern(end) && !strings.Contains(end, "/") && (folder == "" || strings.HasSuffix(folder, "/")) &&
		len(inner) >= len(folder)+len(end) && strings.HasPrefix(inner, folder) && strings.HasSuffix(inner, end)
}

// FitsGit reports whether git can have a path that the glob fits, other than
// those of except: none of its folders is empty, "." or "..", and none at the
// top is ".git".
func (g *Glob) FitsGit(except ...string) bool {
	for tokens := range g.written() {
		if path, ok := gitPath(tokens); ok && !slices.Contains(except, path) {
			return true
		}
	}
	return false
}

// gitPath is the path that tokens stand for, with "*" for each folder that is
// not fixed; not ok if git can't have it.
func gitPath(tokens []token) (path string, ok bool) {
	whole, segment, fixed := "", "", true // what is literal, and whether all of the segment is
	for i, t := range tokens {
		last := i == len(tokens)-1
		switch {
		case t.kind == literalToken:
			segment += t.text
		case t.kind != slashToken:
			fixed = false
		case i == 0, tokens[i-1].kind == slashToken, last && !t.mayEnd && tokens[i-1].kind != foldersToken:
			return "", false
		}
		if t.kind != slashToken && !last {
			continue
		}
		if fixed && (segment == "." || segment == ".." || segment == ".git" && whole == "") {
			return "", false
		}
		if whole += segment + "/"; !fixed {
			whole += "*"
		}
		segment, fixed = "", true
	}
	return strings.TrimSuffix(whole, "/"), true
}

// Overlaps reports whether two globs may fit one name. It errs on the side of
// yes.
func (g *Glob) Overlaps(o *Glob) bool {
	return (strings.HasPrefix(g.head, o.head) || strings.HasPrefix(o.head, g.head)) &&
		(strings.HasSuffix(g.tail, o.tail) || strings.HasSuffix(o.tail, g.tail))
}
