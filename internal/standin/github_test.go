package standin_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v60/github"

	"github.com/purgebot/purgebot/internal/standin"
)

const (
	acme       = "acme/site"
	hookSecret = "It's a Secret to Everybody"
)

// gitRepo is a real repository with a short history of the awkward kinds.
type gitRepo struct {
	t   *testing.T
	dir string
}

func newGitRepo(t *testing.T) *gitRepo {
	t.Helper()
	r := &gitRepo{t: t, dir: t.TempDir()}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r *gitRepo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir}, args...)...)
	cmd.Env = append(os.Environ(),
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE=2026-11-01T12:00:00Z",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com", "GIT_COMMITTER_DATE=2026-11-01T12:00:00Z",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, &problems)
	}
	return strings.TrimSpace(string(out))
}

func (r *gitRepo) write(name, text string) {
	r.t.Helper()
	full := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *gitRepo) commit(message string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

// history is what most tests need of one repository.
type history struct {
	*gitRepo
	first, second, third string // on main; each the parent of the next
	side                 string // branch feature/ü, from first
	orphan               string // branch orphan
}

func newHistory(t *testing.T) history {
	t.Helper()
	r := newGitRepo(t)
	h := history{gitRepo: r}
	r.write("content/docs/a.md", strings.Repeat("one line of many\n", 20))
	r.write("content/docs/ü b%#.md", "ü\n")
	r.write("run.sh", "#!/bin/sh\n")
	r.write("purge-rules.yaml", "version: 1\n")
	if err := os.Symlink("purge-rules.yaml", filepath.Join(r.dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(r.dir, "away")); err != nil {
		t.Fatal(err)
	}
	h.first = r.commit("first")
	r.git("checkout", "-q", "-b", "feature/ü")
	r.write("side.txt", "side\n")
	h.side = r.commit("side")
	r.git("checkout", "-q", "main")
	r.git("mv", "content/docs/a.md", "content/docs/renamed.md")
	r.git("update-index", "--chmod=+x", "run.sh")
	r.git("rm", "-q", "content/docs/ü b%#.md")
	r.write("new.txt", "new\n")
	r.git("add", "new.txt")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+h.first+",theme")
	r.git("commit", "-q", "-m", "second")
	h.second = r.git("rev-parse", "HEAD")
	r.git("reset", "-q", "--hard")
	r.write("new.txt", "newer\n")
	r.git("commit", "-q", "-a", "-m", "third")
	h.third = r.git("rev-parse", "HEAD")
	r.git("checkout", "-q", "--orphan", "orphan")
	r.git("rm", "-rfq", "--cached", ".")
	r.write("only.txt", "only\n")
	r.git("add", "only.txt")
	r.git("commit", "-q", "-m", "orphan")
	h.orphan = r.git("rev-parse", "HEAD")
	r.git("checkout", "-qf", "main")
	return h
}

// player is a stand-in that is served, and a client of it.
type player struct {
	*standin.GitHub
	t      *testing.T
	url    string // ends with a slash
	client *github.Client
	token  string
}

func play(t *testing.T, cfg standin.GitHubConfig) *player {
	t.Helper()
	g, err := standin.NewGitHub(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		server.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &player{GitHub: g, t: t, url: server.URL + "/" + strings.TrimPrefix(cfg.BasePath, "/")}
	transport, err := ghinstallation.New(http.DefaultTransport, g.AppID(), 1, g.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
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

func playHistory(t *testing.T, change func(*standin.GitHubConfig)) (*player, history) {
	t.Helper()
	h := newHistory(t)
	cfg := standin.GitHubConfig{
		Repositories:  []standin.GitHubRepository{{ID: 77, Owner: "acme", Name: "site", Dir: h.dir}},
		WebhookSecret: hookSecret,
	}
	if change != nil {
		change(&cfg)
	}
	return play(t, cfg), h
}

// answer is what came back for a bare request.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// do sends a bare request; header are pairs. "Authorization" is the token unless given.
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

// of lists what came of one event so far.
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

// appJWT is a good Authorization header of the App.
func appJWT(t *testing.T, p *player) string {
	t.Helper()
	return appJWTAt(t, p, time.Now())
}

func appJWTAt(t *testing.T, p *player, at time.Time) string {
	t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM(p.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": strconv.FormatInt(p.AppID(), 10), "iat": at.Unix() - 30, "exp": at.Unix() + 300}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

func statusAs(state string) func(standin.GitHubStatus) bool {
	return func(s standin.GitHubStatus) bool { return s.State == state }
}

func repoPath(format string, args ...any) string {
	return "repos/acme/site/" + fmt.Sprintf(format, args...)
}

func mustPush(ctx context.Context, t *testing.T, p *player, branch, after string) string {
	t.Helper()
	guid, err := p.Push(ctx, acme, branch, after, standin.GitHubPushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return guid
}
