package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// say runs the program without a server.
func say(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, streams{strings.NewReader(""), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if code, out, errs := say(t, args...); code != exitDone || errs != "" || out != thisBuild().String()+"\n" {
			t.Errorf("%q: %d %q %q", args, code, out, errs)
		}
	}
	_, out, _ := say(t, "version", "--json")
	var doc map[string]string
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc) != 5 || doc["go"] != runtime.Version() || doc["platform"] != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%q: %v", out, err)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help", "purge"}, {"help", "rules", "check"}, {"help"}, {}} {
		_, want, _ := say(t, append(strings.Fields(strings.TrimPrefix(strings.Join(args, " "), "help")), "--help")...)
		if code, out, errs := say(t, args...); code != exitDone || errs != "" || out != want || !strings.HasPrefix(out, "Usage: purgebot ") {
			t.Errorf("%q: %d %q, want %q; %s", args, code, out, want, errs)
		}
	}
	if code, _, errs := say(t, "help", "nonsense"); code != exitUsage || !strings.Contains(errs, "nonsense") {
		t.Errorf("%d %q", code, errs)
	}
}

func TestCompletions(t *testing.T) {
	for line, want := range map[string][]string{
		"":                      {"serve", "purge", "rules", "--version"},
		"rules":                 {"check"},
		"purge":                 {"url", "tag", "cpcode", "--network"},
		"purge url --network":   {"production", "staging"},
		"purge url":             {"--action", "--wait"},
		"completion":            {"bash", "zsh", "fish"},
		"rules check --format ": {"text", "json", "github"},
	} {
		code, out, errs := say(t, append([]string{"completion", "bash", "--"}, strings.Fields(line)...)...)
		for _, word := range want {
			if code != exitDone || errs != "" || !strings.Contains("\n"+out, "\n"+word+"\n") {
				t.Errorf("%q lacks %s: %d %s%s", line, word, code, out, errs)
			}
		}
	}
}

// The shells accept the scripts, if the shells are installed.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		_, script, _ := say(t, "completion", shell)
		if !strings.Contains(script, "purgebot completion ") {
			t.Errorf("%s: %q", shell, script)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), path, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}
