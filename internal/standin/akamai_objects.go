package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// akamaiMaxTag is how long a cache tag may be, in characters. Akamai accepts
// a longer one and purges nothing.
const akamaiMaxTag = 128

// akamaiFaulty is what is wrong with a purge request: the first fault that
// was found, since Akamai names one.
type akamaiFaulty struct {
	status        int
	title, detail string
}

func (f *akamaiFaulty) answer() akamaiAnswer { return akamaiProblem(f.status, f.title, f.detail) }

func akamaiWrongType(attribute, want string, got json.RawMessage) *akamaiFaulty {
	return &akamaiFaulty{
		http.StatusBadRequest, "invalid attribute value",
		fmt.Sprintf("'%s' attribute has expected type:%s, received:%s", attribute, want, akamaiJSONType(got)),
	}
}

func akamaiJSONType(value json.RawMessage) string {
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

// parseAkamaiFields reads a body that must be one JSON object.
func parseAkamaiFields(body []byte) (map[string]json.RawMessage, *akamaiFaulty) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return nil, &akamaiFaulty{http.StatusBadRequest, "bad request", "The request body is not a JSON object"}
	}
	return fields, nil
}

// parseAkamaiObjects reads the list of objects: strings, for CP codes also
// integers. Strings of digits are no CP codes by the schema, but Akamai's own
// command line sends them and is answered 201.
func parseAkamaiObjects(value json.RawMessage, kind string) ([]string, *akamaiFaulty) {
	if kind != akamaiCPCode {
		var objects []string
		if err := json.Unmarshal(value, &objects); len(value) > 0 && err != nil {
			return nil, akamaiWrongType("objects", "[]string", value)
		}
		return objects, akamaiNotEmpty(len(objects))
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(value, &elements); len(value) > 0 && err != nil {
		return nil, akamaiWrongType("objects", "[]integer", value)
	}
	objects := make([]string, len(elements))
	for i, element := range elements {
		text := string(element)
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		code, err := strconv.ParseUint(text, 10, 31)
		if err != nil || code == 0 {
			return nil, &akamaiFaulty{
				http.StatusBadRequest, "invalid attribute value",
				fmt.Sprintf("'objects' attribute has expected type:[]integer, received:%s", element),
			}
		}
		objects[i] = strconv.FormatUint(code, 10)
	}
	return objects, akamaiNotEmpty(len(objects))
}

func akamaiNotEmpty(objects int) *akamaiFaulty {
	if objects > 0 {
		return nil
	}
	return &akamaiFaulty{http.StatusBadRequest, "invalid attribute value", "'objects' attribute cannot be missing or empty"}
}

// akamaiCheckObject tells what is wrong with the form of one object.
func akamaiCheckObject(kind, object string) *akamaiFaulty {
	switch kind {
	case akamaiURL:
		return akamaiCheckURL(object)
	case akamaiTag:
		return akamaiCheckTag(object)
	}
	return nil // CP codes are numbers already
}

// akamaiCheckURL takes absolute http(s) URLs and ARLs in ASCII. Wildcards are
// refused: Akamai says that there are none, so a URL with one is a mistake,
// which here should show. (How Akamai answers them is not documented.)
func akamaiCheckURL(object string) *akamaiFaulty {
	bad := func(why string) *akamaiFaulty {
		return &akamaiFaulty{http.StatusBadRequest, "bad URL", fmt.Sprintf("Invalid or malformed URL '%s': %s", object, why)}
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
	host, ok := akamaiHostOf(object)
	switch {
	case !ok:
		return bad("neither an absolute http(s) URL nor an ARL")
	case !akamaiHostname(host):
		return &akamaiFaulty{http.StatusBadRequest, "bad URL hostname", "Invalid or malformed hostname '" + host + "'"}
	}
	return nil
}

// akamaiHostOf cuts the host out of a URL (without its port) or an ARL.
func akamaiHostOf(object string) (host string, ok bool) {
	if scheme, rest, found := strings.Cut(object, "://"); found && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			rest = rest[:end]
		}
		if name, port, found := strings.Cut(rest, ":"); found && akamaiDigits(port) {
			rest = name
		}
		return rest, true
	}
	return akamaiHostOfARL(object)
}

// akamaiHostOfARL reads /{letter}/{typecode}/{cpcode}/{ttl}/{host}/{path},
// before which /S may stand (for HTTPS), e.g.
// /L/512/6848/1h/www.example.com/index.html.
func akamaiHostOfARL(object string) (host string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(object, "/S"), "/", 7)
	if len(parts) < 7 || parts[0] != "" || len(parts[1]) != 1 || !unicode.IsLetter(rune(parts[1][0])) {
		return "", false
	}
	if !akamaiDigits(parts[2]) || !akamaiDigits(parts[3]) || parts[4] == "" {
		return "", false
	}
	return parts[5], true
}

func akamaiDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// akamaiHostname tells whether s can be the name of a host (RFC 1123, and the
// underscore that is seen in practice).
func akamaiHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.IndexFunc(label, func(r rune) bool { return !akamaiAlphanumeric(r) && r != '-' && r != '_' }) >= 0 {
			return false
		}
	}
	return true
}

func akamaiAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// akamaiCheckTag takes the alphabet of Akamai's purge documentation. Its
// Property Manager allows less ("&" is missing); an older page forbids "/".
func akamaiCheckTag(tag string) *akamaiFaulty {
	bad := func(why string) *akamaiFaulty {
		return &akamaiFaulty{http.StatusBadRequest, "bad cache tag", fmt.Sprintf("Invalid or malformed cache tag '%s': %s", tag, why)}
	}
	if tag == "" {
		return bad("is empty")
	}
	for _, r := range tag {
		if !akamaiAlphanumeric(r) && !strings.ContainsRune("&'^-$!`#%.+~_|/", r) {
			return bad(fmt.Sprintf("contains illegal character %q", r))
		}
	}
	return nil
}

// akamaiHosts are the hostnames that a client may purge.
type akamaiHosts struct {
	all      bool
	exact    map[string]bool
	suffixes []string // ".example.com"
}

func newAkamaiHosts(patterns []string) akamaiHosts {
	h := akamaiHosts{all: patterns == nil, exact: map[string]bool{}}
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

func (h akamaiHosts) grant(host string) bool {
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

// unauthorized finds the first object that the client may not purge. Tags are
// not bounded by what a client is granted: they belong to the whole account.
// The caller has a.mu.
func (a *Akamai) unauthorized(kind string, objects []string) *akamaiFaulty {
	name := map[string]string{akamaiURL: "arl", akamaiTag: "tag", akamaiCPCode: "cpcode"}[kind]
	for _, object := range objects {
		if r, ok := a.refused[object]; ok {
			title := r.title
			if title == "" {
				title = "unauthorized " + name
			}
			return &akamaiFaulty{r.status, title, object}
		}
		if !a.granted(kind, object) {
			return &akamaiFaulty{http.StatusForbidden, "unauthorized " + name, object}
		}
	}
	return nil
}

func (a *Akamai) granted(kind, object string) bool {
	switch kind {
	case akamaiURL:
		host, _ := akamaiHostOf(object)
		return a.hosts.grant(host)
	case akamaiCPCode:
		return a.cpcodes == nil || a.cpcodes[object]
	}
	return true
}
