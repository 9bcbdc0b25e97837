package picture

import (
	"strings"
	"unicode"
)

// face is how a piece of text looks; its name is its class in the picture.
type face string

const (
	plain  face = ""
	strong face = "b"
	soft   face = "s"
	code   face = "c"
	link   face = "l"
)

// span is text in one face.
type span struct {
	text string
	face face
}

// run is a piece of a line, at its place from the line's beginning.
type run struct {
	x, width float64
	span
	of int // the span that it is of
}

const ellipsis = "…"

// width is how wide a text is drawn, in pixels: by the metrics that Helvetica,
// Arial and Liberation Sans share, and 0.6 of the size for code. The picture
// tells this width to the viewer, which fits any other font into it.
func width(s string, f face, size float64) float64 {
	size, total := fontSize(f, size), 0
	for _, r := range s {
		total += advance(r, f)
	}
	return float64(total) * size / 1000
}

// fontSize is the size of a face's letters in a text of a size: those of code
// are smaller, or they would look larger.
func fontSize(f face, size float64) float64 {
	if f == code {
		return size * .9
	}
	return size
}

// advance is a character's width in thousandths of the font's size.
func advance(r rune, f face) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	if f == code {
		if r >= 0x1100 { // an ideograph, an emoji: as wide as two letters
			return 1200
		}
		return 600
	}
	w := helvetica(r)
	if f == strong && unicode.IsLetter(r) && r != 'a' && r != 'e' {
		w += 55
	}
	return w
}

func helvetica(r rune) int {
	for _, class := range []struct {
		width int
		of    string
	}{
		{222, "ijl'|"},
		{278, " !,./:;I[\\]ft"},
		{333, "()-`r\"{}·"},
		{500, "Jcksvxyz*^"},
		{556, "#$0123456789?L_abdeghnopqu"},
		{611, "FTZ+<=>~−"},
		{667, "&ABEKPSVXY"},
		{722, "CDHNRUw"},
		{778, "GOQ"},
	} {
		if strings.ContainsRune(class.of, r) {
			return class.width
		}
	}
	if r < 0x80 {
		return 944 // M W m % @
	}
	return 1000 // … — → and what no metrics are kept of
}

// wrap breaks spans into lines of a width. A word that is wider than a line
// is cut and ends in an ellipsis.
func wrap(spans []span, size, most float64) (lines [][]run) {
	var line []run
	x := 0.0
	for _, w := range wordsOf(spans) {
		w = cutWord(w, size, most)
		space := 0.0
		if len(line) > 0 {
			space = spaceBetween(line[len(line)-1], w[0], size)
		}
		if len(line) > 0 && x+space+widthOf(w, size) > most {
			lines, line, x, space = append(lines, line), nil, 0, 0
		}
		line = join(line, w, x+space, size)
		last := line[len(line)-1]
		x = last.x + last.width
	}
	if len(line) > 0 {
		lines = append(lines, line)
	}
	return lines
}

// spaceBetween is the space between two words: wider beside code, whose ground
// reaches into it.
func spaceBetween(a, b run, size float64) float64 {
	switch space := width(" ", plain, size); {
	case a.of == b.of:
		return width(" ", a.face, size)
	case a.face == code || b.face == code:
		return space + 2
	default:
		return space
	}
}

// wordsOf splits spans at spaces. A word may have several faces: `code`, and a
// comma behind it.
func wordsOf(spans []span) (words [][]run) {
	var word []run
	end := func() {
		if len(word) > 0 {
			words, word = append(words, word), nil
		}
	}
	for i, s := range spans {
		for j, part := range strings.FieldsFunc(s.text, func(r rune) bool { return r == ' ' }) {
			if j > 0 || strings.HasPrefix(s.text, " ") {
				end()
			}
			word = append(word, run{span: span{part, s.face}, of: i})
		}
		if strings.HasSuffix(s.text, " ") {
			end()
		}
	}
	end()
	return words
}

func widthOf(word []run, size float64) (total float64) {
	for _, r := range word {
		total += width(r.text, r.face, size)
	}
	return total
}

// cutWord cuts a word that no line can hold.
func cutWord(word []run, size, most float64) []run {
	if widthOf(word, size) <= most {
		return word
	}
	var kept []run
	left := most
	for _, r := range word {
		if w := width(r.text, r.face, size); w <= left-width(ellipsis, r.face, size) {
			kept, left = append(kept, r), left-w
			continue
		}
		r.text = cut(r.text, r.face, size, left)
		return append(kept, r)
	}
	return kept
}

// cut makes a text fit a width.
func cut(s string, f face, size, most float64) string {
	if width(s, f, size) <= most {
		return s
	}
	left := most - width(ellipsis, f, size)
	for i, r := range s {
		if left -= width(string(r), f, size); left < 0 {
			return strings.TrimRight(s[:i], " ") + ellipsis
		}
	}
	return s
}

// join adds a word to a line at x. Words of one span are one run.
func join(line, word []run, x, size float64) []run {
	for i, r := range word {
		if n := len(line) - 1; i == 0 && n >= 0 && line[n].of == r.of {
			line[n].text += " " + r.text
			line[n].width = width(line[n].text, r.face, size)
			x = line[n].x + line[n].width
			continue
		}
		r.x, r.width = x, width(r.text, r.face, size)
		line = append(line, r)
		x += r.width
	}
	return line
}
