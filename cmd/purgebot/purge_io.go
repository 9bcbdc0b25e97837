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

// maxLine is how long a line of standard input may be, in bytes; no object
// comes near it.
const maxLine = 1 << 20

// lineReader reads a list: one object a line, LF or CRLF.
type lineReader struct{ err error }

// valuesOr are the values of a command or, where it has none or "-", the lines
// of standard input; and what to ask afterwards: why that ended early.
func valuesOr(ctx context.Context, std streams, values []string, noun string) (iter.Seq[string], func() error) {
	if len(values) > 0 && !slices.Equal(values, []string{"-"}) {
		return slices.Values(values), func() error { return nil }
	}
	if screen(std.in) != nil {
		fmt.Fprintf(std.err, "Reading from the terminal: %ss, one a line; end with Ctrl-D.\n", noun)
	}
	l := &lineReader{}
	return l.lines(ctx, std.in), func() error { return l.err }
}

// lines reads as they are asked for, and ends early when ctx does: a read
// from a terminal can't be interrupted, so it has a goroutine of its own,
// which then stays behind until the process ends.
func (l *lineReader) lines(ctx context.Context, in io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
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

// scan sends the list on in chunks: what the reader has buffered goes at once.
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

// objectOf is the object in a line; empty if there is none.
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

func kindName(kind string) string {
	switch kind {
	case "url":
		return "URL"
	case "cpcode":
		return "CP code"
	}
	return kind
}

func plural(n int, noun string) string {
	return report.Amount(n, noun, noun+"s")
}
