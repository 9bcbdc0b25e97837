package main

import (
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/purgebot/purgebot/internal/printable"
)

// plainWriter is an output of the program. It makes invisible and control characters
// visible, so that a text from outside (a path, an error, JSON) can't move the cursor or
// change the terminal. It is safe for concurrent use.
type plainWriter struct {
	out io.Writer

	mu   sync.Mutex
	rest []byte // the start of a UTF-8 character that the next Write completes
}

// Write implements io.Writer. It holds back a UTF-8 character that is cut at the end of
// text: half a character would be taken for bytes that are not UTF-8. It reports the
// length of text and not that of the escaped output, because io.Writer demands so.
func (p *plainWriter) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := append(p.rest, text...)
	end := len(all)
	// Go back to where the last character starts, at most the length of a character, and
	// leave it out if it is incomplete.
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

// oneLine makes a text from outside safe within one line: line breaks become spaces, so
// the text can't add rows to a list.
func oneLine(words string) string { return printable.Text(words, "") }

// screen returns the terminal that a stream leads to, nil if it leads elsewhere. Output
// that moves the cursor must go to it directly. It also takes an input stream.
func screen(stream any) *os.File {
	if p, ok := stream.(*plainWriter); ok {
		stream = p.out
	}
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
