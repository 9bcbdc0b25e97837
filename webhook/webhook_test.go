package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/webhook"
)

const (
	current  = "It's a Secret to Everybody"
	previous = "the one before"
	sha      = "0123456789abcdef0123456789abcdef01234567"
	zeros    = "0000000000000000000000000000000000000000"

	repositoryJSON = `"repository":{"id":7,"name":"site","full_name":"acme/site","default_branch":"main","pushed_at":1763800000,"owner":{"login":"acme","id":1}},"installation":{"id":5},"sender":{"login":"ada","id":3,"type":"User"}`
	pushJSON       = `{"ref":"refs/heads/main","before":"` + zeros + `","after":"` + sha + `","created":true,` + repositoryJSON + `}`
)

// deployJSON is a deployment_status payload with the given state.
func deployJSON(state string) string {
	return `{"action":"created","deployment_status":{"id":11,"state":` + state + `,"environment":"Production","created_at":"2026-11-22T10:00:00Z","creator":{"login":"vercel[bot]","id":9,"type":"Bot"}},` +
		`"deployment":{"id":21,"sha":"` + sha + `","ref":"main","environment":"Preview","payload":"text"},` + repositoryJSON + `}`
}

// memory is a store as the handler sees it.
type memory struct {
	mu     sync.Mutex
	stored []webhook.Delivery
	err    error
}

func (m *memory) Store(_ context.Context, d webhook.Delivery) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return false, m.err
	}
	for _, old := range m.stored {
		if old.GUID == d.GUID {
			return false, nil
		}
	}
	m.stored = append(m.stored, d)
	return true, nil
}

func (m *memory) deliveries() []webhook.Delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stored
}

// serve starts a real server with the handler on POST /webhook.
func serve(t *testing.T, m *memory, log io.Writer) string {
	t.Helper()
	h, err := webhook.New(webhook.Config{
		Secrets: []string{current, previous},
		Store:   m.Store,
		Now:     func() time.Time { return time.Unix(1763800000, 0).UTC() },
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	e.POST("/webhook", h)
	srv := httptest.NewUnstartedServer(e)
	srv.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			littleBuffered(t, c)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL + "/webhook"
}

// littleBuffered makes the system buffer little. So what was written has also been read,
// except for a small rest.
func littleBuffered(t *testing.T, c net.Conn) {
	t.Helper()
	const size = 32 << 10
	tcp, ok := c.(*net.TCPConn)
	if !ok || tcp.SetReadBuffer(size) != nil || tcp.SetWriteBuffer(size) != nil {
		t.Errorf("a connection is %T", c)
	}
}

func sign(newHash func() hash.Hash, prefix, secret, body string) string {
	mac := hmac.New(newHash, []byte(secret))
	mac.Write([]byte(body))
	return prefix + "=" + hex.EncodeToString(mac.Sum(nil))
}

func sha256Of(secret, body string) string { return sign(sha256.New, "sha256", secret, body) }

// delivery is a request as GitHub makes it.
func delivery(t *testing.T, to, event, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
	req.Header.Set("X-Hub-Signature-256", sha256Of(current, body))
	return req
}

// send returns the code and the message.
func send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Message string `json:"message"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatalf("the answer of %s is not JSON: %v", res.Status, err)
	}
	if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content type of the answer is %q", got)
	}
	return res.StatusCode, answer.Message
}

func TestAnswers(t *testing.T) {
	form := func(body string) string { return url.Values{"payload": {body}}.Encode() }
	signed := func(body string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", sha256Of(current, body)) }
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	asForm := header("Content-Type", "application/x-www-form-urlencoded")
	for _, tt := range []struct {
		name, event, body string
		change            func(*http.Request)
		code              int
		says              string
	}{
		{"push", "push", pushJSON, nil, 202, "accepted"},
		{"signed with the previous secret", "push", pushJSON, header("X-Hub-Signature-256", sha256Of(previous, pushJSON)), 202, "accepted"},
		{"charset in the content type", "push", pushJSON, header("Content-Type", "application/json; charset=utf-8"), 202, "accepted"},
		{"form-encoded", "push", form(pushJSON), asForm, 202, "accepted"},
		{"deployment status", "deployment_status", deployJSON(`"success"`), nil, 202, "accepted"},
		{"state waiting", "deployment_status", deployJSON(`"waiting"`), nil, 202, "accepted"},
		{"state of the future", "deployment_status", deployJSON(`"levitating"`), nil, 202, "accepted"},

		{"ping", "ping", `{"zen":"Design for failure.","hook_id":1}`, nil, 200, "pong"},
		{"event without use", "star", `{"action":"created"}`, nil, 200, "no use for star"},
		{"action without use", "issue_comment", `{"action":"edited"}`, nil, 200, "no use for issue_comment edited"},

		{"no signature", "push", pushJSON, func(r *http.Request) { r.Header.Del("X-Hub-Signature-256") }, 401, "X-Hub-Signature-256 is missing"},
		{"sha1 alone", "push", pushJSON, func(r *http.Request) {
			r.Header.Del("X-Hub-Signature-256")
			r.Header.Set("X-Hub-Signature", sign(sha1.New, "sha1", current, pushJSON))
		}, 401, "is missing"},
		{"sha1 under the name of sha256", "push", pushJSON, header("X-Hub-Signature-256", sign(sha1.New, "sha1", current, pushJSON)), 401, "does not fit"},
		{"another secret", "push", pushJSON, header("X-Hub-Signature-256", sha256Of("guess", pushJSON)), 401, "does not fit"},
		{"empty secret", "push", pushJSON, header("X-Hub-Signature-256", sha256Of("", pushJSON)), 401, "does not fit"},
		{"another body", "push", pushJSON + " ", signed(pushJSON), 401, "does not fit"},
		{"no hexadecimal", "push", pushJSON, header("X-Hub-Signature-256", "sha256=zz"), 401, "does not fit"},
		{"no digits", "push", pushJSON, header("X-Hub-Signature-256", "sha256="), 401, "does not fit"},
		{"half a signature", "push", pushJSON, header("X-Hub-Signature-256", sha256Of(current, pushJSON)[:39]), 401, "does not fit"},
		{"unsigned comes before content type", "push", "x", func(r *http.Request) {
			r.Header.Del("X-Hub-Signature-256")
			r.Header.Set("Content-Type", "text/plain")
		}, 401, "is missing"},
		{"form signed without its encoding", "push", form(pushJSON), func(r *http.Request) { asForm(r); signed(pushJSON)(r) }, 401, "does not fit"},

		{"plain text", "push", pushJSON, header("Content-Type", "text/plain"), 415, "content type"},
		{"no content type", "push", pushJSON, func(r *http.Request) { r.Header["Content-Type"] = nil }, 415, "content type"},
		{"XML without an event", "", "<x/>", header("Content-Type", "application/xml"), 415, "content type"},

		{"no event", "", pushJSON, nil, 400, "X-Github-Event is missing"},
		{"no delivery id", "push", pushJSON, func(r *http.Request) { r.Header.Del("X-GitHub-Delivery") }, 400, "X-Github-Delivery is missing"},
		{"delivery id too long", "push", pushJSON, header("X-GitHub-Delivery", strings.Repeat("a", 256)), 400, "malformed"},
		{"delivery id outside ASCII", "push", pushJSON, header("X-GitHub-Delivery", "d\xff"), 400, "malformed"},
		{"garbage", "push", "\x00\x01", nil, 400, "not JSON"},
		{"empty body", "push", "", nil, 400, "not JSON"},
		{"truncated", "push", pushJSON[:100], nil, 400, "not JSON: unexpected end of JSON input (at byte 100 of 100)"},
		{"two objects", "push", pushJSON + pushJSON, nil, 400, "not JSON"},
		{"array", "push", `[1]`, nil, 400, "a JSON array, not an object"},
		{"null", "push", `null`, nil, 400, "a JSON null, not an object"},
		{"string", "ping", ` "x"`, nil, 400, "a JSON string, not an object"},
		{"garbage in an event without use", "star", `{`, nil, 400, "not JSON"},
		{"form without payload", "push", "a=b", asForm, 400, "no field payload"},
		{"form that is none", "push", "payload=%zz", asForm, 400, "form"},
		{"form of garbage", "push", "payload=%7B", asForm, 400, "not JSON"},
		{"wrong type", "push", strings.Replace(pushJSON, `"refs/heads/main"`, `["x"]`, 1), nil, 400, "push: ref is a JSON array where a string belongs"},
		{"wrong type deep inside", "push", strings.Replace(pushJSON, `"id":7`, `"id":"7"`, 1), nil, 400, "push: repository.id is a JSON string where a whole number belongs"},
		{"wrong type of state", "deployment_status", deployJSON(`7`), nil, 400, "deployment_status.state is a JSON number"},
		{"missing fields", "deployment_status", `{"action":"created"}`, nil, 400, "deployment_status.id is missing, deployment_status.state is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &memory{}
			req := delivery(t, serve(t, m, t.Output()), tt.event, tt.body)
			if tt.change != nil {
				tt.change(req)
			}
			code, message := send(t, req)
			if code != tt.code || !strings.Contains(message, tt.says) {
				t.Errorf("got %d %q, want %d with %q", code, message, tt.code, tt.says)
			}
			if got, want := len(m.deliveries()), map[bool]int{true: 1}[tt.code == 202]; got != want {
				t.Errorf("%d deliveries stored, want %d", got, want)
			}
		})
	}
}

// This is the test vector of GitHub's own page on validating deliveries.
func TestGitHubsTestVector(t *testing.T) {
	const body = "Hello, World!"
	to := serve(t, &memory{}, t.Output())
	req := delivery(t, to, "push", body)
	req.Header.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	if code, message := send(t, req); code != 400 || !strings.Contains(message, "not JSON") {
		t.Errorf("got %d %q, want the signature to fit and the body not to be JSON", code, message)
	}
}

func TestStoredDelivery(t *testing.T) {
	for _, tt := range []struct{ name, contentType, body, want string }{
		{"json", "application/json", pushJSON, pushJSON},
		{"form", "application/x-www-form-urlencoded", url.Values{"payload": {pushJSON}}.Encode(), pushJSON},
		{
			"invalid UTF-8", "application/json",
			strings.Replace(pushJSON, "{", "{\"x\":\"a\xff\",", 1), strings.Replace(pushJSON, "{", "{\"x\":\"a\uFFFD\",", 1),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &memory{}
			req := delivery(t, serve(t, m, t.Output()), "push", tt.body)
			req.Header.Set("Content-Type", tt.contentType)
			if code, message := send(t, req); code != 202 {
				t.Fatalf("got %d %q", code, message)
			}
			want := []webhook.Delivery{{
				GUID: "72d3162e-cc78-11e3-81ab-4c9367dc0958", Event: "push",
				Installation: 5, RepositoryID: 7, Repository: "acme/site",
				Body: []byte(tt.want), ReceivedAt: time.Unix(1763800000, 0).UTC(),
			}}
			if diff := cmp.Diff(want, m.deliveries()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRepeatedDelivery(t *testing.T) {
	m := &memory{}
	to := serve(t, m, t.Output())
	for i, want := range []int{202, 200, 200} {
		if code, message := send(t, delivery(t, to, "push", pushJSON)); code != want {
			t.Errorf("attempt %d: got %d %q, want %d", i, code, message, want)
		}
	}
	if n := len(m.deliveries()); n != 1 {
		t.Errorf("%d deliveries stored, want 1", n)
	}
}

func TestStoreFails(t *testing.T) {
	m := &memory{err: errors.New("disk full at /var/lib/secret")}
	var log bytes.Buffer
	to := serve(t, m, &log)
	code, message := send(t, delivery(t, to, "push", pushJSON))
	if code != 503 || strings.Contains(message, "disk full") {
		t.Errorf("got %d %q, want 503 without the cause", code, message)
	}
	if !strings.Contains(log.String(), "disk full") {
		t.Errorf("the log lacks the cause: %s", &log)
	}
}

// A store that hangs and ignores its context, as a disk can, does not keep GitHub
// waiting.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := make(chan struct{})
		defer close(hanging)
		h, err := webhook.New(webhook.Config{Secrets: []string{current}, Store: func(context.Context, webhook.Delivery) (bool, error) {
			<-hanging
			return true, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		began, rec := time.Now(), httptest.NewRecorder()
		if err := h(echo.New().NewContext(delivery(t, "/webhook", "push", pushJSON), rec)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); rec.Code != http.StatusServiceUnavailable || took > 6*time.Second {
			t.Errorf("answered %d after %v, want 503 well before GitHub's 10 s", rec.Code, took)
		}
	})
}

// If GitHub hangs up, a delivery that is being stored is still stored.
func TestHangUpWhileStoring(t *testing.T) {
	storing, hungUp, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h, err := webhook.New(webhook.Config{Secrets: []string{current}, Store: func(ctx context.Context, _ webhook.Delivery) (bool, error) {
		close(storing)
		<-hungUp
		result <- ctx.Err()
		return true, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	gone := make(chan struct{})
	e.POST("/webhook", h, func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			go func() {
				<-c.Request().Context().Done()
				close(gone)
			}()
			return next(c)
		}
	})
	srv := httptest.NewServer(e)
	defer srv.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-storing
		hangUp()
		<-gone
		close(hungUp)
	}()
	res, err := http.DefaultClient.Do(delivery(t, srv.URL+"/webhook", "push", pushJSON).WithContext(ctx))
	if err == nil {
		res.Body.Close()
		t.Fatal("the client should have hung up")
	}
	if err := <-result; err != nil {
		t.Errorf("context of Store: %v", err)
	}
}

// object is a JSON object of exactly size bytes.
func object(size int) string {
	return `{"x":"` + strings.Repeat("a", size-len(`{"x":""}`)) + `"}`
}

func TestSizeLimit(t *testing.T) {
	largest, tooLarge := object(webhook.MaxBody), object(webhook.MaxBody+1)
	to := serve(t, &memory{}, t.Output())
	for _, tt := range []struct {
		name, body string
		chunked    bool
		signed     bool
		code       int
	}{
		{"largest", largest, false, true, 200},
		{"largest, chunked and unsigned", largest, true, false, 401},
		{"one byte more", tooLarge, false, true, 413},
		{"one byte more, chunked", tooLarge, true, true, 413},
		{"unsigned and too large", tooLarge, false, false, 413},
		{"unsigned and too large, chunked", tooLarge, true, false, 401},
		{"1 MiB more", object(webhook.MaxBody + 1<<20), false, true, 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := delivery(t, to, "star", tt.body)
			if tt.chunked {
				req.ContentLength = -1
			}
			if !tt.signed {
				req.Header.Del("X-Hub-Signature-256")
			}
			if code, message := send(t, req); code != tt.code {
				t.Errorf("got %d %q, want %d", code, message, tt.code)
			}
		})
	}
}

// A client that asks first gets its answer before it sends 1 GiB.
func TestTooLargeIsNotAskedFor(t *testing.T) {
	to, err := url.Parse(serve(t, &memory{}, t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /webhook HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", to.Host, 1<<30)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %s, want 413", res.Status)
	}
}

func TestTruncatedTransfer(t *testing.T) {
	m := &memory{}
	to, err := url.Parse(serve(t, m, t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /webhook HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"X-Hub-Signature-256: %s\r\nContent-Length: 100\r\n\r\n{", to.Host, sha256Of(current, ""))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s, want 400", res.Status)
	}
}

func TestNewRefuses(t *testing.T) {
	store := (&memory{}).Store
	for _, tt := range []struct {
		name string
		cfg  webhook.Config
		says string
	}{
		{"no secret", webhook.Config{Store: store}, "no webhook secret"},
		{"an empty secret", webhook.Config{Store: store, Secrets: []string{"good", ""}}, "webhook secret 2 of 2 is empty"},
		{"no store", webhook.Config{Secrets: []string{"good"}}, "no store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if h, err := webhook.New(tt.cfg); h != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func TestLogHasNoSecret(t *testing.T) {
	var log bytes.Buffer
	to := serve(t, &memory{}, &log)
	bad := delivery(t, to, "push", pushJSON)
	bad.Header.Set("X-Hub-Signature-256", sha256Of("guess", pushJSON))
	send(t, bad)
	send(t, delivery(t, to, "push", pushJSON))
	if strings.Contains(log.String(), current) || strings.Contains(log.String(), previous) {
		t.Errorf("a secret is in the log: %s", &log)
	}
	for _, want := range []string{"status=401", "status=202", "event=push", "delivery=72d3162e-cc78-11e3-81ab-4c9367dc0958"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, &log)
		}
	}
}
