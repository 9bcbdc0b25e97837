package purger_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/purger"
)

func bubbleV2(t *testing.T, a http.Handler, c purger.Credentials, basic purger.Basic) *purger.V2 {
	t.Helper()
	v, err := purger.NewV2(purger.Config{
		Credentials: c, BaseURL: "http://akamai.test", HTTP: &http.Client{Transport: inProcess{a}},
	}, basic)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestV2UntilDone sends a list and waits. CCU v2 is asked no more often than it wants,
// and only "Done" counts as done.
func TestV2UntilDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{})
		v := bubbleV2(t, a, credentialsOf(a), purger.Basic{})
		list := urls(1200)
		sender := purger.Sender{API: v}
		result, err := sender.Run(t.Context(), purger.Request{Kind: purger.URL, Network: purger.Staging, Action: purger.Delete}, slices.Values(list))
		if err != nil || result.Accepted != len(list) || len(result.Requests) != 3 {
			t.Fatalf("%d in %d requests, %v", result.Accepted, len(result.Requests), err)
		}
		for _, p := range a.Accepted() {
			if p.API != "v2" || p.Kind != "url" || p.Network != "staging" || p.Action != "delete" || len(p.Objects) > 500 {
				t.Errorf("%s %s %s %s of %d", p.API, p.Action, p.Kind, p.Network, len(p.Objects))
			}
		}
		start := time.Now()
		for _, r := range result.Requests {
			if err := v.Wait(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(start); d < 240*time.Second || d > 310*time.Second {
			t.Errorf("done after %v, it takes 240 s", d)
		}
		if n, answer := v.QueueLength(t.Context()); n != 0 || answer.Verdict != purger.Accepted {
			t.Errorf("%d in the queue, %+v", n, answer)
		}
	})
}

// TestV2KeepsTheQueue: 10,000 objects fit into the queue, and the others wait for room.
func TestV2KeepsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
		list := urls(25_000)
		sender := purger.Sender{API: bubbleV2(t, a, credentialsOf(a), purger.Basic{})}
		start := time.Now()
		result, err := sender.Run(t.Context(), invalidateURLs(), slices.Values(list))
		if err != nil || result.Accepted != len(list) {
			t.Fatalf("%d accepted, %v", result.Accepted, err)
		}
		if n := a.Counts().Refused; n > 0 {
			t.Errorf("the queue was full %d times", n)
		}
		if d := time.Since(start); d > 15*time.Minute {
			t.Errorf("took %v", d)
		}
	})
}

func TestV2Basic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{BasicUser: "ops", BasicPassword: "secret"})
		r := purger.Request{Kind: purger.CPCode, Network: purger.Production, Action: purger.Invalidate, Objects: []string{"12345"}}
		if got := bubbleV2(t, a, purger.Credentials{}, purger.Basic{User: "ops", Password: "secret"}).Send(t.Context(), r); got.Verdict != purger.Accepted {
			t.Errorf("%+v", got)
		}
		if got := bubbleV2(t, a, purger.Credentials{}, purger.Basic{User: "ops", Password: "wrong"}).Send(t.Context(), r); got.Verdict != purger.BadCredentials {
			t.Errorf("%+v", got)
		}
	})
}

// v2Script answers the status requests of one purge in turn, and repeats the last answer.
type v2Script struct {
	progress string
	replies  []string
	asked    []string // for what, each time
}

func (s *v2Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"httpStatus":201,"purgeId":"p","progressUri":%q,"pingAfterSeconds":60,"estimatedSeconds":240}`, s.progress)
	case strings.HasSuffix(r.URL.Path, "/queues/default"):
		fmt.Fprint(w, `{"httpStatus":200,"queueLength":0}`)
	default:
		s.asked = append(s.asked, r.URL.RequestURI())
		reply := s.replies[min(len(s.asked), len(s.replies))-1]
		if status, body, ok := strings.Cut(reply, "!"); ok {
			w.WriteHeader(map[string]int{"503": 503, "401": 401}[status])
			reply = body
		}
		fmt.Fprint(w, reply)
	}
}

func TestV2Wait(t *testing.T) {
	const (
		done    = `{"httpStatus":200,"purgeStatus":"Done","completionTime":"2026-11-22T04:00:00Z"}`
		working = `{"httpStatus":200,"purgeStatus":"In-Progress","submissionTime":"x","progressUri":"/ccu/v2/purges/p?second","pingAfterSeconds":30}`
		unknown = `{"httpStatus":200,"purgeStatus":"Unknown","pingAfterSeconds":60}`
	)
	tests := map[string]struct {
		progress string
		replies  []string
		err      string
		took     time.Duration // at least this long, and less than twice
	}{
		"done at once":        {"/ccu/v2/purges/p", []string{done}, "", time.Minute},
		"as often as told":    {"/ccu/v2/purges/p", []string{working, working, done}, "", 2 * time.Minute},
		"absolute":            {"http://akamai.test/ccu/v2/purges/p", []string{done}, "", time.Minute},
		"unknown at first":    {"/ccu/v2/purges/p", []string{unknown, done}, "", 2 * time.Minute},
		"never known":         {"/ccu/v2/purges/p", []string{unknown}, "does not know this purge", 14 * time.Minute},
		"trouble in between":  {"/ccu/v2/purges/p", []string{"503!", "503!<html>", done}, "", time.Minute},
		"credentials revoked": {"/ccu/v2/purges/p", []string{"401!"}, "does not accept the credentials", time.Minute},
		"somewhere else":      {"http://evil.test/ccu/v2/purges/p", nil, "is not at akamai.test", time.Minute},
		"not as it was sent":  {"https://akamai.test/ccu/v2/purges/p", nil, "is not at akamai.test", time.Minute},
		"nowhere":             {"", nil, "does not know this purge", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script := &v2Script{progress: test.progress, replies: test.replies}
				v := bubbleV2(t, script, credentialsOf(akamai.New(akamai.Config{})), purger.Basic{})
				start := time.Now()
				err := v.Wait(t.Context(), v.Send(t.Context(), oneURL()).Receipt(1, start))
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				for i, uri := range script.asked {
					first := !slices.Contains(script.replies[:min(i, len(script.replies))], working)
					if want := "/ccu/v2/purges/p"; first && uri != want || !first && uri != want+"?second" {
						t.Errorf("asked for %s", uri)
					}
				}
				if took := time.Since(start); took < test.took || took > 2*test.took {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestV2HasNoTags(t *testing.T) {
	a := akamai.New(akamai.Config{})
	v := bubbleV2(t, a, credentialsOf(a), purger.Basic{})
	r := purger.Request{Kind: purger.Tag, Network: purger.Production, Action: purger.Invalidate, Objects: []string{"x"}}
	if got := v.Send(t.Context(), r); got.Verdict == purger.Accepted || got.Err == nil {
		t.Errorf("%+v", got)
	}
	sender := purger.Sender{API: v}
	if _, err := sender.Run(t.Context(), r, slices.Values(r.Objects)); err == nil {
		t.Error("taken")
	}
	if n := a.Counts().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
}
