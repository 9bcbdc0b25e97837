// Package server is the whole of `purgebot serve`: the listener, the routes
// and the jobs, wired together and stopped in order.
//
// The order is the point of it. At the start the database comes first, then the
// address: who can't have both changes nothing and says why. What an earlier process
// left claimed is freed before the first job runs, and only then is anything served.
// At the end new requests are refused first, so that no webhook is taken that nobody
// reads any more; then requests and jobs end by themselves, as long as that takes
// within a bound, and are cut off after it. Whatever is cut off is taken up again at
// the next start, since all of it stands in the ledger.
//
// What an operator may change while it runs, such as policy and credentials, is in
// reload.go: one value, swapped whole, that is never half old and half new.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/connlimit"
	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/metrics"
	"github.com/purgebot/purgebot/internal/pipeline"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/probe"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/purger"
)

// Config is what a server runs with. `serve` reads it from the
// configuration, `demo` and the tests make it.
type Config struct {
	Listen    string
	Proxies   []netip.Prefix // see connlimit.Config
	PublicURL string
	Database  string
	Secrets   []string // the webhook's
	GitHub    github.Config
	Accounts  []string // see Settings
	Akamai    func(account string) (purger.Config, error)
	Policy    policy.Policy
	Notify    []config.Receiver
	Fetch     config.Fetch
	Pages     probe.Getter // in the place of what Fetch allows; nil: that
	Log       *slog.Logger
	Version   string // of the program, and the commit that it was built from
	Commit    string
	Now       func() time.Time

	StatusEvery time.Duration // see pipeline.Config; 0: its default
	Unpaced     bool
	HandleTime  time.Duration // likewise
	Retention   config.Retention
	Drain       time.Duration // for requests and jobs at work, when the server stops; 0: DrainTime
}

// How long a stop may take: first the requests and jobs at work may end by
// themselves, then they are cut off.
const (
	DrainTime = 20 * time.Second
	CutTime   = 10 * time.Second
)

// fetchPace is the least time between two fetches of pages from one host, on
// average; fetchBurst, twice what is looked at after a purge, goes at once.
const (
	fetchPace  = 20 * time.Millisecond
	fetchBurst = 40
)

// Server is the whole of `purgebot serve`: the listener, the routes and the
// jobs. New starts nothing; Run does, and stops it in order.
type Server struct {
	cfg      Config
	store    *store.Store
	pipeline *pipeline.Pipeline
	http     *http.Server
	listener net.Listener
	akamai   *akamaiClients
	settings *reloadable
	fetcher  *fetch.Fetcher
}

// New opens the database and the listener. It starts nothing: Run does.
func New(ctx context.Context, cfg Config) (_ *Server, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	app, err := github.New(cfg.GitHub)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, akamai: &akamaiClients{}, settings: &reloadable{ok: metrics.ReloadOK()}}
	if s.store, err = store.Open(ctx, store.Config{
		URL: cfg.Database, Now: cfg.Now, Log: cfg.Log,
		Ahead:     func(now time.Time) time.Duration { least, _, _ := app.Ahead(now); return least },
		Receivers: s.settings.hearers,
	}); err != nil {
		return nil, store.Explain(cfg.Database, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen); err != nil {
		return nil, listenFault(cfg.Listen, err)
	}
	if s.cfg.PublicURL == "" { // a free port is known only now
		s.cfg.PublicURL = "http://" + s.Addr()
	}
	s.fetcher = fetch.New(fetch.Config{
		Agent:   "purgebot/" + cmp.Or(cfg.Version, "devel") + " (+" + s.cfg.PublicURL + ")",
		Address: fetch.Public(cfg.Fetch.Networks), Pace: fetchPace, Burst: fetchBurst,
	})
	pages := cfg.Pages
	if pages == nil {
		pages = s.fetcher
	}
	s.pipeline = pipeline.New(pipeline.Config{
		Store: s.store, GitHub: app, Akamai: s.akamai, Policy: s.settings.policy, Pages: pages, FetchOrigins: cfg.Fetch.Origins,
		Receivers: s.settings.receivers, Poster: s.fetcher,
		PublicURL: strings.TrimSuffix(s.cfg.PublicURL, "/"),
		Now:       s.store.Now, Log: cfg.Log, StatusEvery: cfg.StatusEvery, Unpaced: cfg.Unpaced, HandleTime: cfg.HandleTime,
		KeepDeliveries: cfg.Retention.Deliveries, KeepPurges: cfg.Retention.Purges,
	})
	first, err := s.force(Settings{Policy: cfg.Policy, Accounts: cfg.Accounts, Akamai: cfg.Akamai, Secrets: cfg.Secrets, Notify: cfg.Notify})
	if err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	if err = s.store.SetAccounts(ctx, cfg.Accounts); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.akamai.current.Store(&first.accounts)
	s.settings.take(first, 1)
	handler, err := s.routes() //nolint:contextcheck // each request brings its own
	if err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.http = &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)} //nolint:gosec // connlimit sets the deadlines
	s.listener = connlimit.Guard(s.http, s.listener, connlimit.Config{Proxies: cfg.Proxies, Log: cfg.Log})
	return s, nil
}

// listenFault says what hinders listening, and what to do.
func listenFault(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program listens on %s: end it, or change listen", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s: use a port above 1023, or change listen", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is no address of this machine: change listen", address)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

// Listenable tells whether a server can listen on an address now; the error
// says what to do. Nothing stays open.
func Listenable(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return listenFault(address, err)
	}
	return l.Close()
}

// Addr is the address that the server listens on, HOST:PORT.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Store is what the server keeps: the demo and the tests look into it.
func (s *Server) Store() *store.Store { return s.store }

// routes are the webhook's, which GitHub signs, and those of package web. A webhook
// that is sent to the wrong path is told the right one: the App's settings page shows
// the operator that answer.
func (s *Server) routes() (http.Handler, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/webhook", s.settings.serveWebhook)
	e.POST("/webhook/", s.settings.serveWebhook) // as many an address is written
	e.POST("/", func(c echo.Context) error {
		return c.String(http.StatusNotFound, "purgebot takes webhooks at "+strings.TrimSuffix(s.cfg.PublicURL, "/")+
			"/webhook: write that as the Webhook URL on the App's settings page\n")
	})
	pages, err := web.New(web.Config{
		Ledger: &s.store.Reader, Ready: s.store.Ready, Metrics: metrics.New(&s.store.Reader, s.store.Ready, s.cfg.Log, append(s.pipeline.Metrics(), metrics.BuildInfo(s.cfg.Version, s.cfg.Commit), s.settings.ok)...),
		Act: s.pipeline.Act, Replay: s.store.Replay, Pause: s.store.Pause, Resume: s.store.Resume, Secrets: s.settings.secrets, PublicURL: strings.TrimSuffix(s.cfg.PublicURL, "/"),
		GitHubURL: github.WebURL(s.cfg.GitHub.APIURL),
		Version:   s.cfg.Version, Now: s.cfg.Now, Log: s.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	pages.Routes(e)
	return e, nil
}

// Run serves until ctx ends, then drains: no new requests, the requests and
// the jobs at work to their end, as long as DrainTime allows. What is cut
// off is taken up again at the next start, and is no error.
func (s *Server) Run(ctx context.Context) error {
	runner, err := s.begin(ctx)
	if err != nil && ctx.Err() != nil {
		return s.close() // told to stop before it had begun
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	var sweeping sync.WaitGroup
	sweep, stopSweep := context.WithCancel(ctx)
	sweeping.Go(func() { s.pipeline.Sweep(sweep) })
	sweeping.Go(func() { s.pipeline.Recover(sweep) })
	sweeping.Go(func() { s.store.Checkpoint(sweep) })
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("address", s.Addr()))

	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.cfg.Drain, DrainTime))
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "requests did not end in time; GitHub's are asked for again at the next start")
		_ = s.http.Close() // what is cut off has nothing more to say
	}
	stopSweep()
	sweeping.Wait()
	if stop := runner.Stop(drain); stop != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "jobs did not end in time; they run again at the next start")
		cut, cancel := context.WithTimeout(context.WithoutCancel(ctx), CutTime)
		defer cancel()
		if stop := runner.StopAndCancel(cut); stop != nil {
			err = errors.Join(err, fmt.Errorf("stop jobs: %w", stop))
		}
	}
	s.fetcher.Close()
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "stopped")
	return errors.Join(err, s.store.Close())
}

// begin takes over what an earlier process left, and starts the jobs.
func (s *Server) begin(ctx context.Context) (store.Runner, error) {
	if err := s.store.Takeover(ctx); err != nil {
		return nil, err
	}
	if err := s.pipeline.Assign(ctx); err != nil {
		return nil, err
	}
	runner, err := s.pipeline.Runner()
	if err != nil {
		return nil, err
	}
	if err := runner.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("start jobs: %w", err)
	}
	return runner, nil
}

// Idle waits until nothing is left to do: every delivery handled, every
// environment reconciled, every target sent, every status posted.
func (s *Server) Idle(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		q, err := s.store.Queue(ctx)
		if err != nil {
			return err
		}
		if q.Deliveries+q.Environments+q.Targets+q.Posts == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the server to be idle, with %+v left: %w", q, ctx.Err())
		case <-tick.C:
		}
	}
}

// close releases what New opened, where Run never began.
func (s *Server) close() error { return errors.Join(s.listener.Close(), s.store.Close()) }
