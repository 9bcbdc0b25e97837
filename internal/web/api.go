package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// OperatorToken derives the API's token from a webhook secret. An operator who has the
// server's configuration has the token; no other secret must be stored or handed out.
// Nobody can read the token off a webhook: GitHub signs JSON with the same secret, and
// the label that is signed here is not JSON.
func OperatorToken(secret string) string {
	const label = "purgebot operator api v1"
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(label))
	return hex.EncodeToString(mac.Sum(nil))
}

// operation is one operation of the API. do answers with a document or an error.
type operation struct {
	method, path string
	do           func(*http.Request) (any, error)
}

// operations are all operations of the API. docs/openapi.yaml describes each, and a test
// compares the two.
func (w *Web) operations() []operation {
	return []operation{
		{http.MethodGet, "/api/status", w.status},
		{http.MethodGet, "/api/queue", w.queue},
		{http.MethodGet, "/api/failed", w.refused},
		{http.MethodGet, "/api/purges/{id}", w.purgeDetail},
		{http.MethodPost, "/api/purges/{id}/retry", w.retry},
		{http.MethodPost, "/api/purges/{id}/release", w.release},
		{http.MethodPost, "/api/purges/{id}/cancel", w.cancel},
		{http.MethodGet, "/api/pauses", w.pauses},
		{http.MethodPost, "/api/pauses", w.pause},
		{http.MethodPost, "/api/pauses/resume", w.resume},
		{http.MethodPost, "/api/deliveries/{id}/replay", w.replay},
	}
}

// admit lets only the operator in. It answers before the path is looked at, so that
// nobody else learns which paths exist. It also refuses requests that a browser sends on
// behalf of another site.
func (w *Web) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !w.authentic(c.Request()) {
			c.Response().Header().Set("WWW-Authenticate", `Bearer realm="purgebot"`)
			return w.refuse(c, problem(http.StatusUnauthorized, "the operator's token is missing or wrong: "+
				"purgebot's commands make it from github.webhook_secrets, which must be those of this server"))
		}
		if err := w.origin.Check(c.Request()); err != nil {
			return w.refuse(c, problem(http.StatusForbidden, "a page of another site may not do this"))
		}
		return next(c)
	}
}

// authentic compares a request's token with that of each secret. It compares with all of
// them in constant time, so that the time taken tells nothing about a token.
func (w *Web) authentic(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	good := false
	for _, secret := range w.Secrets() {
		// "|| good" comes last: hmac.Equal must run for each secret, even after a match.
		// An empty secret never matches.
		good = secret != "" && hmac.Equal([]byte(strings.TrimSpace(token)), []byte(OperatorToken(secret))) || good
	}
	return good && strings.EqualFold(scheme, "Bearer")
}

const (
	apiTime    = 30 * time.Second // for one answer; cmd/purgebot waits longer than that
	maxAskBody = 4 << 10          // most bytes of a request's body
)

// answers turns a function that returns a document or an error into a handler. It bounds
// the time and the size of the body.
func (w *Web) answers(do func(*http.Request) (any, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), apiTime)
		defer cancel()
		r := c.Request().WithContext(ctx)
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxAskBody)
		r.SetPathValue("id", c.Param("id"))
		doc, err := do(r)
		if err != nil {
			return w.refuse(c, err)
		}
		writeJSON(c.Response(), http.StatusOK, doc)
		return nil
	}
}

// refuse writes an error as JSON: its public words, or that the log has it.
func (w *Web) refuse(c echo.Context, err error) error {
	code, words := w.explain(c, err)
	writeJSON(c.Response(), code, Problem{words})
	return nil
}

// writeJSON writes a document, which no cache may keep.
func writeJSON(w http.ResponseWriter, code int, doc any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(doc) // the client has gone: nobody is left to tell
}

// theOperator stands for the actor if a request names nobody.
const theOperator = "the operator"

// readAsk reads the actor and, for a retry, the reason from a request's body. The body
// may be empty.
func readAsk(r *http.Request) (ask Ask, err error) {
	if err := body(r, &ask, `{"by": "NAME"}, or of a retry {"by": "NAME", "reason": "WORDS"}`); err != nil {
		return ask, err
	}
	ask.By, err = nameOf(ask.By)
	return ask, err
}

// body decodes a request's body into a document. An empty body leaves it unchanged. A
// body that does not fit is answered with the form that is wanted. An unknown field is a
// fault: a misspelt one would widen what the request does.
func body(r *http.Request, into any, form string) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		_, err = d.Token() // io.EOF, or something follows the document
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", large.Limit)
	}
	if !errors.Is(err, io.EOF) {
		return problem(http.StatusBadRequest, "the body is not %s", form)
	}
	return nil
}

// nameOf checks a name that commit statuses and pages will show; "" becomes [theOperator].
func nameOf(by string) (string, error) {
	const longest = 60
	by = strings.TrimSpace(by)
	if by == "" {
		return theOperator, nil
	}
	if len(by) > longest || !oneLine(by) {
		return "", problem(http.StatusBadRequest, "by must be a name of at most %d bytes on one line", longest)
	}
	return by, nil
}

// oneLine reports whether a text has no control characters and is valid UTF-8, so that a
// commit status can show it.
func oneLine(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
