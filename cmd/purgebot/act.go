package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/purgebot/purgebot/internal/web"
)

// actFlags are those of retry, release and cancel.
type actFlags struct {
	Purge  string `arg:"" help:"The purge's id, as status and queue list it, or the address of its page."`
	By     string `help:"Who wants it; goes into the commit's status (default: the operator)." placeholder:"NAME"`
	Config string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// retryCmd is purgebot retry.
type retryCmd struct{ actFlags }

// releaseCmd is purgebot release.
type releaseCmd struct{ actFlags }

// cancelCmd is purgebot cancel.
type cancelCmd struct{ actFlags }

func (c *retryCmd) Run(ctx context.Context, std streams) error   { return c.act(ctx, std, "retry") }
func (c *releaseCmd) Run(ctx context.Context, std streams) error { return c.act(ctx, std, "release") }

func (c *cancelCmd) Run(ctx context.Context, std streams) error { return c.act(ctx, std, "cancel") }

func (c *actFlags) act(ctx context.Context, std streams, verb string) error {
	id := strings.TrimRight(c.Purge, "/")
	if _, key, ok := strings.Cut(id, "/purges/"); ok {
		id = key
	}
	if id == "" || strings.ContainsAny(id, "/?# ") {
		return usage("%q is neither a purge's id nor the address of its page", c.Purge)
	}
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	var doc web.Acted
	path := "/api/purges/" + url.PathEscape(id) + "/" + verb
	if err := server.ask(ctx, http.MethodPost, path, nil, web.Ask{By: c.By}, &doc); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	fmt.Fprintln(std.out, describeAct(verb, doc))
	return nil
}

// describeAct says what was done, and how the purge stands now.
func describeAct(verb string, doc web.Acted) string {
	p := doc.Purge
	where := oneLine(fmt.Sprintf("%s of %s %s: %s", p.ID, p.Repository, p.Environment, p.Words))
	switch verb {
	case "retry":
		return plural(doc.Freed, "object") + " will be sent again, " + where
	case "release":
		return "Released " + where
	default:
		return "Cancelled " + where
	}
}
