package akamai

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The kinds of object, networks and actions of Fast Purge.
const (
	kindURL    = "url"
	kindTag    = "tag"
	kindCPCode = "cpcode"

	networkProduction = "production"
	networkStaging    = "staging"

	actionInvalidate = "invalidate"
	actionDelete     = "delete"
)

const (
	v3MaxBody = 50_000 // bytes
	// defaultEstimate is how long a purge takes according to Akamai.
	defaultEstimate = 5 * time.Second
)

// accepted is the body of a Fast Purge 201.
type accepted struct {
	HTTPStatus       int    `json:"httpStatus"`
	Detail           string `json:"detail"`
	EstimatedSeconds int    `json:"estimatedSeconds,omitempty"`
	PurgeID          string `json:"purgeId,omitempty"`
	SupportID        string `json:"supportId"`
}

// route finds the operation of a path.
func (a *Server) route(c call) answer {
	segments := strings.Split(c.URL.EscapedPath(), "/")
	if len(segments) < 4 || segments[1] != "ccu" {
		return notFound(c)
	}
	switch rest := segments[3:]; segments[2] {
	case "v2":
		return a.v2(c, rest)
	case "v3":
		return a.v3(c, rest)
	}
	return notFound(c)
}

// v3 is Fast Purge: {action}/{kind}[/{network}], rate-limit-status/{kind}.
func (a *Server) v3(c call, path []string) answer {
	network := networkProduction
	if len(path) == 3 && path[0] != "rate-limit-status" {
		network, path = path[2], path[:2]
	}
	if len(path) != 2 || !slices.Contains([]string{kindURL, kindTag, kindCPCode}, path[1]) ||
		(network != networkProduction && network != networkStaging) {
		return notFound(c)
	}
	action, kind := path[0], path[1]
	if !slices.Contains([]string{actionInvalidate, actionDelete, "rate-limit-status"}, action) {
		return notFound(c)
	}
	var ans answer
	switch {
	case c.Method != http.MethodPost:
		ans = ccuProblem(http.StatusMethodNotAllowed, "method not allowed", c.Method)
		ans.header = map[string]string{"Allow": http.MethodPost}
	case action == "rate-limit-status":
		ans = a.rateLimitStatus(c, kind)
	default:
		ans = a.fastPurge(c, Purge{API: "v3", Action: action, Kind: kind, Network: network})
	}
	ans.kind = kind
	return ans
}

// rateLimitStatus tells how full the buckets are. Whether that costs a token is not
// documented; here it does not.
func (a *Server) rateLimitStatus(c call, kind string) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return answer{
		status: http.StatusCreated,
		header: a.buckets(c.account).headers(kind),
		media:  "application/json",
		body:   accepted{HTTPStatus: http.StatusCreated, Detail: "Request accepted", SupportID: "17PY-" + rand.Text()},
	}
}

// fastPurge accepts one purge, or refuses all of it. The order is: the form, the budget,
// the client's grants. So a client that is over its budget learns nothing about its
// objects. Only an accepted request spends tokens.
func (a *Server) fastPurge(c call, p Purge) (ans answer) {
	defer func() { ans.objects = len(p.Objects) }()
	if refusal, ok := checkJSON(c, v3MaxBody); !ok {
		return refusal
	}
	objects, bad := parseV3(c.body, p.Kind)
	if bad != nil {
		return bad.answer()
	}
	p.Objects = objects
	// Bodies are read concurrently. From here on requests are handled one after the
	// other.
	a.mu.Lock()
	defer a.mu.Unlock()
	buckets := a.buckets(c.account)
	if refusal, limited := buckets.limited(p.Kind, len(objects)); limited {
		return refusal
	}
	if bad := a.unauthorized(p.Kind, objects); bad != nil {
		return bad.answer()
	}
	buckets.spend(p.Kind, len(objects))
	p.PurgeID = "e" + p.Action[:1] + p.Kind[:1] + "p-" + rand.Text() // edup-…, eitp-…, as seen in the wild
	a.accept(c, p)
	return answer{
		status: http.StatusCreated,
		header: buckets.headers(p.Kind),
		media:  "application/json",
		body: accepted{
			HTTPStatus: http.StatusCreated, Detail: "Request accepted",
			EstimatedSeconds: wholeSeconds(a.cfg.Estimate), PurgeID: p.PurgeID, SupportID: p.PurgeID,
		},
		purgeID: p.PurgeID,
	}
}

// accept records a purge. The caller holds a.mu.
func (a *Server) accept(c call, p Purge) {
	p.At, p.AccountSwitchKey = a.cfg.Now().Add(a.skew), c.account
	if p.Kind == kindTag {
		for _, tag := range p.Objects {
			if len(tag) > maxTag {
				p.Ineffective = append(p.Ineffective, tag)
			}
		}
	}
	if len(p.Ineffective) > 0 {
		a.log.Warn("tags too long: accepted, and not purged", "purge", p.PurgeID, "tags", len(p.Ineffective), "first", p.Ineffective[0])
	}
	p.Takes = a.cfg.Estimate
	if p.API == "v2" {
		p.Takes = a.cfg.Queue.Done
	}
	a.accepted.add(p)
	if a.cfg.Purged != nil {
		a.cfg.Purged(p)
	}
}

// checkJSON checks what both purge APIs require of a body before they read it.
func checkJSON(c call, limit int) (refusal answer, ok bool) {
	if media, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return ccuProblem(http.StatusUnsupportedMediaType, "unsupported media type", c.Header.Get("Content-Type")), false
	}
	if len(c.body) > limit {
		return ccuProblem(http.StatusRequestEntityTooLarge, "request entity too large",
			fmt.Sprintf("The body is larger than %d bytes", limit)), false
	}
	return answer{}, true
}

// parseV3 reads the objects of a Fast Purge body: {"objects": […]}. For URLs there may
// also be the older "hostname"; the objects are then paths on that host.
func parseV3(body []byte, kind string) ([]string, *objectError) {
	fields, bad := parseFields(body)
	if bad != nil {
		return nil, bad
	}
	hostname := ""
	for name, value := range fields {
		switch {
		case name == "objects":
		case name == "hostname" && kind == kindURL:
			if err := json.Unmarshal(value, &hostname); err != nil {
				return nil, wrongType(name, "string", value)
			}
			if !isHostname(hostname) {
				return nil, &objectError{http.StatusBadRequest, "bad URL hostname", "Invalid or malformed hostname '" + hostname + "'"}
			}
		default:
			return nil, &objectError{http.StatusBadRequest, "invalid attribute", "'" + name + "' attribute is not known"}
		}
	}
	objects, bad := parseObjects(fields["objects"], kind)
	if bad != nil {
		return nil, bad
	}
	for i, object := range objects {
		if hostname != "" && strings.HasPrefix(object, "/") {
			objects[i] = "https://" + hostname + object
		}
		if bad := checkObject(kind, objects[i]); bad != nil {
			return nil, bad
		}
	}
	return objects, nil
}
