package picture

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

func (s Statuses) draw(c *canvas) {
	c.frame(func(c *canvas) {
		c.y += 9
		c.lines(left, inner, []span{{s.Title, strong}, {" ", plain}, {s.Note, soft}}, size, leaded)
		c.y += 8
	}, func(c *canvas) {
		for i, l := range s.Lines {
			if i > 0 {
				c.rule(margin, pageWidth-2*margin)
			}
			l.draw(c)
		}
	})
}

func (l Status) draw(c *canvas) {
	const details = "Details"
	end := width(details, link, size)
	c.y += 11
	icon(c, left+8, c.y+9.8, l.State)
	if l.Linked {
		c.text(pageWidth-margin-pad-end, c.y+leaded*.7, span{details, link}, size)
	}
	c.lines(left+28, inner-28-end-pad, []span{{l.Context, strong}, {" — ", soft}, {l.Words, plain}}, size, leaded)
	c.y += 9
}

func (k Check) draw(c *canvas) {
	c.frame(func(c *canvas) {
		room := inner - buttons(c, k.Buttons) - 28
		c.y += 12
		icon(c, left+8, c.y+9.8, k.State)
		c.lines(left+28, room, []span{{k.Name, strong}, {" " + named(k.State), soft}}, size, leaded)
		c.y += 11
	}, func(c *canvas) {
		c.y += 14
		c.lines(left, inner, []span{{k.Title, strong}}, big, 25)
		c.y += 9
		c.markdown(k.Summary + "\n\n" + k.Text)
		c.y += 15
	})
}

// buttons draws buttons at the right, and gives the width that they take.
func buttons(c *canvas, labels []string) float64 {
	right := pageWidth - margin - pad
	x := right
	for i := range labels {
		label := labels[len(labels)-1-i]
		w := width(label, strong, size-1) + 24
		x -= w
		c.add(`<rect class="box" x="%s" y="%s" width="%s" height="28" rx="6"/>`+"\n", num(x), num(c.y+8), num(w))
		c.text(x+12, c.y+27, span{label, strong}, size-1)
		x -= 8
	}
	return right - x
}

func (m Comment) draw(c *canvas) {
	c.frame(func(c *canvas) {
		initial, _ := utf8.DecodeRuneInString(m.Login)
		letter := span{strings.ToUpper(string(initial)), strong}
		c.add(`<circle class="chip" cx="%s" cy="%s" r="11"/>`+"\n", num(left+11), num(c.y+19))
		c.text(left+11-width(letter.text, strong, small)/2, c.y+23.5, letter, small)
		c.y += 9
		said := []span{{m.Login, strong}, {" commented", soft}}
		if m.Note != "" {
			said = append(said, span{" · " + m.Note, soft})
		}
		c.lines(left+32, inner-32, said, size, leaded)
		c.y += 8
	}, func(c *canvas) {
		c.y += 13
		c.markdown(m.Body)
		c.y += 13
		for i, r := range m.Reactions {
			reaction(c, left+float64(i)*56, c.y, r)
		}
		if len(m.Reactions) > 0 {
			c.y += 40
		}
	})
}

func (a Annotation) draw(c *canvas) {
	c.frame(func(c *canvas) {
		c.y += 9
		c.text(left, c.y+leaded*.7, span{cut(a.Path, strong, size, inner), strong}, size)
		c.y += leaded + 8
	}, func(c *canvas) {
		c.y += 8
		for i, line := range a.Lines {
			a.line(c, a.First+i, line)
			if a.First+i == a.Line {
				a.remark(c)
			}
		}
		c.y += 8
	})
}

// line draws one line of the file, the one that is meant on a green ground:
// the pull request wrote it.
func (a Annotation) line(c *canvas, n int, text string) {
	const numbers = 44
	if n == a.Line {
		c.add(`<rect class="new" x="%s" y="%s" width="%s" height="%s"/>`+"\n", num(margin), num(c.y), num(pageWidth-2*margin), num(tight))
	}
	c.text(left, c.y+tight*.7, span{strconv.Itoa(n), soft}, small)
	c.text(left+numbers, c.y+tight*.7, span{cut(text, code, small, inner-numbers), code}, small)
	c.y += tight
}

func (a Annotation) remark(c *canvas) {
	c.y += 8
	over := &canvas{y: c.y + 10}
	icon(over, left+20, over.y+9.8, a.Level)
	over.lines(left+40, inner-56, []span{{"purgebot", strong}, {" " + a.Level, soft}}, size, leaded)
	over.lines(left+40, inner-56, []span{{a.Message, plain}}, size, leaded)
	over.y += 9
	c.add(`<rect class="box" x="%s" y="%s" width="%s" height="%s" rx="6"/>`+"\n", num(left), num(c.y), num(inner), num(over.y-c.y))
	c.WriteString(over.String())
	c.y = over.y + 8
}

// icon draws a state at a place.
func icon(c *canvas, x, y float64, state string) {
	class, mark := "gray", "M-3.5 0h7" // neutral, skipped
	switch state {
	case "success":
		class, mark = "good", "M-3.6.3-1 2.9 3.8-2.4"
	case "failure", "error", "timed_out":
		class, mark = "bad", "M-2.9-2.9 2.9 2.9M2.9-2.9-2.9 2.9"
	case "action_required", "warning":
		class, mark = "wait", "M0-4.2V.6M0 4v.1"
	case "pending", "in_progress", "queued":
		class, mark = "wait", "M0-3.8V0l2.6 1.8"
	case "cancelled":
		mark = "M-2.8 2.8 2.8-2.8"
	}
	c.add(`<g transform="translate(%s %s)"><circle class="%s" r="8"/><path class="mark" d="%s"/></g>`+"\n", num(x), num(y), class, mark)
}

// reaction draws a reaction's sign, and that there is one.
func reaction(c *canvas, x, y float64, content string) {
	signs := map[string]string{
		"eyes":     `<ellipse class="pen" cx="-4" rx="3.2" ry="5"/><ellipse class="pen" cx="4" rx="3.2" ry="5"/><circle class="dot" cx="-3" cy="1" r="1.7"/><circle class="dot" cx="5" cy="1" r="1.7"/>`,
		"rocket":   `<g transform="rotate(45)"><path class="gray" d="M0-8C3-5 3.6 0 2.6 4h-5.2C-3.6 0-3-5 0-8z"/><path class="bad" d="M-3 0-5.5 5l3-1zM3 0l2.5 5-3-1zM-1.4 5 0 8.5 1.4 5z"/></g>`,
		"confused": `<circle class="pen" r="7"/><circle class="dot" cx="-2.5" cy="-1.8" r="1.2"/><circle class="dot" cx="2.5" cy="-1.8" r="1.2"/><path class="pen" d="M-3 3.6Q0 1.6 3.2 3"/>`,
	}
	c.add(`<g><title>%s</title><rect class="box" x="%s" y="%s" width="48" height="26" rx="13"/>`, escape(content), num(x), num(y))
	c.add(`<g transform="translate(%s %s)">%s</g></g>`+"\n", num(x+17), num(y+13), signs[content])
	c.text(x+31, y+17.5, span{"1", soft}, small)
}
