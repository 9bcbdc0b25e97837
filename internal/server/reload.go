package server

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/notify"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
	"github.com/purgebot/purgebot/webhook"
)

// Settings are what a running server takes anew: see [Server.Reload].
type Settings struct {
	Policy   policy.Policy
	Accounts []string // Akamai's, beside the default one
	// Akamai gives an account's credentials; it is asked again when they are in
	// doubt.
	Akamai  func(account string) (purger.Config, error)
	Secrets []string // the webhook's
	Notify  []config.Receiver
}

// inForce are the settings of this moment, with what is made of them. It is
// replaced as a whole, so that nobody sees the half of a change.
type inForce struct {
	Settings
	receive   echo.HandlerFunc
	receivers []notify.Receiver
	accounts  map[string]*akamaiClient
}

// reloadable holds the settings in force, and how the last change went.
type reloadable struct {
	current atomic.Pointer[inForce]
	ok      prometheus.Gauge
}

func (r *reloadable) policy() policy.Policy               { return r.current.Load().Policy }
func (r *reloadable) receivers() []notify.Receiver        { return r.current.Load().receivers }
func (r *reloadable) secrets() []string                   { return r.current.Load().Secrets }
func (r *reloadable) serveWebhook(c echo.Context) error   { return r.current.Load().receive(c) }
func (r *reloadable) take(now *inForce, wentWell float64) { r.current.Store(now); r.ok.Set(wentWell) }

// hearers are the receivers as far as the store has to know them.
func (r *reloadable) hearers() (all []ledger.Receiver) {
	for _, one := range r.receivers() {
		all = append(all, one.Receiver)
	}
	return all
}

// Reload takes other settings, all of them or, where load or a setting is at
// fault, none. Work that is under way ends by those that it began with; what
// waits is judged by the new ones wherever it is judged again, and goes with
// the Akamai account that they name, whose credentials are read anew. The log
// says how it went, and so does the metric purgebot_config_reload_ok.
func (s *Server) Reload(ctx context.Context, load func() (Settings, error)) error {
	next, err := load()
	if err == nil {
		var made *inForce
		if made, err = s.force(next); err == nil {
			err = s.store.SetAccounts(ctx, next.Accounts)
		}
		if err == nil {
			s.akamai.current.Store(&made.accounts)
			s.settings.take(made, 1)
			if err := s.pipeline.Assign(ctx); err != nil {
				s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "what waits will be assigned to Akamai accounts by the sweep", slog.Any("err", err))
			}
			s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "configuration taken anew")
			return nil
		}
	}
	s.settings.ok.Set(0)
	s.cfg.Log.LogAttrs(ctx, slog.LevelError, "the changed configuration is at fault; the one before stays in force", slog.Any("err", err))
	return err
}

// force makes what the settings need.
func (s *Server) force(next Settings) (*inForce, error) {
	receive, err := webhook.New(webhook.Config{
		Secrets: next.Secrets, Now: s.cfg.Now, Log: s.cfg.Log,
		Store: func(ctx context.Context, d webhook.Delivery) (bool, error) {
			fresh, err := s.store.Receive(ctx, store.Delivery{
				GUID: d.GUID, Event: d.Event, RepoID: d.RepositoryID, Person: d.Person, Body: d.Body, ReceivedAt: d.ReceivedAt,
				At: s.pipeline.AtGitHub(d.ReceivedAt),
			})
			if err != nil || ctx.Err() != nil {
				s.pipeline.Refused()
			}
			return fresh, err
		},
	})
	if err != nil {
		return nil, err
	}
	accounts, err := openAccounts(next.Accounts, next.Akamai, s.cfg.Log)
	return &inForce{Settings: next, receive: receive, receivers: notify.Receivers(next.Notify), accounts: accounts}, err
}
