package ledger_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/ledger"
)

func TestPauseCovers(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause ledger.Pause
		cause ledger.Cause
		want  bool
	}{
		{"everything", ledger.Pause{}, ledger.CauseDeploy, true},
		{"everything but people's", ledger.Pause{}, ledger.CauseComment, false},
		{"people's too", ledger.Pause{All: true}, ledger.CauseComment, true},
		{"the repository in other letters", ledger.Pause{Scope: ledger.Scope{Repositories: "ACME/si*"}}, ledger.CauseDeploy, true},
		{"another repository", ledger.Pause{Scope: ledger.Scope{Repositories: "acme/shop"}}, ledger.CauseDeploy, false},
		{"the environment in other letters", ledger.Pause{Scope: ledger.Scope{Environment: "PRODUCTION"}}, ledger.CauseDeploy, true},
		{"another environment", ledger.Pause{Scope: ledger.Scope{Environment: "staging"}}, ledger.CauseDeploy, false},
		{"the account", ledger.Pause{Scope: ledger.Scope{Account: "default"}}, ledger.CauseDeploy, true},
		{"another account", ledger.Pause{Scope: ledger.Scope{Account: "shop"}}, ledger.CauseDeploy, false},
		{"one name fits, the other does not", ledger.Pause{Scope: ledger.Scope{Repositories: "acme/*", Environment: "staging"}}, ledger.CauseDeploy, false},
	} {
		if got := test.pause.Covers("Acme/Site", "production", "default", test.cause); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
