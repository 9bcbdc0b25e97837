package picture_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/picture"
)

// read takes a picture apart: every text with its place, and the picture's
// size. It fails where the picture is not well-formed.
func read(t *testing.T, svg []byte) (page size, texts []text, words map[string]string) {
	t.Helper()
	words = map[string]string{}
	d := xml.NewDecoder(bytes.NewReader(svg))
	at := ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return page, texts, words
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.StartElement:
			at = e.Name.Local
			switch at {
			case "svg":
				page = size{number(t, e, "width"), number(t, e, "height")}
			case "text":
				texts = append(texts, text{
					x: number(t, e, "x"), y: number(t, e, "y"), width: number(t, e, "textLength"), size: number(t, e, "font-size"),
				})
			}
		case xml.CharData:
			if at == "text" {
				texts[len(texts)-1].words += string(e)
			} else if _, known := words[at]; !known {
				words[at] = string(e)
			}
		case xml.EndElement:
			at = ""
		}
	}
}

type size struct{ width, height float64 }

type text struct {
	x, y, width, size float64
	words             string
}

func number(t *testing.T, e xml.StartElement, name string) float64 {
	t.Helper()
	for _, a := range e.Attr {
		if a.Name.Local == name {
			n, err := strconv.ParseFloat(a.Value, 64)
			if err != nil {
				t.Fatalf("%s of <%s>: %v", name, e.Name.Local, err)
			}
			return n
		}
	}
	t.Fatalf("<%s> has no %s", e.Name.Local, name)
	return 0
}

// inside holds every text to the page, and to not covering another one.
func inside(t *testing.T, svg []byte) {
	t.Helper()
	page, texts, _ := read(t, svg)
	const margin, rounding = 17, .3
	for i, a := range texts {
		if a.x < margin || a.x+a.width > page.width-margin+rounding || a.y < a.size || a.y > page.height {
			t.Errorf("%q leaves its panel: %+v on %+v", a.words, a, page)
		}
		for _, b := range texts[i+1:] {
			if a.y == b.y && a.x+a.width > b.x+rounding && b.x+b.width > a.x+rounding {
				t.Errorf("%q covers %q: %+v %+v", a.words, b.words, a, b)
			}
		}
	}
}

func one(panel picture.Panel) []byte {
	return picture.SVG(picture.Picture{Title: "a title", Panels: []picture.Panel{panel}})
}

// every makes one picture of every panel and every kind of Markdown.
func every(words string) picture.Picture {
	return picture.Picture{Title: words, Panels: []picture.Panel{
		picture.Statuses{Title: words, Note: words, Lines: []picture.Status{
			{State: "success", Context: words, Words: words, Linked: true}, {State: words, Context: "c", Words: words},
		}},
		picture.Check{
			Name: words, State: "failure", Title: words, Summary: words,
			Text:    "## " + words + "\n### " + words + "\n- " + words + "\n\n| a | b | c |\n| --- | --- | --- |\n| " + words + " | " + words + " | |\n",
			Buttons: []string{"Retry", "Cancel"},
		},
		picture.Comment{Login: words, Note: words, Body: "```\n" + words + "\n```\n<details><summary>" + words + "</summary>\n\nhidden\n\n</details>", Reactions: []string{"eyes", words}},
		picture.Annotation{Path: words, Level: "failure", Message: words, First: 7, Line: 8, Lines: []string{words, words}},
	}}
}

func TestNoWordLeavesItsPanel(t *testing.T) {
	for name, words := range map[string]string{
		"short":        "a",
		"none":         "",
		"long":         strings.Repeat("word ", 200),
		"a long word":  strings.Repeat("W", 500),
		"long code":    "`" + strings.Repeat("w", 300) + "`, and " + strings.Repeat("`x y`", 80),
		"links":        strings.Repeat("[all of it](https://x.example/"+strings.Repeat("a", 200)+") ", 30),
		"marks alone":  "** * ` `` [ ]( ) | - # <!-- <details>",
		"not in ASCII": strings.Repeat("漢字😕ü\u200b\u202e", 60),
		"XML":          `<text x="9999">&amp;]]></svg>` + "\x00\x1b\ufffe",
	} {
		t.Run(name, func(t *testing.T) { inside(t, picture.SVG(every(words))) })
	}
}

func TestWordsAreThere(t *testing.T) {
	svg := one(picture.Check{
		Name: "Purge production", State: "action_required", Title: "Held",
		Summary: "**2 URLs** for `abc1234`, see [all of it](https://x.example).\n<!-- ours -->\n\n- one\n- *two*\n\n<details><summary>2 objects</summary>\n\n- hidden\n\n</details>",
		Text:    "### Table\n\n| object | |\n| --- | --- |\n| `https://x.example/` | |\n", Buttons: []string{"Release", "Cancel"},
	})
	inside(t, svg)
	_, texts, words := read(t, svg)
	var got []string
	for _, text := range texts {
		got = append(got, text.words)
	}
	want := []string{
		"Cancel", "Release", "Purge production", "action required", "Held",
		"2 URLs", "for", "abc1234", ", see", "all of it", ".", "one", "two", "2 objects", "Table", "object", "https://x.example/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	if words["title"] != "a title" || words["desc"] != "The check run Purge production, action required: Held. Its buttons: Release, Cancel." {
		t.Errorf("for those who can't see it: %q", words)
	}
}

func TestWordsAreWrapped(t *testing.T) {
	svg := one(picture.Comment{Login: "ann", Body: strings.Repeat("word ", 60) + strings.Repeat("x", 400)})
	_, texts, _ := read(t, svg)
	last := texts[len(texts)-1]
	if !strings.HasSuffix(last.words, "x…") {
		t.Errorf("a word that is too long ends in %q", last.words)
	}
	lines := 0
	for _, text := range texts {
		if strings.HasPrefix(text.words, "word") {
			lines++
			if text.width < 400 && lines < 3 {
				t.Errorf("a line of %.0f pixels: %q", text.width, text.words)
			}
		}
	}
	if lines != 3 {
		t.Errorf("%d lines", lines)
	}
}

func TestColumns(t *testing.T) {
	long := strings.Repeat("word ", 40)
	svg := one(picture.Check{Text: "| a | b | c |\n| --- | --- | --- |\n| x | " + long + " | " + long + " |\n"})
	inside(t, svg)
	_, texts, _ := read(t, svg)
	at := map[string]float64{}
	for _, text := range texts {
		at[text.words] = text.x
	}
	if narrow, wide := at["b"]-at["a"], at["c"]-at["b"]; narrow > 40 || wide < 300 {
		t.Errorf("columns of %.0f and %.0f pixels", narrow, wide)
	}
}

func TestSamePictureSameBytes(t *testing.T) {
	if !bytes.Equal(picture.SVG(every("a")), picture.SVG(every("a"))) {
		t.Error("two pictures of one value")
	}
}

func FuzzSVG(f *testing.F) {
	f.Add("**bold** `code`, [link](x) *soft*")
	f.Add("| a | b |\n| --- | --- |\n| ``x`y`` | ]( |")
	f.Add("```\nopen\n<details>\n- # ##")
	f.Fuzz(func(t *testing.T, words string) {
		if len(words) > 2000 {
			return
		}
		inside(t, picture.SVG(every(words)))
	})
}
