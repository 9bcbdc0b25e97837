// Package akamai is a stand-in for Akamai's purge APIs on loopback: Fast Purge (CCU v3)
// and the legacy CCU v2, behind an EdgeGrid gateway. Tests, `purgebot demo` and people
// without credentials use it.
//
// It must never be more lenient than the real service, or it would hide faults. It checks
// signatures, limits and the form of every request, and refuses in Akamai's words and
// shapes. If Akamai's behaviour is not documented, it takes the stricter reading, and a
// comment says so. It shares no code with purgebot's own client, so that the same mistake
// cannot be on both sides.
//
// It is strict with its own client, but not hardened against strangers: keep it off
// public networks.
package akamai

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Config says what an Akamai stand-in knows and grants. The zero value is usable: made-up
// credentials that may purge everything, Akamai's documented limits, and no faults.
type Config struct {
	// ClientToken, ClientSecret and AccessToken are the credentials of the one API
	// client. An empty one is made up; see [Server.Credentials].
	ClientToken, ClientSecret, AccessToken string

	// AccountSwitchKey is the one other account for which the client may act. A request
	// with any other key is denied.
	AccountSwitchKey string

	// BasicUser and BasicPassword allow HTTP Basic for the legacy CCU v2, as at
	// api.ccu.akamai.com. Without a user only EdgeGrid is accepted.
	BasicUser, BasicPassword string

	// Hosts are the hostnames whose URLs the client may purge: exact names, or
	// *.example.com for any depth below example.com. nil grants all.
	Hosts []string
	// CPCodes are the CP codes that the client may purge. nil grants all.
	CPCodes []int

	// Limits are the account's token buckets.
	Limits Limits
	// Queue says how the legacy CCU v2 processes its queue.
	Queue Queue

	// Estimate is the estimatedSeconds of an accepted Fast Purge request, in
	// whole seconds; 0 means Akamai's 5.
	Estimate time.Duration

	// Latency is the wait before each answer.
	Latency time.Duration
	// FaultRate is the share of requests, 0 to 1, that meet a random fault: a
	// 503, a connection dropped before the request was looked at, or an answer
	// lost after it was accepted. Seed makes the sequence repeatable.
	FaultRate float64
	Seed      uint64

	// Purged is called for each accepted purge, before it is answered. An edge acts on
	// the purge once p.Takes has passed. Purged must not call the stand-in, which holds
	// its lock.
	Purged func(p Purge)

	// Keep is how many of the latest entries [Server.Accepted] and [Server.Requests]
	// remember. 0 means all, below 0 none. [Server.Counts] always counts everything.
	Keep int

	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log gets one line for each request; nil means none.
	Log *slog.Logger
}

// Credentials are the credentials of the stand-in's one API client.
type Credentials struct {
	ClientToken, ClientSecret, AccessToken string
}

// String hides the secret.
func (c Credentials) String() string { return "client " + c.ClientToken }

// GoString hides the secret from %#v too.
func (c Credentials) GoString() string { return c.String() }

// Server is the stand-in, an [http.Handler]. It is safe for concurrent use. What it
// accepted and was asked can be read at any time.
type Server struct {
	cfg     Config
	log     *slog.Logger
	hosts   hostPatterns
	cpcodes map[string]bool // nil: all

	mu       sync.Mutex
	creds    Credentials
	skew     time.Duration
	denied   bool
	refused  map[string]objectRefusal
	fault    func(*http.Request, []byte) Fault
	random   *mathrand.Rand
	nonces   nonceLog
	accounts map[string]*accountBuckets // by account switch key; "" is the client's own
	queue    queueState
	accepted history[Purge]
	requests history[Request]
	counts   Counts
}

// New makes a stand-in. It starts nothing: serve it with an
// [http.Server] or [net/http/httptest.Server].
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Estimate = cmp.Or(cfg.Estimate, defaultEstimate)
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Queue = cfg.Queue.withDefaults()
	a := &Server{
		cfg:   cfg,
		log:   cfg.Log.With("standin", "akamai"),
		hosts: newHostPatterns(cfg.Hosts),
		creds: Credentials{
			ClientToken:  cmp.Or(cfg.ClientToken, "akab-client-"+rand.Text()),
			ClientSecret: cmp.Or(cfg.ClientSecret, rand.Text()),
			AccessToken:  cmp.Or(cfg.AccessToken, "akab-access-"+rand.Text()),
		},
		refused:  map[string]objectRefusal{},
		random:   mathrand.New(mathrand.NewPCG(cfg.Seed, 0x616b616d6169)), //nolint:gosec // repeatable faults, nothing secret
		nonces:   nonceLog{until: map[string]time.Time{}},
		accounts: map[string]*accountBuckets{},
		queue:    queueState{purges: map[string]queuedPurge{}},
		accepted: history[Purge]{keep: cfg.Keep},
		requests: history[Request]{keep: cfg.Keep},
	}
	if cfg.CPCodes != nil {
		a.cpcodes = map[string]bool{}
		for _, code := range cfg.CPCodes {
			a.cpcodes[strconv.Itoa(code)] = true
		}
	}
	return a
}

// Credentials are the ones that the stand-in accepts at the moment.
func (a *Server) Credentials() Credentials {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.creds
}

// EdgercSection is the text of an .edgerc section with the stand-in's credentials. An
// .edgerc has no scheme and its readers assume https, so the client of a plain HTTP
// stand-in also needs its base URL set.
func (a *Server) EdgercSection(section, host string) string {
	c := a.Credentials()
	return fmt.Sprintf("[%s]\nhost = %s\nclient_token = %s\nclient_secret = %s\naccess_token = %s\nmax_body = %d\n",
		section, host, c.ClientToken, c.ClientSecret, c.AccessToken, maxBody)
}

// SetCredentials replaces the client's credentials, as a rotation or a
// revocation does. Empty fields stay as they are.
func (a *Server) SetCredentials(c Credentials) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.creds = Credentials{
		ClientToken:  cmp.Or(c.ClientToken, a.creds.ClientToken),
		ClientSecret: cmp.Or(c.ClientSecret, a.creds.ClientSecret),
		AccessToken:  cmp.Or(c.AccessToken, a.creds.AccessToken),
	}
}

// SetClockSkew moves the stand-in's clock against the configured one, and its Date header
// with it. Beyond 30 s every signature is too old or too new.
func (a *Server) SetClockSkew(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.skew = d
}

// SetGranted gives the client its grant for the purge API, or takes it away. Without the
// grant the gateway denies everything. The client has it at the start.
func (a *Server) SetGranted(granted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied = !granted
}

type objectRefusal struct {
	status int
	title  string
}

// Refuse makes every request that holds object fail as a whole and name that object, as
// Akamai does with an object that the client may not purge. object is written as it is
// sent: a URL, a tag, or a CP code in decimal. Status 0 means 403. An empty title means
// "unauthorized arl", "unauthorized cpcode" or "unauthorized tag".
func (a *Server) Refuse(object string, status int, title string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused[object] = objectRefusal{status: cmp.Or(status, http.StatusForbidden), title: title}
}

// Allow undoes a Refuse.
func (a *Server) Allow(object string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.refused, object)
}

// Fault is something that goes wrong with one request. The zero value
// is no fault.
type Fault struct {
	// Delay is the wait before anything else. It ends early if the client gives up.
	Delay time.Duration
	// Accept makes the stand-in handle the request first, and accept it if it is in
	// order. The fault then spoils only the answer. Without Accept the request has no
	// effect.
	Accept bool
	// Drop cuts the connection instead of answering.
	Drop bool
	// Status, Header and Body are the answer if Status is not 0. The content type is
	// text/html unless Header has another.
	Status int
	Header http.Header
	Body   string
}

// Fault sets a function that decides, for each request, what goes wrong with it. It gets
// the body separately. nil ends that. It is asked before FaultRate applies. It may be
// called concurrently.
func (a *Server) Fault(f func(r *http.Request, body []byte) Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// faultFor decides which fault a request meets.
func (a *Server) faultFor(r *http.Request, body []byte) Fault {
	a.mu.Lock()
	f := a.fault
	var random Fault
	if a.cfg.FaultRate > 0 && a.random.Float64() < a.cfg.FaultRate {
		random = []Fault{
			{Status: http.StatusServiceUnavailable, Body: "<html><body>Service Unavailable</body></html>"},
			{Drop: true},
			{Drop: true, Accept: true},
		}[a.random.IntN(3)]
	}
	a.mu.Unlock()
	if f != nil {
		if fault := f(r, body); fault.Delay != 0 || fault.strikes() {
			return fault
		}
	}
	return random
}

func (f Fault) strikes() bool { return f.Drop || f.Status != 0 }

// call is one request after its body was read.
type call struct {
	*http.Request
	body    []byte    // at most one byte more than EdgeGrid hashes
	now     time.Time // by the stand-in's clock
	account string    // the account switch key
}

// ServeHTTP is the gateway and the purge services behind it.
func (a *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// One byte more than EdgeGrid hashes is enough: much smaller bodies are already too
	// large.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		a.record(a.call(r, body), answer{refusal: "request cut off"}, false)
		panic(http.ErrAbortHandler)
	}
	fault := a.faultFor(r, body)
	pause(r.Context(), a.cfg.Latency+fault.Delay)

	c := a.call(r, body)
	var ans answer
	if fault.strikes() && !fault.Accept {
		ans = answer{refusal: "fault"}
	} else {
		ans = a.answer(c)
	}
	if fault.strikes() {
		ans.status = fault.Status
	}
	a.record(c, ans, fault.strikes())

	header := w.Header()
	header.Set("Date", c.now.UTC().Format(http.TimeFormat))
	switch {
	case fault.Drop:
		panic(http.ErrAbortHandler) // net/http closes the connection
	case fault.Status != 0:
		header.Set("Content-Type", "text/html")
		for name, values := range fault.Header {
			header[http.CanonicalHeaderKey(name)] = values
		}
		w.WriteHeader(fault.Status)
		_, _ = io.WriteString(w, fault.Body)
	default:
		ans.write(w)
	}
}

func (a *Server) call(r *http.Request, body []byte) call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return call{
		Request: r,
		body:    body,
		now:     a.cfg.Now().Add(a.skew),
		account: r.URL.Query().Get("accountSwitchKey"),
	}
}

// answer is the gateway: it finds out who calls, whether the client may call, and which
// service answers.
func (a *Server) answer(c call) answer {
	if refusal, ok := a.authenticate(c); !ok {
		return refusal
	}
	a.mu.Lock()
	denied := a.denied || (c.account != "" && c.account != a.cfg.AccountSwitchKey)
	a.mu.Unlock()
	if denied {
		return deny(c)
	}
	return a.route(c)
}

// pause waits for d, or until the client is gone.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answer is one reply, with what the stand-in remembers of it.
type answer struct {
	status int
	header map[string]string
	media  string
	body   any // sent as JSON; a string is sent as it is

	refusal string // title and detail; empty if it was accepted
	kind    string
	objects int
	purgeID string
}

// write sends the answer.
func (ans answer) write(w http.ResponseWriter) {
	for name, value := range ans.header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", ans.media)
	text, plain := ans.body.(string)
	if !plain {
		data, err := json.Marshal(ans.body)
		if err != nil { // unreachable: the bodies are structs of strings and numbers
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		text = string(data)
	}
	w.WriteHeader(ans.status)
	_, _ = io.WriteString(w, text) // an error means that the client is gone
}
