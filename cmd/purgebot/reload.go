package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/purger"
)

// watchEvery is how often the configuration's file is looked at: a change is
// seen within 10 s, as documented.
const watchEvery = 5 * time.Second

// reloader has a running server take a changed configuration.
type reloader struct {
	path    string // as given to --config
	getenv  func(string) string
	current atomic.Pointer[config.Config]
	seen    digest         // of the file's content that was tried last
	hangup  chan os.Signal // SIGHUP
	log     *slog.Logger
}

// digest tells contents of a file apart.
type digest [sha256.Size]byte

// newReloader begins with a configuration that was just loaded. From now on
// SIGHUP no longer ends the process, until close.
func newReloader(path string, getenv func(string) string, cfg config.Config) *reloader {
	r := &reloader{path: path, getenv: getenv, hangup: make(chan os.Signal, 1)}
	r.current.Store(&cfg)
	r.changed()
	signal.Notify(r.hangup, syscall.SIGHUP)
	return r
}

func (r *reloader) close() { signal.Stop(r.hangup) }

// run reloads at each SIGHUP, and when the file's content is another one,
// until ctx ends. A file that is at fault is told of once; its next change is
// tried again.
func (r *reloader) run(ctx context.Context, s *server.Server) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
			r.changed()
			r.reload(ctx, s)
		case <-tick.C:
			if r.changed() {
				r.reload(ctx, s)
			}
		}
	}
}

// changed tells whether the file's content is another one than when it was
// asked last. A file that is not there for a moment, while an editor replaces
// it, is no change.
func (r *reloader) changed() bool {
	content, err := os.ReadFile(r.current.Load().File)
	if err != nil {
		return false
	}
	before := r.seen
	r.seen = sha256.Sum256(content)
	return r.seen != before
}

// reload takes what can be taken, and says what can't.
func (r *reloader) reload(ctx context.Context, s *server.Server) {
	var next config.Config
	err := s.Reload(ctx, func() (server.Settings, error) {
		var err error
		next, err = config.Load(r.path, r.getenv)
		if err != nil {
			return server.Settings{}, err
		}
		return settings(next), nil
	})
	if err != nil {
		return // it is in the log
	}
	before := r.current.Swap(&next)
	if keys := before.NeedsRestart(next); len(keys) > 0 {
		r.log.LogAttrs(ctx, slog.LevelWarn, "these keys changed too, and take a restart", slog.String("keys", strings.Join(keys, ", ")))
	}
	for _, words := range next.Warnings {
		r.log.WarnContext(ctx, "configuration", "what", words)
	}
}

// settings are those of a configuration that a running server takes anew.
func settings(c config.Config) server.Settings {
	s := server.Settings{Policy: c.Policy, Accounts: c.Akamai.Names(), Akamai: akamaiOf(c.Akamai), Notify: c.Notify, Secrets: make([]string, len(c.GitHub.WebhookSecrets))}
	for i, secret := range c.GitHub.WebhookSecrets {
		s.Secrets[i] = secret.Reveal()
	}
	return s
}

// akamaiOf gives the credentials of accounts as they are when it is asked.
func akamaiOf(a config.Akamai) func(account string) (purger.Config, error) {
	return func(account string) (purger.Config, error) {
		c, err := a.Client(account, os.Getenv)
		c.UserAgent = userAgent()
		return c, err
	}
}
