// Package web is what people and platforms read over HTTP, and how an operator commands a
// running server: pages, the API under /api/, and health. One router serves all of them,
// and errors mean the same everywhere. The webhook belongs to package webhook.
//
// The package has only a store.Reader. It can change the ledger only through the few
// functions of its Config. Readers fall into three groups. A purge's page is for
// everybody who has its address: nobody can guess the address, and commit statuses link
// to it. The API is for those with a token that is derived from the webhook's secret.
// Health is for everybody, and tells only whether the server works.
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

// Config is what the pages and the API need. New sets Now and Log if they are nil.
type Config struct {
	Ledger  *store.Reader
	Ready   func(context.Context) error // an error says why webhooks can't be stored, see store.Store
	Metrics http.Handler                // answers /metrics
	Version string

	// Act applies a verb to a purge of a repository, OWNER/NAME, for the operator, under
	// the policy in force. It returns how many targets a retry freed, and why the first
	// of the others stays refused. Its errors are the store's.
	Act func(ctx context.Context, repository string, verb store.Verb, p ledger.Purge, act store.Act) (freed int, refused string, err error)

	// Replay has a delivery that was set aside handled again. Its errors are the store's.
	Replay func(ctx context.Context, guid string) error

	// Pause holds purges back, Resume lets them go. Their errors are the store's.
	Pause  func(context.Context, ledger.Pause) (store.Paused, error)
	Resume func(ctx context.Context, scope ledger.Scope, by string) ([]store.Paused, error)

	Secrets   func() []string // the webhook's that are in force; the API accepts the token of each
	PublicURL string          // starts the links to purges' pages; without a slash at its end
	GitHubURL string          // where people see repositories, without a slash at its end; "": no links there
	Now       func() time.Time
	Log       *slog.Logger
}

// Web serves the pages and the API.
type Web struct {
	Config
	pages  *template.Template
	origin *http.CrossOriginProtection
}

// New parses the templates. It starts nothing.
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

// Routes adds the pages and the API to a server. Every path below /api goes through
// admit, so a stranger can't find out which paths exist.
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

// ready answers whether webhooks can be stored and, if not, why.
func (w *Web) ready(c echo.Context) error {
	if err := w.Ready(c.Request().Context()); err != nil {
		_, words := w.explain(c, err)
		return c.String(http.StatusServiceUnavailable, "webhooks can't be stored: "+words+"\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// unknown is the page for an address that does not exist.
func (w *Web) unknown(c echo.Context) error {
	return w.render(c, http.StatusNotFound, "unknown.html", nil)
}

// index is the root page: what waits, and which pauses are active.
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

// pageTargets is how many targets one page shows. The rest is on the next pages.
const pageTargets = 1000

// purgePage is what a purge's page shows.
type purgePage struct {
	ledger.Purge
	Repository  ledger.Repository
	PullRequest int // its comment asked for the purge, or it was merged as the purge's commit; 0: none, or unknown
	GitHubURL   string
	Status      report.Status
	Targets     []ledger.Target
	Next        int64 // sequence number of the first target of the next page; 0: this is the last
	Missing     int   // unmatched files beyond the listed ones
	Pages       []ledger.Page

	shown string // id of the last answer that a row showed, see Answer
}

// link is words that lead to the address To; templates make it with "link".
type link struct{ To, Words string }

// On is where GitHub shows a part of the repository, such as "commit" and its SHA;
// without a part, the repository itself. "" if GitHub's address is not known.
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

// Deployed is where GitHub shows the environment's deployments. It is "" if something
// other than a deployment is the trigger, as GitHub has no such page then.
func (p *purgePage) Deployed() string {
	if p.To.Deploy == 0 {
		return ""
	}
	return p.On("deployments", p.Environment)
}

// Asked is where GitHub shows the pull request that asked for the purge.
func (p *purgePage) Asked() string { return p.On("pull", strconv.Itoa(p.PullRequest)) }

// Answer is Akamai's answer to a target. It is empty if the row before had the same one,
// because one request carries hundreds of objects. It depends on the order of calls: the
// template calls it once per row, from top to bottom.
func (p *purgePage) Answer(t ledger.Target) ledger.Answer {
	id := t.Answer.PurgeID + t.Answer.SupportID
	if id != "" && id == p.shown {
		return ledger.Answer{}
	}
	p.shown = id
	return t.Answer
}

// Accepted is how long it took, in words, from the deployment until Akamai had accepted
// everything, Akamai's estimate included. It is "" if nothing was deployed or the purge
// is not done.
func (p purgePage) Accepted() string {
	if p.State != ledger.Done || p.Counts.Accepted == 0 {
		return ""
	}
	return sinceDeploy(p.Purge, p.DoneAt)
}

// Proved is how long it took from the deployment until it was known whether the pages are
// fresh.
func (p purgePage) Proved() string { return sinceDeploy(p.Purge, p.Proof.DoneAt) }

// sinceDeploy is the time since the deployment in whole seconds; "" without a deployment,
// or if the clocks contradict each other.
func sinceDeploy(p ledger.Purge, then time.Time) string {
	if p.To.At.IsZero() || then.Before(p.To.At) {
		return ""
	}
	return then.Sub(p.To.At).Round(time.Second).String()
}

// purge shows one purge to everybody who has the link: what caused it, and each object
// with its rule, its file and what became of it.
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

// guard sets headers for a page that holds texts from outside and whose address is the
// key to it. No script or resource loads, no site can frame it, and the address does not
// leave the browser in a referrer or a cache.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store")
}

// render writes a page. The template is executed before anything is sent, so an error
// still gets its own status.
func (w *Web) render(c echo.Context, code int, name string, data any) error {
	guard(c.Response().Header())
	var b strings.Builder
	if err := w.pages.ExecuteTemplate(&b, name, data); err != nil {
		return w.failed(c, err)
	}
	return c.HTML(code, printable.Text(b.String(), "\n\t"))
}

// failed answers a page's request with an error as plain text.
func (w *Web) failed(c echo.Context, err error) error {
	code, words := w.explain(c, err)
	return c.String(code, words+"\n")
}

// explain returns the status of an error and the words that people may read. It logs an
// unexpected error, whose words may tell too much. The store logs trouble of the database
// itself.
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

// problem makes a problemError. Its words go to the client as they are.
func problem(code int, format string, args ...any) error {
	return &problemError{code, fmt.Sprintf(format, args...)}
}
