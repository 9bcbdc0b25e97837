package demo

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
)

// The project's own history is played through the real server. What reached Akamai is
// compared, object by object, with git's own difference and a naive reading of the rules.
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
	top, err := (&stage.Site{Dir: "."}).Git(t.Context(), "rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Out: t.Output(), Repo: top, Rules: file, Last: 8}
	r, err := openReplay(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	naive, err := servertest.ReadNaive([]byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	r.wanted = func(ctx context.Context, from, to string) (want []string, err error) {
		changes, err := servertest.GitDifference(ctx, r.clone.Dir, from, to)
		for _, c := range changes {
			for _, object := range naive.Objects("production", c.Path) {
				want = append(want, "production invalidate "+object)
			}
		}
		return want, err
	}
	if err := r.open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stage.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := r.play(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.verdict(); r.wrong > 0 {
		t.Errorf("%d results were not as expected", r.wrong)
	}
}
