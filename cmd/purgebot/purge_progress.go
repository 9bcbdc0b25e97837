package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/purgebot/purgebot/purger"
)

// progress tells on standard error how far a purge is: a bar on a terminal,
// elsewhere only what is in the way, and that seldom.
type progress struct {
	out   io.Writer
	noun  string
	total int // of the list, if it was known from the start
	width int // of the terminal; 0: none

	drawn time.Time
	told  string
	since time.Time
}

const (
	redraw = 100 * time.Millisecond
	retell = time.Minute
)

func newProgress(out io.Writer, kind string, total int) *progress {
	p := &progress{out: out, noun: kindName(kind), total: total}
	if f, ok := out.(*os.File); ok && terminal(f) {
		p.width = 80
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			p.width = w
		}
	}
	return p
}

func (p *progress) update(u purger.Progress) {
	now := time.Now()
	if p.width == 0 {
		p.tell(u, now)
		return
	}
	if u.Trouble == "" && now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	p.draw(p.line(u))
}

// tell is for logs: trouble when it is new, and again once a minute.
func (p *progress) tell(u purger.Progress, now time.Time) {
	if u.Trouble == "" || u.Wait < time.Second {
		return
	}
	if u.Trouble == p.told && now.Sub(p.since) < retell {
		return
	}
	p.told, p.since = u.Trouble, now
	fmt.Fprintf(p.out, "purgebot: %s; trying again in %s (%d accepted so far)\n", u.Trouble, u.Wait.Round(time.Second), u.Accepted)
}

func (p *progress) line(u purger.Progress) string {
	total := max(p.total, u.Read)
	done := u.Accepted + u.Refused
	bar := ""
	if (u.Complete || p.total > 0) && total > 0 {
		const cells = 24
		full := min(cells, cells*done/total)
		bar = "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "] "
	}
	s := fmt.Sprintf("%s%d of %d %ss", bar, u.Accepted, total, p.noun)
	if !u.Complete && p.total == 0 {
		s = fmt.Sprintf("%d %ss accepted, still reading", u.Accepted, p.noun)
	}
	if u.Refused > 0 {
		s += fmt.Sprintf(", %d refused", u.Refused)
	}
	if u.Trouble != "" {
		s += fmt.Sprintf(" (%s; again in %s)", u.Trouble, u.Wait.Round(time.Second))
	}
	return s
}

func (p *progress) waiting(done, total int) {
	if p.width > 0 {
		p.draw(fmt.Sprintf("accepted; waiting for Akamai to finish: %d of %d requests done", done, total))
	}
}

// draw replaces the terminal's last line.
func (p *progress) draw(line string) {
	if runes := []rune(line); len(runes) >= p.width {
		line = string(runes[:p.width-1])
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
}

// clear leaves the terminal as it was.
func (p *progress) clear() {
	if p.width > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
