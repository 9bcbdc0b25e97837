package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// akamaiClients are the clients in force, one for each account. A reload replaces the map
// as a whole, and nothing changes a stored map.
type akamaiClients struct {
	current atomic.Pointer[map[string]*akamaiClient]
}

// Send makes one attempt with an account's credentials, see [purger.Client.Send]. A
// reload may have removed the account since the request was claimed. The answer is then
// Unavailable, as if Akamai could not be reached.
func (a *akamaiClients) Send(ctx context.Context, account string, r purger.Request) purger.Answer {
	client, ok := (*a.current.Load())[account]
	if !ok {
		return purger.Answer{Verdict: purger.Unavailable, Err: fmt.Errorf("the Akamai account %s is not configured any more", account)}
	}
	return client.Send(ctx, r)
}

// openAccounts makes a client for the default account and for each other one. The error
// names the account if there are several.
func openAccounts(others []string, load func(account string) (purger.Config, error), log *slog.Logger) (map[string]*akamaiClient, error) {
	clients := map[string]*akamaiClient{}
	for _, account := range append([]string{ledger.DefaultAccount}, others...) {
		client, err := newAkamaiClient(func() (purger.Config, error) { return load(account) }, log.With("account", account))
		if err != nil && len(others) > 0 {
			err = fmt.Errorf("akamai account %s: %w", account, err)
		}
		if err != nil {
			return nil, err
		}
		clients[account] = client
	}
	return clients, nil
}

// akamaiClient sends with the current credentials of one account. After an answer that an
// operator must act on, it reads the credentials again before the next attempt. So an
// .edgerc that the operator corrects needs no restart.
type akamaiClient struct {
	load func() (purger.Config, error)
	log  *slog.Logger

	// mu guards the fields below. It is not held while a request is under way.
	mu     sync.Mutex
	client *purger.Client
	doubt  bool // the last answer was one that an operator must act on
}

// newAkamaiClient fails if the credentials can't be read, or have no valid form.
func newAkamaiClient(load func() (purger.Config, error), log *slog.Logger) (*akamaiClient, error) {
	a := &akamaiClient{load: load, log: log}
	client, err := a.open()
	a.client = client
	return a, err
}

func (a *akamaiClient) open() (*purger.Client, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	return purger.New(cfg)
}

// Send makes one attempt; see [purger.Client.Send].
func (a *akamaiClient) Send(ctx context.Context, r purger.Request) purger.Answer {
	answer := a.now(ctx).Send(ctx, r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doubt = answer.Verdict.Paused()
	return answer
}

// now returns the client for the next attempt. While the credentials are in doubt it
// reads them again. If that fails it keeps the old client, because the file may be in the
// middle of being written.
func (a *akamaiClient) now(ctx context.Context) *purger.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.doubt {
		return a.client
	}
	client, err := a.open()
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "akamai credentials can't be read again; the old ones are tried", slog.Any("err", err))
		return a.client
	}
	a.client = client
	return client
}
