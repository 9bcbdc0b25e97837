package github_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

const (
	acme       = "acme/site"
	hookSecret = "It's a Secret to Everybody"
)

// history is a real, bare repository with a short history of difficult kinds.
type history struct {
	t                    *testing.T
	dir                  string
	first, second, third string // on main, each the parent of the next one
	side                 string // branch feature/ü, from first
	orphan               string // branch orphan
}

// historyStream is the history in the form that git fast-import reads.
const historyStream = `feature done
commit refs/heads/main
mark :1
committer Ada <ada@example.com> 1793534400 +0000
data 5
first
M 100644 inline content/docs/a.md
data <<END
a text that is long
enough for git to
know it again under
another name
END
M 100644 inline "content/docs/ü b%#.md"
data 3
ü
M 100644 inline run.sh
data 10
#!/bin/sh
M 100644 inline purge-rules.yaml
data 11
version: 1
M 120000 inline link
data 16
purge-rules.yaml
M 120000 inline away
data 11
/etc/passwd

commit refs/heads/feature/ü
mark :2
committer Ada <ada@example.com> 1793534460 +0000
data 4
side
from :1
M 100644 inline side.txt
data 5
side

commit refs/heads/main
mark :3
committer Ada <ada@example.com> 1793534520 +0000
data 6
second
from :1
R content/docs/a.md content/docs/renamed.md
D "content/docs/ü b%#.md"
M 100755 inline run.sh
data 10
#!/bin/sh
M 100644 inline new.txt
data 4
new
M 160000 1111111111111111111111111111111111111111 theme

commit refs/heads/main
mark :4
committer Ada <ada@example.com> 1793534580 +0000
data 5
third
from :3
M 100644 inline new.txt
data 6
newer

commit refs/heads/orphan
mark :5
committer Ada <ada@example.com> 1793534640 +0000
data 6
orphan
M 100644 inline only.txt
data 5
only

`

// newHistory makes a separate repository for a test. more is appended to the stream.
func newHistory(t *testing.T, more ...string) history {
	t.Helper()
	h := history{t: t, dir: t.TempDir()}
	h.git("", "init", "-q", "--bare", "-b", "main")
	h.git(historyStream+strings.Join(more, "")+"done\n", "fast-import", "--quiet", "--force")
	ids := strings.Fields(h.git("", "rev-parse", "main~2", "main~1", "main", "feature/ü", "orphan"))
	h.first, h.second, h.third, h.side, h.orphan = ids[0], ids[1], ids[2], ids[3], ids[4]
	return h
}

func (h history) git(input string, args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "git", append([]string{"-C", h.dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	cmd.Stdin = strings.NewReader(input)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("git %v: %v: %s", args, err, &problems)
	}
	return strings.TrimSpace(string(out))
}

// player is a running stand-in and a client of it.
type player struct {
	*standin.Server
	t      *testing.T
	url    string // ends with a slash
	client *github.Client
	key    []byte // the App's, PEM
	token  string
}

// appKey is one key pair for all tests, because making one takes long.
var appKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func play(t *testing.T, cfg standin.Config) *player {
	t.Helper()
	key, err := appKey()
	must(t, err)
	cfg.AppKey = &key.PublicKey
	g, err := standin.New(cfg)
	must(t, err)
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		server.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &player{Server: g, t: t, url: server.URL + "/" + strings.TrimPrefix(cfg.BasePath, "/")}
	p.key = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	transport, err := ghinstallation.New(http.DefaultTransport, g.AppID(), 1, p.key)
	must(t, err)
	transport.BaseURL = strings.TrimSuffix(p.url, "/")
	p.client = github.NewClient(&http.Client{Transport: transport})
	if p.client.BaseURL, err = p.client.BaseURL.Parse(p.url); err != nil {
		t.Fatal(err)
	}
	if p.token, err = transport.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func playHistory(t *testing.T, change func(*standin.Config)) (*player, history) {
	t.Helper()
	h := newHistory(t)
	cfg := standin.Config{
		Repositories:  []standin.Repository{{ID: 77, Owner: "acme", Name: "site", Dir: h.dir}},
		WebhookSecret: hookSecret,
	}
	if change != nil {
		change(&cfg)
	}
	return play(t, cfg), h
}

// answer is the answer to a bare request.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// do sends a bare request. header is a list of pairs. Without another Authorization it
// sends the token.
func (p *player) do(method, path, body string, header ...string) answer {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "token "+p.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		p.t.Fatal(err)
	}
	return answer{p.t, resp.StatusCode, resp.Header, data}
}

func (a answer) want(status int, words string) answer {
	a.t.Helper()
	if a.status != status || !strings.Contains(string(a.body), words) {
		a.t.Fatalf("got %d %s, want %d with %q", a.status, a.body, status, words)
	}
	return a
}

func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%v in %s", err, a.body)
	}
}

// hook is a webhook receiver that checks what every delivery must have.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	status func(received) int
}

type received struct {
	event, guid string
	body        map[string]any
	raw         []byte
	header      http.Header
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte(hookSecret))
		mac.Write(raw)
		if got, want := r.Header.Get("X-Hub-Signature-256"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("signature %s, want %s", got, want)
		}
		rec := received{event: r.Header.Get("X-GitHub-Event"), guid: r.Header.Get("X-GitHub-Delivery"), raw: raw, header: r.Header}
		if err := json.Unmarshal(raw, &rec.body); err != nil {
			t.Error(err)
		}
		if _, err := github.ParseWebHook(rec.event, raw); err != nil {
			t.Errorf("go-github can't read %s: %v", rec.event, err)
		}
		h.mu.Lock()
		h.got = append(h.got, rec)
		answer := h.status
		h.mu.Unlock()
		if answer != nil {
			w.WriteHeader(answer(rec))
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// of lists the deliveries of one event so far.
func (h *hook) of(event string) []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	var some []received
	for _, r := range h.got {
		if r.event == event {
			some = append(some, r)
		}
	}
	return some
}

// appJWT is a valid Authorization header of the App.
func appJWT(t *testing.T, p *player) string {
	t.Helper()
	return appJWTAt(t, p, time.Now())
}

func appJWTAt(t *testing.T, p *player, at time.Time) string {
	t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM(p.key)
	must(t, err)
	claims := jwt.MapClaims{"iss": strconv.FormatInt(p.AppID(), 10), "iat": at.Unix() - 30, "exp": at.Unix() + 300}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

func statusAs(state string) func(standin.Status) bool {
	return func(s standin.Status) bool { return s.State == state }
}

func repoPath(format string, args ...any) string {
	return "repos/acme/site/" + fmt.Sprintf(format, args...)
}

func mustPush(ctx context.Context, t *testing.T, p *player, branch, after string) string {
	t.Helper()
	guid, err := p.Push(ctx, acme, branch, after, standin.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return guid
}
