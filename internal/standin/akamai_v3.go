package standin

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
	akamaiURL    = "url"
	akamaiTag    = "tag"
	akamaiCPCode = "cpcode"

	akamaiProduction = "production"
	akamaiStaging    = "staging"

	akamaiInvalidate = "invalidate"
	akamaiDelete     = "delete"
)

const (
	akamaiV3MaxBody = 50_000 // bytes
	// akamaiEstimate is how long Akamai says a purge takes.
	akamaiEstimate = 5 * time.Second
)

// akamaiAccepted is the body of a Fast Purge 201.
type akamaiAccepted struct {
	HTTPStatus       int    `json:"httpStatus"`
	Detail           string `json:"detail"`
	EstimatedSeconds int    `json:"estimatedSeconds,omitempty"`
	PurgeID          string `json:"purgeId,omitempty"`
	SupportID        string `json:"supportId"`
}

// route leads to the operation.
func (a *Akamai) route(c akamaiCall) akamaiAnswer {
	segments := strings.Split(c.URL.EscapedPath(), "/")
	if len(segments) < 4 || segments[1] != "ccu" {
		return akamaiNotFound(c)
	}
	switch rest := segments[3:]; segments[2] {
	case "v2":
		return a.v2(c, rest)
	case "v3":
		return a.v3(c, rest)
	}
	return akamaiNotFound(c)
}

// v3 is Fast Purge: {action}/{kind}[/{network}], rate-limit-status/{kind}.
func (a *Akamai) v3(c akamaiCall, path []string) akamaiAnswer {
	network := akamaiProduction
	if len(path) == 3 && path[0] != "rate-limit-status" {
		network, path = path[2], path[:2]
	}
	if len(path) != 2 || !slices.Contains([]string{akamaiURL, akamaiTag, akamaiCPCode}, path[1]) ||
		(network != akamaiProduction && network != akamaiStaging) {
		return akamaiNotFound(c)
	}
	action, kind := path[0], path[1]
	if !slices.Contains([]string{akamaiInvalidate, akamaiDelete, "rate-limit-status"}, action) {
		return akamaiNotFound(c)
	}
	var ans akamaiAnswer
	switch {
	case c.Method != http.MethodPost:
		ans = akamaiProblem(http.StatusMethodNotAllowed, "method not allowed", c.Method)
		ans.header = map[string]string{"Allow": http.MethodPost}
	case action == "rate-limit-status":
		ans = a.rateLimitStatus(c, kind)
	default:
		ans = a.fastPurge(c, AkamaiPurge{API: "v3", Action: action, Kind: kind, Network: network})
	}
	ans.kind = kind
	return ans
}

// rateLimitStatus tells how full the buckets are. Whether that costs a token
// is not documented; here it does not.
func (a *Akamai) rateLimitStatus(c akamaiCall, kind string) akamaiAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return akamaiAnswer{
		status: http.StatusCreated,
		header: a.buckets(c.account).headers(kind),
		media:  "application/json",
		body:   akamaiAccepted{HTTPStatus: http.StatusCreated, Detail: "Request accepted", SupportID: "17PY-" + rand.Text()},
	}
}

// fastPurge takes one purge, or refuses all of it. The form comes first, then
// the budget, then the client's grants: so a client that is over its budget
// learns nothing about its objects. Only an accepted request spends tokens.
func (a *Akamai) fastPurge(c akamaiCall, p AkamaiPurge) (ans akamaiAnswer) {
	defer func() { ans.objects = len(p.Objects) }()
	if refusal, ok := akamaiJSONBody(c, akamaiV3MaxBody); !ok {
		return refusal
	}
	objects, bad := parseAkamaiV3(c.body, p.Kind)
	if bad != nil {
		return bad.answer()
	}
	p.Objects = objects
	// Bodies are read side by side; from here on it is one after the other.
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
	return akamaiAnswer{
		status: http.StatusCreated,
		header: buckets.headers(p.Kind),
		media:  "application/json",
		body: akamaiAccepted{
			HTTPStatus: http.StatusCreated, Detail: "Request accepted",
			EstimatedSeconds: akamaiSeconds(a.cfg.Estimate), PurgeID: p.PurgeID, SupportID: p.PurgeID,
		},
		purgeID: p.PurgeID,
	}
}

// accept writes a purge down. The caller has a.mu.
func (a *Akamai) accept(c akamaiCall, p AkamaiPurge) {
	p.At, p.AccountSwitchKey = a.cfg.Now().Add(a.skew), c.account
	if p.Kind == akamaiTag {
		for _, tag := range p.Objects {
			if len(tag) > akamaiMaxTag {
				p.Ineffective = append(p.Ineffective, tag)
			}
		}
	}
	if len(p.Ineffective) > 0 {
		a.log.Warn("tags too long: accepted, and not purged", "purge", p.PurgeID, "tags", len(p.Ineffective), "first", p.Ineffective[0])
	}
	a.accepted.add(p)
}

// akamaiJSONBody checks what both purge APIs ask of a body before reading it.
func akamaiJSONBody(c akamaiCall, limit int) (refusal akamaiAnswer, ok bool) {
	if media, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return akamaiProblem(http.StatusUnsupportedMediaType, "unsupported media type", c.Header.Get("Content-Type")), false
	}
	if len(c.body) > limit {
		return akamaiProblem(http.StatusRequestEntityTooLarge, "request entity too large",
			fmt.Sprintf("The body is larger than %d bytes", limit)), false
	}
	return akamaiAnswer{}, true
}

// parseAkamaiV3 reads the objects of a Fast Purge body: {"objects": […]}, for
// URLs also with the older "hostname" that the objects are then paths of.
func parseAkamaiV3(body []byte, kind string) ([]string, *akamaiFaulty) {
	fields, bad := parseAkamaiFields(body)
	if bad != nil {
		return nil, bad
	}
	hostname := ""
	for name, value := range fields {
		switch {
		case name == "objects":
		case name == "hostname" && kind == akamaiURL:
			if err := json.Unmarshal(value, &hostname); err != nil {
				return nil, akamaiWrongType(name, "string", value)
			}
			if !akamaiHostname(hostname) {
				return nil, &akamaiFaulty{http.StatusBadRequest, "bad URL hostname", "Invalid or malformed hostname '" + hostname + "'"}
			}
		default:
			return nil, &akamaiFaulty{http.StatusBadRequest, "invalid attribute", "'" + name + "' attribute is not known"}
		}
	}
	objects, bad := parseAkamaiObjects(fields["objects"], kind)
	if bad != nil {
		return nil, bad
	}
	for i, object := range objects {
		if hostname != "" && strings.HasPrefix(object, "/") {
			objects[i] = "https://" + hostname + object
		}
		if bad := akamaiCheckObject(kind, objects[i]); bad != nil {
			return nil, bad
		}
	}
	return objects, nil
}
