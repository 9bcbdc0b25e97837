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

type serveCmd struct {
	Config string `help:"Configuration file; ./purgebot.yaml if it exists." placeholder:"FILE"`
	Log    string `help:"Log format: text or json." enum:"text,json" default:"text"`
	Level  string `help:"Least level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
}

// Run serves until the context ends, that is until SIGTERM or an interrupt.
func (c *serveCmd) Run(ctx context.Context, std streams) error {
	cfg, err := config.Load(c.Config, os.Getenv)
	if err = errors.Join(err, config.Misspelt(os.Environ())); err != nil {
		return usage("%w", err)
	}
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
	beside, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	reload.log = log
	running.Go(func() { reload.run(beside, s) })
	running.Go(func() {
		doctor{config: cfg, getenv: os.Getenv, now: time.Now, http: &http.Client{}, brief: true}.logged(beside, log)
	})
	err = s.Run(ctx)
	stop()
	running.Wait()
	return err
}

// logger writes to standard error: for people as text, for machines as JSON.
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
