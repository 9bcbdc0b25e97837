package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
)

// kind sorts errors by what the caller can do about them, not by status: GitHub uses one
// status for several causes, and several for one. [refused] assigns it.
type kind int

const (
	kindOther        kind = iota // refused for good, or our own mistake
	kindNotFound                 // 404, 410, or a 422 that means the same
	kindLimited                  // a primary or secondary rate limit
	kindUnavailable              // 5xx, no answer, or an answer that GitHub did not write
	kindKey                      // GitHub does not accept the App's own signature
	kindInstallation             // the App is not installed here, or it is suspended
	kindPermission               // the installation lacks a permission
)

// Error says what went wrong with one call. Its methods and [IsNotFound], [RetryAfter]
// and [OperatorFault] tell what to do about it. Message is GitHub's text: it never holds
// a key or a token, but only [Error.Public] is meant for people.
type Error struct {
	Op         string        // verb and object, such as "read tree of acme/site"
	Status     int           // HTTP status; 0: no answer
	Message    string        // GitHub's own words, or the network's
	RetryAfter time.Duration // wait at least this long; 0: GitHub named no time

	kind       kind
	permission string // GitHub's X-Accepted-GitHub-Permissions header, sent with a refusal
	err        error  // the cause, for errors.Is; may be nil
}

func (e *Error) Error() string {
	if e.Status == 0 {
		return e.Op + ": " + e.Message
	}
	return fmt.Sprintf("%s: GitHub answered %d: %s", e.Op, e.Status, e.Message)
}

func (e *Error) Unwrap() error { return e.err }

// Public gives words that anybody may read. They name what the reader can do, and leave
// out GitHub's text wherever the cause is known.
func (e *Error) Public() string {
	switch e.kind {
	case kindLimited:
		return "GitHub's rate limit is used up; purgebot continues when GitHub allows it"
	case kindUnavailable:
		return "GitHub does not answer; purgebot tries again"
	case kindKey:
		if clockMessage(e.Message) {
			return "GitHub rejects the App's signature for its time: the operator must set the server's clock (NTP)"
		}
		return "GitHub does not accept the App's key: the operator must check github.app_id and the private key"
	case kindInstallation:
		if strings.Contains(strings.ToLower(e.Message), "suspended") {
			return "the GitHub App's installation is suspended: an owner must unsuspend it"
		}
		return "the GitHub App is not installed on this repository: an owner must install it"
	case kindPermission:
		if e.permission != "" {
			return "the GitHub App lacks a permission (" + e.permission + "): an owner must grant it"
		}
		return "the GitHub App lacks a permission: an owner must grant what the App asks for"
	case kindNotFound, kindOther:
	}
	if e.Status == 0 {
		return "GitHub was not asked: " + e.Message
	}
	return fmt.Sprintf("GitHub answered %d: %s", e.Status, e.Message)
}

// Words gives the public words of an error of a call, and "" for any other error.
func Words(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Public()
	}
	return ""
}

// IsNotFound reports whether GitHub says that the thing is not there. GitHub says the
// same of a repository that the App may not see, and for some seconds of a commit that
// was just pushed. So a not-found alone does not prove absence.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == kindNotFound
}

// RetryAfter reports whether the same call may succeed later: after a rate limit, a 5xx
// or a dropped connection. The duration is what GitHub asks for, at least a second. 0
// means that GitHub named no time, and the caller's own backoff decides.
func RetryAfter(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok || (e.kind != kindLimited && e.kind != kindUnavailable) {
		return 0, false
	}
	return e.RetryAfter, true
}

// OperatorFault reports whether somebody must fix the App's key, its installation or its
// permissions before the call can succeed. It gives public words for that.
func OperatorFault(err error) (words string, ok bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return "", false
	}
	switch e.kind {
	case kindKey, kindInstallation, kindPermission:
		return e.Public(), true
	case kindOther, kindNotFound, kindLimited, kindUnavailable:
	}
	return "", false
}

// errorBodyBytes is how much of an error's body is read: a proxy's page may have any
// size.
const errorBodyBytes = 64 << 10

// secondaryWait is the wait after a secondary limit that names no time. GitHub asks for
// at least a minute.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
const secondaryWait = time.Minute

// refused makes the error of an answer that is not 2xx. It reads the body but leaves
// closing it to the caller.
//
// The order of the cases matters. A rate limit comes first, because GitHub sends it as
// 403 and as 429. The 403s that need the operator follow by their message; a 403 that
// matches none stays kindOther, because waiting will not help.
func refused(op string, resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, errorBodyBytes)) // half a message is better than none
	e := &Error{Op: op, Status: resp.StatusCode, Message: message(resp, body)}
	words := strings.ToLower(e.Message)
	switch status := resp.StatusCode; {
	case limited(resp, words):
		e.kind, e.RetryAfter = kindLimited, limitedFor(resp)
	case status >= 500:
		e.kind, e.RetryAfter = kindUnavailable, retryAfterHeader(resp)
	// For an installation, tokens has already tried a fresh token. So a 401 here is about
	// the App's own key.
	case status == http.StatusUnauthorized:
		e.kind = kindKey
	case status == http.StatusForbidden && strings.Contains(words, "suspended"):
		e.kind = kindInstallation
	case status == http.StatusForbidden && strings.Contains(words, "not accessible by integration"):
		e.kind = kindPermission
		e.permission = strings.TrimSpace(resp.Header.Get("X-Accepted-Github-Permissions"))
	// The App's id does not exist. This must come before the ordinary 404.
	case status == http.StatusNotFound && strings.Contains(words, "integration not found"):
		e.kind = kindKey
	// GitHub answers 422 "No commit found for SHA" where other endpoints answer 404.
	case status == http.StatusNotFound, status == http.StatusGone,
		status == http.StatusUnprocessableEntity && strings.Contains(words, "no commit found"):
		e.kind = kindNotFound
	}
	return e
}

// message is GitHub's text in an error's body: {"message", "errors"}. A body that GitHub
// did not write, such as a proxy's page, is not repeated: it may hold anything.
func message(resp *http.Response, body []byte) string {
	var answer struct {
		Message string          `json:"message"`
		Errors  json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Message == "" {
		return http.StatusText(resp.StatusCode)
	}
	if details := errorDetails(answer.Errors); details != "" {
		answer.Message += " (" + details + ")"
	}
	return shorten(answer.Message)
}

// errorDetails renders the "errors" of an error. Endpoints differ: it is a string, a list
// of strings, or a list of objects with a message or with a field and a code. What has
// none of these forms is left out.
func errorDetails(raw json.RawMessage) string {
	var words string
	if json.Unmarshal(raw, &words) == nil {
		return words
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return ""
	}
	var parts []string
	for _, item := range list {
		var object struct {
			Message string `json:"message"`
			Field   string `json:"field"`
			Code    string `json:"code"`
		}
		switch {
		case json.Unmarshal(item, &words) == nil:
			parts = append(parts, words)
		case json.Unmarshal(item, &object) != nil:
		case object.Message != "":
			parts = append(parts, object.Message)
		case object.Field != "":
			parts = append(parts, object.Field+": "+object.Code)
		}
	}
	return strings.Join(parts, "; ")
}

// shorten bounds a text to 500 bytes. ToValidUTF8 removes a character that the cut split.
func shorten(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// limited tells a rate limit from any other refusal. GitHub sends both kinds of limit as
// 403 and as 429: with retry-after, with x-ratelimit-remaining: 0, or, for some secondary
// limits, with only the message.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
func limited(resp *http.Response, words string) bool {
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return true
	case http.StatusForbidden:
	default:
		return false
	}
	if strings.Contains(words, "not accessible by integration") {
		// This is a missing permission on the call that used up the budget. Remaining is
		// 0 then, but waiting would not help.
		return false
	}
	return resp.Header.Get("Retry-After") != "" ||
		resp.Header.Get("X-Ratelimit-Remaining") == "0" ||
		strings.Contains(words, "rate limit") ||
		strings.Contains(words, "abuse detection")
}

// limitedFor reads how long a rate limit lasts, in the order that GitHub documents:
// retry-after, else the reset of a used-up budget, else a minute.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
func limitedFor(resp *http.Response) time.Duration {
	if d := retryAfterHeader(resp); d > 0 {
		return d
	}
	if resp.Header.Get("X-Ratelimit-Remaining") != "0" {
		return secondaryWait
	}
	reset, err := strconv.ParseInt(resp.Header.Get("X-Ratelimit-Reset"), 10, 64)
	if err != nil {
		return secondaryWait
	}
	now := time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now = date // the reset is in GitHub's time, and our clock may differ
	}
	return bounded(time.Unix(reset, 0).Sub(now))
}

// retryAfterHeader reads Retry-After, in seconds or as a date (RFC 9110, 10.2.3). 0 means
// that there is none; one that cannot be read counts as a minute.
func retryAfterHeader(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if v == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(v); err == nil {
		// The min keeps the multiplication from overflowing.
		return bounded(time.Duration(min(seconds, 1<<20)) * time.Second)
	}
	if at, err := http.ParseTime(v); err == nil {
		return bounded(time.Until(at))
	}
	return secondaryWait
}

// bounded keeps a wait between one second and 65 minutes. GitHub renews the primary
// budget every hour, so a longer wait can only come from a wrong clock or header.
func bounded(d time.Duration) time.Duration {
	return min(max(d, time.Second), 65*time.Minute)
}

// unanswered makes the error of a call that got no answer, or none that could be read.
//
// The order of the cases matters. A refused token and our own refusals arrive wrapped in
// the HTTP client's error and keep their meaning. Then comes the caller's own end of the
// context: it is no trouble of GitHub's, so it must not read as kindUnavailable, which is
// tried again. ctx must be the caller's context, without the attempt's timeout.
func unanswered(ctx context.Context, op string, err error) *Error {
	if e, ok := errors.AsType[*ghinstallation.HTTPError](err); ok && e.RootCause == nil && e.Response != nil {
		return tokenRefused(op, e.Response)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if cause := ctx.Err(); cause != nil { // the caller gave up; GitHub is not at fault
		return &Error{Op: op, Message: context.Cause(ctx).Error(), err: cause}
	}
	if e, ok := errors.AsType[*redirectError](err); ok {
		return &Error{Op: op, Message: e.Error(), err: err}
	}
	return &Error{Op: op, Message: err.Error(), kind: kindUnavailable, err: err}
}

// tokenRefused is the error of an installation token that GitHub would not give. It
// closes the answer's body, because ghinstallation leaves it open. A 404 or 403 here is
// always about the installation, not about the thing that the caller asked for.
func tokenRefused(op string, resp *http.Response) *Error {
	defer func() { _ = resp.Body.Close() }()
	e := refused(op+": get installation token", resp)
	if e.kind == kindNotFound || e.kind == kindPermission || e.Status == http.StatusForbidden && e.kind == kindOther {
		e.kind = kindInstallation
	}
	return e
}

// clockMessage reports whether GitHub rejects the App's JWT because of its times. "iat"
// and "exp" are the claims: GitHub refuses an exp more than 10 minutes ahead of its own
// clock.
func clockMessage(s string) bool {
	s = strings.ToLower(s)
	for _, w := range []string{"'iat'", "'exp'", "issued at", "expiration time"} {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// notJSON is the error of a 2xx whose body cannot be read. It leaves out the body's text,
// which may be anything. It counts as unavailable: a read is tried again.
func notJSON(op string, status int, err error) *Error {
	m := "the answer can't be read as JSON"
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		m = "the answer is cut off"
	}
	if errors.Is(err, errTooLong) {
		m = errTooLong.Error()
	}
	return &Error{Op: op, Status: status, Message: m, kind: kindUnavailable, err: err}
}
