package akamai_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

func TestAccountSwitchKey(t *testing.T) {
	api := serve(t, akamai.Config{AccountSwitchKey: "1-5BUY:1-2RBL", Limits: akamai.Limits{URLs: akamai.Bucket{Burst: 1}}})
	for _, tt := range []struct {
		query  string
		status int
	}{
		{"", 201},
		{"", 429},
		{"?accountSwitchKey=1-5BUY%3A1-2RBL", 201}, // another account, another bucket
		{"?accountSwitchKey=1-5BUY:1-2RBL", 429},
		{"?accountSwitchKey=B-OTHER", 403},
	} {
		if reply := api.post(t, "/ccu/v3/delete/url"+tt.query, urlsBody(1)); reply.status != tt.status {
			t.Errorf("%q: status %d, want %d: %s", tt.query, reply.status, tt.status, reply.body)
		}
	}
	if got := api.Accepted(); len(got) != 2 || got[0].AccountSwitchKey != "" || got[1].AccountSwitchKey != "1-5BUY:1-2RBL" {
		t.Errorf("accepted %+v", got)
	}
}

func TestRateLimitStatusOfAnAccount(t *testing.T) {
	api := serve(t, akamai.Config{AccountSwitchKey: "1-5BUY"})
	api.post(t, "/ccu/v3/delete/url?accountSwitchKey=1-5BUY", urlsBody(10))
	for query, want := range map[string]string{"": "10000", "?accountSwitchKey=1-5BUY": "9990"} {
		if got := api.post(t, "/ccu/v3/rate-limit-status/url"+query, "").header.Get("X-Ratelimit-Remaining-Objects"); got != want {
			t.Errorf("%q: %s objects remain, want %s", query, got, want)
		}
	}
}

// rateHeaders are the rate headers of a reply, without their common prefix.
func rateHeaders(h http.Header) map[string]string {
	rate := map[string]string{}
	for name, values := range h {
		if short, ok := strings.CutPrefix(name, "X-Ratelimit-"); ok {
			rate[short] = values[0]
		}
	}
	return rate
}

func TestRateHeaders(t *testing.T) {
	for _, tt := range []struct {
		kind, body string
		want       map[string]string
	}{
		{"url", urlsBody(500), map[string]string{
			"Limit": "100", "Remaining": "99", "Limit-Per-Second": "50.00", "Seconds-To-Refresh-Limit": "0.02",
			"Limit-Objects": "10000", "Remaining-Objects": "9500", "Limit-Per-Second-Objects": "200.00", "Seconds-To-Refresh-Limit-Objects": "2.50",
		}},
		{"tag", tagsBody(100), map[string]string{
			"Limit": "100", "Remaining": "99", "Limit-Per-Second": "50.00", "Seconds-To-Refresh-Limit": "0.02",
			"Limit-Objects": "5000", "Remaining-Objects": "4900", "Limit-Per-Second-Objects": "8.33", "Seconds-To-Refresh-Limit-Objects": "12.00",
		}},
		{"cpcode", numbersBody(3), map[string]string{
			"Limit": "100", "Remaining": "99", "Limit-Per-Second": "50.00", "Seconds-To-Refresh-Limit": "0.02",
			"Limit-Objects": "300", "Remaining-Objects": "297", "Limit-Per-Second-Objects": "0.50", "Seconds-To-Refresh-Limit-Objects": "6.00",
		}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			if diff := cmp.Diff(tt.want, rateHeaders(api.post(t, "/ccu/v3/invalidate/"+tt.kind, tt.body).header)); diff != "" {
				t.Errorf("of the purge (-want +got):\n%s", diff)
			}
			// Asking costs nothing, and needs no body.
			for range 2 {
				status, err := api.send(t.Context(), api.signing("POST", "/ccu/v3/rate-limit-status/"+tt.kind, nil), http.Header{"Content-Type": nil})
				if err != nil || status.status != 201 {
					t.Fatalf("rate limit status: %d %v", status.status, err)
				}
				if diff := cmp.Diff(tt.want, rateHeaders(status.header)); diff != "" {
					t.Errorf("of the status (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestObjectBuckets(t *testing.T) {
	for _, tt := range []struct {
		kind, title string
		body        func(int) string
		burst, each int
		refill      time.Duration // of one object
	}{
		{"url", "URL Rate Limit exceeded", urlsBody, 10_000, 1_000, time.Second / 200},
		{"cpcode", "CPCODE Rate Limit exceeded", numbersBody, 300, 100, 2 * time.Second},
		{"tag", "TAG Rate Limit exceeded", tagsBody, 5_000, 1_000, 120 * time.Millisecond},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			target := "/ccu/v3/invalidate/" + tt.kind
			for i := range tt.burst / tt.each {
				if reply := api.post(t, target, tt.body(tt.each)); reply.status != 201 {
					t.Fatalf("request %d: %s", i+1, reply.body)
				}
			}
			api.clock.pass(5 * tt.refill)
			for range 2 { // denied whole, and at no cost
				reply := api.post(t, target, tt.body(6))
				want := map[string]any{"rateLimit": float64(tt.burst), "rateLimitCurrentRequestSize": 6.0, "rateLimitRemaining": 5.0}
				got := map[string]any{}
				for name := range want {
					got[name] = reply.fields[name]
				}
				if diff := cmp.Diff(want, got); diff != "" || reply.status != 429 || reply.title() != tt.title {
					t.Errorf("status %d, title %q (-want +got):\n%s", reply.status, reply.title(), diff)
				}
				if headers := rateHeaders(reply.header); len(headers) != 6 || headers["Remaining-Objects"] != "5" {
					t.Errorf("headers %v", headers)
				}
			}
			if reply := api.post(t, target, tt.body(5)); reply.status != 201 {
				t.Errorf("what remains: %s", reply.body)
			}
		})
	}
}

func TestRequestBucket(t *testing.T) {
	api := serve(t, akamai.Config{})
	for i := range 100 {
		if reply := api.post(t, "/ccu/v3/delete/tag", tagsBody(1)); reply.status != 201 {
			t.Fatalf("request %d: %s", i+1, reply.body)
		}
	}
	reply := api.post(t, "/ccu/v3/delete/url", urlsBody(2))
	if reply.status != 429 || reply.title() != "Rate Limit exceeded" || reply.fields["rateLimitCurrentRequestSize"] != 1.0 ||
		reply.fields["rateLimitRemaining"] != 0.0 || reply.header.Get("Retry-After") != "" {
		t.Errorf("status %d: %s", reply.status, reply.body)
	}
	api.clock.pass(20 * time.Millisecond)
	for _, want := range []int{201, 429} {
		if reply := api.post(t, "/ccu/v3/delete/url", urlsBody(2)); reply.status != want {
			t.Errorf("status %d, want %d", reply.status, want)
		}
	}
	if got := api.Counts(); got.Limited != 2 || got.Purges != 101 || got.Objects != 102 {
		t.Errorf("counts %+v", got)
	}
}

// A request that is refused for its objects costs no tokens either.
func TestRefusalsAreFree(t *testing.T) {
	api := serve(t, akamai.Config{Hosts: []string{"b.example.com"}})
	api.post(t, "/ccu/v3/delete/url", urlsBody(10))
	api.post(t, "/ccu/v3/delete/url", `{"objects":["https://a b/"]}`)
	headers := rateHeaders(api.post(t, "/ccu/v3/rate-limit-status/url", "").header)
	if headers["Remaining"] != "100" || headers["Remaining-Objects"] != "10000" {
		t.Errorf("headers %v", headers)
	}
}

// A bucket never holds more than its burst, however long it is idle.
func TestIdleBuckets(t *testing.T) {
	api := serve(t, akamai.Config{})
	api.post(t, "/ccu/v3/delete/url", urlsBody(10))
	api.clock.pass(time.Hour)
	headers := rateHeaders(api.post(t, "/ccu/v3/rate-limit-status/url", "").header)
	if headers["Remaining"] != "100" || headers["Remaining-Objects"] != "10000" {
		t.Errorf("headers %v", headers)
	}
}

func TestUnlimited(t *testing.T) {
	api := serve(t, akamai.Config{Limits: akamai.Limits{Unlimited: true}})
	for i := range 110 {
		if reply := api.post(t, "/ccu/v3/delete/cpcode", numbersBody(400)); reply.status != 201 {
			t.Fatalf("request %d: %s", i+1, reply.body)
		}
	}
}
