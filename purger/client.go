package purger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/akamai/AkamaiOPEN-edgegrid-golang/v7/pkg/edgegrid"
)

// Connections is the most requests that a Sender has under way by default, and the number
// of idle connections that a Client keeps.
const Connections = 10

const (
	defaultTimeout = 30 * time.Second // of one attempt
	maxReply       = 1 << 20          // bytes of a reply that are read
)

// Config configures a [Client] or a [V2]. Only Credentials is required.
type Config struct {
	Credentials Credentials

	// BaseURL is where requests go and what they are signed for. Empty means https:// and
	// the credentials' host.
	BaseURL string

	// AccountSwitchKey, if set, acts on another account. It is sent as the query
	// parameter accountSwitchKey. It replaces the account_key of the credentials.
	AccountSwitchKey string

	// HTTP makes the requests. nil means a client of its own. A given client is copied,
	// and its CheckRedirect is replaced: see [transport.setDefaults].
	HTTP *http.Client

	// Timeout is for one attempt, from dialling to the end of the reply. 0 means 30 s.
	Timeout time.Duration

	// UserAgent is sent with each request. Empty means purgebot.
	UserAgent string
}

// Client speaks Fast Purge (CCU v3). It is safe for concurrent use.
type Client struct{ transport }

// New makes a Client. It starts nothing and contacts nobody.
//
// Akamai verifies a signature over the first 131,072 bytes of a body. Many .edgerc files
// have a smaller max_body, which would spoil the signature of every longer body ("The
// signature does not match"), as the README of AkamaiOPEN-edgegrid-java's edgerc-reader
// says. So a smaller value is raised.
func New(c Config) (*Client, error) {
	t, err := newTransport(c)
	if err != nil {
		return nil, err
	}
	return &Client{t}, nil
}

// Send makes one attempt with a signature of its own. Akamai refuses a nonce that it has
// seen, and a timestamp that is more than 30 s off.
func (c *Client) Send(ctx context.Context, r Request) Answer {
	body, err := r.Body()
	if err != nil {
		return unsent(err)
	}
	return c.post(ctx, r, body, "ccu/v3", string(r.Action), string(r.Kind), string(r.Network))
}

// RateLimitStatus asks for the account's budget without purging anything. An Accepted
// answer has Limits. Whether asking itself takes a token is not documented.
func (c *Client) RateLimitStatus(ctx context.Context, k Kind) Answer {
	return c.post(ctx, Request{Kind: k}, nil, "ccu/v3/rate-limit-status", string(k))
}

// Wait lets Akamai's estimate pass. Fast Purge has no operation that tells whether a
// purge is done.
func (c *Client) Wait(ctx context.Context, r Receipt) error {
	return sleep(ctx, time.Until(r.At.Add(r.Estimated)))
}

// MaxObjects is the capacity of the kind's bucket. Akamai denies a request whole if there
// are fewer tokens than objects, so a larger one could never be accepted.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
func (c *Client) MaxObjects(k Kind) int {
	return int(NewBudget(time.Time{}).Objects(k).Capacity)
}

// unsent is the answer to a request that is not worth sending. It has the verdict that
// Akamai would have given, so that callers need no further case.
func unsent(err error) Answer {
	a := Answer{Verdict: TooLarge, Title: "not sent", Detail: clean(err.Error(), maxWords), Err: err}
	if object, ok := errors.AsType[*ObjectError](err); ok {
		a.Verdict, a.Offender, a.Detail = Refused, object.Object, object.Reason
	}
	return a
}

// transport is the common part of v2 and v3: an address, a way to sign, and one way to
// read replies. It does not change once it is made.
type transport struct {
	base      *url.URL
	sign      func(*http.Request) // adds the credentials; called once for each attempt
	way       wayIn
	http      *http.Client
	timeout   time.Duration
	userAgent string
}

// newTransport makes the transport for one account, signed with EdgeGrid. The signature
// covers as much of a body as Akamai checks, whatever the credentials say: see [New].
func newTransport(c Config) (transport, error) {
	if c.Credentials.config == nil {
		return transport{}, fmt.Errorf("connect to Akamai: %w", ErrNoCredentials)
	}
	base, err := baseURL(c.BaseURL, c.Credentials.Host())
	if err != nil {
		return transport{}, err
	}
	signer := c.Credentials.config()
	signer.MaxBody = max(signer.MaxBody, edgegrid.MaxBodySize)
	if c.AccountSwitchKey != "" {
		signer.AccountKey = c.AccountSwitchKey
	}
	t := transport{base: base, sign: func(r *http.Request) { signer.SignRequest(r) }, way: wayIn{account: signer.AccountKey}}
	t.setDefaults(c)
	return t, nil
}

// setDefaults fills what the caller left open. Redirects are never followed: a signature
// is for one host and path, and nobody else may see it. The redirect itself becomes the
// answer.
func (t *transport) setDefaults(c Config) {
	t.timeout, t.userAgent = c.Timeout, c.UserAgent
	if t.timeout <= 0 {
		t.timeout = defaultTimeout
	}
	if t.userAgent == "" {
		t.userAgent = "purgebot"
	}
	t.http = &http.Client{}
	if c.HTTP != nil {
		*t.http = *c.HTTP
	} else if d, ok := http.DefaultTransport.(*http.Transport); ok {
		own := d.Clone()
		own.MaxIdleConnsPerHost = Connections
		t.http.Transport = own
	}
	t.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
}

// baseURL parses the address of the API. A query or user in it would be lost or sent
// along, so it is refused.
func baseURL(base, host string) (*url.URL, error) {
	if base == "" {
		base = "https://" + host
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("connect to Akamai: base URL %q is not of the form https://HOST", base)
	}
	return u, nil
}

// post sends a body to a path below the base address.
func (t *transport) post(ctx context.Context, r Request, body []byte, path ...string) Answer {
	return t.attempt(ctx, r, http.MethodPost, t.base.JoinPath(path...), body)
}

// attempt makes one HTTP exchange and reads the reply. Below it net/http repeats only
// what never reached the wire.
func (t *transport) attempt(ctx context.Context, r Request, method string, u *url.URL, body []byte) Answer {
	status, header, reply, err := t.exchange(ctx, method, u, body)
	if err != nil {
		return noAnswer(err)
	}
	return t.read(r, status, header, reply)
}

// read classifies a reply and notes how the client had signed in.
func (t *transport) read(r Request, status int, header http.Header, reply []byte) Answer {
	a := classify(r, status, header, reply)
	a.way = t.way
	return a
}

// lostError is a failure after the request went out. Nobody knows whether Akamai received
// it.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// noAnswer is the answer of an exchange that brought none.
func noAnswer(err error) Answer {
	a := Answer{Verdict: Unavailable, Title: "no answer", Err: err}
	if lost, ok := errors.AsType[lostError](err); ok {
		a.Lost, a.Err = true, lost.error
	}
	a.Detail = clean(a.Err.Error(), maxWords)
	return a
}

// exchange returns whatever came. A reply that was cut short is no error: its status
// tells what Akamai decided. WroteHeaders marks the moment from which Akamai may have the
// request; an error after it is a [lostError].
func (t *transport) exchange(ctx context.Context, method string, u *url.URL, body []byte) (int, http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", t.userAgent)
	t.sign(req)
	if len(body) == 0 {
		// Signing has put an empty reader there. net/http would send that as a body of
		// unknown length.
		req.Body = http.NoBody
	}
	res, err := t.http.Do(req)
	if err != nil {
		if sent.Load() {
			err = lostError{err}
		}
		return 0, nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()                    // it was read; nothing is left to fail
	reply, _ := io.ReadAll(io.LimitReader(res.Body, maxReply)) // what came before an error still counts
	return res.StatusCode, res.Header, reply, nil
}

// sleep waits for d. It returns early, with the context's error, if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
