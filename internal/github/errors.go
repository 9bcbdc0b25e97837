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

type kind int

const (
	kindOther        kind = iota
	kindNotFound          // 404, 410, or a 422 that means the same
	kindLimited           // a primary or secondary rate limit
	kindUnavailable       // 5xx, no answer, or an answer that is not GitHub's
	kindKey               // GitHub does not accept the App's own signature
	kindInstallation      // the App is not installed, or suspended
	kindPermission        // the installation lacks a permission
)

// Error is what went wrong with one call. Ask it with [IsNotFound],
// [RetryAfter] and [OperatorFault].
type Error struct {
	Op         string        // verb and object, as "read tree of acme/site"
	Status     int           // HTTP status; 0: no answer
	Message    string        // GitHub's own words, or the network's
	RetryAfter time.Duration // at least so long; 0: GitHub named no time

	kind       kind
	permission string // GitHub's X-Accepted-GitHub-Permissions, at a refusal
	err        error
}

func (e *Error) Error() string {
	if e.Status == 0 {
		return e.Op + ": " + e.Message
	}
	return fmt.Sprintf("%s: GitHub answered %d: %s", e.Op, e.Status, e.Message)
}

func (e *Error) Unwrap() error { return e.err }

// Public gives words that anybody may read.
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

// Words are what anybody may read of an error of a call; "" of any other.
func Words(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Public()
	}
	return ""
}

// IsNotFound reports whether GitHub says that the thing asked for is not
// there. GitHub says the same of a repository that the App may not see.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == kindNotFound
}

// RetryAfter reports whether the same call may succeed later: a rate limit, a
// 5xx, a dropped connection. The time is what GitHub asks for, at least a
// second; 0 means that it named none and the caller's own backoff decides.
func RetryAfter(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok || (e.kind != kindLimited && e.kind != kindUnavailable) {
		return 0, false
	}
	return e.RetryAfter, true
}

// OperatorFault reports whether somebody must mend the App's key, its
// installation or its permissions before the call can succeed, in public words.
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

// errorBodyBytes is as much of an error's body as is read.
const errorBodyBytes = 64 << 10

// secondaryWait is what GitHub's best practices prescribe for a secondary
// limit that names no time: at least a minute.
const secondaryWait = time.Minute

// refused makes the error of an answer that is not 2xx, and reads its body.
func refused(op string, resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, errorBodyBytes)) // half a message is better than none
	e := &Error{Op: op, Status: resp.StatusCode, Message: message(resp, body)}
	words := strings.ToLower(e.Message)
	switch status := resp.StatusCode; {
	case limited(resp, words):
		e.kind, e.RetryAfter = kindLimited, limitedFor(resp)
	case status >= 500:
		e.kind, e.RetryAfter = kindUnavailable, retryAfterHeader(resp)
	case status == http.StatusUnauthorized:
		e.kind = kindKey
	case status == http.StatusForbidden && strings.Contains(words, "suspended"):
		e.kind = kindInstallation
	case status == http.StatusForbidden && strings.Contains(words, "not accessible by integration"):
		e.kind = kindPermission
		e.permission = strings.TrimSpace(resp.Header.Get("X-Accepted-Github-Permissions"))
	case status == http.StatusNotFound && strings.Contains(words, "integration not found"):
		e.kind = kindKey
	case status == http.StatusNotFound, status == http.StatusGone,
		status == http.StatusUnprocessableEntity && strings.Contains(words, "no commit found"):
		e.kind = kindNotFound
	}
	return e
}

// message is what GitHub says in an error's body: {"message", "errors"}. A
// body that is not GitHub's (a proxy's page) is not repeated.
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

// errorDetails renders an error's "errors": a string, or a list of strings or
// of objects with a message, or with a field and a code.
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

func shorten(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// limited tells a rate limit from a refusal. GitHub sends both kinds of limit
// as 403 and as 429, with retry-after, with x-ratelimit-remaining: 0, or, for
// some secondary limits, with nothing but the message.
func limited(resp *http.Response, words string) bool {
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return true
	case http.StatusForbidden:
	default:
		return false
	}
	if strings.Contains(words, "not accessible by integration") {
		return false // the budget's last call was one too many for other reasons
	}
	return resp.Header.Get("Retry-After") != "" ||
		resp.Header.Get("X-Ratelimit-Remaining") == "0" ||
		strings.Contains(words, "rate limit") ||
		strings.Contains(words, "abuse detection")
}

// limitedFor reads how long a rate limit lasts, in the order of GitHub's
// documentation: retry-after, else the reset of a used-up budget, else a minute.
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
		now = date // the reset is told by GitHub's clock, not ours
	}
	return bounded(time.Unix(reset, 0).Sub(now))
}

func retryAfterHeader(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if v == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(v); err == nil {
		return bounded(time.Duration(min(seconds, 1<<20)) * time.Second)
	}
	if at, err := http.ParseTime(v); err == nil {
		return bounded(time.Until(at))
	}
	return secondaryWait
}

// bounded keeps a wait between a second and a little over the hour in which
// GitHub renews every budget.
func bounded(d time.Duration) time.Duration {
	return min(max(d, time.Second), 65*time.Minute)
}

// unanswered makes the error of a call that got no answer, or none that could
// be read.
func unanswered(ctx context.Context, op string, err error) *Error {
	if e, ok := errors.AsType[*ghinstallation.HTTPError](err); ok && e.RootCause == nil && e.Response != nil {
		return tokenRefused(op, e.Response)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if cause := ctx.Err(); cause != nil { // the caller's own end, not GitHub's trouble
		return &Error{Op: op, Message: context.Cause(ctx).Error(), err: cause}
	}
	if e, ok := errors.AsType[*redirectError](err); ok {
		return &Error{Op: op, Message: e.Error(), err: err}
	}
	return &Error{Op: op, Message: err.Error(), kind: kindUnavailable, err: err}
}

// tokenRefused is the error of an installation token that GitHub would not
// give. ghinstallation leaves the answer's body open.
func tokenRefused(op string, resp *http.Response) *Error {
	defer func() { _ = resp.Body.Close() }()
	e := refused(op+": get installation token", resp)
	if e.kind == kindNotFound || e.kind == kindPermission || e.Status == http.StatusForbidden && e.kind == kindOther {
		e.kind = kindInstallation
	}
	return e
}

func clockMessage(s string) bool {
	s = strings.ToLower(s)
	for _, w := range []string{"'iat'", "'exp'", "issued at", "expiration time"} {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// notJSON hides the answer's text, which may be anything.
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
