package verify

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the table into the documentation")

const (
	page     = "https://www.acme.com/prices/"
	yes      = "TCP_HIT from a1 (AkamaiGHost/22)"
	miss     = "TCP_MISS from a1 (AkamaiGHost/22)"
	renewed  = "TCP_REFRESH_MISS from a1 (AkamaiGHost/22)"
	kept     = "TCP_REFRESH_HIT from a1 (AkamaiGHost/22)"
	failed   = "TCP_REFRESH_FAIL_HIT from a1 (AkamaiGHost/22)"
	negative = "TCP_NEGATIVE_HIT from a1 (AkamaiGHost/22)"
	monday   = "Mon, 23 Nov 2026 10:00:00 GMT"
	sunday   = "Sun, 22 Nov 2026 10:00:00 GMT"
)

// A change alters one thing about an answer.
type change func(*Answer)

func xcache(s string) change    { return func(a *Answer) { a.XCache = s } }
func remote(s string) change    { return func(a *Answer) { a.XCacheRemote = s } }
func status(s string) change    { return func(a *Answer) { a.CacheStatus = s } }
func key(s string) change       { return func(a *Answer) { a.CacheKey = s } }
func age(s int) change          { return func(a *Answer) { a.Age = &s } }
func dated(s string) change     { return func(a *Answer) { a.LastModified = s } }
func etag(s string) change      { return func(a *Answer) { a.ETag = s } }
func via(s string) change       { return func(a *Answer) { a.Via = s } }
func from(s string) change      { return func(a *Answer) { a.From = s } }
func tagged(s ...string) change { return func(a *Answer) { a.Tags = s } }
func cut(a *Answer)             { a.Cut = true }

func answer(body string, changes ...change) Answer {
	a := Answer{URL: page, From: "192.0.2.1", Status: 200, SHA256: body, Length: int64(len(body)), Contains: strings.HasPrefix(body, "new")}
	for _, c := range changes {
		c(&a)
	}
	return a
}

func says(code int, changes ...change) Answer {
	a := answer("error page", changes...)
	a.Status = code
	return a
}

func fault(words string) Answer { return Answer{URL: page, Fault: words} }

func redirect(to string, changes ...change) Answer {
	a := answer("", changes...)
	a.Status, a.Location = 301, to
	return a
}

func look(hops ...Answer) Look { return Look{Compressed: true, Hops: hops} }
func plain(a Answer) Look      { return Look{Hops: []Answer{a}} }
func looks(all ...Look) []Look { return all }

func at(a Answer, url string) Answer {
	a.URL = url
	return a
}

// table is what the package promises: evidence, its verdict and its words.
var table = []struct {
	seen string
	e    Evidence
	want Verdict
	why  []Kind
}{
	{"the same page at both", Evidence{Edge: looks(look(answer("new", xcache(yes)))), Origin: looks(look(answer("new")))}, Fresh, nil},
	{"the same page, and it contains what it should", Evidence{Contains: "new", Edge: looks(look(answer("new"))), Origin: looks(look(answer("new")))}, Fresh, nil},
	{"no origin, but the page contains what only the new one has", Evidence{Contains: "new", Edge: looks(look(answer("new")))}, Fresh, nil},
	{"no origin, the page is another than before the purge", Evidence{
		Before: new(answer("old")), Purge: &Purge{Ago: time.Minute}, Edge: looks(look(answer("new", age(20)))),
	}, Fresh, nil},
	{"the same, but nothing says that this copy is from after the purge", Evidence{Before: new(answer("old")), Edge: looks(look(answer("new")))}, Unknown, []Kind{Undated}},
	{"no origin, other pages than before the purge, of two kinds", Evidence{
		Before: new(answer("old")), Edge: looks(look(answer("new", xcache(miss))), look(answer("newer", xcache(miss)))),
	}, Unknown, []Kind{Dynamic}},
	{"404 at both: a page that was removed", Evidence{Edge: looks(look(says(404))), Origin: looks(look(says(410)))}, Fresh, nil},
	{"the same redirect, the same target", Evidence{
		Edge: looks(look(redirect(page+"new/"), answer("new"))), Origin: looks(look(redirect("http://www.acme.com/prices/new/"), answer("new"))),
	}, Fresh, nil},
	{"a long file, the same as far as it was read, with one strong ETag", Evidence{Edge: looks(look(answer("new", cut, etag(`"7"`)))), Origin: looks(look(answer("new", cut, etag(`"7"`))))}, Fresh, nil},
	{"the same page; the origin was confirmed before, and the deploy did not change it", Evidence{
		Before: new(answer("new")), Confirmed: true, Edge: looks(look(answer("new"))), Origin: looks(look(answer("new"))),
	}, Fresh, nil},
	{"the same page at both after a deploy, another one than before", Evidence{
		Deployed: true, Before: new(answer("old")), Edge: looks(look(answer("new"))), Origin: looks(look(answer("new"))),
	}, Fresh, nil},
	{"the same page at both after a deploy; the origin was confirmed before", Evidence{
		Deployed: true, Confirmed: true, Edge: looks(look(answer("new"))), Origin: looks(look(answer("new"))),
	}, Fresh, nil},
	{"the same page; it was purged by a tag, and the origin names none: Akamai may give it its tags", Evidence{
		Purge: &Purge{Tags: []string{"news"}}, Edge: looks(look(answer("new"))), Origin: looks(look(answer("new"))),
	}, Fresh, nil},
	{"the origin is away, but the page contains what only the new one has", Evidence{Contains: "new", Edge: looks(look(answer("new"))), Origin: looks(look(says(503)))}, Fresh, []Kind{OriginSick}},

	{"another page from the cache", Evidence{Edge: looks(look(answer("old", xcache(yes)))), Origin: looks(look(answer("new")))}, Stale, []Kind{NotPurged}},
	{"another page, though ETag and date are the same", Evidence{
		Edge: looks(look(answer("old", etag(`"5"`), dated(sunday)))), Origin: looks(look(answer("new", etag(`"5"`), dated(sunday)))),
	}, Stale, []Kind{NotModified}},
	{"the origin's file has an older date", Evidence{Edge: looks(look(answer("old", dated(monday)))), Origin: looks(look(answer("new", dated(sunday))))}, Stale, []Kind{NotModified}},
	{"the same, after a delete", Evidence{
		Purge: &Purge{Delete: true}, Edge: looks(look(answer("old", dated(monday)))), Origin: looks(look(answer("new", dated(sunday)))),
	}, Stale, []Kind{NotPurged}},
	{"TCP_REFRESH_HIT with another page", Evidence{Edge: looks(look(answer("old", xcache(kept)))), Origin: looks(look(answer("new")))}, Stale, []Kind{NotModified}},
	{"Akamai-Cache-Status: RefreshHit with another page", Evidence{Edge: looks(look(answer("old", status("RefreshHit from child")))), Origin: looks(look(answer("new")))}, Stale, []Kind{NotModified}},
	{"TCP_MISS with another page", Evidence{Edge: looks(look(answer("old", xcache(miss), via("1.1 varnish")))), Origin: looks(look(answer("new")))}, Stale, []Kind{CacheBehind}},
	{"TCP_REFRESH_MISS with another page", Evidence{Edge: looks(look(answer("old", xcache(renewed)))), Origin: looks(look(answer("new")))}, Stale, []Kind{CacheBehind}},
	{"TCP_MISS here and TCP_HIT at the parent, with another page", Evidence{Edge: looks(look(answer("old", xcache(miss), remote(yes)))), Origin: looks(look(answer("new")))}, Stale, []Kind{ParentStale}},
	{"Miss from child, Hit from parent, with another page", Evidence{Edge: looks(look(answer("old", status("Miss from child, Hit from parent")))), Origin: looks(look(answer("new")))}, Stale, []Kind{ParentStale}},
	{"TCP_REFRESH_FAIL_HIT with another page", Evidence{Edge: looks(look(answer("old", xcache(failed)))), Origin: looks(look(answer("new")))}, Stale, []Kind{ServedStale}},
	{"TCP_REFRESH_FAIL_HIT, nothing to compare with", Evidence{Edge: looks(look(answer("old", xcache(failed))))}, Stale, []Kind{ServedStale}},
	{"another page, and what comes from behind Akamai is that page too", Evidence{
		Edge: looks(look(answer("old", age(30)))), Uncached: new(look(answer("old", age(0)))), Origin: looks(look(answer("new"))),
	}, Stale, []Kind{CacheBehind}},
	{"another page, under a cache key that is not the address", Evidence{
		Edge: looks(look(answer("old", xcache(yes), key("/L/1/2/1h/www.acme.com/Prices/")))), Origin: looks(look(answer("new"))),
	}, Stale, []Kind{WrongKey}},
	{"another page, but the right one without the query", Evidence{
		Edge: looks(look(at(answer("old"), page+"?a=b"))), Spellings: looks(look(answer("new"))), Origin: looks(look(answer("new"))),
	}, Stale, []Kind{WrongKey}},
	{"another page, older than the purge", Evidence{
		Purge: &Purge{Ago: time.Minute}, Edge: looks(look(answer("old", age(3600), dated(monday)))), Origin: looks(look(answer("new", dated(sunday)))),
	}, Stale, []Kind{NotModified, NotPurged}},
	{"another page, from after the purge", Evidence{
		Purge: &Purge{Ago: time.Minute}, Edge: looks(look(answer("old", age(40), dated(monday)))), Origin: looks(look(answer("new", dated(sunday)))),
	}, Stale, []Kind{NotModified}},
	{"another page, which doesn't carry the tag that was purged", Evidence{
		Purge: &Purge{Tags: []string{"news"}}, Edge: looks(look(answer("old", xcache(yes)))), Origin: looks(look(answer("new", tagged("shop")))),
	}, Stale, []Kind{NotTagged}},
	{"the compressed copy is another one", Evidence{Edge: looks(look(answer("old")), plain(answer("new"))), Origin: looks(look(answer("new")))}, Stale, []Kind{VariantStale, NotPurged}},
	{"one server of two has another page", Evidence{Edge: looks(look(answer("new")), look(answer("old", from("192.0.2.2")))), Origin: looks(look(answer("new")))}, Stale, []Kind{OneOfSeveral, NotPurged}},
	{"the same redirect, another target", Evidence{
		Edge: looks(look(redirect(page+"new/"), at(answer("old", xcache(yes)), page+"new/"))), Origin: looks(look(redirect(page+"new/"), answer("new"))),
	}, Stale, []Kind{RedirectTarget, NotPurged}},
	{"another redirect", Evidence{Edge: looks(look(redirect(page + "old/"))), Origin: looks(look(redirect(page + "new/")))}, Stale, []Kind{NotPurged}},
	{"the page that the origin has removed", Evidence{Edge: looks(look(answer("old", xcache(yes)))), Origin: looks(look(says(404)))}, Stale, []Kind{NotPurged}},
	{"404 from the cache, the origin has the page", Evidence{Edge: looks(look(says(404, xcache(negative)))), Origin: looks(look(answer("new")))}, Stale, []Kind{ErrorCached}},
	{"404, and no origin, of a page that should contain something", Evidence{Contains: "new", Edge: looks(look(answer("new")), look(says(404)))}, Stale, []Kind{NotPurged}},
	{"the same page at both, without what it should contain", Evidence{Contains: "new", Edge: looks(look(answer("old"))), Origin: looks(look(answer("old")))}, Stale, []Kind{OriginLags}},
	{"the same, and the copy is older than the purge", Evidence{
		Contains: "new", Purge: &Purge{Ago: time.Minute}, Edge: looks(look(answer("old", age(3600)))), Origin: looks(look(answer("old"))),
	}, Stale, []Kind{OriginLags, NotPurged}},
	{"the origin is away, and the page lacks what it should contain", Evidence{Contains: "new", Edge: looks(look(answer("old", xcache(yes)))), Origin: looks(look(says(503)))}, Stale, []Kind{NotPurged, OriginSick}},
	{"Akamai changes pages, and has the old one", Evidence{
		Edge:     looks(look(answer("old rewritten", etag(`"4"`), age(60)))),
		Uncached: new(look(answer("new rewritten", etag(`"5"`), age(0)))), Origin: looks(look(answer("new", etag(`"5"`)))),
	}, Stale, []Kind{NotPurged, Rewritten}},

	{"nothing to compare with", Evidence{Edge: looks(look(answer("old", xcache(miss))))}, Unknown, []Kind{NotCompared}},
	{"no origin, the page is the one from before the purge", Evidence{Before: new(answer("old")), Edge: looks(look(answer("old")))}, Unknown, []Kind{Unchanged}},
	{"the same page at both, and before the purge", Evidence{Before: new(answer("old")), Edge: looks(look(answer("old"))), Origin: looks(look(answer("old")))}, Unknown, []Kind{OriginLags}},
	{"the same page at both after a deploy, and nobody looked before", Evidence{
		Deployed: true, Edge: looks(look(answer("old"))), Origin: looks(look(answer("old"))),
	}, Unknown, []Kind{Unconfirmed}},
	{"the origin is away", Evidence{Edge: looks(look(answer("old"))), Origin: looks(look(says(502)))}, Unknown, []Kind{OriginSick}},
	{"the origin doesn't answer", Evidence{Edge: looks(look(answer("old"))), Origin: looks(look(fault("connection refused")))}, Unknown, []Kind{OriginSick}},
	{"the origin wants a password", Evidence{Edge: looks(look(answer("old"))), Origin: looks(look(says(401)))}, Unknown, []Kind{OriginRefuses}},
	{"the origin's answers all differ", Evidence{Edge: looks(look(answer("c"))), Origin: looks(look(answer("a")), look(answer("b")))}, Unknown, []Kind{Dynamic}},
	{"the origin has two pages, each twice", Evidence{
		Edge: looks(look(answer("a"))), Origin: looks(look(answer("a")), look(answer("b")), look(answer("a")), look(answer("b"))),
	}, Unknown, []Kind{OriginUneven}},
	{"the origin has two pages; Akamai's lacks what it should contain", Evidence{
		Contains: "new", Edge: looks(look(answer("old", xcache(yes)))), Origin: looks(look(answer("old")), look(answer("new"))),
	}, Stale, []Kind{OriginUneven, NotPurged}},
	{"another page; what comes from behind Akamai is that page too, with the origin's ETag", Evidence{
		Edge:     looks(look(answer("new rewritten", etag(`W/"5"`), age(60)))),
		Uncached: new(look(answer("new rewritten", etag(`W/"5"`), age(0)))), Origin: looks(look(answer("new", etag(`"5"`)))),
	}, Unknown, []Kind{Rewritten}},
	{"the same, and it contains what it should", Evidence{
		Contains: "new", Edge: looks(look(answer("new rewritten", etag(`W/"5"`), age(60)))),
		Uncached: new(look(answer("new rewritten", etag(`W/"5"`), age(0)))), Origin: looks(look(answer("new", etag(`"5"`)))),
	}, Fresh, []Kind{Rewritten}},
	{"a long file, the same as far as it was read, without an ETag", Evidence{Edge: looks(look(answer("new", cut))), Origin: looks(look(answer("new", cut)))}, Unknown, []Kind{TooLong}},
	{"the same, looked at again and again", Evidence{
		Edge: looks(look(answer("new", cut)), look(answer("new", cut))), Origin: looks(look(answer("new", cut)), look(answer("new", cut)), look(answer("new", cut))),
	}, Unknown, []Kind{TooLong}},
	{"the same page, from an origin behind a cache of its own", Evidence{Edge: looks(look(answer("new"))), Origin: looks(look(answer("new", via("1.1 varnish"))))}, Fresh, []Kind{OriginCached}},
	{"the same page; asked with --pragma, Akamai says nothing", Evidence{Pragma: true, Edge: looks(look(answer("new"))), Origin: looks(look(answer("new")))}, Fresh, []Kind{PragmaOff}},

	{"an error from Akamai", Evidence{Edge: looks(look(says(503, xcache(miss)))), Origin: looks(look(answer("new")))}, Broken, []Kind{EdgeError}},
	{"an error from Akamai's cache", Evidence{Edge: looks(look(says(500, xcache(negative)))), Origin: looks(look(answer("new")))}, Broken, []Kind{ErrorCached}},
	{"an error at both", Evidence{Edge: looks(look(says(502))), Origin: looks(look(says(502)))}, Broken, []Kind{EdgeError, OriginSick}},
	{"Akamai doesn't answer", Evidence{Edge: looks(look(fault("no such host"))), Origin: looks(look(answer("new")))}, Broken, []Kind{EdgeUnreachable}},
	{"Akamai refuses", Evidence{Edge: looks(look(says(403))), Origin: looks(look(answer("new")))}, Broken, []Kind{EdgeRefuses}},
	{"redirects without an end", Evidence{Edge: looks(look(redirect(page), fault(CutFault+": after 3")))}, Broken, []Kind{RedirectLost}},
	{"one server is fresh, one has an error", Evidence{Edge: looks(look(answer("new")), look(says(500, from("192.0.2.2")))), Origin: looks(look(answer("new")))}, Broken, []Kind{EdgeError}},
	{"one server has an error, one is old: readers of the old one matter more", Evidence{Edge: looks(look(answer("old")), look(says(500, from("192.0.2.2")))), Origin: looks(look(answer("new")))}, Stale, []Kind{EdgeError, NotPurged}},
}

func TestJudge(t *testing.T) {
	t.Parallel()
	named := map[Kind]bool{}
	for _, row := range table {
		t.Run(row.seen, func(t *testing.T) {
			row.e.URL = page
			got := Judge(row.e)
			var kinds []Kind
			for _, c := range got.Causes {
				kinds = append(kinds, c.Kind)
			}
			if got.Verdict != row.want || fmt.Sprint(kinds) != fmt.Sprint(row.why) {
				t.Errorf("%s %v, want %s %v", got.Verdict, kinds, row.want, row.why)
			}
		})
		for _, k := range row.why {
			named[k] = true
		}
	}
	for _, k := range Kinds() {
		if !named[k] {
			t.Errorf("no row has cause %q", k)
		}
	}
}

// The page for people has the same table.
func TestTableIsDocumented(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/checking.md", "<!-- table -->\n", "<!-- /table -->"
	var b strings.Builder
	b.WriteString("| what is seen | verdict | cause |\n| --- | --- | --- |\n")
	for _, row := range table {
		row.e.URL = page
		got := Judge(row.e)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.seen, got.Verdict, got.Cause())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	want := before + begin + b.String() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s is not what Judge says; go test ./verify -update", file)
	}
}
