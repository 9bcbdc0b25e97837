package glob

import (
	"slices"
	"strings"
)

// Covers reports whether g certainly matches every path that i matches. It knows only a
// few plain forms, so false means "not known".
func (g *Glob) Covers(i *Glob) bool {
	outer, inner := g.pattern, i.pattern
	if !strings.HasPrefix(inner, g.head) || !strings.HasSuffix(inner, g.tail) { // rules most pairs out at little cost
		return false
	}
	if outer == inner || outer == "**" || outer == "**/*" {
		return true
	}
	if folder, ok := strings.CutSuffix(outer, "/**"); ok && !IsPattern(folder) {
		return strings.HasPrefix(inner, folder+"/")
	}
	folder, end, ok := strings.Cut(outer, "**/*") // content/**/*.md covers content/docs/*.md
	return ok && end != "" && !IsPattern(folder) && !IsPattern(end) && !strings.ContainsAny(end, "/]}") && (folder == "" || strings.HasSuffix(folder, "/")) &&
		len(inner) >= len(folder)+len(end) && strings.HasPrefix(inner, folder) && strings.HasSuffix(inner, end)
}

// FitsGit reports whether git can have a path that g matches, other than those in except.
// In git no folder is empty, "." or "..", and nothing at the top is ".git".
func (g *Glob) FitsGit(except ...string) bool {
	for tokens := range g.written() {
		if path, ok := gitPath(tokens); ok && !slices.Contains(except, path) {
			return true
		}
	}
	return false
}

// gitPath returns a path that the tokens match. It adds a "*" for each segment that is
// not fixed, so that only a fully fixed path can equal one in FitsGit's except. ok is
// false if git can't have such a path.
func gitPath(tokens []token) (path string, ok bool) {
	whole, segment, fixed := "", "", true // fixed: the segment is literal text so far
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

// Overlaps reports whether some name may match both globs. It compares only the literal
// text at their ends, and errs on the side of yes.
func (g *Glob) Overlaps(o *Glob) bool {
	return (strings.HasPrefix(g.head, o.head) || strings.HasPrefix(o.head, g.head)) &&
		(strings.HasSuffix(g.tail, o.tail) || strings.HasSuffix(o.tail, g.tail))
}
