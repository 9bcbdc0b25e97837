package pipeline

import (
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/mapping"
)

// A signal is judged in the same way whether a webhook or a comparison with GitHub told
// of it.
func TestWhatTriggers(t *testing.T) {
	for _, test := range []struct {
		kind   mapping.TriggerKind
		signal string
		rule   string
		want   bool
	}{
		{mapping.OnStatus, "Netlify/Acme", "netlify/acme", true},
		{mapping.OnStatus, "netlify/acme/preview", "netlify/acme", false},
		{mapping.OnStatus, "purge/production", "purge/production", false},
		{mapping.OnStatus, "Purge/Production", "purge/production", false},
		{mapping.OnCheck, "Deploy", "Deploy", true},
		{mapping.OnCheck, "deploy", "Deploy", false},
		{mapping.OnWorkflow, ".github/workflows/deploy.yml", "deploy.yml", true},
		{mapping.OnWorkflow, ".github/workflows/deploy.yml@refs/heads/main", ".github/workflows/deploy.yml", true},
		{mapping.OnWorkflow, ".github/workflows/predeploy.yml", "deploy.yml", false},
	} {
		s := signal{kind: test.kind, name: test.signal}
		if got := s.triggers(mapping.Trigger{Kind: test.kind, Name: test.rule}); got != test.want {
			t.Errorf("%s %q for %q: %t", test.kind, test.signal, test.rule, got)
		}
		if s.triggers(mapping.Trigger{Kind: mapping.OnDeployment, Name: test.rule}) {
			t.Errorf("%s %q is taken for a deployment", test.kind, test.signal)
		}
	}
}

// A run that is run again keeps its id, and is the one that ended last.
func TestNewestSignal(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 10, minute, 0, 0, time.UTC) }
	env := followed{Environment: mapping.Environment{Trigger: mapping.Trigger{Kind: mapping.OnWorkflow, Name: "deploy.yml"}}}
	run := func(id int64, result string, minute int) github.Signal {
		return github.Signal{ID: id, Name: ".github/workflows/deploy.yml", Result: result, At: at(minute)}
	}
	for name, test := range map[string]struct {
		all  []github.Signal
		want int64
	}{
		"the last to end":           {[]github.Signal{run(3, "success", 1), run(2, "success", 2)}, 2},
		"of those within a second":  {[]github.Signal{run(2, "success", 1), run(3, "success", 1)}, 3},
		"a failure deploys nothing": {[]github.Signal{run(3, "failure", 2), run(2, "success", 1)}, 2},
		"none":                      {[]github.Signal{run(3, "failure", 2)}, 0},
	} {
		if s, ok := newest(env, test.all); s.id != test.want || ok != (test.want != 0) {
			t.Errorf("%s: run %d, %t; want %d", name, s.id, ok, test.want)
		}
	}
}
