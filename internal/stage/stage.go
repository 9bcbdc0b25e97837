// Package stage is the whole system on loopback: stand-ins for GitHub and Akamai, a site
// in git, and the real server between them. The demo and the tests of the whole product
// run on it. All parts talk HTTP. No part of the server is replaced, and the stand-ins
// are as strict as the real services. Time is the machine's own, unless a test provides a
// clock.
package stage

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
	"strings"
	"sync/atomic"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/purger"
)

// Config says what runs on a stage.
type Config struct {
	Dir          string // for the server's database, if Database is ""
	Listen       string // the server's address; "": a free port on loopback
	Repositories []ghstandin.Repository
	Policy       policy.Policy
	Akamai       akamai.Config
	Limits       ghstandin.Limits
	With         []string // what the operator chose when creating the App: see needs.Chosen
	Log          *slog.Logger

	Latency time.Duration // before every answer of GitHub's API

	Database       string           // the server's; "": SQLite in Dir
	Now, ServerNow func() time.Time // GitHub's clock, and the server's; nil: time.Now
	StatusEvery    time.Duration
	HandleTime     time.Duration // see server.Config
}

// Stage is the whole system on loopback: the stand-ins for GitHub and Akamai, and the
// real server between them.
type Stage struct {
	Config Config
	GitHub *ghstandin.Server
	Akamai *akamai.Server
	Server *server.Server

	GitHubURL, AkamaiURL string
	credentials          akamai.Credentials
	Secret               string
	closers              []func(context.Context) error
	started              atomic.Bool
	stopServer           func() error
}

// Open opens the stage without starting the server, so that a test can create history
// which the server never saw.
func Open(ctx context.Context, cfg Config) (_ *Stage, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Database == "" {
		cfg.Database = "sqlite:" + filepath.Join(cfg.Dir, "purgebot.db")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Stage{Config: cfg, Secret: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	asked := needs.Ask(needs.Chosen(cfg.With...))
	s.GitHub, err = ghstandin.New(ghstandin.Config{ //nolint:contextcheck // it reads a local repository
		Permissions: asked.Permissions, Events: asked.Events, Latency: cfg.Latency, WebhookSecret: s.Secret, Repositories: cfg.Repositories, Limits: cfg.Limits, Now: s.now,
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func(context.Context) error { return s.GitHub.Close() })
	if s.GitHubURL, err = s.Serve(ctx, s.GitHub); err != nil {
		return nil, err
	}
	s.Akamai = akamai.New(cfg.Akamai)
	s.credentials = s.Akamai.Credentials()
	s.AkamaiURL, err = s.Serve(ctx, s.Akamai)
	return s, err
}

// now is GitHub's clock. It is an hour behind until the server starts, so that all
// earlier events are clearly earlier.
func (s *Stage) now() time.Time {
	if s.started.Load() {
		return s.Config.Now()
	}
	return s.Config.Now().Add(-time.Hour)
}

// EndPast sets GitHub's clock to the current time.
func (s *Stage) EndPast() { s.started.Store(true) }

// Running reports whether the server is running.
func (s *Stage) Running() bool { return s.stopServer != nil }

// Serve serves another handler on a free port of loopback until the stage is closed.
func (s *Stage) Serve(ctx context.Context, h http.Handler) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
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

// ServerConfig is the configuration of the server on this stage.
func (s *Stage) ServerConfig() server.Config {
	return server.Config{
		Listen: s.Config.Listen, Database: s.Config.Database, Now: s.Config.ServerNow, Secrets: []string{s.Secret},
		GitHub: github.Config{APIURL: s.GitHubURL, AppID: s.GitHub.AppID(), PrivateKey: s.GitHub.PrivateKeyPEM(), Unpaced: !s.Config.Limits.Enforce, Log: s.Config.Log},
		Akamai: func(string) (purger.Config, error) { return s.akamaiConfig() },
		Policy: s.Config.Policy, Log: s.Config.Log, StatusEvery: s.Config.StatusEvery, HandleTime: s.Config.HandleTime,
		Unpaced: !s.Config.Limits.Enforce,
	}
}

// akamaiConfig has the credentials from the start of the stage. A test may later make the
// stand-in refuse them.
func (s *Stage) akamaiConfig() (purger.Config, error) {
	c := s.credentials
	return purger.Config{BaseURL: s.AkamaiURL, Credentials: purger.NewCredentials(edgegrid.Config{
		Host: "akab-standin.luna.akamaiapis.net", ClientToken: c.ClientToken, ClientSecret: c.ClientSecret,
		AccessToken: c.AccessToken, MaxBody: edgegrid.MaxBodySize,
	})}, nil
}

// Purger is a client of Akamai with the server's own credentials.
func (s *Stage) Purger() (*purger.Client, error) {
	cfg, err := s.akamaiConfig()
	if err != nil {
		return nil, err
	}
	return purger.New(cfg)
}

// Start starts the server and sends GitHub's webhook to it. A test may change the
// configuration.
func (s *Stage) Start(ctx context.Context, changes ...func(*server.Config)) error {
	srv, stop, err := s.Beside(ctx, changes...)
	if err != nil {
		return err
	}
	s.Server, s.stopServer = srv, stop
	s.GitHub.SetWebhook("http://"+srv.Addr()+"/webhook", s.Secret)
	return nil
}

// Beside starts another server, which no webhook reaches, for example a second replica.
// It returns a function that stops it.
func (s *Stage) Beside(ctx context.Context, changes ...func(*server.Config)) (srv *server.Server, stop func() error, err error) {
	s.EndPast()
	cfg := s.ServerConfig()
	for _, change := range changes {
		change(&cfg)
	}
	srv, err = server.New(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(running) }()
	return srv, func() error {
		cancel()
		return <-ended
	}, nil
}

// Stop stops only the server, as SIGTERM would.
func (s *Stage) Stop() error {
	if s.stopServer == nil {
		return nil
	}
	stop := s.stopServer
	s.stopServer = nil
	return stop()
}

// Close stops everything on the stage.
func (s *Stage) Close(ctx context.Context) error {
	err := s.Stop()
	for _, closer := range slices.Backward(s.closers) {
		err = errors.Join(err, closer(ctx))
	}
	s.closers = nil
	return err
}

// FullName is the first repository's OWNER/NAME.
func (s *Stage) FullName() string {
	return fmt.Sprintf("%s/%s", s.Config.Repositories[0].Owner, s.Config.Repositories[0].Name)
}

// AwaitStatus waits until a commit's status of an environment has a state and certain
// words. words is the beginning of the description and, after a "…", its end.
func (s *Stage) AwaitStatus(ctx context.Context, sha, environment, state, words string) (ghstandin.Status, error) {
	begins, ends, _ := strings.Cut(words, "…")
	return s.GitHub.AwaitStatus(ctx, s.FullName(), sha, "purge/"+environment, func(st ghstandin.Status) bool {
		return st.State == state && strings.HasPrefix(st.Description, begins) && strings.HasSuffix(st.Description, ends)
	})
}
