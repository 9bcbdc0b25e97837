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

// doctorCmd is purgebot doctor: it looks for everything that can keep a first start from
// working.
type doctorCmd struct {
	Config  string `help:"Configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`
	Account string `help:"Of the Akamai accounts only this one." placeholder:"NAME"`
}

// Run makes every check that is possible, whatever fails before: a person who fixes one
// thing after another wants to see all of them. It changes nothing, neither on this
// machine nor at GitHub or Akamai.
//
// It prints one line per check to standard output. It exits with 2 if the configuration
// is faulty, else with 1 if any line is FAIL. Warnings do not change the exit code.
func (c *doctorCmd) Run(ctx context.Context, std streams) error {
	cfg, faults := config.Load(c.Config, os.Getenv)
	if faults != nil && c.Config != "" && cfg.File == "" {
		return usage("%w", faults) // there is no file at all: every other check would only repeat that
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
	// A faulty configuration may have lost its policy; a line about that would mislead.
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

// configurationExamined reports every fault and every warning of the configuration. The
// other checks continue with the part that could be read.
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

// files warns of files with secrets that everybody on this machine can read. The
// permission bits mean nothing on Windows. A file that is missing is not reported here.
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

// doctor makes the checks. It asks Akamai, GitHub and the database, and changes nothing.
// The server also runs some of the checks at its start, see logged.
type doctor struct {
	config  config.Config // the part of it that could be read
	account string        // the one Akamai account to check; "": all
	getenv  func(string) string
	now     func() time.Time
	http    *http.Client // for requests without credentials
	brief   bool         // leaves out checks whose calls grow with the number of installations
}

// examination is one line of the doctor's output.
type examination struct {
	mark  mark
	check string // what was looked at
	words string // what was found and, if it is not good, what to do
}

// mark is the first column of a line.
type mark string

const (
	markGood mark = "ok"
	markWarn mark = "warn" // works, but not as well as it could
	markBad  mark = "FAIL" // will not work
	markSkip mark = "-"    // could not be looked at, because of an earlier fault
)

// examine makes all checks in order and reports each one at once. Each has a time limit
// of its own, so a check that hangs takes no time from the next.
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

// logged writes to the log what a server that has just started should have different. It
// checks only what the configuration can't show by itself. Checks that went well, that
// were skipped, or that the stop of the server cut short are not logged.
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

// akamai checks the credentials of each account or, with --account, of one. Lines name
// the account if the configuration has several.
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

// akamaiAccount checks the credentials of an account. Then it asks Akamai for the rate
// limit status, which purges nothing: the answer shows whether the credentials are
// granted the purge API, and Akamai's clock.
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

// edgeGridBody is how many bytes of a request's body EdgeGrid signs and verifies.
const edgeGridBody = 131072

// maxBodyExamined judges the max_body of an .edgerc, in bytes; 0 means that it is not
// set. Many files contain 8192, an old default. purgebot ignores it, but signatures of
// other tools fail with it.
func maxBodyExamined(configured int) examination {
	if configured < edgeGridBody && configured != 0 {
		return examination{markWarn, "max_body", fmt.Sprintf(
			"%d in the edgerc; purgebot signs with %d all the same, other tools would fail: remove the line", configured, edgeGridBody)}
	}
	return examination{markGood, "max_body", fmt.Sprint(edgeGridBody)}
}

// grantExamined judges what the answer says about the credentials. Limited proves the
// grant too: only the budget is used up.
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

// clockTolerance is how far this machine's clock may be off. Akamai refuses a signature
// that is older or newer than that, GitHub a token from the future.
const clockTolerance = 30 * time.Second

// clockExamined compares this machine's clock with the Date header of an answer that came
// between asked and answered. The header has whole seconds, cut off; half a second is
// added to it, and the middle of the two local times is compared, so that neither adds a
// systematic error. It warns from a third of the tolerance on.
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

// get makes a request without credentials and reads only the head of the answer. The date
// is zero if the answer has no valid Date header.
func (d doctor) get(ctx context.Context, address string) (status int, date time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, time.Time{}, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, time.Time{}, err
	}
	date, _ = http.ParseTime(resp.Header.Get("Date")) // an invalid header is treated as none
	return resp.StatusCode, date, resp.Body.Close()
}

// databaseOpens checks that the database can be opened. It does not update the schema:
// only a server or migrate does that.
func (d doctor) databaseOpens(ctx context.Context) []examination {
	const check = "database"
	found, err := store.Examine(ctx, d.config.Database.Reveal())
	if err != nil {
		return []examination{{markBad, check, err.Error()}}
	}
	return []examination{{markGood, check, found}}
}

// folderExamined checks whether a file can be made in a folder, by making one and
// removing it. setup uses it; doctor itself writes nothing.
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

// listens checks whether the server can listen at the configured address. If the address
// is taken, it asks whether purgebot itself is the one that listens there.
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

// policyExamined checks whether the policy allows anything at all. An empty policy is
// FAIL, because then every purge is refused.
func policyExamined(p policy.Policy) examination {
	const check = "policy"
	if len(p) == 0 {
		return examination{markBad, check, "it lists nothing, so every purge is refused: write under policy which repositories may purge which hosts"}
	}
	for i, entry := range p {
		// An entry that only names an account or shared rules is complete: another entry
		// may allow the objects.
		if len(entry.Hosts)+len(entry.Tags)+len(entry.CPCodes) == 0 && entry.Account+entry.RulesFrom == "" {
			return examination{markWarn, check, fmt.Sprintf("entry %d (%s) allows no hosts, tags or CP codes: add some", i+1, strings.Join(entry.Repositories, ", "))}
		}
	}
	return examination{markGood, check, report.Amount(len(p), "entry", "entries")}
}

// address checks whether the server answers at the public URL. The links of commit
// statuses lead there, and GitHub delivers webhooks there. No answer is only a warning:
// the server may not run yet.
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

// publicURLExamined judges a public URL without asking anything.
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

// loopback reports whether a host name or an IP address is this machine itself. It looks
// nothing up, so a name other than localhost is not loopback.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
