// Package web is what people and platforms read over HTTP: a purge's page,
// health and metrics. The webhook is package webhook's.
package web

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

//go:embed templates
var templates embed.FS

// Config is what the pages need.
type Config struct {
	Store   *store.Store
	Version string
	Now     func() time.Time
	Log     *slog.Logger
}

// Web serves the pages.
type Web struct {
	Config
	pages   *template.Template
	metrics http.Handler
}

// New makes the pages. It starts nothing.
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
		"quote":   quotePath,
		"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&queueCollector{store: cfg.Store, log: cfg.Log},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Web{Config: cfg, pages: pages, metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}, nil
}

// Routes adds the pages to a server.
func (w *Web) Routes(e *echo.Echo) {
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", w.ready)
	e.GET("/metrics", echo.WrapHandler(w.metrics))
	e.GET("/", w.index)
	e.GET("/purges/:key", w.purge)
	e.GET("/previews/:key", w.preview)
}

// ready says whether webhooks can be stored, and if not, why.
func (w *Web) ready(c echo.Context) error {
	if err := w.Store.Ready(c.Request().Context()); err != nil {
		return c.String(http.StatusServiceUnavailable, "webhooks can't be stored: "+w.public(c, err)+"\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

func (w *Web) index(c echo.Context) error {
	queue, err := w.Store.Queue(c.Request().Context())
	if err != nil {
		return w.failed(c, err)
	}
	return w.render(c, http.StatusOK, "index.html", map[string]any{"Version": w.Version, "Queue": queue})
}

// pageTargets is how many targets a page shows; the next page has the rest.
const pageTargets = 1000

// purgePage is what a purge's page shows.
type purgePage struct {
	ledger.Purge
	Repository ledger.Repository
	Status     report.Status
	Targets    []store.TargetLine
	Next       int64 // sequence number that the next page starts with; 0: none
	Missing    int   // unmatched files beyond the ones listed
}

// purge shows one purge to whoever has the link: what caused it, and every
// object with its rule, file and fate.
func (w *Web) purge(c echo.Context) error {
	ctx := c.Request().Context()
	p, err := w.Store.PurgeByKey(ctx, c.Param("key"))
	if errors.Is(err, store.ErrNotFound) {
		return w.render(c, http.StatusNotFound, "missing.html", nil)
	}
	if err != nil {
		return w.failed(c, err)
	}
	page := purgePage{Purge: p, Status: report.Purge(p, w.Now())}
	if page.Repository, err = w.Store.Repository(ctx, p.RepoID); err != nil {
		return w.failed(c, err)
	}
	from, _ := strconv.ParseInt(c.QueryParam("from"), 10, 64) // anything else is the first page
	if page.Targets, err = w.Store.Targets(ctx, p.ID, max(from, 0), pageTargets+1); err != nil {
		return w.failed(c, err)
	}
	if len(page.Targets) > pageTargets {
		page.Next = page.Targets[pageTargets].Seq
		page.Targets = page.Targets[:pageTargets]
	}
	if n := len(page.Unmatched); n > pageTargets {
		page.Missing, page.Unmatched = n-pageTargets, page.Unmatched[:pageTargets]
	}
	return w.render(c, http.StatusOK, "purge.html", page)
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
	return c.HTML(code, b.String())
}

func (w *Web) failed(c echo.Context, err error) error {
	code := http.StatusInternalServerError
	if _, ok := errors.AsType[*store.UnavailableError](err); ok {
		code = http.StatusServiceUnavailable
	}
	return c.String(code, w.public(c, err)+"\n")
}

// public is what people may read of an error. The log has the rest: of the
// database's trouble, by the store.
func (w *Web) public(c echo.Context, err error) string {
	if u, ok := errors.AsType[*store.UnavailableError](err); ok {
		return u.Why
	}
	w.Log.LogAttrs(c.Request().Context(), slog.LevelError, "page failed", slog.String("path", c.Path()), slog.Any("err", err))
	return "internal error; the server's log has it"
}

// quotePath shows a path that git allows and a page does not.
func quotePath(path string) string {
	if strconv.CanBackquote(path) {
		return path
	}
	return strconv.Quote(path)
}

// queueCollector reads the figures when they are asked for: nothing is
// counted twice, and every replica says the same of the shared queue.
type queueCollector struct {
	store *store.Store
	log   *slog.Logger
}

func gauge(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

func (q *queueCollector) descs() []*prometheus.Desc {
	return []*prometheus.Desc{
		gauge("purgebot_deliveries_waiting", "Webhook deliveries stored and not handled yet."),
		gauge("purgebot_targets_waiting", "Objects of open purges that are neither accepted nor failed."),
		gauge("purgebot_statuses_waiting", "Commit statuses whose words GitHub does not show yet."),
		gauge("purgebot_akamai_paused", "1 while nothing is sent to Akamai: credentials, clock, grant, or Akamai is away."),
	}
}

func databaseUp() *prometheus.Desc {
	return gauge("purgebot_database_up", "0 while the database can't be used; what waits may not be known then.")
}

// Describe implements prometheus.Collector.
func (q *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- databaseUp()
	for _, d := range q.descs() {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What can't be read is left out: the
// process is up all the same.
func (q *queueCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // Prometheus waits ten
	defer cancel()
	up := 1.0
	if err := q.store.Ready(ctx); err != nil {
		up = 0
	}
	ch <- prometheus.MustNewConstMetric(databaseUp(), prometheus.GaugeValue, up)
	queue, err := q.store.Queue(ctx)
	if err != nil {
		if _, ok := errors.AsType[*store.UnavailableError](err); !ok {
			q.log.LogAttrs(ctx, slog.LevelError, "metrics can't be read", slog.Any("err", err))
		}
		return
	}
	paused := 0
	if queue.Pause.Paused {
		paused = 1
	}
	for i, v := range []int{queue.Deliveries, queue.Targets, queue.Posts, paused} {
		ch <- prometheus.MustNewConstMetric(q.descs()[i], prometheus.GaugeValue, float64(v))
	}
}
