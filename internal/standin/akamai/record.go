package akamai

import (
	"slices"
	"time"
)

// Purge is one request that Akamai accepted, in the words of Fast Purge, whichever API
// received it.
type Purge struct {
	At      time.Time // by the stand-in's clock
	API     string    // "v3" or "v2"
	Kind    string    // "url" (ARLs too), "tag" or "cpcode"
	Network string    // "production" or "staging"
	Action  string    // "invalidate" or "delete"
	Objects []string  // as sent; CP codes in decimal; must not be changed
	// Ineffective are the objects that Akamai accepts but does not purge: tags over 128
	// characters.
	Ineffective      []string
	PurgeID          string
	AccountSwitchKey string
	Takes            time.Duration // until it takes effect
}

// Request is one request that the stand-in received, whatever the result.
type Request struct {
	At     time.Time // by the stand-in's clock
	Method string
	Path   string // with the query
	Size   int    // bytes of the body, counted up to 131,073
	Status int    // of the answer; 0: the connection was cut
	// Refusal is the title and detail of the error. It is empty if the request was
	// carried out.
	Refusal string
	// Fault tells that an injected fault spoiled the answer. If Refusal is empty then,
	// the request was still carried out.
	Fault   bool
	Kind    string // "url", "tag" or "cpcode"; "" if that was not clear
	Objects int    // number of objects, if they could be read
	PurgeID string // "" unless a purge was accepted
}

// Counts are sums since the stand-in was made.
type Counts struct {
	Requests    int   // all that were received
	Purges      int   // requests that were accepted as a purge
	Objects     int   // in accepted purges
	Bytes       int64 // of the bodies of accepted purges
	Limited     int   // refused with 429
	Refused     int   // refused for any other reason
	Faults      int   // spoiled by an injected fault
	AnswersLost int   // accepted as a purge, but the answer was lost to a fault
}

// Accepted are the purges that the stand-in accepted, oldest first.
func (a *Server) Accepted() []Purge {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accepted.list()
}

// Requests are the requests that the stand-in received, in the order of their answers.
func (a *Server) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests.list()
}

// Counts are the sums over everything, including what is no longer kept.
func (a *Server) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts
}

// record remembers a request and its answer, and logs it.
func (a *Server) record(c call, ans answer, fault bool) {
	req := Request{
		At: c.now, Method: c.Method, Path: c.URL.RequestURI(), Size: len(c.body),
		Status: ans.status, Refusal: ans.refusal, Fault: fault,
		Kind: ans.kind, Objects: ans.objects, PurgeID: ans.purgeID,
	}
	a.mu.Lock()
	a.requests.add(req)
	a.counts.add(req)
	a.mu.Unlock()
	a.log.Info("request", "method", req.Method, "path", req.Path, "bytes", req.Size, "status", req.Status,
		"objects", req.Objects, "purge", req.PurgeID, "refusal", req.Refusal, "fault", req.Fault)
}

// add counts one request.
func (n *Counts) add(req Request) {
	n.Requests++
	if req.PurgeID != "" {
		n.Purges++
		n.Objects += req.Objects
		n.Bytes += int64(req.Size)
	}
	switch {
	case req.Fault:
		n.Faults++
		if req.PurgeID != "" {
			n.AnswersLost++
		}
	case req.Status == 429:
		n.Limited++
	case req.Refusal != "":
		n.Refused++
	}
}

// history keeps the latest entries: all of them if keep is 0, none if it is negative.
type history[T any] struct {
	keep    int
	entries []T
}

func (l *history[T]) add(entry T) {
	if l.keep < 0 {
		return
	}
	l.entries = append(l.entries, entry)
	// It drops old entries only at twice the number, so that it rarely copies.
	if l.keep > 0 && len(l.entries) >= 2*l.keep {
		l.entries = slices.Clone(l.entries[len(l.entries)-l.keep:])
	}
}

func (l *history[T]) list() []T {
	entries := l.entries
	if l.keep > 0 && len(entries) > l.keep {
		entries = entries[len(entries)-l.keep:]
	}
	return slices.Clone(entries)
}
