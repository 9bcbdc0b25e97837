// Package picture draws what people see on GitHub, for the documentation: the
// words are the program's own, the shapes are plain. A picture is an SVG of
// text and a few lines that scales, follows the reader's light or dark scheme
// and names no font that a system lacks.
//
// It is pure: the same value always gives the same bytes, so that a test can
// hold a committed picture against the program.
package picture

import "strings"

// Picture is what somebody sees at one moment, from top to bottom.
type Picture struct {
	Title  string // what it shows, for those who can't see it
	Panels []Panel
}

// Panel is one part of a picture: Statuses, Check, Comment or Annotation.
type Panel interface {
	draw(c *canvas)
	words() string
}

// Statuses are the lines below a commit, or in a pull request's merge box.
type Statuses struct {
	Title string // the commit's id, or what the box says
	Note  string // the commit's message
	Lines []Status
}

// Status is a commit status, or a check run among them.
type Status struct {
	State   string // GitHub's: a status's state, or a check run's status or conclusion
	Context string
	Words   string
	Linked  bool // "Details" leads to a page
}

// Check is a check run's page.
type Check struct {
	Name    string
	State   string // its conclusion, or its status until it has one
	Title   string
	Summary string // Markdown, and so is Text
	Text    string
	Buttons []string
}

// Comment is a comment on a pull request.
type Comment struct {
	Login     string
	Note      string // what stands beside the name: "bot"
	Body      string // Markdown
	Reactions []string
}

// Annotation is a remark on a line of a file that a pull request changes.
type Annotation struct {
	Path    string
	Level   string // failure, warning or notice
	Message string
	First   int // the number of the first of Lines
	Lines   []string
	Line    int // the one that is meant
}

// SVG draws the picture. It is well-formed whatever the words are, and no
// word leaves its panel.
func SVG(p Picture) []byte {
	c := &canvas{y: margin}
	words := make([]string, 0, len(p.Panels))
	for i, panel := range p.Panels {
		if i > 0 {
			c.y += gap
		}
		panel.draw(c)
		words = append(words, panel.words())
	}
	c.y += margin
	return c.document(p.Title, strings.Join(words, " "))
}

func (s Statuses) words() string {
	all := []string{sentence(s.Title + " " + s.Note)}
	for _, l := range s.Lines {
		all = append(all, sentence(l.Context+", "+named(l.State)+": "+l.Words))
	}
	return strings.Join(all, " ")
}

func (k Check) words() string {
	s := sentence("The check run " + k.Name + ", " + named(k.State) + ": " + k.Title)
	if len(k.Buttons) > 0 {
		s += " Its buttons: " + sentence(strings.Join(k.Buttons, ", "))
	}
	return s
}

func (m Comment) words() string {
	s := sentence(m.Login + " commented: " + first(plainText(m.Body)))
	if len(m.Reactions) > 0 {
		s += " Reactions: " + sentence(strings.Join(m.Reactions, ", "))
	}
	return s
}

func (a Annotation) words() string {
	return sentence("A " + a.Level + " on " + a.Path + ": " + a.Message)
}

func sentence(s string) string { return strings.TrimRight(strings.TrimSpace(s), ".:") + "." }

// first is the first line of a text.
func first(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// named is a state as people read it.
func named(state string) string { return strings.ReplaceAll(state, "_", " ") }
