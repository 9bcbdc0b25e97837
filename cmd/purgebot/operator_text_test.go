package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/purger"
)

func textPurges(now time.Time) []web.Purge {
	return []web.Purge{{
		ID: "01M80SK9DWGZR3MAJEB76HH0JR", Repository: "acme/site", Environment: "production", State: "held", Total: 60_000,
		Words: "held: 60000 URLs; 60000 URLs, the rules hold more than 50000. To release: /purge release", CreatedAt: now.Add(-90 * time.Minute),
	}, {
		ID: "01M80SK9DWGZR3MAJEB76HH0JS", Repository: "acme/site", Environment: "stag\x1b[31ming", State: "open", Total: 14, Accepted: 9, Failed: 1,
		Words: "9 of 14 purged, 1 refused", CreatedAt: now.Add(-5 * time.Second),
	}}
}

func TestStatusText(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	at := func(sha string, deployment int64, ago time.Duration) *web.Point {
		return &web.Point{SHA: sha, Deployment: deployment, Since: now.Add(-ago)}
	}
	live := at("1234567890abcdef", 7, 3*time.Hour)
	doc := web.Status{At: now, More: true, Pause: &web.Pause{Until: now.Add(15 * time.Second), Words: "Forbidden: no\ngrant"}, Environments: []web.Environment{
		{Repository: "acme/site", Environment: "production", Live: live, Desired: live, Reconciled: true, Purges: textPurges(now)},
		{Repository: "acme/site", Environment: "staging", Live: live, Desired: at("fedcba9876543210", 8, time.Minute), DueAt: now.Add(10 * time.Second)},
		{Repository: "acme/site", Environment: "preview", Desired: at("fedcba9876543210", 0, time.Minute), Fault: "purge-rules.yaml:3:1: unknown key"},
		{Repository: "acme/a-longer-name", Environment: "x", Live: live, Desired: at("fedcba9876543210", 8, 0)},
		{Repository: "acme/a-longer-name", Environment: "y", Reconciled: true},
	}}
	const want = `Nothing is sent to Akamai; next try in 15s: Forbidden: no grant

REPOSITORY          ENVIRONMENT  LIVE     SINCE  DESIRED  DEPLOYMENT  STATE
acme/site           production   1234567  3h     1234567  7           in sync
acme/site           staging      1234567  3h     fedcba9  8           settles, due in 10s
acme/site           preview      -        -      fedcba9  -           waits, see below
acme/a-longer-name  x            1234567  3h     fedcba9  8           being planned
acme/a-longer-name  y            -        -      -        -           nothing deployed

acme/site preview waits: purge-rules.yaml:3:1: unknown key

There are further environments: ask for one repository with --repo.

PURGE                       REPOSITORY  ENVIRONMENT   STATE  ACCEPTED  FAILED  AGE  STATUS
01M80SK9DWGZR3MAJEB76HH0JR  acme/site   production    held   0/60000   0       90m  held: 60000 URLs; 60000 URLs, the rules hold more than 50000. To release: /purge release
01M80SK9DWGZR3MAJEB76HH0JS  acme/site   stag [31ming  open   9/14      1       5s   9 of 14 purged, 1 refused
`
	var out strings.Builder
	if err := describeStatus(&out, doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := describeStatus(&out, web.Status{At: now}); err != nil || out.String() != "Nothing is known yet: no push and no deployment came.\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestQueueText(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	number := func(n float64) *float64 { return &n }
	doc := queueDoc{
		Queue: web.Queue{
			At: now, Deliveries: 1, Environments: 2, Statuses: 1, Held: web.Held{Purges: 1, Objects: 60_000},
			Waiting: []web.Waiting{
				{Kind: "url", Lane: "people", Objects: 1, Since: now.Add(-time.Second)},
				{Kind: "url", Lane: "large", Objects: 98_000, Since: now.Add(-49 * time.Hour)},
				{Kind: "tag", Lane: "deploys", Objects: 3, Since: now.Add(-3 * time.Minute)},
			},
			Requests: []web.Requests{{Kind: "url", Ready: 1, Sending: 2, Objects: 1500}},
			Budget: []web.Bucket{
				{Bucket: "requests", Tokens: 97, Capacity: 100, PerSecond: 50},
				{Bucket: "url", Tokens: 0, Capacity: 10_000, PerSecond: 200},
				{Bucket: "tag", Tokens: 5000, Capacity: 5000, PerSecond: 500.0 / 60},
			},
			Purges: textPurges(now),
		},
		Akamai: []akamaiBucket{{"requests", number(96.5), number(100), nil}, {"url", number(12), nil, nil}, {"tag", nil, number(5000), nil}},
	}
	const want = `WAITS     PEOPLE  DEPLOYS  LARGE  OLDEST  IN REQUESTS  TO RESEND  BEING SENT
URLs      1       0        98000  2d      1500         1          2
tags      0       3        0      3m      0            0          0
CP codes  0       0        0      -       0            0          0

1 delivery to read, 2 environments to plan, 1 status for GitHub to write; 1 purge held, with 60000 objects

BUDGET    LEFT  OF     A SECOND  AKAMAI SAYS
requests  97    100    50        96 left of 100
url       0     10000  200       12 left
tag       5000  5000   8.33      -

PURGE                       REPOSITORY  ENVIRONMENT   STATE  ACCEPTED  FAILED  AGE  STATUS
01M80SK9DWGZR3MAJEB76HH0JR  acme/site   production    held   0/60000   0       90m  held: 60000 URLs; 60000 URLs, the rules hold more than 50000. To release: /purge release
01M80SK9DWGZR3MAJEB76HH0JS  acme/site   stag [31ming  open   9/14      1       5s   9 of 14 purged, 1 refused
`
	var out strings.Builder
	if err := describeQueue(&out, doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestActText(t *testing.T) {
	p := web.Purge{ID: "01M", Repository: "acme/site", Environment: "production", Words: "9 of 14 purged"}
	for verb, want := range map[string]string{
		"retry":   "2 objects will be sent again, 01M of acme/site production: 9 of 14 purged",
		"release": "Released 01M of acme/site production: 9 of 14 purged",
		"cancel":  "Cancelled 01M of acme/site production: 9 of 14 purged",
	} {
		if got := describeAct(verb, web.Acted{Purge: p, Freed: 2}); got != want {
			t.Errorf("%s: %q, want %q", verb, got, want)
		}
	}
}

func TestQueueOfCCUv2(t *testing.T) {
	a, _ := purgeStandin(t, standin.AkamaiConfig{})
	if got := runPurge(t, "", "purge", "url", "--api", "ccu-v2", "https://www.acme.com/a", "https://www.acme.com/b"); got.code != exitDone {
		t.Fatal(got)
	}
	got := runPurge(t, "", "queue", "--api", "ccu-v2")
	if got.code != exitDone || !strings.HasSuffix(got.out, " of 10000 objects wait in Akamai's queue (CCU v2); it may lag a minute behind\n") {
		t.Errorf("%+v", got)
	}
	got = runPurge(t, "", "queue", "--api", "ccu-v2", "--json")
	if got.code != exitDone || !strings.HasPrefix(got.out, `{"api":"ccu-v2","length":`) || !strings.HasSuffix(got.out, `,"capacity":10000}`+"\n") {
		t.Errorf("%+v", got)
	}
	a.SetGranted(false)
	if got := runPurge(t, "", "queue", "--api", "ccu-v2"); got.code != exitFailed || got.out != "" || !strings.Contains(got.err, "ask for the queue's length: the API client may not purge") {
		t.Errorf("without the grant: %+v", got)
	}
	t.Setenv("AKAMAI_HOST", "")
	if got := runPurge(t, "", "queue", "--api", "ccu-v2"); got.code != exitUsage {
		t.Errorf("without credentials: %+v", got)
	}
}

func TestDialable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080",
		"0.0.0.0:8080":   "127.0.0.1:8080",
		":8080":          "127.0.0.1:8080",
		"[::]:8080":      "[::1]:8080",
		"10.0.0.5:80":    "10.0.0.5:80",
		"localhost:80":   "localhost:80",
		"127.0.0.1:0":    "",
		"8080":           "",
	} {
		if got, err := dialable(listen); got != want || (err == nil) != (want != "") {
			t.Errorf("dialable(%s) = %q, %v; want %q", listen, got, err, want)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(status)
	}))
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	// The configuration's other faults are not the probe's to tell.
	file := filepath.Join(t.TempDir(), "purgebot.yaml")
	if err := os.WriteFile(file, []byte("listen: 0.0.0.0:"+u.Port()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runPurge(t, "", "healthcheck", "--config", file); got != (purgeEnded{code: exitDone}) {
		t.Errorf("a server that is well: %+v", got)
	}
	status = http.StatusBadGateway
	if got := runPurge(t, "", "healthcheck", "--config", file); got.code != exitFailed || !strings.Contains(got.err, "it answers 502") {
		t.Errorf("a server that is not: %+v", got)
	}
	server.Close()
	if got := runPurge(t, "", "healthcheck", "--config", file); got.code != exitFailed || !strings.Contains(got.err, "connection refused") {
		t.Errorf("no server: %+v", got)
	}
	if got := runPurge(t, "", "healthcheck", "--config", file+".no"); got.code != exitUsage {
		t.Errorf("no configuration: %+v", got)
	}
}

func TestMigrate(t *testing.T) {
	w, _ := newWorld(t, nil)
	config := w.filesWith("sqlite:./new.db")
	got := runPurge(t, "", "migrate", "--config", config)
	if got.code != exitDone || !strings.HasPrefix(got.out, "Migrated: tables 0 → ") {
		t.Errorf("a new database: %+v", got)
	}
	got = runPurge(t, "", "migrate", "--config", config)
	if got.code != exitDone || !strings.HasPrefix(got.out, "The schema is up to date: tables ") {
		t.Errorf("once more: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(w.cfg.dir, "new.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runPurge(t, "", "migrate", "--config", config); got.code != exitFailed || got.out != "" {
		t.Errorf("no database: %+v", got)
	}
	if got := runPurge(t, "", "migrate", "--config", config+".no"); got.code != exitUsage {
		t.Errorf("no configuration: %+v", got)
	}
}

// What Akamai says of the budget stands beside the model.
func TestQueueAsksAkamai(t *testing.T) {
	o := newOperated(t, "")
	var doc queueDoc
	o.asks(&doc, "queue")
	if len(doc.Akamai) != 4 {
		t.Fatalf("Akamai says %+v", doc.Akamai)
	}
	for i, name := range []string{"requests", string(purger.URL), string(purger.Tag), string(purger.CPCode)} {
		if b := doc.Akamai[i]; b.Bucket != name || b.Remaining == nil || b.Limit == nil {
			t.Errorf("%s: %+v", name, b)
		}
	}
	o.akamai.SetGranted(false)
	out, err := o.ask(exitDone, "queue")
	wantWords(t, err, "Akamai was not asked for the budget: rate-limit-status: the API client may not purge")
	wantWords(t, out, "BUDGET")
}
