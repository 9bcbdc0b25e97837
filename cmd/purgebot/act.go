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
	By     string `help:"Who wants it; goes into the commit's status (default: the operator)." placeholder:"NAME"`
	Config string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// onePurge is the argument of those that are about one.
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

func (c *releaseCmd) Run(ctx context.Context, std streams) error {
	return c.act(ctx, std, c.Purge, "release")
}

func (c *cancelCmd) Run(ctx context.Context, std streams) error {
	return c.act(ctx, std, c.Purge, "cancel")
}

// actPath is the API's operation that does a verb with a purge.
func actPath(id, verb string) string { return "/api/purges/" + url.PathEscape(id) + "/" + verb }

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
