package pipeline

import (
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/mapping"
)

func grantOf(change func(*policy.Entry)) policy.Grant {
	e := policy.NewEntry()
	e.Repositories, e.Hosts, e.Tags, e.CPCodes = []string{"acme/*"}, []string{"*.acme.com"}, []string{"acme-*"}, []int64{12345}
	if change != nil {
		change(&e)
	}
	return policy.Policy{e}.For("acme/site")
}

func TestJudgedAnew(t *testing.T) {
	noDeployDeletes := func(e *policy.Entry) { e.Deploys.Delete = false }
	for _, test := range []struct {
		name   string
		cause  ledger.Cause
		role   policy.Role
		change func(*policy.Entry)
		target mapping.Target
		want   string // the beginning; "": it goes out
	}{
		{
			"Akamai refused it", ledger.CauseDeploy, policy.Write, nil,
			mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/a", Action: mapping.Invalidate, Reason: "unauthorized arl"},
			"",
		},
		{
			"policy allows it now", ledger.CauseComment, policy.Write, nil,
			mapping.Target{Kind: mapping.Tag, Object: "acme-a", Action: mapping.Invalidate, Reason: "policy does not allow tag acme-a"},
			"",
		},
		{
			"policy refuses it still", ledger.CauseComment, policy.Admin, nil,
			mapping.Target{Kind: mapping.Tag, Object: "b", Action: mapping.Invalidate, Reason: "x"},
			"policy does not allow tag b",
		},
		{
			"the role is not enough: the reason stays", ledger.CauseDeploy, policy.Write, nil,
			mapping.Target{Kind: mapping.CPCode, Object: "12345", Action: mapping.Invalidate, Reason: "unauthorized cpcode"},
			"unauthorized cpcode",
		},
		{
			"the role is not enough, and nothing failed", ledger.CauseDeploy, policy.Write, nil,
			mapping.Target{Kind: mapping.CPCode, Object: "12345", Action: mapping.Invalidate},
			"this takes the role admin",
		},
		{
			"what deployments may not", ledger.CauseDeploy, policy.Admin, noDeployDeletes,
			mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/a", Action: mapping.Delete},
			"policy does not allow deployments",
		},
		{
			"what deployments may not, and people may", ledger.CauseComment, policy.Admin, noDeployDeletes,
			mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/a", Action: mapping.Delete},
			"",
		},
		{
			"it can't be sent at all", ledger.CauseDeploy, policy.Admin, nil,
			mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/../a", Action: mapping.Invalidate, Reason: "x"},
			`the URL has a "." or ".." folder`,
		},
		{
			"dots in a query mean nothing", ledger.CauseDeploy, policy.Admin, nil,
			mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/a?x=/../b", Action: mapping.Invalidate, Reason: "x"},
			"",
		},
	} {
		j := &judgement{grant: grantOf(test.change), role: test.role, purge: ledger.Purge{Cause: test.cause}}
		got := j.again(ledger.Target{Target: test.target, Fate: ledger.Failed})
		if (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestHint(t *testing.T) {
	for pattern, want := range map[string]string{
		"content/docs":         ". Did you mean `/purge content/docs/**`?",
		"content/docs/":        ". Did you mean `/purge content/docs/**`?",
		"www.acme.com/docs/":   ". Did you mean `/purge https://www.acme.com/docs/`?",
		"content/docs/*.md":    ".",
		"content/missing.md":   ".",
		".github/workflows":    ". Did you mean `/purge .github/workflows/**`?",
		"@acme/team":           ". Did you mean `/purge @\u200bacme/team/**`?",
		"www.acme.com/a](b)/x": ". Did you mean `/purge https://www.acme.com/a]\u200b(b)/x`?",
	} {
		if got := hint([]string{pattern}); got != want {
			t.Errorf("hint(%q) = %q, want %q", pattern, got, want)
		}
	}
}
