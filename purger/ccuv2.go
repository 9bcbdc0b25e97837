package purger

import (
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
	length int // as Akamai said, and what was accepted since
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
// an empty BaseURL means https://api.ccu.akamai.com.
func NewV2(c Config, basic Basic) (*V2, error) {
	if basic.User == "" {
		t, err := newTransport(c)
		if err != nil {
			return nil, err
		}
		return newV2(t), nil
	}
	if c.BaseURL == "" {
		c.BaseURL = v2Host
	}
	base, err := baseURL(c.BaseURL, "")
	if err != nil {
		return nil, err
	}
	t := transport{base: base, sign: func(r *http.Request) { r.SetBasicAuth(basic.User, basic.Password) }}
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
	length, a := v.QueueLength(ctx)
	if a.Verdict != Accepted {
		return a, false
	}
	v.learn(length)
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

func (v *V2) learn(length int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue.known, v.queue.length = true, length
}

func (v *V2) reserve(n int) (waiting int, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	waiting = v.queue.length + v.queue.flying
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
		v.queue.length += n
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
	a := classify(Request{}, status, header, reply)
	if a.Verdict == Accepted {
		a.Verdict = NotServed
	}
	return nil, a
}

// Wait asks at progressUri, as often as Akamai says, until the purge is done.
func (v *V2) Wait(ctx context.Context, r Receipt) error {
	if r.progress == "" {
		return fmt.Errorf("wait for purge %s: %w: the reply had no progressUri", r.PurgeID, ErrUnknownPurge)
	}
	progress, next := r.progress, max(time.Until(r.At.Add(r.pingAfter)), 0)
	for failed := 0; ; {
		if err := sleep(ctx, next); err != nil {
			return err
		}
		u, err := v.progressURL(progress)
		if err != nil {
			return err
		}
		fields, a := v.get(ctx, u)
		switch {
		case a.Verdict == Unavailable, a.Verdict == Limited:
			failed++
			next = backoff(2*time.Second, failed)
			continue
		case a.Verdict != Accepted:
			return fmt.Errorf("wait for purge %s: %s", r.PurgeID, a.Explain())
		}
		failed = 0
		status := text(fields["purgeStatus"])
		switch {
		case status == "Done":
			return nil
		case status != "In-Progress" && time.Since(r.At) > r.Estimated+v2Unknown:
			return fmt.Errorf("wait for purge %s: %w: its status is %q", r.PurgeID, ErrUnknownPurge, clean(status, 40))
		}
		if updated := text(fields["progressUri"]); updated != "" {
			progress = updated
		}
		next = max(seconds(number(fields["pingAfterSeconds"])), time.Second)
	}
}

// progressURL is where to ask. It must be where the purge went: the credentials
// are for that host alone.
func (v *V2) progressURL(ref string) (*url.URL, error) {
	u, err := v.base.Parse(ref)
	if err != nil || !strings.EqualFold(u.Host, v.base.Host) || u.Scheme != v.base.Scheme {
		return nil, fmt.Errorf("wait for purge: progressUri %q is not at %s", clean(ref, 200), v.base.Host)
	}
	return u, nil
}
