package purger

import (
	"bytes"
	"encoding/json"
	"html"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxWords bounds Akamai's words, in bytes: an answer may echo an object of
// 50,000.
const maxWords = 500

// problem is the body of a reply, of whichever shape. CCU's own has httpStatus
// and supportId, the EdgeGrid gateway's status, type and requestId; a success
// has CCU's. Anything else leaves its text in detail.
type problem struct {
	title, detail string
	kind          string // the gateway's "type"
	httpStatus    int    // CCU's
	status        int    // the gateway's
	supportID     string
	purgeID       string
	estimated     time.Duration

	rateLimit, rateLimitRemaining, requestSize *float64

	progress  string
	pingAfter time.Duration
}

func (p problem) gateway() bool { return p.status != 0 && p.httpStatus == 0 }

// says whether the reply's title or detail begins with the phrase; an object
// that is quoted later on does not count.
func (p problem) says(phrase string) bool {
	begins := func(s string) bool {
		return len(s) >= len(phrase) && strings.EqualFold(s[:len(phrase)], phrase)
	}
	return begins(p.title) || begins(p.detail)
}

// limit puts the figures of a 429's body where they belong: the title says
// which of the two buckets was short.
func (p problem) limit(l *Limits) {
	level := &l.Objects
	if strings.EqualFold(p.title, "Rate Limit exceeded") {
		level = &l.Requests
	}
	if p.rateLimit != nil {
		level.Limit = p.rateLimit
	}
	if p.rateLimitRemaining != nil {
		level.Remaining = p.rateLimitRemaining
	}
}

// readProblem reads whatever an answer's body says, in any of the forms that Akamai's
// services give it: they name one thing differently, and a gateway's page is none of
// them. What it leaves out is not there, and never a zero.
func readProblem(contentType string, body []byte) problem {
	fields, ok := readFields(body)
	if !ok {
		return problem{detail: plainText(contentType, body), estimated: DefaultEstimate}
	}
	p := problem{
		title:              clean(text(fields["title"]), maxWords),
		detail:             strings.TrimSpace(text(fields["detail"])),
		kind:               text(fields["type"]),
		httpStatus:         int(orZero(number(fields["httpStatus"]))),
		status:             int(orZero(number(fields["status"]))),
		supportID:          clean(text(fields["supportId"]), maxWords),
		purgeID:            clean(text(fields["purgeId"]), maxWords),
		estimated:          DefaultEstimate,
		rateLimit:          number(fields["rateLimit"]),
		rateLimitRemaining: number(fields["rateLimitRemaining"]),
		requestSize:        number(fields["rateLimitCurrentRequestSize"]),
		progress:           text(fields["progressUri"]),
		pingAfter:          seconds(number(fields["pingAfterSeconds"])),
	}
	if p.supportID == "" {
		p.supportID = clean(text(fields["requestId"]), maxWords)
	}
	if n := number(fields["estimatedSeconds"]); n != nil {
		p.estimated = seconds(n)
	}
	return p
}

// readFields reads the members of a JSON object as far as they go: a body cut
// short still tells what came before the cut.
func readFields(body []byte) (map[string]json.RawMessage, bool) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			break
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			break
		}
		fields[name] = value
	}
	return fields, true
}

// text is a member as text, whatever its type: an object keeps its JSON.
func text(raw json.RawMessage) string {
	var s string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &s) == nil:
		return s
	}
	return string(raw)
}

// number is a member as a number, also where it is written as a string; nil
// if it is none, or not one that a count or a time can be.
func number(raw json.RawMessage) *float64 { return parseNumber(text(raw)) }

func parseNumber(s string) *float64 {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || n < 0 || math.IsNaN(n) || n > 1e9 {
		return nil
	}
	return &n
}

func orZero(n *float64) float64 {
	if n == nil {
		return 0
	}
	return *n
}

func seconds(n *float64) time.Duration {
	return time.Duration(orZero(n) * float64(time.Second))
}

// plainText is what a page or a plain reply says, without its markup.
func plainText(contentType string, body []byte) string {
	const enough = 16 << 10
	s := string(body[:min(len(body), enough)])
	media, _, _ := mime.ParseMediaType(contentType)
	if media == "text/html" || strings.HasPrefix(strings.TrimSpace(s), "<") {
		s = html.UnescapeString(withoutTags(s))
	}
	return clean(s, maxWords)
}

// withoutTags is what a reader would see of a page, roughly: for one line of words.
func withoutTags(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte(' ')
		end := ">"
		for _, name := range []string{"script", "style"} {
			if len(rest) >= len(name) && strings.EqualFold(rest[:len(name)], name) {
				end = "</" + name + ">"
			}
		}
		if _, s, found = strings.Cut(rest, end); !found {
			return b.String()
		}
	}
}

// clean makes foreign words fit to be shown: one line, no control or
// invisible characters, at most that many bytes.
func clean(s string, most int) string {
	var b strings.Builder
	space := false
	for _, c := range s {
		switch {
		case unicode.IsSpace(c), unicode.IsControl(c):
			space = b.Len() > 0
			continue
		case unicode.Is(unicode.Cf, c), c == utf8.RuneError:
			continue
		}
		if b.Len()+utf8.RuneLen(c)+len(" …") > most {
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(c)
	}
	return b.String()
}

func statusTitle(status int) string {
	if t := http.StatusText(status); t != "" {
		return strconv.Itoa(status) + " " + t
	}
	return "HTTP status " + strconv.Itoa(status)
}

func readLimits(h http.Header) Limits {
	level := func(suffix string) Level {
		return Level{
			Limit:     parseNumber(h.Get("X-Ratelimit-Limit" + suffix)),
			Remaining: parseNumber(h.Get("X-Ratelimit-Remaining" + suffix)),
			PerSecond: parseNumber(h.Get("X-Ratelimit-Limit-Per-Second" + suffix)),
		}
	}
	return Limits{Requests: level(""), Objects: level("-Objects")}
}

// retryAfter reads both forms. A date counts from the reply's own Date, so
// that this machine's clock does not matter.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n := parseNumber(v); n != nil {
		return seconds(n)
	}
	then, now := date(v), date(h.Get("Date"))
	if then.IsZero() || now.IsZero() || then.Before(now) {
		return 0
	}
	return then.Sub(now)
}

func date(s string) time.Time {
	t, err := http.ParseTime(s)
	if err != nil {
		return time.Time{}
	}
	return t
}
