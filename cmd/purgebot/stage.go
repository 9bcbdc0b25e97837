package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/purger"
)

// stageConfig is what plays on a stage.
type stageConfig struct {
	dir    string // the server's database, if database is ""
	listen string // of the server; "" is a free port on loopback
	repo   standin.GitHubRepository
	policy policy.Policy
	akamai standin.AkamaiConfig
	limits standin.GitHubLimits
	log    *slog.Logger

	database       string           // the server's; "" is SQLite in dir
	now, serverNow func() time.Time // GitHub's clock, and the server's; nil: time.Now
	statusEvery    time.Duration
}

// stage is the whole world on loopback: the stand-ins for GitHub and Akamai,
// and the real server between them. The demo and the tests play on it.
type stage struct {
	cfg    stageConfig
	github *standin.GitHub
	akamai *standin.Akamai
	server *server

	githubURL, akamaiURL string
	credentials          standin.AkamaiCredentials
	secret               string
	closers              []func(context.Context) error
	started              atomic.Bool
	stopServer           func() error
}

// newStage opens the stage; the server is not started yet, so that history
// can be made that it never saw.
func newStage(ctx context.Context, cfg stageConfig) (_ *stage, err error) {
	if cfg.log == nil {
		cfg.log = slog.New(slog.DiscardHandler)
	}
	if cfg.listen == "" {
		cfg.listen = "127.0.0.1:0"
	}
	if cfg.database == "" {
		cfg.database = "sqlite:" + filepath.Join(cfg.dir, "purgebot.db")
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	s := &stage{cfg: cfg, secret: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	s.github, err = standin.NewGitHub(standin.GitHubConfig{ //nolint:contextcheck // it reads a local repository
		WebhookSecret: s.secret, Repositories: []standin.GitHubRepository{cfg.repo}, Limits: cfg.limits, Now: s.now,
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func(context.Context) error { return s.github.Close() })
	if s.githubURL, err = s.listen(ctx, s.github); err != nil {
		return nil, err
	}
	s.akamai = standin.NewAkamai(cfg.akamai)
	s.credentials = s.akamai.Credentials()
	s.akamaiURL, err = s.listen(ctx, s.akamai)
	return s, err
}

// now is GitHub's clock: an hour back until the server starts, so that what
// happened before is before.
func (s *stage) now() time.Time {
	if s.started.Load() {
		return s.cfg.now()
	}
	return s.cfg.now().Add(-time.Hour)
}

// listen serves a stand-in on a free port of loopback.
func (s *stage) listen(ctx context.Context, h http.Handler) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	s.closers = append(s.closers, func(ctx context.Context) error {
		err := srv.Shutdown(ctx)
		if served := <-served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return "http://" + l.Addr().String(), nil
}

// serverConfig is how the server on this stage is configured.
func (s *stage) serverConfig() serverConfig {
	return serverConfig{
		listen: s.cfg.listen, database: s.cfg.database, now: s.cfg.serverNow, secrets: []string{s.secret},
		github: github.Config{APIURL: s.githubURL, AppID: s.github.AppID(), PrivateKey: s.github.PrivateKeyPEM(), Unpaced: !s.cfg.limits.Enforce, Log: s.cfg.log},
		akamai: s.akamaiConfig,
		policy: s.cfg.policy, log: s.cfg.log, statusEvery: s.cfg.statusEvery,
		unpaced: !s.cfg.limits.Enforce,
	}
}

// akamaiConfig has the credentials of the beginning: the stand-in may come to
// refuse them.
func (s *stage) akamaiConfig() (purger.Config, error) {
	c := s.credentials
	return purger.Config{BaseURL: s.akamaiURL, Credentials: purger.NewCredentials(edgegrid.Config{
		Host: "akab-standin.luna.akamaiapis.net", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret,
		AccessToken: c.AccessToken, MaxBody: edgegrid.MaxBodySize,
	})}, nil
}

// start starts the server and points GitHub's webhook at it.
func (s *stage) start(ctx context.Context) error {
	s.started.Store(true)
	cfg := s.serverConfig()
	srv, err := newServer(ctx, cfg)
	if err != nil {
		return err
	}
	s.server = srv
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- srv.run(running) }()
	s.stopServer = func() error {
		cancel()
		return <-ended
	}
	s.github.SetWebhook("http://"+srv.addr()+"/webhook", s.secret)
	return nil
}

// stop stops the server alone, as SIGTERM would.
func (s *stage) stop() error {
	if s.stopServer == nil {
		return nil
	}
	stop := s.stopServer
	s.stopServer = nil
	return stop()
}

// close strikes the stage.
func (s *stage) close(ctx context.Context) error {
	err := s.stop()
	for _, closer := range slices.Backward(s.closers) {
		err = errors.Join(err, closer(ctx))
	}
	s.closers = nil
	return err
}

// fullName is the repository's OWNER/NAME.
func (s *stage) fullName() string { return fmt.Sprintf("%s/%s", s.cfg.repo.Owner, s.cfg.repo.Name) }
