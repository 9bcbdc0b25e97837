package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/purger"
)

func textPurges(now time.Time) []web.Purge {
	return []web.Purge{{
		ID: "01M80SK9DWGZR3MAJEB76HH0JR", Repository: "acme/site", Environment: "production", State: "held", Total: 60_000,
		Words: "Needs approval: 60,000 URLs (limit 50,000)", CreatedAt: now.Add(-90 * time.Minute),
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
	doc := web.Status{At: now, More: true, Accounts: []web.Account{
		{Account: "default", Pause: &web.Pause{Until: now.Add(15 * time.Second), Words: "Forbidden: no\ngrant"}},
	}, Environments: []web.Environment{
		{Repository: "acme/site", Environment: "production", Live: live, Desired: live, Reconciled: true, Held: "60,000 URLs", Purges: textPurges(now)},
		{Repository: "acme/site", Environment: "staging", Live: live, Desired: at("fedcba9876543210", 8, time.Minute), DueAt: now.Add(10 * time.Second)},
		{Repository: "acme/site", Environment: "preview", Desired: at("fedcba9876543210", 0, time.Minute), Fault: "purge-rules.yaml:3:1: unknown key"},
		{Repository: "acme/a-longer-name", Environment: "x", Live: live, Desired: at("fedcba9876543210", 8, 0)},
		{Repository: "acme/a-longer-name", Environment: "y", Reconciled: true},
		{Repository: "acme/a-longer-name", Environment: "p", Live: live, Desired: live, Reconciled: true, Purges: []web.Purge{{
			ID: "01M80SK9DWGZR3MAJEB76HH0JT", Repository: "acme/a-longer-name", Environment: "p", State: "open", Total: 3, PausedBy: "ann: sale",
			CreatedAt: now.Add(-time.Minute), Words: "0 of 3 purged, paused by ann: sale",
		}}},
		{Repository: "acme/a-longer-name", Environment: "z", Live: live, Desired: live, Reconciled: true, Purges: []web.Purge{}},
	}}
	const want = `Nothing is being sent to Akamai; next try in 15s: Forbidden: no grant

REPOSITORY          ENVIRONMENT  LIVE     SINCE  DESIRED  DEPLOYMENT  STATE
acme/site           production   1234567  3h     1234567  7           held: 60,000 URLs
acme/site           staging      1234567  3h     fedcba9  8           waiting to settle, due in 10s
acme/site           preview      -        -      fedcba9  -           waiting, see below
acme/a-longer-name  x            1234567  3h     fedcba9  8           being planned
acme/a-longer-name  y            -        -      -        -           nothing deployed
acme/a-longer-name  p            1234567  3h     1234567  7           paused by ann: sale
acme/a-longer-name  z            1234567  3h     1234567  7           in sync

acme/site preview is waiting: purge-rules.yaml:3:1: unknown key

There are more environments: ask for one repository with --repo.

PURGE                       REPOSITORY          ENVIRONMENT        STATE           ACCEPTED  REFUSED  AGE  STATUS
01M80SK9DWGZR3MAJEB76HH0JR  acme/site           production         needs approval  0/60,000  0        90m  Needs approval: 60,000 URLs (limit 50,000)
01M80SK9DWGZR3MAJEB76HH0JS  acme/site           stag\u001b[31ming  open            9/14      1        5s   9 of 14 purged, 1 refused
01M80SK9DWGZR3MAJEB76HH0JT  acme/a-longer-name  p                  open            0/3       0        60s  0 of 3 purged, paused by ann: sale
`
	var out strings.Builder
	if err := describeStatus(&out, doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := describeStatus(&out, web.Status{At: now}); err != nil || out.String() != "Nothing is known yet: no push and no deployment was received.\n" {
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
	const want = `WAITING   PEOPLE  DEPLOYS  LARGE   OLDEST  IN REQUESTS  TO RESEND  BEING SENT
URLs      1       0        98,000  2d      1500         1          2
tags      0       3        0       3m      0            0          0
CP codes  0       0        0       -       0            0          0

1 delivery to read, 2 environments to plan, 1 status to write on GitHub; 1 purge needs approval, with 60,000 objects

BUDGET    LEFT  OF      A SECOND  AKAMAI SAYS
requests  97    100     50        96 left of 100
url       0     10,000  200       12 left
tag       5000  5000    8.33      -

PURGE                       REPOSITORY  ENVIRONMENT        STATE           ACCEPTED  REFUSED  AGE  STATUS
01M80SK9DWGZR3MAJEB76HH0JR  acme/site   production         needs approval  0/60,000  0        90m  Needs approval: 60,000 URLs (limit 50,000)
01M80SK9DWGZR3MAJEB76HH0JS  acme/site   stag\u001b[31ming  open            9/14      1        5s   9 of 14 purged, 1 refused
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
	a, _ := purgeStandin(t, akamai.Config{})
	if got := runPurge(t, "", "purge", "url", "--api", "ccu-v2", "https://www.acme.com/a", "https://www.acme.com/b"); got.code != exitDone {
		t.Fatal(got)
	}
	got := runPurge(t, "", "queue", "--api", "ccu-v2")
	if got.code != exitDone || !strings.HasSuffix(got.out, " of 10,000 objects are waiting in Akamai's queue (CCU v2); the figure may be a minute old\n") {
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

// A purge that was accepted can be asked for later, with what the purge command printed.
func TestQueueProgressOfCCUv2(t *testing.T) {
	a, base := purgeStandin(t, akamai.Config{Queue: akamai.Queue{Unknown: -1}})
	sent := runPurge(t, "", "purge", "url", "--api", "ccu-v2", "--json", "https://www.acme.com/a")
	var result struct {
		Requests []struct {
			PurgeID     string `json:"purge_id"`
			ProgressURI string `json:"progress_uri"`
		}
	}
	if err := json.Unmarshal([]byte(sent.out), &result); err != nil || len(result.Requests) != 1 || result.Requests[0].ProgressURI == "" {
		t.Fatalf("%+v, %v", sent, err)
	}
	id, uri := result.Requests[0].PurgeID, result.Requests[0].ProgressURI
	ask := func(uri string, args ...string) purgeEnded {
		return runPurge(t, "", append([]string{"queue", "--api", "ccu-v2", "--progress", uri}, args...)...)
	}
	for _, spelled := range []string{uri, base + uri} {
		if got := ask(spelled); got.code != exitDone || !strings.HasPrefix(got.out, id+" is in progress, submitted 20") || !strings.Contains(got.out, "; ask again in ") {
			t.Errorf("%s: %+v", spelled, got)
		}
	}
	a.SetClockSkew(20 * time.Second) // within what EdgeGrid takes
	if got := ask(uri, "--json"); got.code != exitDone || !strings.HasPrefix(got.out, `{"api":"ccu-v2","purge_id":"`+id+`","status":"In-Progress","progress_uri":"`+uri+`","submitted":"20`) {
		t.Errorf("%+v", got)
	}
	if got := ask("/ccu/v2/purges/other"); got.code != exitFailed || !strings.Contains(got.err, "Akamai does not know this purge") || got.out != "" {
		t.Errorf("unknown: %+v", got)
	}
	if got := ask("/ccu/v2/purges/other", "--json"); got.code != exitFailed || !strings.Contains(got.out, `"status":"Unknown"`) {
		t.Errorf("unknown, as JSON: %+v", got)
	}
	before := a.Counts().Requests
	for name, got := range map[string]purgeEnded{
		`is not at`:         ask("https://evil.test" + uri),
		"--api ccu-v2":      runPurge(t, "", "queue", "--progress", uri),
		"--progress needs ": ask(""),
	} {
		if got.code == exitDone || !strings.Contains(got.err, strings.TrimSpace(name)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if n := a.Counts().Requests; n != before {
		t.Errorf("%d requests", n-before)
	}
}

func TestQueueProgressOfCCUv2Done(t *testing.T) {
	purgeStandin(t, akamai.Config{Queue: akamai.Queue{Unknown: -1, Done: 1}})
	sent := runPurge(t, "", "purge", "url", "--api", "ccu-v2", "--json", "https://www.acme.com/a")
	uri := regexp.MustCompile(`"progress_uri":"([^"]+)"`).FindStringSubmatch(sent.out)
	if uri == nil {
		t.Fatalf("%+v", sent)
	}
	got := runPurge(t, "", "queue", "--api", "ccu-v2", "--progress", uri[1])
	if got.code != exitDone || !regexp.MustCompile(`^[0-9a-f-]+ is done, submitted 20[0-9T:-]+Z, completed 20[0-9T:-]+Z\n$`).MatchString(got.out) {
		t.Errorf("%+v", got)
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
	// The probe does not report other faults of the configuration.
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
	if err := os.WriteFile(filepath.Join(w.Config.Dir, "new.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runPurge(t, "", "migrate", "--config", config); got.code != exitFailed || got.out != "" {
		t.Errorf("no database: %+v", got)
	}
	if got := runPurge(t, "", "migrate", "--config", config+".no"); got.code != exitUsage {
		t.Errorf("no configuration: %+v", got)
	}
}

// Akamai's own figures are next to those of the model.
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
	o.Akamai.SetGranted(false)
	out, err := o.ask(exitDone, "queue")
	wantWords(t, err, "Akamai was not asked for the budget: rate-limit-status: the API client may not purge")
	wantWords(t, out, "BUDGET")
}
