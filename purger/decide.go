package purger

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// How long purgebot waits, and for what. The command line and the server use the same
// values.
const (
	// SendTime is how long an attempt may take; [Circuit.Limit] raises it if Akamai is
	// slower.
	SendTime = 9 * time.Second

	// MaxWait is the longest wait that an answer of Fast Purge can cause, whatever its
	// Retry-After says. So a stored time that lies further ahead was written by a wrong
	// clock.
	MaxWait = 30 * time.Second

	// mendTime is how long an account pauses if an operator must fix something, or if
	// Akamai refuses everything alike. Then one request probes.
	mendTime = 15 * time.Second

	// untoldTime is Akamai's own advice for a 429: wait five seconds. It is used if the
	// answer does not say how many tokens are left.
	// https://techdocs.akamai.com/purge-cache/reference/429
	untoldTime = 5 * time.Second

	// deniedTime is how long a bucket rests that another client of the account has
	// emptied. A longer rest would leave tokens unused once it fills again. A shorter one
	// would send requests that are denied, and Akamai answers too much traffic with 400.
	// https://techdocs.akamai.com/purge-cache/reference/400
	deniedTime = 2 * time.Second

	// firstRetry is the longest wait after the first attempt. It doubles with each
	// further attempt, up to lastRetry.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 20 * time.Second

	// doubtTime is how long a refusal that names nothing may be taken for Akamai's answer
	// to too much traffic, while nothing at all is accepted. Afterwards it is taken to be
	// about the objects.
	doubtTime = time.Hour

	// recently is how long an accepted request proves that Akamai accepts requests, so
	// that a refusal is about its objects.
	recently = time.Minute

	// fillFor is how long a request may wait for tokens so that it can be fuller. The
	// objects' bucket alone decides how fast a long list goes, not the size of its
	// requests. A completely full request of tags would wait for minutes.
	fillFor = 20 * time.Second
)

// Attempt is a request that was sent, with what its sender knows about it.
type Attempt struct {
	Request
	Number int   // of this attempt, counted from 1
	Cut    bool  // it was made to fit what an earlier answer said is left
	Denied bool  // its objects' bucket was denied just before; see [Bucket]
	Doubt  Doubt // filled if it, or what it is a part of, was refused and nothing was named
}

// Doubt describes a refusal that named no object. Such a refusal may not be about the
// objects: Akamai also answers 400 to too much traffic.
// https://techdocs.akamai.com/purge-cache/reference/400
type Doubt struct {
	Since        time.Time // when the whole was refused; zero: it was not
	Sibling      string    // Akamai's words when it refused the other half; "": it has not
	SiblingWaits bool      // the other half has no final answer yet
	LastAccepted time.Time // when Akamai last accepted a request of this kind; zero: never
}

// othersAccepted says whether Akamai has accepted a request since the refusal, and within
// the last minute.
func (d Doubt) othersAccepted(now time.Time) bool {
	return !d.LastAccepted.IsZero() && !d.LastAccepted.Before(d.Since) && now.Sub(d.LastAccepted) <= recently
}

// Decision says what happens to a request, and to all others, after an answer. Objects
// that are neither accepted nor refused go out again: see [Decision.Rest].
type Decision struct {
	Accepted bool     // the whole request
	Refused  []string // these objects, for good; they must not be sent again
	Words    string   // Akamai's reason

	Part []string      // these go out as a request of their own, all others as another one
	Cut  bool          // Part was made to fit what the answer said is left
	Wait time.Duration // the rest is not sent again before

	Hold  time.Duration // how long the bucket that was short rests
	Pause time.Duration // how long the whole account rests
	Away  bool          // there was no answer, or one that says that Akamai is unavailable
	Why   string        // with Pause and Away: the reason, in public words

	Unnamed string    // Akamai's words if it refused and named nothing; "": it did not
	Since   time.Time // with Unnamed: when it first refused the whole
}

// Decide decides what to do after one answer. It changes nothing and needs no lock. host
// is the state, before this answer, of the host of the object that the answer names. The
// caller applies the Decision to its queue, to the [Budget] and to the [Circuit].
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

// limited decides after a 429 or 507. Akamai advises cutting the request to the tokens
// that are left. It does not help to cut again right after a cut, or if fewer than a
// tenth fit: another client takes from the bucket then, and the next request would be
// denied too.
// https://techdocs.akamai.com/purge-cache/reference/rate-limit-response-examples
func (d *Decision) limited(r Attempt, a Answer) {
	n, left := len(r.Objects), a.Limits.Objects.Remaining
	switch {
	case left == nil && a.Limits.Requests.Remaining == nil:
		d.Hold = max(a.RetryAfter, untoldTime)
	case left != nil && int(*left) < n && int(*left) > n/10 && !r.Cut && !a.shortOfRequests():
		d.Part, d.Cut, d.Wait = r.Objects[:int(*left)], true, a.RetryAfter
		// Another client takes what is left meanwhile, so the part waits too.
		if r.Denied {
			d.Hold = deniedTime
		}
	default:
		d.Hold = max(a.RetryAfter, deniedTime)
	}
}

// named fails the one object that the answer names. Akamai names one object and says
// nothing about the others, so a request with many bad objects would take one attempt for
// each.
//
// After a few such answers the rest goes on in halves: a half without a bad object is
// accepted whole. After many, one object of the host goes out alone. Its answer shows
// whether the whole host is refused: see [Host.OverLimit].
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

// unnamed looks for the object at fault by sending halves. It believes a refused half
// while other requests are accepted. If none is, and both halves are refused in the same
// words, the refusal may be Akamai's answer to too much traffic. Everything then pauses,
// because failing the objects would drop purges that are in order.
// https://techdocs.akamai.com/purge-cache/reference/400
func (d *Decision) unnamed(r Attempt, a Answer, now time.Time) {
	doubt := r.Doubt
	d.Unnamed, d.Since = a.Words(), doubt.Since
	switch {
	case doubt.Since.IsZero():
		d.Since = now
		// A refusal of a single object counts only if the purge service itself wrote it.
		// A gateway's refusal or a page may be about the client.
		if len(r.Objects) > 1 || a.ccu {
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
	d.Wait = mendTime + time.Second // let others probe first: if one is accepted, this is about the objects
}

// halve sends the request on in two parts. A single object is refused.
func (d *Decision) halve(r Attempt) {
	if n := len(r.Objects); n > 1 {
		d.Part = r.Objects[:n/2]
	} else {
		d.Refused = r.Objects
	}
}

// Rest gives the objects of a request that go out again besides Part, in their order.
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

// backoff is how long a request waits after its n-th attempt, counted from 1. It is
// shortened by up to a half at random, so that several requests do not come back
// together. The bound of 8 keeps the shift from overflowing.
func backoff(attempt int) time.Duration {
	d := min(firstRetry<<min(max(attempt, 1)-1, 8), lastRetry)
	return d - rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

// why says in public words why nothing is sent. [Answer.Explain] is for the operator and
// has Akamai's own words as well.
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

// Circuit says what stops everything that an account sends. The zero value is no trouble.
// It has no lock: its owner must call its methods from one goroutine, or lock itself.
type Circuit struct {
	Until    time.Time     // nothing is sent before
	Failures int           // answers in a row that say that Akamai is unavailable
	Words    string        // why nothing is sent, in public words; "": no trouble, so no probe is needed
	Slow     time.Duration // what an attempt may take if that is more than SendTime; else 0
}

// Wait is how long nothing may be sent from now on.
func (c *Circuit) Wait(now time.Time) time.Duration { return max(0, c.Until.Sub(now)) }

// Probe lets one request through during trouble. All others wait for its answer, but no
// longer than most. Without trouble it changes nothing.
func (c *Circuit) Probe(now time.Time, most time.Duration) {
	if c.Words != "" {
		c.Until = now.Add(most)
	}
}

// Observe updates the circuit after an answer that took so long. An answer about the
// objects ends the trouble, even a refusal: the server that refuses an object has
// accepted the client.
func (c *Circuit) Observe(d Decision, took time.Duration, now time.Time) {
	switch {
	case d.Pause > 0:
		c.Failures, c.Until, c.Words = 0, now.Add(d.Pause), d.Why
	case d.Away:
		c.Failures++
		pause := awayTime(c.Failures)
		if c.Words != "" {
			// A probe failed, or a request that was still under way when the trouble
			// began.
			pause = max(pause, time.Second)
		}
		if pause > 0 {
			c.Until, c.Words = now.Add(pause), cmp.Or(d.Why, d.Words)
		}
	case d.Unnamed != "" && c.Words != "":
		c.Failures, c.Until = 0, now // it may still be too much traffic: the next request probes
	default:
		c.Failures, c.Until, c.Words = 0, time.Time{}, ""
	}
	c.adapt(d, took)
}

// awayTime is how long an account pauses after so many answers in a row that say that
// Akamai is unavailable. The first four cause no pause, since single requests may just
// have failed. Then it pauses 1 s, 2 s, 4 s and so on, at most 20 s.
func awayTime(failures int) time.Duration {
	const luck = 4
	if failures <= luck {
		return 0
	}
	return min(time.Second<<min(failures-luck-1, 5), lastRetry)
}

// MaxSendTime is the longest that an attempt may take: see [Circuit.Limit].
const MaxSendTime = 40 * time.Second

// Limit is how long an attempt may take at the moment. It grows if Akamai is slower than
// that. Otherwise a slow request would be given up each time and sent for ever, although
// Akamai accepts it each time.
func (c *Circuit) Limit() time.Duration { return min(max(c.Slow, SendTime), MaxSendTime) }

// adapt doubles the limit after an attempt that ran into it, and halves it after an
// answer that took less than a quarter of it.
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

// How many of one host's objects Akamai may refuse, each with an answer of its own, until
// named sends halves (fewRefusals), then single objects (manyRefusals), and until the
// rest is not tried at all (maxRefusals, maxAlone of them sent alone).
const (
	fewRefusals  = 3
	manyRefusals = 10
	maxRefusals  = 20
	maxAlone     = 5
)

// Host counts the answers about one host's objects.
type Host struct {
	Refused  int  // objects that Akamai named
	Alone    int  // of these, the ones that were the only object of their request
	Accepted bool // Akamai has accepted at least one
}

// OverLimit says that further objects of this host are not worth a request each: many
// were refused, several of them alone, and none was accepted.
func (h Host) OverLimit() bool {
	return !h.Accepted && h.Refused >= maxRefusals && h.Alone >= maxAlone
}

// oneOf picks one object of a host, starting from the middle of the list. It returns nil
// if the list has none.
func oneOf(k Kind, host string, objects []string) []string {
	for i := range objects {
		if j := (len(objects)/2 + i) % len(objects); hostOf(k, objects[j]) == host {
			return objects[j : j+1]
		}
	}
	return nil // nothing of the host is left
}

// without gives the objects except one, in their order. It copies: the caller's slice
// stays.
func without(objects []string, one string) []string {
	kept := make([]string, 0, len(objects))
	for _, object := range objects {
		if object != one {
			kept = append(kept, object)
		}
	}
	return kept
}
