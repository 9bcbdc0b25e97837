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

// progress shows on standard error how far a purge is. On a terminal it is one line with
// a bar that moves while Akamai is waited for, and that stays at its last figure. In a
// log or a pipe it prints only trouble, and rarely.
type progress struct {
	out   io.Writer
	noun  string // singular, such as URL
	total int    // objects in the list; 0: not known before the list is read
	width int    // of the terminal, in columns; 0: not a terminal
	began time.Time

	// mu guards the fields below: the sender's goroutine and the ticker of move both
	// draw.
	mu    sync.Mutex
	shows func(now time.Time) string // makes the line for a time; nil: nothing to show yet
	drawn time.Time                  // when the line was last drawn
	told  string                     // the trouble that was last printed; not for a terminal
	since time.Time                  // when it was printed

	stop func() // ends the ticker and waits for it; never nil
}

const (
	// Least time between two drawings that new figures cause. Answers can come faster
	// than a terminal shows them.
	redraw = 100 * time.Millisecond
	// Time after which the same trouble is printed again to a log.
	retell = time.Minute
)

// newProgress starts the display. The caller must call end, which stops its goroutine. On
// a terminal it writes to the terminal itself, past the [plainWriter], which would print
// the escape sequences as text.
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

// move redraws the line each second until stop, so that waiting times count down while no
// answer comes.
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

// update takes new figures; the sender calls it after each answer. It returns quickly, as
// [purger.Sender] asks. Trouble is drawn at once, other figures at most every redraw.
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
		v.Wait = max(0, u.Wait-then.Sub(now)) // counts down between two updates
		return p.line(v)
	}
	if u.Trouble != "" || now.Sub(p.drawn) >= redraw {
		p.draw(now)
	}
}

// tell prints trouble to a log: when it is new, and again each minute. A wait of less
// than a second is not worth a line.
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

// line is one line with the figures. It has a bar only when the total is known: the list
// came from the command line, or was read to its end.
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

// waiting shows that everything is sent and how many requests Akamai has finished.
func (p *progress) waiting(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shows = func(time.Time) string {
		return fmt.Sprintf("accepted; waiting for Akamai to finish: %s of %s requests done", report.Number(done), report.Number(total))
	}
	p.draw(time.Now())
}

// draw replaces the terminal's last line. Call it with mu held. The line is cut to one
// column less than the width: a line that wraps could not be replaced.
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

// end stops the ticker and leaves the last figures on the terminal. It calls stop without
// mu, since the goroutine that stop waits for takes mu.
func (p *progress) end() {
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draw(time.Now()); p.width > 0 && p.shows != nil {
		fmt.Fprintln(p.out)
	}
}
