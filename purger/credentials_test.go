package purger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"
)

const edgerc = `
; comments
[default]
host = default.luna.akamaiapis.net
client_token = akab-client-default
client_secret = c2VjcmV0+/=
access_token = akab-access-default
max_body = 131072

[ccu]
host = ccu.purge.akamaiapis.net
client_token = akab-client-ccu
client_secret = c2VjcmV0
access_token = akab-access-ccu
account_key = 1-ABC:1-2RBL
max_body = 8192

[half]
host = half.luna.akamaiapis.net

[empty]
host = empty.luna.akamaiapis.net
client_token =
client_secret = c2VjcmV0
access_token = akab-access-empty

[hyphens]
Host = hyphens.luna.akamaiapis.net
client-token = a
client-secret = c2VjcmV0
access-token = b
account-key = 1-XYZ
max-body = 2048

[path]
host = path.luna.akamaiapis.net/x
client_token = a
client_secret = b
access_token = c

[slash]
host = https://slash.luna.akamaiapis.net/
client_token = akab-client-slash
client_secret = c2VjcmV0
access_token = akab-access-slash
`

func TestLoadCredentials(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(".edgerc", edgerc)
	other := write("other", "[default]\nhost = other.luna.akamaiapis.net\nclient_token = a\nclient_secret = b\naccess_token = c\n")
	broken := write("broken", "[default]\nclient_secret: c2Vj\nc2VjcmV0-on-a-line-of-its-own\n")

	variables := func(prefix string) map[string]string {
		return map[string]string{prefix + "HOST": "env.akamai.test", prefix + "CLIENT_TOKEN": "a", prefix + "CLIENT_SECRET": "b", prefix + "ACCESS_TOKEN": "c"}
	}
	with := func(env map[string]string, name, value string) map[string]string {
		env[name] = value
		return env
	}
	tests := map[string]struct {
		file, section string
		env           map[string]string
		want          edgegrid.Config
		err           string
	}{
		"~/.edgerc":              {want: edgegrid.Config{Host: "default.luna.akamaiapis.net", ClientSecret: "c2VjcmV0+/=", MaxBody: 131072}},
		"a section":              {section: "ccu", want: edgegrid.Config{Host: "ccu.purge.akamaiapis.net", ClientSecret: "c2VjcmV0", AccountKey: "1-ABC:1-2RBL", MaxBody: 8192}},
		"a section by variable":  {env: map[string]string{"AKAMAI_EDGERC_SECTION": "ccu"}, want: edgegrid.Config{Host: "ccu.purge.akamaiapis.net", ClientSecret: "c2VjcmV0", AccountKey: "1-ABC:1-2RBL", MaxBody: 8192}},
		"a file":                 {file: other, want: edgegrid.Config{Host: "other.luna.akamaiapis.net", ClientSecret: "b", MaxBody: 131072}},
		"a file in the home":     {file: "~/other", want: edgegrid.Config{Host: "other.luna.akamaiapis.net", ClientSecret: "b", MaxBody: 131072}},
		"a file by variable":     {env: map[string]string{"AKAMAI_EDGERC": other}, want: edgegrid.Config{Host: "other.luna.akamaiapis.net", ClientSecret: "b", MaxBody: 131072}},
		"variables":              {env: variables("AKAMAI_"), want: edgegrid.Config{Host: "env.akamai.test", ClientSecret: "b", MaxBody: 131072}},
		"variables of a section": {section: "ccu", env: variables("AKAMAI_CCU_"), want: edgegrid.Config{Host: "env.akamai.test", ClientSecret: "b", MaxBody: 131072}},
		"variables, all":         {env: with(with(variables("AKAMAI_"), "AKAMAI_MAX_BODY", "2048"), "AKAMAI_ACCOUNT_KEY", "k"), want: edgegrid.Config{Host: "env.akamai.test", ClientSecret: "b", AccountKey: "k", MaxBody: 2048}},
		"the default section's variables are not another's": {section: "ccu", env: variables("AKAMAI_"), want: edgegrid.Config{Host: "ccu.purge.akamaiapis.net", ClientSecret: "c2VjcmV0", AccountKey: "1-ABC:1-2RBL", MaxBody: 8192}},
		"a named file wins over variables":                  {file: other, env: variables("AKAMAI_"), want: edgegrid.Config{Host: "other.luna.akamaiapis.net", ClientSecret: "b", MaxBody: 131072}},
		"some variables are none":                           {env: with(variables("AKAMAI_"), "AKAMAI_ACCESS_TOKEN", ""), want: edgegrid.Config{Host: "default.luna.akamaiapis.net", ClientSecret: "c2VjcmV0+/=", MaxBody: 131072}},

		"keys with hyphens":                         {section: "hyphens", want: edgegrid.Config{Host: "hyphens.luna.akamaiapis.net", ClientSecret: "c2VjcmV0", AccountKey: "1-XYZ", MaxBody: 2048}},
		"a host as it is copied":                    {section: "slash", want: edgegrid.Config{Host: "slash.luna.akamaiapis.net", ClientSecret: "c2VjcmV0", MaxBody: 131072}},
		"an account by the command line's variable": {env: map[string]string{"AKAMAI_EDGERC_ACCOUNT_KEY": "k"}, want: edgegrid.Config{Host: "default.luna.akamaiapis.net", ClientSecret: "c2VjcmV0+/=", AccountKey: "k", MaxBody: 131072}},
		"an account by variable, for a named file":  {file: other, env: map[string]string{"AKAMAI_ACCOUNT_KEY": "k"}, want: edgegrid.Config{Host: "other.luna.akamaiapis.net", ClientSecret: "b", AccountKey: "k", MaxBody: 131072}},
		"an account over the file's":                {section: "ccu", env: map[string]string{"AKAMAI_CCU_ACCOUNT_KEY": "k"}, want: edgegrid.Config{Host: "ccu.purge.akamaiapis.net", ClientSecret: "c2VjcmV0", AccountKey: "k", MaxBody: 8192}},
		"an account and variables":                  {env: with(variables("AKAMAI_"), "AKAMAI_EDGERC_ACCOUNT_KEY", "k"), want: edgegrid.Config{Host: "env.akamai.test", ClientSecret: "b", AccountKey: "k", MaxBody: 131072}},
		"two accounts":                              {env: map[string]string{"AKAMAI_ACCOUNT_KEY": "k", "AKAMAI_EDGERC_ACCOUNT_KEY": "l"}, err: "read Akamai credentials: AKAMAI_EDGERC_ACCOUNT_KEY and AKAMAI_ACCOUNT_KEY name different accounts; unset one"},

		"no file":          {file: "/nowhere", err: "read Akamai credentials: open /nowhere: no such file or directory"},
		"a folder":         {file: home, err: "read Akamai credentials: read " + home + ": is a directory"},
		"no section":       {section: "nope", err: "read Akamai credentials: ~/.edgerc has no section [nope]; it has [default], [ccu], [half], [empty], [hyphens], [path], [slash]"},
		"no token":         {section: "half", err: `read Akamai credentials: client_token in section [half] of ~/.edgerc is missing or empty`},
		"an empty token":   {section: "empty", err: "read Akamai credentials: client_token in section [empty] of ~/.edgerc is missing or empty"},
		"host has a path":  {section: "path", err: `read Akamai credentials: host "path.luna.akamaiapis.net/x" in section [path] of ~/.edgerc must be a host's name alone`},
		"broken":           {file: broken, err: "read Akamai credentials: " + broken + " is not in the form of an .edgerc: [section] and key = value, one a line"},
		"max_body":         {env: with(variables("AKAMAI_"), "AKAMAI_MAX_BODY", "8k"), err: `read AKAMAI_MAX_BODY: "8k" is not a number of bytes`},
		"nothing anywhere": {section: "x", env: with(with(map[string]string{}, "HOME", "/nowhere"), "AKAMAI_X_HOST", "h"), err: "no Akamai credentials: set AKAMAI_X_CLIENT_TOKEN, AKAMAI_X_CLIENT_SECRET, AKAMAI_X_ACCESS_TOKEN, or write them to section [x] of ~/.edgerc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			getenv := func(name string) string {
				if v, ok := test.env[name]; ok || name != "HOME" {
					return v
				}
				return home
			}
			got, err := LoadCredentials(test.file, test.section, getenv)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := got.config()
			if c.Host != test.want.Host || c.ClientSecret != test.want.ClientSecret || c.AccountKey != test.want.AccountKey || c.MaxBody != test.want.MaxBody {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestNothingAnywhereIsNamed(t *testing.T) {
	_, err := LoadCredentials("", "", func(string) string { return "/nowhere" }) // every variable set, to nonsense
	if err == nil || errors.Is(err, ErrNoCredentials) {
		t.Errorf("nonsense: %v", err)
	}
	_, err = LoadCredentials("", "", func(name string) string {
		if name == "HOME" {
			return "/nowhere"
		}
		return ""
	})
	if !errors.Is(err, ErrNoCredentials) {
		t.Errorf("nothing: %v", err)
	}
}

// TestSecretsNeverPrint tries the mistakes that people make.
func TestSecretsNeverPrint(t *testing.T) {
	config := edgegrid.Config{Host: "h", ClientToken: "TOKEN-1", ClientSecret: "SECRET-2", AccessToken: "TOKEN-3"}
	credentials := NewCredentials(config)
	client, err := New(Config{Credentials: credentials})
	if err != nil {
		t.Fatal(err)
	}
	basic := Basic{"USER-4", "SECRET-5"}
	v2, err := NewV2(Config{}, basic)
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&printed, nil))
	for _, v := range []any{
		credentials, &credentials,
		struct{ C Credentials }{credentials},
		struct{ c Credentials }{credentials},
		Config{Credentials: credentials},
		client, *client,
		[]Credentials{credentials},
		map[string]Credentials{"x": credentials},
		basic, &basic,
		struct{ B Basic }{basic},
		v2,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&printed, verb, v)
		}
		if doc, err := json.Marshal(v); err == nil {
			printed.Write(doc)
		}
		log.Info("x", "v", v)
	}
	for _, secret := range []string{"TOKEN-1", "SECRET-2", "TOKEN-3", "SECRET-5", fmt.Sprintf("%x", "SECRET-2"), fmt.Sprintf("%x", "SECRET-5")} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("%s was printed", secret)
		}
	}
}
