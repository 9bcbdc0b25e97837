package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/purgebot/purgebot/purger"
)

// akamaiClient sends with the credentials as they are now: after an answer
// that an operator must mend they are read again before the next attempt, so
// that a mended .edgerc needs no restart.
type akamaiClient struct {
	load func() (purger.Config, error)
	log  *slog.Logger

	mu     sync.Mutex
	client *purger.Client
	doubt  bool // the last answer was one that an operator must mend
}

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
	answer := a.current(ctx).Send(ctx, r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doubt = answer.Verdict.Paused()
	return answer
}

func (a *akamaiClient) current(ctx context.Context) *purger.Client {
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
