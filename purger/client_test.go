package purger_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/purger"
)

func oneURL() purger.Request {
	r := invalidateURLs()
	r.Objects = []string{"https://www.acme.com/"}
	return r
}

func TestSendToStandIn(t *testing.T) {
	tests := map[string]struct {
		config  akamai.Config
		spoil   func(*akamai.Server)
		request purger.Request
		want    purger.Verdict
	}{
		"accepted":    {request: oneURL(), want: purger.Accepted},
		"an ARL":      {request: purger.Request{Kind: purger.URL, Network: purger.Staging, Action: purger.Delete, Objects: []string{"/L/512/6848/1h/www.example1.com/"}}, want: purger.Accepted},
		"CP codes":    {request: purger.Request{Kind: purger.CPCode, Network: purger.Staging, Action: purger.Delete, Objects: []string{"1", "2"}}, want: purger.Accepted},
		"no objects":  {request: purger.Request{Kind: purger.Tag, Network: purger.Staging, Action: purger.Delete}, want: purger.Refused},
		"other host":  {config: akamai.Config{Hosts: []string{"x"}}, request: oneURL(), want: purger.Refused},
		"limited":     {config: akamai.Config{Limits: akamai.Limits{URLs: akamai.Bucket{Burst: -1, PerSecond: 1}}}, request: oneURL(), want: purger.Limited},
		"clock":       {spoil: func(a *akamai.Server) { a.SetClockSkew(-time.Minute) }, request: oneURL(), want: purger.ClockSkew},
		"secret":      {spoil: func(a *akamai.Server) { a.SetCredentials(akamai.Credentials{ClientSecret: "x"}) }, request: oneURL(), want: purger.BadCredentials},
		"tokens":      {spoil: func(a *akamai.Server) { a.SetCredentials(akamai.Credentials{AccessToken: "x"}) }, request: oneURL(), want: purger.BadCredentials},
		"grant":       {spoil: func(a *akamai.Server) { a.SetGranted(false) }, request: oneURL(), want: purger.NoGrant},
		"no such API": {request: purger.Request{Kind: purger.URL, Network: "live", Action: purger.Delete, Objects: []string{"x"}}, want: purger.NotServed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := akamai.New(test.config)
			client := served(t, a, credentialsOf(a))
			if test.spoil != nil {
				test.spoil(a)
			}
			if got := client.Send(t.Context(), test.request); got.Verdict != test.want {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestSendNamesTheOffender(t *testing.T) {
	a := akamai.New(akamai.Config{Hosts: []string{"www.acme.com"}})
	client := served(t, a, credentialsOf(a))
	for object, title := range map[string]string{
		"https://www.evil.com/":       "unauthorized arl",
		"https://www.acme.com/ó":      "bad URL",
		"https://www.acme.com/it's/ó": "bad URL",
		"https://-bad-/x":             "bad URL hostname",
		"www.acme.com":                "bad URL",
		"https://www.acme.com/a b":    "bad URL",
	} {
		got := client.Send(t.Context(), purger.Request{
			Kind: purger.URL, Network: purger.Production, Action: purger.Invalidate,
			Objects: []string{"https://www.acme.com/", object, "https://www.acme.com/last"},
		})
		if got.Verdict != purger.Refused || got.Offender != object || got.Title != title {
			t.Errorf("%s: %+v", object, got)
		}
	}
}

func TestRateLimitStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{})
		client := bubble(t, a)
		client.Send(t.Context(), oneURL())
		got := client.RateLimitStatus(t.Context(), purger.URL)
		if l := got.Limits.Objects; got.Verdict != purger.Accepted || l.Limit == nil || l.Remaining == nil || *l.Limit != 10_000 || *l.Remaining != 9_999 {
			t.Errorf("%+v", got)
		}
		if got := client.RateLimitStatus(t.Context(), "page"); got.Verdict != purger.NotServed {
			t.Errorf("%+v", got)
		}
		if n := len(a.Accepted()); n != 1 {
			t.Errorf("asking purged %d times", n-1)
		}
	})
}

// TestSendTellsLostFromUnsent: a lost answer may have been an acceptance. If there never
// was a connection, it cannot have been.
func TestSendTellsLostFromUnsent(t *testing.T) {
	a := akamai.New(akamai.Config{})
	credentials := credentialsOf(a)
	var fault akamai.Fault
	a.Fault(func(*http.Request, []byte) akamai.Fault { return fault })

	t.Run("cut", func(t *testing.T) {
		client := served(t, a, credentials)
		fault = akamai.Fault{Drop: true}
		if got := client.Send(t.Context(), oneURL()); got.Verdict != purger.Unavailable || !got.Lost || got.Err == nil || got.Detail == "" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("cut on a connection that worked", func(t *testing.T) {
		client := served(t, a, credentials)
		fault = akamai.Fault{}
		if got := client.Send(t.Context(), oneURL()); got.Verdict != purger.Accepted {
			t.Fatalf("%+v", got)
		}
		before := a.Counts().Requests
		fault = akamai.Fault{Drop: true, Accept: true}
		if got := client.Send(t.Context(), oneURL()); got.Verdict != purger.Unavailable || !got.Lost {
			t.Errorf("%+v", got)
		}
		if n := a.Counts().Requests - before; n != 1 {
			t.Errorf("%d requests for one attempt", n)
		}
	})
	t.Run("slow", func(t *testing.T) {
		server := httptest.NewServer(a)
		defer server.Close()
		client, err := purger.New(purger.Config{Credentials: credentials, BaseURL: server.URL, Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		fault = akamai.Fault{Delay: time.Minute}
		got := client.Send(t.Context(), oneURL())
		if got.Verdict != purger.Unavailable || !got.Lost || !errors.Is(got.Err, context.DeadlineExceeded) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		url := "http://" + listener.Addr().String()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		client, err := purger.New(purger.Config{Credentials: credentials, BaseURL: url})
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Send(t.Context(), oneURL()); got.Verdict != purger.Unavailable || got.Lost || got.Err == nil {
			t.Errorf("%+v", got)
		}
	})
}

func TestSendAnswerCutShort(t *testing.T) {
	for status, want := range map[int]purger.Verdict{201: purger.Accepted, 403: purger.Refused, 503: purger.Unavailable} {
		client := served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"httpStatus":1,"title":"t`))
		}), credentialsOf(akamai.New(akamai.Config{})))
		if got := client.Send(t.Context(), oneURL()); got.Verdict != want || got.Status != status {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

// TestSendFollowsNothing: a signature is valid for one address. A redirected POST would
// also become a GET, which purges nothing.
func TestSendFollowsNothing(t *testing.T) {
	var requests atomic.Int32
	client := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}), credentialsOf(akamai.New(akamai.Config{})))
	if got := client.Send(t.Context(), oneURL()); got.Verdict != purger.NotServed || requests.Load() != 1 {
		t.Errorf("%d requests, %+v", requests.Load(), got)
	}
}

func TestSendUnsendable(t *testing.T) {
	a := akamai.New(akamai.Config{})
	client := served(t, a, credentialsOf(a))
	long := strings.Repeat("x", 30_000)
	for name, test := range map[string]struct {
		objects  []string
		want     purger.Verdict
		offender string
	}{
		"one too long":  {[]string{"https://a/", long + long}, purger.Refused, long + long},
		"two, together": {[]string{long, long}, purger.TooLarge, ""},
	} {
		r := oneURL()
		r.Objects = test.objects
		if got := client.Send(t.Context(), r); got.Verdict != test.want || got.Offender != test.offender || got.Err == nil {
			t.Errorf("%s: %s, %s", name, got.Verdict, got.Detail)
		}
	}
	if n := a.Counts().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestNewRefuses(t *testing.T) {
	credentials := credentialsOf(akamai.New(akamai.Config{}))
	for name, c := range map[string]purger.Config{
		"no credentials": {},
		"no scheme":      {Credentials: credentials, BaseURL: "akamai.test"},
		"other scheme":   {Credentials: credentials, BaseURL: "ftp://akamai.test"},
		"a query":        {Credentials: credentials, BaseURL: "https://akamai.test?x"},
		"a user":         {Credentials: credentials, BaseURL: "https://a:b@akamai.test"},
	} {
		if _, err := purger.New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestWaitForTheEstimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{})
		client := bubble(t, a)
		start := time.Now()
		receipt := client.Send(t.Context(), oneURL()).Receipt(1, start)
		if err := client.Wait(t.Context(), receipt); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		receipt.At = time.Now()
		if err := client.Wait(ctx, receipt); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
