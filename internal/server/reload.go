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

// Settings are what a running server can take over, see [Server.Reload].
type Settings struct {
	Policy   policy.Policy
	Accounts []string // names of Akamai accounts other than the default one
	// Akamai returns the credentials of an account. The server calls it again after an
	// answer that puts the credentials in doubt.
	Akamai  func(account string) (purger.Config, error)
	Secrets []string // of the webhook
	Notify  []config.Receiver
}

// inForce is the settings that are in force, with what the server made from them. A value
// never changes after it is stored; a reload replaces it as a whole.
type inForce struct {
	Settings
	receive   echo.HandlerFunc
	receivers []notify.Receiver
	accounts  map[string]*akamaiClient
}

// reloadable holds the settings in force, and a metric of how the last change went. Its
// methods may be called concurrently. current is nil until take is called once.
type reloadable struct {
	current atomic.Pointer[inForce]
	ok      prometheus.Gauge
}

func (r *reloadable) policy() policy.Policy               { return r.current.Load().Policy }
func (r *reloadable) receivers() []notify.Receiver        { return r.current.Load().receivers }
func (r *reloadable) secrets() []string                   { return r.current.Load().Secrets }
func (r *reloadable) serveWebhook(c echo.Context) error   { return r.current.Load().receive(c) }
func (r *reloadable) take(now *inForce, wentWell float64) { r.current.Store(now); r.ok.Set(wentWell) }

// hearers are the receivers, reduced to what the store needs.
func (r *reloadable) hearers() (all []ledger.Receiver) {
	for _, one := range r.receivers() {
		all = append(all, one.Receiver)
	}
	return all
}

// Reload takes over other settings: all of them or, if load or a setting fails, none.
//
// Work that is under way ends with the settings that it began with. What waits is judged
// by the new settings wherever it is judged again. It goes with the Akamai account that
// the new settings name, whose credentials are read anew. The log and the metric
// purgebot_config_reload_ok tell how it went. Calls must not overlap.
func (s *Server) Reload(ctx context.Context, load func() (Settings, error)) error {
	next, err := load()
	if err == nil {
		var made *inForce
		if made, err = s.force(next); err == nil {
			err = s.store.SetAccounts(ctx, next.Accounts)
		}
		// The store learns the accounts before anything else changes: it is the last step
		// that can fail.
		if err == nil {
			// The clients come before the policy: a purge that the new policy gives to a
			// new account must find its client.
			s.akamai.current.Store(&made.accounts)
			s.settings.take(made, 1)
			// The new settings are in force whatever happens here.
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

// force makes what the settings need: the webhook's handler and a client for each Akamai
// account. It changes nothing in the server.
func (s *Server) force(next Settings) (*inForce, error) {
	receive, err := webhook.New(webhook.Config{
		Secrets: next.Secrets, Now: s.cfg.Now, Log: s.cfg.Log,
		Store: func(ctx context.Context, d webhook.Delivery) (bool, error) {
			fresh, err := s.store.Receive(ctx, store.Delivery{
				GUID: d.GUID, Event: d.Event, RepoID: d.RepositoryID, Person: d.Person, Body: d.Body, ReceivedAt: d.ReceivedAt,
				At: s.pipeline.AtGitHub(d.ReceivedAt),
			})
			// The delivery may not be stored, or GitHub may not have seen the answer. The
			// pipeline asks GitHub to deliver it again.
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
