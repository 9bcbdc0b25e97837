package purger

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// How Akamai is dealt with, by the command line and by a server alike.
const (
	// SendTime is how long an attempt may take; see [Circuit.Limit].
	SendTime = 9 * time.Second

	// MaxWait is the longest that anything waits because of an answer of Fast
	// Purge, whatever Retry-After says. A stored moment that lies further ahead
	// was written by a clock that was wrong.
	MaxWait = 30 * time.Second

	// mendTime is how long an account pauses where an operator must mend
	// something, or where everything is refused alike; then one request probes.
	mendTime = 15 * time.Second

	// untoldTime is Akamai's advice for a 429: wait five seconds. It is
	// followed where the answer does not say how many tokens are left.
	untoldTime = 5 * time.Second

	// deniedTime is how long a bucket rests that another client of the account
	// has emptied. More would leave it unused for long once it fills again,
	// less would be traffic that Akamai refuses with 400 in the end.
	deniedTime = 2 * time.Second

	// firstRetry is doubled with each attempt, up to lastRetry.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 20 * time.Second

	// doubtTime is for how long refusals that name nothing, while nothing at
	// all is accepted, are taken for Akamai's answer to too much traffic.
	doubtTime = time.Hour

	// recently is for how long an accepted request shows that Akamai takes
	// requests, so that a refusal is meant for its objects.
	recently = time.Minute

	// fillFor is how long a request may wait for tokens so that it can be
	// fuller. The objects' bucket decides how fast a long list goes, whatever
	// the size of its requests; a full one of tags would take minutes.
	fillFor = 20 * time.Second
)

// Attempt is a request that was sent, with what is known of it.
type Attempt struct {
	Request
	Number int   // of this attempt, from 1 on
	Cut    bool  // it was made to fit what an answer had said is left
	Denied bool  // its objects' bucket was denied just before, see [Bucket]
	Doubt  Doubt // where it, or what it is a part of, was refused and nothing named
}

// Doubt is what is known about a refusal that named nothing. It may not be
// meant for the objects: Akamai answers 400 to too much traffic too.
type Doubt struct {
	Since        time.Time // when the whole was refused; zero: it was not
	Sibling      string    // Akamai's words when it refused the other half; "": it did not
	SiblingWaits bool      // the other half has no answer yet
	LastAccepted time.Time // when a request of this kind was last accepted; zero: never
}

// othersAccepted says whether Akamai has taken requests since the refusal, and
// lately.
func (d Doubt) othersAccepted(now time.Time) bool {
	return !d.LastAccepted.IsZero() && !d.LastAccepted.Before(d.Since) && now.Sub(d.LastAccepted) <= recently
}

// Decision is what becomes of a request, and of all others, after an answer.
// What is neither accepted nor refused goes out again.
type Decision struct {
	Accepted bool     // all of it
	Refused  []string // these objects, for good
	Words    string   // why, in public words

	Part []string      // these go out as a request of their own, the rest as another
	Cut  bool          // Part is what an answer said is left
	Wait time.Duration // not to be sent again before

	Hold  time.Duration // the bucket that was short rests for so long
	Pause time.Duration // the whole account does
	Away  bool          // there was no answer, or one that says that Akamai is away
	Why   string        // with Pause and Away, in public words

	Unnamed string    // Akamai's words, where it refused and named nothing
	Since   time.Time // with Unnamed: when it first refused the whole
}

// Decide decides after one answer. host is what is known of the host of the
// object that the answer names, before it.
func Decide(r Attempt, a Answer, host Host, now time.Time) Decision {
	d := Decision{Words: a.Words()}
	switch a.Verdict {
	case Accepted:
		d.Accepted = true
	case Limited:
		d.limited(r, a)
	case TooLarge:
		d.halve(r)
	case Refused:
		if a.Offender != "" {
			d.named(r, a.Offender, host)
		} else {
			d.unnamed(r, a, now)
		}
	case Unavailable:
		d.Away, d.Why = true, a.why()
		d.Wait = max(a.RetryAfter, backoff(r.Number))
	case BadCredentials, ClockSkew, NoGrant, NotServed:
		d.Pause, d.Why = mendTime, a.why()
	}
	return d
}

// limited follows Akamai's advice to cut a request to what is left. Where that
// did not help, or where next to nothing is left, somebody else takes from the
// bucket, and asking again at once would be answered alike.
func (d *Decision) limited(r Attempt, a Answer) {
	n, left := len(r.Objects), a.Limits.Objects.Remaining
	switch {
	case left == nil && a.Limits.Requests.Remaining == nil:
		d.Hold = max(a.RetryAfter, untoldTime)
	case left != nil && int(*left) < n && int(*left) > n/10 && !r.Cut && !a.shortOfRequests():
		d.Part, d.Cut, d.Wait = r.Objects[:int(*left)], true, a.RetryAfter
		if r.Denied { // somebody takes what is left meanwhile
			d.Hold = deniedTime
		}
	default:
		d.Hold = max(a.RetryAfter, deniedTime)
	}
}

// named fails the object that is named. Akamai names one of many, and answers
// nothing for the others: a long row of such answers is cut short by going on
// in parts, of which those that hold nothing bad are accepted. An object alone
// then shows whether the whole host is refused.
func (d *Decision) named(r Attempt, object string, host Host) {
	d.Refused = []string{object}
	left := without(r.Objects, object)
	switch refused := host.Refused + 1; {
	case refused < fewRefusals || len(left) < 2:
	case refused < manyRefusals || host.Accepted:
		d.Part = left[:(len(left)+1)/2]
	default:
		d.Part = oneOf(r.Kind, hostOf(r.Kind, object), left)
	}
}

// unnamed finds the object at fault by halves. Halves are believed while other
// requests are accepted; while none are, and both halves are refused alike, it
// may be Akamai's answer to too much traffic, and everything pauses instead.
func (d *Decision) unnamed(r Attempt, a Answer, now time.Time) {
	doubt := r.Doubt
	d.Unnamed, d.Since = a.Words(), doubt.Since
	switch {
	case doubt.Since.IsZero():
		d.Since = now
		if len(r.Objects) > 1 || a.ccu { // the purge service's own word, not a gateway's or a page
			d.halve(r)
			return
		}
	case doubt.othersAccepted(now), doubt.Sibling != "" && doubt.Sibling != d.Unnamed, now.Sub(doubt.Since) > doubtTime:
		d.halve(r)
		return
	case doubt.SiblingWaits:
		d.Wait = backoff(r.Number)
		return
	}
	d.Pause, d.Why = mendTime, "Akamai refuses everything: "+d.Unnamed
	d.Wait = mendTime + time.Second // others probe first: one that is accepted settles it
}

// halve goes on in two parts. An object alone is refused.
func (d *Decision) halve(r Attempt) {
	if n := len(r.Objects); n > 1 {
		d.Part = r.Objects[:n/2]
	} else {
		d.Refused = r.Objects
	}
}

// Rest is what of a request's objects goes out again, beside Part.
func (d Decision) Rest(objects []string) []string {
	if d.Accepted {
		return nil
	}
	gone := make(map[string]bool, len(d.Refused)+len(d.Part))
	for _, list := range [][]string{d.Refused, d.Part} {
		for _, object := range list {
			gone[object] = true
		}
	}
	rest := make([]string, 0, len(objects))
	for _, object := range objects {
		if !gone[object] {
			rest = append(rest, object)
		}
	}
	return rest
}

// backoff is how long a request waits after so many attempts, shortened by
// up to a half so that several don't come back at once.
func backoff(attempt int) time.Duration {
	d := min(firstRetry<<min(max(attempt, 1)-1, 8), lastRetry)
	return d - rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

// why says in public words why nothing is sent; Explain has Akamai's own, for
// the operator.
func (a Answer) why() string {
	switch a.Verdict {
	case BadCredentials:
		return "Akamai does not accept purgebot's credentials"
	case ClockSkew:
		return "this server's clock differs from Akamai's"
	case NoGrant:
		if a.way.account != "" {
			return "purgebot's Akamai API client may not act on this account"
		}
		return "purgebot's Akamai API client may not purge"
	case NotServed:
		return "the server that answers is not Akamai's purge API"
	case Accepted, Limited, Refused, TooLarge, Unavailable:
	}
	if a.Status == 0 {
		return "Akamai does not answer"
	}
	return "Akamai is unavailable: " + a.Words()
}

// Circuit is what stands in the way of everything that an account sends.
type Circuit struct {
	Until    time.Time     // nothing is sent before
	Failures int           // answers in a row that say that Akamai is away
	Words    string        // why nothing is sent, in public words; "": no trouble
	Slow     time.Duration // what an attempt may take, where that is more than SendTime
}

// Wait is how long nothing may be sent.
func (c *Circuit) Wait(now time.Time) time.Duration { return max(0, c.Until.Sub(now)) }

// Probe lets one request through while there is trouble: the others wait for
// its answer, or for so long.
func (c *Circuit) Probe(now time.Time, most time.Duration) {
	if c.Words != "" {
		c.Until = now.Add(most)
	}
}

// Observe draws the conclusions from an answer that took so long. One to what
// the request asks for ends the trouble: whoever refuses an object has let the
// client in.
func (c *Circuit) Observe(d Decision, took time.Duration, now time.Time) {
	switch {
	case d.Pause > 0:
		c.Failures, c.Until, c.Words = 0, now.Add(d.Pause), d.Why
	case d.Away:
		c.Failures++
		pause := awayTime(c.Failures)
		if c.Words != "" {
			pause = max(pause, time.Second) // a probe failed, or a straggler
		}
		if pause > 0 {
			c.Until, c.Words = now.Add(pause), cmp.Or(d.Why, d.Words)
		}
	case d.Unnamed != "" && c.Words != "":
		c.Failures, c.Until = 0, now // it may be too much traffic yet: the next one probes
	default:
		c.Failures, c.Until, c.Words = 0, time.Time{}, ""
	}
	c.adapt(d, took)
}

// awayTime is how long an account pauses after so many answers in a row that
// say that Akamai is away: not for the first few, which are single requests'
// bad luck, then 1 s, 2 s … at most 20 s.
func awayTime(failures int) time.Duration {
	const luck = 4
	if failures <= luck {
		return 0
	}
	return min(time.Second<<min(failures-luck-1, 5), lastRetry)
}

// MaxSendTime is the longest that an attempt may take, see [Circuit.Limit].
const MaxSendTime = 40 * time.Second

// Limit is how long an attempt may take now. It grows where Akamai is slower
// than that: a request that is given up each time would be sent for ever,
// though Akamai accepts it each time.
func (c *Circuit) Limit() time.Duration { return min(max(c.Slow, SendTime), MaxSendTime) }

func (c *Circuit) adapt(d Decision, took time.Duration) {
	switch limit := c.Limit(); {
	case d.Away && took >= limit:
		c.Slow = 2 * limit
	case !d.Away && took < limit/4:
		c.Slow = limit / 2
	}
	c.Slow = c.Limit()
	if c.Slow == SendTime {
		c.Slow = 0
	}
}

// What Akamai may refuse of one host, one answer each, before it goes on in
// parts, before it tries objects alone, and before the rest is not tried.
const (
	fewRefusals  = 3
	manyRefusals = 10
	maxRefusals  = 20
	maxAlone     = 5
)

// Host is what is known of the objects of one host that went out.
type Host struct {
	Refused  int  // objects
	Alone    int  // of these, refused in a request of their own
	Accepted bool // any was
}

// OverLimit says that more of this host is not worth a request each: many were
// refused, also alone, and none was accepted.
func (h Host) OverLimit() bool {
	return !h.Accepted && h.Refused >= maxRefusals && h.Alone >= maxAlone
}

// oneOf picks one object of a host, from the middle of the list.
func oneOf(k Kind, host string, objects []string) []string {
	for i := range objects {
		if j := (len(objects)/2 + i) % len(objects); hostOf(k, objects[j]) == host {
			return objects[j : j+1]
		}
	}
	return nil // nothing of the host is left
}

func without(objects []string, one string) []string {
	kept := make([]string, 0, len(objects))
	for _, object := range objects {
		if object != one {
			kept = append(kept, object)
		}
	}
	return kept
}
