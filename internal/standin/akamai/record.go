package akamai

import (
	"slices"
	"time"
)

// Purge is one request that Akamai accepted, in the words of Fast Purge
// whichever API it came by.
type Purge struct {
	At      time.Time // by the stand-in's clock
	API     string    // "v3" or "v2"
	Kind    string    // "url" (ARLs too), "tag" or "cpcode"
	Network string    // "production" or "staging"
	Action  string    // "invalidate" or "delete"
	Objects []string  // as sent; CP codes in decimal; not to be changed
	// Ineffective are those of the objects that Akamai accepts and does not
	// purge: tags over 128 characters.
	Ineffective      []string
	PurgeID          string
	AccountSwitchKey string
	Takes            time.Duration // until it takes effect
}

// Request is one request that the stand-in saw, whatever became of it.
type Request struct {
	At     time.Time // by the stand-in's clock
	Method string
	Path   string // with the query
	Size   int    // bytes of the body, counted up to 131,073
	Status int    // as answered; 0 if the connection was cut
	// Refusal is the title and detail of the error; empty if the request was
	// done.
	Refusal string
	// Fault tells that an injected fault spoiled the answer. If Refusal is
	// empty then, the request was done all the same.
	Fault   bool
	Kind    string // "url", "tag" or "cpcode", where that was clear
	Objects int    // how many objects it held, where they could be read
	PurgeID string // of an accepted purge
}

// Counts are sums since the stand-in was made.
type Counts struct {
	Requests    int   // all that came
	Purges      int   // those that were accepted as a purge
	Objects     int   // the objects of those
	Bytes       int64 // the bodies of those
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

// Requests are those that the stand-in saw, in the order of their answers.
func (a *Server) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests.list()
}

// Counts sums up, also over what is no longer kept.
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

// history keeps the latest entries: all if keep is 0, none if it is below.
type history[T any] struct {
	keep    int
	entries []T
}

func (l *history[T]) add(entry T) {
	if l.keep < 0 {
		return
	}
	l.entries = append(l.entries, entry)
	// Twice as many before the old ones go, so that the copying is rare.
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
