package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/report"
)

// maxLine is the most bytes of one line of standard input, 1 MiB. No object comes near
// it. It bounds the memory that an input without line ends takes.
const maxLine = 1 << 20

// lineReader reads a list from a stream: one object a line, with LF or CRLF. Read err
// only after the sequence of lines has ended.
type lineReader struct{ err error }

// fromStdin reports whether a command reads its values from standard input: it has none
// of its own, or the only one is "-".
func fromStdin(values []string) bool {
	return len(values) == 0 || slices.Equal(values, []string{stdinName})
}

// valuesOr returns the values of a command line or, where there are none or the only one
// is "-", the lines of standard input. Call the second result after the sequence ended:
// it tells why reading stopped early, nil if it did not.
func valuesOr(ctx context.Context, std streams, values []string, noun string) (iter.Seq[string], func() error) {
	if !fromStdin(values) {
		return slices.Values(values), func() error { return nil }
	}
	if screen(std.in) != nil {
		fmt.Fprintf(std.err, "Reading from the terminal: %ss, one a line; end with Ctrl-D.\n", noun)
	}
	l := &lineReader{}
	return l.lines(ctx, std.in), func() error { return l.err }
}

// lines reads while the consumer asks, and ends early when ctx does. A read from a
// terminal or a pipe can't be interrupted, so it runs in a goroutine of its own. After a
// cancellation that goroutine stays blocked in its read until the process ends.
func (l *lineReader) lines(ctx context.Context, in io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// fault has room for one value: the goroutine never blocks on it, even if nobody
		// reads it. It is sent before chunks is closed, so it is there once chunks has
		// ended.
		chunks, fault := make(chan []string, 1), make(chan error, 1)
		go func() {
			defer close(chunks)
			fault <- scan(ctx, in, chunks)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case chunk, ok := <-chunks:
				if !ok {
					l.err = <-fault
					return
				}
				for _, line := range chunk {
					if !yield(line) {
						return
					}
				}
			}
		}
	}
}

// scan sends the list in chunks, so that a fast input costs one channel operation for
// 1,000 lines. It never holds lines back: when the reader's buffer is empty, the next
// read may block, and scan sends what it has first.
func scan(ctx context.Context, in io.Reader, chunks chan<- []string) error {
	const enough = 1000
	r := bufio.NewReaderSize(in, maxLine)
	var chunk []string
	send := func() bool {
		select {
		case chunks <- chunk:
			chunk = nil
			return true
		case <-ctx.Done():
			return false
		}
	}
	for number := 1; ; number++ {
		// ReadSlice returns a part of the buffer that the next read overwrites;
		// string(line) below copies it. At the end of the input it returns the last line
		// together with io.EOF, so the line is used before err is looked at.
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = fmt.Errorf("line %d has more than %d bytes", number, maxLine)
			line = nil
		}
		if object := objectOf(string(line), number); object != "" {
			chunk = append(chunk, object)
		}
		if len(chunk) > 0 && (err != nil || len(chunk) == enough || r.Buffered() == 0) && !send() {
			return nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read standard input: %w", err)
		}
	}
}

// objectOf is the object in a line, "" for a blank line or a comment. It removes the byte
// order mark that some editors put at the start of a file: with it the first object would
// be refused.
func objectOf(line string, number int) string {
	if number == 1 {
		line = strings.TrimPrefix(line, "\ufeff")
	}
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	return line
}

// kindName is a kind as people read it, in the singular.
func kindName(kind string) string {
	switch kind {
	case "url":
		return "URL"
	case "cpcode":
		return "CP code"
	}
	return kind
}

// plural is a number with its noun, such as "2 URLs". It only fits nouns that take an s.
func plural(n int, noun string) string {
	return report.Amount(n, noun, noun+"s")
}
