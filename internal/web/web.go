// Package web is what people and platforms read over HTTP, and what the
// operator tells a running server: pages, the API under /api/, health. All of
// it goes by one router and one meaning of an error. The webhook is package
// webhook's.
//
// It has a store.Reader, and so can't change the ledger but by the few functions
// that its Config hands in. There are three circles of readers. A purge's page is
// for whoever has its address, which can't be guessed: statuses link to it. The API
// is for who has a token that is made of the webhook's secret. Health is for all,
// and says no more than whether the server works.
package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

//go:embed templates
var templates embed.FS

// Config is what the pages and the API need.
type Config struct {
	Ledger  *store.Reader
	Ready   func(context.Context) error // why webhooks can't be stored; see store.Store
	Metrics http.Handler
	Version string

	// Act does a verb with a purge of a repository, OWNER/NAME, for the
	// operator, by the policy of this moment. It gives how many targets a retry
	// freed, and why the first stays refused; its errors are the store's.
	Act func(ctx context.Context, repository string, verb store.Verb, p ledger.Purge, act store.Act) (freed int, refused string, err error)

	// Replay has a delivery that is set aside handled anew; its errors are the
	// store's.
	Replay func(ctx context.Context, guid string) error

	// Pause and Resume hold purges back and let them go; their errors are the
	// store's.
	Pause  func(context.Context, ledger.Pause) (store.Paused, error)
	Resume func(ctx context.Context, scope ledger.Scope, by string) ([]store.Paused, error)

	Secrets   func() []string // the webhook's of this moment; the API's token of each is good
	PublicURL string          // of the pages that purges link to, without a slash at its end
	GitHubURL string          // where people see repositories, without a slash at its end; "": nothing links there
	Now       func() time.Time
	Log       *slog.Logger
}

// Web serves the pages and the API.
type Web struct {
	Config
	pages  *template.Template
	origin *http.CrossOriginProtection
}

// New makes them. It starts nothing.
func New(cfg Config) (*Web, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	pages, err := template.New("").Funcs(template.FuncMap{
		"short":   report.Short,
		"object":  report.Object,
		"objects": report.Objects,
		"number":  report.Number,
		"cause":   report.Cause,
		"result":  report.Result,
		"refusal": report.Refusal,
		"quote":   func(s string) string { return printable.Text(s, "") },
		"link":    func(to, words string) link { return link{to, words} },
		"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	return &Web{Config: cfg, pages: pages, origin: http.NewCrossOriginProtection()}, nil
}

// Routes adds the pages and the API to a server.
func (w *Web) Routes(e *echo.Echo) {
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", w.ready)
	e.GET("/metrics", echo.WrapHandler(w.Metrics))
	e.GET("/", w.index)
	e.GET("/purges/:key", w.purge)
	e.GET("/previews/:key", w.preview)
	e.RouteNotFound("/*", w.unknown)
	api := e.Group("/api", w.admit)
	for _, r := range w.operations() {
		api.Add(r.method, strings.NewReplacer("/api", "", "{", ":", "}", "").Replace(r.path), w.answers(r.do))
	}
	api.Any("/*", w.answers(func(r *http.Request) (any, error) {
		return nil, problem(http.StatusNotFound, "there is no %s %s; docs/openapi.yaml lists what there is", r.Method, r.URL.Path)
	}))
}

// ready says whether webhooks can be stored, and if not, why.
func (w *Web) ready(c echo.Context) error {
	if err := w.Ready(c.Request().Context()); err != nil {
		_, words := w.explain(c, err)
		return c.String(http.StatusServiceUnavailable, "webhooks can't be stored: "+words+"\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// unknown is the page of an address that there is none at.
func (w *Web) unknown(c echo.Context) error {
	return w.render(c, http.StatusNotFound, "unknown.html", nil)
}

func (w *Web) index(c echo.Context) error {
	queue, err := w.Ledger.Queue(c.Request().Context())
	if err != nil {
		return w.failed(c, err)
	}
	pauses, err := w.Ledger.Pauses(c.Request().Context())
	if err != nil {
		return w.failed(c, err)
	}
	return w.render(c, http.StatusOK, "index.html", map[string]any{"Queue": queue, "Waiting": waiting(queue), "Pauses": pauses})
}

// waiting says what the server still has to do.
func waiting(q store.Queue) string {
	var parts []string
	for _, w := range []struct {
		n               int
		one, many, toDo string
	}{
		{q.Held, "object", "objects", "to approve"},
		{q.Targets, "object", "objects", "to send to Akamai"},
		{q.Deliveries, "webhook", "webhooks", "to read"},
		{q.Posts, "update", "updates", "to write on GitHub"},
	} {
		if w.n > 0 {
			parts = append(parts, report.Amount(w.n, w.one, w.many)+" "+w.toDo)
		}
	}
	if len(parts) == 0 {
		return "Idle: nothing is waiting."
	}
	return "Waiting: " + strings.Join(parts, ", ") + "."
}

// pageTargets is how many targets a page shows; the next page has the rest.
const pageTargets = 1000

// purgePage is what a purge's page shows.
type purgePage struct {
	ledger.Purge
	Repository  ledger.Repository
	PullRequest int // whose comment asked for it, or that was merged as its commit; 0: none, or not known
	GitHubURL   string
	Status      report.Status
	Targets     []ledger.Target
	Next        int64 // sequence number that the next page starts with; 0: none
	Missing     int   // unmatched files beyond the ones listed
	Pages       []ledger.Page

	shown string // the id of the last row that showed one
}

// link is words that lead somewhere, where To says where.
type link struct{ To, Words string }

// On is where GitHub shows a part of the repository, as "commit" and its SHA;
// without a part, the repository. "" where GitHub's address is not known.
func (p *purgePage) On(part ...string) string {
	if p.GitHubURL == "" {
		return ""
	}
	var at strings.Builder
	at.WriteString(p.GitHubURL)
	for _, s := range append([]string{p.Repository.Owner, p.Repository.Name}, part...) {
		at.WriteString("/" + url.PathEscape(s))
	}
	return at.String()
}

// Deployed is where GitHub shows the environment's deployments; "" where it
// has none, since something else is the trigger.
func (p *purgePage) Deployed() string {
	if p.To.Deploy == 0 {
		return ""
	}
	return p.On("deployments", p.Environment)
}

// Asked is where GitHub shows the pull request that asked for it.
func (p *purgePage) Asked() string { return p.On("pull", strconv.Itoa(p.PullRequest)) }

// Answer is Akamai's to a target; where the row before had the same, nothing:
// one request carries hundreds of objects.
func (p *purgePage) Answer(t ledger.Target) ledger.Answer {
	id := t.Answer.PurgeID + t.Answer.SupportID
	if id != "" && id == p.shown {
		return ledger.Answer{}
	}
	p.shown = id
	return t.Answer
}

// Accepted is how long it took from the deployment until Akamai had accepted
// all, its estimate included, in words; "" where nothing was deployed, or not
// all is accepted.
func (p purgePage) Accepted() string {
	if p.State != ledger.Done || p.Counts.Accepted == 0 {
		return ""
	}
	return sinceDeploy(p.Purge, p.DoneAt)
}

// Proved is how long it took from the deployment until the pages were told.
func (p purgePage) Proved() string { return sinceDeploy(p.Purge, p.Proof.DoneAt) }

func sinceDeploy(p ledger.Purge, then time.Time) string {
	if p.To.At.IsZero() || then.Before(p.To.At) {
		return ""
	}
	return then.Sub(p.To.At).Round(time.Second).String()
}

// purge shows one purge to whoever has the link: what caused it, and every
// object with its rule, file and fate.
func (w *Web) purge(c echo.Context) error {
	ctx := c.Request().Context()
	p, err := w.Ledger.PurgeByKey(ctx, c.Param("key"))
	if errors.Is(err, store.ErrNotFound) {
		return w.render(c, http.StatusNotFound, "missing.html", nil)
	}
	if err != nil {
		return w.failed(c, err)
	}
	page := purgePage{Purge: p, Status: report.Purge(p, w.Now()), GitHubURL: w.GitHubURL}
	if page.Repository, err = w.Ledger.Repository(ctx, p.RepoID); err != nil {
		return w.failed(c, err)
	}
	if page.PullRequest, err = w.Ledger.PullRequest(ctx, p); err != nil {
		return w.failed(c, err)
	}
	from, _ := strconv.ParseInt(c.QueryParam("from"), 10, 64) // anything else is the first page
	if page.Targets, err = w.Ledger.Targets(ctx, p.ID, max(from, 0), pageTargets+1); err != nil {
		return w.failed(c, err)
	}
	if p.Proof.State != ledger.ProofNone {
		if page.Pages, err = w.Ledger.Pages(ctx, p.ID); err != nil {
			return w.failed(c, err)
		}
	}
	if len(page.Targets) > pageTargets {
		page.Next = page.Targets[pageTargets].Seq
		page.Targets = page.Targets[:pageTargets]
	}
	if n := len(page.Unmatched); n > pageTargets {
		page.Missing, page.Unmatched = n-pageTargets, page.Unmatched[:pageTargets]
	}
	return w.render(c, http.StatusOK, "purge.html", &page)
}

// guard lets nothing on a page come to life, and nothing but the browser that
// asked for it know its address, which is the key.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store")
}

func (w *Web) render(c echo.Context, code int, name string, data any) error {
	guard(c.Response().Header())
	var b strings.Builder
	if err := w.pages.ExecuteTemplate(&b, name, data); err != nil {
		return w.failed(c, err)
	}
	return c.HTML(code, printable.Text(b.String(), "\n\t"))
}

func (w *Web) failed(c echo.Context, err error) error {
	code, words := w.explain(c, err)
	return c.String(code, words+"\n")
}

// explain gives the status of an error and what people may read of it. The log
// has the rest: of the database's trouble, by the store.
func (w *Web) explain(c echo.Context, err error) (code int, words string) {
	if p, ok := errors.AsType[*problemError](err); ok {
		return p.code, p.words
	}
	if u, ok := errors.AsType[*store.UnavailableError](err); ok {
		return http.StatusServiceUnavailable, u.Why
	}
	w.Log.LogAttrs(c.Request().Context(), slog.LevelError, "request failed", slog.String("path", c.Path()), slog.Any("err", err))
	return http.StatusInternalServerError, "internal error; the server's log has it"
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
