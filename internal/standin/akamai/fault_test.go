package akamai_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
)

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fault    akamai.Fault
		status   int // 0: no answer
		accepted int
	}{
		{"none", akamai.Fault{}, 201, 1},
		{"slow", akamai.Fault{Delay: time.Millisecond}, 201, 1},
		{"page", akamai.Fault{Status: 502, Body: "<html>"}, 502, 0},
		{"page after acceptance", akamai.Fault{Status: 504, Accept: true}, 504, 1},
		{"dropped", akamai.Fault{Drop: true}, 0, 0},
		{"answer lost", akamai.Fault{Drop: true, Accept: true}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := serve(t, akamai.Config{})
			body := urlsBody(3)
			api.Fault(func(r *http.Request, got []byte) akamai.Fault {
				if string(got) != body || r.URL.Path != "/ccu/v3/delete/url" {
					t.Errorf("asked for %s %s", r.URL.Path, got)
				}
				return tt.fault
			})
			reply, err := api.send(t.Context(), api.signing("POST", "/ccu/v3/delete/url", []byte(body)), nil)
			if reply.status != tt.status || (err == nil) == (tt.status == 0) {
				t.Errorf("status %d, error %v", reply.status, err)
			}
			if got := len(api.Accepted()); got != tt.accepted {
				t.Errorf("%d accepted", got)
			}
			struck := tt.fault.Drop || tt.fault.Status != 0
			if got := api.Requests()[0]; got.Fault != struck || (got.PurgeID != "") != (tt.accepted == 1) {
				t.Errorf("request %+v", got)
			}
			if tt.fault.Status == 502 && (reply.body != "<html>" || reply.header.Get("Content-Type") != "text/html") {
				t.Errorf("reply %+v", reply)
			}
			api.Fault(nil)
			if reply := api.post(t, "/ccu/v3/delete/url", body); reply.status != 201 {
				t.Errorf("after it: %s", reply.body)
			}
		})
	}
}

// A delay ends when the client gives up.
func TestDelayEndsWithTheClient(t *testing.T) {
	api := serve(t, akamai.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	api.Fault(func(*http.Request, []byte) akamai.Fault {
		cancel()
		return akamai.Fault{Delay: time.Hour}
	})
	if _, err := api.send(ctx, api.signing("POST", "/ccu/v3/rate-limit-status/url", nil), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestFaultRate(t *testing.T) {
	run := func(seed uint64) (outcome string, counts akamai.Counts) {
		api := serve(t, akamai.Config{FaultRate: 0.5, Seed: seed, Limits: akamai.Limits{Unlimited: true}})
		for range 60 {
			reply, err := api.send(t.Context(), api.signing("POST", "/ccu/v3/delete/tag", []byte(tagsBody(1))), nil)
			if err != nil {
				outcome += "x"
			} else {
				outcome += strconv.Itoa(reply.status / 100)
			}
		}
		return outcome, api.Counts()
	}
	first, counts := run(1)
	if again, _ := run(1); again != first {
		t.Errorf("one seed, two runs:\n%s\n%s", first, again)
	}
	if other, _ := run(2); other == first {
		t.Error("two seeds, one run")
	}
	for _, kind := range []string{"2", "5", "x"} {
		if !strings.Contains(first, kind) {
			t.Errorf("no %s in %s", kind, first)
		}
	}
	lost := counts.Purges - strings.Count(first, "2")
	if lost == 0 || counts.AnswersLost != lost || counts.Faults != strings.Count(first, "5")+strings.Count(first, "x") {
		t.Errorf("%s: counts %+v", first, counts)
	}
}
