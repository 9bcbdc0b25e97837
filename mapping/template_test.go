package mapping

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/object"
)

// mustParse parses rules that must have no errors.
func mustParse(t testing.TB, rules string) *File {
	t.Helper()
	file, faults := Parse([]byte(rules))
	if file == nil {
		t.Fatalf("rules have faults:\n%s", faults.In("rules"))
	}
	return file
}

// planned plans one query and returns the targets as rules files' tests write them, those
// that can't be sent with their reasons.
func planned(t testing.TB, file *File, q Query, changes ...Change) []string {
	t.Helper()
	q.Changes = slices.Values(changes)
	plan, err := file.Plan(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return objectsOf(slices.Collect(plan.Targets()))
}

func objectsOf(targets []Target) []string {
	got := []string{}
	for _, target := range targets {
		s := target.String()
		if target.Reason != "" {
			s += " FAILED " + target.Reason
		}
		got = append(got, s)
	}
	return got
}

// oneRule returns a file with one rule. The template is that of a URL, or tag:TEMPLATE.
func oneRule(match, template string) string {
	kind := "urls"
	if tag, ok := strings.CutPrefix(template, "tag:"); ok {
		kind, template = "tags", tag
	}
	return fmt.Sprintf("version: 1\nenvironments: {production: {hosts: [www.acme.com]}}\nrules:\n  - match: %q\n    %s: [%q]\n", match, kind, template)
}

func TestTemplates(t *testing.T) {
	const www = "https://www.acme.com"
	for _, c := range []struct{ match, template, path, want string }{
		{"content/**/*.md", "https://{host}/{1}/{2}/", "content/a/b/c.md", www + "/a/b/c/"},
		{"content/**/*.md", "https://{host}/{1}/{2}/", "content/c.md", www + "/c/"},
		{"**", "https://{host}/{dir}/{file}", "a/b.md", www + "/a/b.md"},
		{"**", "https://{host}/{dir}/{file}", "b.md", www + "/b.md"},
		{"**", "https://{host}/x/{dir}", "b.md", www + "/x/"},
		{"**", "https://{host}/{dir}{dir}/{dir}/{file}", "b.md", www + "/b.md"},
		{"**", "https://{host}//x/{dir}//{file}", "b.md", www + "//x//b.md"},
		{"{a/,b}*", "https://{host}/{ext}{1}/x", "a/q", www + "/a//x"},
		{"**", "https://{host}/x-{dir}/{file}", "b.md", www + "/x-/b.md"},
		{"**", "https://{host}/{dir}?d=/{dir}/{file}", "b.md", www + "/?d=/b.md"},
		{"static/**", "https://{host}/{1}", "static", www + "/"},
		{"**", "https://{host}/{name}|{ext}", "x/a.tar.gz", www + "/a.tar|gz"},
		{"**", "https://{host}/{name}|{ext}", ".htaccess", www + "/.htaccess|"},
		{"**", "https://{host}/{name}|{ext}", "README", www + "/README|"},
		{"**", "https://{host}/{name}|{ext}", "x.y/file.", www + "/file.|"},
		{"**", "https://{host}/{name}|{ext}", ".a.b", www + "/.a|b"},
		{"**", "https://{host}/{{{path}}}", "a", www + "/{a}"},
		{"**", "https://{host}/{env}/{owner}/{repo}/{branch}", "a", www + "/production/acme/site/trunk"}, // {env} as the file spells it, whatever GitHub says
		{"**", "https://{host}/{host}?h={host}", "a", www + "/www.acme.com?h=www.acme.com"},
		{"**", "HTTPS://WWW.Müller.de:8443/ü%20?ü=ä", "a", "https://www.xn--mller-kva.de:8443/%C3%BC%20?%C3%BC=%C3%A4"},
		{"**", "http://{host}", "a", "http://www.acme.com"},
		{"**", "https://{host}?f={path}", "a&b=c+d;e/f", www + "?f=a%26b%3Dc%2Bd%3Be/f"},
		{"**", "https://{host}/{path}", "a&b=c+d;e,f:g@h!i$j'k(l)m*n~o_p-q.r", www + "/a&b=c+d;e,f:g@h!i$j'k(l)m*n~o_p-q.r"},
		{"**", "https://{host}/{path}", "\x01\x1f \"#%<>?[\\]^{|}`\x7f", www + "/%01%1F%20%22%23%25%3C%3E%3F[%5C]%5E%7B|%7D%60%7F"},
		{"**", "https://{host}/{path}", "ä/🎉\n\t%41", www + "/%C3%A4/%F0%9F%8E%89%0A%09%2541"},
		{"**", "https://{host}/{path}", "bad\xff\xc3", www + "/bad%FF%C3"},
		{"**", "https://{host}/{path}", "?x#y", www + "/%3Fx%23y"},
		{"*.x", "https://{host}/{1}/y", "..x", www + `/./y FAILED the URL has a "." or ".." folder, which no browser requests`},
		// a value in the host
		{"sites/*/**", "https://{1}/{2}", "sites/www.Other.com/a", "https://www.other.com/a"},
		{"sites/*/**", "https://{1}.acme.com/{2}", "sites/a.b/x", "https://a.b.acme.com/x"},
		{"sites/*/**", "https://{1}.{host}/{2}", "sites/ü/x", "https://xn--tda.www.acme.com/x"},
		{"sites/*/**", "https://{1}acme.com/{2}", "sites/evil.com/x", `https://evil.comacme.com/x FAILED {1} is "evil.com", which can't be part of a host name`},
		{"sites/*/**", "https://cdn-{1}/{2}", "sites/x.evil.com/x", `https://cdn-x.evil.com/x FAILED {1} is "x.evil.com", which can't be part of a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/evil.com#/x", `https://evil.com%23.acme.com/ FAILED {1} is "evil.com#", which can't be part of a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/evil.com\\/x", `https://evil.com%5C.acme.com/ FAILED {1} is "evil.com\", which can't be part of a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/u:p@evil.com/x", `https://u:p@evil.com.acme.com/ FAILED {1} is "u:p@evil.com", which can't be part of a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/evil.com／/x", `https://evil.com%EF%BC%8F.acme.com/ FAILED "evil.com／.acme.com" is not a host name`},
		{"sites/*/**", "https://x-{1}/", "sites/evil。com/x", `https://x-evil%E3%80%82com/ FAILED {1} is "evil。com", which can't be part of a host name`},
		{"sites/**/x", "https://{1}.acme.com/", "sites/a/b/x", `https://a/b.acme.com/ FAILED {1} is "a/b", which can't be part of a host name`},
		{"sites/**/x", "https://{1}.acme.com/", "sites/x", `https://.acme.com/ FAILED {1} is "", which can't be part of a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/-a/x", `https://-a.acme.com/ FAILED "-a.acme.com" is not a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/a\rb/x", `https://a%0Db.acme.com/ FAILED {1} is "a\rb", which can't be part of a host name`},
		{"sites/*/**", "https://{1}.acme.com/", "sites/" + strings.Repeat("a", 64) + "/x", "https://" + strings.Repeat("a", 64) + `.acme.com/ FAILED "` + strings.Repeat("a", 64) + `.acme.com" is not a host name`},
		// tags
		{"**", "tag:p-{name}", "x/Ab.c", "tag:p-Ab"},
		{"**", "tag:{path}", "a/b&'^-$!`#%.+~_|", "tag:a/b&'^-$!`#%.+~_|"},
		{"**", "tag:{path}", "a b", "tag:a b FAILED the tag can't hold a space: letters, digits and &'^-$!`#%.+~_|/ are allowed"},
		{"**", "tag:{dir}", "a", "tag: FAILED the tag is empty"},
		{"**", "tag:{path}", strings.Repeat("x", 128), "tag:" + strings.Repeat("x", 128)},
		{"**", "tag:{path}", strings.Repeat("x", 129), "tag:" + strings.Repeat("x", 129) + " FAILED the tag has 129 characters, at most 128 are allowed"},
		{"**", "tag:{path}", "\xff", "tag:\ufffd FAILED the tag can't hold bytes that are not UTF-8: letters, digits and &'^-$!`#%.+~_|/ are allowed"},
		{"**", "tag:{host}", "a", "tag:www.acme.com"},
	} {
		t.Run(c.template+" of "+c.path, func(t *testing.T) {
			file := mustParse(t, oneRule(c.match, c.template))
			got := planned(t, file, Query{Environment: "Production", Owner: "acme", Repo: "site", DefaultBranch: "trunk"}, Change{c.path, Added})
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestURLTooLongForARequest(t *testing.T) {
	file := mustParse(t, oneRule("**", "https://{host}/{path}"))
	room := maxURLBytes - len("https://www.acme.com/")
	got := planned(t, file, Query{Environment: "production"}, Change{strings.Repeat("x", room), Added})
	if strings.Contains(got[0], "FAILED") {
		t.Errorf("a URL of %d bytes: %s", maxURLBytes, got[0][maxURLBytes:])
	}
	got = planned(t, file, Query{Environment: "production"}, Change{strings.Repeat("x", room+1), Added})
	if !strings.HasSuffix(got[0], "FAILED the URL has 49985 bytes and does not fit a purge request (at most 49984)") {
		t.Errorf("a URL one byte longer: %s", got[0][maxURLBytes:])
	}
}

// FuzzPlan gives arbitrary rules and paths to Parse and Plan. A target that can be sent
// is an absolute URL on a host that the template names, a legal tag or a number.
func FuzzPlan(f *testing.F) {
	f.Add("**", "https://{host}/{path}?q={1}", "tag-{name}", "a/b.c")
	f.Add("sites/*/**", "https://{1}.acme.com/{2}/", "{1}", "sites/evil.com#/x")
	f.Add("{en,de}/**/*.{md,html}", "https://cdn.{host}:8080//{2}/{3}", "t-{ext}", "de/x/\xff\n.html")
	f.Add("a*b", "http://{host}{{/{dir}/", "{host}", "a\u3002\uff0fb")
	f.Fuzz(func(t *testing.T, match, urlTemplate, tag, path string) {
		defer noHang(fmt.Sprintf("%q %q %q %q", match, urlTemplate, tag, path))()
		rules := fmt.Sprintf("version: 1\nenvironments: {production: {hosts: [www.acme.com, m.acme.com]}}\n"+
			"rules:\n  - match: %q\n    urls: [%q]\n    tags: [%q]\n", match, urlTemplate, tag)
		file, faults := Parse([]byte(rules))
		if (file == nil) != faults.HasErrors() {
			t.Fatalf("file given: %v, faults:\n%s", file != nil, faults.In("f"))
		}
		if file == nil {
			return
		}
		plan, err := file.Plan(t.Context(), Query{Environment: "PRODUCTION", Changes: slices.Values([]Change{{path, Modified}, {path, Removed}})})
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range slices.Collect(plan.Targets()) {
			if target.Path != path || target.Rule == "" {
				t.Errorf("%v has lost its cause: %q, %q", target, target.Rule, target.Path)
			}
			if target.Reason == "" {
				checkTarget(t, target, urlTemplate)
			}
		}
	})
}

// noHang ends the program if the code up to done takes far too long.
func noHang(input string) (done func()) {
	timer := time.AfterFunc(10*time.Second, func() { panic("hangs: " + input) })
	return func() { timer.Stop() }
}

func checkTarget(t *testing.T, target Target, template string) {
	t.Helper()
	switch target.Kind {
	case CPCode:
		t.Errorf("%v came from nowhere", target)
	case Tag:
		if strings.ContainsAny(target.Object, "<>*@\\{}:,\"=()?; []\n") || target.Object == "" || len(target.Object) > 128 {
			t.Errorf("tag %q", target.Object)
		}
	case URL:
		u, err := url.Parse(target.Object)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q: %v %+v", target.Object, err, u)
		}
		for _, c := range target.Object {
			if c <= ' ' || c >= 0x7f {
				t.Fatalf("%q holds %q", target.Object, c)
			}
		}
		checkHost(t, u, template)
	}
}

// checkHost knows of the host only the literal text at both ends of the template's host,
// up to a placeholder. At least that text must be in the URL too.
func checkHost(t *testing.T, u *url.URL, template string) {
	t.Helper()
	_, authority, _ := strings.Cut(template, "//")
	authority, _, _ = strings.Cut(authority, "/")
	authority, _, _ = strings.Cut(authority, "?")
	if strings.Contains(authority, "}") && u.Hostname() != "" {
		tail, ok := authority[strings.LastIndex(authority, "}")+1:], true
		tail, _, _ = strings.Cut(tail, ":")
		ascii, err := object.ASCIIHost(strings.TrimPrefix(tail, "."))
		if tail != "" && err == nil {
			ok = strings.HasSuffix(u.Hostname(), ascii)
		}
		if authority == "{host}" {
			ok = u.Host == "www.acme.com" || u.Host == "m.acme.com"
		}
		if !ok {
			t.Errorf("host %q of %q", u.Host, template)
		}
	}
}
