package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// The project's own history, played through the real server; what reached
// Akamai is held against git's own difference and a naive reading of the
// rules, object by object.
func TestReplaysARealHistory(t *testing.T) {
	t.Parallel()
	const rules = `version: 1
environments:
  production: {network: production, hosts: [www.example.com, m.example.com]}
rules:
  - name: sources
    match: "**/*.go"
    exclude: ["**/*_test.go"]
    urls: ["https://{host}/src/{1}/{2}/"]
  - name: pages
    match: ["docs/**/*.md", "docs/**/*.yaml"]
    urls: ["https://{host}/docs/{1}/{2}"]
  - name: the top
    match: "*"
    tags: [acme-top]
`
	dir := t.TempDir()
	file := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	top, err := (&site{dir: "."}).git(t.Context(), "rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	r, err := openReplay(t.Context(), dir, top, file, 8)
	if err != nil {
		t.Fatal(err)
	}
	r.out = t.Output()
	if r.rules, err = readNaive([]byte(rules)); err != nil {
		t.Fatal(err)
	}
	if err := r.open(t.Context(), dir, "127.0.0.1:0", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stage.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := r.play(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.verdict(); r.wrong > 0 {
		t.Errorf("%d of it did not end as told", r.wrong)
	}
}
