package purger

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"
	"gopkg.in/ini.v1"
)

// redacted is printed in the place of a secret.
const redacted = "[redacted]"

// Credentials are those of one Akamai API client. They never print: not with fmt, JSON or
// slog, and not as a field of another value. The zero value is no credentials.
type Credentials struct {
	// config is a function for a reason. fmt prints the unexported fields of a struct
	// without calling their methods, and follows pointers if the verb does not fit. It
	// prints only the address of a function.
	config func() edgegrid.Config
}

// NewCredentials wraps what edgegrid read, or values that were given literally. It does
// not check them.
func NewCredentials(c edgegrid.Config) Credentials {
	return Credentials{func() edgegrid.Config { return c }}
}

// Host is the API client's own host, without a scheme. It is no secret.
func (c Credentials) Host() string {
	if c.config == nil {
		return ""
	}
	return c.config().Host
}

// MaxBody is the configured max_body, in bytes. It is not used if it is smaller than what
// Akamai's verifier reads: see [New].
func (c Credentials) MaxBody() int {
	if c.config == nil {
		return 0
	}
	return c.config().MaxBody
}

// Format hides everything from every verb.
func (Credentials) Format(s fmt.State, _ rune) { redact(s) }

func (Credentials) String() string { return redacted }

// LogValue hides everything from slog. MarshalText does so for JSON and similar
// encodings.
func (Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText never gives a secret away.
func (Credentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// redact prints the same text for every verb. fmt's own writer cannot fail.
func redact(s fmt.State) { _, _ = s.Write([]byte(redacted)) }

// ErrNoCredentials means that there are no credentials in any of the places that were
// read.
var ErrNoCredentials = errors.New("no Akamai credentials")

// LoadCredentials reads an API client's credentials as Akamai's own tools do.
//
// If a file is named, it alone is read. Otherwise the variables AKAMAI_HOST,
// AKAMAI_CLIENT_TOKEN, AKAMAI_CLIENT_SECRET and AKAMAI_ACCESS_TOKEN are used if all four
// are set. For a section other than default they are called AKAMAI_{SECTION}_…; one set
// never replaces the other, since that could purge another account. Then comes the file
// that AKAMAI_EDGERC names, then ~/.edgerc. An empty section means AKAMAI_EDGERC_SECTION,
// or else default.
//
// In each case AKAMAI_EDGERC_ACCOUNT_KEY, which Akamai's command line uses, or else
// AKAMAI_ACCOUNT_KEY (AKAMAI_{SECTION}_ACCOUNT_KEY) replaces the file's account.
// https://techdocs.akamai.com/developer/docs/edgegrid
func LoadCredentials(file, section string, getenv func(string) string) (Credentials, error) {
	if section == "" {
		section = getenv("AKAMAI_EDGERC_SECTION")
	}
	if section == "" {
		section = edgegrid.DefaultSection
	}
	key, err := accountKey(section, getenv)
	if err != nil {
		return Credentials{}, err
	}
	if file != "" {
		return fromFile(file, section, key, getenv)
	}
	config, missing, err := fromEnv(section, getenv)
	if err != nil {
		return Credentials{}, err
	}
	if len(missing) == 0 {
		config.AccountKey = key
		return checked(config, "the variables "+envPrefix(section)+"*")
	}
	file = getenv("AKAMAI_EDGERC")
	if file == "" {
		file = edgegrid.DefaultConfigFile
	}
	c, err := fromFile(file, section, key, getenv)
	if errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, fmt.Errorf("%w: set %s, or write them to section [%s] of %s",
			ErrNoCredentials, strings.Join(missing, ", "), section, file)
	}
	return c, err
}

// AccountKey is the account to act on according to Akamai's variables. It is for a user
// of CCU v2 who has no other credentials: see [NewV2].
func AccountKey(section string, getenv func(string) string) (string, error) {
	return accountKey(cmp.Or(section, getenv("AKAMAI_EDGERC_SECTION"), edgegrid.DefaultSection), getenv)
}

// accountKey is the account to act on according to the variables; "" means the client's
// own. Two variables that differ are an error: either could purge what nobody meant.
func accountKey(section string, getenv func(string) string) (string, error) {
	const first = "AKAMAI_EDGERC_ACCOUNT_KEY"
	second := envPrefix(section) + "ACCOUNT_KEY"
	a, b := strings.TrimSpace(getenv(first)), strings.TrimSpace(getenv(second))
	if a != "" && b != "" && a != b {
		return "", fmt.Errorf("read Akamai credentials: %s and %s name different accounts; unset one", first, second)
	}
	return cmp.Or(a, b), nil
}

// envPrefix is how the names of a section's variables begin.
func envPrefix(section string) string {
	if section == edgegrid.DefaultSection {
		return "AKAMAI_"
	}
	return "AKAMAI_" + strings.ToUpper(section) + "_"
}

// fromEnv does what edgegrid.Config.FromEnv does, but takes the environment as an
// argument and names every missing variable at once. If any is missing, the others are
// not used.
func fromEnv(section string, getenv func(string) string) (c edgegrid.Config, missing []string, err error) {
	prefix := envPrefix(section)
	for _, v := range []struct {
		name string
		to   *string
	}{
		{"HOST", &c.Host},
		{"CLIENT_TOKEN", &c.ClientToken},
		{"CLIENT_SECRET", &c.ClientSecret},
		{"ACCESS_TOKEN", &c.AccessToken},
	} {
		if *v.to = strings.TrimSpace(getenv(prefix + v.name)); *v.to == "" {
			missing = append(missing, prefix+v.name)
		}
	}
	if len(missing) > 0 {
		return c, missing, nil
	}
	c.MaxBody = edgegrid.MaxBodySize
	if v := getenv(prefix + "MAX_BODY"); v != "" {
		if c.MaxBody, err = strconv.Atoi(v); err != nil || c.MaxBody < 0 {
			return c, nil, fmt.Errorf("read %sMAX_BODY: %q is not a number of bytes", prefix, v)
		}
	}
	return c, nil, nil
}

// fromFile reads one section of an .edgerc. No error quotes a line of the file: any line
// may be a secret.
// https://techdocs.akamai.com/developer/docs/edgegrid
func fromFile(file, section, accountKey string, getenv func(string) string) (Credentials, error) {
	path := file
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		path = filepath.Join(getenv("HOME"), rest)
	}
	src, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return Credentials{}, fmt.Errorf("read Akamai credentials: %w", err)
	}
	sections, err := ini.Load(src)
	if err != nil {
		// The library's error quotes the line that it cannot read, so it is not wrapped.
		return Credentials{}, fmt.Errorf("read Akamai credentials: %s is not in the form of an .edgerc: [section] and key = value, one a line", file)
	}
	keys, err := sections.GetSection(section)
	if err != nil {
		return Credentials{}, fmt.Errorf("read Akamai credentials: %s has no section [%s]%s", file, section, others(sections))
	}
	from := fmt.Sprintf("section [%s] of %s", section, file)
	config, err := fromKeys(keys, from)
	if err != nil {
		return Credentials{}, err
	}
	config.AccountKey = cmp.Or(accountKey, config.AccountKey)
	return checked(config, from)
}

// others names the sections that a file has, as the end of an error message.
func others(f *ini.File) string {
	var names []string
	for _, s := range f.Sections() {
		if len(s.Keys()) > 0 {
			names = append(names, "["+s.Name()+"]")
		}
	}
	if len(names) == 0 {
		return ", and no other"
	}
	return "; it has " + strings.Join(names, ", ")
}

// fromKeys reads a section. Akamai's tools spell the keys with "_" or with "-". An empty
// or zero max_body means the default.
func fromKeys(keys *ini.Section, from string) (c edgegrid.Config, err error) {
	values := map[string]string{}
	for _, k := range keys.Keys() {
		values[strings.ReplaceAll(strings.ToLower(k.Name()), "-", "_")] = k.Value()
	}
	c = edgegrid.Config{
		Host: values["host"], ClientToken: values["client_token"], ClientSecret: values["client_secret"],
		AccessToken: values["access_token"], AccountKey: values["account_key"], MaxBody: edgegrid.MaxBodySize,
	}
	for name := range strings.SplitSeq(values["headers_to_sign"], ",") {
		if name = strings.TrimSpace(name); name != "" {
			c.HeaderToSign = append(c.HeaderToSign, name)
		}
	}
	if v := values["max_body"]; v != "" && v != "0" {
		if c.MaxBody, err = strconv.Atoi(v); err != nil || c.MaxBody < 0 {
			return c, fmt.Errorf("read Akamai credentials: max_body %q in %s is not a number of bytes", v, from)
		}
	}
	return c, nil
}

// checked refuses credentials that lack a value, and names it. Akamai would only answer
// that a token is wrong. A host may be written as Control Center shows it, with https://
// and a slash.
func checked(c edgegrid.Config, from string) (Credentials, error) {
	c.Host = strings.TrimRight(strings.TrimPrefix(c.Host, "https://"), "/")
	for _, v := range []struct{ name, value string }{
		{"host", c.Host},
		{"client_token", c.ClientToken},
		{"client_secret", c.ClientSecret},
		{"access_token", c.AccessToken},
	} {
		if v.value == "" {
			return Credentials{}, fmt.Errorf("read Akamai credentials: %s in %s is missing or empty", v.name, from)
		}
	}
	if strings.ContainsAny(c.Host, "/ \t@?#") {
		return Credentials{}, fmt.Errorf("read Akamai credentials: host %q in %s must be a host's name alone", c.Host, from)
	}
	return NewCredentials(c), nil
}
