package github_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/github"
)

const anySHA = "1234567890123456789012345678901234567890"

// secretToken has the form of GitHub's tokens since 2026: long, with dots.
const secretToken = "ghs_12345_eyJ0eXAi.TOPSECRET.c2lnbmF0dXJl"

// newKey makes the App's key pair. It is short, because making a long one takes time.
func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyPEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// answering makes an App whose GitHub is one function. Anybody gets a token.
func answering(t testing.TB, serve http.HandlerFunc) (*github.Repository, *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/access_tokens") {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token": %q, "expires_at": %q}`, secretToken, time.Now().Add(time.Hour).Format(time.RFC3339))
			return
		}
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	return handle(t, server.URL)
}

func handle(t testing.TB, address string) (*github.Repository, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	var mu sync.Mutex
	app, err := github.New(github.Config{
		APIURL: address, AppID: 1, PrivateKey: keyPEM(newKey(t)), Timeout: 10 * time.Second,
		Log: slog.New(slog.NewTextHandler(locked{&mu, log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return app.Repository(7, "acme", "site"), log
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestErrorsAreTold(t *testing.T) {
	t.Parallel()
	const (
		primary   = `{"message": "API rate limit exceeded for installation ID 7.", "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}`
		secondary = `{"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}`
		abuse     = `{"message": "You have triggered an abuse detection mechanism. Please retry your request again later."}`
	)
	inTen := strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10)
	for _, test := range []struct {
		name      string
		status    int
		header    map[string]string
		body      string
		least     time.Duration // RetryAfter's; -1: waiting does not help
		most      time.Duration
		notFound  bool
		operator  string // part of OperatorFault's words
		inMessage string
	}{
		{name: "primary limit as 403", status: 403, body: primary, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": inTen}, least: 5 * time.Minute, most: 10 * time.Minute},
		{name: "primary limit as 429", status: 429, body: primary, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": inTen}, least: 5 * time.Minute, most: 10 * time.Minute},
		{name: "primary limit, reset in the past", status: 403, body: primary, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, least: time.Second, most: time.Second},
		{name: "primary limit, reset unreadable", status: 403, body: primary, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, least: time.Minute, most: time.Minute},
		{name: "secondary limit as 403 with retry-after", status: 403, body: secondary, header: map[string]string{"Retry-After": "17", "X-RateLimit-Remaining": "4000", "X-RateLimit-Reset": inTen}, least: 10 * time.Second, most: 17 * time.Second},
		{name: "secondary limit as 429 with retry-after", status: 429, body: secondary, header: map[string]string{"Retry-After": "17"}, least: 10 * time.Second, most: 17 * time.Second},
		{name: "secondary limit as 403, message alone", status: 403, body: secondary, least: 50 * time.Second, most: time.Minute},
		{name: "secondary limit, budget left: not until its reset", status: 403, body: secondary, header: map[string]string{"X-RateLimit-Remaining": "4000", "X-RateLimit-Reset": inTen}, least: 50 * time.Second, most: time.Minute},
		{name: "secondary limit of old, message alone", status: 403, body: abuse, least: 50 * time.Second, most: time.Minute},
		{name: "429 that says nothing", status: 429, least: 50 * time.Second, most: time.Minute},
		{name: "429 of a proxy", status: 429, body: "<html>slow down</html>", header: map[string]string{"Content-Type": "text/html"}, least: 50 * time.Second, most: time.Minute},
		{name: "retry-after of zero", status: 429, header: map[string]string{"Retry-After": "0"}, least: time.Second, most: time.Second},
		{name: "retry-after of a year", status: 429, header: map[string]string{"Retry-After": "99999999999"}, least: time.Minute, most: 2 * time.Hour},
		{name: "retry-after as a date", status: 503, header: map[string]string{"Retry-After": time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)}, least: 5 * time.Minute, most: 10 * time.Minute},
		{name: "503 with retry-after", status: 503, header: map[string]string{"Retry-After": "5"}, least: 5 * time.Second, most: 5 * time.Second},

		{name: "permission", status: 403, body: `{"message": "Resource not accessible by integration"}`, header: map[string]string{"X-Accepted-GitHub-Permissions": "contents=read", "X-RateLimit-Remaining": "0"}, least: -1, operator: "lacks a permission (contents=read)"},
		{name: "suspended", status: 403, body: `{"message": "This installation has been suspended"}`, least: -1, operator: "suspended"},
		{name: "archived", status: 403, body: `{"message": "Repository was archived so is read-only."}`, least: -1, inMessage: "archived"},
		{name: "not found", status: 404, body: `{"message": "Not Found"}`, least: -1, notFound: true},
		{name: "gone", status: 410, body: `{"message": "Issues are disabled for this repo"}`, least: -1, notFound: true},
		{name: "no such commit", status: 422, body: `{"message": "No commit found for SHA: abc"}`, least: -1, notFound: true},
		{name: "validation", status: 422, body: `{"message": "Validation Failed", "errors": [{"resource": "Status", "field": "description", "message": "description is too long"}]}`, least: -1, inMessage: "Validation Failed (description is too long)"},
		{name: "validation in strings", status: 422, body: `{"message": "Invalid", "errors": ["one", "two"]}`, least: -1, inMessage: "Invalid (one; two)"},
		{name: "validation by code", status: 422, body: `{"message": "Invalid", "errors": [{"field": "sha", "code": "missing"}]}`, least: -1, inMessage: "Invalid (sha: missing)"},
		{name: "legal", status: 451, body: `{"message": "Repository access blocked"}`, least: -1, inMessage: "blocked"},
		{name: "bad token", status: 401, body: `{"message": "Bad credentials"}`, least: -1, operator: "does not accept the App's key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			repository, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range test.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := repository.Head(t.Context(), "main")
			after, retry := github.RetryAfter(err)
			words, operator := github.OperatorFault(err)
			switch {
			case err == nil:
				t.Fatal("no error")
			case retry != (test.least >= 0):
				t.Errorf("retry is %v of %v", retry, err)
			case retry && (after < test.least || after > test.most):
				t.Errorf("retry after %v; want %v to %v", after, test.least, test.most)
			case github.IsNotFound(err) != test.notFound:
				t.Errorf("not found is %v of %v", !test.notFound, err)
			case operator != (test.operator != "") || !strings.Contains(words, test.operator):
				t.Errorf("the operator is told %q; want %q", words, test.operator)
			case !strings.Contains(err.Error(), test.inMessage):
				t.Errorf("%q does not say %q", err, test.inMessage)
			case !strings.HasPrefix(err.Error(), "read branch main of acme/site: "):
				t.Errorf("%q does not say what was done", err)
			}
		})
	}
}

// A read is tried a second and a third time at once. A write is not, because the first
// one may have arrived.
func TestTroubleOnTheWay(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]http.HandlerFunc{
		"502": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"connection dropped": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
		"answer cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"object": {"sha": "12`)
		},
		"a page instead of JSON": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>maintenance</html>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var reads, writes atomic.Int32
			repository, log := answering(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost:
					writes.Add(1)
					trouble(w, r)
				case reads.Add(1) == 3:
					_, _ = io.WriteString(w, `{"object": {"sha": "`+anySHA+`"}}`)
				default:
					trouble(w, r)
				}
			})
			if sha, err := repository.Head(t.Context(), "main"); err != nil || sha != anySHA {
				t.Errorf("after two troubles: %q, %v", sha, err)
			}
			err := repository.PostStatus(t.Context(), anySHA, github.Status{State: github.StateSuccess, Context: "c"})
			if name == "502" || name == "connection dropped" {
				if after, retry := github.RetryAfter(err); !retry || after != 0 {
					t.Errorf("the write's error is %v; it should be worth a retry by the caller's own backoff", err)
				}
			}
			if writes.Load() != 1 {
				t.Errorf("the write was sent %d times", writes.Load())
			}
			if strings.Contains(fmt.Sprintf("%v %+v %s", err, err, log), "TOPSECRET") {
				t.Error("the token is in an error or the log")
			}
		})
	}
}

// An answer is read only as far as it can be of use, however long it is.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	repository, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, `{"object": {"sha": "`)
		for err == nil {
			var n int
			n, err = w.Write(bytes.Repeat([]byte("a"), 64<<10))
			sent.Add(int64(n))
		}
	})
	_, err := repository.Head(t.Context(), "main")
	if err == nil || !strings.Contains(err.Error(), "longer than it can need to be") {
		t.Errorf("error %v", err)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d MiB of an endless answer were taken", n>>20)
	}
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(done) })
	app, err := github.New(github.Config{APIURL: server.URL, AppID: 1, PrivateKey: keyPEM(newKey(t)), Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	repository := app.Repository(7, "acme", "site")
	_, err = repository.Head(t.Context(), "main")
	if _, retry := github.RetryAfter(err); !retry {
		t.Errorf("GitHub is silent: %v; want an error worth a retry", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = repository.Head(ctx, "main")
	if _, retry := github.RetryAfter(err); retry || !errors.Is(err, context.Canceled) {
		t.Errorf("the caller gave up: %v; want its own error back", err)
	}
}

// After a limit nothing is sent until it has ended.
func TestALimitIsKept(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	repository, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message": "You have exceeded a secondary rate limit."}`)
	})
	for range 3 {
		_, err := repository.Head(t.Context(), "main")
		if after, retry := github.RetryAfter(err); !retry || after < 10*time.Second || after > 30*time.Second {
			t.Fatalf("retry after %v, %v: %v", after, retry, err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("GitHub was asked %d times during its limit", calls.Load())
	}
}

// What waited for its turn while others met a limit is not sent into it.
func TestALimitIsKeptByThoseInLine(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	all, limited := make(chan struct{}), make(chan struct{})
	repository, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		<-limited
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message": "You have exceeded a secondary rate limit."}`)
	})
	var work sync.WaitGroup
	const many = 40
	var begun atomic.Int32
	for range many {
		work.Go(func() {
			if begun.Add(1) == many {
				close(all)
			}
			if _, err := repository.Head(t.Context(), "main"); err == nil {
				t.Error("no error")
			}
		})
	}
	<-all
	close(limited)
	work.Wait()
	if n := calls.Load(); n > github.ConcurrentReads {
		t.Errorf("GitHub was asked %d times, %d of them during its limit", n, n-github.ConcurrentReads)
	}
}

func TestTheAppItselfIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body, words string
		status            int
		retry             bool
	}{
		{"another key", `{"message": "A JSON web token could not be decoded"}`, "App's key", 401, false},
		{"another App", `{"message": "Integration not found"}`, "App's key", 404, false},
		{"a wrong clock", `{"message": "'Expiration time' claim ('exp') is too far in the future"}`, "clock", 401, false},
		{"not installed", `{"message": "Not Found"}`, "not installed", 404, false},
		{"suspended", `{"message": "This installation has been suspended"}`, "suspended", 403, false},
		{"limited", `{"message": "API rate limit exceeded"}`, "", 429, true},
		{"down", ``, "", 503, true},
		{"no token", `{}`, "", 201, true},
		{"null", `null`, "", 201, true},
		{"a page", `<html>`, "", 200, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/access_tokens") {
					t.Errorf("%s was asked without a token", r.URL)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			t.Cleanup(server.Close)
			repository, _ := handle(t, server.URL)
			_, err := repository.Head(t.Context(), "main")
			words, operator := github.OperatorFault(err)
			if operator != (test.words != "") || !strings.Contains(words, test.words) {
				t.Errorf("the operator is told %q of %v; want %q", words, err, test.words)
			}
			if _, retry := github.RetryAfter(err); retry != test.retry || github.IsNotFound(err) {
				t.Errorf("retry is %v, not found is %v of %v", retry, github.IsNotFound(err), err)
			}
		})
	}
}

func TestARefusedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	var tokens, posts atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/access_tokens") {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token": "t%d", "expires_at": %q}`, tokens.Add(1), time.Now().Add(time.Hour).Format(time.RFC3339))
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "token t2" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"message": "Bad credentials"}`)
			return
		}
		if !strings.Contains(string(body), `"context":"purge/x"`) {
			t.Errorf("the repeated request's body is %q", body)
		}
		posts.Add(1)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(server.Close)
	repository, _ := handle(t, server.URL)
	for range 2 {
		if err := repository.PostStatus(t.Context(), anySHA, github.Status{State: github.StatePending, Context: "purge/x"}); err != nil {
			t.Fatal(err)
		}
	}
	if tokens.Load() != 2 || posts.Load() != 2 {
		t.Errorf("%d tokens were fetched and %d statuses posted; want 2 and 2", tokens.Load(), posts.Load())
	}
}

// A redirect to another host must not get the token.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var stolen atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { stolen.Store(true) }))
	t.Cleanup(thief.Close)
	target := ""
	repository, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/repositories/1/") {
			_, _ = io.WriteString(w, `{"object": {"sha": "`+anySHA+`"}}`)
			return
		}
		http.Redirect(w, r, target, http.StatusMovedPermanently)
	})
	target = thief.URL + "/steal"
	if _, err := repository.Head(t.Context(), "main"); err == nil || stolen.Load() {
		t.Errorf("redirected to another host: %v, which was asked: %v", err, stolen.Load())
	}
	target = "/repositories/1/git/ref/heads/main"
	if sha, err := repository.Head(t.Context(), "main"); err != nil || sha != anySHA {
		t.Errorf("redirected to the repository's new place: %q, %v", sha, err)
	}
	if err := repository.PostStatus(t.Context(), anySHA, github.Status{State: github.StateSuccess, Context: "c"}); err == nil {
		t.Error("a write that would be turned into a read is taken for done")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	pair := newKey(t)
	key := keyPEM(pair)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := bytes.Replace(key, []byte("-----\n"), []byte("-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n"), 1)
	for _, test := range []struct {
		name string
		cfg  github.Config
		want string // part of the error; "": none
	}{
		{"PKCS#1", github.Config{APIURL: "https://api.github.com", AppID: 1, PrivateKey: key}, ""},
		{"PKCS#8", github.Config{APIURL: "https://ghes.example/api/v3", AppID: 1, PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}, ""},
		{"one line", github.Config{APIURL: "http://127.0.0.1:1/", AppID: 1, PrivateKey: bytes.ReplaceAll(key, []byte("\n"), []byte(`\n`))}, ""},
		{"one line in quotes", github.Config{APIURL: "http://127.0.0.1:1", AppID: 1, PrivateKey: []byte(`"` + strings.ReplaceAll(string(key), "\n", `\n`) + `"`)}, ""},
		{"no key", github.Config{APIURL: "https://api.github.com", AppID: 1}, "private key is missing"},
		{"encrypted key", github.Config{APIURL: "https://api.github.com", AppID: 1, PrivateKey: encrypted}, "encrypted"},
		{"half a key", github.Config{APIURL: "https://api.github.com", AppID: 1, PrivateKey: key[:300]}, "can't be read"},
		{"no App", github.Config{APIURL: "https://api.github.com", PrivateKey: key}, "id is missing"},
		{"no address", github.Config{AppID: 1, PrivateKey: key}, "api_url"},
		{"an address without scheme", github.Config{APIURL: "api.github.com", AppID: 1, PrivateKey: key}, "api_url"},
		{"an address with a token", github.Config{APIURL: "https://TOPSECRET@api.github.com", AppID: 1, PrivateKey: key}, "api_url has a user"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := github.New(test.cfg)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("the error is %v; want %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), "TOPSECRET"):
				t.Errorf("%q has a secret", err)
			}
		})
	}
}
