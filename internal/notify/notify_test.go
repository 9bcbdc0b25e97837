package notify_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/notify"
	"github.com/purgebot/purgebot/internal/servertest"
)

func poster(t *testing.T, networks ...netip.Prefix) *fetch.Fetcher {
	t.Helper()
	f := fetch.New(fetch.Config{Agent: "purgebot/test", Address: fetch.Public(networks), Timeout: time.Minute})
	t.Cleanup(f.Close)
	return f
}

func loopback() netip.Prefix { return netip.MustParsePrefix("127.0.0.0/8") }

// What is sent is signed. The same event has the same id for every receiver.
func TestSend(t *testing.T) {
	r := servertest.NewReceiver(t, schemaPage)
	to := notify.Receivers([]config.Receiver{r.Config()})[0]
	for _, m := range messages() {
		if _, err := to.Send(t.Context(), poster(t, loopback()), m); err != nil {
			t.Error(err)
		}
	}
	if got := len(r.Heard()); got != len(messages()) {
		t.Errorf("%d arrived", got)
	}
}

// No answer, refusal or fault reveals the address or the secret, and none leads to
// another address.
func TestSendGivesNothingAway(t *testing.T) {
	reached := false
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer inner.Close()
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved/topsecret":
			http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
		case "/busy/topsecret":
			w.Header().Set("Retry-After", "90000")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/cut/topsecret":
			panic(http.ErrAbortHandler)
		}
	}))
	outer.Config.ErrorLog = nil
	defer outer.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, test := range map[string]struct {
		url   string
		by    *fetch.Fetcher
		words string
		after time.Duration
	}{
		"a redirect":        {outer.URL + "/moved/topsecret", poster(t, loopback()), "it answers 307", 0},
		"a limit":           {outer.URL + "/busy/topsecret", poster(t, loopback()), "it answers 429", time.Hour},
		"nothing":           {outer.URL + "/cut/topsecret", poster(t, loopback()), "EOF", 0},
		"nobody":            {gone.URL + "/topsecret", poster(t, loopback()), "can't connect", 0},
		"this machine":      {inner.URL + "/topsecret", poster(t), "this machine; fetch.networks", 0},
		"a cloud's secrets": {"http://169.254.169.254/topsecret", poster(t), "link-local", 0},
		"a private network": {"https://10.1.2.3/topsecret", poster(t), "private", 0},
		"no TLS":            {strings.Replace(outer.URL, "http:", "https:", 1) + "/topsecret", poster(t, loopback()), "TLS handshake", 0},
	} {
		to := notify.Receivers([]config.Receiver{{URL: config.NewSecret(test.url), Secret: config.NewSecret("hushhush"), Events: ledger.EventKinds()}})[0]
		after, err := to.Send(t.Context(), test.by, messages()["held"])
		if err == nil || !strings.Contains(err.Error(), test.words) || after != test.after {
			t.Errorf("%s: %v, after %v", name, err, after)
		}
		for _, said := range []string{fmt.Sprint(err), to.Name, to.ID, fmt.Sprintf("%+v %#v", to, to)} {
			if strings.Contains(said, "topsecret") || strings.Contains(said, "hushhush") {
				t.Errorf("%s: %s", name, said)
			}
		}
	}
	if reached {
		t.Error("a redirect was followed, or loopback reached")
	}
}
