package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/pipeline"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/purger"
	"github.com/purgebot/purgebot/webhook"
)

// serverConfig is what a server runs with. `serve` reads it from the
// configuration, `demo` and the tests make it.
type serverConfig struct {
	listen    string
	publicURL string
	database  string
	secrets   []string // the webhook's
	github    github.Config
	akamai    func() (purger.Config, error) // asked again when credentials are in doubt
	policy    policy.Policy
	log       *slog.Logger
	now       func() time.Time

	statusEvery time.Duration // see pipeline.Config; 0: its default
	unpaced     bool
	retention   config.Retention
	drain       time.Duration // for requests and jobs at work, when the server stops; 0: drainTime
}

const (
	headerTime   = 10 * time.Second // headers within this, or the connection is cut
	drainTime    = 20 * time.Second // for requests and jobs at work, after SIGTERM
	cutTime      = 10 * time.Second // for those that are cut off then
	idleTime     = 2 * time.Minute
	maxHeaderLen = 64 << 10
)

// server is the whole of `purgebot serve`: the listener, the routes and the
// jobs. newServer starts nothing; run does, and stops it in order.
type server struct {
	cfg      serverConfig
	store    *store.Store
	pipeline *pipeline.Pipeline
	http     *http.Server
	listener net.Listener
}

func newServer(ctx context.Context, cfg serverConfig) (_ *server, err error) {
	if cfg.log == nil {
		cfg.log = slog.New(slog.DiscardHandler)
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	app, err := github.New(cfg.github)
	if err != nil {
		return nil, err
	}
	akamai, err := newAkamaiClient(cfg.akamai, cfg.log)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg}
	if s.store, err = store.Open(ctx, store.Config{URL: cfg.database, Now: cfg.now, Log: cfg.log}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.listen); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", cfg.listen, err)
	}
	if s.cfg.publicURL == "" { // a free port is known only now
		s.cfg.publicURL = "http://" + s.addr()
	}
	s.pipeline = pipeline.New(pipeline.Config{
		Store: s.store, GitHub: app, Akamai: akamai, Policy: cfg.policy,
		PublicURL: strings.TrimSuffix(s.cfg.publicURL, "/"),
		Now:       cfg.now, Log: cfg.log, StatusEvery: cfg.statusEvery, Unpaced: cfg.unpaced,
		KeepDeliveries: cfg.retention.Deliveries, KeepPurges: cfg.retention.Purges,
	})
	handler, err := s.routes()
	if err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderLen,
		ErrorLog: slog.NewLogLogger(cfg.log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// addr is the address that the server listens on, HOST:PORT.
func (s *server) addr() string { return s.listener.Addr().String() }

func (s *server) routes() (http.Handler, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	receive, err := webhook.New(webhook.Config{
		Secrets: s.cfg.secrets, Now: s.cfg.now, Log: s.cfg.log,
		Store: func(ctx context.Context, d webhook.Delivery) (bool, error) {
			fresh, err := s.store.Receive(ctx, store.Delivery{GUID: d.GUID, Event: d.Event, Body: d.Body, ReceivedAt: d.ReceivedAt})
			if err != nil || ctx.Err() != nil {
				s.pipeline.Refused()
			}
			return fresh, err
		},
	})
	if err != nil {
		return nil, err
	}
	e.POST("/webhook", receive)
	pages, err := web.New(web.Config{Store: s.store, Version: version(), Now: s.cfg.now, Log: s.cfg.log})
	if err != nil {
		return nil, err
	}
	pages.Routes(e)
	e.Any("/api/*", echo.WrapHandler(web.NewAPI(web.APIConfig{
		Store: s.store, Secrets: s.cfg.secrets, Judge: s.pipeline.Judge, Act: s.pipeline.Act,
		PublicURL: strings.TrimSuffix(s.cfg.publicURL, "/"), Now: s.cfg.now, Log: s.cfg.log,
	})))
	return e, nil
}

// run serves until ctx ends, then drains: no new requests, the requests and
// the jobs at work to their end, as long as drainTime allows. What is cut
// off is taken up again at the next start.
func (s *server) run(ctx context.Context) error {
	if err := s.store.Takeover(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	runner, err := s.pipeline.Runner()
	if err != nil {
		return errors.Join(err, s.close())
	}
	if err := runner.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(fmt.Errorf("start jobs: %w", err), s.close())
	}
	var sweeping sync.WaitGroup
	sweep, stopSweep := context.WithCancel(ctx)
	sweeping.Go(func() { s.pipeline.Sweep(sweep) })
	sweeping.Go(func() { s.pipeline.Recover(sweep) })
	sweeping.Go(func() { s.store.Checkpoint(sweep) })
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	s.cfg.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("address", s.addr()), slog.String("version", version()))

	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.cfg.drain, drainTime))
	defer cancel()
	err = errors.Join(err, s.http.Shutdown(drain))
	stopSweep()
	sweeping.Wait()
	if stop := runner.Stop(drain); stop != nil {
		s.cfg.log.LogAttrs(ctx, slog.LevelWarn, "jobs did not end in time; they run again at the next start")
		cut, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutTime)
		defer cancel()
		if stop := runner.StopAndCancel(cut); stop != nil {
			err = errors.Join(err, fmt.Errorf("stop jobs: %w", stop))
		}
	}
	s.cfg.log.LogAttrs(ctx, slog.LevelInfo, "stopped")
	return errors.Join(err, s.store.Close())
}

// idle waits until nothing is left to do: every delivery handled, every
// environment reconciled, every target sent, every status posted.
func (s *server) idle(ctx context.Context) error {
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

// close releases what newServer opened, where run never began.
func (s *server) close() error { return errors.Join(s.listener.Close(), s.store.Close()) }
