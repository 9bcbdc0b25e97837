package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/web"
)

// scopeFlags say what a pause covers. resume takes the same flags, and ends the pause
// that has exactly this scope.
type scopeFlags struct {
	Repo    string `help:"Only repositories that this glob fits, in any case." placeholder:"GLOB"`
	Env     string `help:"Only environments of this name, in any case." placeholder:"ENV"`
	Account string `help:"Only purges of this Akamai account." placeholder:"NAME"`
	By      string `help:"Who wants it (default: your login name, or the operator)." placeholder:"NAME"`
	Config  string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// pauseCmd is purgebot pause.
type pauseCmd struct {
	scopeFlags

	For    time.Duration `help:"End by itself after this time, as 90m or 2h (default: when it is resumed)." placeholder:"TIME"`
	All    bool          `help:"Pause people's purges too."`
	Reason string        `required:"" help:"Why; commit statuses show it." placeholder:"TEXT"`
}

// resumeCmd is purgebot resume.
type resumeCmd struct{ scopeFlags }

// pausesCmd is purgebot pauses.
type pausesCmd struct {
	Config string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// Run makes a pause and prints it. The API takes whole seconds, so a duration with
// fractions is refused and not rounded.
func (c *pauseCmd) Run(ctx context.Context, std streams) error {
	if c.For < 0 || c.For%time.Second != 0 {
		return usage("--for %s is not a number of seconds, minutes or hours", c.For)
	}
	doc, err := c.post(ctx, "/api/pauses", web.PauseAsk{
		Repo: c.Repo, Env: c.Env, Account: c.Account, All: c.All, Seconds: int64(c.For / time.Second), Reason: c.Reason, By: c.by(),
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	describePauses(std.out, doc.Pauses, doc.At)
	return nil
}

// Run ends the pause of this scope and prints what it held back.
func (c *resumeCmd) Run(ctx context.Context, std streams) error {
	doc, err := c.post(ctx, "/api/pauses/resume", web.ResumeAsk{Repo: c.Repo, Env: c.Env, Account: c.Account, By: c.by()})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	for _, p := range doc.Pauses {
		fmt.Fprintf(std.out, "Resumed %s: %s with %s are sent now\n", oneLine(p.Covers), plural(p.Purges, "purge"), plural(p.Objects, "object"))
	}
	return nil
}

// Run lists the active pauses.
func (c *pausesCmd) Run(ctx context.Context, std streams) error {
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	var doc web.Pauses
	if err := server.ask(ctx, http.MethodGet, "/api/pauses", nil, nil, &doc); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	return listPauses(std.out, doc)
}

// post sends a change of pauses to the server and returns its answer.
func (c *scopeFlags) post(ctx context.Context, path string, ask any) (doc web.Pauses, err error) {
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return doc, err
	}
	return doc, server.ask(ctx, http.MethodPost, path, nil, ask, &doc)
}

// by names the person who acts: --by, else the login name. Root is left out, because in a
// container it names nobody. For "" the server says that the operator did it.
func (c *scopeFlags) by() string {
	if c.By != "" {
		return c.By
	}
	if u, err := user.Current(); err == nil && u.Uid != "0" {
		return u.Username
	}
	return ""
}

// listPauses prints the pauses as a table, with when each ends and the command that ends
// it.
func listPauses(out io.Writer, doc web.Pauses) error {
	if len(doc.Pauses) == 0 {
		fmt.Fprintln(out, "Nothing is paused.")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, cells("COVERS", "BY", "SINCE", "ENDS", "PURGES", "OBJECTS", "REASON", "RESUME WITH"))
	for _, p := range doc.Pauses {
		fmt.Fprintln(w, cells(p.Covers, p.By, age(doc.At.Sub(p.Since)), ends(p, doc.At), report.Number(p.Purges), report.Number(p.Objects), p.Reason, resumeWith(p)))
	}
	return w.Flush()
}

// ends says when a pause ends. A zero Until means that only a resume ends it.
func ends(p web.Paused, now time.Time) string {
	if p.Until.IsZero() {
		return "when resumed"
	}
	return "in " + age(p.Until.Sub(now).Round(time.Minute))
}

// resumeWith is the command that ends a pause, ready to paste into a POSIX shell. Each
// value is in single quotes, since it may hold a glob.
func resumeWith(p web.Paused) string {
	words := []string{"purgebot resume"}
	for _, flag := range [][2]string{{"repo", p.Repositories}, {"env", p.Environment}, {"account", p.Account}} {
		if flag[1] != "" {
			words = append(words, "--"+flag[0]+" '"+strings.ReplaceAll(flag[1], "'", `'\''`)+"'")
		}
	}
	return strings.Join(words, " ")
}

// describePauses prints one line for each pause, and an empty line after them.
func describePauses(out io.Writer, pauses []web.Paused, now time.Time) {
	for _, p := range pauses {
		fmt.Fprintf(out, "Paused by %s: %s (%s; ends %s; %s with %s wait)\n", oneLine(p.By), oneLine(p.Reason), oneLine(p.Covers), ends(p, now),
			plural(p.Purges, "purge"), plural(p.Objects, "object"))
	}
	if len(pauses) > 0 {
		fmt.Fprintln(out)
	}
}
