package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin"
)

// process is `purgebot serve` as a process of its own, so that it can be
// killed.
type process struct {
	w    *world
	cmd  *exec.Cmd
	addr string
	once sync.Once
}

// files writes what an operator would: the configuration, the App's key and
// the .edgerc.
func (w *world) files() (config string) { return w.filesWith("sqlite:./purgebot.db") }

func (w *world) filesWith(database string) (config string) {
	w.t.Helper()
	dir := w.cfg.dir
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	write("app.pem", string(w.github.PrivateKeyPEM()))
	write("edgerc", w.akamai.EdgercSection("purge", "akab-standin.luna.akamaiapis.net"))
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
`, database, w.githubURL, w.github.AppID(), w.secret, w.akamaiURL))
	return filepath.Join(dir, "purgebot.yaml")
}

// spawn runs the program itself: the test's binary under the program's name.
func (w *world) spawn(config string) *process {
	w.t.Helper()
	w.started.Store(true)
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	name := filepath.Join(w.t.TempDir(), "purgebot")
	if err := os.Symlink(self, name); err != nil {
		w.t.Fatal(err)
	}
	p := &process{w: w, cmd: exec.Command(name, "serve", "--config", config, "--log", "json")}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.kill)
	lines := bufio.NewScanner(out)
	var said []string
	for p.addr == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
			p.addr = line.Address
		}
		said = append(said, lines.Text())
	}
	if p.addr == "" {
		w.t.Fatalf("the server did not start:\n%s", strings.Join(said, "\n"))
	}
	go io.Copy(io.Discard, out) //nolint:errcheck // ends with the process
	w.github.SetWebhook("http://"+p.addr+"/webhook", w.secret)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.once.Do(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
}

func TestKilledBetweenAkamaisAnswerAndTheSettling(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	config := w.files()
	p := w.spawn(config)
	killed := make(chan struct{})
	w.akamai.Fault(func(*http.Request, []byte) standin.AkamaiFault {
		select {
		case <-killed:
			return standin.AkamaiFault{}
		default:
		}
		p.kill() // it has sent, and will never read the answer
		close(killed)
		return standin.AkamaiFault{Accept: true, Drop: true}
	})
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	<-killed

	w.spawn(config)
	w.await(second, "production", "success", "2 URLs purged")
	home := []string{"production invalidate url https://www.acme.com/index/home/", "production invalidate url https://m.acme.com/index/home/"}
	w.wantSent(slices.Concat(home, home)...) // once lost, once settled
}

// Killed again and again at random moments while deployments succeed: every
// object of every difference reaches Akamai after its deployment.
func TestKilledAtRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	config := w.files()
	p := w.spawn(config)
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTime)
	defer cancel()
	last := first
	for i := range 6 {
		sha := w.commit(fmt.Sprint(i), map[string]string{fmt.Sprintf("content/step/p%d.md", i): "x", "content/index/home.md": fmt.Sprint(i)})
		before := len(w.akamai.Accepted())
		id, err := w.github.Deploy(ctx, w.fullName(), standin.GitHubDeployment{SHA: sha, Environment: "production", RequiredContexts: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.github.DeployStatus(ctx, w.fullName(), id, standin.GitHubDeploymentStatus{State: "success"}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(time.Duration(random.IntN(150)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		p.kill()
		p = w.spawn(config)
		w.await(sha, "production", "success", "")
		got := map[string]bool{}
		for _, a := range w.akamai.Accepted()[before:] {
			for _, o := range a.Objects {
				got[a.Kind+" "+o] = true
			}
		}
		changes, err := gitDifference(ctx, w.site.dir, last, sha)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			for _, object := range naive(t, testRules, c, "production") {
				if !got[object] {
					t.Errorf("step %d: lost %s", i, object)
				}
			}
		}
		last = sha
	}
}

// Credentials that Akamai refuses pause the account and lose nothing; the
// mended .edgerc is read without a restart.
func TestMendedCredentialsNeedNoRestart(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	config := w.files()
	edgerc := filepath.Join(w.cfg.dir, "edgerc")
	good, err := os.ReadFile(edgerc)
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(good), "client_secret = ", "client_secret = x", 1)
	if bad == string(good) {
		t.Fatalf("no client_secret in\n%s", good)
	}
	if err := os.WriteFile(edgerc, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.spawn(config)
	second := w.commit("second", map[string]string{"content/index/home.md": "2"})
	w.deploy("production", second, "success")
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	for metrics := ""; !strings.Contains(metrics, "purgebot_akamai_paused 1"); {
		if metrics, err = fetch(ctx, "http://"+p.addr+"/metrics"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(edgerc, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.await(second, "production", "success", "2 URLs purged")
}
