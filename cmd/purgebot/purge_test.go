package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// purgeStandin starts a stand-in. url is its address; the environment gets credentials
// for it.
func purgeStandin(t *testing.T, cfg akamai.Config) (a *akamai.Server, url string) {
	t.Helper()
	a = akamai.New(cfg)
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	c := a.Credentials()
	for name, value := range map[string]string{
		"HOME":                     t.TempDir(),
		"AKAMAI_HOST":              "akamai.test",
		"AKAMAI_CLIENT_TOKEN":      c.ClientToken,
		"AKAMAI_CLIENT_SECRET":     c.ClientSecret,
		"AKAMAI_ACCESS_TOKEN":      c.AccessToken,
		"AKAMAI_EDGERC":            "",
		"AKAMAI_EDGERC_SECTION":    "",
		"PURGEBOT_AKAMAI_BASE_URL": server.URL,
	} {
		t.Setenv(name, value)
	}
	t.Chdir(t.TempDir())
	return a, server.URL
}

type purgeEnded struct {
	code     int
	out, err string
}

func runPurge(t *testing.T, stdin string, args ...string) purgeEnded {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, streams{strings.NewReader(stdin), &out, &err})
	return purgeEnded{code, out.String(), err.String()}
}

// takenBy lists all objects that the stand-in accepted, and how.
func takenBy(a *akamai.Server) (objects []string) {
	for _, p := range a.Accepted() {
		for _, object := range p.Objects {
			objects = append(objects, strings.Join([]string{p.API, p.Action, p.Kind, p.Network, object}, " "))
		}
	}
	slices.Sort(objects)
	return objects
}

func TestPurgeSends(t *testing.T) {
	tests := map[string]struct {
		args  []string
		stdin string
		want  []string
	}{
		"one URL": {
			args: []string{"url", "https://www.acme.com/a?b=1&c=<2>"},
			want: []string{"v3 invalidate url production https://www.acme.com/a?b=1&c=%3C2%3E"},
		},
		"values once each": {
			args: []string{"url", "https://www.acme.com/a", "https://www.acme.com/b", "https://www.acme.com/a"},
			want: []string{"v3 invalidate url production https://www.acme.com/a", "v3 invalidate url production https://www.acme.com/b"},
		},
		"an ARL": {
			args: []string{"url", "/L/512/6848/1h/www.example1.com/"},
			want: []string{"v3 invalidate url production /L/512/6848/1h/www.example1.com/"},
		},
		"delete tags on staging": {
			args: []string{"tag", "--action", "delete", "--network=staging", "black-friday", "x&y"},
			want: []string{"v3 delete tag staging black-friday", "v3 delete tag staging x&y"},
		},
		"CP codes": {
			args: []string{"cpcode", "12345", "98765"},
			want: []string{"v3 invalidate cpcode production 12345", "v3 invalidate cpcode production 98765"},
		},
		"a list": {
			args:  []string{"url"},
			stdin: "\ufeff# a list\r\nhttps://www.acme.com/a\r\n\r\n  # more\r\n  https://www.acme.com/b#c  \r\nhttps://www.acme.com/a\r\nhttps://www.acme.com/last",
			want: []string{
				"v3 invalidate url production https://www.acme.com/a",
				"v3 invalidate url production https://www.acme.com/b",
				"v3 invalidate url production https://www.acme.com/last",
			},
		},
		"a list by -": {
			args:  []string{"tag", "-"},
			stdin: "one\ntwo\n",
			want:  []string{"v3 invalidate tag production one", "v3 invalidate tag production two"},
		},
		"ccu-v2": {
			args: []string{"url", "--api", "ccu-v2", "--action", "delete", "--network", "staging", "https://www.acme.com/a"},
			want: []string{"v2 delete url staging https://www.acme.com/a"},
		},
		"ccu-v2 by CP code": {
			args: []string{"cpcode", "--api=ccu-v2", "12345"},
			want: []string{"v2 invalidate cpcode production 12345"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := purgeStandin(t, akamai.Config{})
			got := runPurge(t, test.stdin, append([]string{"purge"}, test.args...)...)
			if got.code != exitDone || got.err != "" {
				t.Fatalf("exit %d, %s", got.code, got.err)
			}
			if diff := cmp.Diff(test.want, takenBy(a)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPurgeJSON(t *testing.T) {
	a, _ := purgeStandin(t, akamai.Config{Hosts: []string{"www.acme.com"}})
	a.Refuse("https://www.acme.com/%3Cbad%3E", 400, "bad URL")
	got := runPurge(t, "", "purge", "url", "--json",
		"https://www.acme.com/a", "https://www.evil.com/", "https://www.acme.com/<bad>", "https://www.acme.com/b", "www.acme.com/c")
	if got.code != exitFailed || got.err != "" {
		t.Fatalf("exit %d, %q", got.code, got.err)
	}
	id := a.Accepted()[0].PurgeID
	want := `{"accepted":2,"refused":[` +
		`{"object":"https://www.evil.com/","title":"unauthorized arl","detail":"https://www.evil.com/","status":403,"support_id":"ID","at":"NOW"},` +
		`{"object":"https://www.acme.com/%3Cbad%3E","title":"bad URL","detail":"https://www.acme.com/%3Cbad%3E","status":400,"support_id":"ID","at":"NOW"},` +
		`{"object":"www.acme.com/c","title":"not sent","detail":"is neither an absolute URL nor an ARL: write https://HOST/PATH"}],` +
		`"requests":[{"purge_id":"` + id + `","support_id":"` + id + `","objects":2,"estimated_seconds":5}]}` + "\n"
	out := regexp.MustCompile(`"support_id":"17PY-[A-Z0-9]+","at":"20[0-9T:.-]+Z"`).ReplaceAllString(got.out, `"support_id":"ID","at":"NOW"`)
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
}

func TestPurgeJSONOfNothing(t *testing.T) {
	purgeStandin(t, akamai.Config{})
	got := runPurge(t, "", "purge", "tag", "--json")
	if want := (purgeEnded{exitFailed, `{"accepted":0,"refused":[],"requests":[]}` + "\n", "purgebot: the list is empty: nothing was purged\n"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPurgeForPeople(t *testing.T) {
	a, _ := purgeStandin(t, akamai.Config{CPCodes: []int{1, 2}})
	got := runPurge(t, "", "purge", "cpcode", "1", "2", "3", "four", "2")
	want := purgeEnded{
		code: exitFailed,
		out: fmt.Sprintf("2 of 4 CP codes accepted for production (invalidate) in 1 request, done in about 5s\n  %s  2 CP codes\n1 repetition of the list sent once only\n",
			a.Accepted()[0].PurgeID),
		err: "refused four: not sent: is not a CP code: write a positive integer, such as 12345\nrefused 3: unauthorized cpcode\n",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(purgeEnded{})); diff != "" {
		t.Error(diff)
	}
}

func TestPurgeUsage(t *testing.T) {
	tests := map[string]struct {
		args []string
		say  string
	}{
		"no kind":           {[]string{"purge"}, "<kind>"},
		"unknown kind":      {[]string{"purge", "page", "x"}, "url"},
		"unknown network":   {[]string{"purge", "url", "--network", "live", "x"}, "production"},
		"unknown action":    {[]string{"purge", "url", "--action", "remove", "x"}, "invalidate"},
		"unknown API":       {[]string{"purge", "url", "--api", "v4", "x"}, "fast-purge"},
		"tags on v2":        {[]string{"purge", "tag", "--api", "ccu-v2", "x"}, "--api ccu-v2 can't purge by tag"},
		"no such edgerc":    {[]string{"purge", "url", "--edgerc", "nowhere", "x"}, "nowhere"},
		"not a base URL":    {[]string{"purge", "url", "--base-url", "akamai.test", "x"}, `"akamai.test"`},
		"no credentials":    {[]string{"purge", "url", "--section", "other", "x"}, "AKAMAI_OTHER_HOST"},
		"unknown something": {[]string{"purge", "url", "--fast"}, "--fast"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := purgeStandin(t, akamai.Config{})
			got := runPurge(t, "", test.args...)
			if got.code != exitUsage || !strings.Contains(got.err, test.say) || got.out != "" {
				t.Errorf("exit %d, %q", got.code, got.err)
			}
			if n := a.Counts().Requests; n > 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestPurgeCredentials(t *testing.T) {
	tests := map[string]struct {
		section string // written to ~/.edgerc, or to file
		file    string
		args    []string
		env     map[string]string
	}{
		"~/.edgerc":               {section: "default", file: "~/.edgerc"},
		"another section":         {section: "ccu", file: "~/.edgerc", args: []string{"--section", "ccu"}},
		"a section by variable":   {section: "ccu", file: "~/.edgerc", env: map[string]string{"AKAMAI_EDGERC_SECTION": "ccu"}},
		"purgebot's own variable": {section: "ccu", file: "~/.edgerc", env: map[string]string{"PURGEBOT_AKAMAI_SECTION": "ccu"}},
		"a file":                  {section: "default", file: "~/here", args: []string{"--edgerc", "~/here"}},
		"a file by variable":      {section: "default", file: "~/here", env: map[string]string{"AKAMAI_EDGERC": "~/here"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := purgeStandin(t, akamai.Config{})
			for _, v := range []string{"AKAMAI_HOST", "AKAMAI_CLIENT_TOKEN", "AKAMAI_CLIENT_SECRET", "AKAMAI_ACCESS_TOKEN"} {
				t.Setenv(v, "")
			}
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			path := filepath.Join(os.Getenv("HOME"), strings.TrimPrefix(test.file, "~/"))
			text := "[wrong]\nhost = x\n" + a.EdgercSection(test.section, "akamai.test")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := runPurge(t, "", append([]string{"purge", "tag", "x"}, test.args...)...)
			if got.code != exitDone || len(a.Accepted()) != 1 {
				t.Errorf("exit %d: %s", got.code, got.err)
			}
		})
	}
}

// TestPurgeConfiguration: purge needs only the akamai section of the server's
// configuration. A variable takes precedence over it, and a flag over both.
func TestPurgeConfiguration(t *testing.T) {
	tests := map[string]struct {
		file string // name of the configuration
		args []string
		env  map[string]string
		want string // account
	}{
		"purgebot.yaml":   {file: "purgebot.yaml", want: "1-FILE"},
		"another":         {file: "other.yaml", args: []string{"--config", "other.yaml"}, want: "1-FILE"},
		"a variable wins": {file: "purgebot.yaml", env: map[string]string{"PURGEBOT_AKAMAI_ACCOUNT_SWITCH_KEY": "1-VAR"}, want: "1-VAR"},
		"a flag wins":     {file: "purgebot.yaml", args: []string{"--account-switch-key", "1-FLAG"}, env: map[string]string{"PURGEBOT_AKAMAI_ACCOUNT_SWITCH_KEY": "1-VAR"}, want: "1-FLAG"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, url := purgeStandin(t, akamai.Config{AccountSwitchKey: test.want})
			t.Setenv("AKAMAI_HOST", "")
			t.Setenv("PURGEBOT_AKAMAI_BASE_URL", "")
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			for file, text := range map[string]string{
				"edgerc":  a.EdgercSection("ccu", "akamai.test"),
				test.file: "akamai:\n  edgerc: edgerc\n  section: ccu\n  account_switch_key: 1-FILE\n  base_url: " + url + "\n",
			} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := runPurge(t, "", append([]string{"purge", "tag", "x"}, test.args...)...)
			if got.code != exitDone {
				t.Fatalf("exit %d: %s", got.code, got.err)
			}
			if key := a.Accepted()[0].AccountSwitchKey; key != test.want {
				t.Errorf("account %q", key)
			}
		})
	}
}

func TestPurgeAccountSwitchKey(t *testing.T) {
	a, _ := purgeStandin(t, akamai.Config{AccountSwitchKey: "1-ABC:1-2RBL"})
	if got := runPurge(t, "", "purge", "tag", "x", "--account-switch-key", "1-ABC:1-2RBL"); got.code != exitDone {
		t.Fatalf("exit %d: %s", got.code, got.err)
	}
	if key := a.Accepted()[0].AccountSwitchKey; key != "1-ABC:1-2RBL" {
		t.Errorf("account %q", key)
	}
}

// Each way to give wrong credentials is reported under its own name. A cause that only
// the first request shows is reported too.
func TestPurgeNamesTheCause(t *testing.T) {
	ccu := func(user, password string) map[string]string {
		return map[string]string{"PURGEBOT_AKAMAI_CCU_USER": user, "PURGEBOT_AKAMAI_CCU_PASSWORD": password}
	}
	tests := map[string]struct {
		args []string
		env  map[string]string
		code int
		say  string
		not  string
	}{
		"a foreign account": {
			args: []string{"--account-switch-key", "1-FOREIGN"}, code: exitFailed,
			say: `the API client may not act on the account "1-FOREIGN" (Forbidden: The client does not have the grant needed for the request); check the account switch key`,
		},
		"a foreign account by Akamai's variable": {
			env: map[string]string{"AKAMAI_EDGERC_ACCOUNT_KEY": "1-OTHER"}, code: exitFailed, say: `the account "1-OTHER"`,
		},
		"a foreign account on v2": {
			args: []string{"--api", "ccu-v2", "--account-switch-key", "1-FOREIGN"}, code: exitFailed, say: `the account "1-FOREIGN"`,
		},
		"a wrong password": {
			args: []string{"--api", "ccu-v2"}, env: ccu("ann", "wrong"), code: exitFailed,
			say: "Akamai does not accept the user and password of CCU v2 (401 Unauthorized); check PURGEBOT_AKAMAI_CCU_USER and PURGEBOT_AKAMAI_CCU_PASSWORD",
			not: "token",
		},
		"a user without a password": {
			args: []string{"--api", "ccu-v2"}, env: ccu("ann", ""), code: exitUsage,
			say: "PURGEBOT_AKAMAI_CCU_USER is set and PURGEBOT_AKAMAI_CCU_PASSWORD is not: set both, or neither",
		},
		"a password without a user": {
			args: []string{"--api", "ccu-v2"}, env: ccu("", "right"), code: exitUsage,
			say: "PURGEBOT_AKAMAI_CCU_PASSWORD is set and PURGEBOT_AKAMAI_CCU_USER is not: set both, or neither",
		},
		"a user of another account by Akamai's variable": {
			args: []string{"--api", "ccu-v2"}, env: map[string]string{
				"PURGEBOT_AKAMAI_CCU_USER": "ann", "PURGEBOT_AKAMAI_CCU_PASSWORD": "right", "AKAMAI_EDGERC_ACCOUNT_KEY": "1-FOREIGN",
			}, code: exitUsage,
			say: "a user of CCU v2 can't act on another account",
		},
		"a user of another account": {
			args: []string{"--api", "ccu-v2", "--account-switch-key", "1-FOREIGN"}, env: ccu("ann", "right"), code: exitUsage,
			say: "a user of CCU v2 can't act on another account",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := purgeStandin(t, akamai.Config{BasicUser: "ann", BasicPassword: "right", AccountSwitchKey: "1-OURS"})
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got := runPurge(t, "", append([]string{"purge", "url", "https://www.acme.com/a"}, test.args...)...)
			if got.code != test.code || !strings.Contains(got.err, test.say) || test.not != "" && strings.Contains(got.err, test.not) {
				t.Errorf("exit %d: %s", got.code, got.err)
			}
			want := 1
			if test.code == exitUsage {
				want = 0
			}
			if n := a.Counts().Requests; n != want || len(a.Accepted()) > 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestPurgePausedEndsAtOnce(t *testing.T) {
	tests := map[string]struct {
		spoil func(*akamai.Server)
		say   string
	}{
		"secret": {func(a *akamai.Server) { a.SetCredentials(akamai.Credentials{ClientSecret: "other"}) }, "does not accept the credentials"},
		"token":  {func(a *akamai.Server) { a.SetCredentials(akamai.Credentials{ClientToken: "other"}) }, "does not accept the credentials"},
		"clock":  {func(a *akamai.Server) { a.SetClockSkew(time.Minute) }, "clock"},
		"grant":  {func(a *akamai.Server) { a.SetGranted(false) }, "does not have the grant"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := purgeStandin(t, akamai.Config{})
			test.spoil(a)
			got := runPurge(t, "one\ntwo\n", "purge", "tag", "--json")
			if got.code != exitFailed || !strings.Contains(got.err, test.say) {
				t.Errorf("exit %d: %s", got.code, got.err)
			}
			var doc purgeJSON
			if err := json.Unmarshal([]byte(got.out), &doc); err != nil || len(doc.Refused) != 2 || doc.Accepted != 0 {
				t.Errorf("%s, %v", got.out, err)
			}
			if n := a.Counts().Requests; n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestPurgeLongList(t *testing.T) {
	a, _ := purgeStandin(t, akamai.Config{
		Limits: akamai.Limits{Unlimited: true}, FaultRate: 0.05, Seed: 11,
	})
	var list strings.Builder
	const n = 9_000
	for i := range n {
		fmt.Fprintf(&list, "https://www.acme.com/content/section/some-article-with-a-long-name-%07d.html\r\n", i)
	}
	got := runPurge(t, list.String(), "purge", "url")
	if got.code != exitDone || !strings.HasPrefix(got.out, "9000 of 9000 URLs accepted") {
		t.Fatalf("exit %d: %s%s", got.code, got.err, got.out)
	}
	all := takenBy(a)
	if distinct := len(slices.Compact(all)); distinct != n {
		t.Errorf("%d reached Akamai", distinct)
	}
}

func TestPurgeWaitsUntilDone(t *testing.T) {
	a, _ := purgeStandin(t, akamai.Config{Queue: akamai.Queue{Unknown: -1, Done: 1100 * time.Millisecond}})
	start := time.Now()
	got := runPurge(t, "", "purge", "url", "--api", "ccu-v2", "--wait", "https://www.acme.com/a")
	if got.code != exitDone || time.Since(start) < time.Second || !strings.Contains(got.out, ", done\n") {
		t.Errorf("exit %d after %v: %s%s", got.code, time.Since(start), got.err, got.out)
	}
	var asked int
	for _, r := range a.Requests() {
		if r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/ccu/v2/purges/") {
			asked++
		}
	}
	if asked == 0 {
		t.Error("never asked")
	}
}

func TestPurgeNobodyThere(t *testing.T) {
	_, url := purgeStandin(t, akamai.Config{})
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	t.Setenv("PURGEBOT_AKAMAI_BASE_URL", server.URL)
	got := runPurge(t, "", "purge", "url", "--give-up", "1s", url)
	if got.code != exitFailed || !strings.Contains(got.err, "connection refused") {
		t.Errorf("exit %d: %s", got.code, got.err)
	}
}

func TestPurgeWildcards(t *testing.T) {
	a, _ := purgeStandin(t, akamai.Config{Hosts: []string{"www.acme.com"}})
	got := runPurge(t, "https://www.acme.com/docs/*\nhttps://www.acme.com/%2A\n", "purge", "url")
	if got.code != exitFailed || !strings.Contains(got.err, "refused https://www.acme.com/docs/*: not sent: Akamai purges no wildcards") {
		t.Errorf("%+v", got)
	}
	if sent := a.Accepted(); len(sent) != 1 || len(sent[0].Objects) != 1 {
		t.Errorf("sent %+v", sent)
	}
}

// A pipeline whose list is empty must not see a success.
func TestPurgeOfAnEmptyList(t *testing.T) {
	for _, args := range [][]string{{"purge", "url"}, {"purge", "url", "--json"}} {
		a, _ := purgeStandin(t, akamai.Config{})
		got := runPurge(t, "# nothing\n\n", args...)
		if got.code != exitFailed || !strings.Contains(got.err, "the list is empty: nothing was purged") || len(a.Requests()) > 0 {
			t.Errorf("%q: %+v", args, got)
		}
		if isJSON := strings.HasPrefix(got.out, `{"accepted":0,`); isJSON != (len(args) > 2) {
			t.Errorf("%q: %q", args, got.out)
		}
	}
}
