package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/purgebot/purgebot/internal/web"
)

// replayCmd is purgebot replay.
type replayCmd struct {
	Delivery string `arg:"" help:"The delivery's id, as queue lists it."`
	Config   string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// Run asks the server to handle a delivery again. The server refuses a delivery that is
// not set aside, which exits with 1.
func (c *replayCmd) Run(ctx context.Context, std streams) error {
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	var doc web.Replayed
	if err := server.ask(ctx, http.MethodPost, "/api/deliveries/"+url.PathEscape(c.Delivery)+"/replay", nil, nil, &doc); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	fmt.Fprintf(std.out, "Delivery %s is handled again\n", oneLine(doc.Delivery))
	return nil
}
