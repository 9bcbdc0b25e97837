package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store"
)

// patient is a whole installation: stand-ins for Akamai and GitHub, something that
// answers as the server, and the configuration for them.
type patient struct {
	doctor
	file   string // the configuration
	akamai *akamai.Server
	hub    *ghstandin.Server
}

// healthy makes a patient with nothing wrong. It takes a key, because keys are slow to
// make and the tests share theirs.
func healthy(t *testing.T, app ghstandin.Config, key *rsa.PrivateKey) *patient {
	t.Helper()
	app.AppKey = &key.PublicKey
	hub, err := ghstandin.New(app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	service := akamai.New(akamai.Config{})
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("edgerc", service.EdgercSection("default", "akab.purge.akamaiapis.net"))
	write("app.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	self := serve(own)
	hub.SetWebhook(self+"/webhook", "0123456789abcdef0123456789abcdef")
	write("purgebot.yaml", fmt.Sprintf(`public_url: %s
listen: 127.0.0.1:0
policy: [{repositories: [acme/site], hosts: ["*.acme.com"]}]
github:
  api_url: %s
  app_id: 12345
  private_key_file: app.pem
  webhook_secrets: [0123456789abcdef0123456789abcdef]
akamai:
  edgerc: edgerc
  base_url: %s
`, self, serve(hub), serve(service)))

	p := &patient{file: filepath.Join(dir, "purgebot.yaml"), akamai: service, hub: hub}
	none := func(string) string { return "" }
	cfg, err := config.Load(p.file, none)
	if err != nil {
		t.Fatal(err)
	}
	p.doctor = doctor{config: cfg, getenv: none, now: time.Now, http: http.DefaultClient}
	return p
}

func doctorKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// edit changes the patient's configuration file.
func (p *patient) edit(t *testing.T, old, text string) {
	t.Helper()
	edit(t, p.file, old, text)
}

// edit replaces texts in a file, each once: the first by the second, the third by the
// fourth, and so on.
func edit(t *testing.T, file string, texts ...string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(texts, 2) {
		if !bytes.Contains(content, []byte(pair[0])) {
			t.Fatalf("%s has no %q", file, pair[0])
		}
		content = bytes.Replace(content, []byte(pair[0]), []byte(pair[1]), 1)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// examined runs the command.
func (p *patient) examined(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"doctor", "--config", p.file}, args...), streams{strings.NewReader(""), &stdout, &stderr})
	out = strings.NewReplacer(p.config.GitHub.APIURL, "GITHUB", p.config.PublicURL, "SELF", p.file, "FILE").Replace(stdout.String())
	return code, out, stderr.String()
}

func TestDoctor(t *testing.T) {
	p := healthy(t, ghstandin.Config{}, doctorKey(t))
	want := `ok    configuration   FILE
ok    policy          1 entry
ok    edgerc          credentials for akab.purge.akamaiapis.net
ok    max_body        131072
ok    Akamai grant    may purge
ok    Akamai clock    agrees within 2s
ok    GitHub API      GITHUB answers
ok    GitHub clock    agrees within 2s
ok    GitHub App      purgebot, id 12345
ok    permissions     all that purgebot uses
ok    events          all that purgebot uses
warn  installations   none: install the App on the accounts whose repositories it should serve
ok    webhook         SELF/webhook; GitHub sent nothing yet
ok    webhook secret  set
ok    database        sqlite, made at the first start
ok    listen          127.0.0.1:0 is free
warn  public URL      SELF is this machine alone, so GitHub can't deliver webhooks to it: set public_url to the address that GitHub can reach
`
	code, out, errs := p.examined(t)
	if code != exitDone || out != want || errs != "" {
		t.Errorf("exit %d, standard error %q, got:\n%s\nwant:\n%s", code, errs, out, want)
	}
	if n := len(p.akamai.Accepted()); n > 0 {
		t.Errorf("the doctor purged %d times", n)
	}
	if left, err := os.ReadDir(filepath.Dir(p.file)); err != nil || len(left) != 3 {
		t.Errorf("the doctor left something in the folder: %v %v", left, err)
	}

	p.akamai.SetGranted(false)
	if code, out, _ := p.examined(t); code != exitFailed || !strings.Contains(out, "\nFAIL  Akamai grant") {
		t.Errorf("without a grant: exit %d\n%s", code, out)
	}
	p.akamai.SetGranted(true)

	p.edit(t, "[acme/site]", "[acme/*]")
	p.edit(t, "[0123456789abcdef0123456789abcdef]", "[0123456789abcde]")
	code, out, _ = p.examined(t)
	if code != exitDone || !strings.HasPrefix(out, "warn  configuration   FILE:8: webhook secret 1 of 1 has fewer than 16 bytes") ||
		!strings.Contains(out, "\nwarn  configuration   FILE:3: repositories: \"acme/*\" takes repositories that do not exist yet") {
		t.Errorf("with what can be guessed and created: exit %d\n%s", code, out)
	}

	p.edit(t, "app_id: 12345", "app_od: 12345")
	code, out, _ = p.examined(t)
	if code != exitUsage || !strings.Contains(out, "FAIL  configuration   FILE:6:") || !strings.Contains(out, "\nok    Akamai grant") {
		t.Errorf("with a key misspelt: exit %d\n%s", code, out)
	}

	p.file += ".missing"
	code, out, errs = p.examined(t)
	if code != exitUsage || out != "" || !strings.Contains(errs, "purgebot.yaml.missing") {
		t.Errorf("without a file: exit %d, %q, %q", code, out, errs)
	}
}

// Each fault is in the line that it belongs to, with what to do about it.
func TestDoctorFindsFaults(t *testing.T) {
	unreachable := httptest.NewServer(http.NotFoundHandler())
	unreachable.Close()
	key := doctorKey(t)
	for _, tt := range []struct {
		name  string
		app   ghstandin.Config
		spoil func(t *testing.T, p *patient)
		ask   func(doctor, context.Context) []examination
		check string
		mark  mark
		words string
	}{
		{
			name: "no edgerc", spoil: func(_ *testing.T, p *patient) { p.config.Akamai.Edgerc += "x" },
			ask: doctor.akamai, check: "edgerc", mark: markBad, words: "no such file",
		},
		{
			name: "no edgerc, so nothing asked", spoil: func(_ *testing.T, p *patient) { p.config.Akamai.Edgerc += "x" },
			ask: doctor.akamai, check: "Akamai grant", mark: markSkip, words: "without credentials",
		},
		{
			name: "no such section", spoil: func(_ *testing.T, p *patient) { p.config.Akamai.Section = "ccu" },
			ask: doctor.akamai, check: "edgerc", mark: markBad, words: "no section [ccu]",
		},
		{
			name: "an inherited max_body", spoil: func(t *testing.T, p *patient) {
				text, err := os.ReadFile(p.config.Akamai.Edgerc)
				if err != nil {
					t.Fatal(err)
				}
				small := bytes.Replace(text, []byte("131072"), []byte("8192"), 1)
				if err := os.WriteFile(p.config.Akamai.Edgerc, small, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			ask: doctor.akamai, check: "max_body", mark: markWarn, words: "8192",
		},
		{
			name: "rotated secret", spoil: func(_ *testing.T, p *patient) {
				p.akamai.SetCredentials(akamai.Credentials{ClientSecret: "new"})
			},
			ask: doctor.akamai, check: "Akamai grant", mark: markBad, words: "The signature does not match",
		},
		{
			name: "no grant", spoil: func(_ *testing.T, p *patient) { p.akamai.SetGranted(false) },
			ask: doctor.akamai, check: "Akamai grant", mark: markBad, words: "CCU APIs",
		},
		{
			name: "no Akamai", spoil: func(_ *testing.T, p *patient) { p.config.Akamai.BaseURL = unreachable.URL },
			ask: doctor.akamai, check: "Akamai grant", mark: markBad, words: "refused",
		},
		{
			name: "a receiver on this machine", spoil: func(_ *testing.T, p *patient) {
				p.config.Notify = []config.Receiver{{URL: config.NewSecret("http://127.0.0.1:1/topsecret")}}
			},
			ask: doctor.receivers, check: "notify 1", mark: markBad, words: "127.0.0.1:1 can't be told: address 127.0.0.1 is this machine; fetch.networks",
		},
		{
			name: "a receiver on this machine, allowed", spoil: func(_ *testing.T, p *patient) {
				p.config.Fetch.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				p.config.Notify = []config.Receiver{{URL: config.NewSecret("http://localhost:1/topsecret")}}
			},
			ask: doctor.receivers, check: "notify 1", mark: markGood, words: "localhost:1 can be resolved, and nothing was sent",
		},
		{
			name: "a receiver that nobody knows", spoil: func(_ *testing.T, p *patient) {
				p.config.Notify = []config.Receiver{{URL: config.NewSecret("https://hooks.invalid/topsecret")}}
			},
			ask: doctor.receivers, check: "notify 1", mark: markBad, words: "hooks.invalid can't be told: ",
		},
		{
			name: "clock behind Akamai's", spoil: func(_ *testing.T, p *patient) { p.akamai.SetClockSkew(2 * time.Minute) },
			ask: doctor.akamai, check: "Akamai clock", mark: markBad, words: "behind",
		},
		{
			name: "clock ahead of GitHub's",
			spoil: func(_ *testing.T, p *patient) {
				p.now = func() time.Time { return time.Now().Add(time.Minute) }
			},
			ask: doctor.gitHub, check: "GitHub clock", mark: markBad, words: "ahead",
		},
		{
			name: "no GitHub", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.APIURL = unreachable.URL },
			ask: doctor.gitHub, check: "GitHub API", mark: markBad, words: "does not answer",
		},
		{
			name: "another App's key", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.AppID = 1 },
			ask: doctor.gitHub, check: "GitHub App", mark: markBad, words: "github.app_id",
		},
		{
			name: "no key", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.PrivateKey = config.Secret{} },
			ask: doctor.gitHub, check: "GitHub App", mark: markSkip, words: "see configuration",
		},
		{
			name: "a permission that nothing works without",
			app:  ghstandin.Config{Permissions: map[string]string{"contents": "read", "deployments": "read", "statuses": "read", "checks": "write", "pull_requests": "write", "issues": "read"}},
			ask:  doctor.gitHub, check: "permissions", mark: markBad, words: "missing statuses: write (the status on a commit): ",
		},
		{
			name: "a permission for comments",
			app:  ghstandin.Config{Permissions: map[string]string{"contents": "read", "deployments": "read", "statuses": "write", "checks": "write", "issues": "write"}},
			ask:  doctor.gitHub, check: "permissions", mark: markWarn, words: "missing pull_requests: write (previews on pull requests; comments that ask for a purge, and the replies): ",
		},
		{
			name: "an event",
			app:  ghstandin.Config{Events: []string{"push", "issue_comment", "pull_request", "check_run"}},
			ask:  doctor.gitHub, check: "events", mark: markBad, words: "missing deployment_status (deployments), repository (",
		},
		{
			name: "no webhook secret", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.WebhookSecrets = nil },
			ask: doctor.secrets, check: "webhook secret", mark: markBad, words: "webhook_secrets",
		},
		{
			name: "a key that others can read", spoil: func(t *testing.T, p *patient) {
				if err := os.Chmod(p.config.GitHub.PrivateKeyFile, 0o644); err != nil {
					t.Fatal(err)
				}
			},
			ask: doctor.files, check: "file", mark: markWarn, words: "app.pem holds secrets and others on this machine can read it: chmod o-rwx",
		},
		{
			name: "an edgerc that others can read", spoil: func(t *testing.T, p *patient) {
				if err := os.Chmod(p.config.Akamai.Edgerc, 0o604); err != nil {
					t.Fatal(err)
				}
			},
			ask: doctor.files, check: "file", mark: markWarn, words: "edgerc holds secrets",
		},
		{
			name: "a configuration that others can read", spoil: func(t *testing.T, p *patient) {
				if err := os.Chmod(p.config.File, 0o644); err != nil {
					t.Fatal(err)
				}
			},
			ask: doctor.files, check: "file", mark: markWarn, words: "purgebot.yaml holds secrets",
		},
		{
			name: "two webhook secrets", spoil: func(_ *testing.T, p *patient) {
				p.config.GitHub.WebhookSecrets = append(p.config.GitHub.WebhookSecrets, p.config.GitHub.WebhookSecrets[0])
			},
			ask: doctor.secrets, check: "webhook secret", mark: markGood, words: "2 are set",
		},
		{
			name: "no folder for the database", spoil: func(t *testing.T, p *patient) {
				p.config.Database = config.NewSecret("sqlite:" + filepath.Join(t.TempDir(), "none", "purgebot.db"))
			},
			ask: doctor.databaseOpens, check: "database", mark: markBad, words: "does not exist: make it",
		},
		{
			name: "a database that exists", spoil: func(t *testing.T, p *patient) {
				s, err := store.Open(t.Context(), store.Config{URL: p.config.Database.Reveal()})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			},
			ask: doctor.databaseOpens, check: "database", mark: markGood, words: "sqlite, schema ",
		},
		{
			name: "a database that is none", spoil: func(t *testing.T, p *patient) {
				p.config.Database = config.NewSecret("sqlite:" + p.file)
			},
			ask: doctor.databaseOpens, check: "database", mark: markBad, words: "is not a SQLite database",
		},
		{
			name: "no public URL", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL = "" },
			ask: doctor.address, check: "public URL", mark: markBad, words: "public_url",
		},
		{
			name: "no server yet", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL = "https://purgebot.invalid" },
			ask: doctor.address, check: "public URL", mark: markWarn, words: "start purgebot serve",
		},
		{
			name: "a public URL with a path", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL = "https://acme.example/purgebot" },
			ask: doctor.address, check: "public URL", mark: markWarn, words: "has a path",
		},
		{
			name: "http to the world", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL = "http://purgebot.example" },
			ask: doctor.address, check: "public URL", mark: markWarn, words: "is not https",
		},
		{
			name: "no policy", spoil: func(_ *testing.T, p *patient) { p.config.Policy = nil },
			ask: func(d doctor, _ context.Context) []examination { return []examination{policyExamined(d.config.Policy)} }, check: "policy", mark: markBad, words: "every purge is refused",
		},
		{
			name: "a policy that allows nothing", spoil: func(_ *testing.T, p *patient) { p.config.Policy[0].Hosts = nil },
			ask: func(d doctor, _ context.Context) []examination { return []examination{policyExamined(d.config.Policy)} }, check: "policy", mark: markWarn, words: "entry 1 (acme/site) allows no hosts",
		},
		{
			name: "the webhook goes elsewhere", spoil: func(_ *testing.T, p *patient) { p.hub.SetWebhook("https://old.acme.example/webhook", "x") },
			ask: doctor.gitHub, check: "webhook", mark: markBad, words: "GitHub sends webhooks to https://old.acme.example/webhook, and public_url says ",
		},
		{
			name: "no webhook", spoil: func(_ *testing.T, p *patient) { p.hub.SetWebhook("", "x") },
			ask: doctor.gitHub, check: "webhook", mark: markBad, words: "the App has no Webhook URL: write ",
		},
		{
			name: "a webhook without a secret", spoil: func(_ *testing.T, p *patient) { p.hub.SetWebhook(p.config.PublicURL+"/webhook", "") },
			ask: doctor.gitHub, check: "webhook", mark: markBad, words: "the App has no webhook secret",
		},
		{
			name: "a port in use", spoil: func(t *testing.T, p *patient) {
				l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = l.Close() })
				p.config.Listen, p.http = l.Addr().String(), &http.Client{Timeout: time.Millisecond}
			},
			ask: doctor.listens, check: "listen", mark: markBad, words: "another program listens on ",
		},
		{
			name: "the server itself", spoil: func(_ *testing.T, p *patient) { p.config.Listen = strings.TrimPrefix(p.config.PublicURL, "http://") },
			ask: doctor.listens, check: "listen", mark: markGood, words: "a server runs there",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := healthy(t, tt.app, key)
			if tt.spoil != nil {
				tt.spoil(t, p)
			}
			var got examination
			for _, e := range tt.ask(p.doctor, t.Context()) {
				if e.check == tt.check {
					got = e
				}
			}
			if got.mark != tt.mark || !strings.Contains(got.words, tt.words) {
				t.Errorf("%+v, want %q with %q", got, tt.mark, tt.words)
			}
		})
	}
}

// Doctor finds rules whose trigger the App does not receive before a deployment is
// missed, and names the repositories.
func TestDoctorNamesRepositoriesThatTheAppDoesNotHear(t *testing.T) {
	rules := func(trigger string) string {
		site, err := stage.NewSite(t.Context(), filepath.Join(t.TempDir(), "site"))
		if err != nil {
			t.Fatal(err)
		}
		text := "version: 1\nenvironments:\n  production:\n    hosts: [www.acme.com]\n    trigger: " + trigger + "\nrules: [{match: '**', tags: [all]}]\n"
		if _, err := site.Commit(t.Context(), "rules", map[string]string{"purge-rules.yaml": text}); err != nil {
			t.Fatal(err)
		}
		return site.Dir
	}
	waits := rules("{status: netlify/acme}")
	p := healthy(t, ghstandin.Config{Repositories: []ghstandin.Repository{
		{ID: 1, Owner: "acme", Name: "site", Dir: waits},
		{ID: 2, Owner: "acme", Name: "docs", Dir: waits},
		{ID: 3, Owner: "acme", Name: "plain", Dir: rules("deployment")},
	}}, doctorKey(t))
	p.edit(t, "[acme/site]", "[acme/site, acme/docs, acme/plain]")
	p.hub.Route(func(ghstandin.Delivery) ghstandin.Route { return ghstandin.Drop }) // no server runs
	const deaf = "\nFAIL  triggers        acme/docs, acme/site: this App does not receive `status` events: its operator must add Status in the App's settings\n"
	if code, out, _ := p.examined(t); code != exitFailed || !strings.Contains(out, deaf) || strings.Count(out, "triggers") != 1 {
		t.Errorf("exit %d\n%s", code, out)
	}
	asked := needs.Ask(needs.Chosen("status"))
	p.hub.Ask(asked.Permissions, asked.Events)
	if code, out, _ := p.examined(t); code != exitFailed || !strings.Contains(out, "acme/docs, acme/site: this App does not receive `status` events: an owner of acme must accept its new permissions\n") {
		t.Errorf("before the owner accepts: exit %d\n%s", code, out)
	}
	if err := p.hub.Accept(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := p.examined(t); code != exitDone || !strings.Contains(out, "\nok    triggers        the App hears all that the rules name\n") {
		t.Errorf("after it: exit %d\n%s", code, out)
	}
}

func TestDoctorClock(t *testing.T) {
	theirs := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // anywhere in that second
	for _, tt := range []struct {
		ours  time.Duration
		trip  time.Duration
		mark  mark
		words string
	}{
		{500 * time.Millisecond, 0, markGood, "agrees within 2s"},
		{-2 * time.Second, 5 * time.Second, markGood, "agrees within 2s"}, // a slow answer is no skew
		{5500 * time.Millisecond, 0, markGood, "this machine is 5s ahead"},
		{-11500 * time.Millisecond, 0, markWarn, "this machine is 12s behind"},
		{30500 * time.Millisecond, 0, markWarn, "this machine is 30s ahead"},
		{31500 * time.Millisecond, 0, markBad, "this machine is 31s ahead"},
		{-time.Hour, 0, markBad, "behind"},
	} {
		t.Run(fmt.Sprint(tt.ours), func(t *testing.T) {
			asked := theirs.Add(tt.ours)
			got := clockExamined("clock", theirs, asked, asked.Add(tt.trip))
			if got.mark != tt.mark || !strings.Contains(got.words, tt.words) {
				t.Errorf("%+v, want %q with %q", got, tt.mark, tt.words)
			}
		})
	}
	if got := clockExamined("clock", time.Time{}, theirs, theirs); got.mark != markSkip {
		t.Errorf("no date: %+v", got)
	}
}

func TestDoctorInstallations(t *testing.T) {
	asked := map[string]string{"contents": "read", "checks": "write"}
	for _, tt := range []struct {
		name  string
		all   []github.Installation
		mark  mark
		words string
	}{
		{"accepted", []github.Installation{{Account: "acme", Permissions: asked}}, markGood, "acme"},
		{"more than asked", []github.Installation{{Account: "acme", Permissions: map[string]string{"contents": "write", "checks": "write"}}}, markGood, "acme"},
		{"suspended", []github.Installation{{Account: "acme", Permissions: asked, Suspended: true}}, markWarn, "acme (suspended"},
		{"a permission is new", []github.Installation{{Account: "acme", Permissions: map[string]string{"contents": "read"}}}, markWarn, "acme (lacks checks: write: an owner must accept"},
		{"a level is new", []github.Installation{{Account: "acme", Permissions: map[string]string{"contents": "read", "checks": "read"}}}, markWarn, "acme (lacks checks: write: an owner must accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := installationsExamined(tt.all, asked); got.mark != tt.mark || !strings.HasPrefix(got.words, tt.words) {
				t.Errorf("%+v, want %q with %q", got, tt.mark, tt.words)
			}
		})
	}
}

func TestDoctorHidesPasswords(t *testing.T) {
	const database = "postgres://purgebot:p%40ss-word@127.0.0.1:1/purgebot?connect_timeout=1"
	found := doctor{config: config.Config{Database: config.NewSecret(database)}, now: time.Now}.databaseOpens(t.Context())
	if len(found) != 1 || found[0].mark != markBad || strings.Contains(found[0].words, "ss-word") || !strings.Contains(found[0].words, "PostgreSQL at 127.0.0.1:1, database purgebot does not answer: start it") {
		t.Errorf("%+v", found)
	}
}

// A fault is reported once: the checks that it makes impossible are skipped.
func TestDoctorTellsAFaultOnce(t *testing.T) {
	p := healthy(t, ghstandin.Config{}, doctorKey(t))
	p.config.GitHub.AppID = 1
	bad := 0
	for _, e := range p.gitHub(t.Context()) {
		if e.mark == markBad {
			bad++
		}
	}
	if bad != 1 {
		t.Errorf("%d of %+v", bad, p.gitHub(t.Context()))
	}
}

// A variable that begins like purgebot's but does not exist is an error, for serve too.
func TestMisspeltVariable(t *testing.T) {
	p := healthy(t, ghstandin.Config{}, doctorKey(t))
	t.Setenv("PURGEBOT_DATABSE", "sqlite:x")
	const want = "PURGEBOT_DATABSE: there is no such variable; did you mean PURGEBOT_DATABASE?"
	if code, out, _ := p.examined(t); code != exitUsage || !strings.Contains(out, "FAIL  configuration   "+want) {
		t.Errorf("doctor: %d\n%s", code, out)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"serve", "--config", p.file}, streams{strings.NewReader(""), &stdout, &stderr}); code != exitUsage || !strings.Contains(stderr.String(), want) {
		t.Errorf("serve: %d %s", code, &stderr)
	}
}

func TestDeliveryExamined(t *testing.T) {
	for code, want := range map[int]string{
		202: "ok was taken", 401: "FAIL github.webhook_secrets differ", 404: "FAIL something else answers there",
		503: "warn its log says why", 0: "warn start purgebot serve", 500: "warn Recent Deliveries",
	} {
		m, words, _ := strings.Cut(want, " ")
		if got := deliveryExamined(github.Delivery{StatusCode: code}); string(got.mark) != m || !strings.Contains(got.words, words) {
			t.Errorf("%d: %+v", code, got)
		}
	}
}

// Permissions that an owner has taken away or has not accepted yet are named.
func TestInstallationsExamined(t *testing.T) {
	asked := map[string]string{"contents": "read", "statuses": "write", "checks": "write"}
	for name, test := range map[string]struct {
		granted map[string]string
		mark    mark
		words   string
	}{
		"all":      {asked, markGood, "acme"},
		"contents": {map[string]string{"statuses": "write", "checks": "write"}, markBad, "acme (lacks contents: read: an owner must accept what the App asks for)"},
		"statuses": {map[string]string{"contents": "read", "deployments": "read", "statuses": "read", "checks": "write"}, markBad, "acme (lacks statuses: write: an owner must accept what the App asks for)"},
		"checks":   {map[string]string{"contents": "read", "deployments": "read", "statuses": "write", "checks": "read"}, markWarn, "acme (lacks checks: write: an owner must accept what the App asks for)"},
	} {
		all := []github.Installation{{Account: "acme", Permissions: test.granted}, {Account: "zoo", Suspended: true}}
		e := installationsExamined(all[:1], asked)
		if e.mark != test.mark || e.words != test.words {
			t.Errorf("%s: %+v", name, e)
		}
		if both := installationsExamined(all, asked); test.mark == markBad && both.mark != markBad {
			t.Errorf("%s, and a suspended one: %+v", name, both)
		}
	}
}
