package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/web"
)

// statusCmd is purgebot status.
type statusCmd struct {
	Repo   string `help:"Only this repository." placeholder:"OWNER/NAME"`
	Env    string `help:"Only environments of this name." placeholder:"ENV"`
	Config string `help:"The server's configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`

	askFlags
}

// Run asks for the status and prints it. A repository or an environment that the server
// does not know exits with 2, as docs/cli.md promises: it is most often misspelt.
func (c *statusCmd) Run(ctx context.Context, std streams) error {
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	query := url.Values{}
	for name, value := range map[string]string{"repo": c.Repo, "env": c.Env} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var doc web.Status
	err = server.ask(ctx, http.MethodGet, "/api/status", query, nil, &doc)
	if a, ok := errors.AsType[*answerError](err); ok && a.status == http.StatusNotFound {
		return usage("%w", err)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	return describeStatus(std.out, doc)
}

// describeStatus prints a status for people. It computes ages with the server's clock
// (doc.At), because the clock of this machine may differ.
func describeStatus(out io.Writer, doc web.Status) error {
	describePauses(out, doc.Pauses, doc.At)
	if len(doc.Environments) == 0 {
		fmt.Fprintln(out, "Nothing is known yet: no push and no deployment was received.")
		return nil
	}
	for _, a := range doc.Accounts {
		describePause(out, a, len(doc.Accounts) > 1, doc.At)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, cells("REPOSITORY", "ENVIRONMENT", "LIVE", "SINCE", "DESIRED", "DEPLOYMENT", "STATE"))
	for _, e := range doc.Environments {
		live, since := point(e.Live, doc.At)
		desired, _ := point(e.Desired, doc.At)
		deployment := ""
		if e.Desired != nil && e.Desired.Deployment != 0 {
			deployment = strconv.FormatInt(e.Desired.Deployment, 10)
		}
		fmt.Fprintln(w, cells(e.Repository, e.Environment, live, since, desired, deployment, distance(e, doc)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var purges []web.Purge
	for _, e := range doc.Environments {
		if e.Fault != "" {
			fmt.Fprintf(out, "\n%s %s is waiting: %s\n", oneLine(e.Repository), oneLine(e.Environment), oneLine(e.Fault))
		}
		purges = append(purges, e.Purges...)
	}
	if doc.More {
		fmt.Fprintln(out, "\nThere are more environments: ask for one repository with --repo.")
	}
	return describePurges(out, purges, doc.At)
}

// point is a commit and its age, for a table; both "" if there is none.
func point(p *web.Point, now time.Time) (sha, since string) {
	if p == nil {
		return "", ""
	}
	return report.Short(p.SHA), age(now.Sub(p.Since))
}

// distance says in a few words how live and desired differ. The cases are in order of
// importance: first what waits for a person, then what ends by itself. Only the newest
// purge counts.
func distance(e web.Environment, doc web.Status) string {
	var last web.Purge
	if len(e.Purges) > 0 {
		last = e.Purges[0]
	}
	open := last.State == string(ledger.Open)
	stopped := slices.ContainsFunc(doc.Accounts, func(a web.Account) bool { return a.Pause != nil && a.Account == last.Account })
	switch {
	case e.Fault != "":
		return "waiting, see below"
	case e.Held != "":
		return "held: " + e.Held
	case !e.Reconciled && e.DueAt.After(doc.At):
		return "waiting to settle, due in " + age(e.DueAt.Sub(doc.At))
	case !e.Reconciled:
		return "being planned"
	case e.Live == nil:
		return "nothing deployed"
	case last.Failed > 0:
		return "refused: " + report.Number(last.Failed) + " of " + report.Number(last.Total)
	case last.PausedBy != "":
		return "paused by " + last.PausedBy
	case open && stopped:
		return "paused, see above"
	case open:
		return "being purged"
	default:
		return "in sync"
	}
}

// stateWords is a purge's state in the words that people read everywhere.
func stateWords(state string) string {
	if state == string(ledger.Held) {
		return "needs approval"
	}
	return state
}

// describePurges prints a table of purges and how far each is, after an empty line.
func describePurges(out io.Writer, purges []web.Purge, now time.Time) error {
	if len(purges) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, cells("PURGE", "REPOSITORY", "ENVIRONMENT", "STATE", "ACCEPTED", "REFUSED", "AGE", "STATUS"))
	for _, p := range purges {
		fmt.Fprintln(w, cells(p.ID, p.Repository, p.Environment, stateWords(p.State),
			report.Number(p.Accepted)+"/"+report.Number(p.Total), report.Number(p.Failed), age(now.Sub(p.CreatedAt)), p.Words))
	}
	return w.Flush()
}

// describePause says why nothing is sent with an account, if that is so. It names the
// account only if there are several.
func describePause(out io.Writer, a web.Account, several bool, now time.Time) {
	if a.Pause == nil {
		return
	}
	with := ""
	if several {
		with = " with account " + oneLine(a.Account)
	}
	fmt.Fprintf(out, "Nothing is being sent to Akamai%s; next try in %s: %s\n\n", with, age(a.Pause.Until.Sub(now)), oneLine(a.Pause.Words))
}
