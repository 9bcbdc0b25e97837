package mapping

import "testing"

func TestGlobHabits(t *testing.T) {
	for pattern, want := range map[string]string{
		"!content/drafts/**": "fits only files whose path begins with an exclamation mark: to leave files out, write exclude: content/drafts/**",
		"content/** ":        "has white space at its end, which belongs to the path: remove it",
		`content/.*\.md$`:    "looks like a regular expression: a glob has no ^ and $, and is written as content/**/*.md",
		`content\docs\*.md`:  `has a \ in front of "d", which means nothing: write / between folders`,
		"con\u200btent/*":    "has a character that looks like a space or like nothing (U+200B), and belongs to the path: type it anew",
		"content/a\u00a0b/*": "has a character that looks like a space or like nothing (U+00A0), and belongs to the path: type it anew",
		"content/\u0645\u06cc\u200c\u0631\u0648\u0645/*": "", // Persian joins words by U+200C
		"{en, de}/**":         "has a space within {en, de}, which belongs to the path: write {en,de}",
		"v{1..3}/*":           "takes {1..3} for that very text: write the numbers, as {1,2,3}, or a class, as [1-3]",
		"@(a|b)/*":            "takes @(a|b) for that very text: write {a,b}",
		"x/*(a|b)":            "takes *(a|b) for that very text: write {a,b}",
		"content/**.md":       `has a "**" beside other characters, where it is only a "*": for any folders write **/ alone, as content/**/*.md`,
		"**.{md,mdx}":         `has a "**" beside other characters, where it is only a "*": for any folders write **/ alone, as **/*.{md,mdx}`,
		"docs**":              `has a "**" beside other characters, where it is only a "*": for any folders write **/ alone, as docs*/**`,
		"{a/**,b}/c":          "",
		"**/*.md":             "",
		"{docs/**,*.md}":      "",
		`\[slug\]/*`:          "",
		`app/(shop)/*`:        "",
		"**/(group)/*":        "",
		"a b/*":               "",
		"content/$types/*.ts": "",
		"***":                 "",
		"**":                  "",
	} {
		if got := globHabit(pattern); got != want {
			t.Errorf("%s:\n got %s\nwant %s", pattern, got, want)
		}
	}
}

func TestTemplateHabits(t *testing.T) {
	for template, want := range map[string]string{
		"https://{host}/$1":        "has $1, which stands for itself: write {1}",
		"https://{host}/${name}/":  "has ${name}, which stands for itself: write {name}",
		"https://{host}/{{1}}":     "has {{1}}, which stands for the text {1}: write {1}",
		"https://{host}/{{{name}}": "",
		"https://{host}/{{{1}}}/":  "",
		"price-$usd":               "",
		"https://{host}/{1} ":      "has white space at its end: remove it",
	} {
		if got := templateHabit(template); got != want {
			t.Errorf("%s:\n got %s\nwant %s", template, got, want)
		}
	}
}
