package pipeline

import (
	"testing"

	"github.com/purgebot/purgebot/mapping"
)

// Whichever road a signal came by, a webhook or a comparison with GitHub.
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
