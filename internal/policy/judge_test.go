package policy_test

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
			mapping.Target{Kind: mapping.Tag, Object: "acme-a", Action: mapping.Invalidate, Reason: "policy doesn't allow tag acme-a"},
			"",
		},
		{
			"policy refuses it still", ledger.CauseComment, policy.Admin, nil,
			mapping.Target{Kind: mapping.Tag, Object: "b", Action: mapping.Invalidate, Reason: "x"},
			"policy doesn't allow tag b",
		},
		{
			"the role is not enough: the reason stays", ledger.CauseDeploy, policy.Write, nil,
			mapping.Target{Kind: mapping.CPCode, Object: "12345", Action: mapping.Invalidate, Reason: "unauthorized cpcode"},
			"unauthorized cpcode",
		},
		{
			"the role is not enough, and nothing failed", ledger.CauseDeploy, policy.Write, nil,
			mapping.Target{Kind: mapping.CPCode, Object: "12345", Action: mapping.Invalidate},
			"purging a CP code needs the admin role and bob has write",
		},
		{
			"what deployments may not", ledger.CauseDeploy, policy.Admin, noDeployDeletes,
			mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/a", Action: mapping.Delete},
			"policy doesn't allow deployments",
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
		by := policy.Person("bob", test.role)
		if test.cause != ledger.CauseComment {
			by = by.Deployed()
		}
		got := grantOf(test.change).Judge(by).Again(test.target)
		if (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
