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

// maxWords is how many bytes of Akamai's words are kept. An answer may repeat an object
// of up to 50,000 bytes.
const maxWords = 500

// problem is the body of a reply, in any of its forms. The purge service's own has
// httpStatus and supportId, in an error and in a success. The EdgeGrid gateway's has
// status, type and requestId. Of anything else the text is in detail. A field that is
// missing is zero or nil.
// https://techdocs.akamai.com/purge-cache/reference/api-errors
type problem struct {
	title, detail string
	kind          string // "type"; only from the gateway
	httpStatus    int    // only from the purge service
	status        int    // only from the gateway
	supportID     string // from the gateway: its requestId
	purgeID       string
	estimated     time.Duration // DefaultEstimate if it is missing

	rateLimit, rateLimitRemaining, requestSize *float64

	progress  string        // CCU v2
	pingAfter time.Duration // CCU v2
}

// gateway says whether the EdgeGrid gateway wrote the reply: the request never reached
// the purge service.
func (p problem) gateway() bool { return p.status != 0 && p.httpStatus == 0 }

// says whether the reply's title or detail begins with the phrase. A phrase further on
// does not count: it may be a part of an object that the reply quotes.
func (p problem) says(phrase string) bool {
	begins := func(s string) bool {
		return len(s) >= len(phrase) && strings.EqualFold(s[:len(phrase)], phrase)
	}
	return begins(p.title) || begins(p.detail)
}

// limit puts the numbers of a 429's body where they belong. The title says which of the
// two buckets was short: "Rate Limit exceeded" is about requests, while the titles for
// objects name their kind first.
// https://techdocs.akamai.com/purge-cache/reference/rate-limit-response-examples
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

// readProblem reads a reply's body in any of the forms that Akamai's services give it,
// and the text of a page that has none of them. A number that is missing is nil, not 0:
// "0 tokens left" and "not told" lead to different decisions.
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

// readFields reads the members of a JSON object as far as they go. A body that was cut
// short still tells what came before the cut. ok is false if the body is no JSON object.
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

// text is a member as text, whatever its type. An object or list keeps its JSON.
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

// number is a member as a number, even if it is written as a string. It is nil if it is
// no number, or none that a count or a time can be.
func number(raw json.RawMessage) *float64 { return parseNumber(text(raw)) }

// parseNumber accepts decimals: Akamai's headers have them. Negative and huge values are
// nil.
func parseNumber(s string) *float64 {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || n < 0 || math.IsNaN(n) || n > 1e9 {
		return nil
	}
	return &n
}

// orZero is for numbers whose absence means the same as 0.
func orZero(n *float64) float64 {
	if n == nil {
		return 0
	}
	return *n
}

func seconds(n *float64) time.Duration {
	const most = 24 * 60 * 60 // beyond it nobody waits, and far beyond it a Duration overflows
	return time.Duration(min(max(orZero(n), 0), most) * float64(time.Second))
}

// plainText is the text of a page or of a plain reply, without markup. It reads the first
// 16 KiB only.
func plainText(contentType string, body []byte) string {
	const enough = 16 << 10
	s := string(body[:min(len(body), enough)])
	media, _, _ := mime.ParseMediaType(contentType)
	if media == "text/html" || strings.HasPrefix(strings.TrimSpace(s), "<") {
		s = html.UnescapeString(withoutTags(s))
	}
	return clean(s, maxWords)
}

// withoutTags is roughly what a reader sees of a page. It drops the content of scripts
// and styles. The result is good enough for one line of words, not as safe HTML.
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

// clean makes foreign words fit to be shown: on one line, without control or invisible
// characters, at most that many bytes. Such characters could forge a line in a log or
// change what a terminal shows.
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

// readLimits reads the headers about the budget. Akamai sends them with a 201 and with a
// 429.
// https://techdocs.akamai.com/purge-cache/reference/rate-limit-response-examples
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

// retryAfter reads both forms of Retry-After. A date counts from the reply's own Date, so
// this machine's clock does not matter.
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

// date reads a date of HTTP. It is zero if there is none.
func date(s string) time.Time {
	t, err := http.ParseTime(s)
	if err != nil {
		return time.Time{}
	}
	return t
}
