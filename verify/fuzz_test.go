package verify

import "testing"

// A page that differs from the origin's is never called fresh, whatever the server says
// of itself. Nothing that a server says makes the judge fail.
func FuzzJudge(f *testing.F) {
	f.Add(yes, "", "", "", "/L/1/2/1h/www.acme.com/", 0, "", 200, 200)
	f.Add(miss, yes, "Miss from child, Hit from parent", `"1"`, "S/L/1/2/1h/www.acme.com/a?b=c", 60, monday, 200, 404)
	f.Add(kept, kept, "RefreshHit from child, ,from parent", `W/"1"`, "/S/", -1, "not a date", 301, 200)
	f.Add(failed, "", "from", "", "////////", 1, sunday, 503, 503)
	f.Fuzz(func(t *testing.T, x, r, s, tag, k string, seconds int, modified string, edge, origin int) {
		say := func(a *Answer) {
			a.XCache, a.XCacheRemote, a.CacheStatus, a.ETag, a.CacheKey, a.LastModified, a.Status = x, r, s, tag, k, modified, edge
			if seconds >= 0 {
				a.Age = &seconds
			}
		}
		a, b := answer("one", say), answer("two", say)
		b.Status = origin
		e := Evidence{
			URL: page, Pragma: true, Purge: &Purge{Tags: []string{k}}, Edge: looks(look(a), plain(a)), Origin: looks(look(b)),
			Uncached: new(look(a)), Spellings: looks(look(b)),
		}
		got := Judge(e)
		switch {
		case got.Cause() == "":
			t.Error("no cause")
		case got.Verdict == Fresh && edge < 300:
			t.Errorf("called fresh: %s", got.Cause())
		}
	})
}
