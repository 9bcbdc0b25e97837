// Package akamai is a stand-in for Akamai's purge APIs on loopback: Fast
// Purge (CCU v3) and the legacy CCU v2 behind an EdgeGrid gateway, for tests,
// for `purgebot demo` and for people who have no credentials yet.
//
// It is useful only if it is no kinder than the real service. It checks
// signatures, limits and the form of every request, and refuses in Akamai's
// words and shapes. Where Akamai's behaviour is not documented it takes the
// stricter reading, and a comment says so. It shares no code with purgebot's
// own client: a mistake there can't hide behind the same mistake here.
//
// It is strict with its own client, not hardened against strangers: keep it
// off public networks.
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

// Config says what an Akamai stand-in knows and grants. The zero value
// is a usable one: made-up credentials that may purge everything, Akamai's
// documented limits, no faults.
type Config struct {
	// ClientToken, ClientSecret and AccessToken are the credentials of the one
	// API client. Those that are empty are made up; see [Server.Credentials].
	ClientToken, ClientSecret, AccessToken string

	// AccountSwitchKey is the one account besides the client's own that the
	// client may act for. A request with another key is denied.
	AccountSwitchKey string

	// BasicUser and BasicPassword open the legacy CCU v2 to HTTP Basic, as it
	// was at api.ccu.akamai.com. Without a user only EdgeGrid is accepted.
	BasicUser, BasicPassword string

	// Hosts are the hostnames whose URLs the client may purge: exact names, or
	// *.example.com for any depth below example.com. Nil grants all.
	Hosts []string
	// CPCodes are the CP codes that the client may purge. Nil grants all.
	CPCodes []int

	// Limits are the account's token buckets.
	Limits Limits
	// Queue is how the legacy CCU v2 works off its queue.
	Queue Queue

	// Estimate is the estimatedSeconds of an accepted Fast Purge request, in
	// whole seconds; 0 means Akamai's 5.
	Estimate time.Duration

	// Latency is waited before each answer.
	Latency time.Duration
	// FaultRate is the share of requests, 0 to 1, that meet a random fault: a
	// 503, a connection dropped before the request was looked at, or an answer
	// lost after it was accepted. Seed makes the sequence repeatable.
	FaultRate float64
	Seed      uint64

	// Purged is told of each purge that is accepted, before it is answered: an
	// edge acts on it once p.Takes has passed. It must not call the stand-in.
	Purged func(p Purge)

	// Keep bounds what [Server.Accepted] and [Server.Requests] remember: the
	// latest so many of each; 0 means all, below 0 none. [Server.Counts] goes
	// on counting.
	Keep int

	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log gets one line for each request; nil means none.
	Log *slog.Logger
}

// Credentials are those of the stand-in's one API client.
type Credentials struct {
	ClientToken, ClientSecret, AccessToken string
}

// String hides the secret.
func (c Credentials) String() string { return "client " + c.ClientToken }

// GoString hides the secret from %#v too.
func (c Credentials) GoString() string { return c.String() }

// Server is the stand-in: an [http.Handler] that many goroutines may use at
// once. What it accepted and was asked can be read at any time.
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

// Credentials are those that the stand-in accepts now.
func (a *Server) Credentials() Credentials {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.creds
}

// EdgercSection is the text of an .edgerc section with the stand-in's
// credentials. An .edgerc has no scheme: its readers take https, so a plain
// HTTP stand-in needs its client's base URL set as well.
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

// SetClockSkew moves the stand-in's clock against the configured one; its
// Date header shows it. Beyond 30 s every signature is too old or too new.
func (a *Server) SetClockSkew(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.skew = d
}

// SetGranted gives the client its grant for the purge API (which it has from
// the start), or takes it away: then the gateway denies everything.
func (a *Server) SetGranted(granted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied = !granted
}

type objectRefusal struct {
	status int
	title  string
}

// Refuse makes every request that holds object (as it is sent: a URL, a tag,
// a CP code in decimal) fail as a whole and name that object, as Akamai does
// with what the client may not purge. Status 0 means 403; an empty title
// "unauthorized arl", or "unauthorized cpcode" and "unauthorized tag".
func (a *Server) Refuse(object string, status int, title string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused[object] = objectRefusal{status: cmp.Or(status, http.StatusForbidden), title: title}
}

// Allow takes a Refuse back.
func (a *Server) Allow(object string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.refused, object)
}

// Fault is something that goes wrong with one request. The zero value
// is no fault.
type Fault struct {
	// Delay is waited, or until the client gives up, before anything else.
	Delay time.Duration
	// Accept handles the request first, and accepts it if it deserves that:
	// the fault then spoils the answer alone. Otherwise the request is lost.
	Accept bool
	// Drop cuts the connection instead of answering.
	Drop bool
	// Status, Header and Body are answered if Status is not 0; the content
	// type is text/html unless Header has one.
	Status int
	Header http.Header
	Body   string
}

// Fault asks f for each request, whose body is given apart, what is to go
// wrong with it. Nil ends that. It comes before FaultRate. The calls may be
// concurrent.
func (a *Server) Fault(f func(r *http.Request, body []byte) Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// faultFor decides which fault the request meets.
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

// call is one request, read.
type call struct {
	*http.Request
	body    []byte    // one byte more than EdgeGrid hashes, at most
	now     time.Time // by the stand-in's clock
	account string    // the account switch key
}

// ServeHTTP is the gateway and what lies behind it.
func (a *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// One byte more than is hashed is enough to know all: far smaller bodies
	// are too large already.
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

// answer is the gateway: who is it, may it, and where does it go.
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

// pause waits for d or until the client is gone.
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

// answer is what goes back, and what the stand-in remembers of it.
type answer struct {
	status int
	header map[string]string
	media  string
	body   any // marshalled to JSON; a string goes as it is

	refusal string // title and detail; empty if it was accepted
	kind    string
	objects int
	purgeID string
}

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
	_, _ = io.WriteString(w, text) // a client that is gone does not matter
}
