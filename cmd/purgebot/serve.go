package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/server"
)

// serveCmd is purgebot serve: the server itself.
type serveCmd struct {
	Config string `help:"Configuration file; ./purgebot.yaml if it exists." placeholder:"FILE"`
	Log    string `help:"Log format: text or json." enum:"text,json" default:"text"`
	Level  string `help:"Least level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
}

// Run serves until ctx ends, which means until SIGTERM or an interrupt.
//
// Everything that an operator can get wrong in the configuration, the credentials of each
// Akamai account included, is checked before the server opens anything, and exits with 2.
// An error of [server.New] or of the running server exits with 1.
func (c *serveCmd) Run(ctx context.Context, std streams) error {
	cfg, err := config.Load(c.Config, os.Getenv)
	if err = errors.Join(err, config.Misspelt(os.Environ())); err != nil {
		return usage("%w", err)
	}
	// From here on SIGHUP does not end the process. A SIGHUP that arrives before the
	// server runs is kept, and handled once reload.run starts.
	reload := newReloader(c.Config, os.Getenv, cfg)
	defer reload.close()
	begin := settings(cfg)
	for _, account := range cfg.Akamai.All() {
		if _, err := begin.Akamai(account); err != nil && account == ledger.DefaultAccount {
			return usage("akamai: %w", err)
		} else if err != nil {
			return usage("akamai account %s: %w", account, err)
		}
	}
	log, err := c.logger(std)
	if err != nil {
		return err
	}
	for _, words := range cfg.Warnings {
		log.WarnContext(ctx, "configuration", "what", words)
	}
	b := thisBuild()
	log.LogAttrs(ctx, slog.LevelInfo, "purgebot starts", b.attrs()...)
	s, err := server.New(ctx, server.Config{
		Listen: cfg.Listen, Proxies: cfg.Proxies, PublicURL: cfg.PublicURL, Database: cfg.Database.Reveal(), Secrets: begin.Secrets,
		GitHub: github.Config{
			APIURL: cfg.GitHub.APIURL, AppID: cfg.GitHub.AppID, PrivateKey: []byte(cfg.GitHub.PrivateKey.Reveal()), Log: log,
			UserAgent: userAgent(),
		},
		Accounts: begin.Accounts, Akamai: begin.Akamai,
		Policy: begin.Policy, Notify: begin.Notify, Fetch: cfg.Fetch, Retention: cfg.Retention,
		Log: log, Version: b.Version, Commit: b.Commit,
	})
	if err != nil {
		return err
	}
	// Two goroutines accompany the server: one takes over configuration changes, the
	// other checks the setup once and logs what it finds. Both end before Run returns, so
	// nothing uses the server or the log after that.
	beside, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	reload.log = log // before run starts: run reads it in another goroutine
	running.Go(func() { reload.run(beside, s) })
	running.Go(func() {
		doctor{config: cfg, getenv: os.Getenv, now: time.Now, http: &http.Client{}, brief: true}.logged(beside, log)
	})
	err = s.Run(ctx)
	stop()
	running.Wait()
	return err
}

// logger writes the log to standard error: as text for people, as JSON for programs.
func (c *serveCmd) logger(std streams) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, usage("--level %s: %w", c.Level, err)
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Log == "json" {
		return slog.New(slog.NewJSONHandler(std.err, opts)), nil
	}
	return slog.New(slog.NewTextHandler(std.err, opts)), nil
}
