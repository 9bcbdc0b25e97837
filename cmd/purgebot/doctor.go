package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

// doctorCmd is purgebot doctor.
type doctorCmd struct {
	Config string `help:"Configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`
}

func (c *doctorCmd) Run(ctx context.Context, std streams) error {
	cfg, faults := config.Load(c.Config, os.Getenv)
	if faults != nil && c.Config != "" && cfg.File == "" {
		return usage("%w", faults) // not even a file: everything else would be missing too
	}
	bad := 0
	tell := func(e examination) {
		fmt.Fprintf(std.out, "%-4s  %-14s  %s\n", e.mark, e.check, oneLine(e.words))
		if e.mark == markBad {
			bad++
		}
	}
	configurationExamined(cfg.File, faults, tell)
	d := doctor{config: cfg, getenv: os.Getenv, now: time.Now, http: &http.Client{}}
	d.examine(ctx, tell)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("examine: %w", ctx.Err())
	case faults != nil:
		return &exitError{code: exitUsage}
	case bad > 0:
		return failed()
	}
	return nil
}

// configurationExamined tells every fault of the configuration. The other
// checks go on with what could be read of it.
func configurationExamined(file string, faults error, tell func(examination)) {
	const check = "configuration"
	if faults != nil {
		for line := range strings.SplitSeq(faults.Error(), "\n") {
			tell(examination{markBad, check, line})
		}
		return
	}
	if file == "" {
		file = "the PURGEBOT_* variables, no file"
	}
	tell(examination{markGood, check, file})
}

// doctor examines what a first start can get wrong. It asks Akamai and GitHub,
// purges nothing, and writes nothing but the database's schema, as serve does.
type doctor struct {
	config config.Config // as far as it could be read
	getenv func(string) string
	now    func() time.Time
	http   *http.Client // for the plain requests
}

// examination is one line of the doctor's.
type examination struct {
	mark  mark
	check string // what was looked at
	words string // what was found and, if it is not good, what to do
}

type mark string

const (
	markGood mark = "ok"
	markWarn mark = "warn" // works, but not as well as it could
	markBad  mark = "FAIL" // will not work
	markSkip mark = "-"    // could not be looked at
)

// examine makes all checks, and tells each as it is made.
func (d doctor) examine(ctx context.Context, tell func(examination)) {
	for _, check := range []func(context.Context) []examination{
		d.akamai, d.gitHubClock, d.app, d.secrets, d.databaseOpens, d.address,
	} {
		one, cancel := context.WithTimeout(ctx, 20*time.Second)
		for _, e := range check(one) {
			tell(e)
		}
		cancel()
	}
}

// akamai looks at the credentials and, with a question that purges nothing,
// whether they are granted the purge API.
func (d doctor) akamai(ctx context.Context) []examination {
	unasked := []examination{
		{markSkip, "Akamai grant", "without credentials"},
		{markSkip, "Akamai clock", "without credentials"},
	}
	creds, err := purger.LoadCredentials(d.config.Akamai.Edgerc, d.config.Akamai.Section, d.getenv)
	if err != nil {
		return append([]examination{{markBad, "edgerc", err.Error()}}, unasked...)
	}
	found := []examination{{markGood, "edgerc", "credentials for " + creds.Host()}, maxBodyExamined(creds.MaxBody())}
	client, err := purger.New(purger.Config{Credentials: creds, BaseURL: d.config.Akamai.BaseURL, AccountSwitchKey: d.config.Akamai.AccountSwitchKey})
	if err != nil {
		return append(found, examination{markBad, "Akamai grant", err.Error()}, unasked[1])
	}
	asked := d.now()
	answer := client.RateLimitStatus(ctx, purger.URL)
	return append(found, grantExamined(answer), clockExamined("Akamai clock", answer.ServerTime, asked, d.now()))
}

// edgeGridBody is how many bytes of a body EdgeGrid verifies.
const edgeGridBody = 131072

// maxBodyExamined judges the edgerc's max_body: many files carry the 8192 of
// an old default, with which other tools' signatures don't match.
func maxBodyExamined(configured int) examination {
	if configured < edgeGridBody && configured != 0 {
		return examination{markWarn, "max_body", fmt.Sprintf(
			"%d in the edgerc; purgebot signs with %d all the same, other tools would fail: remove the line", configured, edgeGridBody)}
	}
	return examination{markGood, "max_body", fmt.Sprint(edgeGridBody)}
}

func grantExamined(a purger.Answer) examination {
	switch {
	case a.Verdict == purger.Accepted:
		return examination{markGood, "Akamai grant", "may purge"}
	case a.Verdict.Paused():
		return examination{markBad, "Akamai grant", a.Explain()}
	case a.Verdict == purger.Limited:
		return examination{markGood, "Akamai grant", "may purge; the account's budget is used up just now"}
	}
	return examination{markBad, "Akamai grant", "Akamai does not answer as it should: " + a.Words()}
}

// clockTolerance is how far off a clock may be: Akamai refuses a signature
// that is older or newer, GitHub a token from the future.
const clockTolerance = 30 * time.Second

// clockExamined compares this machine's clock with the Date header of an
// answer that came between asked and answered. Such a header has whole seconds.
func clockExamined(check string, theirs, asked, answered time.Time) examination {
	if theirs.IsZero() {
		return examination{markSkip, check, "no answer has a Date"}
	}
	ours := asked.Add(answered.Sub(asked) / 2)
	off := ours.Sub(theirs.Add(500 * time.Millisecond))
	word := "ahead"
	if off < 0 {
		word = "behind"
	}
	rounded := off.Abs().Round(time.Second)
	switch {
	case rounded > clockTolerance:
		return examination{markBad, check, fmt.Sprintf("this machine is %s %s; more than %s is refused: set its clock (NTP)", rounded, word, clockTolerance)}
	case rounded > clockTolerance/3:
		return examination{markWarn, check, fmt.Sprintf("this machine is %s %s; more than %s is refused: set its clock (NTP)", rounded, word, clockTolerance)}
	case rounded <= 2*time.Second:
		return examination{markGood, check, "agrees within 2s"}
	}
	return examination{markGood, check, fmt.Sprintf("this machine is %s %s", rounded, word)}
}

// gitHubClock asks the API's root, which needs no credentials.
func (d doctor) gitHubClock(ctx context.Context) []examination {
	asked := d.now()
	api := d.config.GitHub.APIURL
	_, date, err := d.get(ctx, api)
	if err != nil {
		return []examination{
			{markBad, "GitHub API", fmt.Sprintf("%s does not answer: %v", api, err)},
			{markSkip, "GitHub clock", "without an answer"},
		}
	}
	return []examination{
		{markGood, "GitHub API", api + " answers"},
		clockExamined("GitHub clock", date, asked, d.now()),
	}
}

// get makes a plain request and looks at the answer's head alone. The date is
// zero if there is none.
func (d doctor) get(ctx context.Context, address string) (status int, date time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, time.Time{}, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, time.Time{}, err
	}
	date, _ = http.ParseTime(resp.Header.Get("Date")) // a header that is no date is none
	return resp.StatusCode, date, resp.Body.Close()
}

// app asks GitHub who the App is, which proves its id and key, and what it may.
func (d doctor) app(ctx context.Context) []examination {
	unasked := []examination{
		{markSkip, "permissions", "without the App"}, {markSkip, "events", "without the App"}, {markSkip, "installations", "without the App"},
	}
	app, err := github.New(github.Config{
		APIURL:     d.config.GitHub.APIURL,
		AppID:      d.config.GitHub.AppID,
		PrivateKey: []byte(d.config.GitHub.PrivateKey.Reveal()),
	})
	if err != nil {
		return append([]examination{{markBad, "GitHub App", err.Error()}}, unasked...)
	}
	self, err := app.Self(ctx)
	if err != nil {
		words, ok := github.OperatorFault(err)
		if !ok {
			words = err.Error()
		}
		return append([]examination{{markBad, "GitHub App", words}}, unasked...)
	}
	found := []examination{
		{markGood, "GitHub App", fmt.Sprintf("%s, id %d", self.Slug, self.ID)},
		permissionsExamined(self.Permissions), eventsExamined(self.Events),
	}
	if self.ID != d.config.GitHub.AppID {
		found[0] = examination{markBad, "GitHub App", fmt.Sprintf("the key is that of App %d, github.app_id says %d", self.ID, d.config.GitHub.AppID)}
	}
	installations, err := app.Installations(ctx)
	if err != nil {
		return append(found, examination{markBad, "installations", err.Error()})
	}
	return append(found, installationsExamined(installations, self.Permissions))
}

// need is something that the App should have, and what for.
type need struct {
	name, level, why string // level: "read" or "write"
	must             bool   // nothing works without it
}

// neededPermissions are the fewest with which all of purgebot works.
func neededPermissions() []need {
	return []need{
		{"contents", "read", "the rules file and what changed", true},
		{"deployments", "read", "what is deployed", true},
		{"statuses", "write", "the status on a commit", true},
		{"checks", "write", "previews and buttons", false},
		{"pull_requests", "write", "replies to comments", false},
		{"issues", "read", "comments on pull requests", false},
	}
}

func neededEvents() []need {
	return []need{
		{name: "push", why: "the status before a deployment", must: true},
		{name: "deployment_status", why: "that something was deployed", must: true},
		{name: "issue_comment", why: "comments on pull requests"},
		{name: "pull_request", why: "previews"},
		{name: "check_run", why: "buttons"},
	}
}

func permissionsExamined(granted map[string]string) examination {
	rank := map[string]int{"read": 1, "write": 2, "admin": 3}
	return needsExamined("permissions", neededPermissions(), func(n need) bool { return rank[granted[n.name]] >= rank[n.level] })
}

func eventsExamined(subscribed []string) examination {
	return needsExamined("events", neededEvents(), func(n need) bool { return slices.Contains(subscribed, n.name) })
}

func needsExamined(check string, needs []need, met func(need) bool) examination {
	var missing []string
	e := examination{mark: markGood, check: check, words: "all that purgebot uses"}
	for _, n := range needs {
		if met(n) {
			continue
		}
		name := n.name
		if n.level != "" {
			name += ": " + n.level
		}
		missing = append(missing, fmt.Sprintf("%s (%s)", name, n.why))
		if e.mark == markGood {
			e.mark = markWarn
		}
		if n.must {
			e.mark = markBad
		}
	}
	if len(missing) > 0 {
		e.words = "missing " + strings.Join(missing, ", ") + ": add them on the App's settings page"
	}
	return e
}

// installationsExamined tells where the App is installed, and where an owner
// has yet to accept permissions that the App got later.
func installationsExamined(all []github.Installation, asked map[string]string) examination {
	var words []string
	e := examination{mark: markGood, check: "installations"}
	for _, i := range all {
		switch {
		case i.Suspended:
			words = append(words, i.Account+" (suspended: an owner must unsuspend it)")
			e.mark = markWarn
		case !hasAll(i.Permissions, asked):
			words = append(words, i.Account+" (an owner must accept the App's new permissions)")
			e.mark = markWarn
		default:
			words = append(words, i.Account)
		}
	}
	e.words = strings.Join(words, ", ")
	if len(all) == 0 {
		e.mark, e.words = markWarn, "none: install the App on the accounts whose repositories it should serve"
	}
	return e
}

func hasAll(granted, asked map[string]string) bool {
	for name, level := range asked {
		if granted[name] == "" || (level == "write" && granted[name] == "read") {
			return false
		}
	}
	return true
}

// shortSecret is the length below which a webhook secret can be guessed.
const shortSecret = 16

func (d doctor) secrets(context.Context) []examination {
	const check = "webhook secret"
	secrets := d.config.GitHub.WebhookSecrets
	short := func(s config.Secret) bool { return len(s.Reveal()) < shortSecret }
	switch {
	case len(secrets) == 0:
		return []examination{{markBad, check, "none: set github.webhook_secrets to the secret on the App's settings page"}}
	case slices.ContainsFunc(secrets, short):
		return []examination{{markWarn, check, fmt.Sprintf("has fewer than %d characters; use a random one, e.g. of openssl rand -hex 32", shortSecret)}}
	case len(secrets) > 1:
		return []examination{{markGood, check, fmt.Sprintf("%d are set", len(secrets))}}
	}
	return []examination{{markGood, check, "set"}}
}

// databaseOpens opens the database as serve does, which brings its schema up
// to date.
func (d doctor) databaseOpens(ctx context.Context) []examination {
	const check = "database"
	address := d.config.Database.Reveal()
	s, err := store.Open(ctx, store.Config{URL: address, Now: d.now})
	if err != nil {
		return []examination{{markBad, check, withoutPassword(address, err)}}
	}
	err = s.Ready(ctx)
	if closing := s.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return []examination{{markBad, check, "can't be written: " + withoutPassword(address, err)}}
	}
	engine, _, _ := strings.Cut(address, ":")
	return []examination{{markGood, check, engine + ", can be written"}}
}

// withoutPassword keeps a database's password out of an error's words.
func withoutPassword(database string, err error) string {
	words := err.Error()
	if u, parseErr := url.Parse(database); parseErr == nil && u.User != nil {
		if password, ok := u.User.Password(); ok && password != "" {
			words = strings.ReplaceAll(words, password, "xxxxx")
			words = strings.ReplaceAll(words, url.QueryEscape(password), "xxxxx")
		}
	}
	return words
}

// address looks whether the server can be reached where the statuses' links
// lead, and GitHub's webhooks.
func (d doctor) address(ctx context.Context) []examination {
	const check = "public URL"
	address := strings.TrimSuffix(d.config.PublicURL, "/")
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return []examination{{markBad, check, fmt.Sprintf("public_url %q is not an http(s) address", address)}}
	}
	status, _, err := d.get(ctx, address+"/healthz")
	switch {
	case err != nil:
		return []examination{{markWarn, check, fmt.Sprintf("nothing answers at %s yet: start purgebot serve, and let GitHub reach it (%v)", address, err)}}
	case status != http.StatusOK:
		return []examination{{markWarn, check, fmt.Sprintf("%s/healthz answers %d: that is something else than purgebot", address, status)}}
	case loopback(u.Hostname()):
		return []examination{{markWarn, check, address + " is this machine alone: GitHub can't deliver webhooks to it"}}
	case u.Scheme == "http":
		return []examination{{markWarn, check, address + " is not https: webhooks and sign-ins go in the clear"}}
	}
	return []examination{{markGood, check, address + " answers"}}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// oneLine keeps others' words from breaking the list, or the terminal.
func oneLine(words string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, words)
}
