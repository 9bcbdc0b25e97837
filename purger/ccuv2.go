package purger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The figures of CCU v2 come from Akamai's "CCU REST API Developers Guide" and "Getting
// started with the OPEN CCU API". Whether Akamai still answers CCU v2 is not confirmed.
// New installations should use Fast Purge.
const (
	v2MaxObjects = 500                          // in one request
	v2Queue      = 10_000                       // objects that wait in the queue at most
	v2Host       = "https://api.ccu.akamai.com" // for a user and a password; EdgeGrid uses the client's own host
	// v2Reflects is how long the reported length of the queue may be out of date.
	v2Reflects = time.Minute
	// v2Unknown is how long after its estimate a purge may still have the status
	// "Unknown". A purge also has that status just after it was submitted, so the status
	// alone proves nothing.
	v2Unknown = 10 * time.Minute
)

// ErrUnknownPurge means that CCU v2 does not know a purge that it accepted. Nobody can
// then say whether the purge is done.
var ErrUnknownPurge = errors.New("Akamai does not know this purge") //nolint:staticcheck // Akamai is a name

// V2 speaks the legacy CCU v2. It purges URLs, ARLs and CP codes through one queue of
// 10,000 objects. Unlike Fast Purge it tells when a purge is done. It is safe for
// concurrent use.
type V2 struct {
	transport

	asking chan struct{} // holds one element while somebody asks for the length, so that one asks for all
	mu     sync.Mutex    // guards queue
	queue  v2Room
}

// v2Room tracks the length of Akamai's queue. All numbers count objects. The estimate of
// what waits is said + taken + flying; what other clients sent since is not in it.
type v2Room struct {
	known  bool // false: ask before anything is sent
	said   int  // the length that Akamai told, less what had been taken when it was asked; may be negative
	taken  int  // accepted since the start
	flying int  // in requests that are under way
}

// Basic is the older way to sign in to CCU v2, at api.ccu.akamai.com. It never prints:
// the same rules hold as for [Credentials].
type Basic struct {
	User     string
	Password string
}

// Format hides everything from every verb.
func (Basic) Format(s fmt.State, _ rune) { redact(s) }

func (Basic) String() string { return redacted }

// LogValue hides everything from slog.
func (Basic) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText never gives a secret away.
func (Basic) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// NewV2 makes a client of CCU v2. Without a user in basic it signs with EdgeGrid. With a
// user it sends that user's password instead: no other credentials are needed then, and
// an empty BaseURL means https://api.ccu.akamai.com. Such a user purges its own account
// only, so an AccountSwitchKey beside it is an error.
func NewV2(c Config, basic Basic) (*V2, error) {
	if basic.User == "" {
		t, err := newTransport(c)
		if err != nil {
			return nil, err
		}
		return newV2(t), nil
	}
	if c.AccountSwitchKey != "" {
		return nil, errors.New("connect to Akamai: a user of CCU v2 can't act on another account: remove the account switch key (it may stand in AKAMAI_EDGERC_ACCOUNT_KEY or AKAMAI_ACCOUNT_KEY), or the user")
	}
	if c.BaseURL == "" {
		c.BaseURL = v2Host
	}
	base, err := baseURL(c.BaseURL, "")
	if err != nil {
		return nil, err
	}
	t := transport{base: base, sign: func(r *http.Request) { r.SetBasicAuth(basic.User, basic.Password) }, way: wayIn{basic: true}}
	t.setDefaults(c)
	return newV2(t), nil
}

func newV2(t transport) *V2 { return &V2{transport: t, asking: make(chan struct{}, 1)} }

// MaxObjects is 500, and 0 for tags: CCU v2 has none.
func (v *V2) MaxObjects(k Kind) int {
	if k == Tag {
		return 0
	}
	return v2MaxObjects
}

// Send makes one attempt. If the queue has no room for the objects, it sends nothing and
// the answer is Limited.
func (v *V2) Send(ctx context.Context, r Request) Answer {
	body, err := v2Body(r)
	if err != nil {
		return unsent(err)
	}
	n := len(r.Objects)
	if a, room := v.room(ctx, n); !room {
		return a
	}
	a := v.post(ctx, r, body, "ccu/v2/queues/default")
	v.settle(n, a)
	return a
}

// v2Body is the body in the words of CCU v2: a URL is called "arl" there, and to delete
// is to "remove". Every field is written, because CCU v2 would remove by default.
func v2Body(r Request) ([]byte, error) {
	kinds := map[Kind]string{URL: "arl", CPCode: "cpcode"}
	actions := map[Action]string{Invalidate: "invalidate", Delete: "remove"}
	kind, action := kinds[r.Kind], actions[r.Action]
	switch {
	case kind == "" || action == "":
		return nil, fmt.Errorf("encode request: CCU v2 can't %s a %s", r.Action, r.Kind)
	case len(r.Objects) > v2MaxObjects:
		return nil, fmt.Errorf("encode request: %d objects, CCU v2 takes %d", len(r.Objects), v2MaxObjects)
	}
	body := fmt.Appendf(nil, `{"type":%q,"action":%q,"domain":%q,"objects":[`, kind, action, string(r.Network))
	body, err := r.appendObjects(body)
	if err != nil {
		return nil, err
	}
	return append(body, objectsClose...), nil
}

// room reserves n places in the queue; [V2.settle] must follow if it returns true. It
// asks Akamai only if the known length does not leave that many. One caller at a time
// asks, and the others then use its answer.
func (v *V2) room(ctx context.Context, n int) (Answer, bool) {
	select {
	case v.asking <- struct{}{}:
		defer func() { <-v.asking }()
	case <-ctx.Done():
		return noAnswer(ctx.Err()), false
	}
	if _, ok := v.reserve(n); ok {
		return Answer{}, true
	}
	// taken is read before asking. The length may or may not include what Akamai accepts
	// in between, so that is counted again: our own objects never make the estimate too
	// low.
	before := v.taken()
	length, a := v.QueueLength(ctx)
	if a.Verdict != Accepted {
		return a, false
	}
	v.learn(length, before)
	waiting, ok := v.reserve(n)
	if ok {
		return Answer{}, true
	}
	return Answer{
		Verdict: Limited, Title: "queue is full",
		Detail:     fmt.Sprintf("%d of %d objects wait in Akamai's queue", waiting, v2Queue),
		RetryAfter: v2Reflects,
	}, false
}

// taken is how many objects were accepted since the start.
func (v *V2) taken() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.queue.taken
}

// learn stores a length that Akamai told. before is the value of taken when it was asked.
func (v *V2) learn(length, before int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue.known, v.queue.said = true, length-before
}

// reserve takes n places if the known length leaves them. waiting is the estimated
// length.
func (v *V2) reserve(n int) (waiting int, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	waiting = v.queue.said + v.queue.taken + v.queue.flying
	if !v.queue.known || waiting+n > v2Queue {
		return waiting, false
	}
	v.queue.flying += n
	return waiting, true
}

// settle ends a reservation by the answer to its request. A lost answer counts as
// accepted, so that the queue is never overfilled. A Limited answer shows that the known
// length was wrong.
func (v *V2) settle(n int, a Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue.flying -= n
	switch {
	case a.Verdict == Accepted, a.Lost:
		v.queue.taken += n
	case a.Verdict == Limited:
		v.queue.known = false
	}
}

// QueueLength is how many objects wait in Akamai's queue, which holds 10,000. It may take
// a minute to include what was just sent. If the answer is not Accepted, it says what
// went wrong.
func (v *V2) QueueLength(ctx context.Context) (int, Answer) {
	fields, a := v.get(ctx, v.base.JoinPath("ccu/v2/queues/default"))
	if a.Verdict != Accepted {
		return 0, a
	}
	length := number(fields["queueLength"])
	if length == nil {
		return 0, Answer{Verdict: NotServed, Status: a.Status, Title: "no queueLength in the reply"}
	}
	return int(*length), a
}

// get reads a JSON object. The answer is Accepted if it came.
func (v *V2) get(ctx context.Context, u *url.URL) (map[string]json.RawMessage, Answer) {
	status, header, reply, err := v.exchange(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, noAnswer(err)
	}
	if fields, ok := readFields(reply); ok && status == http.StatusOK {
		return fields, Answer{Verdict: Accepted, Status: status}
	}
	a := v.read(Request{}, status, header, reply)
	if a.Verdict == Accepted {
		a.Verdict = NotServed // a 201, or a body that is no object, answers no question
	}
	return nil, a
}

// The statuses of a purge that CCU v2 knows.
const (
	V2Done       = "Done"
	V2InProgress = "In-Progress"
)

// V2Progress says how far CCU v2 is with a purge.
type V2Progress struct {
	PurgeID   string
	Status    string        // [V2Done], [V2InProgress], or "Unknown": just sent, finished days ago, or never sent
	URI       string        // where to ask the next time; Akamai may change it
	Submitted string        // Akamai's text; "" with Unknown
	Completed string        // Akamai's text; "" until it is done
	AskAgain  time.Duration // how long to wait before the next question
}

// Progress asks once at a progressUri. The URI must have the scheme and host to which
// purges go, because the credentials are for that host alone and a reply must not lead
// them elsewhere. If the answer is not Accepted, it says what went wrong.
func (v *V2) Progress(ctx context.Context, uri string) (V2Progress, Answer) {
	u, err := v.base.Parse(uri)
	if err != nil || !strings.EqualFold(u.Host, v.base.Host) || u.Scheme != v.base.Scheme {
		return V2Progress{}, Answer{Verdict: Refused, Title: fmt.Sprintf("progressUri %q is not at %s", clean(uri, 200), v.base.Host)}
	}
	fields, a := v.get(ctx, u)
	if a.Verdict != Accepted {
		return V2Progress{}, a
	}
	words := func(name string) string { return clean(text(fields[name]), maxWords) }
	return V2Progress{
		PurgeID: words("purgeId"), Status: words("purgeStatus"), URI: cmp.Or(text(fields["progressUri"]), uri),
		Submitted: words("submissionTime"), Completed: words("completionTime"),
		AskAgain: seconds(number(fields["pingAfterSeconds"])),
	}, a
}

// Wait asks at progressUri, as often as Akamai says, until the purge is done. Trouble on
// the way only delays it. It gives up with [ErrUnknownPurge] when the purge should be
// known by now.
func (v *V2) Wait(ctx context.Context, r Receipt) error {
	if r.ProgressURI == "" {
		return fmt.Errorf("wait for purge %s: %w: the reply had no progressUri", r.PurgeID, ErrUnknownPurge)
	}
	uri, next := r.ProgressURI, max(time.Until(r.At.Add(r.pingAfter)), 0)
	for failed := 0; ; {
		if err := sleep(ctx, next); err != nil {
			return err
		}
		p, a := v.Progress(ctx, uri)
		switch {
		case a.Verdict == Unavailable, a.Verdict == Limited:
			failed++
			next = max(2*time.Second, backoff(failed))
			continue
		case a.Verdict != Accepted:
			return fmt.Errorf("wait for purge %s: %s", r.PurgeID, a.Explain())
		}
		failed = 0
		switch {
		case p.Status == V2Done:
			return nil
		case p.Status != V2InProgress && time.Since(r.At) > r.Estimated+v2Unknown:
			return fmt.Errorf("wait for purge %s: %w: its status is %q", r.PurgeID, ErrUnknownPurge, p.Status)
		}
		uri, next = p.URI, max(p.AskAgain, time.Second)
	}
}
