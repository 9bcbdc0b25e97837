package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/purgebot/purgebot/internal/demo"
)

// demoCmd is purgebot demo.
type demoCmd struct {
	Once   bool   `help:"Exit when the story ends: 0 only if every result was as expected."`
	Dir    string `help:"Keep the site and the database in this folder; a temporary one by default." placeholder:"DIR"`
	Listen string `help:"The server's address." default:"127.0.0.1:0" placeholder:"ADDR"`
	Log    bool   `help:"Show the server's log on standard error."`

	Repo  string `help:"Play the last commits of this clone instead of the story." placeholder:"DIR"`
	Rules string `help:"With --repo: use this rules file in every commit." placeholder:"FILE"`
	Last  *int   `help:"With --repo: how many commits; 10 by default." placeholder:"N"`
}

// Run plays the story: a site in git, stand-ins for GitHub and Akamai, and the real
// server between them, all on this machine. The story goes to standard output.
//
// A result that was not as expected, and an interruption, exit with 1 and no further
// message: the story has said it. A demo that can't be set up exits with 2.
func (c *demoCmd) Run(ctx context.Context, std streams) (err error) {
	cfg := demo.Config{Dir: c.Dir, Listen: c.Listen, Log: slog.New(slog.DiscardHandler), Out: std.out, Repo: c.Repo, Rules: c.Rules, Last: 10}
	if c.Repo == "" && (c.Rules != "" || c.Last != nil) {
		return usage("--rules and --last go with --repo")
	}
	if c.Last != nil {
		cfg.Last = *c.Last
	}
	if cfg.Last < 1 || cfg.Last > 10_000 {
		return usage("--last %d: from 1 to 10000 commits", cfg.Last)
	}
	if c.Log {
		cfg.Log = slog.New(slog.NewTextHandler(std.err, nil))
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "purgebot-demo-"); err != nil {
			return err
		}
		// Only a folder that this run made is removed. One that --dir names stays.
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	}
	d, err := demo.New(ctx, cfg)
	if err != nil {
		return usage("%w", err)
	}
	if err := d.Run(ctx, !c.Once); !errors.Is(err, demo.ErrNotAsTold) && !errors.Is(err, demo.ErrInterrupted) {
		return err
	}
	return failed()
}
