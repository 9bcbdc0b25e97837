package akamai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// maxTag is the most characters of a cache tag. Akamai accepts a longer tag but purges
// nothing.
const maxTag = 128

// objectError is a fault in a purge request. It is the first one that was found, because
// Akamai names only one.
type objectError struct {
	status        int
	title, detail string
}

func (f *objectError) answer() answer { return ccuProblem(f.status, f.title, f.detail) }

func wrongType(attribute, want string, got json.RawMessage) *objectError {
	return &objectError{
		http.StatusBadRequest, "invalid attribute value",
		fmt.Sprintf("'%s' attribute has expected type:%s, received:%s", attribute, want, jsonType(got)),
	}
}

// jsonType names the type of a JSON value in the words of Akamai's errors.
func jsonType(value json.RawMessage) string {
	switch value = bytes.TrimSpace(value); {
	case len(value) == 0, value[0] == 'n':
		return "null"
	case value[0] == '{':
		return "object"
	case value[0] == '[':
		return "array"
	case value[0] == '"':
		return "string"
	case value[0] == 't', value[0] == 'f':
		return "boolean"
	}
	return "number"
}

// parseFields reads a body that must be one JSON object.
func parseFields(body []byte) (map[string]json.RawMessage, *objectError) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return nil, &objectError{http.StatusBadRequest, "bad request", "The request body is not a JSON object"}
	}
	return fields, nil
}

// parseObjects reads the list of objects: strings, and for CP codes also integers. By the
// schema a string of digits is no CP code, but Akamai's own command line sends such
// strings and gets a 201.
func parseObjects(value json.RawMessage, kind string) ([]string, *objectError) {
	if kind != kindCPCode {
		var objects []string
		if err := json.Unmarshal(value, &objects); len(value) > 0 && err != nil {
			return nil, wrongType("objects", "[]string", value)
		}
		return objects, notEmpty(len(objects))
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(value, &elements); len(value) > 0 && err != nil {
		return nil, wrongType("objects", "[]integer", value)
	}
	objects := make([]string, len(elements))
	for i, element := range elements {
		text := string(element)
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		code, err := strconv.ParseUint(text, 10, 31)
		if err != nil || code == 0 {
			return nil, &objectError{
				http.StatusBadRequest, "invalid attribute value",
				fmt.Sprintf("'objects' attribute has expected type:[]integer, received:%s", element),
			}
		}
		objects[i] = strconv.FormatUint(code, 10)
	}
	return objects, notEmpty(len(objects))
}

func notEmpty(objects int) *objectError {
	if objects > 0 {
		return nil
	}
	return &objectError{http.StatusBadRequest, "invalid attribute value", "'objects' attribute cannot be missing or empty"}
}

// checkObject tells what is wrong with the form of one object.
func checkObject(kind, object string) *objectError {
	switch kind {
	case kindURL:
		return checkURL(object)
	case kindTag:
		return checkTag(object)
	}
	return nil // CP codes are numbers already
}

// checkURL accepts absolute http(s) URLs and ARLs in ASCII. It refuses wildcards: Akamai
// says that there are none, so a URL with one is a mistake that should show here. How
// Akamai answers it is not documented.
func checkURL(object string) *objectError {
	bad := func(why string) *objectError {
		return &objectError{http.StatusBadRequest, "bad URL", fmt.Sprintf("Invalid or malformed URL '%s': %s", object, why)}
	}
	for _, r := range object {
		switch {
		case r > unicode.MaxASCII:
			return bad(fmt.Sprintf("contains non-ASCII character '%c' (%U)", r, r))
		case r <= ' ' || r == 0x7f:
			return bad(fmt.Sprintf("contains illegal character %q", r))
		case r == '*':
			return bad("wildcards are not supported")
		}
	}
	host, ok := hostOf(object)
	switch {
	case !ok:
		return bad("neither an absolute http(s) URL nor an ARL")
	case !isHostname(host):
		return &objectError{http.StatusBadRequest, "bad URL hostname", "Invalid or malformed hostname '" + host + "'"}
	}
	return nil
}

// hostOf gives the host of a URL, without its port, or of an ARL.
func hostOf(object string) (host string, ok bool) {
	if scheme, rest, found := strings.Cut(object, "://"); found && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			rest = rest[:end]
		}
		if name, port, found := strings.Cut(rest, ":"); found && isDigits(port) {
			rest = name
		}
		return rest, true
	}
	return hostOfARL(object)
}

// hostOfARL reads /{letter}/{typecode}/{cpcode}/{ttl}/{host}/{path}. /S may stand before
// it, for HTTPS. An example is /L/512/6848/1h/www.example.com/index.html.
func hostOfARL(object string) (host string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(object, "/S"), "/", 7)
	if len(parts) < 7 || parts[0] != "" || len(parts[1]) != 1 || !unicode.IsLetter(rune(parts[1][0])) {
		return "", false
	}
	if !isDigits(parts[2]) || !isDigits(parts[3]) || parts[4] == "" {
		return "", false
	}
	return parts[5], true
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isHostname tells whether s can be the name of a host (RFC 1123, and the underscore that
// occurs in practice).
func isHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.IndexFunc(label, func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }) >= 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// checkTag accepts the characters that Akamai's purge documentation allows. Akamai's
// pages disagree: its Property Manager does not allow "&", and an older page forbids "/".
func checkTag(tag string) *objectError {
	bad := func(why string) *objectError {
		return &objectError{http.StatusBadRequest, "bad cache tag", fmt.Sprintf("Invalid or malformed cache tag '%s': %s", tag, why)}
	}
	if tag == "" {
		return bad("is empty")
	}
	for _, r := range tag {
		if !isAlphanumeric(r) && !strings.ContainsRune("&'^-$!`#%.+~_|/", r) {
			return bad(fmt.Sprintf("contains illegal character %q", r))
		}
	}
	return nil
}

// hostPatterns are the hostnames that a client may purge.
type hostPatterns struct {
	all      bool
	exact    map[string]bool
	suffixes []string // ".example.com"
}

// newHostPatterns reads exact names and *.example.com. nil grants all hosts.
func newHostPatterns(patterns []string) hostPatterns {
	h := hostPatterns{all: patterns == nil, exact: map[string]bool{}}
	for _, pattern := range patterns {
		pattern = strings.ToLower(pattern)
		if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
			h.suffixes = append(h.suffixes, suffix)
		} else {
			h.exact[pattern] = true
		}
	}
	return h
}

// grant reports whether a host matches a pattern, without regard to case.
func (h hostPatterns) grant(host string) bool {
	host = strings.ToLower(host)
	if h.all || h.exact[host] {
		return true
	}
	for _, suffix := range h.suffixes {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// unauthorized finds the first object that the client may not purge. A client's grants do
// not limit tags: tags belong to the whole account. The caller holds a.mu.
func (a *Server) unauthorized(kind string, objects []string) *objectError {
	name := map[string]string{kindURL: "arl", kindTag: "tag", kindCPCode: "cpcode"}[kind]
	for _, object := range objects {
		if r, ok := a.refused[object]; ok {
			title := r.title
			if title == "" {
				title = "unauthorized " + name
			}
			return &objectError{r.status, title, object}
		}
		if !a.granted(kind, object) {
			return &objectError{http.StatusForbidden, "unauthorized " + name, object}
		}
	}
	return nil
}

func (a *Server) granted(kind, object string) bool {
	switch kind {
	case kindURL:
		host, _ := hostOf(object)
		return a.hosts.grant(host)
	case kindCPCode:
		return a.cpcodes == nil || a.cpcodes[object]
	}
	return true
}
