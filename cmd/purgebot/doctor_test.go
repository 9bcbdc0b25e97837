package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/purger"
)

// patient is a whole installation: stand-ins for Akamai and GitHub, something
// that answers as the server, and the configuration for them.
type patient struct {
	doctor
	file   string // the configuration
	akamai *standin.Akamai
}

// healthy makes a patient with nothing wrong. Keys are slow to make, so the
// tests share theirs.
func healthy(t *testing.T, app standin.GitHubConfig, key *rsa.PrivateKey) *patient {
	t.Helper()
	app.AppKey = &key.PublicKey
	hub, err := standin.NewGitHub(app)
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
	akamai := standin.NewAkamai(standin.AkamaiConfig{})
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("edgerc", akamai.EdgercSection("default", "akab.purge.akamaiapis.net"))
	write("app.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	write("purgebot.yaml", fmt.Sprintf(`public_url: %s
github:
  api_url: %s
  app_id: 12345
  private_key_file: app.pem
  webhook_secrets: [0123456789abcdef0123456789abcdef]
akamai:
  edgerc: edgerc
  base_url: %s
`, serve(own), serve(hub), serve(akamai)))

	p := &patient{file: filepath.Join(dir, "purgebot.yaml"), akamai: akamai}
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
	src, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.file, bytes.Replace(src, []byte(old), []byte(text), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// examined runs the command.
func (p *patient) examined(t *testing.T) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), []string{"doctor", "--config", p.file}, streams{strings.NewReader(""), &stdout, &stderr})
	out = strings.NewReplacer(p.config.GitHub.APIURL, "GITHUB", p.config.PublicURL, "SELF", p.file, "FILE").Replace(stdout.String())
	return code, out, stderr.String()
}

func TestDoctor(t *testing.T) {
	p := healthy(t, standin.GitHubConfig{}, doctorKey(t))
	want := `ok    configuration   FILE
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
ok    webhook secret  set
ok    database        sqlite, made at the first start
warn  public URL      SELF is this machine alone: GitHub can't deliver webhooks to it
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

	p.edit(t, "app_id: 12345", "app_od: 12345")
	code, out, _ = p.examined(t)
	if code != exitUsage || !strings.Contains(out, "FAIL  configuration   FILE:4:") || !strings.Contains(out, "\nok    Akamai grant") {
		t.Errorf("with a key misspelt: exit %d\n%s", code, out)
	}

	p.file += ".missing"
	code, out, errs = p.examined(t)
	if code != exitUsage || out != "" || !strings.Contains(errs, "purgebot.yaml.missing") {
		t.Errorf("without a file: exit %d, %q, %q", code, out, errs)
	}
}

// Each fault shows in the line that it belongs to, with what to do about it.
func TestDoctorFindsFaults(t *testing.T) {
	unreachable := httptest.NewServer(http.NotFoundHandler())
	unreachable.Close()
	key := doctorKey(t)
	for _, tt := range []struct {
		name  string
		app   standin.GitHubConfig
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
				p.akamai.SetCredentials(standin.AkamaiCredentials{ClientSecret: "new"})
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
			name: "clock behind Akamai's", spoil: func(_ *testing.T, p *patient) { p.akamai.SetClockSkew(2 * time.Minute) },
			ask: doctor.akamai, check: "Akamai clock", mark: markBad, words: "behind",
		},
		{
			name: "clock ahead of GitHub's",
			spoil: func(_ *testing.T, p *patient) {
				p.now = func() time.Time { return time.Now().Add(time.Minute) }
			},
			ask: doctor.gitHubClock, check: "GitHub clock", mark: markBad, words: "ahead",
		},
		{
			name: "no GitHub", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.APIURL = unreachable.URL },
			ask: doctor.gitHubClock, check: "GitHub API", mark: markBad, words: "does not answer",
		},
		{
			name: "another App's key", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.AppID = 1 },
			ask: doctor.app, check: "GitHub App", mark: markBad, words: "github.app_id",
		},
		{
			name: "no key", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.PrivateKey = config.Secret{} },
			ask: doctor.app, check: "GitHub App", mark: markBad, words: "private_key_file",
		},
		{
			name: "a permission that nothing works without",
			app:  standin.GitHubConfig{Permissions: map[string]string{"contents": "read", "deployments": "read", "statuses": "read", "checks": "write", "pull_requests": "write", "issues": "read"}},
			ask:  doctor.app, check: "permissions", mark: markBad, words: "missing statuses: write (the status on a commit): ",
		},
		{
			name: "a permission for comments",
			app:  standin.GitHubConfig{Permissions: map[string]string{"contents": "read", "deployments": "read", "statuses": "write", "checks": "write", "issues": "write"}},
			ask:  doctor.app, check: "permissions", mark: markWarn, words: "missing pull_requests: write",
		},
		{
			name: "an event",
			app:  standin.GitHubConfig{Events: []string{"push", "issue_comment", "pull_request", "check_run"}},
			ask:  doctor.app, check: "events", mark: markBad, words: "missing deployment_status (that something was deployed): ",
		},
		{
			name: "no webhook secret", spoil: func(_ *testing.T, p *patient) { p.config.GitHub.WebhookSecrets = nil },
			ask: doctor.secrets, check: "webhook secret", mark: markBad, words: "webhook_secrets",
		},
		{
			name: "a short webhook secret", spoil: func(_ *testing.T, p *patient) {
				p.config.GitHub.WebhookSecrets = append(p.config.GitHub.WebhookSecrets, config.NewSecret("hunter2"))
			},
			ask: doctor.secrets, check: "webhook secret", mark: markWarn, words: "fewer than 16",
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
			ask: doctor.databaseOpens, check: "database", mark: markBad, words: "no file can be made in its folder",
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
			ask: doctor.databaseOpens, check: "database", mark: markGood, words: "sqlite, can be written",
		},
		{
			name: "a database that is none", spoil: func(t *testing.T, p *patient) {
				p.config.Database = config.NewSecret("sqlite:" + p.file)
			},
			ask: doctor.databaseOpens, check: "database", mark: markBad, words: "not a database",
		},
		{
			name: "no public URL", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL = "" },
			ask: doctor.address, check: "public URL", mark: markBad, words: "public_url",
		},
		{
			name: "no server yet", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL = unreachable.URL },
			ask: doctor.address, check: "public URL", mark: markWarn, words: "start purgebot serve",
		},
		{
			name: "another server", spoil: func(_ *testing.T, p *patient) { p.config.PublicURL += "/elsewhere" },
			ask: doctor.address, check: "public URL", mark: markWarn, words: "answers 404",
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
		{"a permission is new", []github.Installation{{Account: "acme", Permissions: map[string]string{"contents": "read"}}}, markWarn, "acme (an owner must accept"},
		{"a level is new", []github.Installation{{Account: "acme", Permissions: map[string]string{"contents": "read", "checks": "read"}}}, markWarn, "acme (an owner must accept"},
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
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	found := doctor{config: config.Config{Database: config.NewSecret(database)}, now: time.Now}.databaseOpens(ctx)
	if len(found) != 1 || found[0].mark != markBad || strings.Contains(found[0].words, "ss-word") {
		t.Errorf("%+v", found)
	}
	err := fmt.Errorf("open %s (p@ss-word): %w", database, purger.ErrNoCredentials)
	if got := withoutPassword(database, err); strings.Contains(got, "ss-word") {
		t.Errorf("%s", got)
	}
}

func TestDoctorKeepsToOneLine(t *testing.T) {
	if got := oneLine("a\nb\x1b[31m"); got != "a b [31m" {
		t.Errorf("%q", got)
	}
}
