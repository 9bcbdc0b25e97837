package akamai_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

// testClock is a clock that tests set.
type testClock struct {
	mu sync.Mutex
	at time.Time
}

func newTestClock() *testClock {
	return &testClock{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// client is a stand-in on a real socket, and a client that signs with its own code.
type client struct {
	*akamai.Server
	url   string
	clock *testClock

	mu    sync.Mutex
	nonce int
}

func serve(t *testing.T, cfg akamai.Config) *client {
	t.Helper()
	clock := newTestClock()
	if cfg.Now == nil {
		cfg.Now = clock.now
	}
	service := akamai.New(cfg)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	return &client{Server: service, url: server.URL, clock: clock}
}

// signing is what a signature is made of. Tests change it to spoil one.
type signing struct {
	clientToken, clientSecret, accessToken, timestamp, nonce string
	method, scheme, host, target                             string
	body                                                     []byte
}

func (s signing) header() string {
	sum := func(key, message string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(message))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	bodyHash := ""
	if s.method == "POST" && len(s.body) > 0 {
		h := sha256.Sum256(s.body[:min(len(s.body), 131072)])
		bodyHash = base64.StdEncoding.EncodeToString(h[:])
	}
	unsigned := "EG1-HMAC-SHA256 client_token=" + s.clientToken + ";access_token=" + s.accessToken +
		";timestamp=" + s.timestamp + ";nonce=" + s.nonce + ";"
	data := s.method + "\t" + s.scheme + "\t" + s.host + "\t" + s.target + "\t\t" + bodyHash + "\t" + unsigned
	return unsigned + "signature=" + sum(sum(s.clientSecret, s.timestamp), data)
}

func (a *client) signing(method, target string, body []byte) signing {
	a.mu.Lock()
	a.nonce++
	nonce := "nonce-" + strconv.Itoa(a.nonce)
	a.mu.Unlock()
	creds := a.Credentials()
	return signing{
		clientToken: creds.ClientToken, clientSecret: creds.ClientSecret, accessToken: creds.AccessToken,
		timestamp: a.clock.now().UTC().Format("20060102T15:04:05+0000"), nonce: nonce,
		method: method, scheme: "http", host: strings.TrimPrefix(a.url, "http://"), target: target, body: body,
	}
}

// received is an answer after it was read.
type received struct {
	status int
	header http.Header
	body   string
	fields map[string]any
}

func (r received) title() string {
	title, _ := r.fields["title"].(string)
	return title
}

func (r received) detail() string {
	detail, _ := r.fields["detail"].(string)
	return detail
}

func (a *client) send(ctx context.Context, s signing, header http.Header) (received, error) {
	req, err := http.NewRequestWithContext(ctx, s.method, a.url+s.target, bytes.NewReader(s.body))
	if err != nil {
		return received{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", s.header())
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return received{}, err
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	reply := received{status: resp.StatusCode, header: resp.Header, body: string(text)}
	_ = json.Unmarshal(text, &reply.fields) // an HTML page has none
	return reply, err
}

func (a *client) call(t *testing.T, method, target, body string) received {
	t.Helper()
	reply, err := a.send(t.Context(), a.signing(method, target, []byte(body)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func (a *client) post(t *testing.T, target, body string) received {
	t.Helper()
	return a.call(t, http.MethodPost, target, body)
}

// urlsBody is a body with n URLs.
func urlsBody(n int) string {
	urls := make([]string, n)
	for i := range urls {
		urls[i] = fmt.Sprintf("https://a.example.com/%d", i)
	}
	body, _ := json.Marshal(map[string]any{"objects": urls})
	return string(body)
}

func numbersBody(n int) string {
	return `{"objects":[` + strings.TrimSuffix(strings.Repeat("7,", n), ",") + `]}`
}

func tagsBody(n int) string {
	return `{"objects":[` + strings.TrimSuffix(strings.Repeat(`"t",`, n), ",") + `]}`
}

func TestOperatorsTrouble(t *testing.T) {
	api := serve(t, akamai.Config{})
	send := func(want int, detail string) {
		t.Helper()
		if reply := api.post(t, "/ccu/v3/delete/url", urlsBody(1)); reply.status != want || !strings.Contains(reply.detail(), detail) {
			t.Errorf("status %d, want %d: %s", reply.status, want, reply.body)
		}
	}
	api.SetGranted(false)
	send(403, "does not have the grant")
	api.SetGranted(true)
	send(201, "")

	api.SetClockSkew(time.Minute)
	send(400, "Invalid timestamp")
	reply := api.post(t, "/ccu/v3/delete/url", urlsBody(1))
	if got, want := reply.header.Get("Date"), api.clock.now().Add(time.Minute).Format(http.TimeFormat); got != want {
		t.Errorf("Date %q, want %q", got, want)
	}
	api.SetClockSkew(0)
	send(201, "")

	old := api.signing("POST", "/ccu/v3/delete/url", []byte(urlsBody(1)))
	api.SetCredentials(akamai.Credentials{ClientSecret: "rotated"})
	if reply, err := api.send(t.Context(), old, nil); err != nil || reply.status != 401 {
		t.Errorf("after the rotation: %d %v", reply.status, err)
	}
	send(201, "")
}

func TestKeep(t *testing.T) {
	for _, tt := range []struct{ keep, want int }{{0, 25}, {3, 3}, {-1, 0}} {
		t.Run(strconv.Itoa(tt.keep), func(t *testing.T) {
			api := serve(t, akamai.Config{Keep: tt.keep})
			var sent, purges, requests []string
			for range 25 {
				id, _ := api.post(t, "/ccu/v3/delete/tag", tagsBody(2)).fields["purgeId"].(string)
				sent = append(sent, id)
			}
			for _, p := range api.Accepted() {
				purges = append(purges, p.PurgeID)
			}
			for _, r := range api.Requests() {
				requests = append(requests, r.PurgeID)
			}
			latest := sent[len(sent)-tt.want:]
			if !slices.Equal(purges, latest) || !slices.Equal(requests, latest) {
				t.Errorf("purges %v, requests %v; want %v", purges, requests, latest)
			}
			if got := api.Counts(); got.Purges != 25 || got.Objects != 50 || got.Requests != 25 || got.Bytes != 25*int64(len(tagsBody(2))) {
				t.Errorf("counts %+v", got)
			}
		})
	}
}

func TestConcurrently(t *testing.T) {
	api := serve(t, akamai.Config{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 150 {
		wg.Go(func() {
			reply, err := api.send(t.Context(), api.signing("POST", "/ccu/v3/delete/url", []byte(urlsBody(1))), nil)
			if err != nil {
				t.Error(err)
			}
			api.Refuse("https://a.example.com/x", 0, "")
			_, _, _ = api.Accepted(), api.Requests(), api.Counts()
			mu.Lock()
			defer mu.Unlock()
			statuses[reply.status]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{201: 100, 429: 50}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}
