package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/command"
	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/purger"
)

// Values of --api. kong admits no others.
const (
	apiFastPurge = "fast-purge"
	apiCCUv2     = "ccu-v2"
)

// purgeCmd is purgebot purge: it sends a list of objects straight to Akamai, with the
// operator's own credentials. No policy applies and no server takes part.
type purgeCmd struct {
	Kind   string   `arg:"" enum:"url,tag,cpcode" help:"What VALUEs are: url (or ARLs), tag or cpcode."`
	Values []string `arg:"" optional:"" name:"value" help:"What to purge. Without any, or for -, standard input: one a line; blank lines and lines that begin with # are skipped."`

	Network string `enum:"production,staging" default:"production" help:"Akamai network: production or staging."`
	Action  string `enum:"invalidate,delete" default:"invalidate" help:"invalidate or delete."`
	Wait    bool   `help:"Wait until Akamai's estimate has passed or, with ccu-v2, until Akamai says that it is done."`
	JSON    bool   `name:"json" help:"Print the result as JSON."`

	GiveUp time.Duration `default:"15m" help:"End after Akamai was unavailable for this long (0: never)."`

	akamaiFlags
}

// Run sends the list while it reads it, because the list may be larger than memory.
// However it ends, it prints what Akamai has answered until then: those objects are
// purged.
//
// Standard output has the result, standard error the progress and the refused objects.
// The exit code is 0 only if every object was accepted and, with --wait, Akamai has
// finished all of them.
func (c *purgeCmd) Run(ctx context.Context, std streams) error {
	// Only a few request bodies are live at a time. With Go's default of 100 the
	// collector would run very often for little; 400 trades a small amount of memory for
	// that. The inner call sets the value now, the deferred one restores the old value.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	// Credentials are checked before the list is read: a wrong file exits with 2 and
	// sends nothing.
	api, err := c.connect(os.Getenv)
	if err != nil {
		return usage("%w", err)
	}
	request := purger.Request{Kind: purger.Kind(c.Kind), Network: purger.Network(c.Network), Action: purger.Action(c.Action)}
	if api.MaxObjects(request.Kind) == 0 {
		return usage("--api %s can't purge by %s; use --api %s", c.API, c.Kind, apiFastPurge)
	}
	values, readErr := valuesOr(ctx, std, c.Values, c.Kind)
	total := len(c.Values)
	if fromStdin(c.Values) {
		total = 0 // not known yet
	}
	show := newProgress(std.err, c.Kind, total)
	sender := purger.Sender{API: api, Patience: c.GiveUp, Progress: show.update}
	if c.API == apiFastPurge {
		sender.Budget = purger.NewBudget(time.Now()) // CCU v2 has no token buckets
	}
	list := addresses{of: request.Kind}
	result, err := sender.Run(ctx, request, list.written(values))
	// list.refused is complete only after the run has read the whole sequence.
	result.Refused = append(result.Refused, list.refused...)
	err = errors.Join(err, readErr())
	if c.Wait && err == nil {
		err = waitForAll(ctx, api, result.Requests, show)
	}
	show.end()
	return c.conclude(std, result, err)
}

// addresses normalises URLs and ARLs as rules and comments do, and collects the values
// that Akamai can't purge as a URL. Values of other kinds pass unchanged.
type addresses struct {
	of      purger.Kind
	refused []purger.Refusal // grows while the sequence of written is read; not safe for concurrent use
}

// written yields the values as Akamai gets them. A value that can't be sent does not stop
// the list; it goes into refused.
func (a *addresses) written(values iter.Seq[string]) iter.Seq[string] {
	if a.of != purger.URL {
		return values
	}
	return func(yield func(string) bool) {
		for value := range values {
			address, err := command.Address(value)
			if strings.Contains(value, "*") {
				err = errors.New("Akamai purges no wildcards: purge a tag or a CP code, or each URL (write %2A for the character itself)") //nolint:staticcheck // Akamai is a name
			}
			if err != nil {
				a.refused = append(a.refused, purger.Refusal{Object: value, Title: "not sent", Detail: err.Error()})
				continue
			}
			if !yield(address) {
				return
			}
		}
	}
}

// conclude prints what became of the list, and turns it into the exit code. The result is
// printed even when err is set. An empty list is an error, because a script that produced
// no list by mistake should notice.
func (c *purgeCmd) conclude(std streams, r purger.Result, err error) error {
	if c.JSON {
		if jsonErr := printPurge(std.out, r); jsonErr != nil {
			return fmt.Errorf("print result: %w", jsonErr)
		}
	} else {
		c.describe(std, r, err == nil)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w (%d accepted, %d not)", err, r.Accepted, len(r.Refused))
	case len(r.Refused) > 0:
		return failed()
	case r.Accepted == 0:
		return errors.New("the list is empty: nothing was purged")
	}
	return nil
}

// describe prints the result for people: the refused objects to standard error, the rest
// to standard output.
func (c *purgeCmd) describe(std streams, r purger.Result, ended bool) {
	describeRefused(std.err, r.Refused)
	total := r.Accepted + len(r.Refused)
	if total == 0 {
		return
	}
	fmt.Fprintf(std.out, "%d of %s accepted for %s (%s)", r.Accepted, plural(total, kindName(c.Kind)), c.Network, c.Action)
	if n := len(r.Requests); n > 0 {
		fmt.Fprintf(std.out, " in %s%s", plural(n, "request"), c.until(r, ended))
	}
	fmt.Fprintln(std.out)
	const enough = 10 // requests are listed; a long list has thousands
	for i, q := range r.Requests {
		if i == enough {
			fmt.Fprintf(std.out, "  … and %d more; --json lists all\n", len(r.Requests)-enough)
			break
		}
		fmt.Fprintf(std.out, "  %s  %s\n", q.PurgeID, plural(q.Objects, kindName(c.Kind)))
	}
	if r.Duplicates > 0 {
		fmt.Fprintf(std.out, "%s of the list sent once only\n", plural(r.Duplicates, "repetition"))
	}
}

// describeRefused lists every object that Akamai refused. Of the objects that were not
// sent at all it lists only the first, since with wrong credentials that is the whole
// list.
func describeRefused(w io.Writer, refused []purger.Refusal) {
	const enough = 20
	unsent := 0
	for _, x := range refused {
		// With these two titles purgebot itself did not send the object.
		if x.Title == "not sent" || x.Title == "not tried" {
			if unsent++; unsent > enough {
				continue
			}
		}
		words := x.Title
		if x.Detail != "" && x.Detail != x.Object {
			words += ": " + x.Detail
		}
		fmt.Fprintf(w, "refused %s: %s\n", oneLine(x.Object), words)
	}
	if unsent > enough {
		fmt.Fprintf(w, "… and %d more that were not sent; --json lists all\n", unsent-enough)
	}
}

// until says when the purge takes effect: the longest of Akamai's estimates. ended says
// that nothing ended the run, or the wait, too soon.
func (c *purgeCmd) until(r purger.Result, ended bool) string {
	if c.Wait && ended {
		return ", done"
	}
	var longest time.Duration
	for _, q := range r.Requests {
		longest = max(longest, q.Estimated)
	}
	return fmt.Sprintf(", done in about %s", longest.Round(time.Second))
}

// purgeJSON is what --json prints; docs/cli.md promises these fields.
type purgeJSON struct {
	Accepted int               `json:"accepted"`
	Refused  []refusedJSON     `json:"refused"`
	Requests []purgeReceiptDoc `json:"requests"`
}

type refusedJSON struct {
	Object string `json:"object"`
	Title  string `json:"title"`
	Detail string `json:"detail"`

	Status    int       `json:"status,omitempty"` // of the answer that refused it, as are these:
	SupportID string    `json:"support_id,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

type purgeReceiptDoc struct {
	PurgeID          string `json:"purge_id"`
	SupportID        string `json:"support_id"`
	Objects          int    `json:"objects"`
	EstimatedSeconds int    `json:"estimated_seconds"`
	ProgressURI      string `json:"progress_uri,omitempty"` // of ccu-v2
}

// printPurge writes the result as JSON on one line. Both lists are never null.
func printPurge(w io.Writer, r purger.Result) error {
	doc := purgeJSON{
		Accepted: r.Accepted,
		Refused:  make([]refusedJSON, 0, len(r.Refused)),
		Requests: make([]purgeReceiptDoc, 0, len(r.Requests)),
	}
	for _, x := range r.Refused {
		doc.Refused = append(doc.Refused, refusedJSON(x))
	}
	for _, q := range r.Requests {
		doc.Requests = append(doc.Requests, purgeReceiptDoc{
			PurgeID: q.PurgeID, SupportID: q.SupportID, Objects: q.Objects,
			// Rounded up, so that a script that sleeps this long does not ask too early.
			EstimatedSeconds: int(math.Ceil(q.Estimated.Seconds())),
			ProgressURI:      q.ProgressURI,
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(doc)
}

// waitForAll returns when every accepted request is done. It waits for one after the
// other; as Akamai works on all of them at the same time, the total is that of the
// slowest.
func waitForAll(ctx context.Context, api purger.API, requests []purger.Receipt, show *progress) error {
	for i, q := range requests {
		show.waiting(i, len(requests))
		if err := api.Wait(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// akamaiFlags select the Akamai API, its address, and the credentials.
type akamaiFlags struct {
	API              string `name:"api" enum:"fast-purge,ccu-v2" default:"fast-purge" help:"fast-purge or, legacy, ccu-v2."`
	Config           string `help:"purgebot's configuration, for its akamai section (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`
	Account          string `help:"An account of the configuration's akamai.accounts (default: default)." placeholder:"NAME"`
	Edgerc           string `help:"Akamai's credentials file (default: the AKAMAI_* variables, else ~/.edgerc)." placeholder:"FILE"`
	Section          string `help:"Section of that file, or infix of the variables (default: default)."`
	AccountSwitchKey string `help:"Act on another account." placeholder:"KEY"`
	BaseURL          string `name:"base-url" help:"Where the API is (default: https:// and the credentials' host)." placeholder:"URL"`
}

// connect makes the client of the API. A flag takes precedence over a variable, a
// variable over the configuration file. An error here is wrong usage: nothing was sent.
func (f akamaiFlags) connect(getenv func(string) string) (purger.API, error) {
	settings, err := f.settings(getenv)
	if err != nil {
		return nil, err
	}
	to := purger.Config{UserAgent: userAgent(), BaseURL: settings.BaseURL, AccountSwitchKey: settings.AccountSwitchKey}
	if f.API == apiCCUv2 {
		basic, err := basicOf(getenv)
		if err != nil {
			return nil, err
		}
		// CCU v2 authenticates with a user and a password, or with EdgeGrid. This is the
		// first way; the account switch key may still come from Akamai's variables.
		if basic.User != "" {
			key, err := purger.AccountKey(settings.Section, getenv)
			if err != nil {
				return nil, err
			}
			to.AccountSwitchKey = cmp.Or(to.AccountSwitchKey, key)
			return purger.NewV2(to, basic)
		}
	}
	if to.Credentials, err = purger.LoadCredentials(settings.Edgerc, settings.Section, getenv); err != nil {
		return nil, err
	}
	if f.API == apiCCUv2 {
		return purger.NewV2(to, purger.Basic{})
	}
	return purger.New(to)
}

// basicOf reads the user and the password of CCU v2. Both empty means EdgeGrid. One of
// the two alone is an error: signing with EdgeGrid instead could purge another account.
func basicOf(getenv func(string) string) (purger.Basic, error) {
	const user, password = "PURGEBOT_AKAMAI_CCU_USER", "PURGEBOT_AKAMAI_CCU_PASSWORD" //nolint:gosec // names of variables
	basic := purger.Basic{User: getenv(user), Password: getenv(password)}
	set, missing := user, password
	switch {
	case (basic.User == "") == (basic.Password == ""):
		return basic, nil
	case basic.User == "":
		set, missing = password, user
	}
	return basic, fmt.Errorf("%s is set and %s is not: set both, or neither", set, missing)
}

// settings takes the configuration's Akamai section, if there is one, and lets the flags
// override it.
func (f akamaiFlags) settings(getenv func(string) string) (config.Akamai, error) {
	s, err := config.LoadAkamai(f.Config, getenv)
	if err == nil {
		s, err = s.Account(f.Account)
	}
	if err != nil {
		return s, err
	}
	s.Edgerc = cmp.Or(f.Edgerc, s.Edgerc)
	s.Section = cmp.Or(f.Section, s.Section)
	s.AccountSwitchKey = cmp.Or(f.AccountSwitchKey, s.AccountSwitchKey)
	s.BaseURL = cmp.Or(f.BaseURL, s.BaseURL)
	return s, nil
}
