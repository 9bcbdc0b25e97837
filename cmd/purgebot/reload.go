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

// watchEvery is how often reloader reads the configuration file. The documentation
// promises that a change takes effect within 10 s; twice a period is enough for that.
const watchEvery = 5 * time.Second

// reloader makes a running server take over a changed configuration. Its goroutine is the
// only one that reads seen and log; newReloader runs before that goroutine starts.
type reloader struct {
	path   string // as given to --config; "": the default file, if it exists
	getenv func(string) string
	// The configuration in force; a reload that fails leaves it as it is.
	current atomic.Pointer[config.Config]
	seen    digest         // of the file's content that was last tried, good or bad
	hangup  chan os.Signal // SIGHUP; holds one, as several in a row need only one reload
	log     *slog.Logger
}

// digest is the SHA-256 of a file's content. It tells whether the content changed; a
// file's time does not tell that reliably.
type digest [sha256.Size]byte

// newReloader starts from a configuration that was just loaded. From then on SIGHUP no
// longer ends the process, until close.
func newReloader(path string, getenv func(string) string, cfg config.Config) *reloader {
	r := &reloader{path: path, getenv: getenv, hangup: make(chan os.Signal, 1)}
	r.current.Store(&cfg)
	// The result does not matter here: this call records the digest of the file as it is
	// now, so that the first tick of run sees no change.
	r.changed()
	signal.Notify(r.hangup, syscall.SIGHUP)
	return r
}

// close gives SIGHUP its default effect again, which ends the process.
func (r *reloader) close() { signal.Stop(r.hangup) }

// run reloads at each SIGHUP, and whenever the file's content changed, until ctx ends. A
// faulty file is reported once. It is tried again when its content changes or at the next
// SIGHUP.
func (r *reloader) run(ctx context.Context, s *server.Server) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
			// Records the digest, so that the next tick does not reload the same content
			// again.
			r.changed()
			r.reload(ctx, s)
		case <-tick.C:
			if r.changed() {
				r.reload(ctx, s)
			}
		}
	}
}

// changed reports whether the file's content differs from what the previous call saw. A
// file that is missing for a moment, for example while an editor replaces it, counts as
// unchanged.
func (r *reloader) changed() bool {
	content, err := os.ReadFile(r.current.Load().File)
	if err != nil {
		return false
	}
	before := r.seen
	r.seen = sha256.Sum256(content)
	return r.seen != before
}

// reload loads the configuration and gives the server the settings that a running server
// can take. It logs a warning that names the changed keys that need a restart. If
// anything is wrong, everything stays as it is.
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
		return // Server.Reload has logged it
	}
	// NeedsRestart compares with the configuration before this one, and not with the one
	// the process started with. So a key that changes back is reported once more.
	before := r.current.Swap(&next)
	if keys := before.NeedsRestart(next); len(keys) > 0 {
		r.log.LogAttrs(ctx, slog.LevelWarn, "these keys changed too, and take a restart", slog.String("keys", strings.Join(keys, ", ")))
	}
	for _, words := range next.Warnings {
		r.log.WarnContext(ctx, "configuration", "what", words)
	}
}

// settings picks from a configuration the part that a running server can take over.
func settings(c config.Config) server.Settings {
	s := server.Settings{Policy: c.Policy, Accounts: c.Akamai.Names(), Akamai: akamaiOf(c.Akamai), Notify: c.Notify, Secrets: make([]string, len(c.GitHub.WebhookSecrets))}
	for i, secret := range c.GitHub.WebhookSecrets {
		s.Secrets[i] = secret.Reveal()
	}
	return s
}

// akamaiOf returns a function that loads the credentials of an account again at each
// call. So an .edgerc that the operator corrects takes effect without a restart.
func akamaiOf(a config.Akamai) func(account string) (purger.Config, error) {
	return func(account string) (purger.Config, error) {
		c, err := a.Client(account, os.Getenv)
		c.UserAgent = userAgent()
		return c, err
	}
}
