package akamai_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"
	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

const defaultQueuePath = "/ccu/v2/queues/default"

func TestV2Accepts(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       akamai.Purge
	}{
		{
			"objects alone", `{"objects":["http://www.example.com/a.gif","/f/4/6848/4h/www.foofoofoo.com/index.php"]}`,
			akamai.Purge{
				Kind: "url", Action: "delete", Network: "production",
				Objects: []string{"http://www.example.com/a.gif", "/f/4/6848/4h/www.foofoofoo.com/index.php"},
			},
		},
		{
			"everything said", `{"type":"cpcode","action":"invalidate","domain":"staging","objects":[6848,"44"]}`,
			akamai.Purge{Kind: "cpcode", Action: "invalidate", Network: "staging", Objects: []string{"6848", "44"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			reply := api.post(t, defaultQueuePath, tt.body)
			id, _ := reply.fields["purgeId"].(string)
			want := map[string]any{
				"httpStatus": 201.0, "detail": "Request accepted.", "estimatedSeconds": 240.0, "pingAfterSeconds": 240.0,
				"purgeId": id, "progressUri": "/ccu/v2/purges/" + id, "supportId": reply.fields["supportId"],
			}
			if diff := cmp.Diff(want, reply.fields); diff != "" || reply.status != 201 || len(id) != 36 {
				t.Errorf("status %d, body (-want +got):\n%s", reply.status, diff)
			}
			if got := reply.header.Get("Content-Location"); got != "/ccu/v2/purges/"+id {
				t.Errorf("Content-Location %q", got)
			}
			tt.want.API, tt.want.At, tt.want.PurgeID, tt.want.Takes = "v2", api.clock.now(), id, 4*time.Minute
			if diff := cmp.Diff([]akamai.Purge{tt.want}, api.Accepted()); diff != "" {
				t.Errorf("accepted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestV2Refuses(t *testing.T) {
	const good = `{"objects":["http://a.example.com/"]}`
	for _, tt := range []struct {
		name, method, target, body string
		header                     http.Header
		status                     int
		title, detail              string
	}{
		{name: "emergency queue", target: "/ccu/v2/queues/emergency", body: good, status: 404, title: "queue not found", detail: "emergency"},
		{name: "no queue", target: "/ccu/v2/queues", body: good, status: 404},
		{name: "DELETE", method: "DELETE", body: good, status: 405},
		{name: "posting to a status", target: "/ccu/v2/purges/1", body: good, status: 405},
		{name: "no content type", header: http.Header{"Content-Type": nil}, body: good, status: 415},
		{name: "501 objects", body: urlsBody(501), status: 413, detail: "501 objects, at most 500 a request"},
		{name: "no objects", body: `{"type":"arl"}`, status: 400, detail: "'objects' attribute cannot be missing or empty"},
		{name: "the kind of v3", body: `{"type":"url","objects":["http://a.example.com/"]}`, status: 400, detail: "'type' attribute cannot be 'url'"},
		{name: "the action of v3", body: `{"action":"delete","objects":["http://a.example.com/"]}`, status: 400, detail: "'action'"},
		{name: "the network of v3", body: `{"network":"staging","objects":["http://a.example.com/"]}`, status: 400, detail: "'network'"},
		{name: "no such domain", body: `{"domain":"test","objects":["http://a.example.com/"]}`, status: 400, detail: "'domain'"},
		{name: "a domain of another type", body: `{"domain":1,"objects":["http://a.example.com/"]}`, status: 400, detail: "expected type:string, received:number"},
		{name: "bad URL", body: `{"objects":["http://a.example.com/ö"]}`, status: 400, title: "bad URL"},
		{name: "not granted", body: `{"objects":["http://b.example.com/1","http://b.example.com/2"]}`, status: 403, title: "unauthorized arl", detail: "http://b.example.com/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, akamai.Config{Hosts: []string{"a.example.com"}})
			if tt.target == "" {
				tt.target = defaultQueuePath
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
			if len(api.Accepted()) > 0 {
				t.Error("a refused request was accepted")
			}
		})
	}
}

func TestV2Progress(t *testing.T) {
	api := serve(t, akamai.Config{Queue: akamai.Queue{Unknown: 2 * time.Second, Done: 90 * time.Second}})
	api.post(t, defaultQueuePath, urlsBody(3))
	uri, _ := api.post(t, defaultQueuePath, urlsBody(2)).fields["progressUri"].(string)
	for _, tt := range []struct {
		after  time.Duration // the last one
		status string
		ping   float64
		waits  float64
	}{
		{0, "Unknown", 60, 5},
		{2 * time.Second, "In-Progress", 60, 5},
		{50 * time.Second, "In-Progress", 38, 5},
		{37500 * time.Millisecond, "In-Progress", 1, 5},
		{500 * time.Millisecond, "Done", 0, 0},
		{24 * time.Hour, "Done", 0, 0},
		{24 * time.Hour, "Unknown", 60, 0},
	} {
		api.clock.pass(tt.after)
		got := api.call(t, "GET", uri, "")
		if got.status != 200 || got.fields["purgeStatus"] != tt.status || got.fields["pingAfterSeconds"] != tt.ping || got.fields["progressUri"] != uri {
			t.Errorf("want %s, ping after %v s: %s", tt.status, tt.ping, got.body)
		}
		if _, submitted := got.fields["submissionTime"]; submitted != (tt.status != "Unknown") {
			t.Errorf("submission time: %s", got.body)
		}
		if (got.fields["completionTime"] != nil) != (tt.status == "Done") {
			t.Errorf("completion time: %s", got.body)
		}
		if tt.status != "Unknown" && got.fields["originalQueueLength"] != 3.0 {
			t.Errorf("original queue length: %s", got.body)
		}
		if queue := api.call(t, "GET", defaultQueuePath, ""); queue.fields["queueLength"] != tt.waits {
			t.Errorf("%s: queue length %v, want %v", tt.status, queue.fields["queueLength"], tt.waits)
		}
	}
	if got := api.call(t, "GET", "/ccu/v2/purges/never-heard-of", ""); got.status != 200 || got.fields["purgeStatus"] != "Unknown" {
		t.Errorf("an id that never was: %s", got.body)
	}
}

func TestV2Queue(t *testing.T) {
	api := serve(t, akamai.Config{})
	for range 20 {
		if reply := api.post(t, defaultQueuePath, urlsBody(500)); reply.status != 201 {
			t.Fatalf("status %d: %s", reply.status, reply.body)
		}
	}
	if reply := api.post(t, defaultQueuePath, urlsBody(1)); reply.status != 507 || reply.title() != "queue is full" {
		t.Errorf("status %d: %s", reply.status, reply.body)
	}
	api.clock.pass(240 * time.Second)
	if reply := api.post(t, defaultQueuePath, urlsBody(500)); reply.status != 201 {
		t.Errorf("when it is done: status %d: %s", reply.status, reply.body)
	}
}

func TestBasic(t *testing.T) {
	open := akamai.Config{BasicUser: "ops", BasicPassword: "secret"}
	for _, tt := range []struct {
		name, target, user, password string
		cfg                          akamai.Config
		status                       int
		media                        string
	}{
		{"v2", defaultQueuePath, "ops", "secret", open, 201, "application/json"},
		{"wrong password", defaultQueuePath, "ops", "wrong", open, 401, "text/html;charset=utf-8"},
		{"another user", defaultQueuePath, "other", "secret", open, 401, "text/html;charset=utf-8"},
		{"v3", "/ccu/v3/delete/url", "ops", "secret", open, 400, "application/problem+json"},
		{"not opened", defaultQueuePath, "", "", akamai.Config{}, 400, "application/problem+json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(akamai.New(tt.cfg))
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+tt.target, strings.NewReader(urlsBody(1)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.SetBasicAuth(tt.user, tt.password)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.media {
				t.Errorf("status %d, %s", resp.StatusCode, resp.Header.Get("Content-Type"))
			}
		})
	}
}

// The stand-in accepts requests of Akamai's own signer that uses the stand-in's .edgerc:
// with and without an account switch key, over HTTPS and HTTP, with bodies below and
// above the hashed size.
func TestUnderstandsEdgeGrid(t *testing.T) {
	service := akamai.New(akamai.Config{AccountSwitchKey: "1-5BUY:1-2RBL"})
	for scheme, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		server := start(service)
		defer server.Close()
		host := strings.TrimPrefix(server.URL, scheme+"://")
		edgerc := t.TempDir() + "/edgerc"
		writeFile(t, edgerc, service.EdgercSection("ccu", host))
		for _, key := range []string{"", "1-5BUY:1-2RBL"} {
			for body, want := range map[string]int{urlsBody(1): 201, urlsBody(1) + strings.Repeat(" ", 200_000): 413} {
				t.Run(fmt.Sprintf("%s %q %d", scheme, key, want), func(t *testing.T) {
					config, err := edgegrid.New(edgegrid.WithFile(edgerc), edgegrid.WithSection("ccu"))
					if err != nil {
						t.Fatal(err)
					}
					config.AccountKey = key
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/ccu/v3/delete/url/staging?z=1&a=2", bytes.NewReader([]byte(body)))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", "application/json")
					config.SignRequest(req)
					resp, err := server.Client().Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					if resp.StatusCode != want {
						t.Errorf("status %d, want %d: %+v", resp.StatusCode, want, service.Requests()[len(service.Requests())-1])
					}
				})
			}
		}
	}
}

func TestCredentialsHideTheirSecret(t *testing.T) {
	creds := akamai.New(akamai.Config{ClientSecret: "top-secret"}).Credentials()
	if creds.ClientToken == "" || creds.AccessToken == "" || creds.ClientSecret != "top-secret" {
		t.Error("incomplete")
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, creds); strings.Contains(got, "top-secret") {
			t.Errorf("%s: %s", format, strconv.Quote(got))
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
