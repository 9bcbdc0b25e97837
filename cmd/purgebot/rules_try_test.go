package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/internal/servertest"
)

const triedRules = `version: 1
environments:
  production: {hosts: [www.acme.com]}
rules:
  - {name: pages, match: "content/*.md", urls: "https://{host}/{1}/"}
`

// TestRulesTry saves the file, breaks it, removes it, commits, and interrupts the
// program, as a person does.
func TestRulesTry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clone := git.Clone{Dir: dir}
	rules := filepath.Join(dir, "purge-rules.yaml")
	commitFile := func(name, content string) {
		t.Helper()
		write(t, filepath.Join(dir, name), content)
		for _, args := range [][]string{
			{"add", "-A"},
			{"-c", "user.name=Ann", "-c", "user.email=ann@acme.com", "commit", "--quiet", "-m", "Change " + name},
		} {
			if _, err := clone.Output(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := clone.Output(t.Context(), "init", "--quiet", "-b", "main"); err != nil {
		t.Fatal(err)
	}
	write(t, rules, triedRules)
	commitFile("first.md", "a")
	commitFile("content/a.md", "a")
	commitFile("README.md", "a")

	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), "rules", "try", "--repo", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var messages strings.Builder
	cmd.Stderr = &messages
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	until := func(end string) (text string) {
		t.Helper()
		for lines.Scan() {
			if text += lines.Text() + "\n"; strings.Contains(lines.Text(), end) {
				return text
			}
		}
		t.Fatalf("it ended before it said %q:\n%s%s", end, text, &messages)
		return ""
	}
	says := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("it doesn't say %q:\n%s", w, text)
			}
		}
	}

	says(until("https://www.acme.com/a/"), rules+", in production:\n", "Change README.md: nothing\n  no rule matches 1 changed file, such as README.md\n",
		"Change content/a.md: 1 URL\n  https://www.acme.com/a/  (pages: content/a.md)\n")

	write(t, rules, strings.Replace(triedRules, "{1}/", "posts/{1}/", 1))
	says(until("/posts/a/"), "https://www.acme.com/posts/a/  (pages: content/a.md)")

	write(t, rules, strings.Replace(triedRules, "{1}", "{2}", 1))
	if text := until("once these errors are corrected"); strings.Contains(text, "Change ") {
		t.Errorf("commits are planned by broken rules:\n%s", text)
	} else {
		says(text, rules+":5:", `"{2}" has no second wildcard`)
	}

	if err := os.Remove(rules); err != nil {
		t.Fatal(err)
	}
	until("The rules can't be read: ")

	write(t, rules, triedRules)
	until("https://www.acme.com/a/")
	commitFile("content/b.md", "b")
	says(until("https://www.acme.com/a/"), "Change content/b.md: 1 URL\n  https://www.acme.com/b/  (pages: content/b.md)\n")

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Errorf("after the interrupt it says %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil || messages.Len() > 0 {
		t.Errorf("it ended with %v and said %q", err, &messages)
	}
}
