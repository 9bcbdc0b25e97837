package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/purgebot/purgebot/internal/web"
)

// retryCmd is purgebot retry: the refused objects of one purge, or of many with --failed.
type retryCmd struct {
	Purge   string        `arg:"" optional:"" help:"The purge's id, as status and queue list it, or the address of its page."`
	Failed  bool          `help:"Every purge with refused objects, instead of one. Without --yes it only counts."`
	Since   time.Duration `help:"With --failed: purges that are not done, or ended within this time, as in 2h." placeholder:"TIME"`
	Repo    string        `help:"With --failed: only this repository, or those that a glob fits." placeholder:"OWNER/NAME"`
	Account string        `help:"With --failed: only purges that go with this Akamai account." placeholder:"NAME"`
	Reason  string        `help:"With --failed: only objects that were refused for a reason that contains this, in any case." placeholder:"WORDS"`
	Yes     bool          `help:"With --failed: do it."`

	actFlags
}

// Run checks the flags, and retries one purge or many. --failed needs --since, so that
// nobody retries the whole history by accident.
func (c *retryCmd) Run(ctx context.Context, std streams) error {
	switch many := c.Since != 0 || c.Repo != "" || c.Account != "" || c.Reason != "" || c.Yes; {
	case c.Purge != "" && c.Failed:
		return usage("name a purge or give --failed, not both")
	case !c.Failed && many:
		return usage("--since, --repo, --account, --reason and --yes go with --failed")
	case c.Failed && c.Since <= 0:
		return usage("--failed needs a time, as in --since 2h")
	case c.Failed:
		return c.all(ctx, std)
	case c.Purge == "":
		return usage("name a purge, as status and queue list them, or give --failed --since TIME")
	}
	return c.act(ctx, std, c.Purge, "retry")
}

// retriedDoc is the answer of retry --failed.
type retriedDoc struct {
	DryRun  bool      `json:"dry_run"`
	Purges  []retried `json:"purges"`
	Objects int       `json:"objects"` // refused ones that the flags select
	Freed   int       `json:"freed"`   // of these, the ones that will be sent again
}

// retried is a purge as it was when it was counted, and what became of its retry.
type retried struct {
	web.FailedPurge
	Freed   int    `json:"freed"`
	Refused string `json:"refused"` // why objects stay refused, or why the purge was not retried; "": none stay, or a dry run
}

// all counts the refused objects and, with --yes, retries one purge after another. It
// retries exactly the purges that it counted first, so a purge that is refused again in
// the meantime does not go round in a circle. After an interruption another run
// continues: an object that waits to be sent again no longer counts as refused.
//
// With --json the document is printed even after an error, since some purges may have
// been retried by then.
func (c *retryCmd) all(ctx context.Context, std streams) error {
	server, err := c.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	doc := retriedDoc{DryRun: !c.Yes, Purges: []retried{}}
	if err := c.count(ctx, server, &doc); err != nil {
		return err
	}
	tell := std.out
	if c.JSON {
		tell = io.Discard
	}
	if c.Yes {
		err = c.retry(ctx, server, &doc, tell)
	} else {
		err = describeFailed(tell, doc, time.Now())
	}
	if c.JSON {
		err = errors.Join(printJSON(std.out, doc), err)
	}
	return err
}

// count reads every page of the refused objects, before anything is changed.
func (c *retryCmd) count(ctx context.Context, server *operator, doc *retriedDoc) error {
	query := url.Values{"since": {time.Now().Add(-c.Since).UTC().Format(time.RFC3339)}, "repo": {c.Repo}, "account": {c.Account}, "reason": {c.Reason}}
	for {
		var page web.Failed
		if err := server.ask(ctx, http.MethodGet, "/api/failed", query, nil, &page); err != nil {
			return err
		}
		for _, p := range page.Purges {
			doc.Purges = append(doc.Purges, retried{FailedPurge: p})
			doc.Objects += p.Objects
		}
		if page.Next == "" {
			return nil
		}
		query.Set("from", page.Next)
	}
}

// retry retries the counted purges one by one. A conflict or a missing purge concerns
// that purge alone, and the next one follows. Any other error ends the run, because it
// would meet every purge. It fails (exit 1) if an object stays refused.
func (c *retryCmd) retry(ctx context.Context, server *operator, doc *retriedDoc, out io.Writer) error {
	for i := range doc.Purges {
		p := &doc.Purges[i]
		var done web.Acted
		err := server.ask(ctx, http.MethodPost, actPath(p.Purge.ID, "retry"), nil, web.Ask{By: c.By, Reason: c.Reason}, &done)
		if said, ok := errors.AsType[*answerError](err); ok && (said.status == http.StatusConflict || said.status == http.StatusNotFound) {
			p.Refused = said.words // this purge's own: the others are retried
			fmt.Fprintln(out, oneLine(fmt.Sprintf("%s of %s %s: %s", p.Purge.ID, p.Purge.Repository, p.Purge.Environment, p.Refused)))
			continue
		}
		if err != nil {
			return fmt.Errorf("%d of %s retried, then: %w; run it again for the rest", i, plural(len(doc.Purges), "purge"), err)
		}
		p.Freed, p.Refused = done.Freed, done.Refused
		doc.Freed += p.Freed
		line := describeAct("retry", done)
		if left := p.Objects - p.Freed; left > 0 {
			line += fmt.Sprintf("; %s refused: %s", stay(left), oneLine(p.Refused))
		}
		fmt.Fprintln(out, line)
	}
	left := doc.Objects - doc.Freed
	fmt.Fprintf(out, "%s of %s will be sent again", plural(doc.Freed, "object"), plural(len(doc.Purges), "purge"))
	if left <= 0 { // fewer than none: some were refused after they were counted
		fmt.Fprintln(out)
		return nil
	}
	fmt.Fprintf(out, ", %s refused\n", stay(left))
	return failed()
}

// stay is a number of objects with the verb that fits it.
func stay(n int) string {
	if n == 1 {
		return "1 object stays"
	}
	return plural(n, "object") + " stay"
}

// describeFailed lists what a retry would cover. It changes nothing.
func describeFailed(out io.Writer, doc retriedDoc, now time.Time) error {
	if len(doc.Purges) == 0 {
		fmt.Fprintln(out, "No such object was refused")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, cells("PURGE", "REPOSITORY", "ENVIRONMENT", "REFUSED", "AGE", "MOST OF THEM"))
	for _, p := range doc.Purges {
		why := ""
		if len(p.Reasons) > 0 {
			why = p.Reasons[0].Reason
		}
		fmt.Fprintln(w, cells(p.Purge.ID, p.Purge.Repository, p.Purge.Environment, fmt.Sprint(p.Objects), age(now.Sub(p.Purge.CreatedAt)), why))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s of %s would be tried again; nothing was done: add --yes to do it\n",
		plural(doc.Objects, "refused object"), plural(len(doc.Purges), "purge"))
	return nil
}
