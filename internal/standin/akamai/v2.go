package akamai

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"
)

// Queue says how the legacy CCU v2 processes its queue. A zero field means the number in
// Akamai's guide.
type Queue struct {
	// Unknown is how long the status of a new purge is "Unknown". The default is 1 s;
	// below 0 it never is.
	Unknown time.Duration
	// Done is how long after its submission a purge is done. The default is 240 s.
	Done time.Duration
	// Size is how many objects may wait. The default is 10,000.
	Size int
}

func (q Queue) withDefaults() Queue {
	return Queue{
		Unknown: cmp.Or(q.Unknown, time.Second),
		Done:    cmp.Or(q.Done, 240*time.Second),
		Size:    cmp.Or(q.Size, 10_000),
	}
}

const (
	v2MaxObjects = 500 // in one request
	v2Ping       = 60 * time.Second
	// v2Memory is how long the status of a purge can be asked for.
	v2Memory = 48 * time.Hour
)

// queuedPurge is a purge of CCU v2.
type queuedPurge struct {
	id, supportID string
	submitted     time.Time
	ahead         int // objects in the queue before it
	objects       int
}

// queueState holds the purges of CCU v2, including those that are done.
type queueState struct {
	purges map[string]queuedPurge
}

// length is how many objects wait. It first forgets old purges.
func (q *queueState) length(now time.Time, done time.Duration) (objects int) {
	for id, p := range q.purges {
		switch age := now.Sub(p.submitted); {
		case age < done:
			objects += p.objects
		case age > v2Memory:
			delete(q.purges, id)
		}
	}
	return objects
}

type v2Accepted struct {
	HTTPStatus       int    `json:"httpStatus"`
	Detail           string `json:"detail"`
	EstimatedSeconds int    `json:"estimatedSeconds"`
	PurgeID          string `json:"purgeId"`
	ProgressURI      string `json:"progressUri"`
	PingAfterSeconds int    `json:"pingAfterSeconds"`
	SupportID        string `json:"supportId"`
}

type v2Length struct {
	HTTPStatus  int    `json:"httpStatus"`
	QueueLength int    `json:"queueLength"`
	Detail      string `json:"detail"`
	SupportID   string `json:"supportId"`
}

type v2Status struct {
	HTTPStatus               int     `json:"httpStatus"`
	PurgeID                  string  `json:"purgeId"`
	PurgeStatus              string  `json:"purgeStatus"`
	ProgressURI              string  `json:"progressUri"`
	PingAfterSeconds         int     `json:"pingAfterSeconds"`
	SupportID                string  `json:"supportId"`
	OriginalEstimatedSeconds int     `json:"originalEstimatedSeconds,omitempty"`
	OriginalQueueLength      *int    `json:"originalQueueLength,omitempty"`
	SubmittedBy              string  `json:"submittedBy,omitempty"`
	SubmissionTime           string  `json:"submissionTime,omitempty"`
	CompletionTime           *string `json:"completionTime"` // null until done
}

// v2 is the legacy API: queues/default and purges/{id}. "default" is the only queue; one
// of Akamai's two guides also named "emergency".
func (a *Server) v2(c call, path []string) answer {
	if len(path) != 2 {
		return notFound(c)
	}
	switch {
	case path[0] == "queues" && path[1] != "default":
		return ccuProblem(http.StatusNotFound, "queue not found", path[1])
	case path[0] == "queues" && c.Method == http.MethodPost:
		return a.v2Purge(c)
	case path[0] == "queues" && c.Method == http.MethodGet:
		return a.v2Length(c)
	case path[0] == "purges" && c.Method == http.MethodGet:
		return a.v2Status(c, path[1])
	case path[0] == "queues" || path[0] == "purges":
		return ccuProblem(http.StatusMethodNotAllowed, "method not allowed", c.Method)
	}
	return notFound(c)
}

func okAnswer(body any) answer {
	return answer{status: http.StatusOK, media: "application/json", body: body}
}

// v2Purge puts a purge into the queue, or refuses all of it.
func (a *Server) v2Purge(c call) (ans answer) {
	var p Purge
	defer func() { ans.kind, ans.objects = p.Kind, len(p.Objects) }()
	if refusal, ok := checkJSON(c, maxBody); !ok {
		return refusal
	}
	p, bad := parseV2(c.body)
	if bad != nil {
		return bad.answer()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := a.queue.length(c.now, a.cfg.Queue.Done)
	if waiting+len(p.Objects) > a.cfg.Queue.Size {
		return ccuProblem(http.StatusInsufficientStorage, "queue is full", "User's queue is full")
	}
	if bad := a.unauthorized(p.Kind, p.Objects); bad != nil {
		return bad.answer()
	}
	queued := queuedPurge{
		id: newUUID(), supportID: "17PY-" + rand.Text(),
		submitted: c.now, ahead: waiting, objects: len(p.Objects),
	}
	a.queue.purges[queued.id] = queued
	p.PurgeID = queued.id
	a.accept(c, p)
	return answer{
		status: http.StatusCreated,
		header: map[string]string{"Content-Location": queued.progressURI()},
		media:  "application/json",
		body: v2Accepted{
			HTTPStatus: http.StatusCreated, Detail: "Request accepted.",
			EstimatedSeconds: wholeSeconds(a.cfg.Queue.Done), PingAfterSeconds: wholeSeconds(a.cfg.Queue.Done),
			PurgeID: queued.id, ProgressURI: queued.progressURI(), SupportID: queued.supportID,
		},
		purgeID: queued.id,
	}
}

// parseV2 reads a purge of CCU v2 and translates it into the words of v3.
func parseV2(body []byte) (Purge, *objectError) {
	fields, bad := parseFields(body)
	if bad != nil {
		return Purge{}, bad
	}
	p := Purge{API: "v2", Kind: kindURL, Action: actionDelete, Network: networkProduction}
	for name, value := range fields {
		switch name {
		case "objects":
		case "type":
			p.Kind, bad = v2Word(name, value, map[string]string{"arl": kindURL, "cpcode": kindCPCode})
		case "action":
			p.Action, bad = v2Word(name, value, map[string]string{"remove": actionDelete, "invalidate": actionInvalidate})
		case "domain":
			p.Network, bad = v2Word(name, value, map[string]string{"production": networkProduction, "staging": networkStaging})
		default:
			bad = &objectError{http.StatusBadRequest, "invalid attribute", "'" + name + "' attribute is not known"}
		}
		if bad != nil {
			return Purge{}, bad
		}
	}
	if p.Objects, bad = parseObjects(fields["objects"], p.Kind); bad != nil {
		return Purge{}, bad
	}
	if len(p.Objects) > v2MaxObjects {
		return p, &objectError{
			http.StatusRequestEntityTooLarge, "request entity too large",
			fmt.Sprintf("%d objects, at most %d a request", len(p.Objects), v2MaxObjects),
		}
	}
	for _, object := range p.Objects {
		if bad := checkObject(p.Kind, object); bad != nil {
			return p, bad
		}
	}
	return p, nil
}

func v2Word(name string, value json.RawMessage, words map[string]string) (string, *objectError) {
	var word string
	if err := json.Unmarshal(value, &word); err != nil {
		return "", wrongType(name, "string", value)
	}
	if meaning, ok := words[word]; ok {
		return meaning, nil
	}
	return "", &objectError{http.StatusBadRequest, "invalid attribute value", fmt.Sprintf("'%s' attribute cannot be '%s'", name, word)}
}

func (a *Server) v2Length(c call) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return okAnswer(v2Length{
		HTTPStatus: http.StatusOK, QueueLength: a.queue.length(c.now, a.cfg.Queue.Done),
		Detail: "The queue may take a minute to reflect new or removed requests.", SupportID: "17QY-" + rand.Text(),
	})
}

// v2Status tells how far a purge is. A purge that was just submitted, never submitted, or
// finished days ago is "Unknown". That is a 200 too.
func (a *Server) v2Status(c call, id string) answer {
	a.mu.Lock()
	p, known := a.queue.purges[id]
	a.mu.Unlock()
	age := c.now.Sub(p.submitted)
	if !known || age < a.cfg.Queue.Unknown || age > v2Memory {
		return okAnswer(v2Status{
			HTTPStatus: http.StatusOK, PurgeID: id, PurgeStatus: "Unknown", SupportID: "17SY-" + rand.Text(),
			ProgressURI: "/ccu/v2/purges/" + id, PingAfterSeconds: wholeSeconds(min(v2Ping, a.cfg.Queue.Done)),
		})
	}
	status := v2Status{
		HTTPStatus: http.StatusOK, PurgeID: id, PurgeStatus: "In-Progress", SupportID: "17SY-" + rand.Text(),
		ProgressURI: p.progressURI(), PingAfterSeconds: wholeSeconds(min(v2Ping, a.cfg.Queue.Done-age)),
		OriginalEstimatedSeconds: wholeSeconds(a.cfg.Queue.Done), OriginalQueueLength: &p.ahead,
		SubmittedBy: "purgebot", SubmissionTime: p.submitted.UTC().Format(time.RFC3339),
	}
	if age >= a.cfg.Queue.Done {
		completed := p.submitted.Add(a.cfg.Queue.Done).UTC().Format(time.RFC3339)
		status.PurgeStatus, status.CompletionTime, status.PingAfterSeconds = "Done", &completed, 0
	}
	return okAnswer(status)
}

func (p queuedPurge) progressURI() string { return "/ccu/v2/purges/" + p.id }

// wholeSeconds rounds up: after that many whole seconds d has passed.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// newUUID has the form that purge ids had in CCU v2.
func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
