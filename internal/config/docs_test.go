package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/yaml"
)

// The page names every key with its variable, and no other.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	keys, policy, ok := strings.Cut(string(page), "\n## Policy\n")
	if !ok {
		t.Fatal("the page lacks the section Policy")
	}
	var want []string
	for _, s := range (&loader{}).settings() {
		row := "| `" + s.key + "` | `" + s.variable + "` |"
		if s.variableOnly {
			row = "| | `" + s.variable + "` |"
		}
		want = append(want, row)
	}
	got := regexp.MustCompile("(?m)^\\| (`[a-z_.]+` )?\\| `PURGEBOT_[A-Z_]+` \\|").FindAllString(keys, -1)
	if !slices.Equal(want, got) {
		t.Errorf("the page has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	l := &loader{}
	places := map[string]*yaml.Node{}
	sample := sampleOf(t, keys)
	top := l.parse([]byte(sample), "sample")
	i := slices.IndexFunc(top.Pairs, func(p yaml.Pair) bool { return p.Key.Text == "policy" })
	for _, p := range top.Pairs[i].Value.Items[0].Pairs {
		places[p.Key.Text] = p.Value
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)(?:\\.([a-z_]+))?` \\|").FindAllStringSubmatch(policy, -1) {
		n := places[m[1]]
		if n == nil || m[2] != "" && !slices.ContainsFunc(n.Pairs, func(p yaml.Pair) bool { return p.Key.Text == m[2] }) {
			t.Errorf("the sample lacks the policy's key %s.%s", m[1], m[2])
		}
	}
}

// sampleOf returns the YAML of the page.
func sampleOf(t *testing.T, page string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "```yaml\n")
	sample, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the page lacks a sample")
	}
	return sample
}

// The page's sample loads, apart from its key, and shows the defaults.
func TestDocumentedSample(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "purgebot.yaml")
	if err := os.WriteFile(file, []byte(sampleOf(t, string(page))), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(file, func(string) string { return "" })
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "github.private_key_file: open ") {
		t.Errorf("got %v, want the lack of app.pem alone", err)
	}
}

// FuzzPolicy: no text makes the reader panic, and a policy that it accepts has no faults.
func FuzzPolicy(f *testing.F) {
	f.Add("- repositories: [acme/*]\n  hosts: [\"*.acme.com\"]\n  deploys: {creators: [x], delete: false}\n")
	f.Add("- &a {repositories: [x/y], cpcodes: [1]}\n- *a\n")
	f.Add("- repositories: *a\n")
	f.Add("&a [*a]")
	f.Add("- hold_over: {delete: 99999999999}\n  hold_over: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{getenv: func(name string) string {
			return map[string]string{"PURGEBOT_POLICY": text}[name]
		}}
		l.values, l.place = map[string]*yaml.Node{}, map[string]yaml.Place{}
		l.apply(l.settings())
		for _, e := range l.config.Policy {
			if faults := e.Faults(); faults != nil {
				t.Errorf("taken with faults: %v", faults)
			}
		}
		if err := l.err(); err != nil && !strings.HasPrefix(err.Error(), "PURGEBOT_POLICY: ") {
			t.Errorf("a fault without its place: %v", err)
		}
	})
}
