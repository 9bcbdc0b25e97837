package picture

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// All measures are pixels of a picture that is shown at its own size.
const (
	pageWidth = 760.0
	margin    = 1.0  // for the frames' lines
	gap       = 14.0 // between panels
	pad       = 16.0 // within a panel
	inner     = pageWidth - 2*margin - 2*pad
	left      = margin + pad

	size   = 14.0 // of text, and how far its lines are apart
	leaded = 21.0
	small  = 13.0 // of tables and files
	tight  = 19.0
	big    = 18.0
)

// canvas gathers a picture from top to bottom.
type canvas struct {
	strings.Builder
	y float64
}

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// num writes a measure as short as it can.
func num(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// frame draws a panel's frame around a head and a body.
func (c *canvas) frame(head, body func(*canvas)) {
	const w = pageWidth - 2*margin
	over := &canvas{y: c.y}
	head(over)
	high := over.y - c.y
	body(over)
	c.add(`<rect class="box" x="%s" y="%s" width="%s" height="%s" rx="6"/>`+"\n", num(margin), num(c.y), num(w), num(over.y-c.y))
	c.y += high
	c.add(`<path class="head" d="M%s %sv-%sq0-6 6-6h%sq6 0 6 6v%sz"/>`+"\n", num(margin+.5), num(c.y), num(high-6), num(w-13), num(high-6))
	c.rule(margin, w)
	c.y = over.y
	c.WriteString(over.String())
}

// rule draws a line across, where the canvas is.
func (c *canvas) rule(x, w float64) {
	c.add(`<path class="rule" d="M%s %sh%s"/>`+"\n", num(x), num(c.y), num(w))
}

// text draws text whose baseline is at y, in whatever font there is: into the
// width that was reckoned with.
func (c *canvas) text(x, y float64, s span, points float64) {
	w := width(s.text, s.face, points)
	if w == 0 {
		return
	}
	class := ""
	if s.face != plain {
		class = fmt.Sprintf(` class="%s"`, s.face)
	}
	c.add(`<text%s x="%s" y="%s" font-size="%s" textLength="%s">%s</text>`+"\n",
		class, num(x), num(y), num(fontSize(s.face, points)), num(w), escape(s.text))
}

// lines draws spans as a paragraph of a width, and moves below it.
func (c *canvas) lines(x, most float64, spans []span, points, leading float64) {
	for _, line := range wrap(spans, points, most) {
		y := c.y + leading*.7
		for _, r := range line {
			if r.face == code {
				c.add(`<rect class="chip" x="%s" y="%s" width="%s" height="%s" rx="4"/>`+"\n",
					num(x+r.x-2), num(y-points*.95), num(r.width+4), num(points*1.3))
			}
			c.text(x+r.x, y, r.span, points)
		}
		c.y += leading
	}
}

// markdown draws a text, and moves below it.
func (c *canvas) markdown(text string) {
	blocks := parse(text)
	for i, b := range blocks {
		if i > 0 && (b.kind != item || blocks[i-1].kind != item) {
			c.y += 9
		}
		switch b.kind {
		case heading:
			c.y += 4
			c.lines(left, inner, b.spans, size+1, leaded)
		case title:
			c.y += 8
			c.lines(left, inner, b.spans, big, 25)
			c.rule(left, inner)
		case item:
			c.add(`<circle class="dot" cx="%s" cy="%s" r="2.2"/>`+"\n", num(left+6), num(c.y+10))
			c.lines(left+18, inner-18, b.spans, size, leaded)
		case fold:
			c.add(`<path class="dot" d="M%s %sv8l6-4z"/>`+"\n", num(left+2), num(c.y+6))
			c.lines(left+18, inner-18, b.spans, size, leaded)
		case verbatim:
			c.verbatim(b.spans[0].text)
		case table:
			c.table(b.rows)
		case paragraph:
			c.lines(left, inner, b.spans, size, leaded)
		}
	}
}

// verbatim draws lines of code, each cut where it would leave the panel.
func (c *canvas) verbatim(text string) {
	lines := strings.Split(text, "\n")
	c.add(`<rect class="chip" x="%s" y="%s" width="%s" height="%s" rx="6"/>`+"\n",
		num(left), num(c.y), num(inner), num(float64(len(lines))*tight+12))
	c.y += 6
	for _, line := range lines {
		c.text(left+12, c.y+tight*.7, span{cut(line, code, small, inner-24), code}, small)
		c.y += tight
	}
	c.y += 6
}

// table draws a table: a column is as wide as its widest cell if there is
// room, and its cells are broken into lines otherwise.
func (c *canvas) table(rows [][][]span) {
	const space = 20
	columns := columnWidths(rows, inner, space)
	for i, row := range rows {
		top, bottom, x := c.y, c.y, left
		for j, cell := range row[:min(len(row), len(columns))] {
			if columns[j] == 0 {
				continue
			}
			c.y = top + 4
			c.lines(x, columns[j], cell, small, tight)
			bottom = max(bottom, c.y+4)
			x += columns[j] + space
		}
		c.y = bottom
		if i < len(rows)-1 {
			c.rule(left, inner)
		}
	}
}

// columnWidths shares a width among columns: the narrow ones get what they
// need, the wide ones the same of what is left. An empty column gets none.
func columnWidths(rows [][][]span, most, space float64) []float64 {
	needs := needsOf(rows)
	var order []int
	for j, need := range needs {
		if need > 0 {
			order = append(order, j)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(needs[a], needs[b]) })
	columns, rest := make([]float64, len(needs)), most+space
	for i, j := range order {
		columns[j] = min(needs[j], rest/float64(len(order)-i)-space)
		rest -= columns[j] + space
	}
	return columns
}

// needsOf is how wide each column of a table is where no cell is broken.
func needsOf(rows [][][]span) (needs []float64) {
	for _, row := range rows {
		for j, cell := range row {
			if j == len(needs) {
				needs = append(needs, 0)
			}
			for _, line := range wrap(cell, small, math.Inf(1)) {
				last := line[len(line)-1]
				needs[j] = max(needs[j], last.x+last.width)
			}
		}
	}
	return needs
}

// document is the whole picture.
func (c *canvas) document(title, desc string) []byte {
	doc := &canvas{}
	w, h := num(pageWidth), num(c.y)
	doc.add(`<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" width="%s" height="%s" viewBox="0 0 %s %s">`+"\n", w, h, w, h)
	doc.add("<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>\n%s</style>\n", escape(title), escape(desc), look)
	doc.WriteString(c.String())
	doc.WriteString("</svg>\n")
	return []byte(doc.String())
}

// look has both schemes: what follows is the reader's.
const look = `svg{color-scheme:light dark;--ink:#1d2430;--soft:#5b6472;--paper:#fff;--wash:#f4f6f8;--line:#d3d9e0;--chip:#eceff3;--good:#1a7f37;--bad:#c62a35;--wait:#96650a;--link:#0b62c4}
@media(prefers-color-scheme:dark){svg{--ink:#e8ecf1;--soft:#98a2b0;--paper:#11161d;--wash:#1a212a;--line:#333d49;--chip:#242d38;--good:#3fb457;--bad:#f2555a;--wait:#d6a02c;--link:#5ea9f8}}
text{font-family:Helvetica,Arial,"Liberation Sans",sans-serif;fill:var(--ink);white-space:pre}
.b{font-weight:bold}.s{fill:var(--soft)}.l{fill:var(--link)}.c{font-family:ui-monospace,Menlo,"Liberation Mono",monospace}
.box{fill:var(--paper);stroke:var(--line)}.head{fill:var(--wash)}.chip{fill:var(--chip)}.rule{stroke:var(--line)}
.dot,.gray{fill:var(--soft)}.good{fill:var(--good)}.bad{fill:var(--bad)}.wait{fill:var(--wait)}
.mark{fill:none;stroke:var(--paper);stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.pen{fill:none;stroke:var(--soft);stroke-width:1.4;stroke-linecap:round}.new{fill:var(--good);opacity:.12}
`

// escape makes text fit for XML, which lacks the control characters even as
// references.
func escape(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == 0xfffe || r == 0xffff {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
