package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/mapping"
)

// The commands in the README exist, its rules do what its tests say, and its
// configuration is valid.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile("(?m)(?:^|`)make ([a-z]+)").FindAllSubmatch(readme, -1)
	if len(targets) < 2 {
		t.Errorf("the README names %d make targets", len(targets))
	}
	for _, m := range targets {
		if !bytes.Contains(makefile, []byte("\n"+string(m[1])+": ")) {
			t.Errorf("make %s is not in the Makefile", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`purgebot ([a-z]+)").FindAllSubmatch(readme, -1) {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{string(m[1]), "--help"}, streams{strings.NewReader(""), &out, &errs}); code != exitDone {
			t.Errorf("purgebot %s --help: exit %d %s", m[1], code, errs.String())
		}
	}
	blocks := regexp.MustCompile("(?s) *```yaml\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d yaml blocks, want the rules and the configuration", len(blocks))
	}
	file, faults := mapping.Parse(blocks[0][1])
	if file == nil {
		t.Fatalf("rules: %v", faults)
	}
	if faults = append(faults, file.Check(t.Context(), "acme", "site", "main")...); len(faults) > 0 {
		t.Errorf("rules: %v", faults)
	}
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	settings := regexp.MustCompile("(?m)^   ").ReplaceAll(blocks[1][1], nil) // it stands in a list
	for name, content := range map[string][]byte{"app.pem": block, "purgebot.yaml": settings} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := config.Load(filepath.Join(dir, "purgebot.yaml"), func(string) string { return "" }); err != nil {
		t.Errorf("configuration: %v", err)
	}
}
