package purger

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

func of(kind Kind, n int) Request {
	r := Request{Kind: kind}
	for i := range n {
		r.Objects = append(r.Objects, "https://www.acme.com/"+strconv.Itoa(i))
	}
	return r
}

// One table shows what happens to a request after each kind of answer.
func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	const ms = time.Millisecond
	four, one, hundred := of(URL, 4), of(URL, 1), of(URL, 100)
	refusal := Answer{Verdict: Refused, Status: 400, Title: "bad request", ccu: true}
	page := Answer{Verdict: Refused, Status: 400, Title: "400 Bad Request", SupportID: "a gateway's"}
	names := func(i int) Answer { return Answer{Verdict: Refused, Offender: four.Objects[i], ccu: true} }
	limited := func(left float64) Answer {
		return Answer{Verdict: Limited, Limits: Limits{Objects: Level{Remaining: &left}}}
	}
	fewRequests := Answer{Verdict: Limited, Limits: Limits{Requests: Level{Remaining: new(0.0)}, Objects: Level{Remaining: new(50.0)}}}
	half := func(d Doubt) Doubt {
		d.Since = now.Add(-5 * time.Minute)
		return d
	}
	for name, test := range map[string]struct {
		request Request
		attempt Attempt
		host    Host
		answer  Answer

		accepted      bool
		refused       int
		part          int // objects that are sent separately
		hold, pause   time.Duration
		after, before time.Duration // bounds of the wait until it is sent again
	}{
		"accepted": {request: four, answer: Answer{Verdict: Accepted}, accepted: true},

		"limited, nothing said":           {request: four, answer: Answer{Verdict: Limited}, hold: 5 * time.Second},
		"limited, told when":              {request: four, answer: Answer{Verdict: Limited, RetryAfter: 9 * time.Second}, hold: 9 * time.Second},
		"limited, some left":              {request: four, answer: limited(3), part: 3},
		"limited, some left, cut before":  {request: four, attempt: Attempt{Cut: true}, answer: limited(3), hold: 2 * time.Second},
		"limited, some left, just denied": {request: four, attempt: Attempt{Denied: true}, answer: limited(3), part: 3, hold: 2 * time.Second},
		"limited, next to nothing left":   {request: hundred, answer: limited(9), hold: 2 * time.Second},
		"limited, none left":              {request: four, answer: limited(0), hold: 2 * time.Second},
		"limited, it says that they fit":  {request: four, answer: limited(9), hold: 2 * time.Second},
		"limited, exactly as many left":   {request: four, answer: limited(4), hold: 2 * time.Second},
		"limited in requests":             {request: hundred, answer: fewRequests, hold: 2 * time.Second},
		"limited in requests, no objects": {request: four, answer: Answer{Verdict: Limited, Limits: Limits{Requests: Level{Remaining: new(0.0)}}}, hold: 2 * time.Second},

		"too large":               {request: four, answer: Answer{Verdict: TooLarge}, part: 2},
		"one object is too large": {request: one, answer: Answer{Verdict: TooLarge}, refused: 1},

		"no answer":                    {request: four, attempt: Attempt{Number: 1}, answer: Answer{Verdict: Unavailable}, after: 250 * ms, before: 500 * ms},
		"no answer for the tenth time": {request: four, attempt: Attempt{Number: 10}, answer: Answer{Verdict: Unavailable}, after: 10 * time.Second, before: 20 * time.Second},
		"away, told until when":        {request: four, answer: Answer{Verdict: Unavailable, Status: 503, RetryAfter: 25 * time.Second}, after: 25 * time.Second, before: 25 * time.Second},

		"credentials":            {request: four, answer: Answer{Verdict: BadCredentials}, pause: mendTime},
		"clock":                  {request: four, answer: Answer{Verdict: ClockSkew}, pause: mendTime},
		"grant":                  {request: four, answer: Answer{Verdict: NoGrant}, pause: mendTime},
		"something else answers": {request: four, answer: Answer{Verdict: NotServed}, pause: mendTime},

		"the first that is named":             {request: four, answer: names(1), refused: 1},
		"the last that is named":              {request: one, answer: names(0), refused: 1},
		"the third named: in halves":          {request: four, host: Host{Refused: 2}, answer: names(1), refused: 1, part: 2},
		"the tenth named: one alone":          {request: four, host: Host{Refused: 9}, answer: names(1), refused: 1, part: 1},
		"named, others of it are accepted":    {request: hundred, host: Host{Refused: 30, Accepted: true}, answer: names(1), refused: 1, part: 50},
		"the tenth named, nothing else in it": {request: one, host: Host{Refused: 9}, answer: names(0), refused: 1},

		"refused, nothing named":          {request: four, answer: refusal, part: 2},
		"one refused in Akamai's words":   {request: one, answer: refusal, refused: 1},
		"one refused by a page":           {request: one, answer: page, pause: mendTime, after: mendTime, before: 2 * mendTime},
		"a half, the other not yet heard": {request: four, attempt: Attempt{Number: 1, Doubt: half(Doubt{SiblingWaits: true})}, answer: refusal, after: 250 * ms, before: 500 * ms},
		"both halves alike":               {request: four, attempt: Attempt{Doubt: half(Doubt{Sibling: "bad request"})}, answer: refusal, pause: mendTime, after: mendTime, before: 2 * mendTime},
		"both single halves alike":        {request: one, attempt: Attempt{Doubt: half(Doubt{Sibling: "bad request"})}, answer: refusal, pause: mendTime, after: mendTime, before: 2 * mendTime},
		"both halves, each its own words": {request: four, attempt: Attempt{Doubt: half(Doubt{Sibling: "bad URL"})}, answer: refusal, part: 2},
		"a half, others are accepted":     {request: four, attempt: Attempt{Doubt: half(Doubt{Sibling: "bad request", LastAccepted: now.Add(-time.Second)})}, answer: refusal, part: 2},
		"a half, others were accepted too long ago": {
			request: four, attempt: Attempt{Doubt: half(Doubt{Sibling: "bad request", LastAccepted: now.Add(-recently - 1)})}, answer: refusal,
			pause: mendTime, after: mendTime, before: 2 * mendTime,
		},
		"a half, others were accepted before it": {
			request: four, attempt: Attempt{Doubt: Doubt{Since: now.Add(-time.Second), Sibling: "bad request", LastAccepted: now.Add(-2 * time.Second)}}, answer: refusal,
			pause: mendTime, after: mendTime, before: 2 * mendTime,
		},
		"the last one, others accepted": {request: one, attempt: Attempt{Doubt: half(Doubt{LastAccepted: now})}, answer: refusal, refused: 1},
		"alike for more than an hour":   {request: four, attempt: Attempt{Doubt: Doubt{Since: now.Add(-doubtTime - 1), Sibling: "bad request"}}, answer: refusal, part: 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := test.attempt
			r.Request = test.request
			d := Decide(r, test.answer, test.host, now)
			if d.Accepted != test.accepted || len(d.Refused) != test.refused || len(d.Part) != test.part || d.Hold != test.hold || d.Pause != test.pause {
				t.Errorf("accepted %v, refused %v, part %d, hold %v, pause %v", d.Accepted, d.Refused, len(d.Part), d.Hold, d.Pause)
			}
			if d.Wait < test.after || d.Wait > test.before {
				t.Errorf("again after %v, want %v to %v", d.Wait, test.after, test.before)
			}
			if away := test.answer.Verdict == Unavailable; d.Away != away || (away || test.pause > 0) != (d.Why != "") {
				t.Errorf("away %v, %q", d.Away, d.Why)
			}
			if name := test.answer.Offender; name != "" && !slices.Equal(d.Refused, []string{name}) {
				t.Errorf("refused %v instead of %s", d.Refused, name)
			}
			if unnamed := test.answer.Verdict == Refused && test.answer.Offender == ""; unnamed != (d.Unnamed != "") || unnamed == d.Since.IsZero() {
				t.Errorf("remembers %q since %v", d.Unnamed, d.Since)
			}
			if n := len(d.Refused) + len(d.Part) + len(d.Rest(r.Objects)); !d.Accepted && n != len(r.Objects) {
				t.Errorf("of %d objects %d are left", len(r.Objects), n)
			}
		})
	}
}

// The pause follows what is heard, in two kinds of trouble. One kind ends at the first
// good answer.
func TestCircuit(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	away, mend := Decision{Away: true, Why: "away"}, Decision{Pause: mendTime, Why: "credentials"}
	alike := Decision{Unnamed: "bad request", Part: []string{"a"}}
	for name, test := range map[string]struct {
		heard []Decision
		wait  time.Duration
		words string
	}{
		"nothing":                     {},
		"four times bad luck":         {heard: []Decision{away, away, away, away}},
		"away":                        {heard: []Decision{away, away, away, away, away}, wait: time.Second, words: "away"},
		"away for long":               {heard: slices.Repeat([]Decision{away}, 40), wait: 20 * time.Second, words: "away"},
		"away between":                {heard: []Decision{away, away, {Accepted: true}, away, away, away}},
		"credentials":                 {heard: []Decision{mend}, wait: mendTime, words: "credentials"},
		"a straggler without answer":  {heard: []Decision{mend, away}, wait: time.Second, words: "away"},
		"then accepted":               {heard: []Decision{mend, {Accepted: true}}},
		"then an object refused":      {heard: []Decision{mend, {Refused: []string{"a"}}}},
		"then limited":                {heard: []Decision{mend, {Hold: time.Second}}},
		"then refused, nothing named": {heard: []Decision{mend, alike}, words: "credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			var c Circuit
			for _, d := range test.heard {
				c.Observe(d, 0, now)
			}
			if c.Wait(now) != test.wait || c.Words != test.words {
				t.Errorf("wait %v, %q; want %v, %q", c.Wait(now), c.Words, test.wait, test.words)
			}
			c.Probe(now, time.Minute)
			if probes := c.Wait(now) == time.Minute; probes != (test.words != "") {
				t.Errorf("one probes: %v", probes)
			}
		})
	}
}

// If Akamai takes 20 s for each answer, attempts wait that long. Soon after it is fast
// again, they do not.
func TestCircuitAdaptsToASlowAkamai(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var c Circuit
	lost := 0
	for c.Limit() < 20*time.Second {
		c.Observe(Decision{Away: true}, c.Limit(), now)
		if lost++; lost > 2 {
			t.Fatalf("given up %d times, and an attempt may take %v", lost, c.Limit())
		}
	}
	c.Observe(Decision{Accepted: true}, 20*time.Second, now)
	if c.Limit() < 20*time.Second {
		t.Errorf("the next attempt may take %v", c.Limit())
	}
	limit := c.Limit()
	if c.Observe(Decision{Accepted: true}, limit/3, now); c.Limit() != limit {
		t.Errorf("an answer that took %v lets the next attempt take %v", limit/3, c.Limit())
	}
	for range 2 {
		c.Observe(Decision{Accepted: true}, time.Second, now)
	}
	if c.Limit() != SendTime || c.Slow != 0 {
		t.Errorf("quick again, and an attempt may take %v", c.Limit())
	}
	for range 9 {
		c.Observe(Decision{Away: true}, time.Millisecond, now)
	}
	if c.Limit() != SendTime {
		t.Errorf("refused connections let an attempt take %v", c.Limit())
	}
	for range 9 {
		c.Observe(Decision{Away: true}, c.Limit(), now)
	}
	if c.Limit() != MaxSendTime {
		t.Errorf("an attempt may take %v", c.Limit())
	}
}

// A bucket that another client empties is tried once in two seconds, by one request at a
// time. An acceptance ends that.
func TestDeniedBucket(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	b := NewBudget(now)
	empty := Answer{Verdict: Limited, Limits: Limits{Objects: Level{Remaining: new(0.0)}}}
	request := Attempt{Request: of(URL, 2)}
	sent := 0
	for end := now.Add(10 * time.Second); now.Before(end); {
		if n, wait := b.Fit(URL, 2, now); n == 0 {
			now = now.Add(wait)
			continue
		}
		if !b.Take(URL, 2, now) {
			t.Fatal("it fits and can't be taken")
		}
		if n, _ := b.Fit(URL, 2, now); sent > 0 && n > 0 {
			t.Fatal("two try at once")
		}
		sent++
		b.Settle(URL, 2, empty, Decide(request, empty, Host{}, now), now)
		if n, _ := b.Fit(Tag, 1, now); n != 1 {
			t.Fatal("tags wait for the URLs' bucket")
		}
	}
	if sent > 6 {
		t.Errorf("%d requests were denied in 10 s", sent)
	}
	if b.URLs.Share != leastShare {
		t.Errorf("counts on %v of the refill", b.URLs.Share)
	}
	now = now.Add(deniedTime)
	if n, _ := b.Fit(URL, 1000, now); n != 20 {
		t.Errorf("%d objects of a long list try", n)
	}
	good := Answer{Verdict: Accepted, Limits: Limits{Objects: Level{Remaining: new(5.0)}}}
	b.Take(URL, 2, now)
	b.Settle(URL, 2, good, Decide(request, good, Host{}, now), now)
	if n, wait := b.Fit(URL, 2, now); n != 2 {
		t.Errorf("accepted, and the next one waits %v", wait)
	}
	slow := b.Wait(URL, 205, now)
	for range 2 {
		b.Take(URL, 0, now)
		b.Settle(URL, 0, good, Decision{Accepted: true}, now)
	}
	if fast := b.Wait(URL, 205, now); fast != time.Second || slow < fast*5/4 {
		t.Errorf("200 objects wait %v while others take too, and %v then", slow, fast)
	}

	short := Answer{Verdict: Limited, Limits: Limits{Requests: Level{Remaining: new(0.0)}, Objects: Level{Remaining: new(500.0)}}}
	b.Settle(URL, 2, short, Decide(request, short, Host{}, now), now)
	if n, wait := b.Fit(CPCode, 1, now); n != 0 || wait != deniedTime {
		t.Errorf("no requests are left, and %d CP codes may go, or after %v", n, wait)
	}
}

func TestHostsOverTheLimit(t *testing.T) {
	for _, test := range []struct {
		host Host
		want bool
	}{
		{Host{}, false},
		{Host{Refused: 20, Alone: 5}, true},
		{Host{Refused: 19, Alone: 19}, false},
		{Host{Refused: 200, Alone: 4}, false},
		{Host{Refused: 200, Alone: 50, Accepted: true}, false},
	} {
		if got := test.host.OverLimit(); got != test.want {
			t.Errorf("%+v: %v", test.host, got)
		}
	}
}

func TestOneOfAHost(t *testing.T) {
	objects := []string{"https://a.example/1", "https://a.example/2", "https://b.example/3", "https://a.example/4"}
	for host, want := range map[string]string{"a.example": "[https://a.example/4]", "b.example": "[https://b.example/3]", "c.example": "[]"} {
		if got := fmt.Sprint(oneOf(URL, host, objects)); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// A run's patience starts again whenever Akamai has answered in between.
func TestPatienceBeginsAnew(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	r := &run{sender: &Sender{Patience: time.Minute}}
	away, well := Answer{Status: 503, Verdict: Unavailable}, Answer{Status: 201, Verdict: Accepted}
	for _, step := range []struct {
		after  time.Duration
		answer Answer
		d      Decision
		ends   bool
	}{
		{0, away, Decision{Away: true}, false},
		{50 * time.Second, well, Decision{Accepted: true}, false},
		{55 * time.Second, away, Decision{Away: true}, false},
		{110 * time.Second, away, Decision{Away: true}, false},
		{115 * time.Second, away, Decision{Away: true}, true},
	} {
		if err := r.unmendable(step.answer, step.d, false, now.Add(step.after)); (err != nil) != step.ends {
			t.Errorf("after %v: %v", step.after, err)
		}
	}
}
