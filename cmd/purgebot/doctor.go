package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/config"
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
// purges nothing, and changes nothing but an old schema of the database, as
// serve does.
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

// databaseOpens opens the database as serve does, which brings its schema up
// to date. A file that does not exist yet is left to serve.
func (d doctor) databaseOpens(ctx context.Context) []examination {
	const check = "database"
	address := d.config.Database.Reveal()
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		file = strings.TrimPrefix(file, "//")
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return []examination{folderExamined(check, filepath.Dir(file))}
		}
	}
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

// folderExamined tries whether a file can be made in a folder.
func folderExamined(check, folder string) examination {
	f, err := os.CreateTemp(folder, ".purgebot-doctor-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return examination{markBad, check, fmt.Sprintf("no file can be made in its folder: %v", err)}
	}
	return examination{markGood, check, "sqlite, made at the first start"}
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
