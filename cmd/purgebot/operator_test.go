package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/web"
)

// operated is a world whose server is asked on the command line.
type operated struct {
	*world
	config string
	ahead  atomic.Int64 // of the server's clock
}

// newOperated opens a world, deploys its first commit and starts the server.
func newOperated(t *testing.T, rules string) *operated {
	t.Helper()
	w, first := newWorld(t, nil)
	if rules != "" {
		first = w.Commit("rules", map[string]string{"purge-rules.yaml": rules})
	}
	w.Deploy("production", first, "success")
	o := &operated{world: w, config: w.files()}
	o.open()
	return o
}

// open starts the server with a clock that a test can put ahead.
func (o *operated) open() {
	o.T.Helper()
	o.Begin(func(cfg *server.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(o.ahead.Load())) }
	})
}

// ask runs a command against the server. It must exit with the given code.
func (o *operated) ask(code int, args ...string) (out, err string) {
	o.T.Helper()
	args = append(args, "--config", o.config, "--server", "http://"+o.Server.Addr())
	got := runPurge(o.T, "", args...)
	if got.code != code {
		o.T.Fatalf("purgebot %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got.code, code, got.out, got.err)
	}
	return got.out, got.err
}

// asks runs a command with --json and decodes its output.
func (o *operated) asks(into any, args ...string) {
	o.T.Helper()
	out, _ := o.ask(exitDone, append(args, "--json")...)
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		o.T.Fatalf("%v in %s", err, out)
	}
}

// last is the last purge of production.
func (o *operated) last() web.Purge {
	o.T.Helper()
	var doc web.Status
	o.asks(&doc, "status", "--repo", "Acme/Site", "--env", "Production")
	if len(doc.Environments) != 1 || len(doc.Environments[0].Purges) == 0 {
		o.T.Fatalf("no purge of production: %+v", doc)
	}
	return doc.Environments[0].Purges[0]
}

func wantWords(t *testing.T, got string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(got, w) {
			t.Errorf("want %q in:\n%s", w, got)
		}
	}
}

func TestOperatorSeesAPauseAndItsEnd(t *testing.T) {
	o := newOperated(t, "")
	o.Akamai.SetGranted(false)
	second := o.Commit("second", map[string]string{"content/index/home.md": "new", "layouts/base.html": "new"})
	o.Deploy("production", second, "success")
	o.Await(second, "production", "pending", "0 of 3 purged")
	var queue queueDoc
	for deadline := time.Now().Add(servertest.Patience); queue.Pause == nil; {
		if time.Now().After(deadline) {
			t.Fatalf("no pause: %+v", queue)
		}
		o.asks(&queue, "queue")
	}
	if len(queue.Purges) != 1 || queue.Purges[0].Total != 3 || queue.Purges[0].State != "open" {
		t.Errorf("the queue's purges: %+v", queue.Purges)
	}
	out, _ := o.ask(exitDone, "queue")
	wantWords(t, out, "Nothing is being sent to Akamai; next try in ", "0/3", "production")
	out, _ = o.ask(exitDone, "status")
	wantWords(t, out, "Nothing is being sent to Akamai; next try in ", "acme/site", second[:7], "paused, see above", "0 of 3 purged")

	o.Akamai.SetGranted(true)
	o.ahead.Store(int64(time.Minute))
	o.Await(second, "production", "success", "2 URLs, 1 tag purged")
	queue = queueDoc{}
	o.asks(&queue, "queue")
	if queue.Pause != nil || len(queue.Waiting)+len(queue.Requests)+len(queue.Purges) > 0 {
		t.Errorf("when all is sent, the queue has %+v", queue)
	}
	if p := o.last(); p.State != "done" || p.Result != "success" || p.Accepted != 3 || p.To != second {
		t.Errorf("the purge at the end: %+v", p)
	}
}

func TestOperatorRetries(t *testing.T) {
	o := newOperated(t, "")
	const bad = "https://m.acme.com/index/home/"
	o.Akamai.Refuse(bad, 0, "")
	second := o.Commit("second", map[string]string{"content/index/home.md": "new"})
	o.Deploy("production", second, "success")
	o.Await(second, "production", "failure", "1 purged, 1 refused: Akamai doesn't let purgebot purge ")
	p := o.last()
	o.Akamai.Allow(bad)
	o.Sent()
	out, _ := o.ask(exitDone, "retry", p.URL, "--by", "ann") // by the address of its page
	wantWords(t, out, "1 object will be sent again, "+p.ID+" of acme/site production")
	o.Await(second, "production", "success", "2 URLs purged")
	o.WantSent("production invalidate url " + bad)
	_, err := o.ask(exitFailed, "retry", p.ID)
	wantWords(t, err, "nothing was done: no object of this purge was refused")
	_, err = o.ask(exitFailed, "release", p.ID)
	wantWords(t, err, "nothing was done: this purge is done, not held")
	_, err = o.ask(exitFailed, "cancel", strings.ToLower(p.ID))
	wantWords(t, err, "nothing was done: this purge is done already")
}

// What the policy refuses stays refused until the policy changes.
func TestOperatorsRetryIsJudgedByThePolicyOfNow(t *testing.T) {
	o := newOperated(t, strings.Replace(servertest.Rules, "m.acme.com", "www.evil.com", 1))
	second := o.Commit("second", map[string]string{"content/index/home.md": "new"})
	o.Deploy("production", second, "success")
	o.Await(second, "production", "failure", "1 purged, 1 refused: policy doesn't allow host www.evil.com")
	p := o.last()
	_, err := o.ask(exitFailed, "retry", p.ID)
	wantWords(t, err, "every refused object is still refused: policy doesn't allow host www.evil.com for acme/site")

	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	o.Config.Policy[0].Hosts = append(o.Config.Policy[0].Hosts, "www.evil.com")
	o.open()
	o.Sent()
	o.ask(exitDone, "retry", p.ID)
	o.Await(second, "production", "success", "2 URLs purged")
	o.WantSent("production invalidate url https://www.evil.com/index/home/")
}

func TestOperatorReleases(t *testing.T) {
	o := newOperated(t, servertest.Rules+"limits:\n  - over: 1\n    instead: hold\n")
	second := o.Commit("second", map[string]string{"content/index/home.md": "new"})
	o.Deploy("production", second, "success")
	o.Await(second, "production", "pending", "Needs approval: 2 URLs")
	var queue queueDoc
	o.asks(&queue, "queue")
	if queue.Held != (web.Held{Purges: 1, Objects: 2}) || len(queue.Purges) != 1 || queue.Purges[0].State != "held" {
		t.Errorf("queue: %+v", queue)
	}
	o.WantSent()
	out, _ := o.ask(exitDone, "status")
	wantWords(t, out, "held: 2 URLs")
	out, _ = o.ask(exitDone, "release", queue.Purges[0].ID, "--by", "ann")
	wantWords(t, out, "Released "+queue.Purges[0].ID+" of acme/site production: ")
	o.Await(second, "production", "success", "2 URLs purged in ")
	wantWords(t, o.last().Words, "released by ann")
	out, _ = o.ask(exitDone, "status")
	wantWords(t, out, "in sync")
	o.WantSent("production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/")
}

func TestOperatorCancels(t *testing.T) {
	o := newOperated(t, servertest.Rules+"limits:\n  - over: 1\n    instead: hold\n")
	second := o.Commit("second", map[string]string{"content/index/home.md": "new"})
	o.Deploy("production", second, "success")
	o.Await(second, "production", "pending", "Needs approval: 2 URLs")
	p := o.last()
	var done web.Acted
	o.asks(&done, "cancel", p.ID)
	if done.Purge.State != "cancelled" || done.Purge.Words != "cancelled by the operator, 2 not purged" {
		t.Errorf("after cancel: %+v", done)
	}
	o.Await(second, "production", "failure", "cancelled by the operator, 2 not purged")
	o.WantSent()
	var doc web.Status
	o.asks(&doc, "status")
	if live := doc.Environments[0].Live; live == nil || live.SHA != second {
		t.Errorf("a cancel leaves live where it is: %+v", live)
	}
	_, err := o.ask(exitFailed, "retry", p.ID)
	wantWords(t, err, "this purge is cancelled, and only an open or done one can be retried")
}

func TestOperatorsMistakes(t *testing.T) {
	o := newOperated(t, "")
	stranger := filepath.Join(t.TempDir(), "nowhere.yaml")
	server := "http://" + o.Server.Addr()
	gone := httptest.NewServer(http.NotFoundHandler())
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	gone.Close()
	for name, test := range map[string]struct {
		code int
		args []string
		want string
	}{
		"unknown environment":        {exitUsage, []string{"status", "--env", "prod", "--config", o.config, "--server", server}, "nothing is known of an environment prod"},
		"unknown repository":         {exitUsage, []string{"status", "--repo", "acme/none", "--config", o.config, "--server", server}, "nothing is known of repository acme/none"},
		"no repository":              {exitUsage, []string{"status", "--repo", "acme", "--config", o.config, "--server", server}, "write OWNER/NAME"},
		"unknown purge":              {exitFailed, []string{"retry", "01J", "--config", o.config, "--server", server}, `there is no purge "01J"`},
		"no purge":                   {exitUsage, []string{"cancel"}, "<purge>"},
		"two lines of name":          {exitUsage, []string{"cancel", "01J", "--by", "a\nb", "--config", o.config, "--server", server}, "on one line"},
		"configuration is missing":   {exitUsage, []string{"status", "--config", stranger}, "nowhere.yaml"},
		"port is not known":          {exitUsage, []string{"status", "--config", o.config}, "listen 127.0.0.1:0"},
		"token in the clear":         {exitUsage, []string{"status", "--config", o.config, "--server", "http://purgebot.acme.com"}, "use https"},
		"server is no address":       {exitUsage, []string{"status", "--config", o.config, "--server", "purgebot.acme.com"}, "not of the form https://HOST"},
		"server is away":             {exitFailed, []string{"status", "--config", o.config, "--server", gone.URL}, "is purgebot serve running?"},
		"server is something else":   {exitFailed, []string{"queue", "--config", o.config, "--server", other.URL}, "answers 404 as purgebot does not"},
		"address of no purge's page": {exitUsage, []string{"retry", "https://www.acme.com/", "--config", o.config}, "neither a purge's id nor"},
	} {
		t.Run(name, func(t *testing.T) {
			got := runPurge(t, "", test.args...)
			if got.code != test.code || !strings.Contains(got.err, test.want) || got.out != "" {
				t.Errorf("exit %d, want %d with %q; it said\n%s%s", got.code, test.code, test.want, got.out, got.err)
			}
		})
	}
}

// A machine that knows a webhook secret needs nothing else. One that knows another secret
// gets nothing.
func TestOperatorsTokenIsTheSecrets(t *testing.T) {
	o := newOperated(t, "")
	ask := func(secrets string) purgeEnded {
		file := filepath.Join(t.TempDir(), "secrets.yaml")
		if err := os.WriteFile(file, []byte("github: {webhook_secrets: ["+secrets+"]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return runPurge(t, "", "status", "--config", file, "--server", "http://"+o.Server.Addr())
	}
	if got := ask("the new one, " + o.Secret); got.code != exitDone {
		t.Errorf("with the secret as the second one: exit %d, %s", got.code, got.err)
	}
	got := ask("another one")
	if got.code != exitUsage || !strings.Contains(got.err, "the operator's token is missing or wrong") || got.out != "" {
		t.Errorf("with another secret: exit %d, %s%s", got.code, got.out, got.err)
	}
	if strings.Contains(got.err, "another") {
		t.Errorf("a secret was told: %s", got.err)
	}
}
