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

// Figures of CCU v2, from Akamai's "CCU REST API Developers Guide" and
// "Getting started with the OPEN CCU API". Whether Akamai still answers it is
// not certain; new work should use Fast Purge.
const (
	v2MaxObjects = 500
	v2Queue      = 10_000
	v2Host       = "https://api.ccu.akamai.com"
	// v2Reflects is how long the queue's length may lag behind.
	v2Reflects = time.Minute
	// v2Unknown is how long after its estimate a purge may still be unknown,
	// as it also is just after it was submitted.
	v2Unknown = 10 * time.Minute
)

// ErrUnknownPurge means that CCU v2 does not know a purge that it accepted, so
// that nobody can say whether it is done.
var ErrUnknownPurge = errors.New("Akamai does not know this purge") //nolint:staticcheck // Akamai is a name

// V2 speaks the legacy CCU v2. It has URLs and ARLs, and CP codes, in one
// queue of 10,000 objects; unlike Fast Purge it tells when a purge is done. It
// is safe for concurrent use.
type V2 struct {
	transport

	asking chan struct{} // full while somebody asks, so that one asks for all
	mu     sync.Mutex
	queue  v2Room
}

// v2Room is what is known of Akamai's queue.
type v2Room struct {
	known  bool
	said   int // as Akamai said it, less what had been taken by then
	taken  int // accepted ever
	flying int // objects that are being sent
}

// Basic is the older way to sign in to CCU v2, at api.ccu.akamai.com.
type Basic struct {
	User     string
	Password string
}

// Format hides everything from every verb.
func (Basic) Format(s fmt.State, _ rune) { redact(s) }

func (Basic) String() string { return redacted }

// LogValue is for slog.
func (Basic) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText never gives a secret away.
func (Basic) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// NewV2 makes a client of CCU v2 that signs with EdgeGrid, or, if basic has a
// user, sends that user's password; then no other credentials are needed, and
// an empty BaseURL means https://api.ccu.akamai.com. Such a user purges its own
// account: an AccountSwitchKey beside it is an error.
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

// MaxObjects is 500, and 0 for tags, which came with v3.
func (v *V2) MaxObjects(k Kind) int {
	if k == Tag {
		return 0
	}
	return v2MaxObjects
}

// Send makes one attempt. If the queue has no room for the objects, they are
// not sent, and the answer is Limited.
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

// v2Body is the body in CCU v2's words: there a URL is an "arl", and to delete is to
// "remove".
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

// room reserves n places in the queue. Akamai is asked only when what is known
// of the queue does not leave that many.
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

// taken is how many objects were accepted ever.
func (v *V2) taken() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.queue.taken
}

// learn takes a length that Akamai was asked for when so many had been taken:
// what it took meanwhile may not be in it.
func (v *V2) learn(length, before int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue.known, v.queue.said = true, length-before
}

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

// QueueLength is how many objects wait in Akamai's queue, of the 10,000 that
// it holds. It may take a minute to reflect what was just sent. The answer
// says what went wrong if it is not Accepted.
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

// get asks for something; the answer is Accepted if it came.
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
		a.Verdict = NotServed
	}
	return nil, a
}

// What CCU v2 says of a purge that it knows.
const (
	V2Done       = "Done"
	V2InProgress = "In-Progress"
)

// V2Progress is how far CCU v2 is with a purge.
type V2Progress struct {
	PurgeID   string
	Status    string // [V2Done], [V2InProgress], or "Unknown": just sent, days ago, or never
	URI       string // where to ask the next time
	Submitted string // in Akamai's words; "" with Unknown
	Completed string // "" until it is done
	AskAgain  time.Duration
}

// Progress asks once at a progressUri, which must be where purges go: the
// credentials are for that host alone. The answer says what went wrong if it
// is not Accepted.
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

// Wait asks at progressUri, as often as Akamai says, until the purge is done.
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
