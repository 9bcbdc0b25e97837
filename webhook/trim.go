package webhook

import (
	"bytes"
	"slices"
)

// trim leaves some members out of a JSON object: the greater part of a push
// is commits, which purgebot never reads, and encoding/json takes longer for
// them than all else together takes for a delivery. It reports false where it
// can't tell that body is a valid object; what it leaves out is valid.
func trim(body []byte, names ...string) (trimmed []byte, ok bool) {
	s := scanner{b: body}
	if !s.open('{') {
		return nil, false
	}
	trimmed = append(make([]byte, 0, 8<<10), '{')
	for first := true; !s.open('}'); first = false {
		if !first && !s.open(',') {
			return nil, false
		}
		s.space()
		start := s.i
		if !s.text() || !s.open(':') {
			return nil, false
		}
		name := bytes.TrimRight(body[start:s.i-1], " \t\r\n")
		if !s.value(1) {
			return nil, false
		}
		if slices.Contains(names, string(name[1:len(name)-1])) {
			continue
		}
		if len(trimmed) > 1 {
			trimmed = append(trimmed, ',')
		}
		trimmed = append(trimmed, body[start:s.i]...)
	}
	s.space()
	return append(trimmed, '}'), s.i == len(body)
}

// maxDepth is how deep values may nest, as in encoding/json.
const maxDepth = 10_000

// A scanner goes over JSON as RFC 8259 has it, and as strictly as
// encoding/json. Its methods report whether what they say is there, and are
// then behind it.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// is takes one byte.
func (s *scanner) is(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// open takes one byte behind any space.
func (s *scanner) open(c byte) bool {
	s.space()
	return s.is(c)
}

// value takes any value, itself the depth-th of those around it.
func (s *scanner) value(depth int) bool {
	s.space()
	if s.i == len(s.b) || depth >= maxDepth {
		return false
	}
	switch c := s.b[s.i]; c {
	case '{':
		return s.list('}', depth)
	case '[':
		return s.list(']', depth)
	case '"':
		return s.text()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// list takes an object or an array.
func (s *scanner) list(end byte, depth int) bool {
	s.i++
	for first := true; !s.open(end); first = false {
		if !first && !s.is(',') {
			return false
		}
		if end == '}' {
			if s.space(); !s.text() || !s.open(':') {
				return false
			}
		}
		if !s.value(depth + 1) {
			return false
		}
	}
	return true
}

func (s *scanner) word(w string) bool {
	ok := bytes.HasPrefix(s.b[s.i:], []byte(w))
	s.i += len(w)
	return ok
}

// text takes a string.
func (s *scanner) text() bool {
	if !s.is('"') {
		return false
	}
	for b, i := s.b, s.i; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			s.i = i + 1
			return true
		case c == '\\':
			if s.i = i; !s.escape() {
				return false
			}
			i = s.i - 1
		case c < ' ':
			return false
		}
	}
	return false
}

func (s *scanner) escape() bool {
	rest := s.b[s.i+1:]
	if len(rest) == 0 {
		return false
	}
	s.i += 2
	if rest[0] != 'u' {
		return bytes.IndexByte([]byte(`"\/bfnrt`), rest[0]) >= 0
	}
	if len(rest) < 5 {
		return false
	}
	for _, c := range rest[1:5] {
		if bytes.IndexByte([]byte("0123456789abcdefABCDEF"), c) < 0 {
			return false
		}
	}
	s.i += 4
	return true
}

func (s *scanner) number() bool {
	s.is('-')
	if !s.is('0') && !s.digits() {
		return false
	}
	if s.is('.') && !s.digits() {
		return false
	}
	if s.is('e') || s.is('E') {
		if !s.is('+') {
			s.is('-')
		}
		return s.digits()
	}
	return true
}

// digits takes one or more.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}
