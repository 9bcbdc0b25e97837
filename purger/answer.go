package purger

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Verdict says what an answer means for the objects that were sent.
type Verdict string

// The verdicts. The four from BadCredentials on are not about the objects. An operator
// must fix something, and until then Akamai accepts nothing from this client.
const (
	// Accepted: Akamai has the purge (201). It is queued, but not done yet.
	Accepted Verdict = "accepted"
	// Limited: the account has used up its budget (429), or Akamai asks for less (507).
	// Send the objects again later, or fewer of them.
	// https://techdocs.akamai.com/purge-cache/reference/429
	Limited Verdict = "limited"
	// Refused: Akamai refuses an object (400, 403). It then refuses the whole request.
	// Offender names the object if Akamai did.
	// https://techdocs.akamai.com/purge-cache/reference/api-errors
	Refused Verdict = "refused"
	// TooLarge: the body is longer than MaxBody (413). Send fewer objects.
	// https://techdocs.akamai.com/purge-cache/reference/413
	TooLarge Verdict = "too large"
	// Unavailable: 5xx, 408, or no answer at all. Send the same again later.
	Unavailable Verdict = "unavailable"

	// BadCredentials: Akamai does not accept the tokens or the signature (401).
	// https://techdocs.akamai.com/purge-cache/reference/401
	BadCredentials Verdict = "bad credentials"
	// ClockSkew: this machine's clock is more than 30 s off. Akamai answers 400 to that,
	// not 401.
	ClockSkew Verdict = "clock skew"
	// NoGrant: the API client may not purge, or the host is not for purging.
	// https://techdocs.akamai.com/purge-cache/reference/403
	NoGrant Verdict = "no grant"
	// NotServed: something other than the purge API answers at this address: a redirect,
	// a 404 or 405, or a page in the place of a 201.
	NotServed Verdict = "not served"
)

// Paused says whether sending should stop until an operator has fixed something.
func (v Verdict) Paused() bool {
	switch v {
	case BadCredentials, ClockSkew, NoGrant, NotServed:
		return true
	case Accepted, Limited, Refused, TooLarge, Unavailable:
	}
	return false
}

// Answer says what became of one attempt. Which fields are set depends on the Verdict; a
// field that Akamai left out is zero.
type Answer struct {
	Verdict Verdict
	Status  int // HTTP; 0: there was no answer

	PurgeID   string        // with Accepted; Akamai may leave it out
	SupportID string        // Akamai's support asks for it
	Estimated time.Duration // until the purge is done; DefaultEstimate if Akamai gives none

	// Title and Detail are Akamai's own words, on one line, without control characters,
	// at most maxWords bytes each. If the reply has no words, they say what came instead.
	// They may quote anything that was sent, so they are not trusted text.
	Title, Detail string

	// Offender is the one object of the request that the answer names as the reason of a
	// refusal. It is empty if the answer names none, or none that was sent.
	Offender string

	Limits     Limits
	RetryAfter time.Duration // 0: absent; at most MaxWait. Akamai does not document that it sends one
	ServerTime time.Time     // the Date header; zero: absent

	Lost bool  // there was no answer, but Akamai may have accepted the request
	Err  error // why there was no answer; nil if there was one

	way       wayIn         // how the client signed in, to explain a refusal of it
	ccu       bool          // the purge service wrote the reply, not a gateway or a proxy
	progress  string        // v2: where to ask whether it is done
	pingAfter time.Duration // v2: how long to wait before asking there
}

// shortOfRequests says whether a Limited answer is about the bucket of requests rather
// than the bucket of objects.
func (a Answer) shortOfRequests() bool {
	left := a.Limits.Requests.Remaining
	return left != nil && *left < 1
}

// DefaultEstimate is assumed if Akamai gives no estimate. It is also the estimate in
// Akamai's own examples.
const DefaultEstimate = 5 * time.Second

// Words are the title and the detail on one line, for people.
func (a Answer) Words() string {
	switch {
	case a.Detail == "", a.Detail == a.Title:
		return a.Title
	case a.Title == "":
		return a.Detail
	}
	return a.Title + ": " + a.Detail
}

// wayIn says how a client signs in, as far as that can cause a refusal.
type wayIn struct {
	basic   bool   // by a user and a password instead of EdgeGrid
	account string // the account switch key; "": the client's own account
}

// Explain says what an answer that pauses means and what the operator should do, together
// with Akamai's words.
func (a Answer) Explain() string {
	switch a.Verdict {
	case BadCredentials:
		if a.way.basic {
			return "Akamai does not accept the user and password of CCU v2 (" + a.Words() + "); check PURGEBOT_AKAMAI_CCU_USER and PURGEBOT_AKAMAI_CCU_PASSWORD"
		}
		return "Akamai does not accept the credentials (" + a.Words() + "); check the client and access tokens and the secret"
	case ClockSkew:
		return "this machine's clock differs from Akamai's by more than 30 s (" + a.Words() + a.skew() + "); set it"
	case NoGrant:
		switch {
		case a.way.basic:
			return "the user of CCU v2 may not purge (" + a.Words() + "); give the user that right in Akamai Control Center"
		case a.way.account != "":
			return fmt.Sprintf("the API client may not act on the account %q (%s); check the account switch key, and that the client may switch to that account and has the API \"CCU APIs\" there",
				clean(a.way.account, 100), a.Words())
		}
		return "the API client may not purge (" + a.Words() + "); give it access to the API \"CCU APIs\" in Akamai Control Center, and use the host that belongs to it"
	case NotServed:
		return "what answers at this address is not Akamai's purge API (" + a.Words() + "); check the host"
	case Accepted, Limited, Refused, TooLarge, Unavailable:
	}
	return a.Words()
}

// skew tells Akamai's time, so that the operator can compare it.
func (a Answer) skew() string {
	if a.ServerTime.IsZero() {
		return ""
	}
	return ", its clock says " + a.ServerTime.UTC().Format(time.RFC3339)
}

// Receipt identifies an accepted request, for later questions to the API or to Akamai's
// support.
type Receipt struct {
	PurgeID   string // "" if Akamai gave none
	SupportID string
	Objects   int // how many
	Estimated time.Duration
	At        time.Time // when it was accepted, by this machine's clock

	ProgressURI string // CCU v2: where to ask how far it is, see [V2.Progress]; Fast Purge has none
	pingAfter   time.Duration
}

// Receipt takes from an accepted answer what is worth keeping.
func (a Answer) Receipt(objects int, now time.Time) Receipt {
	return Receipt{
		PurgeID: a.PurgeID, SupportID: a.SupportID, Objects: objects, Estimated: a.Estimated, At: now,
		ProgressURI: a.progress, pingAfter: a.pingAfter,
	}
}

// classify reads a reply. It is pure and total: every combination of status, header and
// body has a verdict. The status decides, never the media type: Akamai's own descriptions
// disagree about the media types of errors.
// https://techdocs.akamai.com/purge-cache/reference/api-errors
func classify(r Request, status int, header http.Header, body []byte) Answer {
	p := readProblem(header.Get("Content-Type"), body)
	a := Answer{
		Status:     status,
		Title:      p.title,
		Detail:     clean(p.detail, maxWords),
		SupportID:  p.supportID,
		Limits:     readLimits(header),
		RetryAfter: min(retryAfter(header), MaxWait),
		ServerTime: date(header.Get("Date")),
		ccu:        p.httpStatus != 0,
	}
	if a.Title == "" && status != http.StatusCreated {
		a.Title = statusTitle(status)
	}
	a.Verdict = verdict(status, p)
	switch a.Verdict {
	case Accepted:
		a.PurgeID, a.Estimated = p.purgeID, p.estimated
		a.progress, a.pingAfter = p.progress, p.pingAfter
	case Limited:
		p.limit(&a.Limits)
	case Refused:
		a.Offender = offender(p, r)
	case TooLarge, Unavailable, BadCredentials, ClockSkew, NoGrant, NotServed:
	}
	return a
}

// verdict says what a status means for the request. Akamai documents only few statuses.
// The others come from gateways and proxies on the way; RFC 9110 tells whether such a
// status means "later", "never" or "not here". If the purge API did not answer, nothing
// counts as purged.
func verdict(status int, p problem) Verdict {
	switch status {
	case http.StatusCreated:
		return Accepted
	// 507 was the rate limit of early versions of the API. Whether Akamai still sends it
	// is not confirmed.
	case http.StatusTooManyRequests, http.StatusInsufficientStorage:
		return Limited
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return refusal(status, p)
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return Unavailable
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone,
		http.StatusLengthRequired, http.StatusUnsupportedMediaType, http.StatusExpectationFailed, http.StatusMisdirectedRequest:
		return NotServed
	}
	switch {
	case status >= 500:
		return Unavailable
	case status >= 400:
		return Refused
	// A proxy may change the status. The body of a real acceptance says 201 itself.
	case status >= 200 && status < 300 && p.httpStatus == http.StatusCreated:
		return Accepted
	}
	return NotServed
}

// refusal tells the gateway's refusals of the client from the purge service's refusals of
// objects. The gateway uses other field names and phrases of its own. These phrases have
// been seen under several statuses, so the phrases come before the status.
//
// A 403 of the gateway without a known phrase is about the client, never about an object:
// to fail the objects then would drop purges that are in order.
func refusal(status int, p problem) Verdict {
	switch {
	case p.says("Invalid timestamp"):
		return ClockSkew
	case p.says("Invalid nonce"):
		return Unavailable // the next attempt has another
	case status == http.StatusUnauthorized, p.says("Invalid client token"), p.says("Inactive client token"),
		p.says("Invalid access token"), p.says("Invalid authorization client token"), p.says("Invalid authorization access token"),
		p.says("The signature does not match"):
		return BadCredentials
	case p.says("Invalid endpoint"), p.says("The client does not have the grant"), strings.Contains(p.kind, "/pep-authz/"):
		return NoGrant
	case status == http.StatusForbidden && p.gateway():
		return NoGrant
	case strings.Contains(p.kind, "/pep-authn/"):
		return BadCredentials
	}
	return Refused
}

// offender is the object that the answer names: the detail is that object, or has it in
// quotes. If it could be several objects, it is none, since a wrong guess would drop a
// good object. For a host that is called malformed it is the first object with that host.
func offender(p problem, r Request) string {
	named := ""
	for _, object := range r.Objects {
		switch {
		case p.detail == object:
			return object
		case quotes(p.detail, object):
			if named != "" && named != object {
				return ""
			}
			named = object
		}
	}
	if named != "" || !strings.Contains(strings.ToLower(p.title), "hostname") {
		return named
	}
	for _, object := range r.Objects {
		if host := writtenHost(object); host != "" && quotes(strings.ToLower(p.detail), host) {
			return object
		}
	}
	return ""
}

// quotes says whether a text has a part in single or double quotes.
func quotes(s, part string) bool {
	return strings.Contains(s, part) && (strings.Contains(s, "'"+part+"'") || strings.Contains(s, `"`+part+`"`))
}

// writtenHost is the text in the place of a URL's host, in lower case. Akamai quotes it
// when it is not a valid host, so it is not parsed as one.
func writtenHost(named string) string {
	_, rest, _ := strings.Cut(named, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return strings.ToLower(rest)
}
