package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// A changed configuration counts without a restart, at SIGHUP or because the content of
// the file changed. It counts as a whole or not at all.
func TestReload(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	config := w.files()
	good, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := w.spawn(config)
	ping := func(secret string) int {
		defer func(now string) { w.Secret = now }(w.Secret)
		w.Secret = secret
		return p.post(t.Context(), "ping", "ping-1", `{"zen":"x"}`)
	}
	ok := func(value string) bool {
		_, metrics := p.get("/metrics")
		return strings.Contains(metrics, "\npurgebot_config_reload_ok "+value+"\n")
	}
	const another = "another-secret-0123456789"
	if old, other := ping(w.Secret), ping(another); old != 200 || other != 401 || !ok("1") {
		t.Fatalf("at first: %d, %d", old, other)
	}

	changed := strings.NewReplacer("["+w.Secret+"]", "["+another+"]", `"*.acme.com"`, `"shop.acme.com"`,
		"listen: 127.0.0.1:0", "listen: 127.0.0.1:1").Replace(string(good))
	write(changed)
	p.signal(syscall.SIGHUP)
	w.Eventually("the new secret counts, and the old one no longer", func() bool { return ping(another) == 200 && ping(w.Secret) == 401 })
	if said := p.said.String(); !strings.Contains(said, `"keys":"listen"`) {
		t.Errorf("what takes a restart is not told:\n%s", said)
	}
	w.GitHub.SetWebhook("http://"+p.addr+"/webhook", another)
	second := w.Commit("second", map[string]string{"content/index/home.md": "2"})
	w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "0 purged, 2 refused")
	w.WantSent()

	write(strings.Replace(changed, "policy:", "polizy:", 1))
	p.signal(syscall.SIGHUP)
	w.Eventually("the fault is told", func() bool { return ok("0") })
	if ping(another) != 200 {
		t.Error("with a faulty file the server takes no webhook any more")
	}
	if said := p.said.String(); !strings.Contains(said, "polizy") {
		t.Errorf("the fault is not named:\n%s", said)
	}

	write(string(good)) // and no signal
	w.Eventually("the file is looked at", func() bool { return ok("1") && ping(w.Secret) == 200 && ping(another) == 401 })
}
