package akamai_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

func TestV3Accepts(t *testing.T) {
	for _, tt := range []struct {
		name, target, body string
		want               akamai.Purge
		prefix             string
	}{
		{
			"URLs and an ARL", "/ccu/v3/invalidate/url/production",
			`{"objects":["https://foo1.example.com/some/path?x=1&y=2","HTTP://foo.example.com:8080/%C3%B6","/L/512/6848/1h/www.example1.com/"]}`,
			akamai.Purge{Kind: "url", Action: "invalidate", Network: "production", Objects: []string{
				"https://foo1.example.com/some/path?x=1&y=2", "HTTP://foo.example.com:8080/%C3%B6", "/L/512/6848/1h/www.example1.com/",
			}},
			"eiup-",
		},
		{
			"hostname and paths", "/ccu/v3/delete/url/staging", `{"hostname":"origin.qux.com","objects":["/some/path"]}`,
			akamai.Purge{Kind: "url", Action: "delete", Network: "staging", Objects: []string{"https://origin.qux.com/some/path"}},
			"edup-",
		},
		{
			"no network", "/ccu/v3/delete/tag", `{"objects":["black-friday","Electronics","a&b/c"]}`,
			akamai.Purge{Kind: "tag", Action: "delete", Network: "production", Objects: []string{"black-friday", "Electronics", "a&b/c"}},
			"edtp-",
		},
		{
			"CP codes, also as strings", "/ccu/v3/delete/cpcode/production", `{"objects":[12345,"98765"]}`,
			akamai.Purge{Kind: "cpcode", Action: "delete", Network: "production", Objects: []string{"12345", "98765"}},
			"edcp-",
		},
		{
			"a tag too long is not purged", "/ccu/v3/invalidate/tag/production", `{"objects":["ok","` + strings.Repeat("x", 129) + `"]}`,
			akamai.Purge{
				Kind: "tag", Action: "invalidate", Network: "production",
				Objects: []string{"ok", strings.Repeat("x", 129)}, Ineffective: []string{strings.Repeat("x", 129)},
			},
			"eitp-",
		},
		{
			"a tag of 128 is", "/ccu/v3/invalidate/tag/production", `{"objects":["` + strings.Repeat("x", 128) + `"]}`,
			akamai.Purge{Kind: "tag", Action: "invalidate", Network: "production", Objects: []string{strings.Repeat("x", 128)}},
			"eitp-",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			reply := api.post(t, tt.target, tt.body)
			if reply.status != 201 {
				t.Fatalf("status %d: %s", reply.status, reply.body)
			}
			id, _ := reply.fields["purgeId"].(string)
			want := map[string]any{
				"httpStatus": 201.0, "detail": "Request accepted", "estimatedSeconds": 5.0, "purgeId": id, "supportId": id,
			}
			if diff := cmp.Diff(want, reply.fields); diff != "" || !strings.HasPrefix(id, tt.prefix) {
				t.Errorf("id %q, body (-want +got):\n%s", id, diff)
			}
			tt.want.API, tt.want.At, tt.want.PurgeID, tt.want.Takes = "v3", api.clock.now(), id, 5*time.Second
			if diff := cmp.Diff([]akamai.Purge{tt.want}, api.Accepted()); diff != "" {
				t.Errorf("accepted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestV3Refuses(t *testing.T) {
	const url = "/ccu/v3/invalidate/url/production"
	for _, tt := range []struct {
		name, method, target, body string
		header                     http.Header
		status                     int
		title, detail              string // detail: a part of it
	}{
		{name: "GET", method: "GET", target: url, status: 405, title: "method not allowed"},
		{name: "no content type", header: http.Header{"Content-Type": nil}, status: 415},
		{name: "form", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, status: 415},
		{name: "over 50,000 bytes", body: `{"objects":["https://a.example.com/` + strings.Repeat("x", 50_000-37) + `"]}`, status: 413},
		{name: "over what is hashed", body: `{"objects":["https://a.example.com/` + strings.Repeat("x", 200_000) + `"]}`, status: 413},
		{name: "no JSON", body: `objects`, status: 400, title: "bad request"},
		{name: "cut off", body: `{"objects":["https://a.example.com/"`, status: 400, title: "bad request"},
		{name: "two values", body: `{"objects":["https://a.example.com/"]}{}`, status: 400, title: "bad request"},
		{name: "a list", body: `["https://a.example.com/"]`, status: 400, title: "bad request"},
		{name: "null", body: `null`, status: 400, title: "bad request"},
		{name: "nothing", body: ``, status: 400, title: "bad request"},
		{name: "no objects", body: `{}`, status: 400, detail: "'objects' attribute cannot be missing or empty"},
		{name: "empty objects", body: `{"objects":[]}`, status: 400, detail: "'objects' attribute cannot be missing or empty"},
		{name: "null objects", body: `{"objects":null}`, status: 400, detail: "'objects' attribute cannot be missing or empty"},
		{
			name: "objects of another type", body: `{"objects":{"0":"https://a.example.com/"}}`, status: 400,
			title: "invalid attribute value", detail: "'objects' attribute has expected type:[]string, received:object",
		},
		{name: "numbers as URLs", body: `{"objects":[7]}`, status: 400, title: "invalid attribute value"},
		{name: "unknown field", body: `{"objects":["https://a.example.com/"],"action":"delete"}`, status: 400, title: "invalid attribute", detail: "'action'"},
		{name: "null URL", body: `{"objects":[null]}`, status: 400, title: "bad URL"},
		{
			name: "non-ASCII", body: `{"objects":["https://a.example.com/devóps.jsp"]}`, status: 400, title: "bad URL",
			detail: "Invalid or malformed URL 'https://a.example.com/devóps.jsp': contains non-ASCII character 'ó'",
		},
		{name: "non-ASCII escaped", body: `{"objects":["https://a.example.com/dev\u00f3ps"]}`, status: 400, title: "bad URL", detail: "non-ASCII"},
		{name: "space", body: `{"objects":["https://a.example.com/a b"]}`, status: 400, title: "bad URL"},
		{name: "newline", body: `{"objects":["https://a.example.com/a\n"]}`, status: 400, title: "bad URL"},
		{name: "wildcard", body: `{"objects":["https://a.example.com/*"]}`, status: 400, title: "bad URL", detail: "wildcard"},
		{name: "no scheme", body: `{"objects":["a.example.com/"]}`, status: 400, title: "bad URL"},
		{name: "ftp", body: `{"objects":["ftp://a.example.com/"]}`, status: 400, title: "bad URL"},
		{name: "a path alone", body: `{"objects":["/a/b/c/d/e/f/g"]}`, status: 400, title: "bad URL"},
		{name: "no host", body: `{"objects":["https:///a"]}`, status: 400, title: "bad URL hostname", detail: "Invalid or malformed hostname ''"},
		{name: "host with a dash", body: `{"objects":["https://-a.example.com/a"]}`, status: 400, title: "bad URL hostname"},
		{name: "host with two dots", body: `{"objects":["https://a..com/a"]}`, status: 400, title: "bad URL hostname"},
		{name: "user in the host", body: `{"objects":["https://u@a.example.com/a"]}`, status: 400, title: "bad URL hostname"},
		{name: "bad hostname", body: `{"hostname":"a b","objects":["/a"]}`, status: 400, title: "bad URL hostname"},
		{name: "hostname of tags", target: "/ccu/v3/invalidate/tag", body: `{"hostname":"a.example.com","objects":["a"]}`, status: 400, title: "invalid attribute"},
		{name: "tag with a comma", target: "/ccu/v3/invalidate/tag", body: `{"objects":["a,b"]}`, status: 400, title: "bad cache tag", detail: `','`},
		{name: "tag with a space", target: "/ccu/v3/invalidate/tag", body: `{"objects":["a b"]}`, status: 400, title: "bad cache tag"},
		{name: "tag in Greek", target: "/ccu/v3/invalidate/tag", body: `{"objects":["αβ"]}`, status: 400, title: "bad cache tag"},
		{name: "empty tag", target: "/ccu/v3/invalidate/tag", body: `{"objects":[""]}`, status: 400, title: "bad cache tag"},
		{name: "CP code of words", target: "/ccu/v3/invalidate/cpcode", body: `{"objects":["all"]}`, status: 400, title: "invalid attribute value"},
		{name: "CP code with a fraction", target: "/ccu/v3/invalidate/cpcode", body: `{"objects":[1.5]}`, status: 400, title: "invalid attribute value"},
		{name: "negative CP code", target: "/ccu/v3/invalidate/cpcode", body: `{"objects":[-1]}`, status: 400, title: "invalid attribute value"},
		{name: "CP code 0", target: "/ccu/v3/invalidate/cpcode", body: `{"objects":[0]}`, status: 400, title: "invalid attribute value"},
		{name: "trailing slash", target: "/ccu/v3/invalidate/url/", status: 404},
		{name: "unknown network", target: "/ccu/v3/invalidate/url/test", status: 404},
		{name: "unknown kind", target: "/ccu/v3/invalidate/arl/production", status: 404},
		{name: "unknown action", target: "/ccu/v3/remove/url/production", status: 404},
		{name: "a status of v3", method: "GET", target: "/ccu/v3/purges/1", status: 404},
		{name: "network of a rate limit status", target: "/ccu/v3/rate-limit-status/url/staging", status: 404},
		{name: "elsewhere", target: "/ccu", status: 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			if tt.target == "" {
				tt.target = url
			}
			if tt.method == "" {
				tt.method = "POST"
			}
			reply, err := api.send(t.Context(), api.signing(tt.method, tt.target, []byte(tt.body)), tt.header)
			if err != nil {
				t.Fatal(err)
			}
			if reply.status != tt.status || !strings.Contains(reply.detail(), tt.detail) || (tt.title != "" && reply.title() != tt.title) {
				t.Errorf("status %d, title %q, detail %q; want %d, %q, %q", reply.status, reply.title(), reply.detail(), tt.status, tt.title, tt.detail)
			}
			if tt.status != 404 && (reply.fields["httpStatus"] != float64(tt.status) || reply.fields["supportId"] == nil || reply.fields["status"] != nil) {
				t.Errorf("not the purge service's shape: %s", reply.body)
			}
			if len(api.Accepted()) > 0 {
				t.Error("a refused request was accepted")
			}
			if got := api.Requests(); len(got) != 1 || got[0].Status != tt.status || got[0].Refusal == "" {
				t.Errorf("requests %+v", got)
			}
		})
	}
}

func TestBodyOfExactly50000Bytes(t *testing.T) {
	api := serve(t, akamai.Config{})
	body := `{"objects":["https://a.example.com/` + strings.Repeat("x", 50_000-38) + `"]}`
	if len(body) != 50_000 {
		t.Fatalf("body of %d bytes", len(body))
	}
	if reply := api.post(t, "/ccu/v3/invalidate/url", body); reply.status != 201 {
		t.Errorf("status %d: %s", reply.status, reply.body)
	}
	if got := api.Requests()[0].Size; got != 50_000 {
		t.Errorf("size %d", got)
	}
}

// One object without a grant makes the whole request fail. The answer names the first
// such object.
func TestGrants(t *testing.T) {
	cfg := akamai.Config{Hosts: []string{"www.example.com", "*.Example.net"}, CPCodes: []int{12345}}
	for _, tt := range []struct {
		name, kind, objects, title, detail string // no title: accepted
	}{
		{"granted host", "url", `["https://WWW.example.com:443/a","/S/L/512/6848/1h/a.b.example.net/x"]`, "", ""},
		{"below the glob", "url", `["https://a.b.example.net/"]`, "", ""},
		{"the glob's own name", "url", `["https://www.example.com/","https://example.net/1","https://example.net/2"]`, "unauthorized arl", "https://example.net/1"},
		{"a name that ends alike", "url", `["https://badexample.net/"]`, "unauthorized arl", "https://badexample.net/"},
		{"an ARL's host", "url", `["/L/512/6848/1h/other.com/"]`, "unauthorized arl", "/L/512/6848/1h/other.com/"},
		{"the host in the query", "url", `["https://other.com?www.example.com/"]`, "unauthorized arl", "https://other.com?www.example.com/"},
		{"granted CP code", "cpcode", `[12345]`, "", ""},
		{"another CP code", "cpcode", `["12345",67890]`, "unauthorized cpcode", "67890"},
		{"tags know no bounds", "tag", `["anything"]`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, cfg)
			reply := api.post(t, "/ccu/v3/invalidate/"+tt.kind, `{"objects":`+tt.objects+`}`)
			if tt.title == "" {
				if reply.status != 201 {
					t.Errorf("status %d: %s", reply.status, reply.body)
				}
				return
			}
			if reply.status != 403 || reply.title() != tt.title || reply.detail() != tt.detail {
				t.Errorf("status %d: %s", reply.status, reply.body)
			}
			if len(api.Accepted()) > 0 {
				t.Error("some of a refused request was accepted")
			}
		})
	}
	t.Run("none at all", func(t *testing.T) {
		api := serve(t, akamai.Config{Hosts: []string{}, CPCodes: []int{}})
		for _, kind := range []string{"url", "cpcode"} {
			if reply := api.post(t, "/ccu/v3/delete/"+kind, map[string]string{"url": urlsBody(1), "cpcode": numbersBody(1)}[kind]); reply.status != 403 {
				t.Errorf("%s: status %d", kind, reply.status)
			}
		}
	})
}

func TestRefuse(t *testing.T) {
	api := serve(t, akamai.Config{})
	const one, two = "https://a.example.com/1", "https://a.example.com/2"
	api.Refuse(two, 0, "")
	api.Refuse("sale", 400, "bad tag")
	if reply := api.post(t, "/ccu/v3/delete/url", urlsBody(3)); reply.status != 403 || reply.title() != "unauthorized arl" || reply.detail() != two {
		t.Errorf("refused URL: %s", reply.body)
	}
	api.Refuse(one, 0, "")
	if reply := api.post(t, "/ccu/v3/delete/url", urlsBody(3)); reply.detail() != one {
		t.Errorf("not the first: %s", reply.body)
	}
	if reply := api.post(t, "/ccu/v3/delete/tag", `{"objects":["sale"]}`); reply.status != 400 || reply.title() != "bad tag" || reply.detail() != "sale" {
		t.Errorf("refused tag: %s", reply.body)
	}
	api.Allow(one)
	api.Allow(two)
	if reply := api.post(t, "/ccu/v3/delete/url", urlsBody(3)); reply.status != 201 {
		t.Errorf("allowed again: %s", reply.body)
	}
}

func TestEstimate(t *testing.T) {
	api := serve(t, akamai.Config{Estimate: 2 * time.Second})
	if reply := api.post(t, "/ccu/v3/delete/url", urlsBody(1)); reply.fields["estimatedSeconds"] != 2.0 {
		t.Errorf("%s", reply.body)
	}
}
