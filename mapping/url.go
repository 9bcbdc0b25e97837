package mapping

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/object"
)

// maxURLBytes is the longest URL that fits a Fast Purge body of 50,000 bytes alone:
// {"objects":[""]} takes the other 16.
const maxURLBytes = 50_000 - 16

// urlTemplate is the template of a URL, taken apart. Only literal text decides where the
// host ends and where the query begins; a value never does.
type urlTemplate struct {
	scheme string // "https://" or "http://"
	host   pieces // without placeholders: one literal, in lower case and punycode
	port   string // with its colon, or ""
	rest   []restPiece
}

// restPiece is a piece of the path or the query. Literal text in it is encoded already.
type restPiece struct {
	piece
	query bool // it stands after the "?"
}

// newURLTemplate reads the pieces of a URL's template. The fault is a message for people;
// "": none.
func newURLTemplate(ps pieces) (*urlTemplate, string) {
	if len(ps) == 0 || !ps[0].isLiteral() {
		return nil, "a URL must begin with https:// or http://"
	}
	t := &urlTemplate{}
	if strings.Contains(ps.literals(), "*") {
		return nil, "Akamai purges no wildcards, and a * stands for itself: give the rule a tag or a CP code for all of them, or make each URL of the file's path"
	}
	first := ps[0].literal
	for _, scheme := range []string{"https://", "http://"} {
		if len(first) >= len(scheme) && strings.EqualFold(first[:len(scheme)], scheme) {
			t.scheme = scheme
		}
	}
	if t.scheme == "" {
		return nil, "a URL must begin with https:// or http://"
	}
	left := append(pieces{{literal: first[len(t.scheme):]}}, ps[1:]...)
	host, rest := splitHost(left)
	if fault := t.setHost(host); fault != "" {
		return nil, fault
	}
	if fault := t.setRest(rest); fault != "" {
		return nil, fault
	}
	return t, ""
}

// splitHost cuts the pieces before the first "/", "?" or "#" in their literal text.
func splitHost(ps pieces) (host, rest pieces) {
	for i, p := range ps {
		if !p.isLiteral() {
			host = append(host, p)
			continue
		}
		at := strings.IndexAny(p.literal, "/?#")
		if at < 0 {
			at = len(p.literal)
		}
		if at > 0 {
			host = append(host, piece{literal: p.literal[:at]})
		}
		if at < len(p.literal) {
			return host, append(pieces{{literal: p.literal[at:]}}, ps[i+1:]...)
		}
	}
	return host, nil
}

// setHost keeps the host and port of a template. It returns what is wrong with them, or
// "". A host may have placeholders, but its literal text must be fit for a host by
// itself. A host without placeholders is turned into ASCII here, once; any other when a
// target is made.
func (t *urlTemplate) setHost(host pieces) string {
	for i, p := range host {
		if !p.isLiteral() {
			t.host = append(t.host, p)
			continue
		}
		name, port, hasPort := strings.Cut(p.literal, ":")
		if hasPort {
			if n, err := strconv.ParseUint(port, 10, 16); i != len(host)-1 || err != nil || n == 0 {
				return "the port of a URL must be a number from 1 to 65535, at the end of the host"
			}
			t.port = ":" + port
		}
		if c, found := firstOf(name, func(r rune) bool { return r < 0x80 && r != '.' && !object.HostRune(r) }); found {
			return fmt.Sprintf("%s can't stand in a URL's host", quote(string(c)))
		}
		if name != "" {
			t.host = append(t.host, piece{literal: name})
		}
	}
	if slices.ContainsFunc(t.host, func(p piece) bool { return !p.isLiteral() }) {
		return ""
	}
	name := t.host.literals()
	ascii, err := object.ASCIIHost(name)
	switch {
	case name == "":
		return "the URL has no host: write https://{host}/…"
	case err != nil:
		return fmt.Sprintf("%s %v", quote(name), err)
	}
	t.host = pieces{{literal: ascii}}
	return ""
}

// firstOf returns the first rune of s that f accepts.
func firstOf(s string, f func(rune) bool) (rune, bool) {
	for _, r := range s {
		if f(r) {
			return r, true
		}
	}
	return 0, false
}

// setRest keeps what follows the host. It returns what is wrong with it, or "". From the
// first "?" on, values are encoded as in a query.
func (t *urlTemplate) setRest(rest pieces) string {
	query := false
	for _, p := range rest {
		if !p.isLiteral() {
			t.rest = append(t.rest, restPiece{p, query})
			continue
		}
		if fault := literalFault(p.literal); fault != "" {
			return fault
		}
		query = query || strings.Contains(p.literal, "?")
		t.rest = append(t.rest, restPiece{piece{literal: encodeLiteral(p.literal)}, query})
	}
	return ""
}

// literalFault returns why literal text can't stand in a URL, or "".
func literalFault(s string) string {
	for i, r := range s {
		switch {
		case r == '#':
			return "a URL to purge has no #fragment: remove it (a # in a file's name is encoded by itself)"
		case r == ' ':
			return "a URL can't hold a space: write %20"
		case r == '\\':
			if n := s[i+1:]; n != "" && isDigits(n[:1]) {
				return `\` + n[:1] + " stands for nothing here: write {" + n[:1] + "} for what that wildcard of match matched"
			}
			return `a URL can't hold a \: write /`
		case r < ' ' || r == 0x7f:
			return "a URL can't hold a line break, a tab or a control character"
		case r == '%' && !object.IsEscape(s[i:]):
			return "a % in a URL must be followed by two hexadecimal digits: write %25 for the sign itself"
		}
	}
	return ""
}

// literalHost returns the host of a template if no placeholder is part of it.
func (t *urlTemplate) literalHost() (string, bool) {
	if len(t.host) == 1 && t.host[0].isLiteral() {
		return t.host[0].literal, true
	}
	return "", false
}

// appendURL appends the URL for these values. If the reason is not empty, the URL can't
// be requested, and what was appended is only for people to read.
func (t *urlTemplate) appendURL(dst []byte, v *values, host string) (url []byte, reason string) {
	dst = append(dst, t.scheme...)
	dst, reason = t.appendHost(dst, v, host)
	dst = append(dst, t.port...)
	path := len(dst)
	dst = t.appendRest(dst, v, host)
	switch {
	case reason != "":
	case len(dst) > maxURLBytes:
		reason = fmt.Sprintf("the URL has %d bytes and does not fit a purge request (at most %d)", len(dst), maxURLBytes)
	case bytes.Contains(dst[path:], []byte("/.")):
		reason = object.DotFolder(string(dst[path:]))
	}
	return dst, reason
}

// appendHost appends the host, and returns why it is none, or "". A value in a host is
// checked twice: safeInHost keeps it within its label, and ASCIIHost looks at the whole
// name. An unfit name is encoded, so that people can read it.
func (t *urlTemplate) appendHost(dst []byte, v *values, host string) ([]byte, string) {
	if name, ok := t.literalHost(); ok {
		return append(dst, name...), ""
	}
	// The hosts of an environment were turned into ASCII when the file was read.
	if len(t.host) == 1 && t.host[0].name == phHost {
		return append(dst, host...), ""
	}
	var name strings.Builder
	reason := ""
	for i, p := range t.host {
		value := v.of(p, host)
		if !p.isLiteral() && p.name != phHost {
			beforeDot := i == len(t.host)-1 || t.host[i+1].isLiteral() && strings.HasPrefix(t.host[i+1].literal, ".")
			if reason == "" && !safeInHost(value, i == 0, beforeDot) {
				reason = fmt.Sprintf("%s is %s, which can't be part of a host name", p, quote(value))
			}
		}
		name.WriteString(value)
	}
	if reason == "" {
		ascii, err := object.ASCIIHost(name.String())
		if err == nil {
			return append(dst, ascii...), ""
		}
		reason = fmt.Sprintf("%s %v", quote(name.String()), err)
	}
	return object.AppendValue(dst, name.String(), false), reason
}

// appendRest appends path and query. If only empty values stand between two slashes, one
// of the slashes goes too: a file at the root has no {dir}.
func (t *urlTemplate) appendRest(dst []byte, v *values, host string) []byte {
	start, empty := len(dst), false // empty: only empty values since the last text
	for _, p := range t.rest {
		text := p.literal
		if !p.isLiteral() {
			value := v.of(p.piece, host)
			if value == "" {
				empty = true
				continue
			}
			if empty = false; p.component() {
				dst = object.AppendComponent(dst, value)
			} else {
				dst = object.AppendValue(dst, value, p.query)
			}
			continue
		}
		// dst ends with the slash before the empty values, and text begins with the one
		// after.
		if empty && len(dst) > start && dst[len(dst)-1] == '/' && text[0] == '/' {
			text = text[1:]
		}
		empty = empty && text == ""
		dst = append(dst, text...)
	}
	return dst
}

// encodeLiteral encodes what literal text has outside ASCII. The rest means what it says;
// literalFault has refused what it must not have.
func encodeLiteral(s string) string {
	var dst []byte
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		if size == 1 && s[i] < 0x80 {
			dst = append(dst, s[i])
		} else {
			dst = object.AppendValue(dst, s[i:i+size], false)
		}
		i += size
	}
	return string(dst)
}
