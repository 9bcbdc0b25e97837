package purger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"
)

// signature is EdgeGrid as specified, to check the library that signs:
// base64(HMAC-SHA256(key, data)). The key is made in the same way from the secret and the
// timestamp.
func signature(secret, timestamp, method, scheme, host, pathQuery string, body []byte, unsigned string) string {
	mac := func(key, data string) string {
		h := hmac.New(sha256.New, []byte(key))
		_, _ = io.WriteString(h, data)
		return base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	hash := ""
	if method == http.MethodPost && len(body) > 0 {
		sum := sha256.Sum256(body[:min(len(body), 131_072)])
		hash = base64.StdEncoding.EncodeToString(sum[:])
	}
	data := method + "\t" + scheme + "\t" + host + "\t" + pathQuery + "\t\t" + hash + "\t" + unsigned
	return mac(mac(secret, timestamp), data)
}

// TestSignatureKnownAnswer uses an example that several Akamai clients test with. The
// library accepts no timestamp and no nonce from outside. So this test checks the
// function that the other tests check with.
func TestSignatureKnownAnswer(t *testing.T) {
	const (
		host      = "akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net"
		timestamp = "20140321T19:34:21+0000"
		unsigned  = "EG1-HMAC-SHA256 client_token=akab-client-token-xxx-xxxxxxxxxxxxxxxx;" +
			"access_token=akab-access-token-xxx-xxxxxxxxxxxxxxxx;timestamp=" + timestamp +
			";nonce=nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx;"
	)
	got := signature(strings.Repeat("x", 43)+"=", timestamp, "POST", "https", host, "/testapi/v1/t3", []byte(strings.Repeat("data", 8)), unsigned)
	if want := "hXm4iCxtpN22m4cbZb4lVLW5rhX8Ca82vCFqXzSTPe4="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var authorization = regexp.MustCompile(`^(EG1-HMAC-SHA256 client_token=CLIENT;access_token=ACCESS;timestamp=([0-9]{8}T[0-9:]{8}\+0000);nonce=([0-9a-f-]{36});)signature=(.*)$`)

// verify recomputes the signature of a request as the server saw it.
func verify(r *http.Request, scheme string, body []byte) (nonce string, err error) {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return "", fmt.Errorf("header %q", r.Header.Get("Authorization"))
	}
	at, err := time.Parse("20060102T15:04:05-0700", m[2])
	if err != nil || time.Since(at).Abs() > 30*time.Second {
		return "", fmt.Errorf("timestamp %s", m[2])
	}
	if want := signature("SECRET", m[2], r.Method, scheme, r.Host, r.RequestURI, body, m[1]); m[4] != want {
		return "", fmt.Errorf("signature %s, want %s for %s %s %s", m[4], want, r.Method, r.Host, r.RequestURI)
	}
	return m[3], nil
}

func testCredentials() edgegrid.Config {
	return edgegrid.Config{Host: "akamai.test", ClientToken: "CLIENT", ClientSecret: "SECRET", AccessToken: "ACCESS", MaxBody: edgegrid.MaxBodySize}
}

// TestEveryAttemptIsSignedAnew sends the same request several times, with everything that
// influences the signature.
func TestEveryAttemptIsSignedAnew(t *testing.T) {
	big := Request{Kind: URL, Network: Production, Action: Delete}
	for i := range 400 {
		big.Objects = append(big.Objects, fmt.Sprintf("https://www.acme.com/%090d?a=1&b=ü", i))
	}
	tests := map[string]struct {
		path    string // of the base URL
		maxBody int
		key     string
		request Request
		want    string
	}{
		"plain":              {request: Request{Tag, Production, Invalidate, []string{"a&b"}}, want: "/ccu/v3/invalidate/tag/production"},
		"account switch key": {key: "1-ABC:1-2 RBL&", request: Request{CPCode, Staging, Delete, []string{"1"}}, want: "/ccu/v3/delete/cpcode/staging?accountSwitchKey=" + url.QueryEscape("1-ABC:1-2 RBL&")},
		"a base with a path": {path: "/akamai/", request: Request{URL, Staging, Invalidate, []string{"https://a/"}}, want: "/akamai/ccu/v3/invalidate/url/staging"},
		"max_body of 8192":   {maxBody: 8192, request: big, want: "/ccu/v3/delete/url/production"},
		"max_body of 0":      {maxBody: -1, request: big, want: "/ccu/v3/delete/url/production"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			nonces := map[string]bool{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				nonce, err := verify(r, "http", body)
				if err != nil || nonces[nonce] || r.RequestURI != test.want {
					t.Errorf("%s, nonce %s: %v", r.RequestURI, nonce, err)
				}
				nonces[nonce] = true
				if want, _ := test.request.Body(); !bytes.Equal(body, want) {
					t.Errorf("body %s", body)
				}
				w.WriteHeader(http.StatusCreated)
			}))
			defer server.Close()
			config := testCredentials()
			if test.maxBody != 0 {
				config.MaxBody = max(test.maxBody, 0)
			}
			c, err := New(Config{Credentials: NewCredentials(config), BaseURL: server.URL + test.path, AccountSwitchKey: test.key})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if a := c.Send(t.Context(), test.request); a.Verdict != Accepted {
					t.Error(a)
				}
			}
			if len(nonces) != 3 {
				t.Errorf("%d nonces", len(nonces))
			}
		})
	}
}

// recorder answers 201 to every request and checks the signature.
type recorder struct {
	t    *testing.T
	sent int
}

func (rec *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	rec.sent++
	seen := r.Clone(r.Context())
	seen.RequestURI, seen.Host = r.URL.RequestURI(), r.URL.Host
	if _, err := verify(seen, r.URL.Scheme, body); err != nil {
		rec.t.Error(err)
	}
	return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{}, Body: http.NoBody}, nil
}

func FuzzSignature(f *testing.F) {
	f.Add("https://akab-x.purge.akamaiapis.net", "1-ABC:1-2RBL", "https://www.acme.com/a?b=c&d")
	f.Add("http://127.0.0.1:9000/a%20b/", "", "/L/512/6848/1h/www.example1.com/")
	f.Add("https://[::1]:443", "ü +%", "\"\\\x01 ")
	f.Fuzz(func(t *testing.T, base, key, object string) {
		rec := &recorder{t: t}
		c, err := New(Config{Credentials: NewCredentials(testCredentials()), BaseURL: base, AccountSwitchKey: key, HTTP: &http.Client{Transport: rec}})
		if err != nil {
			t.Skip()
		}
		a := c.Send(t.Context(), Request{URL, Production, Invalidate, []string{object}})
		if sendable := Check(URL, object) == nil; (a.Verdict == Accepted) != sendable && rec.sent > 0 || !sendable && rec.sent > 0 {
			t.Errorf("%q: %+v after %d requests", object, a, rec.sent)
		}
	})
}
