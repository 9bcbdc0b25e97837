package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/policy"
)

// pkcs1 is a key as GitHub gives it.
func pkcs1(t *testing.T) string {
	t.Helper()
	return pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey(t)))
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(t, "PRIVATE KEY", der)
}

// folder makes a folder with a configuration and its key, and returns the path of the
// configuration.
func folder(t *testing.T, yaml, key string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"purgebot.yaml": yaml, "app.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "purgebot.yaml")
}

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

const full = `
listen: 0.0.0.0:9090
public_url: https://purgebot.acme.com/
database: sqlite:./data/purgebot.db
github:
  api_url: https://ghe.acme.com/api/v3
  app_id: 12345
  private_key_file: app.pem
  webhook_secrets: [current-0123456789, previous-0123456789]
akamai:
  edgerc: ~/.edgerc
  section: papi
  account_switch_key: "1-ABC:1-2DEF"
  base_url: http://127.0.0.1:9000
policy:
  - repositories: ["acme/site-*"]
    hosts: ["www.acme.com", "*.acme.com"]
    tags: ["acme-*"]
    cpcodes: [12345]
    comments: {permission: triage, delete: admin, cpcode: maintain}
    deploys: {creators: ["github-actions[bot]"], delete: false, cpcode: false}
    hold_over: {delete: 10, cpcode: 2}
    previews: {fail: [refused, unmatched]}
  - repositories: ["octo/site"]
    comments: {delete: admin}
retention: {deliveries: 7d, purges: 1d12h}
`

// TestLoadFromHome: "--config=~/x.yaml" reaches the program with its ~, and what the file
// names is beside it.
func TestLoadFromHome(t *testing.T) {
	file := folder(t, full, pkcs1(t))
	home := env(map[string]string{"HOME": filepath.Dir(file)})
	got, err := config.Load("~/"+filepath.Base(file), home)
	if err != nil || got.File != file {
		t.Errorf("read %s, %v", got.File, err)
	}
}

func TestLoadFile(t *testing.T) {
	key := pkcs1(t)
	file := folder(t, full, key)
	got, err := config.Load(file, env(map[string]string{"HOME": "/home/ada"}))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		File:      file,
		Listen:    "0.0.0.0:9090",
		PublicURL: "https://purgebot.acme.com",
		Database:  config.NewSecret("sqlite:" + filepath.Join(filepath.Dir(file), "data/purgebot.db")),
		GitHub: config.GitHub{
			APIURL: "https://ghe.acme.com/api/v3", AppID: 12345, PrivateKey: config.NewSecret(key), PrivateKeyFile: filepath.Join(filepath.Dir(file), "app.pem"),
			WebhookSecrets: []config.Secret{config.NewSecret("current-0123456789"), config.NewSecret("previous-0123456789")},
		},
		Akamai: config.Akamai{
			Edgerc: "/home/ada/.edgerc", Section: "papi", AccountSwitchKey: "1-ABC:1-2DEF", BaseURL: "http://127.0.0.1:9000",
		},
		Policy: policy.Policy{
			{
				Repositories: []string{"acme/site-*"}, Hosts: []string{"www.acme.com", "*.acme.com"}, Tags: []string{"acme-*"}, CPCodes: []int64{12345},
				Comments: policy.Comments{Permission: policy.Triage, Delete: policy.Admin, CPCode: policy.Maintain},
				Deploys:  policy.Deploys{Creators: []string{"github-actions[bot]"}},
				HoldOver: policy.HoldOver{Delete: 10, CPCode: 2},
				Previews: policy.Previews{Fail: []policy.Finding{policy.Refused, policy.Unmatched}},
			},
			{
				Repositories: []string{"octo/site"},
				Comments:     policy.Comments{Permission: policy.Write, Delete: policy.Admin, CPCode: policy.Admin},
				Deploys:      policy.Deploys{Creators: []string{"*"}, Delete: true, CPCode: true},
			},
		},
		Retention: config.Retention{Deliveries: 7 * 24 * time.Hour, Purges: 36 * time.Hour},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestVariablesAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	key := pkcs1(t)
	got, err := config.Load("", env(map[string]string{
		"PURGEBOT_GITHUB_APP_ID":          "7",
		"PURGEBOT_GITHUB_PRIVATE_KEY":     strings.ReplaceAll(key, "\n", `\n`),
		"PURGEBOT_GITHUB_WEBHOOK_SECRETS": "current-0123456789, previous-0123456789",
		"PURGEBOT_POLICY":                 "- repositories: [acme/site]\n  hosts: [www.acme.com]\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	entry := policy.NewEntry()
	entry.Repositories, entry.Hosts = []string{"acme/site"}, []string{"www.acme.com"}
	want := config.Config{
		Listen:    "127.0.0.1:8080",
		PublicURL: "http://127.0.0.1:8080",
		Database:  config.NewSecret("sqlite:purgebot.db"),
		GitHub: config.GitHub{
			APIURL: "https://api.github.com", AppID: 7, PrivateKey: config.NewSecret(key),
			WebhookSecrets: []config.Secret{config.NewSecret("current-0123456789"), config.NewSecret("previous-0123456789")},
		},
		Policy:    policy.Policy{entry},
		Retention: config.Retention{Deliveries: 30 * 24 * time.Hour, Purges: 400 * 24 * time.Hour},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// Every variable takes precedence over the key in the file.
func TestVariablesWin(t *testing.T) {
	fileKey, key := pkcs1(t), pkcs8(t, rsaKey(t))
	file := folder(t, full, fileKey)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "other.pem"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"HOME":                               dir,
		"PURGEBOT_LISTEN":                    ":1",
		"PURGEBOT_FETCH_ORIGINS":             "Origin.acme.com:8443",
		"PURGEBOT_FETCH_NETWORKS":            "10.1.0.0/16",
		"PURGEBOT_LISTEN_PROXIES":            "10.0.0.0/8, ::ffff:192.0.2.1,2001:db8::1",
		"PURGEBOT_PUBLIC_URL":                "http://localhost:1",
		"PURGEBOT_DATABASE":                  "postgres://u:p@h/db",
		"PURGEBOT_GITHUB_API_URL":            "http://localhost:2",
		"PURGEBOT_GITHUB_APP_ID":             "3",
		"PURGEBOT_GITHUB_PRIVATE_KEY_FILE":   "~/other.pem",
		"PURGEBOT_GITHUB_WEBHOOK_SECRETS":    "only-0123456789",
		"PURGEBOT_AKAMAI_EDGERC":             "relative/edgerc",
		"PURGEBOT_AKAMAI_SECTION":            "ccu",
		"PURGEBOT_AKAMAI_ACCOUNT_SWITCH_KEY": "k",
		"PURGEBOT_AKAMAI_BASE_URL":           "https://akamai.test",
		"PURGEBOT_POLICY":                    "[]",
		"PURGEBOT_RETENTION_DELIVERIES":      "1h",
		"PURGEBOT_RETENTION_PURGES":          "2d",
	}
	got, err := config.Load(file, env(vars))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		File: file, Listen: ":1", PublicURL: "http://localhost:1", Database: config.NewSecret("postgres://u:p@h/db"),
		Proxies: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128"),
		},
		GitHub: config.GitHub{
			APIURL: "http://localhost:2", AppID: 3, PrivateKey: config.NewSecret(key), PrivateKeyFile: filepath.Join(dir, "other.pem"),
			WebhookSecrets: []config.Secret{config.NewSecret("only-0123456789")},
		},
		Akamai:    config.Akamai{Edgerc: "relative/edgerc", Section: "ccu", AccountSwitchKey: "k", BaseURL: "https://akamai.test"},
		Fetch:     config.Fetch{Origins: []string{"origin.acme.com:8443"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
		Retention: config.Retention{Deliveries: time.Hour, Purges: 48 * time.Hour},
		Warnings: []string{
			"PURGEBOT_GITHUB_WEBHOOK_SECRETS: webhook secret 1 of 1 has fewer than 16 bytes and can be guessed: make a new one with openssl rand -hex 32",
		},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultFile(t *testing.T) {
	file := folder(t, full, pkcs1(t))
	t.Chdir(filepath.Dir(file))
	got, err := config.Load("", env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got.File != "purgebot.yaml" || got.Database.Reveal() != "sqlite:data/purgebot.db" {
		t.Errorf("file %q, database %q", got.File, got.Database.Reveal())
	}
}

func TestDatabase(t *testing.T) {
	for _, tt := range []struct{ name, database, want, fault string }{
		{"relative", "sqlite:./x.db", "sqlite:DIR/x.db", ""},
		{"from the root", "sqlite:///var/lib/x.db", "sqlite:/var/lib/x.db", ""},
		{"absolute", "sqlite:/var/lib/x.db", "sqlite:/var/lib/x.db", ""},
		{"home", "sqlite:~/x.db", "sqlite:/home/ada/x.db", ""},
		{"postgres", "postgres://u:p@h:5432/db?sslmode=disable", "postgres://u:p@h:5432/db?sslmode=disable", ""},
		{"postgresql", "postgresql://h/db", "postgresql://h/db", ""},
		{"no path", "'sqlite:'", "", "lacks a path"},
		{"host", "sqlite://x.db", "", "must be sqlite:PATH, or sqlite:///PATH"},
		{"memory", "'sqlite::memory:'", "", "must be a file"},
		{"another", "mysql://u:hunter2@h/db", "", "must be sqlite:PATH or postgres://"},
		{"no URL", "postgres://u:hunter2%zz@h/db", "", "is not a URL"},
		{"text", "x.db", "", "must be sqlite:PATH or postgres://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := folder(t, strings.Replace(full, "sqlite:./data/purgebot.db", tt.database, 1), pkcs1(t))
			got, err := config.Load(file, env(map[string]string{"HOME": "/home/ada"}))
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), file+":4: database "+tt.fault) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("got %v, want %q and no password", err, tt.fault)
				}
				return
			}
			if want := strings.Replace(tt.want, "DIR", filepath.Dir(file), 1); err != nil || got.Database.Reveal() != want {
				t.Errorf("got %q, %v; want %q", got.Database.Reveal(), err, want)
			}
		})
	}
}

func TestPrivateKey(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x"),
	}))
	for _, tt := range []struct{ name, key, fault string }{
		{"PKCS#1", pkcs1(t), ""},
		{"PKCS#8", pkcs8(t, rsaKey(t)), ""},
		{"one line", strings.ReplaceAll(pkcs1(t), "\n", `\n`), ""},
		{"one line, as many shells make it", strings.ReplaceAll(pkcs1(t), "\n", " "), ""},
		{"base64", base64.StdEncoding.EncodeToString([]byte(pkcs1(t))), ""},
		{"base64 in lines", regexp.MustCompile(`.{76}`).ReplaceAllString(base64.StdEncoding.EncodeToString([]byte(pkcs1(t))), "$0\n"), ""},
		{"quoted", `"` + strings.ReplaceAll(pkcs1(t), "\n", `\n`) + `"`, ""},
		{"indented", "    " + strings.ReplaceAll(pkcs1(t), "\n", "\n    "), ""},
		{"CRLF", strings.ReplaceAll(pkcs1(t), "\n", "\r\n"), ""},
		{"no PEM", "hunter2", "is not the key that GitHub gave"},
		{"garbage in PEM", pemOf(t, "RSA PRIVATE KEY", []byte("hunter2")), "can't be read (RSA PRIVATE KEY)"},
		{"encrypted", encrypted, "is encrypted"},
		{"encrypted PKCS#8", pemOf(t, "ENCRYPTED PRIVATE KEY", []byte("x")), "is encrypted"},
		{"elliptic", pkcs8(t, ec), "is not an RSA key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := folder(t, full, tt.key)
			_, err := config.Load(file, env(nil))
			if tt.fault == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if want := file + ":8: the GitHub App's private key " + tt.fault; err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// One run reports all faults, each with its place.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		vars       map[string]string
		want       []string
	}{
		{
			"unknown keys", strings.NewReplacer("listen:", "lisen:", "section:", "sectoin:", "tags:", "tag:", "delete: 10", "deletes: 10").Replace(full), nil,
			[]string{
				`FILE:2: unknown key "lisen": known here are listen, listen_proxies, public_url, database, github, akamai, fetch, notify, policy, retention`,
				`FILE:12: unknown key "akamai.sectoin": known here are edgerc, section, account_switch_key, base_url, accounts`,
				`FILE:18: unknown key "tag": known here are repositories, hosts, tags, cpcodes, comments, deploys, hold_over, previews, account, rules_from`,
				`FILE:22: unknown key "deletes": known here are delete, cpcode`,
			},
		},
		{
			"a secret's key belongs into a variable", strings.Replace(full, "private_key_file: app.pem", "private_key: x", 1), nil,
			[]string{
				`FILE:1: github.private_key_file is missing: the App's private key in PEM; PURGEBOT_GITHUB_PRIVATE_KEY may hold the key itself (or set PURGEBOT_GITHUB_PRIVATE_KEY_FILE)`,
				`FILE:8: unknown key "github.private_key": known here are api_url, app_id, private_key_file, webhook_secrets`,
			},
		},
		{
			"wrong types",
			"listen: [x]\ngithub:\n  app_id: abc\n  private_key_file: app.pem\n  webhook_secrets: s\nakamai: 7\npolicy: {}\nretention: {deliveries: 3, purges: -1d}\n", nil,
			[]string{
				`FILE:1: text belongs here, not a list`,
				`FILE:3: "abc" is not a whole number`,
				`FILE:5: a list belongs here, not text`,
				`FILE:6: akamai must hold keys, not a number`,
				`FILE:7: a list of entries, each with repositories, belongs here, not a group of keys`,
				`FILE:8: "3" is not a time above 0, as in 30d or 12h`,
				`FILE:8: "-1d" is not a time above 0, as in 30d or 12h`,
			},
		},
		{
			"policy",
			strings.Replace(full, `    hosts: ["www.acme.com", "*.acme.com"]
    tags: ["acme-*"]
    cpcodes: [12345]
    comments: {permission: triage, delete: admin, cpcode: maintain}`, `    hosts:
      - www.acme.com
      - https://www.acme.com/
    cpcodes: [0]
    comments: {permission: everybody}
  - hosts: [www.acme.com]
  - repositories: [acme/x]
    deploys: {delete: maybe}
    cpcodes: [x]`, 1), nil,
			[]string{
				`FILE:19: hosts: "https://www.acme.com/" is a URL: write its host alone`,
				`FILE:20: cpcodes: 0 is not a CP code`,
				`FILE:21: comments.permission: "everybody" is not a role: read, triage, write, maintain or admin`,
				`FILE:22: repositories: name the repositories, as in ["acme/www", "acme/site-*"]`,
				`FILE:24: true or false belongs here, not text`,
				`FILE:25: "x" is not a whole number`,
				`FILE:26: "deploys" is written twice, first in line 24`,
			},
		},
		{
			"a star without quotes", strings.Replace(full, `"*.acme.com"`, `*.acme.com`, 1), nil,
			[]string{`FILE:17: a value that begins with * must stand in quotes: "*.acme.com"`},
		},
		{
			"a key twice", full + "listen: :1\n", nil,
			[]string{`FILE:27: "listen" is written twice, first in line 2`},
		},
		{
			"URLs",
			strings.NewReplacer("https://purgebot.acme.com/", "purgebot.acme.com", "https://ghe.acme.com", "http://ghe.acme.com", "http://127.0.0.1:9000", "127.0.0.1:9000").Replace(full), nil,
			[]string{
				`FILE:3: public_url must be an absolute URL, as in https://purgebot.acme.com`,
				`FILE:6: github.api_url must be https: http is fine on loopback alone`,
				`FILE:14: akamai.base_url must be an absolute URL, as in https://purgebot.acme.com`,
			},
		},
		{
			"Akamai's tokens in the open", strings.Replace(full, "http://127.0.0.1:9000", "http://203.0.113.7", 1), nil,
			[]string{"FILE:14: akamai.base_url must be https: http is fine on loopback alone"},
		},
		{
			"secrets that can be guessed", strings.Replace(full, "[current-0123456789, previous-0123456789]", "[hunter2, hunter22]", 1), nil,
			[]string{"FILE:9: webhook secret 1 of 2 has fewer than 16 bytes: make one with openssl rand -hex 32"},
		},
		{"not YAML", "listen: [", nil, []string{
			"FILE:1: the list that opens with [ is not closed with ], or a comma is missing before this (put text with braces in quotes)",
		}},
		{"an anchor inside itself", full + "listen_proxies: &a [*a]\n", nil, []string{"FILE:27: the alias *a stands inside its own anchor &a"}},
		{"too deep", full + "listen_proxies: " + strings.Repeat("[", 30) + "\n", nil, []string{"FILE:27: nested too deeply (at most 20 levels)"}},
		{
			"nothing at all", "", nil,
			[]string{
				"FILE:1: github.app_id is missing: the App's id, from its settings page (or set PURGEBOT_GITHUB_APP_ID)",
				"FILE:1: github.private_key_file is missing: the App's private key in PEM; PURGEBOT_GITHUB_PRIVATE_KEY may hold the key itself (or set PURGEBOT_GITHUB_PRIVATE_KEY_FILE)",
				"FILE:1: github.webhook_secrets is missing: the secret of the App's webhook: without one anybody's request would count as GitHub's (or set PURGEBOT_GITHUB_WEBHOOK_SECRETS)",
			},
		},
		{
			"no secret", strings.Replace(full, "[current-0123456789, previous-0123456789]", "[]", 1), nil,
			[]string{"FILE:9: github.webhook_secrets is empty: without a secret anybody's request would count as GitHub's"},
		},
		{
			"an empty secret", strings.Replace(full, "[current-0123456789, previous-0123456789]", `[current-0123456789, ""]`, 1), nil,
			[]string{"FILE:9: webhook secret 2 of 2 is empty: anybody's request would count as GitHub's"},
		},
		{
			"variables", full,
			map[string]string{
				"PURGEBOT_LISTEN": "8080", "PURGEBOT_LISTEN_PROXIES": "proxy.acme.com", "PURGEBOT_FETCH_ORIGINS": "https://origin.acme.com", "PURGEBOT_GITHUB_APP_ID": "-1", "PURGEBOT_GITHUB_PRIVATE_KEY": "hunter2",
				"PURGEBOT_GITHUB_WEBHOOK_SECRETS": "a,,0123456789abcdef", "PURGEBOT_POLICY": "- repositories: [acme/x]\n  host: [x]", "PURGEBOT_RETENTION_PURGES": "soon",
			},
			[]string{
				`PURGEBOT_FETCH_ORIGINS: "https://origin.acme.com" is no HOST or HOST:PORT, as in origin.acme.com`,
				`PURGEBOT_GITHUB_APP_ID: github.app_id must be the App's id, a number above 0`,
				`PURGEBOT_GITHUB_PRIVATE_KEY: the GitHub App's private key is not the key that GitHub gave: that is a text from -----BEGIN RSA PRIVATE KEY----- to -----END RSA PRIVATE KEY-----, or the base64 of it`,
				`PURGEBOT_GITHUB_WEBHOOK_SECRETS: webhook secret 1 of 3 has fewer than 16 bytes: make one with openssl rand -hex 32`,
				`PURGEBOT_GITHUB_WEBHOOK_SECRETS: webhook secret 2 of 3 is empty: anybody's request would count as GitHub's`,
				`PURGEBOT_LISTEN: listen "8080" is not HOST:PORT, as in 127.0.0.1:8080 or :8080`,
				`PURGEBOT_LISTEN_PROXIES: "proxy.acme.com" is no address and no network, as in 10.0.0.1 or 10.0.0.0/8`,
				`PURGEBOT_POLICY: line 2: unknown key "host": known here are repositories, hosts, tags, cpcodes, comments, deploys, hold_over, previews, account, rules_from`,
				`PURGEBOT_RETENTION_PURGES: "soon" is not a time above 0, as in 30d or 12h`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := folder(t, tt.yaml, pkcs1(t))
			_, err := config.Load(file, env(tt.vars))
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), file, "FILE"), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNothingSet(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := config.Load("", env(nil))
	for _, want := range []string{"PURGEBOT_GITHUB_APP_ID: is not set", "PURGEBOT_GITHUB_PRIVATE_KEY_FILE: is not set", "PURGEBOT_GITHUB_WEBHOOK_SECRETS: is not set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNamedFileMustExist(t *testing.T) {
	file := filepath.Join(t.TempDir(), "no.yaml")
	for _, load := range []func() error{
		func() error { _, err := config.Load(file, env(nil)); return err },
		func() error { _, err := config.LoadAkamai(file, env(nil)); return err },
	} {
		if err := load(); err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v, want one line with the file's name", err)
		}
	}
}

// The akamai section is enough for purgebot purge.
func TestLoadAkamai(t *testing.T) {
	file := folder(t, "listen: 7\nunknown: 1\nakamai: {edgerc: edgerc, section: ccu}\n", "")
	got, err := config.LoadAkamai(file, env(map[string]string{"PURGEBOT_AKAMAI_SECTION": "papi"}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Akamai{Edgerc: filepath.Join(filepath.Dir(file), "edgerc"), Section: "papi"}, got); diff != "" {
		t.Error(diff)
	}
	file = folder(t, "akamai: {edgrc: x}\n", "")
	if _, err := config.LoadAkamai(file, env(nil)); err == nil || !strings.Contains(err.Error(), file+`:1: unknown key "akamai.edgrc"`) {
		t.Errorf("got %v", err)
	}
}
