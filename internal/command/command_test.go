package command_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/command"
	"github.com/purgebot/purgebot/internal/object"
)

func urls(all ...string) (out []command.Object) {
	for _, u := range all {
		out = append(out, command.Object{Kind: object.URL, Value: u})
	}
	return out
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       command.Command
	}{
		{"alone", "/purge", command.Command{Verb: command.Purge}},
		{"alone, Windows line ends", "/purge\r\nplease", command.Command{Verb: command.Purge}},
		{"one command a comment", "/purge retry\n/purge cancel", command.Command{Verb: command.Retry, Unread: []string{"/purge cancel"}}},
		{"in capitals", "/Purge RETRY", command.Command{Verb: command.Retry}},
		{"with a colon", "/PURGE: tag:a", command.Command{Verb: command.Purge, Objects: []command.Object{{Kind: object.Tag, Value: "a"}}}},
		{"a verb in capitals", "/purge Status", command.Command{Verb: command.Status}},
		{"help", "/purge help", command.Command{Verb: command.Help}},
		{"release with an environment", "/purge release --env staging", command.Command{Verb: command.Release, Env: "staging"}},
		{"cancel, environment first", "/purge --env=staging cancel", command.Command{Verb: command.Cancel, Env: "staging"}},
		{"URLs", "/purge https://www.acme.com/a/ HTTP://WWW.acme.com:80", command.Command{
			Verb:    command.Purge,
			Objects: urls("https://www.acme.com/a/", "http://www.acme.com/"),
		}},
		{"a URL twice", "/purge https://a.com/x https://a.com:443/x#top", command.Command{Verb: command.Purge, Objects: urls("https://a.com/x")}},
		{"tags and CP codes", "/purge tag:product-7  cpcode:0012345", command.Command{Verb: command.Purge, Objects: []command.Object{
			{Kind: object.Tag, Value: "product-7"}, {Kind: object.CPCode, Value: "12345"},
		}}},
		{"globs", "/purge content/docs/** ./a.md /b*.md .github/x", command.Command{
			Verb:  command.Purge,
			Paths: []string{"content/docs/**", "a.md", "b*.md", ".github/x"},
		}},
		{"pages", "/purge /shop/p1/ /b.md /", command.Command{Verb: command.Purge, Pages: []string{"/shop/p1/", "/b.md", "/"}}},
		{"a name with spaces", `/purge "content/my file.md" --env='Preview – site'`, command.Command{
			Verb:  command.Purge,
			Paths: []string{"content/my file.md"}, Env: "Preview – site",
		}},
		{"an apostrophe in a name", "/purge it's.md", command.Command{Verb: command.Purge, Paths: []string{"it's.md"}}},
		{"a file called like a verb's neighbour", "/purge static", command.Command{Verb: command.Purge, Paths: []string{"static"}}},
		{"flags", "/purge a.md --delete --dry-run --env prod", command.Command{Verb: command.Purge, Paths: []string{"a.md"}, Env: "prod", Delete: true, DryRun: true}},
		{"a telephone's dashes", "/purge —delete –dry-run —env=x", command.Command{Verb: command.Purge, Env: "x", Delete: true, DryRun: true}},
		{"a colon in a path", "/purge docs/a:b.md", command.Command{Verb: command.Purge, Paths: []string{"docs/a:b.md"}}},
		{"no-break spaces", "/purge\u00a0retry\u202f", command.Command{Verb: command.Retry}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := command.Parse(test.body)
			if test.want.Verb == "" {
				if !errors.Is(err, command.ErrNone) {
					t.Fatalf("got %+v, %v; want no command", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoCommand(t *testing.T) {
	for _, body := range []string{
		"", "hello", "please /purge", "> /purge", "    /purge", "\t/purge", "`/purge`", "```\n/purge\n```", "\n/purge",
		"/purged", "/purge-all", "/purge:now", "/purge.", "/purge,,", "//purge", "<!-- /purge -->", "/purge/a",
		"\ufeff/purge", "\u200b/purge", "/purge\u200b help", "\u202e/purge", "／purge", "/\u0440urge", // not the letters, or more than they
	} {
		if c, err := command.Parse(body); !errors.Is(err, command.ErrNone) {
			t.Errorf("%q: %+v, %v", body, c, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{"/purge rety", "Unknown command rety; did you mean /purge retry?"},
		{"/purge cancle", "Unknown command cancle; did you mean /purge cancel?"},
		{"/purge realese", "Unknown command realese; did you mean /purge release?"},
		{"/purge hlep", "Unknown command hlep; did you mean /purge help?"},
		{"/purge --dryrun", "Unknown option --dryrun; did you mean /purge --dry-run?"},
		{"/purge -d", "Unknown option -d; did you mean /purge --delete?"},
		{"/purge --envir x", "Unknown option --envir; did you mean /purge --env x?"},
		{"/purge --env", "--env needs the name of an environment"},
		{"/purge --env --delete", "--env needs the name of an environment"},
		{"/purge --env a --env b", "one command purges one environment: post one command for each"},
		{"/purge retry a.md", "retry takes no arguments; did you mean /purge retry?"},
		{"/purge cancel --delete", "cancel takes neither --delete nor --dry-run; did you mean /purge cancel?"},
		{"/purge tags:x", "Unknown kind tags:; did you mean /purge tag:x?"},
		{"/purge cp:12", "Unknown kind cp:; did you mean /purge cpcode:12?"},
		{"/purge tag:", "tag: needs a tag, as tag:NAME"},
		{"/purge cpcode:x", "x is not a CP code, which is a number: cpcode:NUMBER"},
		{"/purge cpcode:0", "0 is not a CP code, which is a number: cpcode:NUMBER"},
		{"/purge ftp://a/b", "Akamai purges http and https URLs, not ftp://a/b; did you mean /purge https://a/b?"},
		{"/purge https:/a/b", "https:/a/b is not a URL; did you mean /purge https://a/b?"},
		{"/purge https://u:p@a.com/", `"u:p@a.com" is not a host that Akamai serves`},
		{"/purge https:///x", `"" is not a host that Akamai serves`},
		{"/purge a[b", `the pattern a[b has a "[" without a "]" after it; write "\[" for the character itself`},
		{`/purge "a b`, "a quote is not closed"},
		{`/purge ""`, "a word is empty"},
		{
			"/purge --dry-run {" + strings.Repeat(",", 120) + "}{" + strings.Repeat(",", 120) + "}x",
			"the pattern {" + strings.Repeat(",", 39) + "… has braces that stand for too many combinations; write several globs",
		},
		{"/purge" + strings.Repeat(" a?b", 51), "one command names at most 50 files, patterns and pages: use a wider pattern, as folder/**"},
		{"/purge https://www.acme.com/*", "Akamai purges exactly the URL that is written, so a * in https://www.acme.com/* purges nothing: name each page, or a tag (tag:NAME), or files, in which * works"},
		{"/purge //www.acme.com/a", "//www.acme.com/a is not a URL; did you mean /purge https://www.acme.com/a?"},
		{"/purge tags:x, https://a.com/", "Unknown kind tags:; did you mean /purge tag:x https://a.com/?"},
		{"/purge `a", "a ` is not closed"},
	} {
		_, err := command.Parse(test.body)
		var m *command.Error
		if !errors.As(err, &m) || m.Public() != test.want {
			t.Errorf("%.40q:\n got %v\nwant %s", test.body, err, test.want)
		}
	}
}

// What people paste around an address is no part of the address; what may be part of an
// address is kept.
func TestPasted(t *testing.T) {
	const a, b = "https://www.acme.com/a/", "https://www.acme.com/b/"
	for _, test := range []struct {
		body string
		want []string // URLs, then paths and pages
	}{
		{"/purge " + a + ", " + b, []string{a, b}},
		{"/purge " + a + "," + b, []string{a, b}},
		{"/purge " + a + "; " + b + ";", []string{a, b}},
		{"/purge " + a + "，" + b, []string{a, b}},
		{"/purge " + a + ".", []string{a}},
		{"/purge " + a + "!", []string{a}},
		{"/purge " + a + "?", []string{a}},
		{"/purge (" + a + ")", []string{a}},
		{"/purge " + a + ")", []string{a}},
		{"/purge <" + a + ">", []string{a}},
		{"/purge <" + a + ">, <" + b + ">.", []string{a, b}},
		{"/purge `" + a + "`", []string{a}},
		{"/purge ``" + a + " " + b + "``", []string{a, b}},
		{"/purge [the page](" + a + ")", []string{a}},
		{"/purge [" + b + "](" + a + ` "a title"), [x](<` + b + ">)", []string{a, b}},
		{`/purge "` + a + `"`, []string{a}},
		{"/purge '" + a + "'", []string{a}},
		{"/purge “" + a + ",” ‘" + b + "’", []string{a, b}},
		{"/purge „" + a + "“ «" + b + "»", []string{a, b}},
		{"/purge **" + a + "** _" + b + "_", []string{a, b}},
		{"/purge https://www.acme.com/a,b;c", []string{"https://www.acme.com/a,b;c"}},
		{"/purge https://www.acme.com/a_(b)", []string{"https://www.acme.com/a_(b)"}},
		{"/purge <https://www.acme.com/a.>", []string{"https://www.acme.com/a."}},
		{"/purge\n" + a + "\n" + b, []string{a, b}},
		{"/purge " + a + "\r\n" + b + "\r\n\r\nthanks", []string{a, b}},
		{"/purge\n- " + a + "\n* <" + b + ">\n", []string{a, b}},
		{"/purge\n1. [ ] " + a + "\n2) " + b + ", content/x.md\nthanks", []string{a, b, "content/x.md"}},
		{"/purge content/a.md, content/{b,c}.md; README.md.", []string{"content/a.md", "content/{b,c}.md", "README.md"}},
		{"/purge `content/my file.md`", []string{"content/my file.md"}},
		{"/purge [ab]*.md a?", []string{"[ab]*.md", "a?"}},
		{"/purge\n/shop/p1/", []string{"/shop/p1/"}},
	} {
		c, err := command.Parse(test.body)
		var got []string
		for _, o := range c.Objects {
			if o.Kind == object.URL {
				got = append(got, o.Value)
			}
		}
		got = slices.Concat(got, c.Paths, c.Pages)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil || c.Everything() || len(c.Unread) > 0 {
			t.Errorf("%q: %v, unread %q (-want +got):\n%s", test.body, err, c.Unread, diff)
		}
	}
}

// What is below the command and is no list of targets changes nothing, and is
// not passed over in silence if it looks like one.
func TestUnread(t *testing.T) {
	const a, b = "https://www.acme.com/a/", "https://www.acme.com/b/"
	for body, want := range map[string][]string{
		"/purge " + a + "\nand also " + b:                      {b},
		"/purge " + a + "\n\n" + b:                             {b},
		"/purge " + a + "\nthanks!\ntag:x and content/a.md.":   {"tag:x", "content/a.md"},
		"/purge " + a + "\n--delete":                           {"--delete"},
		"/purge " + a + "\n/purge " + b:                        {"/purge " + b},
		"/purge status\n" + b:                                  {b},
		"/purge " + a + "\nThe price was wrong, 12 and/or it":  {"and/or"},
		"/purge " + a + "\nthe e.g. of it - see Friday's note": nil,
		"/purge " + a + "\n> quoted " + b:                      nil,
		"/purge " + a + "\nx\n" + strings.Repeat(b+"\n", 9):    {b, b, b, b, b},
	} {
		c, err := command.Parse(body)
		if diff := cmp.Diff(want, c.Unread); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", body, err, diff)
		}
		if c.Verb == command.Purge && (len(c.Objects) != 1 || c.Delete || len(c.Paths)+len(c.Pages) > 0) {
			t.Errorf("%q: it counts: %+v", body, c)
		}
	}
}

// Whatever a comment holds, the time to read it only grows with its length.
func TestParseIsLinear(t *testing.T) {
	const most = 65_536 // characters of a comment
	for _, piece := range []string{"[", "[a](", "`", "<", ")", "* ", "“a” ", "https://a/)", "a,", "- https://a/\n", "a.md\n", "[x](y) ", "{", "\n/purge"} {
		_, _ = command.Parse("/purge " + strings.Repeat(piece, most/len(piece))) // ends
	}
}

func TestBrowserURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://www.acme.com":                     "https://www.acme.com/",
		"https://www.acme.com?q=1":                 "https://www.acme.com/?q=1",
		"https://WWW.Acme.com/Über uns":            "https://www.acme.com/%C3%9Cber",
		"https://bücher.example/a":                 "https://xn--bcher-kva.example/a",
		"https://a.com/%c3%9c%20x":                 "https://a.com/%c3%9c%20x",
		"https://a.com/100%":                       "https://a.com/100%25",
		"https://a.com/a/./b/../c":                 "https://a.com/a/c",
		"https://a.com/../..":                      "https://a.com/",
		"https://a.com/a/%2E%2e/b":                 "https://a.com/b",
		`https://a.com\b`:                          "https://a.com/b",
		"https://a.com/[x]{y}?f[]=1&g={z}":         "https://a.com/[x]%7By%7D?f[]=1&g=%7Bz%7D",
		"https://a.com:8443/x":                     "https://a.com:8443/x",
		"https://a.com/x?a=1?b=2#frag":             "https://a.com/x?a=1?b=2",
		"https://a.com/a//b/":                      "https://a.com/a//b/",
		"https://www.acme.com/@alice/](http://x)/": "https://www.acme.com/@alice/](http://x)/",
		"https://a.com/?q=*":                       "https://a.com/?q=*",
	} {
		word, _, _ := strings.Cut(in, " ")
		c, err := command.Parse("/purge " + word)
		if err != nil || len(c.Objects) != 1 || c.Objects[0].Value != want {
			t.Errorf("%s: %+v, %v; want %s", in, c.Objects, err, want)
		}
	}
}

// What looks like something else is told apart: a host in letters of another
// script, marks that turn the text, look-alikes of a verb or of a prefix.
func TestLookAlikes(t *testing.T) {
	for in, want := range map[string]string{
		"/purge https://www.\u0430cme.com/":       "https://www.xn--cme-5cd.com/",
		"/purge https://www.acme.com/\u202egpj.a": "https://www.acme.com/%E2%80%AEgpj.a",
		"/purge https://www.acme.com/a\u200bb":    "https://www.acme.com/a%E2%80%8Bb",
		"/purge https://www.acme.com\uff0fevil":   "",
		"/purge https://www.acme.com\u2044evil":   "https://www.acme.xn--comevil-3d7c/", // a host of its own, which no policy allows
	} {
		c, err := command.Parse(in)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: %+v", in, c)
		case want != "" && (err != nil || len(c.Objects) != 1 || c.Objects[0].Value != want):
			t.Errorf("%q: %+v, %v; want %s", in, c, err, want)
		}
	}
	if c, err := command.Parse("/purge c\u0430ncel"); err != nil || c.Verb != command.Purge || len(c.Paths) != 1 {
		t.Errorf("a look-alike of a verb: %+v, %v; want a file's name, which there is none of", c, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"/purge", "/purge https://www.acme.com/a/ tag:x cpcode:12 content/** --env=a --delete --dry-run",
		`/purge "a b" 'c d' --env="e f"`, "/purge retry", "/purge rtery", "/purge https://ü.example:80/ü?[#x", "/purge a{b,{c,d}}*",
		"/purge \xff\xfe https://a.com/\xff", "/purge https://a/%zz/%2e%2E/..",
		"/Purge: <https://a.com/x>, `https://b.com/y` [c](https://c.com/(z)) “https://d.com/,”\n- [ ] tag:x; /p/\n\nand https://e.com/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c, err := command.Parse(body)
		var m *command.Error
		switch {
		case errors.Is(err, command.ErrNone):
			if strings.HasPrefix(body, "/purge ") {
				t.Errorf("%q is a command", body)
			}
			return
		case errors.As(err, &m):
			if m.What == "" || m.Nearest != "" && !strings.HasPrefix(m.Nearest, "/purge") {
				t.Errorf("%q: mistake without words: %+v", body, m)
			}
			return
		case err != nil:
			t.Fatalf("%q: %v", body, err)
		}
		if len(c.Objects) > command.MaxObjects || len(c.Paths) > command.MaxPaths {
			t.Errorf("%q: unbounded: %d objects, %d paths", body, len(c.Objects), len(c.Paths))
		}
		for _, o := range c.Objects {
			if o.Kind != object.URL {
				continue
			}
			u, err := url.Parse(o.Value)
			if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || !strings.HasPrefix(u.EscapedPath(), "/") ||
				strings.ContainsFunc(o.Value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Errorf("%q: URL %q, %v", body, o.Value, err)
			}
			again, err := command.Parse("/purge <" + o.Value + ">")
			if err != nil || len(again.Objects) != 1 || again.Objects[0] != o {
				t.Errorf("%q: %q is not stable: %+v, %v", body, o.Value, again.Objects, err)
			}
		}
	})
}
