package object_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/object"
)

// TestHost: every spelling of an object gives its host. An object that could belong to
// another host gives none.
func TestHost(t *testing.T) {
	for named, want := range map[string]string{
		"https://www.acme.com/a":               "www.acme.com",
		"https://www.acme.com":                 "www.acme.com",
		"https://www.acme.com?x=1":             "www.acme.com",
		"https://www.acme.com#a":               "www.acme.com",
		"HTTPS://WWW.Acme.COM:8443/a":          "www.acme.com",
		"http://www.acme.com./":                "www.acme.com",
		"https://bücher.example/":              "xn--bcher-kva.example",
		"https://[2001:DB8::1]:443/":           "2001:db8::1",
		"https://a_b.acme.com/":                "a_b.acme.com",
		"/L/512/6848/1h/www.acme.com/a":        "www.acme.com",
		"/L/512/6848/1h/www.acme.com":          "www.acme.com",
		"/S/L/512/6848/1h/WWW.acme.com:443/a":  "www.acme.com",
		"/=/16382/123456/2d/www.acme.com/a":    "www.acme.com",
		"/7/512/6848/200201171350/acme.com/a":  "acme.com",
		"/L/512/6848/1h/evil.com/www.acme.com": "evil.com",
		"https://user@www.acme.com/":           "",
		"https://www.acme.com\\@evil.com/":     "",
		"https:www.acme.com":                   "",
		"//www.acme.com/":                      "",
		"ftp://www.acme.com/":                  "",
		"https:///a":                           "",
		"https://www..acme.com/":               "",
		"https://-a.com/":                      "",
		"https://www.acme.com evil":            "",
		"/L/512//1h/www.acme.com/":             "",
		"/a/b":                                 "",
		"www.acme.com":                         "",
		"":                                     "",
	} {
		if got, err := object.Host(named); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", named, got, err, want)
		}
	}
}

// TestBeginnings: if Akamai refuses one object of a site, the beginnings find the other
// objects of that site, and no other site's.
func TestBeginnings(t *testing.T) {
	for _, c := range []struct {
		of    string
		same  []string
		other []string
	}{
		{
			"https://www.acme.com/a",
			[]string{"http://www.acme.com/b", "https://WWW.acme.com?x=1", "https://www.acme.com", "https://www.acme.com:8443/"},
			[]string{"https://www.acme.com.evil.com/", "https://acme.com/", "/L/512/6848/1h/www.acme.com/"},
		},
		{"https://[::1]/a", []string{"http://[::1]/b"}, []string{"https://[::1f]/", "https://::1/"}},
		{"/S/L/512/6848/1h/www.acme.com/a", []string{"/S/L/512/6848/1h/WWW.acme.com/b"}, []string{"/S/L/512/6848/1h/www.acme.com.evil/b", "/L/1/2/1h/a.com/"}},
	} {
		for _, named := range append(c.same, c.other...) {
			got := slices.ContainsFunc(object.Beginnings(c.of), func(b string) bool {
				return strings.HasPrefix(strings.ToLower(named)+"/", b)
			})
			if got != slices.Contains(c.same, named) {
				t.Errorf("%s and %s: %t", c.of, named, got)
			}
		}
	}
}

func TestEncode(t *testing.T) {
	const all = "\x01 !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~\x7fü"
	for name, c := range map[string]struct{ got, want string }{
		"a value in a path":  {string(object.AppendValue(nil, all, false)), "%01%20!%22%23$%25&'()*+,-./09:;%3C=%3E%3F@AZ[%5C]%5E_%60az%7B|%7D~%7F%C3%BC"},
		"a value in a query": {string(object.AppendValue(nil, all, true)), "%01%20!%22%23$%25%26'()*%2B,-./09:%3B%3C%3D%3E%3F@AZ[%5C]%5E_%60az%7B|%7D~%7F%C3%BC"},
		"as a component":     {string(object.AppendComponent(nil, all)), "%01%20!%22%23%24%25%26'()*%2B%2C-./09%3A%3B%3C%3D%3E%3F%40AZ%5B%5C%5D%5E_%60az%7B%7C%7D~%7F%C3%BC"},
		"a path as it is":    {object.RequestPath("/100%/%c3%9c/[x]^{y}"), "/100%25/%c3%9c/[x]%5E%7By%7D"},
		"a query as it is":   {object.RequestQuery("f[]=1&g={z}"), "f[]=1&g=%7Bz%7D"},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, c.got, c.want)
		}
	}
}

func TestDotFolder(t *testing.T) {
	for named, want := range map[string]bool{
		"https://a.com/./b": true, "https://a.com/..": true, "https://a.com/a/../b?x": true, "https://a.com/.": true,
		"https://a.com/.a/..b/c../...": false, "https://a.com/?a=/../": false, "https://a.com": false,
	} {
		if got := object.DotFolder(named) != ""; got != want {
			t.Errorf("%s: %t", named, got)
		}
	}
}

// FuzzHost: a host that is found is the one that net/url finds, in its canonical
// spelling.
func FuzzHost(f *testing.F) {
	f.Add("https://www.acme.com:443/a?b")
	f.Add("/S/L/512/6848/1h/www.acme.com/a")
	f.Add("https://BÜCHER.example.")
	f.Fuzz(func(t *testing.T, named string) {
		host, err := object.Host(named)
		if err != nil {
			return
		}
		if again, err := object.CanonicalHost(host); err != nil || again != host {
			t.Errorf("%q: %q is not stable: %q, %v", named, host, again, err)
		}
		if u, err := url.Parse(named); err == nil && u.Host != "" && !strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), host) &&
			strings.Trim(u.Hostname(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == "" &&
			!strings.Contains(strings.ToLower(named), "xn--") {
			t.Errorf("%q: %q, and by net/url %q", named, host, u.Hostname())
		}
		if len(object.Beginnings(named)) == 0 {
			t.Errorf("%q has a host and no beginnings", named)
		}
	})
}
