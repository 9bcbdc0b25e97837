package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/purger"
)

// queueCmd is purgebot queue.
type queueCmd struct {
	askFlags
	akamaiFlags
}

// queueDoc is the answer of queue: what the running server says and, where
// there are credentials, what Akamai itself says of the account's budget.
type queueDoc struct {
	web.Queue
	Akamai []akamaiBucket `json:"akamai"` // empty where Akamai was not asked
}

// akamaiBucket is one of the account's buckets as Akamai says. What it leaves
// out is null.
type akamaiBucket struct {
	Bucket    string   `json:"bucket"`
	Remaining *float64 `json:"remaining"`
	Limit     *float64 `json:"limit"`
	PerSecond *float64 `json:"per_second"`
}

// v2Doc is the answer of queue --api ccu-v2.
type v2Doc struct {
	API      string `json:"api"`
	Length   int    `json:"length"`
	Capacity int    `json:"capacity"`
}

// v2Capacity is how many objects CCU v2's queue holds.
const v2Capacity = 10_000

func (c *queueCmd) Run(ctx context.Context, std streams) error {
	if c.API == apiCCUv2 {
		return c.legacy(ctx, std)
	}
	server, err := c.askFlags.connect(c.Config, os.Getenv)
	if err != nil {
		return err
	}
	var doc queueDoc
	if err := server.ask(ctx, http.MethodGet, "/api/queue", nil, nil, &doc.Queue); err != nil {
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

// budget asks Akamai what is left of the account's budget. That purges
// nothing.
func (c *queueCmd) budget(ctx context.Context) ([]akamaiBucket, error) {
	buckets := []akamaiBucket{}
	api, err := c.akamaiFlags.connect(os.Getenv)
	if err != nil {
		return buckets, err
	}
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
		if a.Verdict != purger.Accepted && a.Verdict != purger.Limited {
			return buckets, fmt.Errorf("rate-limit-status: %s", a.Explain())
		}
		if i == 0 {
			add("requests", a.Limits.Requests)
		}
		add(string(kind), a.Limits.Objects)
	}
	return buckets, nil
}

// legacy asks CCU v2 how long its queue is.
func (c *queueCmd) legacy(ctx context.Context, std streams) error {
	api, err := c.akamaiFlags.connect(os.Getenv)
	if err != nil {
		return usage("%w", err)
	}
	v2, ok := api.(*purger.V2)
	if !ok {
		return usage("--api %s has no queue", c.API)
	}
	n, answer := v2.QueueLength(ctx)
	if answer.Verdict != purger.Accepted {
		return fmt.Errorf("ask for the queue's length: %s", answer.Explain())
	}
	if c.JSON {
		return printJSON(std.out, v2Doc{API: apiCCUv2, Length: n, Capacity: v2Capacity})
	}
	fmt.Fprintf(std.out, "%d of %d objects wait in Akamai's queue (CCU v2); it may lag a minute behind\n", n, v2Capacity)
	return nil
}

// describeQueue is a queue for people.
func describeQueue(out io.Writer, doc queueDoc) error {
	describePause(out, doc.Pause, doc.At)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, cells("WAITS", "PEOPLE", "DEPLOYS", "LARGE", "OLDEST", "IN REQUESTS", "TO RESEND", "BEING SENT"))
	for _, kind := range []string{"url", "tag", "cpcode"} {
		fmt.Fprintln(w, cells(append([]string{kindName(kind) + "s"}, waits(doc, kind)...)...))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s to read, %s to plan, %s for GitHub to write; %s held, with %s\n\n",
		amount(doc.Deliveries, "delivery", "deliveries"), plural(doc.Environments, "environment"),
		amount(doc.Statuses, "status", "statuses"), plural(doc.Held.Purges, "purge"), plural(doc.Held.Objects, "object"))
	fmt.Fprintln(w, cells("BUDGET", "LEFT", "OF", "A SECOND", "AKAMAI SAYS"))
	for _, b := range doc.Budget {
		fmt.Fprintln(w, cells(b.Bucket, strconv.Itoa(b.Tokens), strconv.Itoa(b.Capacity),
			strconv.FormatFloat(math.Round(b.PerSecond*100)/100, 'f', -1, 64), akamaiSays(doc.Akamai, b.Bucket)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return describePurges(out, doc.Purges, doc.At)
}

// waits are the columns of one kind of object.
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
			r = one
		}
	}
	return []string{
		strconv.Itoa(lanes["people"]), strconv.Itoa(lanes["deploys"]), strconv.Itoa(lanes["large"]), old,
		strconv.Itoa(r.Objects), strconv.Itoa(r.Ready), strconv.Itoa(r.Sending),
	}
}

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

func amount(n int, one, many string) string {
	return strconv.Itoa(n) + " " + map[bool]string{true: one, false: many}[n == 1]
}
