package github_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestChecksTheAppsJWT(t *testing.T) {
	t.Parallel()
	p, _ := playHistory(t, nil)
	own, err := appKey()
	must(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	for _, tc := range []struct {
		name   string
		key    any
		method jwt.SigningMethod
		claims jwt.MapClaims
		status int
	}{
		{"as GitHub asks", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": now - 60, "exp": now + 540}, 200},
		{"a number as issuer", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": 12345, "iat": now - 60, "exp": now + 540}, 200},
		{"another key", other, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": now - 60, "exp": now + 540}, 401},
		{"another App", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12346", "iat": now - 60, "exp": now + 540}, 401},
		{"another algorithm", own, jwt.SigningMethodRS384, jwt.MapClaims{"iss": "12345", "iat": now - 60, "exp": now + 540}, 401},
		{"HMAC with the public key", x509.MarshalPKCS1PublicKey(&own.PublicKey), jwt.SigningMethodHS256, jwt.MapClaims{"iss": "12345", "iat": now - 60, "exp": now + 540}, 401},
		{"expired", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": now - 600, "exp": now - 1}, 401},
		{"too long", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": now, "exp": now + 660}, 401},
		{"issued in the future", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": now + 60, "exp": now + 540}, 401},
		{"a fraction", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": float64(now) - 60.5, "exp": now + 540}, 401},
		{"no expiry", own, jwt.SigningMethodRS256, jwt.MapClaims{"iss": "12345", "iat": now - 60}, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token, err := jwt.NewWithClaims(tc.method, tc.claims).SignedString(tc.key)
			if err != nil {
				t.Fatal(err)
			}
			p.t = t
			p.do("GET", "app", "", "Authorization", "Bearer "+token).want(tc.status, "")
		})
	}
	p.t = t
	claims := strings.Split(appJWT(t, p), ".")[1]
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	sum := sha256.Sum256([]byte(header + "." + claims))
	signature, err := rsa.SignPKCS1v15(nil, own, crypto.SHA256, sum[:])
	must(t, err)
	unnamed := header + "." + claims + "." + base64.RawURLEncoding.EncodeToString(signature)
	p.do("GET", "app", "", "Authorization", "Bearer "+unnamed).want(http.StatusUnauthorized, "could not be decoded")
	p.do("GET", "app", "", "Authorization", "Bearer "+p.token).want(http.StatusUnauthorized, "could not be decoded")
	p.do("GET", "app", "", "Authorization", "").want(http.StatusUnauthorized, "")
	p.do("GET", repoPath("commits/main"), "", "Authorization", appJWT(t, p)).want(http.StatusUnauthorized, "Bad credentials")
}

func TestMakesAKeyIfItGetsNone(t *testing.T) {
	t.Parallel()
	g, err := standin.New(standin.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, g.Close()) })
	key, err := jwt.ParseRSAPrivateKeyFromPEM(g.PrivateKeyPEM())
	must(t, err)
	claims := jwt.MapClaims{"iss": "12345", "iat": time.Now().Unix() - 30, "exp": time.Now().Unix() + 60}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	must(t, err)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/app", nil)
	request.Header.Set("User-Agent", "test")
	request.Header.Set("Authorization", "Bearer "+token)
	answer := httptest.NewRecorder()
	if g.ServeHTTP(answer, request); answer.Code != http.StatusOK {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	h := newHistory(t)
	p := play(t, standin.Config{
		Now: func() time.Time { return clock },
		Repositories: []standin.Repository{
			{Owner: "acme", Name: "site", Dir: h.dir},
			{Owner: "acme", Name: "other", Dir: h.dir},
			{Owner: "elsewhere", Name: "site", Dir: h.dir, Installation: 2},
		},
	})
	if len(p.token) < 400 || !strings.HasPrefix(p.token, "ghs_12345_") || strings.Count(p.token, ".") != 2 {
		t.Errorf("token %s has not the form of 2026", p.token)
	}
	p.do("GET", repoPath("commits/main"), "").want(http.StatusOK, h.third)
	p.do("GET", repoPath("commits/main"), "", "Authorization", "Bearer "+p.token).want(http.StatusOK, h.third)
	p.do("GET", repoPath("commits/main"), "", "Authorization", "token "+p.token[1:]).want(http.StatusUnauthorized, "Bad credentials")
	p.do("GET", "repos/elsewhere/site/commits/main", "").want(http.StatusNotFound, "Not Found")
	p.do("POST", repoPath("deployments"), `{"ref":"main"}`).want(http.StatusForbidden, "Resource not accessible by integration")
	p.do("GET", "installation/repositories", "").want(http.StatusOK, `"total_count":2`)

	var one github.InstallationToken
	jwt := appJWT(t, p)
	p.do("POST", "app/installations/1/access_tokens", `{"repositories":["other"],"permissions":{"contents":"read"}}`, "Authorization", jwt).
		want(http.StatusCreated, "").into(&one)
	narrow := "token " + one.GetToken()
	p.do("GET", repoPath("commits/main"), "", "Authorization", narrow).want(http.StatusNotFound, "Not Found")
	p.do("GET", "repos/acme/other/commits/main", "", "Authorization", narrow).want(http.StatusOK, h.third)
	p.do("POST", "repos/acme/other/statuses/"+h.third, `{"state":"success"}`, "Authorization", narrow).want(http.StatusForbidden, "not accessible")
	p.do("POST", "app/installations/1/access_tokens", `{"permissions":{"contents":"write"}}`, "Authorization", jwt).want(http.StatusUnprocessableEntity, "not granted")
	p.do("POST", "app/installations/1/access_tokens", `{"repositories":["secret"]}`, "Authorization", jwt).want(http.StatusUnprocessableEntity, "at least one repository")
	p.do("POST", "app/installations/9/access_tokens", "", "Authorization", jwt).want(http.StatusNotFound, "Not Found")
	p.do("GET", "app/installations", "", "Authorization", jwt).want(http.StatusOK, `"login":"elsewhere"`)
	p.do("GET", "repos/elsewhere/site/installation", "", "Authorization", jwt).want(http.StatusOK, `"id":2`)

	clock = clock.Add(time.Hour)
	p.do("GET", repoPath("commits/main"), "").want(http.StatusUnauthorized, "Bad credentials")
}

func TestInstallationEnds(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, _ := playHistory(t, func(c *standin.Config) { c.WebhookURL = receiver.URL })
	jwt := appJWT(t, p)
	must(t, p.Suspend(t.Context(), 1))
	p.do("GET", repoPath("commits/main"), "").want(http.StatusForbidden, "suspended")
	p.do("POST", "app/installations/1/access_tokens", "", "Authorization", jwt).want(http.StatusForbidden, "suspended")
	must(t, p.Unsuspend(t.Context(), 1))
	p.do("GET", repoPath("commits/main"), "").want(http.StatusOK, "")
	must(t, p.Uninstall(t.Context(), 1))
	p.do("GET", repoPath("commits/main"), "").want(http.StatusUnauthorized, "Bad credentials")
	p.do("POST", "app/installations/1/access_tokens", "", "Authorization", jwt).want(http.StatusNotFound, "Not Found")
	var actions []string
	for _, e := range receiver.of("installation") {
		actions = append(actions, e.body["action"].(string))
	}
	if got := strings.Join(actions, " "); got != "suspend unsuspend deleted" {
		t.Errorf("installation events: %s", got)
	}
}

func TestRepositoryMoves(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, nil)
	must(t, p.Rename(acme, "web"))
	moved := p.do("GET", repoPath("commits/main?x=1"), "").want(http.StatusMovedPermanently, "Moved Permanently")
	if got, want := moved.header.Get("Location"), p.url+"repositories/77/commits/main?x=1"; got != want {
		t.Errorf("Location %s, want %s", got, want)
	}
	p.do("GET", "repositories/77/commits/main", "").want(http.StatusOK, h.third)
	p.do("GET", "repos/Acme/WEB", "").want(http.StatusOK, `"full_name":"acme/web"`)
	p.do("POST", repoPath("statuses/%s", h.third), `{"state":"success"}`).want(http.StatusTemporaryRedirect, "Temporary Redirect")
	c, _, err := p.client.Repositories.GetCommit(t.Context(), "acme", "site", "main", nil)
	if err != nil || c.GetSHA() != h.third {
		t.Errorf("go-github does not follow: %v", err)
	}
	must(t, p.Archive("acme/web"))
	p.do("POST", "repos/acme/web/statuses/"+h.third, `{"state":"success"}`).want(http.StatusForbidden, "read-only")
	must(t, p.Delete("acme/web"))
	p.do("GET", "repositories/77", "").want(http.StatusNotFound, "Not Found")
}

func TestEnterprisePath(t *testing.T) {
	t.Parallel()
	p, h := playHistory(t, func(c *standin.Config) { c.BasePath = "/api/v3/" })
	c, _, err := p.client.Repositories.GetCommit(t.Context(), "acme", "site", "main", nil)
	if err != nil || c.GetSHA() != h.third || !strings.HasPrefix(c.GetURL(), p.url) {
		t.Errorf("%v, %v", c, err)
	}
	resp, err := http.Get(strings.TrimSuffix(p.url, "api/v3/") + "app")
	if err != nil {
		t.Fatal(err)
	}
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusNotFound || len(p.UnknownCalls()) != 1 {
		t.Errorf("outside of /api/v3/: %d, unknown calls %v", resp.StatusCode, p.UnknownCalls())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
