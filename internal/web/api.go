package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
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

// APIConfig is what the API needs.
type APIConfig struct {
	Store   *store.Store
	Secrets []string // the webhook's; the token of each is good

	// Judge judges the targets of a purge of a repository, OWNER/NAME, by the
	// policy of this moment.
	Judge func(repository string, p ledger.Purge) store.Judge

	// Act does a deed with a purge of a repository, and gives how many targets
	// a retry freed; its errors are the store's.
	Act func(ctx context.Context, repository string, deed store.Deed, act store.Act, judge store.Judge) (freed int, err error)

	PublicURL string // of the pages that purges link to, without a slash at its end
	Now       func() time.Time
	Log       *slog.Logger
}

// API is what the operator asks and tells a running server: JSON under /api/,
// described in docs/openapi.yaml. All of it needs the operator's token.
type API struct {
	APIConfig
	tokens [][]byte
	mux    *http.ServeMux
	origin *http.CrossOriginProtection
}

// NewAPI makes the API. It starts nothing.
func NewAPI(cfg APIConfig) *API {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{APIConfig: cfg, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection()}
	for _, secret := range cfg.Secrets {
		if secret != "" {
			a.tokens = append(a.tokens, []byte(OperatorToken(secret)))
		}
	}
	for _, r := range a.routes() {
		a.mux.Handle(r.method+" "+r.path, a.answers(r.do))
	}
	a.mux.Handle("/", a.answers(func(r *http.Request) (any, error) {
		return nil, problem(http.StatusNotFound, "there is no %s %s; docs/openapi.yaml lists what there is", r.Method, r.URL.Path)
	}))
	return a
}

// apiRoute is one operation: it answers with a document, or an error.
type apiRoute struct {
	method, path string
	do           func(*http.Request) (any, error)
}

func (a *API) routes() []apiRoute {
	return []apiRoute{
		{http.MethodGet, "/api/status", a.status},
		{http.MethodGet, "/api/queue", a.queue},
		{http.MethodGet, "/api/purges/{id}", a.purge},
		{http.MethodPost, "/api/purges/{id}/retry", a.retry},
		{http.MethodPost, "/api/purges/{id}/release", a.release},
		{http.MethodPost, "/api/purges/{id}/cancel", a.cancel},
	}
}

// ServeHTTP lets the operator in, and nobody else: not even to learn which
// paths there are.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.authentic(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="purgebot"`)
		a.refuse(w, r, problem(http.StatusUnauthorized, "the operator's token is missing or wrong: "+
			"purgebot's commands make it from github.webhook_secrets, which must be those of this server"))
		return
	}
	if err := a.origin.Check(r); err != nil {
		a.refuse(w, r, problem(http.StatusForbidden, "a page of another site may not do this"))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// authentic compares with every token, in a time that tells nothing of them.
func (a *API) authentic(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	good := false
	for _, want := range a.tokens {
		good = hmac.Equal([]byte(strings.TrimSpace(token)), want) || good
	}
	return good && strings.EqualFold(scheme, "Bearer")
}

const (
	apiTime    = 30 * time.Second // for one answer
	maxAskBody = 4 << 10          // bytes of a request's body
)

func (a *API) answers(do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), apiTime)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxAskBody)
		doc, err := do(r)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, doc)
	})
}

// problemError is an error with its HTTP status and words for people.
type problemError struct {
	code  int
	words string
}

func (p *problemError) Error() string { return p.words }

func problem(code int, format string, args ...any) error {
	return &problemError{code, fmt.Sprintf(format, args...)}
}

// refuse writes an error: its public words, or that the log has it.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if p, ok := errors.AsType[*problemError](err); ok {
		writeJSON(w, p.code, Problem{p.words})
		return
	}
	if u, ok := errors.AsType[*store.UnavailableError](err); ok {
		writeJSON(w, http.StatusServiceUnavailable, Problem{u.Why})
		return
	}
	a.Log.LogAttrs(r.Context(), slog.LevelError, "api failed", slog.String("path", r.URL.Path), slog.Any("err", err))
	writeJSON(w, http.StatusInternalServerError, Problem{"internal error; the server's log has it"})
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

// actor reads who acts out of a request's body, {"by": "NAME"}; there may be
// no body.
func actor(r *http.Request) (string, error) {
	var ask Ask
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&ask)
	if err == nil {
		_, err = d.Token() // nothing may follow
	} else if errors.Is(err, io.EOF) {
		return whoever, nil
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", problem(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", large.Limit)
	}
	if !errors.Is(err, io.EOF) {
		return "", problem(http.StatusBadRequest, `the body is not {"by": "NAME"}`)
	}
	return nameOf(ask.By)
}

// nameOf checks a name that goes into statuses and pages.
func nameOf(by string) (string, error) {
	const longest = 60
	by = strings.TrimSpace(by)
	if by == "" {
		return whoever, nil
	}
	if len(by) > longest || strings.ContainsFunc(by, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return "", problem(http.StatusBadRequest, "by must be a name of at most %d bytes on one line", longest)
	}
	return by, nil
}
