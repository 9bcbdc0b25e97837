package akamai_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// The vector comes from Let's Encrypt's purger. It is sent over TLS, because the scheme
// is part of the signed data. No API has this path, so a 404 shows that the gateway
// accepted the signature.
func TestKnownAnswer(t *testing.T) {
	const host = "akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net"
	at := time.Date(2014, 3, 21, 19, 34, 21, 0, time.UTC)
	for _, tt := range []struct {
		name, body string
		status     int
	}{
		{"as signed", strings.Repeat("data", 8), http.StatusNotFound},
		{"another body", strings.Repeat("data", 9), http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewTLSServer(akamai.New(akamai.Config{
				ClientToken:  "akab-client-token-xxx-xxxxxxxxxxxxxxxx",
				ClientSecret: strings.Repeat("x", 43) + "=",
				AccessToken:  "akab-access-token-xxx-xxxxxxxxxxxxxxxx",
				Now:          func() time.Time { return at },
			}))
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/testapi/v1/t3", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			req.Header.Set("Authorization", "EG1-HMAC-SHA256 client_token=akab-client-token-xxx-xxxxxxxxxxxxxxxx;"+
				"access_token=akab-access-token-xxx-xxxxxxxxxxxxxxxx;timestamp=20140321T19:34:21+0000;"+
				"nonce=nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx;signature=hXm4iCxtpN22m4cbZb4lVLW5rhX8Ca82vCFqXzSTPe4=")
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}

func TestGateway(t *testing.T) {
	const body = `{"objects":["https://a.example.com/"]}`
	shift := func(d time.Duration) func(*signing) {
		return func(s *signing) {
			at, _ := time.Parse("20060102T15:04:05+0000", s.timestamp)
			s.timestamp = at.Add(d).Format("20060102T15:04:05+0000")
		}
	}
	for _, tt := range []struct {
		name   string
		spoil  func(*signing)
		header http.Header
		status int
		detail string
	}{
		{name: "good", status: 201},
		{name: "30 s slow", spoil: shift(-30 * time.Second), status: 201},
		{name: "30 s fast", spoil: shift(30 * time.Second), status: 201},
		{name: "31 s slow", spoil: shift(-31 * time.Second), status: 400, detail: "Invalid timestamp"},
		{name: "31 s fast", spoil: shift(31 * time.Second), status: 400, detail: "Invalid timestamp"},
		{name: "no time at all", spoil: func(s *signing) { s.timestamp = "now" }, status: 400, detail: "Invalid timestamp"},
		{
			name: "another zone", spoil: func(s *signing) { s.timestamp = strings.Replace(s.timestamp, "+0000", "-0000", 1) },
			status: 400, detail: "Invalid timestamp",
		},
		{name: "unknown client", spoil: func(s *signing) { s.clientToken = "akab-other" }, status: 400, detail: "Invalid client token"},
		{name: "unknown access token", spoil: func(s *signing) { s.accessToken = "akab-other" }, status: 400, detail: "Invalid access token"},
		{name: "wrong secret", spoil: func(s *signing) { s.clientSecret += "x" }, status: 401, detail: "The signature does not match"},
		{name: "another scheme signed", spoil: func(s *signing) { s.scheme = "https" }, status: 401, detail: "The signature does not match"},
		{name: "another host signed", spoil: func(s *signing) { s.host = "a.example.com" }, status: 401, detail: "The signature does not match"},
		{name: "no header", header: http.Header{"Authorization": nil}, status: 400, detail: "Invalid authorization header"},
		{name: "basic", header: http.Header{"Authorization": {"Basic dTpw"}}, status: 400, detail: "Invalid authorization header"},
		{name: "no nonce", spoil: func(s *signing) { s.nonce = "" }, status: 400, detail: "Invalid authorization header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			signing := api.signing("POST", "/ccu/v3/invalidate/url/staging", []byte(body))
			if tt.spoil != nil {
				tt.spoil(&signing)
			}
			reply, err := api.send(t.Context(), signing, tt.header)
			if err != nil {
				t.Fatal(err)
			}
			if reply.status != tt.status {
				t.Fatalf("status %d, want %d: %s", reply.status, tt.status, reply.body)
			}
			if tt.status == 201 {
				return
			}
			if reply.detail() != tt.detail || reply.fields["status"] != float64(tt.status) || reply.fields["httpStatus"] != nil {
				t.Errorf("not the gateway's %q: %s", tt.detail, reply.body)
			}
			if len(api.Accepted()) > 0 {
				t.Error("a refused request was accepted")
			}
		})
	}
}

// The signature covers what is sent: a body or a query that changes on the way makes it
// invalid.
func TestSignatureCoversTheRequest(t *testing.T) {
	api := serve(t, akamai.Config{AccountSwitchKey: "1-5BUY"})
	signing := api.signing("POST", "/ccu/v3/invalidate/url", []byte(`{"objects":["https://a.example.com/"]}`))
	header := http.Header{"Authorization": {signing.header()}}

	signing.target += "?accountSwitchKey=1-5BUY"
	reply, err := api.send(t.Context(), signing, header)
	if err != nil || reply.status != 401 {
		t.Errorf("a query that was not signed: %d %v", reply.status, err)
	}
	if reply = api.post(t, signing.target, string(signing.body)); reply.status != 201 {
		t.Errorf("a query that was signed: %d %s", reply.status, reply.body)
	}
}

func TestNonce(t *testing.T) {
	api := serve(t, akamai.Config{})
	signing := api.signing("POST", "/ccu/v3/rate-limit-status/url", nil)
	for i, want := range []int{201, 400} {
		reply, err := api.send(t.Context(), signing, nil)
		if err != nil || reply.status != want {
			t.Errorf("use %d of the nonce: status %d, want %d (%v)", i+1, reply.status, want, err)
		}
		if want == 400 && reply.detail() != "Invalid nonce" {
			t.Errorf("detail %q", reply.detail())
		}
	}
	api.clock.pass(2 * time.Minute)
	signing.timestamp = api.clock.now().Format("20060102T15:04:05+0000")
	if reply, err := api.send(t.Context(), signing, nil); err != nil || reply.status != 201 {
		t.Errorf("the nonce, long after: status %d (%v)", reply.status, err)
	}
}

// A refused signature does not use up the nonce. Only the client itself can do that.
func TestNonceOfAForgedRequest(t *testing.T) {
	api := serve(t, akamai.Config{})
	signing := api.signing("POST", "/ccu/v3/rate-limit-status/url", nil)
	forged := signing
	forged.clientSecret = "guessed"
	if reply, err := api.send(t.Context(), forged, nil); err != nil || reply.status != 401 {
		t.Fatalf("forged: %d %v", reply.status, err)
	}
	if reply, err := api.send(t.Context(), signing, nil); err != nil || reply.status != 201 {
		t.Errorf("genuine: %d %v", reply.status, err)
	}
}
