package purger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/purger"
)

func TestRunEndsWhereNothingHelps(t *testing.T) {
	tests := map[string]struct {
		spoil func(*akamai.Server)
		say   string
		most  int           // requests
		took  time.Duration // at most this long
	}{
		"secret": {func(a *akamai.Server) { a.SetCredentials(akamai.Credentials{ClientSecret: "x"}) }, "does not accept the credentials (Not authorized: The signature does not match)", 10, time.Second},
		"clock":  {func(a *akamai.Server) { a.SetClockSkew(time.Hour) }, "its clock says", 10, time.Second},
		"grant":  {func(a *akamai.Server) { a.SetGranted(false) }, "does not have the grant", 10, time.Second},
		"a portal": {func(a *akamai.Server) {
			a.Fault(func(*http.Request, []byte) akamai.Fault {
				return akamai.Fault{Status: 200, Body: "<h1>Log in</h1>"}
			})
		}, "is not Akamai's purge API (200 OK: Log in)", 20, time.Minute},
		"everything refused alike": {func(a *akamai.Server) {
			a.Fault(func(*http.Request, []byte) akamai.Fault {
				return akamai.Fault{Status: 400, Body: "<h1>No</h1>"}
			})
		}, "refuses every request alike: 400 Bad Request: No", 40, 2 * time.Minute},
		"down for long": {func(a *akamai.Server) {
			a.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Status: 503} })
		}, "reach Akamai: 503 Service Unavailable", 250, time.Hour + time.Minute},
		"never reached": {func(a *akamai.Server) {
			a.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Drop: true} })
		}, "reach Akamai: no answer", 40, 2 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
				client := bubble(t, a)
				test.spoil(a)
				list := urls(20_000)
				start := time.Now()
				sender := purger.Sender{API: client, Budget: purger.NewBudget(start), Patience: time.Hour}
				result, err := sender.Run(t.Context(), invalidateURLs(), slices.Values(list))
				if !errors.Is(err, purger.ErrStopped) || !strings.Contains(err.Error(), test.say) {
					t.Errorf("got %v, want %q", err, test.say)
				}
				if result.Accepted != 0 || len(result.Refused) != len(list) || result.Refused[0].Title != "not sent" || result.Refused[0].Detail == "" {
					t.Errorf("%d accepted, %d refused: %+v", result.Accepted, len(result.Refused), result.Refused[0])
				}
				if result.Attempts > test.most || time.Since(start) > test.took {
					t.Errorf("%d requests in %v", result.Attempts, time.Since(start))
				}
			})
		})
	}
}

// TestRunCancelled: requests under way are answered, objects that were read are reported,
// and the rest of the list is not read.
func TestRunCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(1500*time.Millisecond, cancel)
		list := urls(100_000)
		sender := purger.Sender{API: bubble(t, a), Budget: purger.NewBudget(time.Now())}
		result, err := sender.Run(ctx, invalidateURLs(), slices.Values(list))
		if !errors.Is(err, context.Canceled) || !errors.Is(err, purger.ErrStopped) {
			t.Errorf("got %v", err)
		}
		if n := a.Counts().Objects; result.Accepted != n || n == 0 {
			t.Errorf("%d accepted, the run knows of %d", n, result.Accepted)
		}
		read := result.Accepted + len(result.Refused)
		if read >= len(list) || result.Lost > 0 {
			t.Errorf("%d read, %d lost", read, result.Lost)
		}
		for i, r := range result.Refused {
			if r.Object != list[result.Accepted+i] || r.Detail != "cancelled" {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// TestRunCancelledWithoutAnswers: a server that hangs does not delay the end for long.
func TestRunCancelledWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sender := purger.Sender{API: bubble(t, a)}
		start := time.Now()
		result, err := sender.Run(ctx, invalidateURLs(), slices.Values(urls(10)))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 7*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if len(result.Refused) != 10 || result.Lost != 1 {
			t.Errorf("%d refused, %d lost", len(result.Refused), result.Lost)
		}
	})
}

func TestRunSlowBuckets(t *testing.T) {
	tests := map[purger.Kind]struct {
		n, burst  int
		perSecond float64
	}{
		purger.Tag:    {7_000, 5_000, 500.0 / 60},
		purger.CPCode: {400, 300, 0.5},
	}
	for kind, test := range tests {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
				list := make([]string, test.n)
				for i := range list {
					list[i] = fmt.Sprint(1000 + i)
				}
				o := run(t, a, purger.Request{Kind: kind, Network: purger.Production, Action: purger.Invalidate}, slices.Values(list))
				if o.err != nil {
					t.Fatal(o.err)
				}
				o.each(t, list)
				bound := time.Duration(float64(test.n-test.burst) / test.perSecond * float64(time.Second))
				if o.took > bound+bound/50 || o.Limited > 0 {
					t.Errorf("took %v, the bucket allows %v; %d times over the budget", o.took, bound, o.Limited)
				}
				for i, p := range a.Accepted()[1:] {
					if gap := p.At.Sub(a.Accepted()[i].At); gap > 25*time.Second {
						t.Errorf("%v without a request", gap)
					}
				}
			})
		})
	}
}

// TestRunOneObjectRefused: a refusal by the purge service is about the object even if it
// does not name it. A page of another form may be about the traffic.
func TestRunOneObjectRefused(t *testing.T) {
	tests := map[string]struct {
		body    string
		stopped bool
	}{
		"by the service": {`{"httpStatus":400,"title":"bad request","detail":""}`, false},
		"by a page":      {`<h1>No</h1>`, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{})
				a.Fault(func(*http.Request, []byte) akamai.Fault {
					return akamai.Fault{Status: 400, Body: test.body}
				})
				o := run(t, a, invalidateURLs(), slices.Values(urls(1)))
				if errors.Is(o.err, purger.ErrStopped) != test.stopped || len(o.Refused) != 1 || (o.took > 0) != test.stopped {
					t.Errorf("%v after %v: %+v", o.err, o.took, o.Refused)
				}
			})
		})
	}
}

// TestRunOtherLimits: the limits in Akamai's answers count, not those in the
// documentation.
func TestRunOtherLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{
			Latency: 20 * time.Millisecond,
			Limits: akamai.Limits{
				URLs:     akamai.Bucket{Burst: 500, PerSecond: 200},
				Requests: akamai.Bucket{Burst: 2, PerSecond: 1},
			},
		})
		list := urls(12_000)
		o := run(t, a, invalidateURLs(), slices.Values(list))
		if o.err != nil {
			t.Fatal(o.err)
		}
		o.each(t, list)
		if o.took > 66*time.Second {
			t.Errorf("took %v, the bucket allows 57.5 s; %d times over the budget", o.took, o.Limited)
		}
	})
}

// TestRunTruncatesTo429: the tokens that others left are used without waiting for more.
func TestRunTruncatesTo429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{})
		list := urls(10_200)
		others, mine := list[:9_700], list[9_700:]
		run(t, a, invalidateURLs(), slices.Values(others))
		before, start := len(a.Accepted()), time.Now()
		o := run(t, a, invalidateURLs(), slices.Values(mine))
		if o.err != nil || o.Limited != 1 || o.Accepted != 500 {
			t.Fatalf("%+v", o.Result)
		}
		first, last := a.Accepted()[before], a.Accepted()[before+1]
		if len(first.Objects) != 300 || !first.At.Equal(start) || len(last.Objects) != 200 || last.At.Sub(start) != time.Second {
			t.Errorf("%d after %v, %d after %v", len(first.Objects), first.At.Sub(start), len(last.Objects), last.At.Sub(start))
		}
	})
}

// TestRunDuplicatesAndNonsense: objects that cannot be sent are reported, and the rest is
// sent.
func TestRunDuplicatesAndNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{})
		list := []string{"one", "two", "one", "not a tag", "", "two", strings.Repeat("x", 129), "three"}
		o := run(t, a, purger.Request{Kind: purger.Tag, Network: purger.Staging, Action: purger.Delete}, slices.Values(list))
		if o.err != nil || o.Accepted != 3 || o.Duplicates != 2 || len(o.Refused) != 3 || o.Attempts != 1 {
			t.Errorf("%+v", o)
		}
		for _, r := range o.Refused {
			if r.Title != "not sent" || r.Detail == "" {
				t.Errorf("%+v", r)
			}
		}
	})
}

// TestRunSplitsWhatIsTooLarge: the limit is lower than documented.
func TestRunSplitsWhatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{})
		a.Fault(func(_ *http.Request, body []byte) akamai.Fault {
			if len(body) > 20_000 {
				return akamai.Fault{Status: http.StatusRequestEntityTooLarge}
			}
			return akamai.Fault{}
		})
		list := append(urls(1000), "https://www.acme.com/"+strings.Repeat("x", 30_000))
		o := run(t, a, invalidateURLs(), slices.Values(list))
		if o.err != nil || len(o.Refused) != 1 || o.Refused[0].Title != "413 Request Entity Too Large" {
			t.Errorf("%v, %d refused", o.err, len(o.Refused))
		}
		o.each(t, list)
	})
}

// TestRunSilent429: an answer without numbers means Akamai's five seconds.
func TestRunSilent429(t *testing.T) {
	for _, status := range []int{429, 507} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{})
				until := time.Now().Add(20 * time.Second)
				a.Fault(func(*http.Request, []byte) akamai.Fault {
					if time.Now().Before(until) {
						return akamai.Fault{Status: status}
					}
					return akamai.Fault{}
				})
				list := urls(1000)
				o := run(t, a, invalidateURLs(), slices.Values(list))
				if o.err != nil {
					t.Fatal(o.err)
				}
				o.each(t, list)
				if o.Attempts > 20 || o.took > 45*time.Second {
					t.Errorf("%d requests, took %v", o.Attempts, o.took)
				}
			})
		})
	}
}

// TestRunReportsProgress: progress never goes back, and it ends at the whole.
func TestRunReportsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond, FaultRate: 0.5, Seed: 1})
		var last purger.Progress
		trouble := 0
		sender := purger.Sender{API: bubble(t, a), Progress: func(p purger.Progress) {
			if p.Accepted < last.Accepted || p.Read < last.Read {
				t.Errorf("%+v after %+v", p, last)
			}
			if p.Trouble != "" {
				trouble++
			}
			last = p
		}}
		list := urls(20_000)
		if _, err := sender.Run(t.Context(), invalidateURLs(), slices.Values(list)); err != nil {
			t.Fatal(err)
		}
		if last.Accepted != len(list) || last.Read != len(list) || !last.Complete || last.Trouble != "" {
			t.Errorf("ends with %+v", last)
		}
		if trouble == 0 {
			t.Error("half of all requests failed, and there was no trouble")
		}
	})
}

// TestRunReadsAsItSends: a list is read only as fast as it is sent.
func TestRunReadsAsItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
		read, most := 0, 0
		list := func(yield func(string) bool) {
			for _, url := range urls(50_000) {
				read++
				most = max(most, read-a.Counts().Objects)
				if !yield(url) {
					return
				}
			}
		}
		sender := purger.Sender{API: bubble(t, a), Budget: purger.NewBudget(time.Now())}
		if _, err := sender.Run(t.Context(), invalidateURLs(), list); err != nil {
			t.Fatal(err)
		}
		if most > 12*600 {
			t.Errorf("%d objects ahead", most)
		}
	})
}

// refusing answers with errors of a transport, according to a script.
type refusing struct{ err error }

func (r refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, r.err }

func TestRunNeverReachedEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := purger.New(purger.Config{
			Credentials: credentialsOf(akamai.New(akamai.Config{})),
			HTTP:        &http.Client{Transport: refusing{io.ErrClosedPipe}},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		sender := purger.Sender{API: client}
		result, err := sender.Run(t.Context(), invalidateURLs(), slices.Values(urls(3)))
		if err == nil || len(result.Refused) != 3 || result.Lost != 0 {
			t.Errorf("%v, %+v", err, result)
		}
		if d := time.Since(start); d < 30*time.Second || d > time.Minute {
			t.Errorf("after %v", d)
		}
	})
}
