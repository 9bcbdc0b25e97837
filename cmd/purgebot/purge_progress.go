package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/purger"
)

// progress tells on standard error how far a purge is: a bar on a terminal,
// which moves while Akamai is waited for and ends at its last figure; elsewhere
// only what is in the way, and that seldom.
type progress struct {
	out   io.Writer
	noun  string
	total int // of the list, if it was known from the start
	width int // of the terminal; 0: none
	began time.Time

	mu    sync.Mutex
	shows func(now time.Time) string // the line; nil: none yet
	drawn time.Time
	told  string
	since time.Time

	stop func()
}

const (
	redraw = 100 * time.Millisecond
	retell = time.Minute
)

func newProgress(out io.Writer, kind string, total int) *progress {
	p := &progress{out: out, noun: kindName(kind), total: total, began: time.Now(), stop: func() {}}
	if f := screen(out); f != nil {
		p.out, p.width = f, 80
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			p.width = w
		}
		p.move()
	}
	return p
}

// move redraws the line each second until the end.
func (p *progress) move() {
	ticker, end, ended := time.NewTicker(time.Second), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case now := <-ticker.C:
				p.mu.Lock()
				p.draw(now)
				p.mu.Unlock()
			case <-end:
				return
			}
		}
	}()
	p.stop = func() {
		ticker.Stop()
		close(end)
		<-ended
	}
}

func (p *progress) update(u purger.Progress) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width == 0 {
		p.tell(u, now)
		return
	}
	p.shows = func(then time.Time) string {
		v := u
		v.Wait = max(0, u.Wait-then.Sub(now)) // it counts down
		return p.line(v)
	}
	if u.Trouble != "" || now.Sub(p.drawn) >= redraw {
		p.draw(now)
	}
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
	s := fmt.Sprintf("%s%s of %s %ss", bar, report.Number(u.Accepted), report.Number(total), p.noun)
	if !u.Complete && p.total == 0 {
		s = fmt.Sprintf("%s %ss accepted, still reading", report.Number(u.Accepted), p.noun)
	}
	if u.Refused > 0 {
		s += fmt.Sprintf(", %s refused", report.Number(u.Refused))
	}
	if u.Trouble != "" {
		s += fmt.Sprintf(" (%s; again in %s)", u.Trouble, u.Wait.Round(time.Second))
	}
	return s
}

func (p *progress) waiting(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shows = func(time.Time) string {
		return fmt.Sprintf("accepted; waiting for Akamai to finish: %s of %s requests done", report.Number(done), report.Number(total))
	}
	p.draw(time.Now())
}

// draw replaces the terminal's last line.
func (p *progress) draw(now time.Time) {
	if p.width == 0 || p.shows == nil {
		return
	}
	p.drawn = now
	line := oneLine(p.shows(now))
	if took := now.Sub(p.began).Round(time.Second); took > time.Second {
		line += ", " + took.String()
	}
	if runes := []rune(line); len(runes) >= p.width {
		line = string(runes[:p.width-1])
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
}

// end leaves the last figures on the terminal.
func (p *progress) end() {
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draw(time.Now()); p.width > 0 && p.shows != nil {
		fmt.Fprintln(p.out)
	}
}
