package web

import (
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// A page looks at a bounded number of purges, selected or not. All pages together have
// each selected purge once.
func TestAPIFailedIsPaged(t *testing.T) {
	s := serveAPI(t, apiSecret)
	const all = pageFailed + 3
	want := map[string]bool{}
	for range all {
		want[s.planned(false, "https://www.evil.com/", "https://www.acme.com/").ID] = true
	}
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for name, test := range map[string]struct {
		query url.Values
		want  int
	}{
		"all":                       {url.Values{}, all},
		"a reason":                  {url.Values{"reason": {"REFUSED before"}}, all},
		"another reason":            {url.Values{"reason": {"refused  before"}}, 0},
		"a repository":              {url.Values{"repo": {"ACME/Site"}}, all},
		"a glob":                    {url.Values{"repo": {"acme/s*"}}, all},
		"a glob over owners":        {url.Values{"repo": {"**"}}, all},
		"another repository":        {url.Values{"repo": {"acme/sit"}}, 0},
		"a glob that stops at a /":  {url.Values{"repo": {"*/x"}}, 0},
		"nothing of these is later": {url.Values{"since": {"2999-01-01T00:00:00Z"}}, all}, // they are open
	} {
		got, pages := map[string]bool{}, 0
		query := url.Values{"since": {since}}
		maps.Copy(query, test.query)
		for next := "01"; next != ""; pages++ {
			query.Set("from", next)
			var page Failed
			s.asked(http.StatusOK, "GET", "/api/failed?"+query.Encode(), "", &page)
			for _, p := range page.Purges {
				if got[p.Purge.ID] || !want[p.Purge.ID] || p.Objects != 1 || len(p.Reasons) != 1 || p.Reasons[0] != (Reason{"refused before", 1}) {
					t.Fatalf("%s: %+v", name, p)
				}
				got[p.Purge.ID] = true
			}
			next = page.Next
		}
		if len(got) != test.want || pages != 2 {
			t.Errorf("%s: %d purges on %d pages, want %d on 2", name, len(got), pages, test.want)
		}
	}
	var said Problem
	for _, query := range []string{"", "?since=2h", "?since=" + since + "&repo=" + url.QueryEscape("acme/[")} {
		s.asked(http.StatusBadRequest, "GET", "/api/failed"+query, "", &said)
	}
}
