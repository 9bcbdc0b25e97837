package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

// doctorCmd is purgebot doctor.
type doctorCmd struct {
	Config  string `help:"Configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`
	Account string `help:"Of the Akamai accounts only this one." placeholder:"NAME"`
}

// Run examines everything that can be, whatever fails before: whoever mends one
// thing after the other wants to know of all. Nothing is written anywhere, neither
// here nor at GitHub or Akamai.
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
	faults = errors.Join(faults, config.Misspelt(os.Environ()))
	configurationExamined(cfg, faults, tell)
	if _, err := cfg.Akamai.Account(c.Account); err != nil {
		return usage("%w", err)
	}
	d := doctor{config: cfg, account: c.Account, getenv: os.Getenv, now: time.Now, http: &http.Client{}}
	if faults == nil {
		tell(policyExamined(cfg.Policy))
	}
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

// configurationExamined tells every fault of the configuration, and what
// should not stay as it is. The other checks go on with what could be read of
// it.
func configurationExamined(cfg config.Config, faults error, tell func(examination)) {
	const check = "configuration"
	for _, words := range cfg.Warnings {
		tell(examination{markWarn, check, words})
	}
	if faults != nil {
		for line := range strings.SplitSeq(faults.Error(), "\n") {
			tell(examination{markBad, check, line})
		}
		return
	}
	tell(examination{markGood, check, cmp.Or(cfg.File, "the PURGEBOT_* variables, no file")})
}

// files looks whether everybody on this machine can read what holds secrets.
func (d doctor) files(context.Context) (found []examination) {
	edgerc := d.config.Akamai.Edgerc
	if home := d.getenv("HOME"); edgerc == "" && home != "" {
		edgerc = filepath.Join(home, ".edgerc")
	}
	for _, file := range []string{d.config.File, d.config.GitHub.PrivateKeyFile, edgerc} {
		info, err := os.Stat(file)
		if err == nil && info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" {
			found = append(found, examination{markWarn, "file", file + " holds secrets and others on this machine can read it: chmod o-rwx " + file})
		}
	}
	return found
}

// doctor examines what a first start can get wrong. It asks Akamai, GitHub and
// the database, and changes nothing anywhere.
type doctor struct {
	config  config.Config // as far as it could be read
	account string        // of Akamai, that alone is looked at; "": all are
	getenv  func(string) string
	now     func() time.Time
	http    *http.Client // for the plain requests
	brief   bool         // leaves out what takes more calls the more installations there are
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
		d.files, d.akamai, d.gitHub, d.secrets, d.receivers, d.databaseOpens, d.listens, d.address,
	} {
		one, cancel := context.WithTimeout(ctx, examineTime)
		for _, e := range check(one) {
			tell(e)
		}
		cancel()
	}
}

// logged says in the log what a server that just started should have
// otherwise: what the configuration can't show.
func (d doctor) logged(ctx context.Context, log *slog.Logger) {
	found := []examination{policyExamined(d.config.Policy)}
	if u, err := url.Parse(d.config.PublicURL); err == nil {
		e, _ := publicURLExamined(u)
		found = append(found, e)
	}
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	for _, e := range append(found, d.gitHub(ctx)...) {
		level := slog.LevelWarn
		switch {
		case ctx.Err() != nil || e.mark == markGood || e.mark == markSkip || e.words == "":
			continue
		case e.mark == markBad:
			level = slog.LevelError
		}
		log.LogAttrs(ctx, level, "check", slog.String("what", e.check), slog.String("found", oneLine(e.words)))
	}
}

// examineTime bounds each check.
const examineTime = 20 * time.Second

// akamai looks at the credentials of each account or, with --account, of one.
func (d doctor) akamai(ctx context.Context) (found []examination) {
	names := d.config.Akamai.All()
	if d.account != "" {
		names = []string{d.account}
	}
	for _, name := range names {
		for _, e := range d.akamaiAccount(ctx, name) {
			if len(d.config.Akamai.Accounts) > 0 {
				e.words = "account " + name + ": " + e.words
			}
			found = append(found, e)
		}
	}
	return found
}

// akamaiAccount looks at an account's credentials and, with a question that
// purges nothing, whether they are granted the purge API.
func (d doctor) akamaiAccount(ctx context.Context, name string) []examination {
	unasked := []examination{
		{markSkip, "Akamai grant", "without credentials"},
		{markSkip, "Akamai clock", "without credentials"},
	}
	to, err := d.config.Akamai.Client(name, d.getenv)
	creds := to.Credentials
	if err != nil {
		return append([]examination{{markBad, "edgerc", err.Error()}}, unasked...)
	}
	found := []examination{{markGood, "edgerc", "credentials for " + creds.Host()}, maxBodyExamined(creds.MaxBody())}
	to.UserAgent = userAgent()
	client, err := purger.New(to)
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

// databaseOpens looks at the database and changes nothing: it is a server's to
// bring its schema up to date.
func (d doctor) databaseOpens(ctx context.Context) []examination {
	const check = "database"
	found, err := store.Examine(ctx, d.config.Database.Reveal())
	if err != nil {
		return []examination{{markBad, check, err.Error()}}
	}
	return []examination{{markGood, check, found}}
}

// folderExamined tries whether a file can be made in a folder.
func folderExamined(check, folder string) examination {
	f, err := os.CreateTemp(folder, ".purgebot-setup-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return examination{markBad, check, fmt.Sprintf("no file can be made in its folder: %v", err)}
	}
	return examination{markGood, check, ""}
}

// listens looks whether the server can listen where the configuration says, or
// does already.
func (d doctor) listens(ctx context.Context) []examination {
	const check = "listen"
	fault := server.Listenable(ctx, d.config.Listen)
	if fault == nil {
		return []examination{{markGood, check, d.config.Listen + " is free"}}
	}
	if host, err := dialable(d.config.Listen); err == nil {
		if status, _, err := d.get(ctx, "http://"+host+"/healthz"); err == nil && status == http.StatusOK {
			return []examination{{markGood, check, d.config.Listen + ": a server runs there"}}
		}
	}
	return []examination{{markBad, check, fault.Error()}}
}

// policyExamined looks whether anybody may purge anything.
func policyExamined(p policy.Policy) examination {
	const check = "policy"
	if len(p) == 0 {
		return examination{markBad, check, "it lists nothing, so every purge is refused: write under policy which repositories may purge which hosts"}
	}
	for i, entry := range p {
		// One that names an account or shared rules may have another allow the rest.
		if len(entry.Hosts)+len(entry.Tags)+len(entry.CPCodes) == 0 && entry.Account+entry.RulesFrom == "" {
			return examination{markWarn, check, fmt.Sprintf("entry %d (%s) allows no hosts, tags or CP codes: add some", i+1, strings.Join(entry.Repositories, ", "))}
		}
	}
	return examination{markGood, check, report.Amount(len(p), "entry", "entries")}
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
	if e, ok := publicURLExamined(u); !ok {
		return []examination{e}
	}
	status, _, err := d.get(ctx, address+"/healthz")
	switch {
	case err != nil:
		return []examination{{markWarn, check, fmt.Sprintf("nothing answers at %s yet: start purgebot serve, and let GitHub reach it (%v)", address, reason(err))}}
	case status != http.StatusOK:
		return []examination{{markWarn, check, fmt.Sprintf("%s/healthz answers %d, so that is not purgebot: point the proxy or the name at purgebot's listen", address, status)}}
	}
	return []examination{{markGood, check, address + " answers"}}
}

// publicURLExamined judges the address by itself.
func publicURLExamined(u *url.URL) (e examination, good bool) {
	e = examination{mark: markWarn, check: "public URL"}
	switch {
	case strings.Trim(u.Path, "/") != "":
		e.words = fmt.Sprintf("%s has a path, but purgebot's pages are at the root: write %s://%s, or have the proxy take the path away", u, u.Scheme, u.Host)
	case loopback(u.Hostname()):
		e.words = u.String() + " is this machine alone, so GitHub can't deliver webhooks to it: set public_url to the address that GitHub can reach"
	case u.Scheme == "http":
		e.words = u.String() + " is not https, so webhooks go in the clear: put a proxy with TLS before purgebot, and write https"
	default:
		return e, true
	}
	return e, false
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
