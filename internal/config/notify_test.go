package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/ledger"
)

const (
	hook   = "https://hooks.acme.com/topsecret?sig=1"
	signer = "hushhush-0123456789"
)

// notified loads a configuration with receivers in a variable.
func notified(t *testing.T, notify string) (config.Config, error) {
	t.Helper()
	return config.Load(folder(t, full, pkcs1(t)), env(map[string]string{"HOME": t.TempDir(), "PURGEBOT_NOTIFY": notify}))
}

func TestNotify(t *testing.T) {
	got, err := config.Load(folder(t, full+"notify:\n  - url: "+hook+"\n    secret: "+signer+"\n    events: [held, failed]\n    repositories: ['acme/*']\n", pkcs1(t)),
		env(map[string]string{"HOME": t.TempDir()}))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Receiver{{
		URL: config.NewSecret(hook), Secret: config.NewSecret(signer),
		Events: []ledger.EventKind{ledger.EventHeld, ledger.EventFailed}, Repositories: []string{"acme/*"},
	}}
	if diff := cmp.Diff(want, got.Notify); diff != "" || len(got.Warnings) > 0 {
		t.Error(diff, got.Warnings)
	}
	got, err = notified(t, "- {url: 'http://127.0.0.1:9/x', secret: short}\n- {url: "+hook+", secret: "+signer+"}\n")
	if err != nil || len(got.Notify) != 2 || len(got.Notify[0].Events) != len(ledger.EventKinds()) || got.Notify[0].Repositories != nil {
		t.Errorf("%+v, %v", got.Notify, err)
	}
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "PURGEBOT_NOTIFY: line 1: this secret has fewer than 16 bytes") {
		t.Errorf("%q", got.Warnings)
	}
	if said := fmt.Sprintf("%v %+v %#v", got.Notify, got.Notify, got.Notify); strings.Contains(said, "topsecret") || strings.Contains(said, "hushhush") {
		t.Error(said)
	}
}

func TestNotifyFaults(t *testing.T) {
	good := "url: '" + hook + "', secret: " + signer
	for name, test := range map[string]struct{ notify, want string }{
		"no list":            {"{" + good + "}", "a list of receivers, each with a url and a secret, belongs here"},
		"no receiver":        {"[x]", "a group of keys belongs here"},
		"an unknown key":     {"[{" + good + ", event: [held]}]", `unknown key "event": known here are url, secret, events, repositories`},
		"no url":             {"[{secret: " + signer + "}]", "url is missing"},
		"no secret":          {"[{url: '" + hook + "'}]", "secret is missing: make one with openssl rand -hex 32"},
		"an empty secret":    {"[{url: '" + hook + "', secret: ''}]", "secret is empty"},
		"plain http":         {"[{url: 'http://hooks.acme.com/topsecret', secret: " + signer + "}]", "url must be https"},
		"a user":             {"[{url: 'https://topsecret@hooks.acme.com', secret: " + signer + "}]", "without a user"},
		"no URL":             {"[{url: 'topsecret', secret: " + signer + "}]", "url must be an absolute https URL"},
		"a bad escape":       {"[{url: 'https://hooks.acme.com/%topsecret', secret: " + signer + "}]", "url must be an absolute https URL"},
		"an unknown event":   {"[{" + good + ", events: [held, faild]}]", `there is no event "faild": did you mean failed? there are failed, held, paused, resumed, stale, mended, unheard`},
		"no events":          {"[{" + good + ", events: []}]", "events is empty"},
		"no glob":            {"[{" + good + ", repositories: ['acme/{a']}]", `repositories: "acme/{a" is not a glob`},
		"an empty glob":      {"[{" + good + ", repositories: ['']}]", `repositories: "" is not a glob`},
		"the same twice":     {"[{" + good + "}, {" + good + "}]", "receiver 2 has the url of receiver 1"},
		"more than there is": {"[" + strings.Repeat("{"+good+"},", 21) + "]", "notify has 21 receivers, and may have 20"},
	} {
		_, err := notified(t, test.notify)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "PURGEBOT_NOTIFY: line 1: ") {
			t.Errorf("%s: %v", name, err)
		}
		if said := fmt.Sprint(err); strings.Contains(said, "topsecret") || strings.Contains(said, "hushhush") {
			t.Errorf("%s gives a secret away: %s", name, said)
		}
	}
}
