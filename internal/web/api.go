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

// OperatorToken derives the token that the API asks for from a webhook
// secret: whoever has the server's configuration has it, and nothing more
// needs to be kept or handed out. It can't be read off a webhook: GitHub
// signs JSON, which this label is not.
func OperatorToken(secret string) string {
	const label = "purgebot operator api v1"
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(label))
	return hex.EncodeToString(mac.Sum(nil))
}

// operation is one of the API: it answers with a document, or an error.
type operation struct {
	method, path string
	do           func(*http.Request) (any, error)
}

// operations are all there are: JSON, described in docs/openapi.yaml.
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

// admit lets the operator in, and nobody else: not even to learn which paths
// there are.
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

// authentic compares with every token, in a time that tells nothing of them.
func (w *Web) authentic(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	good := false
	for _, secret := range w.Secrets() {
		good = secret != "" && hmac.Equal([]byte(strings.TrimSpace(token)), []byte(OperatorToken(secret))) || good
	}
	return good && strings.EqualFold(scheme, "Bearer")
}

const (
	apiTime    = 30 * time.Second // for one answer
	maxAskBody = 4 << 10          // bytes of a request's body
)

// answers makes a handler of what gives a document or an error.
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

// refuse writes an error: its public words, or that the log has it.
func (w *Web) refuse(c echo.Context, err error) error {
	code, words := w.explain(c, err)
	writeJSON(c.Response(), code, Problem{words})
	return nil
}

func writeJSON(w http.ResponseWriter, code int, doc any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(doc) // who went away can't be told
}

// whoever is who acts where nobody is named.
const whoever = "the operator"

// readAsk reads who acts, and of a retry for what reason, out of a request's body;
// there may be none.
func readAsk(r *http.Request) (ask Ask, err error) {
	if err := body(r, &ask, `{"by": "NAME"}, or of a retry {"by": "NAME", "reason": "WORDS"}`); err != nil {
		return ask, err
	}
	ask.By, err = nameOf(ask.By)
	return ask, err
}

// body reads a request's body, if there is one, into a document of a form.
func body(r *http.Request, into any, form string) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		_, err = d.Token() // nothing may follow
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", large.Limit)
	}
	if !errors.Is(err, io.EOF) {
		return problem(http.StatusBadRequest, "the body is not %s", form)
	}
	return nil
}

// nameOf checks a name that goes into statuses and pages.
func nameOf(by string) (string, error) {
	const longest = 60
	by = strings.TrimSpace(by)
	if by == "" {
		return whoever, nil
	}
	if len(by) > longest || !oneLine(by) {
		return "", problem(http.StatusBadRequest, "by must be a name of at most %d bytes on one line", longest)
	}
	return by, nil
}

// oneLine reports whether a text can stand in a status.
func oneLine(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
