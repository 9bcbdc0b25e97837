package purger

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func answer(h http.Header, status int, body string, objects ...string) Answer {
	return classify(Request{Kind: URL, Objects: objects}, status, h, []byte(body))
}

// TestClassify has every form of reply that Akamai documents or was seen to send, and
// those that gateways and proxies may send.
func TestClassify(t *testing.T) {
	const (
		page = "https://www.acme.com/page"
		html = "<!DOCTYPE html><html><head><title>Service &amp; more</title><style>p{color:red}</style></head>\n<body><p>Try\tagain</p><script>x()</script></body></html>"
	)
	tests := map[string]struct {
		status  int
		header  http.Header
		body    string
		objects []string
		want    Answer
	}{
		"accepted": {
			status: 201,
			body:   `{"httpStatus":201,"detail":"Request accepted","estimatedSeconds":7,"purgeId":"edup-NZbX","supportId":"17PY-1"}`,
			want:   Answer{Verdict: Accepted, PurgeID: "edup-NZbX", SupportID: "17PY-1", Estimated: 7 * time.Second, Detail: "Request accepted"},
		},
		"accepted, optional fields missing": {
			status: 201, body: `{"httpStatus":201,"detail":"Request accepted","supportId":"17PY-1"}`,
			want: Answer{Verdict: Accepted, SupportID: "17PY-1", Estimated: DefaultEstimate, Detail: "Request accepted"},
		},
		"accepted, cut short": {
			status: 201, body: `{"httpStatus":201,"purgeId":"edup-1","supportId":"17P`,
			want: Answer{Verdict: Accepted, PurgeID: "edup-1", Estimated: DefaultEstimate},
		},
		"accepted, empty body": {
			status: 201, want: Answer{Verdict: Accepted, Estimated: DefaultEstimate},
		},
		"accepted, a page for a body": {
			status: 201, header: http.Header{"Content-Type": {"text/html"}}, body: html,
			want: Answer{Verdict: Accepted, Estimated: DefaultEstimate, Detail: "Service & more Try again"},
		},
		"accepted, numbers as strings": {
			status: 201, body: `{"httpStatus":"201","estimatedSeconds":"5.5","purgeId":17}`,
			want: Answer{Verdict: Accepted, PurgeID: "17", Estimated: 5500 * time.Millisecond},
		},
		"accepted, an absurd estimate": {
			status: 201, body: `{"httpStatus":201,"estimatedSeconds":-3}`,
			want: Answer{Verdict: Accepted, Estimated: DefaultEstimate},
		},
		"accepted by a proxy that changes the status": {
			status: 200, body: `{"httpStatus":201,"detail":"Request accepted","supportId":"s"}`,
			want: Answer{Verdict: Accepted, SupportID: "s", Estimated: DefaultEstimate, Title: "200 OK", Detail: "Request accepted"},
		},
		"a portal's page with 200": {
			status: 200, header: http.Header{"Content-Type": {"text/html"}}, body: "<h1>Log in</h1>",
			want: Answer{Verdict: NotServed, Title: "200 OK", Detail: "Log in"},
		},
		"a redirect": {
			status: 302, header: http.Header{"Location": {"https://login"}},
			want: Answer{Verdict: NotServed, Title: "302 Found"},
		},

		"bad URL in quotes": {
			status:  400,
			body:    `{"supportId":"s","title":"bad URL","httpStatus":400,"detail":"Invalid or malformed URL '` + page + `': contains non-ASCII character 'ó' (U+00F3)","describedBy":"https://x"}`,
			objects: []string{"https://www.acme.com/", page, page + "2"},
			want: Answer{
				Verdict: Refused, Title: "bad URL", SupportID: "s", Offender: page,
				Detail: "Invalid or malformed URL '" + page + "': contains non-ASCII character 'ó' (U+00F3)",
			},
		},
		"bad URL in double quotes": {
			status: 400, body: `{"title":"bad URL","httpStatus":400,"detail":"Invalid URL \"` + page + `\""}`, objects: []string{page},
			want: Answer{Verdict: Refused, Title: "bad URL", Offender: page, Detail: `Invalid URL "` + page + `"`},
		},
		"a URL that was not sent": {
			status: 400, body: `{"title":"bad URL","httpStatus":400,"detail":"Invalid or malformed URL '` + page + `3'"}`, objects: []string{page},
			want: Answer{Verdict: Refused, Title: "bad URL", Detail: "Invalid or malformed URL '" + page + "3'"},
		},
		"two URLs in quotes": {
			status: 400, body: `{"title":"bad URL","httpStatus":400,"detail":"'/a' or '/b'"}`, objects: []string{"/a", "/b"},
			want: Answer{Verdict: Refused, Title: "bad URL", Detail: "'/a' or '/b'"},
		},
		"a URL without quotes among words": {
			status: 400, body: `{"title":"bad URL","httpStatus":400,"detail":"see ` + page + ` for more"}`, objects: []string{page},
			want: Answer{Verdict: Refused, Title: "bad URL", Detail: "see " + page + " for more"},
		},
		"bad hostname": {
			status: 400, body: `{"title":"bad URL hostname","httpStatus":400,"detail":"Invalid or malformed hostname 'a_.com-'"}`,
			objects: []string{"https://b.com/", "http://A_.com-/x", "https://a_.com-/y"},
			want:    Answer{Verdict: Refused, Title: "bad URL hostname", Detail: "Invalid or malformed hostname 'a_.com-'", Offender: "http://A_.com-/x"},
		},
		"wrong type of objects": {
			status: 400, body: `{"title":"invalid attribute value","httpStatus":400,"detail":"'objects' attribute has expected type:[]string, received:object"}`,
			objects: []string{page},
			want:    Answer{Verdict: Refused, Title: "invalid attribute value", Detail: "'objects' attribute has expected type:[]string, received:object"},
		},
		"400 of too much traffic, a page": {
			status: 400, header: http.Header{"Content-Type": {"text/html"}}, body: "<html><body><h1>Bad Request</h1></body></html>",
			want: Answer{Verdict: Refused, Title: "400 Bad Request", Detail: "Bad Request"},
		},
		"400, empty": {status: 400, want: Answer{Verdict: Refused, Title: "400 Bad Request"}},
		"clock": {
			status: 400, header: http.Header{"Date": {"Sun, 22 Nov 2026 04:00:00 GMT"}},
			body: `{"type":"https://problems.luna.akamaiapis.net/-/pep-authn/request-error","title":"Bad request","status":400,"detail":"Invalid timestamp","instance":"https://x","method":"POST","serverIp":"1.2.3.4","clientIp":"5.6.7.8","requestId":"2ab418","requestTime":"2026-11-22T04:00:00Z"}`,
			want: Answer{Verdict: ClockSkew, Title: "Bad request", Detail: "Invalid timestamp", SupportID: "2ab418", ServerTime: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)},
		},
		"a URL about clocks": {
			status: 403, body: `{"title":"unauthorized arl","httpStatus":403,"detail":"https://a/Invalid timestamp"}`, objects: []string{"https://a/Invalid timestamp"},
			want: Answer{Verdict: Refused, Title: "unauthorized arl", Detail: "https://a/Invalid timestamp", Offender: "https://a/Invalid timestamp"},
		},
		"client token": {
			status: 400, body: `{"type":"https://x/-/pep-authn/request-error","title":"Bad request","status":400,"detail":"Invalid client token"}`,
			want: Answer{Verdict: BadCredentials, Title: "Bad request", Detail: "Invalid client token"},
		},
		"nonce": {
			status: 400, body: `{"type":"https://x/-/pep-authn/request-error","title":"Bad request","status":400,"detail":"Invalid nonce"}`,
			want: Answer{Verdict: Unavailable, Title: "Bad request", Detail: "Invalid nonce"},
		},
		"endpoint": {
			status: 400, body: `{"title":"Invalid endpoint","status":400}`,
			want: Answer{Verdict: NoGrant, Title: "Invalid endpoint"},
		},
		"401 of the gateway": {
			status: 401, body: `{"type":"https://x/-/pep-authn/deny","title":"Not authorized","status":401,"detail":"The signature does not match"}`,
			want: Answer{Verdict: BadCredentials, Title: "Not authorized", Detail: "The signature does not match"},
		},
		"401, a page": {
			status: 401, header: http.Header{"Content-Type": {"text/html;charset=utf-8"}}, body: "<html><h1>401 Unauthorized</h1></html>",
			want: Answer{Verdict: BadCredentials, Title: "401 Unauthorized", Detail: "401 Unauthorized"},
		},

		"unauthorized ARL": {
			status: 403, header: http.Header{"Content-Type": {"application/problem+json"}},
			body:    `{"supportId":"17PY","title":"unauthorized arl","httpStatus":403,"detail":"` + page + `","describedBy":"x"}`,
			objects: []string{page + "2", page},
			want:    Answer{Verdict: Refused, Title: "unauthorized arl", Detail: page, SupportID: "17PY", Offender: page},
		},
		"unauthorized CP code": {
			status: 403, body: `{"title":"unauthorized cpcode","httpStatus":403,"detail":"12345"}`, objects: []string{"123", "12345"},
			want: Answer{Verdict: Refused, Title: "unauthorized cpcode", Detail: "12345", Offender: "12345"},
		},
		"unauthorized CP code, a number": {
			status: 403, body: `{"title":"unauthorized cpcode","httpStatus":403,"detail":12345}`, objects: []string{"12345"},
			want: Answer{Verdict: Refused, Title: "unauthorized cpcode", Detail: "12345", Offender: "12345"},
		},
		"no grant": {
			status: 403, body: `{"type":"https://x/-/pep-authz/deny","title":"Forbidden","status":403,"detail":"The client does not have the grant needed for the request"}`,
			want: Answer{Verdict: NoGrant, Title: "Forbidden", Detail: "The client does not have the grant needed for the request"},
		},
		"403 of the gateway, of another type": {
			status: 403, body: `{"type":"https://x/forbidden","title":"Forbidden","status":403,"detail":"https://www.acme.com/page/"}`, objects: []string{"https://www.acme.com/page/"},
			want: Answer{Verdict: NoGrant, Title: "Forbidden", Detail: "https://www.acme.com/page/"},
		},
		"403 of CCU, nothing named": {
			status: 403, body: `{"title":"forbidden","httpStatus":403,"detail":""}`, objects: []string{page},
			want: Answer{Verdict: Refused, Title: "forbidden"},
		},
		"403, a firewall's page": {
			status: 403, body: "<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>\nReference&#32;&#35;18</BODY></HTML>",
			want: Answer{Verdict: Refused, Title: "403 Forbidden", Detail: "Access Denied Reference #18"},
		},

		"404": {status: 404, body: `{"type":"https://x","title":"Not Found","status":404}`, want: Answer{Verdict: NotServed, Title: "Not Found"}},
		"405": {status: 405, want: Answer{Verdict: NotServed, Title: "405 Method Not Allowed"}},
		"407": {status: 407, want: Answer{Verdict: NotServed, Title: "407 Proxy Authentication Required"}},
		"408": {status: 408, want: Answer{Verdict: Unavailable, Title: "408 Request Timeout"}},
		"413": {
			status: 413, body: `{"title":"request entity too large","httpStatus":413}`,
			want: Answer{Verdict: TooLarge, Title: "request entity too large"},
		},
		"415": {status: 415, want: Answer{Verdict: NotServed, Title: "415 Unsupported Media Type"}},
		"422": {status: 422, body: "no", want: Answer{Verdict: Refused, Title: "422 Unprocessable Entity", Detail: "no"}},

		"429 of the objects": {
			status: 429,
			header: http.Header{
				"X-Ratelimit-Limit": {"100"}, "X-Ratelimit-Remaining": {"99"}, "X-Ratelimit-Limit-Per-Second": {"50.00"},
				"X-Ratelimit-Limit-Objects": {"10000"}, "X-Ratelimit-Remaining-Objects": {"17.25"}, "X-Ratelimit-Limit-Per-Second-Objects": {"200.00"},
			},
			body: `{"supportId":"s","title":"URL Rate Limit exceeded","httpStatus":429,"rateLimit":10000,"rateLimitCurrentRequestSize":600,"rateLimitRemaining":17}`,
			want: Answer{
				Verdict: Limited, Title: "URL Rate Limit exceeded", SupportID: "s",
				Limits: Limits{
					Requests: Level{Limit: new(100.0), Remaining: new(99.0), PerSecond: new(50.0)},
					Objects:  Level{Limit: new(10_000.0), Remaining: new(17.0), PerSecond: new(200.0)},
				},
			},
		},
		"429 of the requests, no headers": {
			status: 429, body: `{"title":"Rate Limit exceeded","httpStatus":429,"rateLimit":100,"rateLimitCurrentRequestSize":1,"rateLimitRemaining":0}`,
			want: Answer{Verdict: Limited, Title: "Rate Limit exceeded", Limits: Limits{Requests: Level{Limit: new(100.0), Remaining: new(0.0)}}},
		},
		"429 without a word": {status: 429, want: Answer{Verdict: Limited, Title: "429 Too Many Requests"}},
		"429 with Retry-After": {
			status: 429, header: http.Header{"Retry-After": {"5"}},
			want: Answer{Verdict: Limited, Title: "429 Too Many Requests", RetryAfter: 5 * time.Second},
		},
		"503 until a date": {
			status: 503, header: http.Header{"Date": {"Sun, 22 Nov 2026 04:00:00 GMT"}, "Retry-After": {"Sun, 22 Nov 2026 04:00:30 GMT"}},
			want: Answer{
				Verdict: Unavailable, Title: "503 Service Unavailable", RetryAfter: 30 * time.Second,
				ServerTime: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC),
			},
		},
		"headers that are no numbers": {
			status: 201, header: http.Header{"X-Ratelimit-Remaining": {"many"}, "X-Ratelimit-Limit": {"-1"}, "X-Ratelimit-Limit-Objects": {"NaN"}, "X-Ratelimit-Remaining-Objects": {"Inf"}},
			want: Answer{Verdict: Accepted, Estimated: DefaultEstimate},
		},
		"500": {
			status: 500, body: `{"title":"internal error","httpStatus":500,"detail":"If problem persists over multiple requests, please contact Customer Care"}`,
			want: Answer{Verdict: Unavailable, Title: "internal error", Detail: "If problem persists over multiple requests, please contact Customer Care"},
		},
		"502, a page":       {status: 502, body: html, want: Answer{Verdict: Unavailable, Title: "502 Bad Gateway", Detail: "Service & more Try again"}},
		"504, JSON array":   {status: 504, body: `["x"]`, want: Answer{Verdict: Unavailable, Title: "504 Gateway Timeout", Detail: `["x"]`}},
		"507":               {status: 507, body: `{"title":"Insufficient Storage","httpStatus":507}`, want: Answer{Verdict: Limited, Title: "Insufficient Storage"}},
		"a status of none":  {status: 599, want: Answer{Verdict: Unavailable, Title: "HTTP status 599"}},
		"words with tricks": {status: 400, body: `{"title":"a\u0000b\r\nc\u202e","detail":{"x": 1}}`, want: Answer{Verdict: Refused, Title: "a b c", Detail: `{"x": 1}`}},
		"a mark of order":   {status: 400, body: "\ufeff{\"title\":\"t\"}", want: Answer{Verdict: Refused, Title: "t"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.want.Status = test.status
			got := answer(test.header, test.status, test.body, test.objects...)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Answer{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClassifyBoundsWords(t *testing.T) {
	long := "https://www.acme.com/" + strings.Repeat("ü", 20_000)
	got := answer(nil, 403, `{"httpStatus":403,"title":"`+long+`","detail":"`+long+`"}`, long)
	if len(got.Title) > maxWords || len(got.Detail) > maxWords || !strings.HasSuffix(got.Detail, "ü…") {
		t.Errorf("title of %d bytes, detail of %d: %q", len(got.Title), len(got.Detail), got.Detail)
	}
	if got.Offender != long {
		t.Error("the offender was cut, or not found")
	}
}

// FuzzClassify: every reply, however strange, gives an answer that keeps its promises.
func FuzzClassify(f *testing.F) {
	f.Add(201, "application/json", `{"httpStatus":201,"purgeId":"e","estimatedSeconds":5}`, "x", "5")
	f.Add(400, "text/html", "<p>'x'<script", "x", "")
	f.Add(429, "", `{"rateLimitRemaining":1e308,"title":"URL Rate Limit exceeded"}`, "x", "Sun, 22 Nov 2026 04:00:00 GMT")
	f.Add(403, "application/problem+json", `{"status":403,"detail":"x"`, "x", "-1")
	f.Fuzz(func(t *testing.T, status int, media, body, object, number string) {
		header := http.Header{
			"Content-Type": {media}, "Retry-After": {number}, "Date": {number},
			"X-Ratelimit-Remaining": {number}, "X-Ratelimit-Limit-Objects": {number},
		}
		request := Request{Kind: URL, Objects: []string{"https://www.acme.com/", object}}
		got := classify(request, status, header, []byte(body))
		if got.Verdict == "" || got.Status != status || got.Err != nil {
			t.Errorf("no verdict: %+v", got)
		}
		if (status == 201) != (got.Verdict == Accepted) && (status < 200 || status > 299) {
			t.Errorf("%d is %s", status, got.Verdict)
		}
		if got.Offender != "" && (got.Verdict != Refused || !slices.Contains(request.Objects, got.Offender)) {
			t.Errorf("offender %q of %s", got.Offender, got.Verdict)
		}
		for _, words := range []string{got.Title, got.Detail, got.PurgeID, got.SupportID} {
			if len(words) > maxWords || !utf8.ValidString(words) || strings.ContainsFunc(words, unicode.IsControl) {
				t.Errorf("words %q", words)
			}
		}
		if got.RetryAfter < 0 || got.Estimated < 0 {
			t.Errorf("times %v, %v", got.RetryAfter, got.Estimated)
		}
		for _, l := range []Level{got.Limits.Requests, got.Limits.Objects} {
			for _, n := range []*float64{l.Limit, l.Remaining, l.PerSecond} {
				if n != nil && !(*n >= 0 && *n <= 1e9) {
					t.Errorf("figure %v", *n)
				}
			}
		}
	})
}

// The length that Akamai reports may not include what it accepted while it was asked.
func TestV2CountsWhatWasTakenMeanwhile(t *testing.T) {
	v := newV2(transport{})
	v.learn(9000, v.taken())
	if _, ok := v.reserve(500); !ok {
		t.Fatal("there was room")
	}
	asked := v.taken()
	v.settle(500, Answer{Verdict: Accepted})
	v.learn(9000, asked)
	if waiting, ok := v.reserve(1000); ok || waiting != 9500 {
		t.Errorf("%d are waiting; room for 1,000 more: %t", waiting, ok)
	}
}
