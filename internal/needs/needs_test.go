package needs_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/mapping"
)

func TestLacks(t *testing.T) {
	plain, all := needs.Ask(needs.Chosen()), needs.Ask(needs.All())
	for _, tt := range []struct {
		trigger mapping.TriggerKind
		app     needs.App
		want    string // what is lacking
	}{
		{mapping.OnDeployment, plain, ""},
		{mapping.OnPush, plain, ""},
		{mapping.OnCheck, plain, ""},
		{mapping.OnStatus, plain, "Status"},
		{mapping.OnWorkflow, plain, "Actions (read) and Workflow run"},
		{mapping.OnStatus, all, ""},
		{mapping.OnWorkflow, all, ""},
		{mapping.OnCheck, needs.App{Permissions: map[string]string{"checks": "write"}}, ""}, // subscribed by itself
		{mapping.OnCheck, needs.App{Permissions: map[string]string{"checks": "read"}}, "Checks (write) and Check run"},
		{mapping.OnStatus, needs.App{Events: []string{"status"}}, "Commit statuses (read)"},
		{mapping.OnWorkflow, needs.App{Permissions: map[string]string{"actions": "write"}, Events: []string{"workflow_run"}}, ""},
	} {
		if got := tt.app.Lacks(needs.Of(tt.trigger)); got.String() != tt.want || got.Nothing() != (tt.want == "") {
			t.Errorf("%s with %v: lacks %q, want %q", tt.trigger, tt.app, got, tt.want)
		}
	}
}

func TestUnheard(t *testing.T) {
	plain, all := needs.Ask(needs.Chosen()), needs.Ask(needs.All())
	for _, tt := range []struct {
		installed, app needs.App
		want           string
	}{
		{all, all, ""},
		{all, plain, ""}, // an account keeps what it accepted
		{plain, plain, "this App does not receive `workflow_run` events: its operator must add Actions (read) and Workflow run in the App's settings"},
		{plain, all, "this App does not receive `workflow_run` events: an owner of acme must accept its new permissions"},
	} {
		if got := needs.Unheard(mapping.OnWorkflow, tt.installed, tt.app, "acme"); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	for _, n := range needs.All() { // a status takes 140 characters
		for _, app := range []needs.App{{}, all} {
			if n.Trigger == "" {
				continue
			}
			if got := needs.Unheard(n.Trigger, needs.App{}, app, strings.Repeat("x", 39)); utf8.RuneCountInString(got) > 140 {
				t.Errorf("%d characters: %s", utf8.RuneCountInString(got), got)
			}
		}
	}
}
