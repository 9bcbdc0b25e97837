// Package demo plays purgebot on one machine without any account: a site in git,
// stand-ins for GitHub and Akamai, and the real server between them. It tells its own
// story, or plays the last commits of a user's clone. It compares what reached Akamai
// with what should have, object by object.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/stage"
)

// Config says what is played, and where.
type Config struct {
	Dir    string // an existing folder for the site and the database
	Listen string // the server's address
	Log    *slog.Logger
	Out    io.Writer // where the story is printed

	Repo  string // a clone whose last commits are played; "": the story
	Rules string // with Repo: a rules file for every commit; "": each commit's own
	Last  int    // with Repo: number of commits
}

// ErrNotAsTold ends a play in which something went differently from what was told. The
// output says what.
var ErrNotAsTold = errors.New("it did not end as told")

// ErrInterrupted ends a play that was stopped before its end.
var ErrInterrupted = errors.New("interrupted")

// Demo is a play that is ready to run.
type Demo struct {
	cfg  Config
	play play
}

// play is a story that is opened on a stage and then played.
type play interface {
	open(ctx context.Context, cfg Config) error
	play(ctx context.Context) error
	narrator() *teller
}

// New prepares a play. An error is about the clone or the rules file that the
// configuration names.
func New(ctx context.Context, cfg Config) (*Demo, error) {
	if cfg.Repo == "" {
		return &Demo{cfg: cfg, play: &story{teller: teller{out: cfg.Out}}}, nil
	}
	r, err := openReplay(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Demo{cfg: cfg, play: r}, nil
}

// Run plays it. If stay is set, the server keeps running until ctx ends, except after a
// play that ended with [ErrNotAsTold]. If ctx ends before the play does, the error is
// [ErrInterrupted].
func (d *Demo) Run(ctx context.Context, stay bool) (err error) {
	if err := d.play.open(ctx, d.cfg); err != nil {
		return err
	}
	t := d.play.narrator()
	t.interrupted = func() bool { return ctx.Err() != nil }
	defer func() { err = errors.Join(err, t.stage.Close(context.WithoutCancel(ctx))) }()
	err = d.play.play(ctx)
	if t.interrupted() {
		t.say("\nInterrupted. Nothing is left behind but what --dir keeps.")
		return ErrInterrupted
	}
	if err != nil {
		return err
	}
	if t.verdict(); t.wrong > 0 {
		return ErrNotAsTold
	}
	if stay {
		t.say("The server goes on at http://%s until you press Ctrl-C.", t.stage.Server.Addr())
		<-ctx.Done()
	}
	return nil
}

// teller prints what happens on a stage, and counts what should not have happened.
type teller struct {
	out   io.Writer
	stage *stage.Stage

	interrupted func() bool

	seen  int    // purges of the Akamai stand-in that were compared already
	wrong int    // steps that went differently from what was told
	count int    // steps so far
	page  string // address in the last status that nobody has read yet
}

func (t *teller) narrator() *teller { return t }

func (t *teller) say(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

// step begins a step of the story.
func (t *teller) step(format string, args ...any) {
	t.count++
	t.say("\n%d. %s", t.count, fmt.Sprintf(format, args...))
}

// wrongly notes that something went differently from what was told.
func (t *teller) wrongly(format string, args ...any) {
	if t.interrupted() { // the play was stopped, so nothing is wrong
		return
	}
	t.wrong++
	t.say("   ✗ "+format, args...)
}

// shown is how many objects of a step are printed.
const shown = 20

const demoWait = 30 * time.Second

// status waits for a commit's status and prints it.
func (t *teller) status(ctx context.Context, sha, environment, state, words string) {
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	s, err := t.stage.AwaitStatus(wait, sha, environment, state, words)
	if err != nil {
		t.wrongly("%v; told was %s %q", err, state, words)
		return
	}
	t.say("   %s %s  %s: %s", statusMark(s.State), sha[:7], s.Context, s.Description)
	if s.TargetURL != "" {
		t.say("     %s", s.TargetURL)
	}
	t.page = s.TargetURL
}

func statusMark(state string) string {
	switch state {
	case "success":
		return "✓"
	case "failure", "error":
		return "✗"
	default:
		return "…"
	}
}

// purged waits until nothing is left to do, then compares what was sent.
func (t *teller) purged(ctx context.Context, want ...string) {
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	if err := t.stage.Server.Idle(wait); err != nil {
		t.wrongly("%v", err)
		return
	}
	t.judge(ctx, want)
}

// judge compares, object by object, what reached Akamai since the last call with what was
// wanted. An entry is "NETWORK ACTION KIND OBJECT", each once.
func (t *teller) judge(ctx context.Context, want []string) {
	all := t.stage.Akamai.Accepted()
	got := map[string]int{}
	for _, p := range all[t.seen:] {
		for _, o := range p.Objects {
			got[p.Network+" "+p.Action+" "+p.Kind+" "+o]++
		}
	}
	t.seen = len(all)
	lines := make([]string, 0, len(got))
	for line := range got {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	for i, line := range lines {
		switch {
		case i < shown:
			t.say("     akamai: %s", line)
		case i == shown:
			t.say("     akamai: and %d more", len(lines)-shown)
		}
		if !slices.Contains(want, line) {
			t.wrongly("reached Akamai and was not wanted: %s", line)
		} else if got[line] > 1 {
			t.wrongly("reached Akamai %d times: %s", got[line], line)
		}
	}
	for _, line := range want {
		if got[line] == 0 {
			t.wrongly("never reached Akamai: %s", line)
		}
	}
	if len(got) == 0 {
		t.say("     akamai: nothing")
	}
	t.judgePage(ctx, len(want))
}

// judgePage compares the page that the last status links to with the number of objects
// that Akamai accepted.
func (t *teller) judgePage(ctx context.Context, accepted int) {
	if t.page == "" {
		return
	}
	page, err := readPage(ctx, t.page)
	if err != nil {
		t.wrongly("read the purge's page: %v", err)
	} else if n := strings.Count(page, `<td class="accepted">`); n != accepted {
		t.wrongly("the purge's page shows %d accepted objects, Akamai accepted %d: %s", n, accepted, t.page)
	}
	t.page = ""
}

// readPage reads one of the server's pages.
func readPage(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 10<<20))
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return string(body), err
}

func (t *teller) verdict() {
	if calls := t.stage.GitHub.UnknownCalls(); len(calls) > 0 {
		t.wrongly("calls that GitHub does not know: %v", calls)
	}
	if t.wrong > 0 {
		t.say("\n%s not as expected.", report.Amount(t.wrong, "result was", "results were"))
		return
	}
	t.say("\nEvery object that should have been purged reached Akamai, no other did, and every status was as expected.")
}
