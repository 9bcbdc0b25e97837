package purger

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Verdict is what an answer means for the objects that were sent.
type Verdict string

// The verdicts. The four from BadCredentials on are nobody's objects' fault:
// an operator mends them, and until then nothing else will be accepted.
const (
	// Accepted: Akamai has the purge (201). It is queued, not yet done.
	Accepted Verdict = "accepted"
	// Limited: the account's budget is used up (429), or Akamai pushes back
	// (507). Send again, later or less.
	Limited Verdict = "limited"
	// Refused: something about the objects (400, 403). All were refused, even
	// if one is at fault; Offender names it where Akamai did.
	Refused Verdict = "refused"
	// TooLarge: the body has more than MaxBody bytes (413). Send less.
	TooLarge Verdict = "too large"
	// Unavailable: 5xx, 408, or no answer at all. Send again, later.
	Unavailable Verdict = "unavailable"

	// BadCredentials: Akamai does not know the tokens or the signature (401).
	BadCredentials Verdict = "bad credentials"
	// ClockSkew: this machine's clock is more than 30 s off.
	ClockSkew Verdict = "clock skew"
	// NoGrant: the API client may not purge, or its host is not for it.
	NoGrant Verdict = "no grant"
	// NotServed: what answers at this address is not the purge API: a
	// redirect, 404, 405, a page where a 201 belongs.
	NotServed Verdict = "not served"
)

// Paused says whether sending should stop until an operator mended something.
func (v Verdict) Paused() bool {
	switch v {
	case BadCredentials, ClockSkew, NoGrant, NotServed:
		return true
	case Accepted, Limited, Refused, TooLarge, Unavailable:
	}
	return false
}

// Answer is what became of one attempt.
type Answer struct {
	Verdict Verdict
	Status  int // HTTP; 0 if there was no answer

	PurgeID   string        // where accepted; Akamai may leave it out
	SupportID string        // quote it to Akamai's support
	Estimated time.Duration // until the purge is done; DefaultEstimate if Akamai does not say

	// Title and Detail are Akamai's own words, on one line, without control
	// characters, at most maxWords bytes each. Where the reply has no words,
	// they say what came instead.
	Title, Detail string

	// Offender is the one object of the request that the answer names as the
	// reason of a refusal; empty if it names none, or none that was sent.
	Offender string

	Limits     Limits
	RetryAfter time.Duration // Akamai is not known to send it; 0 if absent, at most MaxWait
	ServerTime time.Time     // the Date header; zero if absent

	Lost bool  // no answer, but Akamai may have the request and may have accepted it
	Err  error // why there was no answer

	way       wayIn  // how the client had signed in, for what hinders it
	ccu       bool   // the reply has the form of the purge service, not of a gateway or a page
	progress  string // v2: where to ask whether it is done
	pingAfter time.Duration
}

// shortOfRequests says whether a Limited answer is about the bucket of the
// requests, rather than that of their objects.
func (a Answer) shortOfRequests() bool {
	left := a.Limits.Requests.Remaining
	return left != nil && *left < 1
}

// DefaultEstimate is assumed where Akamai gives no estimate.
const DefaultEstimate = 5 * time.Second

// Words are title and detail in one line for people.
func (a Answer) Words() string {
	switch {
	case a.Detail == "", a.Detail == a.Title:
		return a.Title
	case a.Title == "":
		return a.Detail
	}
	return a.Title + ": " + a.Detail
}

// wayIn is how a client signs in, as far as a refusal may be due to it.
type wayIn struct {
	basic   bool   // with a user and a password, not with EdgeGrid
	account string // the account switch key
}

// Explain says what an answer that pauses means and what to do about it, with
// Akamai's words.
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

func (a Answer) skew() string {
	if a.ServerTime.IsZero() {
		return ""
	}
	return ", its clock says " + a.ServerTime.UTC().Format(time.RFC3339)
}

// Receipt is an accepted request.
type Receipt struct {
	PurgeID   string
	SupportID string
	Objects   int
	Estimated time.Duration
	At        time.Time // when it was accepted

	ProgressURI string // CCU v2: where to ask how far it is, see [V2.Progress]; "" with Fast Purge
	pingAfter   time.Duration
}

// Receipt keeps of an accepted answer what is worth keeping.
func (a Answer) Receipt(objects int, now time.Time) Receipt {
	return Receipt{
		PurgeID: a.PurgeID, SupportID: a.SupportID, Objects: objects, Estimated: a.Estimated, At: now,
		ProgressURI: a.progress, pingAfter: a.pingAfter,
	}
}

// classify reads a reply. It is pure, and total: every combination of status,
// header and body has a verdict. Status decides, never the media type, which
// Akamai's own descriptions disagree on.
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

// verdict tells what a status means for the request. Akamai's documentation names few
// of them; the others come from gateways and proxies on the way, and whether those say
// "later", "never" or "not here" is decided by what RFC 9110 says of the status. What is
// no answer of the purge API counts as nothing that was purged.
func verdict(status int, p problem) Verdict {
	switch status {
	case http.StatusCreated:
		return Accepted
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
	case status >= 200 && status < 300 && p.httpStatus == http.StatusCreated:
		return Accepted
	}
	return NotServed
}

// refusal tells the gateway's refusals of the client from CCU's refusals of
// objects. The gateway's have other field names, and phrases of their own,
// which have been seen under several statuses.
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

// offender is the object that the answer names: the detail is that object, or
// has it in quotes. If it could be several, it is none. A host that is called
// malformed names the first object that has it.
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

func quotes(s, part string) bool {
	return strings.Contains(s, part) && (strings.Contains(s, "'"+part+"'") || strings.Contains(s, `"`+part+`"`))
}

// writtenHost is what stands where a URL's host belongs, in lower case: Akamai
// quotes it because it is none.
func writtenHost(named string) string {
	_, rest, _ := strings.Cut(named, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return strings.ToLower(rest)
}
