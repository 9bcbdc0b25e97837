package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/purgebot/purgebot/internal/config"
)

// healthcheckCmd is purgebot healthcheck: the probe of the container.
type healthcheckCmd struct {
	Config string `help:"Configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`
}

// probeTime is how long the server may take to answer. It is less than the 5 s that the
// container's probe allows, so that this command can still say what is wrong.
const probeTime = 3 * time.Second

// Run prints nothing if the server is well. It needs only the listen address, and ignores
// other faults of the configuration: the server reports those itself.
func (c *healthcheckCmd) Run(ctx context.Context) error {
	cfg, faults := config.Load(c.Config, os.Getenv)
	if faults != nil && c.Config != "" && cfg.File == "" {
		return usage("%w", faults)
	}
	host, err := dialable(cfg.Listen)
	if err != nil {
		return usage("%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	probe := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // without a proxy, which could answer for the server
	res, err := probe.Do(req)
	if err != nil {
		return fmt.Errorf("check health of %s: %w", host, reason(err))
	}
	if err := res.Body.Close(); err != nil {
		return fmt.Errorf("check health of %s: %w", host, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("check health of %s: it answers %d", host, res.StatusCode)
	}
	return nil
}
