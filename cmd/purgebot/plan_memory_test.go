package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestPlanTakesLittleMemory plans and prints a million targets with the program itself,
// in at most 200 MiB. A rules file of 3 KiB asks for them.
func TestPlanTakesLittleMemory(t *testing.T) {
	if runtime.GOOS != "linux" || watched {
		t.Skip("the system counts memory in another unit, and the race detector takes some of its own")
	}
	t.Parallel()
	const hosts, urls, files = 40, 125, 200 // a million
	var b strings.Builder
	b.WriteString("version: 1\nenvironments: {production: {hosts: [")
	for i := range hosts {
		fmt.Fprintf(&b, "h%d.acme.com, ", i)
	}
	b.WriteString("]}}\nrules:\n- match: content/**\n  urls:\n")
	for i := range urls {
		fmt.Fprintf(&b, "  - https://{host}/a-page-in-one-of-many-forms/%03d/{1}\n", i)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@acme.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write("purge-rules.yaml", b.String())
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "-m", "rules")
	for i := range files {
		write(fmt.Sprintf("content/some-page-with-a-usual-name-%d.md", i), "x")
	}
	git("add", ".")
	git("commit", "--quiet", "-m", "pages")
	purgebot, err := exec.LookPath("purgebot") // this program itself, see TestMain
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(purgebot, "plan", "--repo", dir, "--env", "production", "--from", "HEAD~1", "--to", "HEAD", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for in := bufio.NewScanner(out); in.Scan(); {
		if strings.Contains(in.Text(), "/a-page-in-one-of-many-forms/") {
			lines++
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	t.Logf("%d targets in %d MiB", lines, peak)
	if lines != hosts*urls*files || peak > 200 {
		t.Errorf("%d targets in %d MiB", lines, peak)
	}
}
