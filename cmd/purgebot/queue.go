package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/purger"
)

// queueCmd is purgebot queue. It asks the server. With --api ccu-v2 it asks Akamai
// instead.
type queueCmd struct {
	Progress *string `help:"Ask how far this purge of ccu-v2 is: the progress_uri of its purge --json." placeholder:"URI"`

	askFlags
	akamaiFlags
}

// queueDoc is the answer of queue: what the server reports and, where there are
// credentials on this machine, what Akamai itself says about the account's budget.
type queueDoc struct {
	web.Queue
	Akamai []akamaiBucket `json:"akamai"` // empty if Akamai was not asked; never null

	account string // the account that Akamai's figures are of; "": the default one
}

// akamaiBucket is one of the account's token buckets as Akamai reports it. Figures that
// Akamai leaves out are null.
type akamaiBucket struct {
	Bucket    string   `json:"bucket"`
	Remaining *float64 `json:"remaining"`  // tokens left
	Limit     *float64 `json:"limit"`      // tokens of a full bucket
	PerSecond *float64 `json:"per_second"` // tokens that flow back
}

// v2Doc is the answer of queue --api ccu-v2.
type v2Doc struct {
	API      string `json:"api"`
	Length   int    `json:"length"`
	Capacity int    `json:"capacity"`
}

// v2ProgressDoc is the answer of queue --api ccu-v2 --progress. The times are Akamai's
// own text.
type v2ProgressDoc struct {
	API             string `json:"api"`
	PurgeID         string `json:"purge_id"`
	Status          string `json:"status"`
	ProgressURI     string `json:"progress_uri"`
	Submitted       string `json:"submitted,omitempty"`
	Completed       string `json:"completed,omitempty"`
	AskAgainSeconds int    `json:"ask_again_seconds"`
}

// v2Capacity is how many objects CCU v2's queue holds.
const v2Capacity = 10_000

// Run asks the server, then Akamai. If Akamai does not answer, a message on standard
// error says so and the command still succeeds, since the server's figures are complete
// without it.
func (c *queueCmd) Run(ctx context.Context, std streams) error {
	if c.API == apiCCUv2 {
		return c.legacy(ctx, std)
	}
	if c.Progress != nil {
		return usage("Fast Purge tells no progress: --progress needs --api %s", apiCCUv2)
	}
	server, err := c.askFlags.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	var doc queueDoc
	if err := server.ask(ctx, http.MethodGet, "/api/queue", nil, nil, &doc.Queue); err != nil {
		return err
	}
	if err := c.narrow(&doc); err != nil {
		return err
	}
	if doc.Akamai, err = c.budget(ctx); err != nil {
		fmt.Fprintln(std.err, "purgebot: Akamai was not asked for the budget:", oneLine(err.Error()))
	}
	if c.JSON {
		return printJSON(std.out, doc)
	}
	return describeQueue(std.out, doc)
}

// narrow removes from the answer what belongs to other accounts, if the command names
// one. Pauses without an account stay, since they cover every account. What has no
// account, such as deliveries, stays as well.
func (c *queueCmd) narrow(doc *queueDoc) error {
	if doc.account = c.Account; c.Account == "" {
		return nil
	}
	if !slices.ContainsFunc(doc.Accounts, func(a web.Account) bool { return a.Account == c.Account }) {
		return usage("the server has no Akamai account %q", c.Account)
	}
	doc.Accounts = slices.DeleteFunc(doc.Accounts, func(a web.Account) bool { return a.Account != c.Account })
	// The check above guarantees that one account is left.
	doc.Pause = doc.Accounts[0].Pause
	doc.Pauses = slices.DeleteFunc(doc.Pauses, func(p web.Paused) bool { return p.Account != "" && p.Account != c.Account })
	doc.Waiting = slices.DeleteFunc(doc.Waiting, func(w web.Waiting) bool { return w.Account != c.Account })
	doc.Requests = slices.DeleteFunc(doc.Requests, func(r web.Requests) bool { return r.Account != c.Account })
	doc.Budget = slices.DeleteFunc(doc.Budget, func(b web.Bucket) bool { return b.Account != c.Account })
	doc.Purges = slices.DeleteFunc(doc.Purges, func(p web.Purge) bool { return p.Account != c.Account })
	return nil
}

// describeAccounts says for which accounts sending is paused. If there are several, it
// also says how much waits for each.
func describeAccounts(out io.Writer, accounts []web.Account, now time.Time) {
	for _, a := range accounts {
		if len(accounts) > 1 {
			fmt.Fprintf(out, "Akamai account %s: %s waiting\n", a.Account, plural(a.Objects, "object"))
		}
		describePause(out, a, len(accounts) > 1, now)
	}
}

// budget asks Akamai how much of the account's budget is left. Such a question purges
// nothing. The list is not nil, even with an error, so that JSON never has null.
func (c *queueCmd) budget(ctx context.Context) ([]akamaiBucket, error) {
	buckets := []akamaiBucket{}
	api, err := c.akamaiFlags.connect(os.Getenv)
	if err != nil {
		return buckets, err
	}
	// CCU v2 has no budget to ask for.
	client, ok := api.(*purger.Client)
	if !ok {
		return buckets, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	add := func(name string, l purger.Level) {
		buckets = append(buckets, akamaiBucket{name, l.Remaining, l.Limit, l.PerSecond})
	}
	for i, kind := range []purger.Kind{purger.URL, purger.Tag, purger.CPCode} {
		a := client.RateLimitStatus(ctx, kind)
		// A Limited answer carries the levels too: the budget is used up, which is what
		// is asked.
		if a.Verdict != purger.Accepted && a.Verdict != purger.Limited {
			return buckets, fmt.Errorf("rate-limit-status: %s", a.Explain())
		}
		if i == 0 { // each answer has the level of requests too; one is enough
			add("requests", a.Limits.Requests)
		}
		add(string(kind), a.Limits.Objects)
	}
	return buckets, nil
}

// legacy asks CCU v2 how far a purge is or, without --progress, how long its queue is. No
// server is asked.
func (c *queueCmd) legacy(ctx context.Context, std streams) error {
	api, err := c.akamaiFlags.connect(os.Getenv)
	if err != nil {
		return usage("%w", err)
	}
	v2, ok := api.(*purger.V2)
	if !ok {
		return usage("--api %s has no queue", c.API)
	}
	if c.Progress != nil {
		return c.progress(ctx, std, v2)
	}
	n, answer := v2.QueueLength(ctx)
	if answer.Verdict != purger.Accepted {
		return fmt.Errorf("ask for the queue's length: %s", answer.Explain())
	}
	if c.JSON {
		return printJSON(std.out, v2Doc{API: apiCCUv2, Length: n, Capacity: v2Capacity})
	}
	fmt.Fprintf(std.out, "%s of %s objects are waiting in Akamai's queue (CCU v2); the figure may be a minute old\n", report.Number(n), report.Number(v2Capacity))
	return nil
}

// progress asks CCU v2 once how far a purge is. It exits with 0 if Akamai knows the
// purge, done or not; the status tells which. It exits with 1 if Akamai does not know it.
// With --json the answer is printed in each case.
func (c *queueCmd) progress(ctx context.Context, std streams, v2 *purger.V2) error {
	if *c.Progress == "" {
		return usage("--progress needs the progress_uri that purge --api %s --json printed", apiCCUv2)
	}
	p, answer := v2.Progress(ctx, *c.Progress)
	if answer.Verdict != purger.Accepted {
		return fmt.Errorf("ask for the progress: %s", answer.Explain())
	}
	again := int(math.Ceil(p.AskAgain.Seconds()))
	if c.JSON {
		err := printJSON(std.out, v2ProgressDoc{apiCCUv2, p.PurgeID, p.Status, p.URI, p.Submitted, p.Completed, again})
		if err != nil {
			return err
		}
	}
	var words string
	switch p.Status {
	case purger.V2Done:
		words = fmt.Sprintf("%s is done, submitted %s, completed %s", p.PurgeID, p.Submitted, p.Completed)
	case purger.V2InProgress:
		words = fmt.Sprintf("%s is in progress, submitted %s; ask again in %s", p.PurgeID, p.Submitted, time.Duration(again)*time.Second)
	default:
		return fmt.Errorf("ask for the progress: %w (its status is %q): it was sent just now, days ago, or never", purger.ErrUnknownPurge, p.Status)
	}
	if !c.JSON {
		fmt.Fprintln(std.out, oneLine(words))
	}
	return nil
}

// describeQueue prints the queue for people: what stops the work first, then what waits,
// the budget, and the purges.
func describeQueue(out io.Writer, doc queueDoc) error {
	describePauses(out, doc.Pauses, doc.At)
	describeAccounts(out, doc.Accounts, doc.At)
	describeSetAside(out, doc.Queue)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, cells("WAITING", "PEOPLE", "DEPLOYS", "LARGE", "OLDEST", "IN REQUESTS", "TO RESEND", "BEING SENT"))
	for _, kind := range []string{"url", "tag", "cpcode"} {
		fmt.Fprintln(w, cells(append([]string{kindName(kind) + "s"}, waits(doc, kind)...)...))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s to read, %s to plan, %s to write on GitHub; %s with %s\n\n",
		report.Amount(doc.Deliveries, "delivery", "deliveries"), plural(doc.Environments, "environment"),
		report.Amount(doc.Statuses, "status", "statuses"), report.Amount(doc.Held.Purges, "purge needs approval,", "purges need approval,"), plural(doc.Held.Objects, "object"))
	fmt.Fprintln(w, cells("BUDGET", "LEFT", "OF", "A SECOND", "AKAMAI SAYS"))
	for _, b := range doc.Budget {
		said := ""
		if cmp.Or(b.Account, ledger.DefaultAccount) == cmp.Or(doc.account, ledger.DefaultAccount) {
			said = akamaiSays(doc.Akamai, b.Bucket)
		}
		name := b.Bucket
		if len(doc.Accounts) > 1 {
			name += " of " + b.Account
		}
		fmt.Fprintln(w, cells(name, report.Number(b.Tokens), report.Number(b.Capacity),
			strconv.FormatFloat(math.Round(b.PerSecond*100)/100, 'f', -1, 64), said))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return describePurges(out, doc.Purges, doc.At)
}

// describeSetAside lists the deliveries that were set aside, and the command that takes
// one up again.
func describeSetAside(out io.Writer, doc web.Queue) {
	if doc.SetAsideAll == 0 {
		return
	}
	fmt.Fprintf(out, "%s set aside; purgebot replay DELIVERY takes one up again:\n", report.Amount(doc.SetAsideAll, "delivery is", "deliveries are"))
	for _, d := range doc.SetAside {
		fmt.Fprintf(out, "  %s %s of %s, %s ago: %s\n", oneLine(d.Delivery), oneLine(d.Event), oneLine(d.Repository), age(doc.At.Sub(d.ReceivedAt)), oneLine(d.Reason))
	}
	fmt.Fprintln(out)
}

// waits makes the columns of one kind of object: what no request has taken yet, by lane,
// and what is in requests. With several accounts it adds them up.
func waits(doc queueDoc, kind string) []string {
	lanes := map[string]int{}
	var oldest time.Time
	for _, w := range doc.Waiting {
		if w.Kind != kind {
			continue
		}
		lanes[w.Lane] += w.Objects
		if oldest.IsZero() || w.Since.Before(oldest) {
			oldest = w.Since
		}
	}
	old := ""
	if !oldest.IsZero() {
		old = age(doc.At.Sub(oldest))
	}
	var r web.Requests
	for _, one := range doc.Requests {
		if one.Kind == kind {
			r.Objects, r.Ready, r.Sending = r.Objects+one.Objects, r.Ready+one.Ready, r.Sending+one.Sending
		}
	}
	return []string{
		report.Number(lanes["people"]), report.Number(lanes["deploys"]), report.Number(lanes["large"]), old,
		report.Number(r.Objects), report.Number(r.Ready), report.Number(r.Sending),
	}
}

// akamaiSays is what Akamai reports of a bucket, in words; "" if it reports nothing.
func akamaiSays(buckets []akamaiBucket, name string) string {
	for _, b := range buckets {
		if b.Bucket == name && b.Remaining != nil {
			words := strconv.FormatFloat(math.Floor(*b.Remaining), 'f', -1, 64) + " left"
			if b.Limit != nil {
				words += " of " + strconv.FormatFloat(*b.Limit, 'f', -1, 64)
			}
			return words
		}
	}
	return ""
}
