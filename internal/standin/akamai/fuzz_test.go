package akamai_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// The stand-in answers every request with one of Akamai's statuses and, if it says so,
// with JSON. It accepts a purge exactly when it answers 201.
func FuzzServer(f *testing.F) {
	for _, seed := range []struct{ method, target, body string }{
		{"POST", "/ccu/v3/invalidate/url/production", `{"objects":["https://a.example.com/","/L/512/6848/1h/www.example1.com/"]}`},
		{"POST", "/ccu/v3/delete/url", `{"hostname":"a.example.com","objects":["/a"]}`},
		{"POST", "/ccu/v3/delete/tag/staging?accountSwitchKey=x", `{"objects":["sale"]}`},
		{"POST", "/ccu/v3/delete/cpcode", `{"objects":[1,"2"]}`},
		{"POST", "/ccu/v3/rate-limit-status/url", ``},
		{"POST", "/ccu/v2/queues/default", `{"type":"arl","action":"remove","domain":"staging","objects":["http://a.example.com/"]}`},
		{"GET", "/ccu/v2/purges/1", ``},
		{"GET", "/ccu/v2/queues/default", ``},
	} {
		f.Add(seed.method, seed.target, "application/json", []byte(seed.body), "")
	}
	f.Add("POST", "/ccu/v3/delete/url", "application/json", []byte("{}"), "EG1-HMAC-SHA256 client_token=c;access_token=a;timestamp=;nonce=;signature=")
	f.Fuzz(func(t *testing.T, method, target, media string, body []byte, authorization string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || u.Host != "" {
			t.Skip()
		}
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		service := akamai.New(akamai.Config{
			ClientToken: "c", ClientSecret: "s", AccessToken: "a", Hosts: []string{"*.example.com"}, CPCodes: []int{1, 2},
			Now: func() time.Time { return at },
		})
		req := &http.Request{
			Method: method, URL: u, RequestURI: target, Host: "akamai.test", RemoteAddr: "127.0.0.1:1",
			Header: http.Header{"Content-Type": {media}}, Body: io.NopCloser(bytes.NewReader(body)),
		}
		if authorization == "" {
			authorization = signing{
				clientToken: "c", clientSecret: "s", accessToken: "a", timestamp: "20261122T12:00:00+0000", nonce: "n",
				method: method, scheme: "http", host: req.Host, target: target, body: body,
			}.header()
		}
		req.Header.Set("Authorization", authorization)
		answer := httptest.NewRecorder()
		service.ServeHTTP(answer, req.WithContext(t.Context()))
		checkAnswer(t, service, answer)
	})
}

func checkAnswer(t *testing.T, service *akamai.Server, answer *httptest.ResponseRecorder) {
	t.Helper()
	switch answer.Code {
	case 200, 201, 400, 401, 403, 404, 405, 413, 415, 429, 507:
	default:
		t.Errorf("status %d", answer.Code)
	}
	if !json.Valid(answer.Body.Bytes()) {
		t.Errorf("not JSON: %s", answer.Body)
	}
	requests, purges := service.Requests(), service.Accepted()
	if len(requests) != 1 || requests[0].Status != answer.Code || (requests[0].Refusal != "") != (answer.Code >= 300) {
		t.Fatalf("requests %+v, answered %d", requests, answer.Code)
	}
	if (len(purges) == 1) != (requests[0].PurgeID != "") || (len(purges) > 0 && answer.Code != 201) {
		t.Errorf("%d purges, answered %d: %+v", len(purges), answer.Code, requests[0])
	}
	for _, p := range purges {
		if len(p.Objects) == 0 || len(p.Objects) != requests[0].Objects {
			t.Errorf("purge %+v of request %+v", p, requests[0])
		}
	}
}
