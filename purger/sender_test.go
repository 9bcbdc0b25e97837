package purger_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/purger"
)

// urls are n different URLs of about 80 bytes.
func urls(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("https://www.acme.com/content/section-%02d/some-article-with-a-long-name-%07d.html", i%40, i)
	}
	return list
}

func invalidateURLs() purger.Request {
	return purger.Request{Kind: purger.URL, Network: purger.Production, Action: purger.Invalidate}
}

// outcome compares what the stand-in accepted with what the run reports.
type outcome struct {
	purger.Result
	err    error
	took   time.Duration
	counts akamai.Counts
	times  map[string]int // how often each object was accepted
}

func run(t *testing.T, a *akamai.Server, r purger.Request, objects iter.Seq[string]) outcome {
	t.Helper()
	start := time.Now()
	sender := purger.Sender{API: bubble(t, a), Budget: purger.NewBudget(start)}
	result, err := sender.Run(t.Context(), r, objects)
	o := outcome{Result: result, err: err, took: time.Since(start), counts: a.Counts(), times: map[string]int{}}
	for _, p := range a.Accepted() {
		for _, object := range p.Objects {
			o.times[object]++
		}
	}
	return o
}

// each checks that every object was accepted exactly once, except those that were refused
// and those whose answer was lost.
func (o outcome) each(t *testing.T, objects []string) {
	t.Helper()
	refused := map[string]bool{}
	for _, r := range o.Refused {
		if refused[r.Object] {
			t.Errorf("%s is refused twice", r.Object)
		}
		refused[r.Object] = true
	}
	for _, object := range objects {
		switch n := o.times[object]; {
		case refused[object] && n > 0:
			t.Errorf("%s is called refused, but was accepted", object)
		case !refused[object] && n == 0:
			t.Errorf("%s was never accepted", object)
		case n > 1 && o.Lost == 0:
			t.Errorf("%s was accepted %d times", object, n)
		}
	}
	if want := len(objects) - len(refused); o.Accepted != want {
		t.Errorf("%d accepted, want %d", o.Accepted, want)
	}
}

func TestRunKeepsTheBudget(t *testing.T) {
	for _, n := range []int{12_000, 100_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
				list := urls(n)
				o := run(t, a, invalidateURLs(), slices.Values(list))
				if o.err != nil {
					t.Fatal(o.err)
				}
				o.each(t, list)
				bound := time.Duration(n-10_000) * time.Second / 200
				if o.took > bound+bound/50 {
					t.Errorf("took %v, the bucket allows %v", o.took, bound)
				}
				if o.Limited*20 > len(o.Requests) {
					t.Errorf("%d times over the budget for %d requests", o.Limited, len(o.Requests))
				}
				if fill := float64(o.counts.Bytes) / float64(o.counts.Purges*purger.MaxBody); fill < 0.99*float64(o.counts.Purges-1)/float64(o.counts.Purges) {
					t.Errorf("bodies are %.1f %% full", 100*fill)
				}
				t.Logf("%d: %v of %v, %d requests, %d limited, %.2f %% full", n, o.took, bound, o.counts.Purges, o.Limited,
					float64(o.counts.Bytes)/float64(o.counts.Purges)/purger.MaxBody*100)
			})
		})
	}
}

func TestRunWithFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{
			Latency: 20 * time.Millisecond, FaultRate: 0.05, Seed: 7, Limits: akamai.Limits{Unlimited: true},
		})
		list := urls(50_000)
		start := time.Now()
		sender := purger.Sender{API: bubble(t, a)}
		result, err := sender.Run(t.Context(), invalidateURLs(), slices.Values(list))
		if err != nil {
			t.Fatal(err)
		}
		counts := a.Counts()
		if result.Accepted != len(list) || counts.Faults == 0 {
			t.Errorf("%d accepted, %d faults", result.Accepted, counts.Faults)
		}
		if twice := counts.Objects - len(list); (twice > 0) != (counts.AnswersLost > 0) || result.Lost < counts.AnswersLost {
			t.Errorf("%d accepted twice with %d answers lost, of which the run knows %d", twice, counts.AnswersLost, result.Lost)
		}
		t.Log(time.Since(start), counts)
	})
}

func TestRunLimitedWithFaultsIsStillFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond, FaultRate: 0.05, Seed: 3})
		list := urls(50_000)
		o := run(t, a, invalidateURLs(), slices.Values(list))
		if o.err != nil {
			t.Fatal(o.err)
		}
		o.each(t, list)
		bound := time.Duration(o.counts.Objects-10_000) * time.Second / 200
		if o.took > bound+bound/50 {
			t.Errorf("took %v, the bucket allows %v for what was accepted, twice included", o.took, bound)
		}
		t.Log(o.took, bound, o.counts, o.Limited)
	})
}

func TestRunSetsRefusedObjectsApart(t *testing.T) {
	tests := map[string]struct {
		refuse  []int
		status  int
		title   string
		unnamed bool // Akamai refuses but names no object
	}{
		"403 names one":        {refuse: []int{17}},
		"403 names several":    {refuse: []int{0, 3, 599, 600, 1999}},
		"400 names one":        {refuse: []int{17}, status: 400, title: "bad URL"},
		"nothing named":        {refuse: []int{17}, unnamed: true},
		"nothing named, three": {refuse: []int{0, 700, 701}, unnamed: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{})
				list := urls(2000)
				for _, i := range test.refuse {
					if test.unnamed {
						continue
					}
					a.Refuse(list[i], test.status, test.title)
				}
				if test.unnamed {
					a.Fault(refuseSilently(list, test.refuse))
				}
				o := run(t, a, invalidateURLs(), slices.Values(list))
				if o.err != nil {
					t.Fatal(o.err)
				}
				o.each(t, list)
				var refused []string
				for _, r := range o.Refused {
					refused = append(refused, r.Object)
				}
				slices.Sort(refused)
				var want []string
				for _, i := range test.refuse {
					want = append(want, list[i])
				}
				slices.Sort(want)
				if !slices.Equal(refused, want) {
					t.Errorf("refused %q, want %q", refused, want)
				}
				t.Log(o.took, o.counts)
			})
		})
	}
}

// refuseSilently answers 400 to every request that has one of the objects. The answer has
// Akamai's form but names no object.
func refuseSilently(list []string, which []int) func(*http.Request, []byte) akamai.Fault {
	return func(_ *http.Request, body []byte) akamai.Fault {
		for _, i := range which {
			if strings.Contains(string(body), `"`+list[i]+`"`) {
				return akamai.Fault{Status: 400, Body: `{"httpStatus":400,"title":"bad request","detail":"","supportId":"x"}`}
			}
		}
		return akamai.Fault{}
	}
}

func TestRunTooMuchTrafficLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
		until := time.Now().Add(10 * time.Second)
		a.Fault(func(*http.Request, []byte) akamai.Fault {
			if time.Now().Before(until) {
				return akamai.Fault{Status: 400, Body: `{"httpStatus":400,"title":"bad request","detail":"","supportId":"x"}`}
			}
			return akamai.Fault{}
		})
		list := urls(9000)
		o := run(t, a, invalidateURLs(), slices.Values(list))
		if o.err != nil {
			t.Fatal(o.err)
		}
		o.each(t, list)
		if len(o.Refused) > 0 {
			t.Errorf("%d refused, %v", len(o.Refused), o.Refused[0])
		}
		t.Log(o.took, o.counts)
	})
}

func TestRunGivesUpAHostAfterTwentyRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Hosts: []string{"www.acme.com"}, Latency: 20 * time.Millisecond})
		list := urls(3000)
		for i := range 1000 {
			list[3*i] = strings.Replace(list[3*i], "www.acme.com", "www.evil.com", 1)
		}
		o := run(t, a, invalidateURLs(), slices.Values(list))
		if o.err != nil {
			t.Fatal(o.err)
		}
		o.each(t, list)
		words := map[string]int{}
		for _, r := range o.Refused {
			words[r.Title]++
		}
		if n := words["unauthorized arl"]; n < 20 || n > 40 || words["not tried"] != 1000-n {
			t.Errorf("refused: %v", words)
		}
		if o.Attempts > 60 {
			t.Errorf("%d requests", o.Attempts)
		}
	})
}

func TestRunSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
		from, until := time.Now().Add(30*time.Millisecond), time.Now().Add(10*time.Minute)
		a.Fault(func(*http.Request, []byte) akamai.Fault {
			if now := time.Now(); now.After(from) && now.Before(until) {
				return akamai.Fault{Status: 503}
			}
			return akamai.Fault{}
		})
		list := urls(20_000)
		o := run(t, a, invalidateURLs(), slices.Values(list))
		if o.err != nil {
			t.Fatal(o.err)
		}
		o.each(t, list)
		if o.Attempts > 100 {
			t.Errorf("%d requests in an outage of 10 minutes", o.Attempts)
		}
		if late := o.took - 10*time.Minute; late > 50*time.Second+30*time.Second {
			t.Errorf("ended %v after the outage", late)
		}
		t.Log(o.took, o.Attempts)
	})
}

func TestRunSharesTheBudgetWithOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
		list := urls(24_000)
		mine, theirs := list[:12_000], list[12_000:]
		other := make(chan error)
		go func() {
			s := purger.Sender{API: bubble(t, a), Budget: purger.NewBudget(time.Now())}
			_, err := s.Run(t.Context(), invalidateURLs(), slices.Values(theirs))
			other <- err
		}()
		o := run(t, a, invalidateURLs(), slices.Values(mine))
		if err := <-other; err != nil || o.err != nil {
			t.Fatal(err, o.err)
		}
		if got := a.Counts().Objects; got != len(list) {
			t.Errorf("%d accepted", got)
		}
		t.Log(o.took, a.Counts())
	})
}

// Another client of the account takes all tokens for ten seconds. This client asks
// seldom, and sends soon after there are tokens for it.
func TestRunGivesWayToOthers(t *testing.T) {
	for name, n := range map[string]int{"two URLs": 2, "a long list": 300} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{Latency: 10 * time.Millisecond, Limits: akamai.Limits{
					URLs: akamai.Bucket{Burst: 100, PerSecond: 20}, Requests: akamai.Bucket{Burst: 500, PerSecond: 500},
				}})
				const drained = 10 * time.Second
				start := time.Now()
				stop := drain(t, a, drained)
				list := urls(n)
				o := run(t, a, invalidateURLs(), slices.Values(list))
				stop()
				if o.err != nil || o.Accepted != n {
					t.Fatalf("%d accepted, %v", o.Accepted, o.err)
				}
				first := o.Requests[0].At.Sub(start)
				if first < drained || first > drained+2*time.Second+200*time.Millisecond {
					t.Errorf("the first was accepted after %v", first)
				}
				if most := 1 + int(drained/(2*time.Second)); n == 2 && o.Limited > most {
					t.Errorf("%d denied in %v", o.Limited, drained)
				}
				t.Log(o.took, o.Attempts, o.Limited)
			})
		})
	}
}

// drain takes every token for URLs, as another client of the account would, until the
// time is over. stop waits for that.
func drain(t *testing.T, a *akamai.Server, during time.Duration) (stop func()) {
	t.Helper()
	c := bubble(t, a)
	request := invalidateURLs()
	end := time.Now().Add(during)
	take := func(objects ...string) {
		request.Objects = objects
		c.Send(context.Background(), request)
	}
	take(urls(100)...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for time.Now().Before(end) {
			take("https://www.acme.com/")
		}
	}()
	return func() { <-done }
}

// Akamai names 20 of 100 URLs, in one answer each. The others are still accepted,
// wherever the bad ones are in the list.
func TestRunAcceptsTheGoodOnesOfAHost(t *testing.T) {
	for name, bad := range map[string]func(int) bool{
		"the first ones": func(i int) bool { return i < 20 },
		"the last ones":  func(i int) bool { return i >= 80 },
		"every fifth":    func(i int) bool { return i%5 == 0 },
		"the middle":     func(i int) bool { return i >= 40 && i < 60 },
		"every second":   func(i int) bool { return i%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := akamai.New(akamai.Config{Latency: 20 * time.Millisecond})
				list := urls(100)
				want := 0
				for i, u := range list {
					if bad(i) {
						a.Refuse(u, 403, "unauthorized arl")
						want++
					}
				}
				o := run(t, a, invalidateURLs(), slices.Values(list))
				o.each(t, list)
				if o.err != nil || len(o.Refused) != want || o.Accepted != 100-want {
					t.Errorf("%d accepted, %d refused of %d, %v", o.Accepted, len(o.Refused), want, o.err)
				}
				if o.Attempts > 3*want+10 {
					t.Errorf("%d requests for %d bad ones", o.Attempts, want)
				}
			})
		})
	}
}
