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

// actFlags are the flags of retry, release and cancel.
type actFlags struct {
	By     string `help:"Who wants it; goes into the commit's status (default: the operator)." placeholder:"NAME"`
	Config string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// onePurge is the argument of the commands that act on one purge.
type onePurge struct {
	Purge string `arg:"" help:"The purge's id, as status and queue list it, or the address of its page."`
}

// releaseCmd is purgebot release.
type releaseCmd struct {
	onePurge
	actFlags
}

// cancelCmd is purgebot cancel.
type cancelCmd struct {
	onePurge
	actFlags
}

// Run approves a held purge, so that the server sends it.
func (c *releaseCmd) Run(ctx context.Context, std streams) error {
	return c.act(ctx, std, c.Purge, "release")
}

// Run cancels a purge: the server drops the objects that were not sent yet.
func (c *cancelCmd) Run(ctx context.Context, std streams) error {
	return c.act(ctx, std, c.Purge, "cancel")
}

// actPath is the API path of the operation that applies a verb to a purge.
func actPath(id, verb string) string { return "/api/purges/" + url.PathEscape(id) + "/" + verb }

// act asks the server to apply a verb to one purge, and prints how the purge stands after
// that. The purge is named by its id or by the address of its page; people copy both. A
// string that could reach another path of the API is refused.
func (c *actFlags) act(ctx context.Context, std streams, purge, verb string) error {
	id := strings.TrimRight(purge, "/")
	if _, key, ok := strings.Cut(id, "/purges/"); ok {
		id = key
	}
	if id == "" || strings.ContainsAny(id, "/?# ") {
		return usage("%q is neither a purge's id nor the address of its page", purge)
	}
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	var doc web.Acted
	if err := server.ask(ctx, http.MethodPost, actPath(id, verb), nil, web.Ask{By: c.By}, &doc); err != nil {
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
