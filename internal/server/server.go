// Package server is the whole of `purgebot serve`: the listener, the routes and the jobs,
// wired together, started and stopped in order.
//
// The order is the purpose of this package. At the start the database is opened first,
// then the address: a server that can't have both changes nothing and says why. What an
// earlier process left claimed is freed before the first job runs, and only after that
// the server answers requests. At the stop it first refuses new requests, so that it
// takes no webhook that no job would handle. Then requests and jobs may end by themselves
// within a time limit, and are cut off after it. Work that is cut off continues at the
// next start, since the ledger has all of it.
//
// Settings that an operator may change while the server runs, such as policy and
// credentials, are in reload.go: one value that is replaced as a whole, so that no reader
// sees one half old and the other half new.
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

// Config is what a server runs with. `serve` fills it from the configuration; `demo` and
// the tests fill it themselves.
type Config struct {
	Listen    string         // HOST:PORT; port 0 takes a free one
	Proxies   []netip.Prefix // see connlimit.Config
	PublicURL string         // where people and GitHub reach the server; "": the address that it listens on
	Database  string         // see store.Config; it may hold a password
	Secrets   []string       // of the webhook
	GitHub    github.Config
	Accounts  []string // see Settings
	Akamai    func(account string) (purger.Config, error)
	Policy    policy.Policy
	Notify    []config.Receiver
	Fetch     config.Fetch
	Pages     probe.Getter     // replaces the fetcher that Fetch configures; nil: that fetcher
	Log       *slog.Logger     // nil: no log
	Version   string           // of the program
	Commit    string           // that the program was built from
	Now       func() time.Time // nil: time.Now

	StatusEvery time.Duration // see pipeline.Config; 0: its default
	Unpaced     bool
	HandleTime  time.Duration // likewise
	Retention   config.Retention
	Drain       time.Duration // for requests and jobs at work when the server stops; 0: DrainTime
}

// How long a stop may take. During DrainTime, requests and jobs at work may end by
// themselves. Jobs that are still there are cancelled, and have CutTime to return.
const (
	DrainTime = 20 * time.Second
	CutTime   = 10 * time.Second
)

// fetchPace is the least average time between two fetches of pages from one host. A burst
// of fetchBurst goes at once, which is twice what one purge looks at.
const (
	fetchPace  = 20 * time.Millisecond
	fetchBurst = 40
)

// Server is the whole of `purgebot serve`. [New] opens what it needs and starts nothing;
// [Server.Run] starts it, and stops it in order.
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

// New opens the database and the listener. It starts no job and accepts no connection:
// Run does. If New fails, everything that it opened is closed again. If it succeeds, the
// caller must call Run, which closes both.
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
		// Ahead corrects the store's clock by how far GitHub's is ahead, as its answers
		// tell.
		Ahead:     func(now time.Time) time.Duration { least, _, _ := app.Ahead(now); return least },
		Receivers: s.settings.hearers,
	}); err != nil {
		return nil, store.Explain(cfg.Database, err)
	}
	// From here on each return with an error must close the store. The listener is closed
	// at the returns below, since it does not exist before.
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
	// The settings at the start take the same way as at a reload. They must be in force
	// before routes and jobs read them: current is nil until then.
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

// listenFault says why the server can't listen, and what to do about it.
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

// Listenable reports whether a server could listen on an address now. The error says what
// to do. It closes the address again, so another program may take it after that.
func Listenable(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return listenFault(address, err)
	}
	return l.Close()
}

// Addr is the address that the server listens on, HOST:PORT.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Store is the server's database. The demo and the tests look into it.
func (s *Server) Store() *store.Store { return s.store }

// routes are the webhook's, whose requests GitHub signs, and those of package web. A
// webhook that arrives at the root is answered with the right path. The operator sees
// that answer on the App's settings page.
func (s *Server) routes() (http.Handler, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/webhook", s.settings.serveWebhook)
	e.POST("/webhook/", s.settings.serveWebhook) // people often write the address with a slash
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

// Run serves until ctx ends and then drains: it accepts no new requests and lets the
// requests and the jobs at work end, for as long as Config.Drain allows. Work that is cut
// off continues at the next start, and is no error. Run closes what New opened; a server
// runs once.
func (s *Server) Run(ctx context.Context) error {
	runner, err := s.begin(ctx)
	// A stop during the start is no error: whatever begin reports then comes from ctx.
	if err != nil && ctx.Err() != nil {
		return s.close() // it was told to stop before it had begun
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	// The sweep, the recovery and the checkpoints end with ctx. If serving fails instead,
	// stopSweep ends them. They wake jobs, so the jobs stop after them.
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
	// ctx has ended, so the time limit needs a context without its end. Requests and jobs
	// share this one limit.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.cfg.Drain, DrainTime))
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "requests did not end in time; GitHub's are asked for again at the next start")
		_ = s.http.Close() // an error would only tell about connections that are cut off
	}
	stopSweep()
	sweeping.Wait()
	// Stop waits for jobs at work. A job that is cancelled after it must return soon; its
	// row stays in the ledger, so it runs again at the next start.
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

// begin frees what an earlier process left claimed, and starts the jobs. The jobs get a
// context that does not end with ctx, because Run stops them in order.
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

// Idle waits until nothing is left to do: every delivery is handled, every environment
// reconciled, every target sent, every status posted. Held purges do not count.
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

// close releases what New opened, if Run never started the jobs.
func (s *Server) close() error { return errors.Join(s.listener.Close(), s.store.Close()) }
