package main

import (
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/purgebot/purgebot/internal/printable"
)

// plainWriter is one end of the program. What goes out by it may hold text of
// others, JSON too, and does nothing to the terminal that shows it.
type plainWriter struct {
	out io.Writer

	mu   sync.Mutex
	rest []byte // the beginning of a character whose end is still to come
}

// Write implements io.Writer.
func (p *plainWriter) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := append(p.rest, text...)
	end := len(all)
	for i := 1; i < utf8.UTFMax && i <= end; i++ {
		if utf8.RuneStart(all[end-i]) {
			if !utf8.FullRune(all[end-i:]) {
				end -= i
			}
			break
		}
	}
	p.rest = append([]byte(nil), all[end:]...)
	if _, err := io.WriteString(p.out, printable.Text(string(all[:end]), "\n\t")); err != nil {
		return 0, err
	}
	return len(text), nil
}

// oneLine keeps words of others from breaking a list.
func oneLine(words string) string { return printable.Text(words, "") }

// screen is the terminal that a stream leads to, for what moves the cursor;
// nil if there is none.
func screen(stream any) *os.File {
	if p, ok := stream.(*plainWriter); ok {
		stream = p.out
	}
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
