package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/purger"
)

type serveCmd struct {
	Config string `help:"Configuration file; ./purgebot.yaml if it exists." placeholder:"FILE"`
	Log    string `help:"Log format: text or json." enum:"text,json" default:"text"`
	Level  string `help:"Least level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
}

// Run serves until the context ends, that is until SIGTERM or an interrupt.
func (c *serveCmd) Run(ctx context.Context, std streams) error {
	cfg, err := config.Load(c.Config, os.Getenv)
	if err != nil {
		return usage("%w", err)
	}
	akamai := func() (purger.Config, error) {
		credentials, err := purger.LoadCredentials(cfg.Akamai.Edgerc, cfg.Akamai.Section, os.Getenv)
		return purger.Config{
			Credentials: credentials, BaseURL: cfg.Akamai.BaseURL, AccountSwitchKey: cfg.Akamai.AccountSwitchKey,
		}, err
	}
	if _, err := akamai(); err != nil {
		return usage("akamai: %w", err)
	}
	log, err := c.logger(std)
	if err != nil {
		return err
	}
	secrets := make([]string, len(cfg.GitHub.WebhookSecrets))
	for i, s := range cfg.GitHub.WebhookSecrets {
		secrets[i] = s.Reveal()
	}
	s, err := newServer(ctx, serverConfig{
		listen: cfg.Listen, publicURL: cfg.PublicURL, database: cfg.Database.Reveal(), secrets: secrets,
		github: github.Config{
			APIURL: cfg.GitHub.APIURL, AppID: cfg.GitHub.AppID, PrivateKey: []byte(cfg.GitHub.PrivateKey.Reveal()), Log: log,
		},
		akamai: akamai,
		policy: cfg.Policy, retention: cfg.Retention,
		log: log,
	})
	if err != nil {
		return err
	}
	return s.run(ctx)
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
