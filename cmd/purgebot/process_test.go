package main

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
)

// process is `purgebot serve` as a process of its own, so that tests can send it signals
// and set its limits.
type process struct {
	w      *world
	cmd    *exec.Cmd
	addr   string
	said   servertest.Log
	ready  chan string   // its address, once it serves
	exited chan struct{} // closed when it has ended and its log is read
	once   sync.Once
}

// files writes what an operator would write: the configuration, the App's key and the
// .edgerc.
func (w *world) files() (config string) { return w.filesWith("sqlite:./purgebot.db") }

func (w *world) filesWith(database string) (config string) {
	w.T.Helper()
	dir := w.Config.Dir
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			w.T.Fatal(err)
		}
	}
	write("app.pem", string(w.GitHub.PrivateKeyPEM()))
	write("edgerc", w.Akamai.EdgercSection("purge", "akab-standin.luna.akamaiapis.net"))
	write("purgebot.yaml", fmt.Sprintf(`listen: 127.0.0.1:0
public_url: http://127.0.0.1:1
database: %s
github:
  api_url: %s
  app_id: %d
  private_key_file: app.pem
  webhook_secrets: [%s]
akamai:
  edgerc: edgerc
  section: purge
  base_url: %s
policy:
  - repositories: ["acme/*"]
    hosts: ["*.acme.com"]
    tags: ["acme-*"]
`, database, w.GitHubURL, w.GitHub.AppID(), w.Secret, w.AkamaiURL))
	return filepath.Join(dir, "purgebot.yaml")
}

// program is the program itself: the test's binary under the program's name.
func program(t testing.TB) (name string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "purgebot")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// spawn runs the program itself and points GitHub's webhook at it.
func (w *world) spawn(config string) *process { return w.spawnUnder(config) }

// spawnUnder runs the program with the help of another one, which execs its last
// arguments.
func (w *world) spawnUnder(config string, by ...string) *process {
	w.T.Helper()
	p := w.start(config, by...)
	p.serves()
	return p
}

// start is spawnUnder, but does not wait until the program serves.
func (w *world) start(config string, by ...string) *process {
	w.T.Helper()
	w.EndPast()
	name := program(w.T)
	argv := append(by, name, "serve", "--config", config, "--log", "json") //nolint:gocritic // by is this call's own
	p := &process{w: w, cmd: exec.Command(argv[0], argv[1:]...), ready: make(chan string, 1), exited: make(chan struct{})}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		w.T.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() {
		p.kill()
		if w.T.Failed() || os.Getenv("PURGEBOT_TEST_LOG") != "" {
			w.T.Logf("process %d said:\n%s", p.cmd.Process.Pid, &p.said)
		}
	})
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line struct{ Msg, Address string }
			if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
				p.ready <- line.Address
			}
			fmt.Fprintf(&p.said, "%s\n", lines.Bytes())
		}
		_ = p.cmd.Wait() // what it ended with is in cmd.ProcessState
	}()
	return p
}

// serves waits until the program serves, and points GitHub's webhook at it.
func (p *process) serves() {
	p.w.T.Helper()
	select {
	case p.addr = <-p.ready:
	case <-p.exited:
		p.w.T.Fatalf("the server did not start:\n%s", &p.said)
	case <-time.After(servertest.Patience):
		p.w.T.Fatalf("the server does not serve:\n%s", &p.said)
	}
	p.w.GitHub.SetWebhook("http://"+p.addr+"/webhook", p.w.Secret)
}

// kill is kill -9.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill() // it may have ended by itself
		<-p.exited
	})
}

func (p *process) signal(s syscall.Signal) {
	p.w.T.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.w.T.Fatal(err)
	}
}

// ended waits until the process has ended by itself.
func (p *process) ended(within time.Duration) *os.ProcessState {
	p.w.T.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		p.w.T.Fatalf("the process has not ended after %v:\n%s", within, &p.said)
	}
	return p.cmd.ProcessState
}

// get asks the process; the code is 0 if there is no answer.
func (p *process) get(path string) (code int, body string) {
	p.w.T.Helper()
	ctx, cancel := context.WithTimeout(p.w.T.Context(), servertest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+path, nil)
	if err != nil {
		p.w.T.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// logLines counts the lines of the log from a certain byte on, by level and message.
func (p *process) logLines(from int) map[string]int {
	count := map[string]int{}
	for line := range strings.Lines(p.said.String()[from:]) {
		var l struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &l) == nil {
			count[l.Level+" "+l.Msg]++
		}
	}
	return count
}

// post sends a webhook that GitHub's stand-in does not know of.
func (p *process) post(ctx context.Context, event, guid, body string) (code int) {
	p.w.T.Helper()
	mac := hmac.New(sha256.New, []byte(p.w.Secret))
	mac.Write([]byte(body))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.addr+"/webhook", strings.NewReader(body))
	if err != nil {
		p.w.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("X-GitHub-Delivery", guid)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// awaitReady waits until /readyz answers with a code and words.
func (p *process) awaitReady(want int, words string) {
	p.w.T.Helper()
	p.w.Eventually(fmt.Sprintf("/readyz says %d %q", want, words), func() bool {
		code, body := p.get("/readyz")
		return code == want && strings.Contains(body, words)
	})
}
